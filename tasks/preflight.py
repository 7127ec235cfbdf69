"""Everything that can be known to be wrong, of all hosts, said before anything changes on any of them."""

from __future__ import annotations

import difflib
import json
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from pyinfra import host, logger, state
from pyinfra.api import Host
from pyinfra.api.arguments import all_global_arguments
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.context import ctx_config, ctx_host

import configuration
import schema
from facts.survey import Survey
from render import digest
from schema import NGINX_USER, SERVICE_USER, STATE_HOST, Deployment, Instance, TileSet
from tasks import certificates, connection, nginx, packages, passwords, plan, program, releases, run, system

T = TypeVar("T")

SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("24.04",)}
OLDEST_PYTHON = (3, 8)
# Where the deploy writes, and how much it needs there: packages and a compiled uWSGI the first time.
SPACE = ("/usr", "/var/cache/apt/archives", "/var/log", "/var/lib", "/etc", "/tmp")
FIRST_BYTES = 700 << 20
LATER_BYTES = 50 << 20
# How long another run of the package manager is waited for.
PACKAGE_MANAGER_SECONDS = 600
CLOCK_SECONDS = 30
# Groups whose members are root whenever they like.
LIKE_ROOT = ("root", "disk", "kmem", "shadow", "docker", "lxd", "incus-admin", "libvirt")


# What a host's description has, and what pyinfra takes beside that.
KEYS = ["site", "sites", "sudo_password", "_sudo", *SSHConnector.data_cls.__annotations__]
PYINFRAS = {name for name, _ in all_global_arguments()}


def misspelt(data: dict[str, Any]) -> list[str]:
    """Lines about keys that are nearly one which isn't given. Any other is the lab's own."""
    given = set(data) | ({"site", "sites"} if {"site", "sites"} & set(data) else set())
    absent = [key for key in KEYS if key not in given]
    lines = []
    for key in set(data) - set(KEYS) - PYINFRAS:
        close = difflib.get_close_matches(str(key), absent, n=1, cutoff=0.75)
        lines += [f"{key}: unknown key; did you mean {one!r}?" for one in close]
    return sorted(lines)


def validate(one: Host) -> tuple[Deployment | None, list[str]]:
    """What an inventory describes for a host, or the faults of the description."""
    lines = misspelt(one.data.dict())  # type: ignore[no-untyped-call]
    try:
        deployment = schema.load(one.data.get("site"), one.data.get("sites"))
    except schema.InvalidSite as error:
        # A site that is there under another name isn't missing.
        lines += [line for line in error.lines if not (lines and line.startswith("site: missing"))]
    return (None if lines else deployment), lines


def accesses(deployment: Deployment) -> list[tuple[str, str, str, bool]]:
    """Who has to reach what: key, user, path, and whether that is a folder (rows 7 and 9)."""
    found = []
    for i in deployment.instances:
        place = f"site.instances[{i.name}]"
        for path in (i.settings_file, i.wsgi_file, f"{i.virtualenv}/bin/python"):
            found.append((f"{place}.user", i.user, path, False))
        for key in ("static_folder", "files_folder"):
            found.append((f"{place}.{key}", NGINX_USER, getattr(i, key), True))
    for tiles in deployment.tiles:
        place = f"site.tiles[{tiles.name}]"
        found.append((f"{place}.folder", NGINX_USER, tiles.folder, True))
        if tiles.marker:
            found.append((f"{place}.marker", NGINX_USER, tiles.marker, False))
        if tiles.fallback not in ("black", "none"):
            found.append((f"{place}.fallback", NGINX_USER, tiles.fallback, False))
    return found


def flags(deployment: Deployment) -> list[str]:
    """The files that close the host or an instance while they are there (row 18)."""
    return ["/etc/catmaid/maintenance", *(f"{i.config_dir}/maintenance" for i in deployment.instances)]


def _settings_file(instance: Instance) -> str:
    """Where settings.py is, also before a release is in place."""
    path = instance.settings_file
    return instance.releases.lasting(path) if instance.releases else path


