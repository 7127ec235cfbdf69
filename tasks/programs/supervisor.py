"""Supervisor: one file and one group for the four programs of an instance, and one for each of the others.

What is decided for a group, and why, stands together, and so in one file.
"""

from __future__ import annotations

import configparser
import re
import signal
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from catmaid_deploy import questions
from catmaid_deploy.answers import survey as answers
from catmaid_deploy.answers.survey import Survey, target_of
from catmaid_deploy.file_sets import Change, ConfigurationSet, File, Folder, Link, Reason, compare, lost
from catmaid_deploy.finding import Finding, fault
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.render import digest, render
from catmaid_deploy.run.apply import configured
from catmaid_deploy.schema import Deployment, Instance, Site, folder
from catmaid_deploy.tasks import last_word as asking
from catmaid_deploy.tasks.application import dumps, settings_file
from catmaid_deploy.tasks.programs import additional, celery, daphne, supervisor_file, wsgi
from catmaid_deploy.tasks.programs.slots import Program, full_name, group, places, pointers, start_script

UP = ("RUNNING", "STARTING")
# What an update leaves the host at least.
RESERVE_BYTES = 256 << 20
SET = supervisor_file.SET
Call = tuple[str, str, str]


def same_in_memory(section: Mapping[str, str], memory: dict[str, str]) -> bool:
    """Whether Supervisor has a program as its section in the file describes it."""
    numbers = {"true": "1", "false": "0"}

    def plain(key: str, value: str) -> str:
        return str(int(signal.Signals[f"SIG{value}"])) if key == "stopsignal" else numbers.get(value, value)

    return all(plain(key, section[key]) == value for key, value in memory.items() if key in section)


def programs(instance: Instance) -> list[Program]:
    """The programs of an instance, in the order of a deploy."""
    return [
        *wsgi.programs(instance),
        *daphne.programs(instance),
        *celery.programs(instance),
        *additional.programs(instance),
    ]


def groups(members: list[Program]) -> dict[str, list[Program]]:
    """The programs of each of an instance's groups: what is added or leaves restarts nothing of the others."""
    found: dict[str, list[Program]] = {}
    for program in members:
        found.setdefault(program.group, []).append(program)
    return found


def group_path(name: str) -> str:
    """The file from which Supervisor has a group."""
    return f"/etc/supervisor/conf.d/{name}.conf"


def sections(group_file: File) -> configparser.RawConfigParser:
    """The group's file as Supervisor reads it."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(group_file.text)
    return parser


def _group_file(instance: Instance, name: str, members: list[Program]) -> tuple[File, str]:
    """A group's file and its digest, which a program that was started by it carries in its environment.

    The digest is of what the file says: another comment restarts nothing.
    """
    template, path = "etc/supervisor/conf.d/instance.conf", group_path(name)
    names = [one for program in members for one in program.names.values()]
    values = {"instance": instance, "group": name, "programs": members, "processes": names}
    bare = sections(File(path, render(template, **values, group_digest="")))
    said = digest(*(f"{title} {dict(bare[title])}" for title in bare.sections()))
    return File(path, render(template, **values, group_digest=said)), said


def _group_files(instance: Instance, members: list[Program]) -> dict[str, tuple[File, str]]:
    return {name: _group_file(instance, name, ours) for name, ours in groups(members).items()}


def _check_server(instance: Instance) -> tuple[str, ...]:
    """The web server's own parser, which is the virtualenv's: run as the user who runs it otherwise."""
    stage, virtualenv = f"{{stage}}{instance.config_dir}/wsgi", instance.virtualenv
    if instance.wsgi_server == "uwsgi":
        words: tuple[str, ...] = (f"{virtualenv}/bin/uwsgi", "--strict", "--ini", f"{stage}/uwsgi.ini", "--version")
    else:
        environment = ("env", "CATMAID_RUN=/nowhere", f"PYTHONPATH={instance.projects_dir}")
        gunicorn = (f"{virtualenv}/bin/python", "-m", "gunicorn", "--config", f"{stage}/gunicorn.conf.py")
        words = (*environment, *gunicorn, "--check-config", "os:getcwd")
    return "as user", instance.user, *words


def wanted(instance: Instance, members: list[Program], others: Iterable[File]) -> ConfigurationSet:
    """An instance's folders, start scripts, groups and ``others``, tested by sh, uWSGI and Supervisor.

    The programs' files are at the paths by their links: they are written into the slots that aren't in use.
    """
    i = instance
    # A program that a restart of Supervisor left serves until the next one has loaded.
    meanwhile = rf"{re.escape(i.runtime_dir)}/(wsgi|daphne)-[ab]/ending/[\w-]+\.socket"
    library = start_script(i)
    scripts = [library.path, *(file.path for program in members for file in program.files if file.path.endswith(".sh"))]
    return ConfigurationSet(
        SET + i.name,
        (
            Folder(i.config_dir),
            Folder(i.runtime_dir, i.user, i.runtime_group, i.runtime_mode),
            library,
            *(file for program in members for file in program.files),
            Link(i.release_link, i.checkout),
            *others,
        ),
        of_programs=tuple(Link(path, target, meanwhile) for path, target in i.links.items()),
        trees=("/etc/supervisor",),
        checks=(
            *(("sh", "-n", f"{{stage}}{path}") for path in scripts),
            _check_server(i),
            ("supervisor", "{stage}/etc/supervisor/supervisord.conf"),
        ),
    )


def files(instance: Instance, settings: Iterable[File] = ()) -> ConfigurationSet:
    """An instance's set without what depends on the host."""
    members = programs(instance)
    return wanted(instance, members, [*settings, *(file for file, _ in _group_files(instance, members).values())])


