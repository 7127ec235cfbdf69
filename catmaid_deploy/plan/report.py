"""What a run planned for a host, what it did, and what the admin should know: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from catmaid_deploy import questions
from catmaid_deploy.file_sets import Change
from catmaid_deploy.finding import Finding
from catmaid_deploy.on_host.paths import LOG
from catmaid_deploy.plan.this_run import DRY

NOTHING = "nothing to do: everything is and runs as described"


@dataclass
class Report:
    """What a run planned for one host, what came of it, and what its admin should know.

    ``ended`` is what came of the run: "", "failed", or "cut". ``cut`` names the operation that was under way when it
    was interrupted. The operation ``first`` takes the host. ``asking`` is what the host is asked in the end, by the
    operation ``last``, and ``served`` what it answered then: None where it couldn't be asked. ``waits`` says for what
    programs wait that it calls away. ``left`` is what a job that failed says of what it has left. ``idle`` is what a
    runbook says where it has nothing to do. ``others`` are operations by other programs than the deploy's own jobs, apt
    and certbot for instance.

    >>> report = Report("web1", away=["the tiles of em are away: /data isn't mounted"])
    >>> report.nothing
    "nothing to do: everything is and runs as described; but the tiles of em are away: /data isn't mounted"
    >>> report.plan("install packages", ["nginx"], None)
    >>> report.pending, report.done
    (True, [])
    """

    host: str
    ended: str = ""
    cut: str = ""
    asking: questions.LastWord = field(default_factory=questions.LastWord)
    first: Any = None
    last: Any = None
    left: str = ""
    idle: str = ""
    served: list[str] | None = None
    wrong: list[Finding] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    waits: str = "for something"
    planned: list[tuple[str, list[str], Any]] = field(default_factory=list)
    others: set[str] = field(default_factory=set)
    changes: dict[str, Change] = field(default_factory=dict)
    warnings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def plan(self, title: str, details: list[str], operation: Any, by_job: bool = True) -> None:
        """Note what is to be done, and whether by a job of the deploy's own, which writes down what it has done."""
        self.planned.append((title, details, operation))
        if not by_job:
            self.others.add(operation._hash)

    @property
    def pending(self) -> bool:
        """Whether something that was planned isn't done."""
        operations = [*(operation for _, _, operation in self.planned), *([self.last] if self.last else [])]
        return any(operation is None or not operation.is_complete() for operation in operations)

    @property
    def done(self) -> list[tuple[str, list[str]]]:
        """What was planned and succeeded: a title and its details each."""
        return [(title, details) for title, details, operation in self.planned if self._is_done(operation)]

    def _is_done(self, operation: Any) -> bool:
        """Whether an operation succeeded, as far as anybody here knows: pyinfra says so of one that was cut as well."""
        if operation is None or not operation.is_complete() or operation._hash == self.cut:
            return False
        return bool(operation.did_succeed())

    @property
    def serves(self) -> list[str]:
        """The addresses that were asked and answered."""
        return self.served or []

    @property
    def nothing(self) -> str:
        """What a run with nothing to do says of that."""
        if self.idle:
            return self.idle
        if self.wrong:
            return "a deploy has nothing to change, but not everything is as described:"
        return NOTHING + "".join(f"; but {part}" for part in self.away)

    def state_of(self, operation: Any) -> str:
        """What came of something planned, as a word before it; nothing where it was done, or is to be."""
        if self._is_done(operation):
            return ""
        if operation is not None and self.cut == operation._hash:
            return "interrupted: "
        if operation is not None and operation.is_complete():
            return "FAILED: "
        return "" if DRY else "not reached: "

    @property
    def last_words(self) -> str:
        """What a run that planned something says of its end."""
        if self.cut in self.others:
            return "interrupted: what was under way may go on there; when it has ended, run again"
        if self.cut:
            return f"interrupted: what was under way goes on to its end there, and {LOG} says what came of it"
        how = {"failed": "failed", "cut": "interrupted"}.get(self.ended, "not done")
        if self.left:
            return f"{how}: {self.left}"
        if not self.done and how != "failed":
            return f"{how}: nothing was changed"
        if not self.pending and not self.ended:
            return "done" + "".join(f"; but {part}" for part in self.away)
        left = "what ran before still runs" if self.served else "nothing serves"
        if self.served is None:
            left = "whether it serves isn't known, since the host couldn't be asked"
        return f"{how}: {left}; fix the cause and run again"


REPORTS: dict[str, Report] = {}
FAULTS: list[tuple[str, Finding]] = []


def report(host: str, asking: questions.LastWord | None = None) -> Report:
    """Begin the report of a host; all reports are printed when the run has ended."""
    return REPORTS.setdefault(host, Report(host, asking=asking or questions.LastWord()))


def refused(faults: list[tuple[str, Finding]]) -> None:
    """Nothing is done on any host, for these faults, which the summary repeats."""
    REPORTS.clear()
    FAULTS[:] = faults
