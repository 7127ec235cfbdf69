"""Finds everything that is wrong on all hosts before anything changes on any of them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, cast

import gevent
from pyinfra import host, logger, state
from pyinfra.api import Host

from catmaid_deploy import file_sets, questions
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.escape import visible
from catmaid_deploy.facts import survey as facts
from catmaid_deploy.file_sets import ConfigurationSet
from catmaid_deploy.finding import Finding, Refused, fault, warning
from catmaid_deploy.plan import causes, this_run
from catmaid_deploy.plan import report as reports
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan
from catmaid_deploy.plan.report import Report
from catmaid_deploy.plan.task import Needs, Tasks, merged
from catmaid_deploy.run import sudo, version
from catmaid_deploy.run.ask import answer_of, ask, say_begun
from catmaid_deploy.run.hosts import described, each, refusal, validate
from catmaid_deploy.schema import STATE_HOST, Deployment

# How long another run of the package manager is waited for.
PACKAGE_MANAGER_SECONDS = 600
# How long a dry run waits for programs that have just begun: it changes nothing, and its reader wants to see.
DRY_SECONDS = 20


# ---- what a host is asked ----


def wanted_sets(tasks: Tasks, deployment: Deployment) -> list[ConfigurationSet]:
    """All sets of files of a host, as far as they don't depend on it."""
    return [one for task in tasks for one in task.sets(deployment)]


def question(
    tasks: Tasks, deployment: Deployment, sets: list[ConfigurationSet], load_settings: bool = True
) -> questions.Survey:
    """What the survey is to look at, ``sets`` from `wanted_sets` among it. To load new settings takes as long as the
    application's import.
    """
    items = [item for one in sets for item in one.everything]
    of_sets: questions.Survey = {
        "paths": [
            *(item.path for item in items),
            *(p for one in sets for pair in one.stock_links.items() for p in pair),
        ],
        # Whatever mode somebody gave them.
        "secret": [item.path for item in items if isinstance(item, file_sets.File) and item.secret],
    }
    common: questions.Survey = {
        "load_settings": load_settings,
        "state_host": STATE_HOST,
        "asking": last_word(tasks, deployment),
    }
    return cast(questions.Survey, merged(iter([common, of_sets, *(task.question(deployment) for task in tasks)])))


def last_word(tasks: Tasks, deployment: Deployment) -> questions.LastWord:
    """What a host asks itself at the end of a run."""
    return cast(questions.LastWord, merged(task.last_word(deployment) for task in tasks))


def needs(tasks: Tasks, deployment: Deployment) -> Needs:
    """What each part of a host needs by itself, the likeliest cause first."""
    found: dict[str, tuple[str, ...]] = {}
    for task in tasks:
        found |= task.needs(deployment)
    return found


def packages(tasks: Tasks, look: Look) -> list[str]:
    """Debian's packages that a host needs, each once."""
    return list(dict.fromkeys(name for task in tasks for name in task.packages(look)))


def missing(tasks: Tasks, look: Look) -> list[str]:
    """Those of them that it doesn't have."""
    return [name for name in packages(tasks, look) if name not in look.survey["packages"]]


def starting(survey: Survey) -> list[str]:
    """The programs that have just begun, of which nobody can say yet whether they are well."""
    return [name for name, word in survey.get("asked", {}).get("programs", {}).items() if word == "starting"]


def survey(tasks: Tasks, deployment: Deployment, load_settings: bool = True) -> Look:
    """Look at the current host. Waits for another run of the package manager, and for programs that have just begun."""
    end, sets = time.monotonic() + PACKAGE_MANAGER_SECONDS, wanted_sets(tasks, deployment)
    asked = question(tasks, deployment, sets, load_settings)
    patience = max((instance.start_seconds for instance in deployment.instances), default=0)
    latest = time.monotonic() + (min(patience, DRY_SECONDS) if this_run.DRY else patience)
    said = ""
    while True:
        answer, ahead = ask(facts.Survey, asked)
        look = Look(deployment, answer, sets, ahead)
        look.missing = missing(tasks, look)
        busy = answer["package_manager"]
        begun = starting(answer)
        if begun and time.monotonic() < latest:
            said = say_begun(begun, said)
            gevent.sleep(2)
            continue
        if this_run.DRY or not busy or not look.missing:
            return look
        who = f"{busy['name']} (process {busy['pid']})"
        if time.monotonic() > end:
            raise Refused(fault("packages", f"{who} holds the package manager", "run again after its end, or end it"))
        logger.info(f"{host.print_prefix}waiting for {visible(who)}, which installs packages")
        gevent.sleep(5)


# ---- what is made of the answer ----


def judge(tasks: Tasks, look: Look) -> list[Finding]:
    """What keeps a host from serving what its inventory says."""
    look.faults = []
    try:
        for task in tasks:
            look.faults += task.faults(look)
    except Refused as refused:
        # Of all else nothing would be known.
        return list(refused.findings)
    return [*look.faults, *file_sets.in_the_way(look.sets, look.survey)]


