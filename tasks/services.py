"""Each service's files, put in place with what runs by them: all of a service, or nothing."""

from __future__ import annotations

import click
from pyinfra import host, state

from configuration import Change
from operations import configuration
from tasks import run
from tasks.plan import Plan


def _show(change: Change) -> None:
    """The unified diffs of a set, in a run with --diff."""
    for one in change.differences:
        click.secho(f"{host.print_prefix}{one.what} {one.path}", bold=True, err=True)
        for line in one.lines:
            click.secho(f"{host.print_prefix}  {line}", fg={"+": "green", "-": "red"}.get(line[:1]), err=True)


def _details(change: Change) -> list[str]:
    """What a report says of a set: each path in a dry run, their number in what was done."""
    if run.DRY or len(change.differences) < 4:
        return change.summary
    return [f"{len(change.differences)} files and folders", *change.reasons]


def apply(plan: Plan) -> None:
    """The sets that differ, in the order of the plan: the system's, each instance's programs, nginx's."""
    for change in plan.changes:
        if state.config.DIFF:
            _show(change)
        operation = configuration.applied(name=f"Configuration: {change.set.name}", change=change, run=run.NAME)
        plan.report.planned.append((change.set.name, _details(change), operation))
