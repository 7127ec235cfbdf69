"""Daphne, which holds the WebSockets."""

from __future__ import annotations

from catmaid_deploy.schema import Instance
from catmaid_deploy.tasks import request_limits
from catmaid_deploy.tasks.programs.slots import Program, rendered

# WebSockets of a Daphne that was replaced are closed within so many seconds: CATMAID's page opens new ones 3 s later.
DRAIN_SECONDS = 5


def programs(instance: Instance) -> list[Program]:
    files = rendered(instance, "daphne", "serve.py", drain_seconds=DRAIN_SECONDS, sizes=request_limits)
    return [Program(instance, "daphne", "TERM", DRAIN_SECONDS + 20, files)]
