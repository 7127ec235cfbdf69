"""Celery: the worker and the one beat of an instance."""

from __future__ import annotations

from catmaid_deploy.schema import Instance
from catmaid_deploy.tasks.programs.slots import Program, program


def programs(instance: Instance) -> list[Program]:
    """The worker finishes its tasks in hand while the next one works already; there is never a second beat."""
    return [
        program(instance, "celery", "TERM", instance.celery.stop_seconds, "catmaid_ready.py"),
        program(instance, "celery-beat", "TERM", 20, "beat.py"),
    ]