def _loading(instance: Instance) -> dict[str, Any]:
    """How Django loads the settings for the deploy: as in the programs' environment.sh, which may not be there yet."""
    environment = {
        "DJANGO_SETTINGS_MODULE": "mysite.settings",
        "PATH": f"{instance.virtualenv}/bin:/usr/local/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": instance.virtualenv,
        **instance.environment,
    }
    said = digest(instance.projects_dir, *(f"{name}={value}" for name, value in sorted(environment.items())))
    notes = f"{instance.runtime_dir}/settings"
    return {"folder": instance.projects_dir, "environment": environment, "said": said, "notes": notes}


def _served(deployment: Deployment) -> list[str]:
    """The folders whose files nginx hands out."""
    instances, tile_sets = deployment.instances, deployment.tiles
    return sorted(
        {
            *(path for i in instances for path in (i.static_folder, i.static_alias, i.files_folder)),
            *(tiles.folder for tiles in tile_sets),
            *(os.path.dirname(tiles.fallback) for tiles in tile_sets if tiles.fallback not in ("black", "none")),
        }
    )


def question(deployment: Deployment, sets: list[configuration.ConfigurationSet]) -> dict[str, Any]:
    """What the survey is to look at."""
    keys = ("name", "user", "runtime_group", "checkout", "virtualenv", "wsgi_file", "settings_file")
    folders = ("static_folder", "files_folder")
    instances = []
    for instance in deployment.instances:
        asked: dict[str, Any] = {key: getattr(instance, key) for key in keys + folders}
        asked["code"] = program.code(instance)
        asked["settings"] = _loading(instance)
        one = instance.releases
        keep = {"folder", "owner", "shared"}
        asked["release"] = one.model_dump(include=keep) | {"proof": one.proof} if one else None
        asked["settings_file"] = _settings_file(instance)
        for key, address in (("database", instance.database), ("broker", instance.broker)):
            asked[key] = address.model_dump() if address else None
        instances.append(asked)
    items = [item for one in sets for item in one.everything]
    links = [path for one in sets for pair in one.stock_links.items() for path in pair]
    return {
        "instances": instances,
        "served": _served(deployment),
        "packages": [*packages.NEEDED, *packages.BROTLI, packages.CERTBOT, packages.GIT, packages.CONFIGURATION],
        "units": [*system.UNITS, system.RENEWAL],
        "space": [*SPACE, *(i.virtualenv for i in deployment.instances)],
        "ports": [80, *([443] if any(site.certificate for site in deployment.sites) else [])],
        "certificates": certificates.question(deployment),
        "tiles": [
            {
                "name": tiles.name,
                "folder": tiles.folder,
                "proof": tiles.proof,
                "mount": tiles.mount,
                "fallback": None if tiles.fallback in ("black", "none") else tiles.fallback,
            }
            for tiles in deployment.tiles
        ],
        "flags": flags(deployment),
        "paths": [
            *(item.path for item in items),
            *links,
            *(site.tls_dir for site in deployment.acme_sites),
            *(path for instance in deployment.instances for path in program.pointers(instance)),
            passwords.KEY,
        ],
        # Files, and the folder and file of passwords that left the inventory, whatever mode somebody gave them.
        "secret": [
            *(item.path for item in items if isinstance(item, configuration.File) and item.secret),
            *(passwords.FOLDER, passwords.LIMITS, passwords.KEY),
        ],
        "access": [(user, path) for _, user, path, _ in accesses(deployment)],
        "nginx": {"user": NGINX_USER, "like": SERVICE_USER, "groups": nginx.groups(deployment)},
        "passwords": passwords.FOLDER,
        "accounts": sorted({NGINX_USER, SERVICE_USER, *(instance.user for instance in deployment.instances)}),
        "state_host": STATE_HOST,
    }


