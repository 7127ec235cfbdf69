"""What a run has to do on a host: decided once, from the survey, before anything is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click
from pyinfra import host, state

from configuration import Change, ConfigurationSet, foreign_links
from operations import configuration
from schema import Instance, Site
from tasks import nginx, packages, run, supervisor, system, uwsgi


@dataclass(frozen=True)
class Plan:
    """The differences between a host and its description. What isn't here isn't touched."""

    site: Site
    survey: dict[str, Any]
    report: run.Report
    packages: list[str]
    uwsgi: dict[str, Instance]
    changes: list[Change]

    def __bool__(self) -> bool:
        return bool(self.packages or self.uwsgi or self.changes)


def wanted_sets(site: Site) -> list[ConfigurationSet]:
    """All sets of a site, as far as they don't depend on the host: what the survey looks at."""
    return [
        system.wanted(site),
        *(supervisor.files(instance) for instance in site.instances),
        nginx.wanted(site, True)[0],
    ]


def make(site: Site, survey: dict[str, Any], report: run.Report) -> Plan:
    """Compare a host with its description."""
    outdated = uwsgi.outdated(site, survey)
    changes = [
        system.change(site, survey),
        *(supervisor.change(instance, survey, instance.virtualenv in outdated) for instance in site.instances),
        nginx.change(site, survey),
        *supervisor.removals(site.instances, survey),
    ]
    report.warnings += [
        f"nginx: {path} stays, since its site was changed by somebody"
        for path in foreign_links(nginx.wanted(site, True)[0], survey)
    ]
    missing = packages.missing(survey)
    return Plan(site, survey, report, missing, outdated, [c for c in changes if c.differences or c.reasons])


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


def perform(plan: Plan) -> None:
    """Give pyinfra the operations of a plan, under the lock of this run."""
    if not plan:
        return
    planned = plan.report.planned
    configuration.locked(
        name="Take the host for this run",
        run=run.NAME,
        admin=run.admin(),
        revision=run.revision(run.inventory_file()),
        since=run.SINCE,
        last_run=plan.survey["last_run"].get("run"),
    )
    if plan.packages:
        planned.append(("install packages", [", ".join(plan.packages)], packages.install(plan.packages)))
    for virtualenv, instance in plan.uwsgi.items():
        title = f"install uWSGI {instance.uwsgi_version} into {virtualenv}"
        planned.append((title, [], uwsgi.install(instance, plan.survey)))
    for change in plan.changes:
        if state.config.DIFF:
            _show(change)
        operation = configuration.applied(name=f"Configuration: {change.set.name}", change=change, run=run.NAME)
        planned.append((change.set.name, _details(change), operation))
    changed = [f"{title} ({', '.join(details)})" if details else title for title, details, _ in planned]
    configuration.recorded(name="Record what changed", run=run.NAME, changed=changed)
