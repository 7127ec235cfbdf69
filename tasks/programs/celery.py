"""Celery: the workers and the one beat of an instance."""

from __future__ import annotations

from catmaid_deploy.schema import Celery, Instance
from catmaid_deploy.tasks.programs.slots import Program, rendered


def worker(instance: Instance, short: str, celery: Celery) -> Program:
    """It finishes its tasks in hand while the next one works already."""
    # Two of one name would take each other's orders.
    node = instance.name if short == "celery" else f"{instance.name}.{short}"
    files = rendered(instance, short, "catmaid_ready.py", like="celery", celery=celery, node=node)
    return Program(instance, short, "TERM", celery.stop_seconds, files, celery.concurrency or 0)


def programs(instance: Instance) -> list[Program]:
    """There is never a second beat."""
    beat = Program(instance, "celery-beat", "TERM", 20, rendered(instance, "celery-beat", "beat.py"))
    return [worker(instance, "celery", instance.celery), beat]