def judge_system(deployment: Deployment, survey: dict[str, Any]) -> list[str]:
    """What is wrong with the host as a whole: key and mend, a line each."""
    if not survey:
        return ["python3: missing on the host: apt install python3"]
    lines = []
    system = survey["os"]
    if system["version"] not in SUPPORTED.get(system["id"], ()):
        lines.append(f"system: {system['name']} isn't supported: use Debian 12 or 13, or Ubuntu 24.04")
    if not survey["systemd"]:
        lines.append("system: systemd doesn't run there: use a host that was booted with systemd")
    needed = FIRST_BYTES if packages.missing(deployment, survey) else LATER_BYTES
    for mount, free in {f["mount"]: f["bytes"] for f in survey["free"]}.items():
        if free < needed:
            lines.append(
                f"space: {free >> 20} MiB are free on {mount}, {needed >> 20} MiB are needed: free some, "
                "for example by 'apt-get clean' and 'journalctl --vacuum-size=100M'"
            )
    for port, holders in survey["ports"].items():
        lines += [
            f"port {port}: held by {name} (process {pid}): stop it, for example by 'systemctl disable --now {name}'"
            for name, pid in holders.items()
            if name != "nginx"
        ]
    return lines


def _judge_python(python: dict[str, Any], instance: Instance) -> str | None:
    again = f"python3 -m venv {instance.virtualenv}, and install CATMAID's requirements into it"
    if "missing" in python:
        return f"{python['missing']} isn't there: correct the path, or make it: {again}"
    if "broken" in python:
        return f"its Python doesn't run ({python['broken']}): make it anew: {again}"
    version = ".".join(str(n) for n in python["version"])
    if tuple(python["version"]) < OLDEST_PYTHON:
        return f"its Python is {version}, 3.8 or later is needed: make it anew: {again}"
    if not python["packages_exist"]:
        return f"it was made for another Python than {version}, which runs there now: make it anew: {again}"
    lacking = [name for name in ("django", "daphne", "celery") if not python["have"][name]]
    if lacking:
        return f"{', '.join(lacking)} isn't installed in it: {instance.virtualenv}/bin/pip install {' '.join(lacking)}"
    if not python["have"]["uwsgi"] and not python["header"] and not python["base"].startswith("/usr/bin/python3"):
        return f"{python['base']} has no C headers, which uWSGI needs: install them"
    return None


def judge_user(instance: Instance, account: dict[str, Any] | None) -> list[str]:
    """What a service user may do that web pages must not: key and mend, a line."""
    if not account:
        return []  # one that isn't there has a line of its own
    rights = ["root"] if account["uid"] == 0 else [group for group in account["groups"] if group in LIKE_ROOT]
    return [
        f"user: {instance.user!r} has the rights of {one!r}, and so root's, which web pages must not have: give another"
        for one in rights[:1]
    ]


def judge_instance(instance: Instance, found: dict[str, Any]) -> list[str]:
    """What is wrong with an application that should be in place (row 31): key and mend, a line each."""
    if not found["user"]:
        return [f"user: there is no user {instance.user!r}: adduser --system --group {instance.user}"]
    if not found["group"]:
        return [f"runtime_group: there is no group {instance.runtime_group!r}: addgroup --system it, or correct it"]
    coming = instance.releases is not None and not found["release"]["there"]
    if coming:
        lines = releases.judge(instance, found["release"])
        python = _judge_python(found["python"], instance)
        return lines + ([f"virtualenv: {python}"] if python else []) + _judge_settings(instance, found)
    if not found["paths"]["checkout"]:
        return [f"checkout: {instance.checkout} isn't there: put CATMAID's code there, or correct the path"]
    lines = []
    if not found["paths"]["settings_file"]:
        lines.append(
            f"checkout: {instance.settings_file} isn't there: make it by django/create_configuration.py, "
            "as CATMAID's installation says"
        )
    if not found["paths"]["wsgi_file"]:
        lines.append(f"wsgi_file: {instance.wsgi_file} isn't there: make it as CATMAID's installation says")
    python = _judge_python(found["python"], instance)
    if python:
        lines.append(f"virtualenv: {python}")
    if not found["folders"]["static_folder"]:
        lines.append(
            f"static_folder: {instance.static_folder} isn't there: "
            f"cd {instance.projects_dir} && {instance.virtualenv}/bin/python manage.py collectstatic"
        )
    if not found["folders"]["files_folder"]:
        lines.append(
            f"files_folder: {instance.files_folder} isn't there: install -d -o {instance.user} {instance.files_folder}"
        )
    return lines + _judge_settings(instance, found)


