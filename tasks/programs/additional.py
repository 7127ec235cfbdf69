"""What the inventory names beside the four programs: more Celery workers, and commands that run for ever."""

from __future__ import annotations

from catmaid_deploy.schema import Instance
from catmaid_deploy.tasks.programs import celery
from catmaid_deploy.tasks.programs.slots import Program, rendered


def _command(instance: Instance, short: str, manage: str, seconds: int) -> Program:
    """It begins when the one of before has ended: two of one would do all work twice."""
    files = rendered(instance, short, "once.py", like="manage", words=manage.split(), seconds=seconds)
    return Program(instance, short, "TERM", seconds, files)


def programs(instance: Instance) -> list[Program]:
    return [
        celery.worker(instance, one.name, one.celery)
        if one.celery
        else _command(instance, one.name, one.manage or "", one.end_seconds)
        for one in instance.programs
    ]
