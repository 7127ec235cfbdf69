"""Supervisor: one file and one group an instance (rows 14, 15, 16, 28)."""

from __future__ import annotations

import configparser
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from configuration import Change, ConfigurationSet, File, Folder, compare
from render import digest, render
from schema import Instance
from tasks import celery, daphne, uwsgi
from tasks.program import Program

UP = ("RUNNING", "STARTING")
SET = "programs of "
# How long all programs of an instance together may take until they stay up.
START_SECONDS = 120

Call = tuple[str, str, str]


def same_in_memory(section: Mapping[str, str], memory: dict[str, str]) -> bool:
    """Whether Supervisor has a program as its section in the file describes it."""
    numbers = {"true": "1", "false": "0"}

    def plain(key: str, value: str) -> str:
        return str(int(signal.Signals[f"SIG{value}"])) if key == "stopsignal" else numbers.get(value, value)

    return all(plain(key, section[key]) == value for key, value in memory.items() if key in section)


def programs(instance: Instance) -> list[Program]:
    """The four programs of an instance, in the order of their group."""
    return [*uwsgi.programs(instance), *daphne.programs(instance), *celery.programs(instance)]


def sections(group_file: File) -> configparser.RawConfigParser:
    """The group's file as Supervisor reads it."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(group_file.text)
    return parser


def _group_file(instance: Instance, members: list[Program]) -> tuple[File, str]:
    """The group's file and its digest, which a program that was started by it carries in its environment.

    The digest is of what the file says: another comment restarts nothing.
    """
    template, path = "etc/supervisor/conf.d/instance.conf", f"/etc/supervisor/conf.d/{instance.name}.conf"
    bare = sections(File(path, render(template, instance=instance, programs=members, group_digest="")))
    name = digest(*(f"{title} {dict(bare[title])}" for title in bare.sections()))
    return File(path, render(template, instance=instance, programs=members, group_digest=name)), name


def wanted(instance: Instance, members: list[Program], group_file: File) -> ConfigurationSet:
    """An instance's folders, start scripts and group, tested by sh, uWSGI and Supervisor."""
    i = instance
    scripts = {file.path: file for program in members for file in program.files}
    stages = [f"{{stage}}{path}" for path in scripts if path.endswith(".sh")]
    return ConfigurationSet(
        SET + i.name,
        (
            Folder(i.config_dir),
            Folder(i.runtime_dir, i.user, i.runtime_group, i.runtime_mode),
            Folder(i.private_dir, i.user, i.runtime_group, i.private_mode),
            *scripts.values(),
            group_file,
        ),
        trees=("/etc/supervisor",),
        checks=(
            *(("sh", "-n", script) for script in stages),
            (f"{i.virtualenv}/bin/uwsgi", "--strict", "--ini", f"{{stage}}{i.config_dir}/uwsgi.ini", "--version"),
            ("supervisor", "{stage}/etc/supervisor/supervisord.conf"),
        ),
    )


def files(instance: Instance) -> ConfigurationSet:
    """An instance's set without what depends on the host."""
    members = programs(instance)
    return wanted(instance, members, _group_file(instance, members)[0])


def decide(
    group: str,
    digests: dict[str, str],
    group_digest: str,
    found: dict[str, dict[str, Any]] | None,
    replaced: bool = False,
    described: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[Call]:
    """Yield what brings ``group`` from what was found to what is wanted, each with the reason; nothing when it is so.

    + group: the Supervisor group, which is the instance's name
    + digests: the digest of its files for each program
    + group_digest: the digest of the group's file in conf.d
    + found: the programs that Supervisor has, by group:program; None where it doesn't run
    + replaced: whether this run installs another uWSGI
    + described: the sections of the group's file
    """
    if found is None:
        yield "update", group, "Supervisor doesn't run yet"
        return
    have = {name: found.get(f"{group}:{name}") for name in digests}
    running = {n: p for n, p in have.items() if p and p["state"] in UP}
    extra = [n for n in found if n.startswith(f"{group}:") and n.partition(":")[2] not in digests]
    if extra or None in have.values():
        yield "update", group, "Supervisor doesn't have its programs"
    elif any(p["group_digest"] not in (group_digest, None) for p in running.values()):
        yield "update", group, "its file is newer than what runs"
    elif described and any(p and not same_in_memory(described[f"program:{n}"], p["config"]) for n, p in have.items()):
        yield "update", group, "Supervisor has it otherwise than its file"
    for name, program in have.items():
        if program is None:
            continue
        if program["state"] not in UP:
            yield "start", name, f"it is {program['state']}"
        elif program["digest"] is None:
            yield "restart", name, "it runs without its folder or its start script"
        elif program["digest"] != digests[name]:
            yield "restart", name, "its files are newer"
        elif program["replaced"] or (replaced and name == f"{group}-uwsgi"):
            yield "restart", name, "another release of it is installed"


def change(instance: Instance, survey: dict[str, Any], replaced: bool) -> Change:
    """What differs for an instance; ``replaced`` tells that this run installs another uWSGI."""
    members = programs(instance)
    group_file, group_digest = _group_file(instance, members)
    one = wanted(instance, members, group_file)
    differences = compare(one, survey)
    digests = {program.name: program.digest for program in members}
    found = survey["supervisor"]
    calls = list(decide(instance.name, digests, group_digest, found, replaced, sections(group_file)))
    if any(d.path == group_file.path for d in differences) and not any(call == "update" for call, _, _ in calls):
        calls.insert(0, ("update", instance.name, "its file changes"))
    service = {
        "kind": "supervisor",
        "group": instance.name,
        "calls": [call[:2] for call in calls],
        "log_dir": instance.log_dir,
        "seconds": START_SECONDS,
        "removed": False,
    }
    words = {"update": "have Supervisor take group", "start": "start", "restart": "restart"}
    reasons = tuple(f"{words[call]} {name}: {why}" for call, name, why in calls)
    return Change(replace(one, service=service if calls else {}), differences, reasons)


def removals(instances: tuple[Instance, ...], survey: dict[str, Any]) -> Iterator[Change]:
    """Instances that left the inventory: their programs and files go, logs and data stay."""
    names = {instance.name for instance in instances}
    for title in survey["manifest"]:
        name = title.removeprefix(SET)
        if title == name or name in names:
            continue
        service = {
            "kind": "supervisor",
            "group": name,
            "calls": [("update", name)],
            "log_dir": "",
            "seconds": 0,
            "removed": True,
        }
        left = ConfigurationSet(title, service=service, sweep=(f"/run/{name}",))
        why = f"stop and remove the programs of {name}, which left the inventory; its logs and data stay"
        yield Change(left, compare(left, survey), (why,))
