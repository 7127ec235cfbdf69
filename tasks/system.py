"""The host as a whole: its system, room and memory, folders at boot, logs, and what systemd starts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Survey, unit_of
from catmaid_deploy.file_sets import Change, ConfigurationSet, File, Folder, Reason, compare
from catmaid_deploy.finding import Command, Finding, fault, warning
from catmaid_deploy.on_host.facts import postgresql
from catmaid_deploy.on_host.facts.units import NGINX, RENEWAL, RENEWED, SUPERVISOR
from catmaid_deploy.on_host.paths import LOG
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.render import render
from catmaid_deploy.run.apply import configured
from catmaid_deploy.schema import Deployment
from catmaid_deploy.tasks import distributions, proxy
from catmaid_deploy.upkeep import output

# As many files and connections as a process of Supervisor's programs may have open; nginx has a number of its own.
DESCRIPTORS = 65536
# Where nginx keeps large bodies and answers for a while, below it.
TEMPORARY = "/var/lib/nginx"
LOGROTATE = "/etc/logrotate.d/catmaid"
# Makes the instances' socket folders at boot.
TMPFILES = "/etc/tmpfiles.d/catmaid.conf"
# Ends Supervisor, with its programs or without, and nginx.
END = "/etc/catmaid/end.sh"
# What others' programs may take to end with Supervisor, at most.
OTHERS_SECONDS = 300

# Where the deploy writes, and how much the first time, in MiB: the packages (some 250 in /usr, with apt's lists and
# archives), and a uWSGI that is compiled below /tmp. Later runs write little anywhere.
SPACE = {"/usr": 320, "/var/cache/apt/archives": 180, "/var/lib": 110, "/tmp": 60, "/var/log": 10, "/etc": 10}
# The same for a service that not every host has; the folders needn't be there.
SPACE_OF_POSTGRESQL = {postgresql.PROGRAMS: 200, "/var/cache/apt/archives/partial": 90, postgresql.DATA: 110}
VIRTUALENV_MIB, LATER_MIB = 20, 50
# CATMAID's environment with what uv keeps of it; of a later one what two don't share has 150.
ENVIRONMENT_MIB = 700
# Less than a worker has for itself: 35 MiB with an application that is nearly nothing but Django.
LEAST_BYTES = 32 << 20
# Where a run notes that it works, and the programs what they are: in memory.
RUN, RUN_MIB = "/run", 1
CLOCK_SECONDS = 30
SET_CLOCK = "correct the one that is wrong; 'timedatectl set-ntp true' keeps it right"

GIB = 1 << 30
# A file system that is nearly full, and one that soon will be.
FULL, FILLING = 0.05, 0.15
FREE_BYTES = GIB
ROTATION, ROTATED = "logrotate.timer", "logrotate.service"


def units(deployment: Deployment) -> list[str]:
    """The services that a host has by its description: nginx for sites, Supervisor for instances."""
    return [*([NGINX] if deployment.sites else []), *([SUPERVISOR] if deployment.instances else [])]


def wanted(deployment: Deployment) -> ConfigurationSet:
    """The files that systemd and logrotate read; their own parsers are the check."""
    services = units(deployment)
    shutdown_seconds = max((i.celery.shutdown_seconds for i in deployment.instances), default=0)
    limits = {"shutdown_seconds": shutdown_seconds, "others_seconds": OTHERS_SECONDS}
    folders = [f"/etc/systemd/system/{unit}.d" for unit in services]
    return ConfigurationSet(
        "system",
        (
            Folder("/etc/catmaid"),
            *(Folder(folder) for folder in folders),
            # Here rather than with the programs: Supervisor's parser wants them before it accepts those.
            *(Folder(i.log_dir, "root", "adm", "755", data=True) for i in deployment.instances),
            *(Folder(i.state_dir, i.user, i.runtime_group, "750", data=True) for i in deployment.instances),
            # Debian's package has it, and others' have another one. nginx's own test wants it.
            *([Folder(TEMPORARY, data=True)] if deployment.sites else []),
            *(
                File(path, render(path[1:], deployment=deployment))
                for path in (TMPFILES, LOGROTATE)
                if deployment.instances
            ),
            *([File(END, render(END[1:], **limits), mode="755")] if services else []),
            *(
                File(
                    f"{folder}/catmaid.conf",
                    render(f"{folder[1:]}/catmaid.conf", **limits, descriptors=DESCRIPTORS),
                )
                for folder in folders
            ),
            *proxy.items(deployment),
        ),
        checks=(
            *([("sh", "-n", f"{{stage}}{END}"), ("systemd-analyze", *services)] if services else []),
            *(
                [
                    ("systemd-tmpfiles", "--create", "--prefix=/nowhere", f"{{stage}}{TMPFILES}"),
                    ("logrotate", "--debug", f"{{stage}}{LOGROTATE}"),
                ]
                if deployment.instances
                else []
            ),
        ),
        service={"kind": "systemd"},
    )


def change(deployment: Deployment, survey: Survey) -> Change:
    """What differs, and what systemd has to be told: also that it read its files in a run that broke off."""
    one = wanted(deployment)
    differences = compare(one, survey)
    services = units(deployment)
    reload = any(d.path.startswith("/etc/systemd/") for d in differences)
    reasons = []
    if not reload and any(unit_of(survey, unit)["needs_daemon_reload"] for unit in (*services, RENEWAL, RENEWED)):
        reload = True
        reasons.append(Reason("reload", "systemd", "its files are newer"))
    wanted_units = (*services, *([RENEWAL] if deployment.acme_sites else []))
    enable = [unit for unit in wanted_units if not unit_of(survey, unit)["enabled"]]
    # A timer that is off renews nothing until the next boot.
    start = [unit for unit in wanted_units if unit == RENEWAL and not unit_of(survey, unit)["active"]]
    # A unit of a package that isn't there yet comes enabled.
    packages = survey["packages"]
    reasons += [Reason("enable", unit, "it doesn't start at boot") for unit in enable if unit.split(".")[0] in packages]
    reasons += [Reason("start", unit, "it is off") for unit in start if unit not in enable and "certbot" in packages]
    one.service.update(enable=[*enable, *start] if reasons or differences else [], reload=reload)
    return Change(one, differences, tuple(reasons))


# ---- the host as it is ----


def judge_system(look: Look) -> Iterator[Finding]:
    """What is wrong with the host as a whole."""
    deployment, survey = look.deployment, look.survey
    system = survey["os"]
    if not distributions.of(survey):
        yield fault("system", f"{system['name']} isn't supported", f"use {distributions.names()}")
    if not survey["systemd"]:
        yield fault("system", "systemd doesn't run there", "use a host that was booted with systemd")
    needed: dict[str, int] = {}
    made = [one for one in deployment.instances if one.made_python]
    to_make = {one.virtualenv for one in made if not survey["environments"][one.name]["there"]}
    for one in survey["free"]:
        mount, first = one["mount"], (SPACE | SPACE_OF_POSTGRESQL).get(one["path"], VIRTUALENV_MIB)
        if mount == RUN:
            needed[mount] = RUN_MIB
        else:
            needed[mount] = needed.get(mount, 0) + first if look.missing else LATER_MIB
        if one["path"] in to_make:
            needed[mount] += ENVIRONMENT_MIB
    for mount, free in {one["mount"]: one["bytes"] for one in survey["free"]}.items():
        if free < needed[mount] << 20:
            text = f"{free >> 20} MiB are free on {mount}, {needed[mount]} MiB are needed"
            yield fault("space", text, free_space(mount))
    yield from _judge_memory(deployment, survey)
    for port, holders in survey["ports"].items():
        for name, holder in holders.items():
            if name != "nginx":
                yield fault(f"port {port}", f"held by {name} (process {holder['pid']})", _freed(port, holder["unit"]))


def _judge_memory(deployment: Deployment, survey: Survey) -> Iterator[Finding]:
    """What is asked for and can't fit, whatever runs now."""
    number = sum(i.processes(survey["processors"]) for i in deployment.instances)
    has = (survey["memory"] or 0) + survey["swap"]
    if survey["memory"] and number * LEAST_BYTES > has:
        what = (
            f"{number} workers (workers and celery.concurrency of all instances) need {number * LEAST_BYTES >> 20} MiB "
            f"at the very least, and the host has {has >> 20} MiB with its swap"
        )
        yield fault("workers", what, "lower workers or celery.concurrency")


