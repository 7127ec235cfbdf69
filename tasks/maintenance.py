"""Closes CATMAID for users and opens it again: all instances of a host, or one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import ValidationError
from pyinfra import host

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.file_sets import Change
from catmaid_deploy.finding import Command, Finding, fault, warning
from catmaid_deploy.operations import jobs
from catmaid_deploy.plan import report as reports
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.task import Task, Tasks
from catmaid_deploy.run import hosts, preflight, record
from catmaid_deploy.schema import Deployment, Instance, Maintenance
from catmaid_deploy.tasks.last_word import HOST_FLAG
from catmaid_deploy.tasks.nginx import site as nginx

OPTIONS = ("text", "end", "allow")
USAGE = (
    "--data maintenance=on or --data maintenance=off, and with on: --data text=..., end=..., allow=..., instance=..."
)
# What a flag says that was made with words of its own: opening puts the inventory's back.
OWN_WORDS = "with words of its own"


@dataclass(frozen=True)
class Switch:
    """What is to be done on a host: which flags, and nginx's files where the words differ. A host without sites has
    nothing to close.
    """

    survey: Survey
    report: reports.Report
    close: bool
    flags: list[str]
    change: Change | None
    own_words: bool

    def __bool__(self) -> bool:
        return bool(self.flags or self.change)


def _refuse(option: str, what: str, fix: str = "") -> SystemExit:
    return hosts.refusal([(host.name, fault(option, what, fix))])


def _said(name: str) -> str | None:
    """What --data says, as text."""
    value = host.data.get(name)
    return None if value is None else str(value)


def _flags(deployment: Deployment) -> list[str]:
    one = hosts.one_instance(deployment)
    return [f"{one.config_dir}/maintenance"] if one else [HOST_FLAG]


def _with_words(deployment: Deployment, words: dict[str, str]) -> Deployment:
    """The deployment with other words on the maintenance page."""
    values: dict[str, Any] = dict(words)
    if "allow" in values:
        values["allow"] = values["allow"].split(",")
    sites = []
    for site in deployment.sites:
        try:
            one = Maintenance.model_validate(site.maintenance.model_dump(exclude_unset=True) | values)
        except ValidationError as error:
            first = error.errors()[0]
            raise _refuse(str(first["loc"][0]), first["msg"].removeprefix("Value error, ")) from None
        sites.append(site.model_copy(update={"maintenance": one}))
    return deployment.model_copy(update={"sites": tuple(sites)})


def check(tasks: Tasks) -> Switch:
    """What the command line asks for; ends the run with exit code 1 and a line where that can't be."""
    hosts.options("maintenance", "instance", *OPTIONS)
    state, words = _said("maintenance"), {key: said for key in OPTIONS if (said := _said(key)) is not None}
    if state not in ("on", "off") or (state == "off" and words):
        raise _refuse("maintenance", "say what to do", f"give {USAGE}")
    look = preflight.alone(tasks)
    deployment, survey = look.deployment, look.survey
    flags = _flags(deployment)
    report = reports.report(host.name, preflight.last_word(tasks, deployment))
    if not deployment.sites:
        report.idle = "nothing to do: this host has no site"
        return Switch(survey, report, state == "on", [], None, False)
    as_described = nginx.change(deployment, survey)
    differs = bool(as_described.differences or as_described.reasons)
    change = None
    if words:
        if differs and not survey["closed"]:
            raise _refuse(
                "nginx",
                "it differs from the inventory, and a new text would change that too",
                "deploy first, or close without text, end and allow",
            )
        change = nginx.change(_with_words(deployment, words), survey)
    elif state == "off" and differs and any(OWN_WORDS in text for text in survey["closed"].values()):
        change = as_described
    there = set(survey["closed"])
    if state == "on":
        report.notes.append("while it is closed users see the maintenance page; --data maintenance=off opens it again")
    wanted = [path for path in flags if (path in there) != (state == "on")]
    if change and not (change.differences or change.reasons):
        change = None
    switch = Switch(survey, report, state == "on", wanted, change, bool(words))
    if this_run.DRY or not switch:
        report.served = survey["asked"]["served"]
        report.idle = f"nothing to do: it is {'closed' if switch.close else 'open'} already"
    return switch


def apply(switch: Switch) -> None:
    """The words first, so that nobody sees the wrong ones; when it opens, users first."""
    steps: list[tuple[str, list[str], Callable[[], Any]]] = []
    for path in switch.flags:
        whose = "the host" if path == HOST_FLAG else path.split("/")[3]
        title = f"{'close' if switch.close else 'open'} {whose} for users"
        name = title.capitalize()
        text = f"closed by {this_run.admin()} at {this_run.SINCE}{', ' + OWN_WORDS if switch.own_words else ''}\n"
        made = partial(jobs.flagged, name=name, path=path, text=text if switch.close else None)
        steps.append((title, [path], made))
    if switch.change:
        title = "the maintenance page's words"
        made = partial(jobs.applied, name=title.capitalize(), change=switch.change, run=this_run.NAME)
        steps.insert(0 if switch.close else len(steps), (title, switch.change.summary, made))
    switch.report.planned += [(title, details, make()) for title, details, make in steps]


def switch(tasks: Tasks) -> None:
    """What the runbook does on the current host."""
    plan = check(tasks)
    if plan:
        record.begin(plan)
        apply(plan)
        record.end(plan)


def flags(deployment: Deployment) -> list[str]:
    """The files that close the host or an instance while they are there."""
    return ["/etc/catmaid/maintenance", *(f"{i.config_dir}/maintenance" for i in deployment.instances)]


def _opened(deployment: Deployment, path: str) -> Command:
    """What opens again what is closed by a flag."""
    instance = next((i.name for i in deployment.instances if path == f"{i.config_dir}/maintenance"), None)
    which = f" --data instance={instance}" if instance else ""
    return this_run.command("runbooks/maintenance.py", f"--data maintenance=off{which}")


def warnings(look: Look) -> Iterator[Finding]:
    for path in look.survey["closed"]:
        yield warning("maintenance", f"{path} is there, users see the notice", _opened(look.deployment, path))


def is_closed(one: Health, instance: Instance | None) -> bool:
    """Whether users see the notice, since somebody closed the host or an instance."""
    closed = one.survey["closed"]
    return "/etc/catmaid/maintenance" in closed or bool(instance and f"{instance.config_dir}/maintenance" in closed)


def rows(one: Health) -> list[tuple[str, str, str]]:
    return [("closed", path, "users see the maintenance page") for path in one.survey["closed"]]


TASK = Task(
    "maintenance",
    lambda deployment: {"flags": flags(deployment)},
    warnings=warnings,
    jobs={"maintenance": switch},
    rows=rows,
    document=lambda one: {"closed": list(one.survey["closed"])},
)
