"""The programs between deploys: whether they run, restart all the time, or aren't the deploy's; what `status` shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypedDict

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Survey, target_of
from catmaid_deploy.file_sets import lost
from catmaid_deploy.finding import Command
from catmaid_deploy.plan import causes, this_run
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.plan import Plan
from catmaid_deploy.plan.task import Needs, Task
from catmaid_deploy.schema import Deployment, Instance
from catmaid_deploy.tasks import last_word as asking
from catmaid_deploy.tasks.programs import supervisor, supervisor_file
from catmaid_deploy.tasks.programs.slots import full_name, group, process
from catmaid_deploy.upkeep import output

# More ends than this in an hour are a fault.
RESTARTS = 3
SETTLED_SECONDS = 30
# What a program of Celery's does that isn't the deploy's.
HARM = {"beat": "its tasks are done twice", "worker": "it takes tasks, with whatever code it has loaded"}
SERVES = {"wsgi": "page", "daphne": "WebSocket", "celery": "task"}


def ends(one: Health, instance: Instance, short: str) -> list[float]:
    """When a program ended by itself within the last hour, since its slot is in use and it was last started by hand."""
    pointer = one.survey["files"].get(f"{instance.config_dir}/{short}") or {"time": 0}
    place = supervisor.in_use(instance, one.survey)[short]
    return sorted(when for when in one.found["ends"].get(process(instance, place), []) if when > pointer["time"])


def restarts(times: list[float], now: float) -> bool:
    """Whether a program ends again and again: often enough, and the next end is still to be expected.

    One that ends every five minutes is at fault until it has run for fifteen, one that ended every few seconds until
    it has run for half a minute.
    """
    if len(times) < RESTARTS:
        return False
    first, middle, last = times[-3:]
    return now - last < max(SETTLED_SECONDS, 3 * max(middle - first, last - middle))


def _programs(one: Health, instance: Instance) -> None:
    known = one.survey["supervisor"]
    if known is None and one.is_active("supervisor.service"):
        return  # it runs and doesn't answer: nothing is known of its programs
    for short, place in supervisor.in_use(instance, one.survey).items():
        name = full_name(instance, place)
        part, log = f"{short} of {instance.name}", f"{instance.log_dir}/{place}.log"
        program = (known or {}).get(name)
        if program is None:
            # Supervisor has a group whole or not at all.
            lacking = f"{supervisor.SET}{group(instance, short)}"
            if lacking not in {finding.place for finding in one.faults}:
                one.fault(lacking, "Supervisor doesn't have them", this_run.deploy())
            continue
        if program["state"] == "STOPPED":
            one.fault(part, "it is stopped: somebody stopped it", Command(f"supervisorctl start {name}"))
        elif program["state"] not in supervisor.UP:
            last = one.found["logs"].get(name) or "nothing"
            what = f"it is {program['state']}: it ended again and again; its log ends with: {last}"
            one.fault(part, what, f"correct what {log} says, and deploy")
        elif restarts(times := ends(one, instance, short), one.found["time"]):
            what = f"it restarts all the time: it ended {len(times)} times within an hour"
            one.fault(part, what, f"correct what {log} says")


def _strangers(one: Health) -> None:
    programs = one.survey["supervisor"]
    if programs is None:
        return  # nobody can say which processes are the deploy's own
    named = {program["pid"]: name for name, program in programs.items()}
    for stranger in one.found["strangers"]:
        kind, number, unit = stranger["kind"], stranger["process"], stranger["unit"]
        if late := stranger.get("late"):
            what = f"an old {kind}, process {number}, was told to end and still runs after celery.stop_seconds"
            one.fault(f"celery of {late}", what, Command(f"pkill -KILL -U {stranger['user']} -g {number}"))
            continue
        place = "celery" if kind in HARM else kind
        harm = HARM.get(kind, "its work is done twice, if the deploy's own runs as well")
        if unit:
            starter, fix = f"the service {unit}", f"systemctl disable --now {unit}"
        elif number in named:
            starter, fix = f"Supervisor's {named[number]}", f"supervisorctl stop {named[number]}"
        else:
            starter, fix = "something unknown", f"kill -- -{number}"
        what = f"a {kind} that isn't the deploy's runs by {stranger['virtualenv']}, process {number}, started by"
        one.fault(place, f"{what} {starter}: {harm}", Command(fix))


def _sockets(one: Health, instance: Instance) -> None:
    """Sockets that somebody removed under programs that have had time to make them."""
    for short, path in one.found["instances"][instance.name]["gone"].items():
        name = full_name(instance, supervisor.in_use(instance, one.survey)[short])
        program = (one.survey["supervisor"] or {}).get(name)
        if program and program["state"] == "RUNNING" and (one.found["ages"].get(name) or 0) > instance.start_seconds:
            what = f"{path} leads to nothing, since the socket of {short} was removed"
            one.fault(f"sockets of {instance.name}", what, Command(f"supervisorctl restart {name}"))


def health(one: Health) -> None:
    if not one.survey["manifest"]:
        return
    blocked = {finding.place for finding in asking.judge(one.survey)}
    if one.deployment.instances and one.survey["supervisor"] is None and "supervisor" not in blocked:
        if one.is_active("supervisor.service"):
            file = one.survey["supervisor_file"]
            fix = f"correct what {file['log']} says" if file else f"put {supervisor_file.PATH} back, and restart it"
            one.fault("supervisor", "it runs, and gives no answer", fix)
        else:
            one.fault("supervisor", "it doesn't run", Command("systemctl start supervisor"))
    for instance in one.deployment.instances:
        _programs(one, instance)
    _strangers(one)


def differs(one: Health, plan: Plan) -> None:
    """Names by which nginx reaches the programs, and that lead nowhere."""
    for instance in one.deployment.instances:
        sets = [change.set for change in plan.changes if change.set.name == f"{supervisor.SET}{instance.name}"]
        links = [path for group in sets for path in lost(group, one.survey)]
        if not one.survey["files"].get(instance.runtime_dir):
            what = f"{instance.runtime_dir} isn't there, and so nobody reaches its programs"
            one.fault(f"sockets of {instance.name}", what, this_run.deploy())
        elif links:
            what = f"{', '.join(links)} doesn't lead to its program, and so nobody reaches that"
            one.fault(f"sockets of {instance.name}", what, this_run.deploy())
        else:
            _sockets(one, instance)


def begun(one: Health, needs: Needs) -> Iterator[str]:
    """Those that don't answer yet, and may still have to load."""
    unanswered = {
        finding.place
        for finding in causes.folded(one.faults, needs)
        if finding.place.startswith("task of ") or re.search(r" answers (502|nothing)", finding.what)
    }
    for instance in one.deployment.instances:
        for short, place in supervisor.in_use(instance, one.survey).items():
            name = full_name(instance, place)
            program = (one.survey["supervisor"] or {}).get(name)
            if not program or program["state"] not in supervisor.UP:
                continue
            young = (one.found["ages"].get(name) or 0) < instance.start_seconds
            if young and (program["digest"] is None or f"{SERVES.get(short)} of {instance.name}" in unanswered):
                yield f"{short} of {instance.name}"


