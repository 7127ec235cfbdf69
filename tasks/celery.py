"""Celery: the worker and the one beat of an instance (rows 17 and 28)."""

from __future__ import annotations

from schema import Instance
from tasks.program import Program, program

# A task in hand may take so long before a stop kills it. Supervisor's default of 10 s loses long tasks.
STOP_SECONDS = 600


def programs(instance: Instance) -> list[Program]:
    return [program(instance, "celery", "TERM", STOP_SECONDS), program(instance, "celery-beat", "TERM", 20)]