def free_space(mount: str) -> Command | str:
    """How a file system gets room: the one with the packages' archives and the journal has some for sure."""
    if mount in ("/", "/var"):
        return Command("apt-get clean; journalctl --vacuum-size=100M")
    return f"remove what isn't needed below {mount}"


def _freed(port: str, unit: str | None) -> Command | str:
    if unit:
        return Command(f"systemctl disable --now {shlex.quote(unit)}")
    return f"have it listen on another port than {port}, or end it and what starts it"


def clock(offset: float) -> str:
    """What is wrong with a host's clock; empty where nothing is."""
    if abs(offset) <= CLOCK_SECONDS:
        return ""
    return f"the host's is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this machine's"


def question(deployment: Deployment) -> questions.Survey:
    return {"units": [*units(deployment), RENEWAL, RENEWED], "space": [*SPACE, RUN], "ports": deployment.ports}


def faults(look: Look) -> Iterator[Finding]:
    return judge_system(look)


def remarks(look: Look) -> Iterator[Finding]:
    if clock(look.ahead):
        yield warning("clock", clock(look.ahead), SET_CLOCK)


def steps(plan: Plan) -> Iterator[Step]:
    yield from configured(change(plan.look.deployment, plan.survey))


# ---- between deploys ----


def glance(deployment: Deployment, verify: bool) -> questions.Health:
    return {"units": [ROTATION, ROTATED], "space": ["/", "/run", "/tmp", "/var/log", "/var/lib"], "logs": []}