def in_use(instance: Instance, survey: Survey) -> dict[str, str]:
    """For each program the slot that it runs in, such as wsgi-a."""
    found = {}
    for pointer in pointers(instance):
        short = pointer.rpartition("/")[2]
        target = target_of(survey, pointer)
        found[short] = target if target in places(short) else places(short)[0]
    return found


def _way(program: Program, update: str) -> str:
    """How a program takes other files: only a whole new master reads another configuration."""
    return "hand over" if update == "hand over" or program.kind != "web" else "restart"


def decide(
    name: str,
    members: list[Program],
    slots: dict[str, str],
    group_digest: str,
    code: str,
    found: dict[str, answers.Program] | None,
    replaced: Collection[str] = (),
    update: str = "hand over",
    described: Mapping[str, Mapping[str, str]] | None = None,
    server: Collection[str] = (),
    doing: Mapping[str, str] | None = None,
) -> Iterator[Call]:
    """Yield what brings a group from what was found to what is wanted, each with the reason; nothing when it is so.

    + name: Supervisor's group
    + members: its programs
    + slots: where each of them runs, from `in_use`
    + group_digest: the digest of the group's file in conf.d
    + code: what names the code and the Python environment on the host
    + found: the processes that Supervisor has, by group:name; None where it doesn't run
    + replaced: the packages that this run installs into its virtualenv
    + update: how the web server is to be replaced, as the inventory says
    + described: the sections of the group's file
    + server: the packages of its own web server
    + doing: a word about each program, from `asking.doing`
    """
    if found is None:
        yield "update", name, "Supervisor doesn't run yet"
        return
    names = [one for program in members for one in program.names.values()]
    have = {one: found.get(f"{name}:{one}") for one in names}
    running = {n: p for n, p in have.items() if p and p["state"] in UP}
    extra = [n for n in found if n.startswith(f"{name}:") and n.partition(":")[2] not in names]
    if extra or None in have.values():
        yield "update", name, "Supervisor doesn't have its programs"
    elif any(p["group_digest"] not in (group_digest, None) for p in running.values()):
        yield "update", name, "its file is newer than what runs"
    elif described and any(p and not same_in_memory(described[f"program:{n}"], p["config"]) for n, p in have.items()):
        yield "update", name, "Supervisor runs a different configuration than the file"
    for program in members:
        process = have[program.names[slots[program.short]]]
        call = _way(program, update)
        if process is None:
            continue
        if process["state"] not in UP:
            yield "start", program.short, f"it is {process['state']}"
        elif (doing or {}).get(program.short) == "stopped":
            yield "continue", program.short, "a signal has stopped it"
        elif (doing or {}).get(program.short) == "silent":
            yield call, program.short, "it doesn't respond"
        elif process["digest"] is None:
            # Its service user may write this note, and may have put anything in its place.
            note = f"{program.instance.runtime_dir}/{slots[program.short]}/started"
            yield call, program.short, f"{note} doesn't say with which files it runs"
        elif process["digest"] != program.digest:
            yield call, program.short, "it runs with other files"
        elif process["replaced"] or (set(replaced) & set(server) and program.kind == "web"):
            yield call, program.short, "another release of it is installed"
        # These bring nothing else along, and aren't counted as code.
        elif process["code"] != code or set(replaced) - {"uwsgi", "gunicorn"}:
            # One by one they keep what their master has read.
            way = update if program.kind == "web" else call
            yield way, program.short, "its code or Python environment is newer"