def _judge_settings(instance: Instance, found: dict[str, Any]) -> list[str]:
    """What in settings.py doesn't fit the inventory."""
    lines = []
    path = _settings_file(instance)
    if instance.releases and found["static_root"]:
        lines.append(
            f"releases: STATIC_ROOT = {found['static_root']!r} in {path} is one folder for all releases, which have "
            "different files: STATIC_ROOT = os.path.join(os.path.dirname(__file__), '../../static')"
        )
    for key, wanted in (("script_name", instance.prefix), ("static_url", f"{instance.location}static/")):
        name = {"script_name": "FORCE_SCRIPT_NAME", "static_url": "STATIC_URL"}[key]
        value = found[key]
        if value is not None and value != wanted:
            lines.append(
                f"prefix: {instance.mount!r} doesn't fit {name} = {value!r} in {path}: "
                f"correct one of them ({name} = {wanted!r})"
            )
            break  # the other one follows from the same mistake
    return lines


def judge_tiles(tiles: TileSet, found: dict[str, Any]) -> list[str]:
    """What is wrong with a tile set (row 13): key and mend, a line each; a disk that isn't mounted is a warning."""
    if tiles.mount and not found["mounted"]:
        return []
    lines = []
    if not found["folder"]:
        lines.append(
            f"folder: {tiles.folder} isn't there: correct the path, or mount its disk; to deploy without it, name "
            "its mount point under mount"
        )
    elif found["is_mount"] and not tiles.marker:
        lines.append(
            f"marker: {tiles.folder} is a mount point, and there without its disk as well: name a file on the disk"
        )
    elif not found["proof"]:
        lines.append(f"marker: {tiles.proof} isn't there: put a file there, or name one that is on the disk")
    if not found["fallback"]:
        lines.append(f"fallback: {tiles.fallback} isn't there: put an image there, or use 'black'")
    return lines


def judge_access(deployment: Deployment, survey: dict[str, Any]) -> list[str]:
    """The first folder on a path that keeps somebody out, and the command that mends it (rows 7 and 9)."""
    lines: dict[tuple[str, str], str] = {}
    for (key, user, path, is_folder), blocked in zip(accesses(deployment), survey["blocked"], strict=True):
        if blocked:
            part, who = blocked
            right, verb = ("x", "enter") if part != path or is_folder else ("r", "read")
            # One command may open it to several.
            lines.setdefault((who + right, part), f"{key}: {user} can't {verb} {part}: chmod {who}+{right} {part}")
    return list(lines.values())


def standing(deployment: Deployment, survey: dict[str, Any]) -> list[str]:
    """What is true of a host between runs as well, and doesn't stop one: key and mend, a line each."""
    lines = [
        f"site[{site.server_name}].{line}" for site in deployment.sites for line in certificates.warn(site, survey)
    ]
    for tiles in deployment.tiles:
        if tiles.mount and not survey["tiles"][tiles.name]["mounted"]:
            lines.append(
                f"site.tiles[{tiles.name}].mount: {tiles.mount} isn't mounted: its tiles answer 503 until it is"
            )
    lines += [f"maintenance: closed, users see the notice: rm {path} when it is over" for path in survey["closed"]]
    lines += passwords.costly(deployment, survey)[1] + nginx.neighbours(survey)
    other = nginx.Server.of(survey).other_default
    if other:
        lines.append(f"nginx: {other} answers host names that no site has; without its default_server nobody would")
    if not packages.has_brotli(survey):
        lines.append("nginx: this host's has no brotli module: answers are compressed by gzip alone")
    for instance in deployment.instances:
        for key, address in survey["instances"][instance.name]["silent"].items():
            lines.append(
                f"site.instances[{instance.name}].{key}: nothing answers at "
                f"{address['host']}:{address['port']}; the deploy goes on"
            )
    connections = sum(i.workers * i.threads for i in deployment.instances)
    if survey["work_mem"] and survey["memory"] and connections * survey["work_mem"] << 10 > survey["memory"]:
        lines.append(
            f"workers: {connections} (workers x threads of all instances) x {survey['work_mem'] >> 10} MiB "
            f"(PostgreSQL's work_mem) = {connections * survey['work_mem'] >> 10} MiB, and the host has "
            f"{survey['memory'] >> 20} MiB: lower workers, threads or work_mem"
        )
    return lines