def is_full(free: int, size: int) -> bool:
    """Whether a file system has no room to work with; both in bytes."""
    return (free < FULL * size and free < 10 * GIB) or (free < FREE_BYTES and size >= 2 * GIB)


def judge_room(one: Health, mount: str, free: int, size: int) -> None:
    """Note that a file system is full, or nearly; both in bytes."""
    text = f"{mount} has {output.size(free)} of {output.size(size)} free"
    if is_full(free, size):
        one.fault("space", text, free_space(mount))
    elif free < FILLING * size and free < 20 * GIB:
        one.warn("space", text, free_space(mount))


def health(one: Health) -> None:
    assert one.look
    found = one.found
    for space in found["spaces"]:
        if not space["size"]:
            continue
        judge_room(one, space["mount"], space["free"], space["size"])
        if space["files_free"] < FULL:
            fix = f"remove files that nobody needs below {space['mount']}"
            one.fault("space", f"{space['mount']} has room for no more files", fix)
    if wrong := clock(one.look.ahead):
        one.fault("clock", f"{wrong}: logins, certificates and tasks go wrong", SET_CLOCK)
    if found["security_updates"]:
        names = found["security_updates"]
        one.warn("packages", f"{len(names)} security updates wait: {', '.join(names[:4])}", Command("apt-get upgrade"))
    if found["reboot"]:
        one.warn("packages", "an update waits for a reboot", "have the host reboot when nobody is working")
    if not one.survey["manifest"]:
        return
    if one.deployment.sites and not one.is_active(ROTATION):
        one.fault("logs", f"they aren't rotated: {ROTATION} is off", Command(f"systemctl enable --now {ROTATION}"))
    if unit_of(one.survey, ROTATED)["failed"]:
        one.fault(
            "logs", "their last rotation failed", "correct what 'journalctl -u logrotate' says, and start logrotate"
        )
    for path, size in found["old_logs"]:
        rotate = Command("logrotate --verbose /etc/logrotate.conf")
        one.fault("logs", f"{path} has {size >> 20} MiB and isn't rotated", rotate)


def rows(one: Health) -> Iterator[tuple[str, str, str]]:
    for space in one.found["spaces"]:
        if space["size"]:
            yield "space", space["mount"], f"{output.size(space['free'])} of {output.size(space['size'])} free"
    updates = one.found["security_updates"]
    yield "updates", "unknown" if updates is None else f"{len(updates)} for security", ""


def document(one: Health) -> dict[str, Any]:
    survey = one.survey
    return {key: one.found[key] for key in ("uptime", "load", "processors", "spaces", "security_updates")} | {
        "memory": {"total": survey["memory"], "available": survey["memory_available"]}
    }


TASK = Task(
    "system",
    question,
    sets=lambda deployment: [wanted(deployment)],
    faults=faults,
    remarks=remarks,
    steps=steps,
    glance=glance,
    health=health,
    document=document,
    logs=lambda _, __: {"logs": [], "files": ["/usr/lib/os-release", LOG]},
)
# Below what the host serves.
ROOM = Task("room and updates", rows=rows)
