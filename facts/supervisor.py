"""What Supervisor runs, and with which configuration."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api import FactBase
from typing_extensions import override


@dataclass(frozen=True)
class Program:
    """A program as it runs. The digests tell which files it was started with; None when that isn't known."""

    state: str
    pid: int | None = None
    digest: str | None = None
    group_digest: str | None = None


class SupervisorPrograms(FactBase[dict[str, Program]]):
    """
    Returns the programs that Supervisor has, by ``group:program``; empty where it isn't installed or running.

    The digests come from the records that the start scripts write (``/run/INSTANCE/PROGRAM.started``);
    a record counts only for the process that wrote it.
    """

    @override
    def requires_command(self) -> str:
        return "supervisorctl"

    @override
    def command(self) -> str:
        return "supervisorctl status || true; cat /run/catmaid*/*.started 2>/dev/null || true"

    @override
    @staticmethod
    def default() -> dict[str, Program]:
        return {}

    @override
    def process(self, output: list[str]) -> dict[str, Program]:
        records: dict[int, tuple[str, str]] = {}
        for line in output:
            words = line.split()
            if len(words) == 4 and words[0].isdigit() and words[1].isdigit():
                records[int(words[0])] = (words[2], words[3])
        programs = {}
        for line in output:
            words = line.split()
            if len(words) < 2 or not words[1].isupper() or words[0].endswith(":"):
                continue
            pid = int(words[3].rstrip(",")) if words[2:3] == ["pid"] else None
            digest, group_digest = records.get(pid, (None, None)) if pid else (None, None)
            programs[words[0]] = Program(words[1], pid, digest, group_digest)
        return programs
