"""The beginning and the end of a run that changes something: the lock, and the line in the record."""

from __future__ import annotations

from operations import configuration
from tasks import run
from tasks.plan import Plan


def begin(plan: Plan) -> None:
    """Take the host, unless another run has it or has changed it since it was looked at."""
    configuration.locked(
        name="Take the host for this run",
        run=run.NAME,
        admin=run.admin(),
        revision=run.revision(run.inventory_file()),
        since=run.SINCE,
        last_run=plan.survey["last_run"].get("run"),
    )


def end(plan: Plan) -> None:
    """Write down what changed, and let the host go."""
    changed = [f"{title} ({', '.join(details)})" if details else title for title, details, _ in plan.report.planned]
    configuration.recorded(name="Record what changed", run=run.NAME, changed=changed)