# What a report says of a call.
WORDS = {
    "update": "reload the Supervisor group",
    "remove": "stop and remove",
    "chain": "replace, one by one, the processes of",
    "name": "make the links of",
}


def change(site: Site, instance: Instance, survey: Survey, replaced: Collection[str]) -> Change:
    """What differs for an instance; ``replaced`` are the packages that this run installs into its virtualenv."""
    members = programs(instance)
    group_files = _group_files(instance, members)
    settings = settings_file.files(site, instance)
    one = wanted(instance, members, [*settings, *(file for file, _ in group_files.values())])
    left = departed(instance, survey)
    one = replace(
        one, sweep=tuple(f"{instance.config_dir}/{place}" for short in left for place in (short, *places(short)))
    )
    differences = compare(one, survey)
    found = survey["supervisor"]
    slots = in_use(instance, survey)
    code = survey["instances"][instance.name]["code"]
    calls: list[Call] = []
    changed = {d.path.rpartition("/")[0].rpartition("/")[2] for d in differences if d.item}
    if any(d.item in settings for d in differences):
        changed |= {program.short for program in members}
    for name, ours in groups(members).items():
        file, group_digest = group_files[name]
        needed = list(
            decide(
                name,
                ours,
                slots,
                group_digest,
                code,
                found,
                replaced,
                instance.update,
                sections(file),
                wsgi.needed(instance),
                asking.doing(survey, instance),
            )
        )
        if any(d.path == file.path for d in differences) and not any(call == "update" for call, _, _ in needed):
            needed.insert(0, ("update", name, "its file changes"))
        for program in ours:
            # A program that runs with what its file said before.
            if program.short in changed and not any(short in (program.short, name) for _, short, _ in needed):
                needed.append((_way(program, instance.update), program.short, "its files change"))
        calls += needed
    missing = lost(one, survey)
    if missing and ("update", instance.name) not in {call[:2] for call in calls}:
        calls.append(("name", instance.name, f"{', '.join(missing)} doesn't lead to what it has open"))
    calls += [("remove", group(instance, short), "it is no longer in the inventory; its logs stay") for short in left]
    reasons = tuple(
        # Of what Supervisor doesn't tell nothing is known.
        Reason(WORDS.get(call, call), name, why, (f"{name} of {instance.name}", f"{SET}{name}", "supervisor"))
        for call, name, why in calls
    )
    job = service(site, instance, members, [call[:2] for call in calls]) | {"departed": left}
    one = replace(one, service=job if calls else {})
    return Change(one, differences, reasons)


def departed(instance: Instance, survey: Survey) -> list[str]:
    """The programs beside the four that a run has written for this instance, and that its description names no more."""
    place = f"{instance.config_dir}/"
    there = [path for path in survey["manifest"].get(f"{SET}{instance.name}", ()) if path.startswith(place)]
    had = {path.removeprefix(place).partition("/")[0] for path in there if path.count("/") > place.count("/")}
    return sorted(had - set(instance.kinds))