def warn(deployment: Deployment, survey: dict[str, Any], offset: float) -> list[str]:
    """What the admin should know, and what doesn't stop a run: key and mend, a line each."""
    lines = standing(deployment, survey)
    if abs(offset) > CLOCK_SECONDS:
        lines.append(
            f"clock: the host's is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this machine's: "
            "timedatectl set-ntp true on the one that is wrong"
        )
    last, lock = survey["last_run"], survey["lock"]
    if run.DRY and lock and lock["alive"]:
        lines.append(f"lock: {lock['admin']} deploys there since {lock['since']}: this may change what is shown")
    if last and not last.get("ended") and not (lock and lock["alive"]):
        lines.append(f"the run of {last['admin']} at {last['since']} broke off before its end: this one mends it")
    return lines


class Refused(Exception):
    """A host can't be deployed to; the lines say why."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines)
        self.lines = lines


def ask(fact: type[Survey], asked: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """What one of our scripts answers as root on the current host, and how many seconds its clock is ahead."""
    try:
        connection.become_root()
        before = time.time()
        found: dict[str, Any] = host.get_fact(fact, json.dumps(asked))
        if not found:
            raise Refused(["python3: missing on the host: apt install python3"])
        if found["uid"]:
            raise connection.not_root()
    except connection.NoAccess as error:
        raise Refused([str(error)]) from None
    then = found["time"]
    return found, then - time.time() if then > time.time() else min(0.0, then - before)


def _survey(deployment: Deployment, sets: list[configuration.ConfigurationSet]) -> tuple[dict[str, Any], float]:
    """The host's answer, and how many seconds its clock is ahead. Waits for another run of the package manager."""
    end, asked = time.monotonic() + PACKAGE_MANAGER_SECONDS, question(deployment, sets)
    while True:
        survey, offset = ask(Survey, asked)
        busy = survey["package_manager"]
        if run.DRY or not busy or not packages.missing(deployment, survey):
            return survey, offset
        if time.monotonic() > end:
            raise Refused(
                [f"packages: {busy['name']} (process {busy['pid']}) holds the package manager: wait for it or end it"]
            )
        logger.info(f"{host.print_prefix}waiting for {busy['name']} (process {busy['pid']}), which installs packages")
        gevent.sleep(5)


def _judge_lock(survey: dict[str, Any]) -> list[str]:
    lock = survey["lock"]
    if not lock or not lock["alive"] or run.DRY:
        return []
    since = f"lock: {lock['admin']} deploys there since {lock['since']}"
    return [f"{since}: wait for the end of that run, or end it on the admin's side"]


def look(deployment: Deployment) -> dict[str, Any]:
    """Ask the current host; raises Refused when another run has it. Nothing else of the answer is judged."""
    survey, _ = _survey(deployment, plan.wanted_sets(deployment))
    lines = _judge_lock(survey)
    if lines:
        raise Refused(lines)
    return survey


def judge(deployment: Deployment, survey: dict[str, Any], sets: list[configuration.ConfigurationSet]) -> list[str]:
    """What keeps a host from serving what its inventory says: key and mend, a line each."""
    lines = judge_system(deployment, survey)
    for site in deployment.sites:
        lines += [f"site[{site.server_name}].{line}" for line in certificates.judge(site, survey)]
    lines += passwords.costly(deployment, survey)[0]
    for tiles in deployment.tiles:
        found = survey["tiles"][tiles.name]
        lines += [f"site.tiles[{tiles.name}].{line}" for line in judge_tiles(tiles, found)]
    for instance in deployment.instances:
        found = survey["instances"][instance.name]
        wrong = judge_user(instance, survey["accounts"][instance.user]) + judge_instance(instance, found)
        lines += [f"site.instances[{instance.name}].{line}" for line in wrong]
    lines = lines or judge_access(deployment, survey)
    return [*lines, *configuration.in_the_way(sets, survey)]


def _look(deployment: Deployment) -> plan.Plan:
    """Ask the current host, judge what it says, and decide what there is to do."""
    sets = plan.wanted_sets(deployment)
    survey, offset = _survey(deployment, sets)
    lines = judge(deployment, survey, sets) + _judge_lock(survey)
    if lines:
        raise Refused(lines)
    report = run.report(host.name, deployment.urls)
    report.warnings += warn(deployment, survey, offset)
    for line in report.warnings:
        logger.warning(f"{host.print_prefix}{line}")
    last = survey["last_run"]
    if last.get("ended"):
        report.notes.append(f"last changed {last['since']} by {last['admin']}, revision {last['revision']}")
    made = plan.make(deployment, survey, report)
    if made.faults:
        raise Refused(made.faults)
    return made


