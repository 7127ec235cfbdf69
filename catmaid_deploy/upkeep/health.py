"""Asks all hosts between deploys, and lets the tasks judge the answers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import gevent
from pyinfra import host, state

from catmaid_deploy import questions
from catmaid_deploy.facts import survey as facts
from catmaid_deploy.file_sets import ConfigurationSet, Reason
from catmaid_deploy.finding import fault
from catmaid_deploy.plan import causes, this_run
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.report import Report
from catmaid_deploy.plan.task import Tasks, merged
from catmaid_deploy.run import hosts, preflight, sudo, version
from catmaid_deploy.run.ask import ask, say_begun
from catmaid_deploy.schema import Deployment
from catmaid_deploy.schema.values import EMAIL

# The option of verify by which it sends a message.
MAIL = "mail"
# The differences of a service that are named.
SHOWN = 4


def question(
    tasks: Tasks, deployment: Deployment, sets: list[ConfigurationSet], verify: bool, mail_to: str = ""
) -> questions.Health:
    """What a host is asked: what a deploy asks it, and what its tasks want to know beside."""
    asked = merged(task.glance(deployment, verify) for task in tasks)
    survey = preflight.question(tasks, deployment, sets)
    units = [*survey["units"], *asked.pop("units")]
    survey["units"] = units
    return cast(questions.Health, asked | {"survey": survey, "mail_to": mail_to})


def fold(tasks: Tasks, one: Health) -> None:
    """Put what follows from a fault below it: to be done once all has been asked."""
    if one.look:
        well = {name for name, _ in one.checks}
        one.findings = causes.folded(one.findings, preflight.needs(tasks, one.deployment), well)


def _is_said(one: Health, reason: Reason) -> bool:
    """Whether what a deploy would do has a finding of its own."""
    starts = reason.do in ("start", "enable")
    return starts or any(re.fullmatch(place, found.place) for place in reason.told for found in one.findings)


def _difference(tasks: Tasks, one: Health, look: Look) -> None:
    """What a deploy would change: the host isn't, or doesn't run, as the inventory says."""
    made = preflight.make(tasks, look, Report(one.host))
    one.findings += [found for step in made.steps for found in step.lacks]
    for task in tasks:
        task.differs(one, made)
    for change in made.changes:
        reasons = [reason for reason in change.reasons if not _is_said(one, reason)]
        lines = [*(f"{difference.what} {difference.path}" for difference in change.differences), *map(str, reasons)]
        if lines:
            more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
            what = f"not as the inventory says, a deploy would: {'; '.join(lines[:SHOWN])}{more}"
            one.fault(f"{causes.CONFIGURATION}{change.set.name}", what, this_run.deploy())


def _inventory(tasks: Tasks, one: Health, look: Look) -> bool:
    """What a run would refuse, or warn of; returns whether it would refuse, before it decides what there is to do."""
    refused = version.judge(look.survey) or preflight.judge(tasks, look)
    one.findings += refused
    last, lock = one.survey["last_run"], one.survey["lock"]
    if last and not last.get("ended") and not (lock and lock["alive"]):
        one.warn("deploy", f"the run of {last['admin']} at {last['since']} was cut before its end", this_run.deploy())
    standing = preflight.standing(tasks, look)
    one.findings += [replace(found, level="fault") if found.missed else found for found in standing]
    return bool(refused)


def judge(tasks: Tasks, one: Health, verify: bool) -> None:
    """All that is wrong with a host; what follows from what is for `fold`."""
    assert one.look
    for task in tasks:
        task.health(one)
    if not one.survey["manifest"]:
        _inventory(tasks, one, one.look)
        one.fault("deploy", "nothing was deployed to this host yet", this_run.deploy())
        return
    at_fault = {finding.place for finding in one.findings}
    wrong = [finding for task in tasks for finding in task.wrong(one.look)]
    one.findings += [finding for finding in wrong if finding.place not in at_fault]
    refused = _inventory(tasks, one, one.look)
    for task in tasks:
        task.trial(one, verify)
    if not refused:
        _difference(tasks, one, one.look)


def begun(tasks: Tasks, one: Health) -> list[str]:
    """The programs that have just begun, and at fault for no other reason: nobody can say yet whether they are well."""
    needs = preflight.needs(tasks, one.deployment)
    return sorted({*preflight.starting(one.survey), *(name for task in tasks for name in task.begun(one, needs))})


def _look(tasks: Tasks, name: str, deployment: Deployment, verify: bool, mail_to: str) -> Health:
    """Ask the current host, and judge what it says; to verify it, once all its programs have had time to begin."""
    sets = preflight.wanted_sets(tasks, deployment)
    fact, asked = facts.Verify if verify else facts.Health, question(tasks, deployment, sets, verify, mail_to)
    patience = time.monotonic() + max((instance.start_seconds for instance in deployment.instances), default=0)
    said = ""
    while True:
        found, ahead = ask(fact, asked)
        look = Look(deployment, found["survey"], sets, ahead)
        look.missing = preflight.missing(tasks, look)
        one = Health(name, look, found)
        judge(tasks, one, verify)
        waits = begun(tasks, one) if verify and one.survey["manifest"] else []
        if not waits or time.monotonic() > patience:
            return one
        said = say_begun(waits, said)
        gevent.sleep(2)


def _mail_to(deployments: Iterable[Deployment]) -> str:
    """Whom --data mail=ADDRESS names; empty without it. Ends the run with a line where nothing can be sent."""
    address = state.inventory.override_data.get(MAIL)
    if address is None:
        return ""
    wrong = None
    if not re.fullmatch(EMAIL, str(address)):
        wrong = fault(f"--data {MAIL}", f"{address!r} is no e-mail address", "give one, such as alice@example.org")
    elif not any(i.made_settings and i.made_settings.mail for one in deployments for i in one.instances):
        what = "no instance has install.settings.mail, by which it would be sent"
        wrong = fault(f"--data {MAIL}", what, "describe that, or leave it out")
    if wrong:
        raise hosts.refusal([("", wrong)])
    return str(address)


def look_at_all(tasks: Tasks, verify: bool) -> list[Health]:
    """Ask all hosts of the run side by side, and judge each; the caller shows them and ends the run."""
    hosts.options(*([MAIL] if verify else []))
    deployments, wrong = hosts.described(hosts.for_all())
    mail_to = _mail_to(deployments.values()) if verify else ""
    results = {name: Health(name, findings=faults) for name, faults in wrong.items()}
    answers = hosts.each(deployments, lambda deployment: _look(tasks, host.name, deployment, verify, mail_to))
    for asked, answer in answers.items():
        results[asked.name] = (
            answer if isinstance(answer, Health) else Health(asked.name, findings=list(answer.findings))
        )
    sudo.keep_password_out_of_sight()
    return [results[name] for name in sorted(results)]