def service(site: Site, instance: Instance, members: list[Program], calls: list[tuple[str, str]]) -> dict[str, Any]:
    """What a job on the host has to know of an instance's programs."""
    return {
        "kind": "supervisor",
        "instance": instance.name,
        "calls": calls,
        "programs": [
            {
                "short": program.short,
                "kind": program.kind,
                "group": program.group,
                "names": program.names,
                "stop_seconds": program.stop_seconds,
            }
            for program in members
        ],
        "config_dir": instance.config_dir,
        "runtime_dir": instance.runtime_dir,
        "log_dir": instance.log_dir,
        "state_dir": instance.state_dir,
        "seconds": instance.start_seconds,
        "user": instance.user,
        "migrate": instance.migrate,
        "dump": dumps.asked(instance),
        "page": {
            "host": site.server_name,
            "names": site.names,
            "status": instance.ready_status,
            "https": site.secure,
            "path": instance.prefix + instance.ready_page,
            "below": instance.ready_page,
            "channels": f"{instance.location}channels/",
        },
        "departed": [],
        "removed": False,
    }


def _asked(program: Program, running: answers.Program) -> int:
    """The memory that a program will need beside the one that runs, which may have had fewer workers."""
    now = max(1, running["processes"] - 1)
    return int(running["memory"] * max(1, program.processes / now))


def judge_memory(instance: Instance, one: Change, survey: Survey) -> Finding | None:
    """What is wrong with an update for which two releases have to fit into the memory."""
    slots = in_use(instance, survey)
    found = survey["supervisor"] or {}
    handed = [short for call, short in one.set.service.get("calls", ()) if call == "hand over"]
    names = {full_name(instance, slots[p.short]): p for p in programs(instance) if p.short in handed}
    needed = sum(_asked(program, found[name]) for name, program in names.items() if name in found)
    free = survey["memory_available"] and survey["memory_available"] + survey["memory_elsewhere"]
    if not handed or not free or needed + RESERVE_BYTES <= free:
        return None
    what = f"two releases at once need {needed >> 20} MiB more, and {free >> 20} MiB are free"
    return fault("update", what, "lower workers, or use 'chain' or 'restart' for this update")


def removals(instances: tuple[Instance, ...], survey: Survey) -> Iterator[Change]:
    """Instances that left the inventory: their programs and files go, logs and data stay."""
    names = {instance.name for instance in instances}
    for title in survey["manifest"]:
        name = title.removeprefix(SET)
        if title == name or name in names:
            continue
        files = [path for path in survey["manifest"][title] if path.startswith(group_path(name).removesuffix("conf"))]
        groups_left = sorted((file.rpartition("/")[2].removesuffix(".conf") for file in files), reverse=True)
        service = {
            "kind": "supervisor",
            "instance": name,
            "calls": [("remove", one) for one in groups_left or [name]],
            "programs": [],
            "removed": True,
        }
        left = ConfigurationSet(title, service=service, sweep=(folder("runtime", name), folder("config", name)))
        why = "it is no longer in the inventory; its logs and data stay"
        yield Change(left, compare(left, survey), (Reason("stop and remove", f"the programs of {name}", why),))


def question(deployment: Deployment) -> questions.Survey:
    return {
        "paths": [path for instance in deployment.instances for path in pointers(instance)],
        "runtime_dirs": {instance.name: instance.runtime_dir for instance in deployment.instances},
    }


def steps(plan: Plan) -> Iterator[Step]:
    outdated = wsgi.outdated(plan.look.deployment, plan.survey)
    for site in plan.look.deployment.sites:
        for instance in site.instances:
            replaced = outdated.get(instance.virtualenv, (None, {}))[1]
            made = change(site, instance, plan.survey, replaced)
            if found := judge_memory(instance, made, plan.survey):
                plan.faults.append(found.below(f"site.instances[{instance.name}]"))
            yield from configured(made)


def removed(plan: Plan) -> Iterator[Step]:
    for one in removals(plan.look.deployment.instances, plan.survey):
        yield from configured(one)


TASK = Task(
    "programs",
    question,
    sets=lambda deployment: [
        files(i, settings_file.files(site, i)) for site in deployment.sites for i in site.instances
    ],
    warnings=lambda look: supervisor_file.warn(look.survey),
    steps=steps,
)
REMOVED = Task("instances that left", steps=removed)
