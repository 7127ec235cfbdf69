"""Each service's files, put in place with what runs by them: all of a service, or nothing."""

from __future__ import annotations

import sys

import click
from pyinfra import state

from catmaid_deploy.configuration import Change
from catmaid_deploy.operations import configuration
from catmaid_deploy.plan import this_run
from catmaid_deploy.run import patch
from catmaid_deploy.tasks.plan import Plan


def _details(change: Change) -> list[str]:
    """What a report says of a set: each path in a dry run, their number in what was done."""
    if this_run.DRY or len(change.differences) < 4:
        return change.summary
    return [f"{len(change.differences)} files and folders", *map(str, change.reasons)]


def apply(plan: Plan) -> None:
    """The sets that differ, in the order of the plan: the system's, each instance's programs, nginx's."""
    for change in plan.changes:
        plan.report.changes[change.set.name] = change
        operation = configuration.applied(name=f"Configuration: {change.set.name}", change=change, run=this_run.NAME)
        plan.report.plan(change.set.name, _details(change), operation)
    if state.config.DIFF and not this_run.DRY:
        # Before the question whether to go on; a dry run ends with it.
        click.echo(patch.changes(plan.report, patch.Terminal.of(sys.stderr)), err=True, color=True)