def each(deployments: dict[Host, Deployment], look: Callable[[Deployment], T]) -> dict[Host, T | Refused]:
    """What ``look`` finds on each host, all side by side; Refused where it can't be asked."""

    def one_of(one: Host, deployment: Deployment) -> T | Refused:
        with ctx_config.use(state.config.copy()), ctx_host.use(one):
            try:
                return look(deployment)
            except Refused as refused:
                return refused

    asked = {one: gevent.spawn(one_of, one, deployment) for one, deployment in deployments.items()}
    return {one: greenlet.get() for one, greenlet in asked.items()}


def described(hosts: list[Host]) -> tuple[dict[Host, Deployment], dict[str, list[str]]]:
    """What the inventory says of each host, and what is wrong with it where it says it wrong or isn't reached."""
    deployments: dict[Host, Deployment] = {}
    # pyinfra goes on without a host that it can't reach, and has said why.
    faults = {
        one.name: [f"ssh_hostname: not reached, see above: mend that, or leave it out with --exclude {one.name}"]
        for one in sorted(state.failed_hosts, key=lambda one: one.name)
    }
    for one in sorted(hosts, key=lambda one: one.name):
        deployment, lines = validate(one)
        if deployment:
            deployments[one] = deployment
        else:
            faults[one.name] = lines
    return deployments, faults


def _look_at_all(hosts: list[Host]) -> tuple[dict[str, plan.Plan], list[str]]:
    """The plans of all hosts, asked side by side, and the faults of all."""
    deployments, wrong = described(hosts)
    faults = [f"{name}: {line}" for name, lines in wrong.items() for line in lines]
    plans: dict[str, plan.Plan] = {}
    for one, answer in each({} if faults else deployments, _look).items():
        if isinstance(answer, Refused):
            faults += [f"{one.name}: {line}" for line in answer.lines]
        else:
            plans[one.name] = answer
    return plans, faults


def refusal(faults: list[str]) -> SystemExit:
    """What ends a run with exit code 1 and a line for each fault."""
    run.refused(faults)
    return SystemExit("\n".join(f"--> {line}" for line in faults))


def alone() -> tuple[Deployment, dict[str, Any]]:
    """What the inventory says of the current host, and what that answers, for a runbook that changes it; ends the run
    with exit code 1 and a line for each fault.
    """
    deployment, lines = validate(host)
    if deployment is not None:
        try:
            survey = look(deployment)
            connection.keep_password_out_of_sight()
            return deployment, survey
        except Refused as refused:
            lines = refused.lines
    raise refusal([f"{host.name}: {line}" for line in lines]) from None


_first: Any = None


def for_all() -> list[Host]:
    """All hosts of the run, for a runbook that looks at them, shows what it saw and ends the run.

    pyinfra runs a runbook once a host, side by side: the host whose turn comes first does it for all of them, and the
    turns of the others wait for its end.
    """
    global _first
    if _first is None:
        _first = gevent.getcurrent()
        return list(state.inventory.get_active_hosts())
    code: Any = 1
    if isinstance(_first, gevent.Greenlet):
        _first.join()
        code = getattr(_first.exception, "code", 1)
    # pyinfra ends with the code of whichever turn ends last.
    raise SystemExit(code)


_found: Any = None


def check() -> plan.Plan:
    """Validate the inventory of all hosts, survey them, and refuse in clear lines what can't work.

    Ends the run with exit code 1 and a line for each fault: host, key, mend. Nothing has changed by then.
    The host whose turn comes first asks for all of them.
    """
    global _found
    if _found is None:
        _found = gevent.spawn(_look_at_all, list(state.inventory.get_active_hosts()))
    plans: dict[str, plan.Plan]
    plans, faults = _found.get()
    if faults:
        raise refusal(faults)
    connection.keep_password_out_of_sight()
    return plans[host.name]
