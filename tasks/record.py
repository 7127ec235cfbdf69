"""The beginning and the end of a run that changes something: the lock, and the line in the record."""

from __future__ import annotations

from typing import Any, Protocol

from operations import configuration
from tasks import run


class Plan(Protocol):
    """What a run has to do on a host, and what it knows of it."""

    @property
    def survey(self) -> dict[str, Any]: ...

    @property
    def report(self) -> run.Report: ...


def claim(survey: dict[str, Any]) -> dict[str, Any]:
    """By whom and when a host is taken, and which run was the last one before."""
    return {
        "run": run.NAME,
        "admin": run.admin(),
        "revision": run.revision(run.inventory_file()),
        "since": run.SINCE,
        "last_run": survey["last_run"].get("run"),
    }


def words(title: str, details: list[str]) -> str:
    """What a line of the record says of a change."""
    return f"{title} ({', '.join(details)})" if details else title


def begin(plan: Plan) -> None:
    """Take the host, unless another run has it or has changed it since it was looked at."""
    configuration.locked(name="Take the host for this run", **claim(plan.survey))


def end(plan: Plan) -> None:
    """Write down what changed, and let the host go."""
    changed = [words(title, details) for title, details, _ in plan.report.planned]
    configuration.recorded(name="Record what changed", run=run.NAME, changed=changed)
