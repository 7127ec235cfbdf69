"""Each service's files, put in place with what runs by them: all of a service, or nothing."""

from __future__ import annotations

import sys

import click
from pyinfra import state

from catmaid_deploy.configuration import Change
from catmaid_deploy.operations import configuration
from catmaid_deploy.tasks import run, shown
from catmaid_deploy.tasks.plan import Plan


def _details(change: Change) -> list[str]:
    """What a report says of a set: each path in a dry run, their number in what was done."""
    if run.DRY or len(change.differences) < 4:
        return change.summary
    return [f"{len(change.differences)} files and folders", *map(str, change.reasons)]


def apply(plan: Plan) -> None:
    """The sets that differ, in the order of the plan: the system's, each instance's programs, nginx's."""
    for change in plan.changes:
        plan.report.changes[change.set.name] = change
        operation = configuration.applied(name=f"Configuration: {change.set.name}", change=change, run=run.NAME)
        plan.report.plan(change.set.name, _details(change), operation)
    if state.config.DIFF and not run.DRY:
        # Before the question whether to go on; a dry run ends with it.
        click.echo(shown.changes(plan.report, shown.Terminal.of(sys.stderr)), err=True, color=True)