def judge_lock(survey: Survey) -> list[Finding]:
    """Whether another run has the host."""
    lock = survey["lock"]
    if not lock or not lock["alive"] or this_run.DRY:
        return []
    since = f"{lock['admin']} deploys there since {lock['since']}"
    return [fault("lock", since, "run again after the end of that run, or end it on the admin's side")]


def standing(tasks: Tasks, look: Look) -> list[Finding]:
    """What is true of a host between runs as well, and doesn't stop one."""
    return [found for task in tasks for found in task.warnings(look)]


def of_this_run(tasks: Tasks, look: Look, to_do: bool = True) -> list[Finding]:
    """What the admin should know of this run; ``to_do`` says whether it changes anything."""
    found = [remark for task in tasks for remark in task.remarks(look)]
    last, lock = look.survey["last_run"], look.survey["lock"]
    holder = lock if lock and lock["alive"] else None
    if this_run.DRY and holder:
        text = f"{holder['admin']} deploys there since {holder['since']}, which may change what is shown"
        found.append(warning("lock", text))
    if last and not last.get("ended") and not holder:
        left = "a run does" if this_run.DRY else "this one does"
        end = f"{left} what is left" if to_do else "nothing is left to do of it"
        found.append(warning("deploy", f"the run of {last['admin']} at {last['since']} was cut before its end; {end}"))
    return found


def make(tasks: Tasks, look: Look, report: Report) -> Plan:
    """Compare a host with its description."""
    plan = Plan(look, report)
    for task in tasks:
        plan.steps.extend(task.steps(plan))
    return plan


def _look(tasks: Tasks, deployment: Deployment) -> Plan:
    """Ask the current host, judge what it says, and decide what there is to do."""
    look = survey(tasks, deployment)
    # Of all else an older deploy may know less than it takes to judge.
    faults = version.judge(look.survey) or judge(tasks, look) + judge_lock(look.survey)
    if faults:
        raise Refused(*faults)
    report = reports.report(host.name, last_word(tasks, deployment))
    last = look.survey["last_run"]
    if last.get("ended"):
        report.notes.append(f"last changed {last['since']} by {last['admin']}, revision {last['revision']}")
    plan = make(tasks, look, report)
    plan.steps.extend(version.noted(plan))
    report.warnings = [*standing(tasks, look), *of_this_run(tasks, look, bool(plan)), *report.warnings]
    for found in report.warnings:
        logger.warning(f"{host.print_prefix}{found.line()}")
    if plan.faults:
        raise Refused(*plan.faults)
    sought = [found for task in tasks for found in task.sought(plan, answer_of)]
    if sought:
        raise Refused(*dict.fromkeys(sought))
    # What a run changes is asked for at its end.
    if this_run.DRY or not plan:
        wrong = [found for task in tasks for found in (task.lasting if plan else task.wrong)(look)]
        if look.survey["manifest"]:
            report.wrong = causes.folded(wrong, needs(tasks, deployment))
        else:
            # Of a host that is adopted the old site goes when all else is known to be well.
            report.warnings += [replace(found, level="warning") for found in wrong]
        report.served = look.survey["asked"]["served"]
    report.waits = next((task.waits for task in tasks if task.waits), report.waits)
    report.away = [part for task in tasks for part in task.away(look)]
    return plan


# ---- all hosts ----


def _look_at_all(tasks: Tasks, hosts: list[Host]) -> tuple[dict[str, Plan], list[tuple[str, Finding]]]:
    """The plans of all hosts, asked side by side, and the faults of all."""
    deployments, wrong = described(hosts)
    faults = [(name, found) for name, some in wrong.items() for found in some]
    plans: dict[str, Plan] = {}
    for one, answer in each({} if faults else deployments, lambda deployment: _look(tasks, deployment)).items():
        if isinstance(answer, Refused):
            faults += [(one.name, found) for found in answer.findings]
        else:
            plans[one.name] = answer
    if not faults:
        version.say(plans)
    return plans, faults


def alone(tasks: Tasks) -> Look:
    """What the inventory says of the current host, and what that answers, for a runbook that changes it; ends the run
    with exit code 1 and a line for each fault.
    """
    deployment, faults = validate(host)
    if deployment is not None:
        try:
            look = survey(tasks, deployment, load_settings=False)
            if faults := version.judge(look.survey) or judge_lock(look.survey):
                raise Refused(*faults)
            sudo.keep_password_out_of_sight()
            return look
        except Refused as refused:
            faults = list(refused.findings)
    raise refusal([(host.name, found) for found in faults]) from None


_found: Any = None


def check(tasks: Tasks) -> Plan:
    """Validate the inventory of all hosts, survey them, and refuse in clear lines what can't work.

    Ends the run with exit code 1 and a line for each fault: host, key, what is wrong, its fix. Nothing has changed by
    then.
    The host whose turn comes first asks for all of them.
    """
    global _found
    if _found is None:
        _found = gevent.spawn(_look_at_all, tasks, list(state.inventory.get_active_hosts()))
    plans: dict[str, Plan]
    plans, faults = _found.get()
    if faults:
        raise refusal(faults)
    sudo.keep_password_out_of_sight()
    return plans[host.name]
