"""Daphne, which holds the WebSockets (row 21)."""

from __future__ import annotations

from schema import Instance
from tasks.program import Program, program


def programs(instance: Instance) -> list[Program]:
    return [program(instance, "daphne", "TERM", 20)]
