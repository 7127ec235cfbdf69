"""The version by which a host was deployed: noted there, so that an older one doesn't undo what a newer one did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.escape import visible
from catmaid_deploy.finding import Finding, fault
from catmaid_deploy.operations import jobs
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.version import CHANGELOG, UNNOTED, VERSION, changes, numbers


def of_host(survey: Survey) -> str:
    """The version that a host has by its own note; empty where nothing was deployed to it."""
    return str(survey["last_run"].get("host_version") or UNNOTED) if survey["manifest"] else ""


def judge(survey: Survey) -> list[Finding]:
    """Whether this deploy is older than the one that the host has."""
    noted = of_host(survey)
    if numbers(noted) <= numbers(VERSION):
        return []
    what = f"the host was deployed by version {noted}, and this is {VERSION}, which doesn't know all that is there"
    return [fault("version", what, f"deploy by {noted} or a later one, as docs/lab.md says")]


def noted(plan: Plan) -> Iterator[Step]:
    """The step by which a host of an earlier version notes this one, where nothing else is to be done that does so."""
    before = of_host(plan.survey)
    if before and before != VERSION and not plan:
        name = f"Note the version {VERSION}"
        yield Step("version", [f"{before} becomes {VERSION}"], lambda: jobs.noted(name=name, run=this_run.NAME))


def say(plans: Mapping[str, Plan]) -> None:
    """Begin a run with what this version changes, where hosts were deployed by an earlier one."""
    versions: dict[str, list[str]] = {}
    for name, plan in plans.items():
        versions.setdefault(of_host(plan.survey), []).append(name)
    for before, names in sorted(versions.items()):
        if before and before != VERSION:
            lines = changes(before, VERSION, CHANGELOG.read_text())
            click.echo(f"--> {', '.join(sorted(names))}: deployed by {visible(before)}; this is {VERSION}:", err=True)
            for line in (*lines, f"{CHANGELOG} has all of it, and what to type"):
                click.echo(f"    {line}", err=True)