# ---- what `status` shows ----


class Row(TypedDict):
    """A program: its slot, state, age in seconds, ends within an hour, memory in bytes."""

    program: str
    slot: str
    state: str
    seconds: float | None
    ends: int
    memory: int


def _release(instance: Instance, survey: Survey) -> str:
    target = target_of(survey, instance.release_link)
    return str(target or "none").rpartition("/")[2] if instance.releases else str(target or instance.checkout)


def programs(one: Health, instance: Instance) -> list[Row]:
    found: list[Row] = []
    for short, place in supervisor.in_use(instance, one.survey).items():
        name = full_name(instance, place)
        program = (one.survey["supervisor"] or {}).get(name)
        found.append(
            {
                "program": short,
                "slot": place,
                "state": program["state"] if program else "not there",
                "seconds": one.found["ages"].get(name),
                "ends": len(ends(one, instance, short)),
                "memory": program["memory"] if program else 0,
            }
        )
    return found


def blocks(one: Health) -> Iterator[tuple[str, str, list[tuple[str, ...]]]]:
    for instance in one.deployment.instances:
        told = one.found["instances"][instance.name]
        numbers, rate, sockets = told["statistics"], told["rate"], told["websockets"]
        words = []
        if numbers:
            words.append(f"{numbers['busy']} of {numbers['threads']} threads busy")
        if rate is not None:
            words.append(f"{rate:.1f} requests/s")
        if numbers and numbers["waiting"]:
            words.append(f"{numbers['waiting']} wait")
        if sockets is not None:
            words.append(f"{sockets} WebSockets")
        queues = told["probe"].get("queues", {})
        words += [f"{length} tasks in {queue}" for queue, length in queues.items()]
        table: list[tuple[str, ...]] = [("program", "slot", "state", "since", "ends/h", "memory")]
        for p in programs(one, instance):
            since, memory = output.age(p["seconds"]), output.size(p["memory"])
            table.append((p["program"], p["slot"][-1], p["state"], since, str(p["ends"]), memory))
        yield f"{instance.name}  {_release(instance, one.survey)}", ", ".join(words), table


def document(one: Health) -> dict[str, Any]:
    return {
        "instances": {
            instance.name: {
                "release": _release(instance, one.survey),
                "programs": programs(one, instance),
                "queues": one.found["instances"][instance.name]["probe"].get("queues", {}),
                **{key: one.found["instances"][instance.name][key] for key in ("statistics", "rate", "websockets")},
            }
            for instance in one.deployment.instances
        }
    }


def logs(deployment: Deployment, instance: Instance | None) -> questions.Logs:
    """Of both slots, and of Supervisor itself."""
    if instance is None:
        return {}
    files = [f"{instance.config_dir}/{part}" for part in ("start.sh", "*-[ab]/*.*")]
    return {
        "logs": [f"{instance.log_dir}/*.log", "/var/log/supervisor/supervisord.log"],
        "files": [*files, f"/etc/supervisor/conf.d/{instance.name}.conf"],
    }


TASK = Task(
    "programs between deploys",
    health=health,
    differs=differs,
    begun=begun,
    blocks=blocks,
    document=document,
    logs=logs,
)
