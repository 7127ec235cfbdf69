"""The steps of a plan, put into pyinfra's order: each a named operation, between the lock and the record."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
from pyinfra import state

from catmaid_deploy.file_sets import Change
from catmaid_deploy.operations import jobs
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.run import patch, record


def configured(change: Change) -> Iterator[Step]:
    """The step that puts a set's files in place with what runs by them; none where nothing differs."""
    if change.differences or change.reasons:
        name = f"Configuration: {change.set.name}"
        yield Step(
            change.set.name,
            _details(change),
            lambda: jobs.applied(name=name, change=change, run=this_run.NAME),
            change,
        )


def _details(change: Change) -> list[str]:
    """What a report says of a set: each path in a dry run, their number in what was done."""
    if this_run.DRY or len(change.differences) < 4:
        return change.summary
    return [f"{len(change.differences)} files and folders", *map(str, change.reasons)]


def apply(plan: Plan) -> None:
    """Queue all that there is to do on the current host; where that is nothing, what is left of a run that was cut."""
    if not plan:
        record.clear(plan)
        return
    record.begin(plan)
    for step in plan.steps:
        if step.change:
            plan.report.changes[step.change.set.name] = step.change
        plan.report.plan(step.title, step.details, step.make(), step.by_job)
    if state.config.DIFF and not this_run.DRY:
        # Before the question whether to go on; a dry run ends with it.
        click.echo(patch.changes(plan.report, patch.Terminal.of(sys.stderr)), err=True, color=True)
    record.end(plan)
