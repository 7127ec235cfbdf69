"""Back to the release before, of one or all instances of a host whose programs were handed over."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pyinfra import host

from catmaid_deploy.answers.application import Before
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.finding import warning
from catmaid_deploy.operations import jobs
from catmaid_deploy.plan import report as reports
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.task import Task, Tasks
from catmaid_deploy.run import hosts, preflight, record
from catmaid_deploy.schema import Deployment, Instance
from catmaid_deploy.tasks import last_word as asking
from catmaid_deploy.tasks.programs import supervisor


@dataclass(frozen=True)
class Rollback:
    """What a rollback has to do on a host: for each instance the slots that were in use before."""

    survey: Survey
    report: reports.Report
    services: dict[str, dict[str, Any]]

    def __bool__(self) -> bool:
        return bool(self.services)


def _when(before: Before, short: str) -> str:
    """When a program was handed over; a note of before has one time for all."""
    seconds = before.get("times", {}).get(short) or before.get("time", 0)
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _services(
    deployment: Deployment, survey: Survey, report: reports.Report, only: Instance | None
) -> dict[str, dict[str, Any]]:
    found = {}
    for site in deployment.sites:
        for instance in site.instances:
            if only is not None and instance.name != only.name:
                continue
            before = survey["instances"][instance.name]["before"]
            members = supervisor.programs(instance)
            places = supervisor.in_use(instance, survey)
            slots = {s: old for s, (old, new) in before.get("slots", {}).items() if places.get(s) == new}
            if not slots:
                report.notes.append(f"{instance.name}: there is no release before this one")
                continue
            details = [
                f"{places[short]} to {old}, which it replaced at {_when(before, short)}" for short, old in slots.items()
            ]
            service = supervisor.service(site, instance, members, [("hand over", short) for short in slots])
            found[instance.name] = service | {"proven": True, "details": details}
            if not instance.releases:
                what = f"its code lies in {instance.checkout}, which a rollback leaves as it is"
                fix = "put the code of before there first, if it is the cause"
                report.warnings.append(warning(instance.name, what, fix))
    return found


def check(tasks: Tasks) -> Rollback:
    """Look at the current host; ends the run with exit code 1 and a line for each fault."""
    hosts.options("instance")
    look = preflight.alone(tasks)
    deployment, survey = look.deployment, look.survey
    only = hosts.one_instance(deployment)
    if blocked := list(asking.judge(survey)):
        raise hosts.refusal([(host.name, finding) for finding in blocked])
    report = reports.report(host.name, preflight.last_word(tasks, deployment))
    rollback = Rollback(survey, report, _services(deployment, survey, report, only))
    if this_run.DRY or not rollback:
        report.served = survey["asked"]["served"]
        report.idle = "nothing to do: there is no release to go back to"
    return rollback


def apply(rollback: Rollback) -> None:
    """Hand over, instance by instance, and record it."""
    details = {f"rollback of {name}": service.pop("details") for name, service in rollback.services.items()}
    operation = jobs.rolled_back(
        name=f"Back to the release before, of {', '.join(rollback.services)}",
        services=list(rollback.services.values()),
        claim=record.claim(rollback.survey),
        changed=[record.words(title, lines) for title, lines in details.items()],
        asking=rollback.report.asking,
    )
    rollback.report.last = operation
    rollback.report.planned += [(title, lines, operation) for title, lines in details.items()]


def roll_back(tasks: Tasks) -> None:
    """What the runbook does on the current host."""
    rollback = check(tasks)
    if rollback:
        apply(rollback)


TASK = Task("rollback", jobs={"rollback": roll_back})
