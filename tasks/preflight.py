"""Everything that can be known to be wrong, of all hosts, said before anything changes on any of them."""

from __future__ import annotations

import difflib
import json
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import gevent
from pyinfra import host, logger, state
from pyinfra.api import Host
from pyinfra.api.arguments import all_global_arguments
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.context import ctx_config, ctx_host

from catmaid_deploy import configuration, schema, shell
from catmaid_deploy.facts.survey import Acme, Available, Migrations, Proxied, Revisions, Survey, Unanswered
from catmaid_deploy.finding import Command, Finding, Refused, fault, warning
from catmaid_deploy.plan import report as reports
from catmaid_deploy.plan import this_run
from catmaid_deploy.render import digest
from catmaid_deploy.run import ending, sudo
from catmaid_deploy.schema import NGINX_USER, SERVICE_USER, SOCKET_GROUP, STATE_HOST, Deployment, Instance, TileSet
from catmaid_deploy.tasks import (
    acme,
    asking,
    causes,
    certificates,
    disks,
    migrations,
    nginx,
    packages,
    passwords,
    plan,
    program,
    proxy,
    releases,
    requested,
    settings,
    supervisor_file,
    system,
    wsgi,
)
from catmaid_deploy.visible import visible

# Of every run, whichever file it was asked for: a deploy, or a runbook.
ending.begin()

T = TypeVar("T")

SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("24.04",)}
OLDEST_PYTHON = (3, 8)
# Also of one that is there and broken. The name of the package with its library has the version in it.
INSTALL_PYTHON = Command(
    "apt-get update && apt-get install -y --reinstall python3 python3-minimal 'libpython3.*-stdlib' 'python3.*-minimal'"
)
# Where the deploy writes, and how much the first time, in MiB: the packages (some 250 in /usr, with apt's lists and
# archives), and a uWSGI that is compiled below /tmp. Later runs write little anywhere.
SPACE = {"/usr": 320, "/var/cache/apt/archives": 180, "/var/lib": 110, "/tmp": 60, "/var/log": 10, "/etc": 10}
VIRTUALENV_MIB, LATER_MIB = 20, 50
# Less than a worker has for itself: 35 MiB with an application that is nearly nothing but Django.
LEAST_BYTES = 32 << 20
# Where a run notes that it works, and the programs what they are: in memory.
RUN, RUN_MIB = "/run", 1
# The files in which CATMAID names the packages that it was made for, with their versions.
REQUIREMENTS = ("requirements.txt", "requirements-async.txt")
# What a user needs of a path.
READ, ENTER, WRITE = "read", "enter", "write"
# The system's own with all that is in them: nothing there is opened by a fix, or served.
KEPT_CLOSED = ("/root", "/etc", "/boot", "/proc", "/sys", "/dev", "/run", "/var/log", "/var/lib/catmaid-deploy")
# Folders that hold others' things, and a few of which a lab's may be one.
SYSTEMS = (*KEPT_CLOSED, "/bin", "/home", "/lib", "/opt", "/sbin", "/tmp", "/usr", "/var", "/var/lib", "/var/cache")
# Debian's services of the kinds that an application may use.
PEERS = {"database": ("postgresql.service",), "broker": ("rabbitmq-server.service", "redis-server.service")}
LOCAL = ("localhost", "127.0.0.1", "::1")
# How long another run of the package manager is waited for.
PACKAGE_MANAGER_SECONDS = 600
# How long a dry run waits for programs that have just begun: it changes nothing, and its reader wants to see.
DRY_SECONDS = 20
CLOCK_SECONDS = 30
# Groups whose members are root whenever they like.
LIKE_ROOT = ("root", "disk", "kmem", "shadow", "docker", "lxd", "incus-admin", "libvirt")


# What a host's description has, and what pyinfra takes beside that.
BESIDE = [key for (key,) in schema.BESIDE]
KEYS = ["site", "sites", *BESIDE, "sudo_password", "_sudo", *SSHConnector.data_cls.__annotations__]
PYINFRAS = {name for name, _ in all_global_arguments()}


def misspelt(data: dict[str, Any]) -> list[Finding]:
    """Keys that are nearly one which isn't given. Any other is the lab's own."""
    given = set(data) | ({"site", "sites"} if {"site", "sites"} & set(data) else set())
    absent = [key for key in KEYS if key not in given]
    found = []
    for key in sorted(set(data) - set(KEYS) - PYINFRAS):
        close = difflib.get_close_matches(str(key), absent, n=1, cutoff=0.75)
        found += [fault(str(key), f"unknown key; did you mean {name!r}?") for name in close]
    return found


def validate(one: Host) -> tuple[Deployment | None, list[Finding]]:
    """What an inventory describes for a host, or the faults of the description."""
    faults = misspelt(one.data.dict())  # type: ignore[no-untyped-call]
    try:
        more = {key: one.data.get(key) for key in BESIDE if one.data.get(key) is not None}
        deployment = schema.load(one.data.get("site"), one.data.get("sites"), **more)
    except schema.InvalidSite as error:
        # A site that is there under another name isn't missing.
        faults += [found for found in error.findings if not (faults and found.what == "missing")]
    return (None if faults else deployment), faults


def accesses(deployment: Deployment) -> list[tuple[str, str, str, str]]:
    """Who has to reach what: key, user, path, and what for (rows 7 and 9)."""
    found = []
    for i in deployment.instances:
        place = f"site.instances[{i.name}]"
        for path in (i.settings_file, i.wsgi_file, f"{i.virtualenv}/bin/python"):
            found.append((f"{place}.user", i.user, path, READ))
        found.append((f"{place}.files_folder", i.user, i.files_folder, WRITE))
        for key in ("static_folder", "extensions_folder", "files_folder"):
            found.append((f"{place}.{key}", NGINX_USER, getattr(i, key), ENTER))
    for tiles in deployment.tiles:
        place = f"site.tiles[{tiles.name}]"
        found.append((f"{place}.folder", NGINX_USER, tiles.folder, ENTER))
        if tiles.marker:
            found.append((f"{place}.marker", NGINX_USER, tiles.marker, READ))
        if tiles.fallback not in ("black", "none"):
            found.append((f"{place}.fallback", NGINX_USER, tiles.fallback, READ))
    return found


def is_systems(path: str) -> bool:
    """Whether a file or folder is the system's own, which nobody gets more rights to by a fix."""
    return any(is_within(path, folder) for folder in KEPT_CLOSED)


def flags(deployment: Deployment) -> list[str]:
    """The files that close the host or an instance while they are there (row 18)."""
    return ["/etc/catmaid/maintenance", *(f"{i.config_dir}/maintenance" for i in deployment.instances)]


def _loading(instance: Instance) -> dict[str, Any]:
    """How Django loads the settings for the deploy."""
    environment = program.environment(instance)
    said = digest(instance.projects_dir, *(f"{name}={value}" for name, value in sorted(environment.items())))
    notes = f"{instance.runtime_dir}/settings"
    return {"folder": instance.projects_dir, "environment": environment, "said": said, "notes": notes}


def _served(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """The folders whose files nginx hands out, each with its key."""
    for i in deployment.instances:
        yield f"site.instances[{i.name}].static_folder", i.static_folder
        yield f"site.instances[{i.name}].extensions_folder", i.extensions_folder
        yield f"site.instances[{i.name}].files_folder", i.files_folder
    for tiles in deployment.tiles:
        yield f"site.tiles[{tiles.name}].folder", tiles.folder


def question(
    deployment: Deployment, sets: list[configuration.ConfigurationSet], load_settings: bool = True
) -> dict[str, Any]:
    """What the survey is to look at. To load new settings takes as long as the application's import."""
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
        asked["settings_file"] = settings.file_of(instance)
        asked["lasting_wsgi_file"] = settings.lasting(instance, instance.wsgi_file)
        asked["requirements"] = [f"{instance.checkout}/django/{name}" for name in REQUIREMENTS]
        for key, address in (("database", instance.database), ("broker", instance.broker)):
            asked[key] = address.model_dump() if address else None
        instances.append(asked)
    items = [item for one in sets for item in one.everything]
    links = [path for one in sets for pair in one.stock_links.items() for path in pair]
    return {
        "instances": instances,
        "load_settings": load_settings,
        "served": sorted({path for _, path in _served(deployment)}),
        "packages": [
            *packages.NEEDED,
            *packages.COMPILER,
            *packages.BROTLI,
            packages.PIP,
            packages.CERTBOT,
            *sorted({site.tls.dns.package for site in deployment.acme_sites if site.tls.dns}),
            packages.GIT,
            packages.CONFIGURATION,
            packages.ACL,
        ],
        "asking": asking.question(deployment),
        "units": [*system.UNITS, *disks.UNITS, system.RENEWAL, system.RENEWED, *PEERS["database"], *PEERS["broker"]],
        "space": [*SPACE, RUN, *(i.virtualenv for i in deployment.instances)],
        "ports": deployment.ports,
        "certificates": certificates.question(deployment),
        "certbot": bool(deployment.acme_sites or acme.brought(deployment)),
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
        "disks": disks.places(deployment),
        "flags": flags(deployment),
        "paths": [
            *(item.path for item in items),
            *links,
            *(site.tls_dir for site in deployment.acme_sites),
            # Made where nginx is another packager's.
            *nginx.DEBIAN_FOLDERS,
            *requested.paths(deployment),
            *certificates.credentials(deployment),
            *(path for instance in deployment.instances for path in program.pointers(instance)),
            passwords.KEY,
        ],
        # Files, and the folder and file of passwords that left the inventory, whatever mode somebody gave them.
        "secret": [
            *(item.path for item in items if isinstance(item, configuration.File) and item.secret),
            *(passwords.FOLDER, passwords.LIMITS, passwords.KEY),
            *certificates.credentials(deployment),
        ],
        "access": [(user, path, want) for _, user, path, want in accesses(deployment)],
        "nginx": {"user": NGINX_USER, "like": SERVICE_USER, "groups": nginx.groups(deployment)},
        "passwords": passwords.FOLDER,
        "accounts": sorted({NGINX_USER, SERVICE_USER, *(instance.user for instance in deployment.instances)}),
        "state_host": STATE_HOST,
    }


def judge_system(deployment: Deployment, survey: dict[str, Any]) -> Iterator[Finding]:
    """What is wrong with the host as a whole."""
    system = survey["os"]
    if system["version"] not in SUPPORTED.get(system["id"], ()):
        yield fault("system", f"{system['name']} isn't supported", "use Debian 12 or 13, or Ubuntu 24.04")
    if not survey["systemd"]:
        yield fault("system", "systemd doesn't run there", "use a host that was booted with systemd")
    is_first = bool(packages.missing(deployment, survey))
    needed: dict[str, int] = {}
    for one in survey["free"]:
        mount, first = one["mount"], SPACE.get(one["path"], VIRTUALENV_MIB)
        if mount == RUN:
            needed[mount] = RUN_MIB
        else:
            needed[mount] = needed.get(mount, 0) + first if is_first else LATER_MIB
    for mount, free in {one["mount"]: one["bytes"] for one in survey["free"]}.items():
        if free < needed[mount] << 20:
            text = f"{free >> 20} MiB are free on {mount}, {needed[mount]} MiB are needed"
            yield fault("space", text, free_space(mount))
    yield from _judge_memory(deployment, survey)
    for port, holders in survey["ports"].items():
        for name, holder in holders.items():
            if name != "nginx":
                yield fault(f"port {port}", f"held by {name} (process {holder['pid']})", _freed(port, holder["unit"]))


def _judge_memory(deployment: Deployment, survey: dict[str, Any]) -> Iterator[Finding]:
    """What is asked for and can't fit, whatever runs now."""
    number = sum(i.workers + (i.celery.concurrency or survey["processors"]) for i in deployment.instances)
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


def collected(instance: Instance, owner: str) -> Command:
    """What puts an application's static files in place."""
    # CATMAID's settings call cssmin, which is in the virtualenv.
    collect = f"cd {instance.projects_dir} && PATH={instance.virtualenv}/bin:$PATH python manage.py collectstatic"
    return settings.as_owner(owner, f"{collect} --noinput")


def _judge_python(python: dict[str, Any], instance: Instance, requirements: list[str]) -> Iterator[Finding]:
    again = "have it made anew with the host's python3, and install CATMAID's requirements into it"
    key = "virtualenv"
    version = ".".join(str(n) for n in python.get("version", ()))
    if "unreachable" in python:
        return  # who is kept out, and by which folder, has a line of its own
    if "missing" in python:
        yield fault(key, f"{python['missing']} isn't there", f"correct the path, or {again}")
    elif "broken" in python:
        yield fault(key, f"{instance.virtualenv}/bin/python doesn't run ({python['broken']})", again)
    elif tuple(python["version"]) < OLDEST_PYTHON:
        yield fault(key, f"{instance.virtualenv}/bin/python is Python {version}, 3.8 or later is needed", again)
    elif not python["packages_exist"]:
        yield fault(key, f"it was made for another Python than {version}, which runs there now", again)
    elif lacking := [name for name in ("django", "daphne", "celery") if not python["have"][name]]:
        # The versions that this CATMAID was made for, and no others.
        install = f"{instance.virtualenv}/bin/pip install " + " ".join(f"-r {path}" for path in requirements)
        fix = (
            settings.as_owner(python["owner"], install)
            if requirements
            else "have CATMAID's own requirements installed into it"
        )
        yield fault(key, f"{', '.join(lacking)} isn't installed in it", fix)
    elif not python["have"]["uwsgi"] and not python["header"] and not python["base"].startswith("/usr/bin/python3"):
        yield fault(
            key, f"{python['base']} has no C headers, which uWSGI needs", "have the headers of that Python installed"
        )


def judge_user(instance: Instance, account: dict[str, Any] | None) -> Iterator[Finding]:
    """What a service user may do that web pages must not."""
    if not account:
        return  # one that isn't there has a line of its own
    rights = ["root"] if account["uid"] == 0 else [group for group in account["groups"] if group in LIKE_ROOT]
    if rights:
        what = f"{instance.user!r} has the rights of {rights[0]!r}, and so root's, which web pages must not have"
        yield fault("user", what, "give another")


def judge_instance(instance: Instance, found: dict[str, Any], has_directory: bool = False) -> Iterator[Finding]:
    """What is wrong with an application that should be in place (row 31)."""
    if not found["user"]:
        add = Command(f"adduser --system --group {instance.user}")
        # One of this host would hide the directory's for good.
        look = f"see whether the directory service answers (getent passwd {instance.user}), or name another"
        yield fault("user", f"there is no user {instance.user!r}", look if has_directory else add)
        return
    if not found["group"]:
        add = Command(f"addgroup --system {instance.runtime_group}")
        yield fault("runtime_group", f"there is no group {instance.runtime_group!r}", add)
        return
    coming = instance.releases is not None and not found["release"]["there"]
    if coming:
        yield from releases.judge(instance, found["release"])
    elif not found["paths"]["checkout"]:
        yield fault("checkout", f"{instance.checkout} isn't there", "put CATMAID's code there, or correct the path")
        return
    else:
        yield from _judge_files(instance, found)
    yield from _judge_python(found["python"], instance, found["requirements"])
    yield from settings.judge(instance, found)


def _judge_files(instance: Instance, found: dict[str, Any]) -> Iterator[Finding]:
    """What an application in place lacks."""
    as_said = "as CATMAID's installation page says"
    if not found["paths"]["settings_file"]:
        yield fault(
            "checkout",
            f"{instance.settings_file} isn't there",
            f"have django/create_configuration.py make it, {as_said}",
        )
    if not found["paths"]["wsgi_file"]:
        yield fault("wsgi_file", f"{instance.wsgi_file} isn't there", f"have it made {as_said}")
    if not found["folders"]["static_folder"]:
        yield fault("static_folder", f"{instance.static_folder} isn't there", collected(instance, found["owner"]))
    if not found["folders"]["files_folder"]:
        make = Command(f"install -d -o {instance.user} {instance.files_folder}")
        yield fault("files_folder", f"{instance.files_folder} isn't there", make)


NAME_ANOTHER = "name a folder that holds nothing but what is to be served"
# What a folder that nginx serves holds and nobody wants to be read, as the survey calls it.
_PRIVATE = {
    "settings": "a file of settings",
    "repository": "a repository",
    "environment": "a Python environment",
    "key": "a private key",
}


def judge_served(deployment: Deployment, survey: dict[str, Any]) -> Iterator[Finding]:
    """Folders that are served and aren't meant to be: one line each."""
    own = [path for i in deployment.instances for path in (i.projects_dir, i.virtualenv, i.state_dir, i.log_dir)]
    own += [i.releases.folder for i in deployment.instances if i.releases]
    for key, path in _served(deployment):
        found = survey["served_folders"][path]
        held = next((one for one in own if is_within(one, path) or is_within(one, found["real"])), None)
        if holds_systems(path) or holds_systems(found["real"]):
            yield fault(key, f"{path} is the system's, and nginx would serve what is in it", NAME_ANOTHER)
        elif held:
            yield fault(key, f"{path} has {held} in it, which nginx would serve", NAME_ANOTHER)
        elif found["holds"]:
            kind, name = found["holds"][0]
            yield fault(key, f"{path} has {_PRIVATE[kind]} in it, {name}, which nginx would serve", NAME_ANOTHER)
    for tiles in deployment.tiles:
        if tiles.fallback not in ("black", "none") and is_systems(tiles.fallback):
            key = f"site.tiles[{tiles.name}].fallback"
            yield fault(key, f"{tiles.fallback} is the system's, and nginx would serve it", "name an image elsewhere")


def _links(deployment: Deployment, survey: dict[str, Any]) -> Iterator[Finding]:
    """Links in an application's served folders that nginx doesn't follow, since they lead to what another user owns."""
    tiles = {one.folder for one in deployment.tiles}
    for key, path in _served(deployment):
        for name in survey["served_folders"][path]["links"] if path not in tiles else ():
            what = f"{path}/{name} is a link to what another user owns: who asks for what is behind it gets 403"
            # No command: what root would type here, whoever may write there could turn to another file.
            yield warning(key, what, "have the owner of what it leads to make the link anew, or remove it")


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def holds_systems(folder: str) -> bool:
    """Whether a folder is one of the system's, lies in one that is all the system's, or holds one."""
    return is_systems(folder) or any(is_within(one, folder) for one in SYSTEMS)


def judge_tiles(tiles: TileSet, found: dict[str, Any]) -> Iterator[Finding]:
    """What is wrong with a tile set (row 13); a disk that isn't mounted is a warning."""
    if tiles.mount and not found["mounted"]:
        return
    if not found["folder"]:
        yield fault(
            "folder",
            f"{tiles.folder} isn't there",
            "correct the path, or have its disk mounted; to deploy without it, name its mount point under mount",
        )
    elif found["is_mount"] and not tiles.marker:
        yield fault(
            "marker",
            f"{tiles.folder} is a mount point, and there without its disk as well",
            "name a file that lies on the disk",
        )
    elif not found["proof"]:
        yield fault("marker", f"{tiles.proof} isn't there", "put a file there, or name one that is on the disk")
    if not found["fallback"]:
        yield fault("fallback", f"{tiles.fallback} isn't there", "put an image there, or use 'black'")


def judge_access(deployment: Deployment, survey: dict[str, Any]) -> list[Finding]:
    """The first folder on a path that keeps somebody out, and the command that lets this one user in (rows 7, 9)."""
    found: dict[tuple[str, str], Finding] = {}
    for (key, user, path, want), blocked in zip(accesses(deployment), survey["blocked"], strict=True):
        if blocked:
            part, letter = blocked
            # nginx's own user may not be there yet, and has this group: one command may open it to both.
            whom = f"g:{SOCKET_GROUP}" if user in (NGINX_USER, SERVICE_USER) else f"u:{user}"
            whom = "owner" if letter == "u" else whom
            one = _let_in(key, user, part, want if part == path else ENTER, whom, survey)
            found.setdefault((whom, part), one)
    return list(found.values())


def _unsteady(deployment: Deployment, survey: dict[str, Any]) -> Iterator[Finding]:
    """Environments that their user couldn't get at, and to which every folder is open by now."""
    for instance in deployment.instances:
        if "unreachable" in survey["instances"][instance.name]["python"]:
            what = f"{instance.user} couldn't reach {instance.virtualenv}, and then could: somebody changes its folders"
            yield fault(f"site.instances[{instance.name}].virtualenv", what, "run again when nobody does")


def _let_in(key: str, user: str, part: str, want: str, whom: str, survey: dict[str, Any]) -> Finding:
    """What to say of a file or folder that keeps a user out; nobody else gets in by the fix."""
    verb = {READ: "read", ENTER: "enter", WRITE: "write in"}[want]
    what = f"{user} can't {verb} {part}"
    if is_systems(part):
        return fault(key, what, f"put what belongs to it elsewhere: {part} isn't to be opened")
    rights = {READ: "r", ENTER: "x", WRITE: "rwx"}[want]
    if whom == "owner":
        return fault(key, what, Command(f"chmod u+{rights} {shlex.quote(part)}"))
    # What is in a folder already is written to as well, and what others add later.
    entry = f"-R -m {whom}:rwX,d:{whom}:rwX" if want == WRITE else f"-m {whom}:{rights}"
    return fault(key, what, packages.setfacl(entry, part, survey))


def standing(deployment: Deployment, survey: dict[str, Any]) -> Iterator[Finding]:
    """What is true of a host between runs as well, and doesn't stop one."""
    for site in deployment.sites:
        own = (*certificates.warn(site, survey), *requested.warn(site, survey))
        yield from (found.below(f"site[{site.server_name}]") for found in own)
    yield from disks.warn(deployment, survey)
    for tiles in deployment.tiles:
        state = survey["tiles"][tiles.name]
        if tiles.mount and not state["mounted"]:
            yield warning(
                f"site.tiles[{tiles.name}].mount",
                f"{tiles.mount} isn't mounted, its tiles answer 503",
                Command(f"mount {tiles.mount}") if state["in_fstab"] else "have its disk mounted there",
            )
        if state["writers"]:
            who = " and ".join(state["writers"])
            what = f"{tiles.folder} can be changed by {who}, and nginx follows a link there to whatever nginx may read"
            yield warning(f"site.tiles[{tiles.name}].folder", what, "have another user own it, or mount it read-only")
    for path in survey["closed"]:
        yield warning("maintenance", f"{path} is there, users see the notice", _opened(deployment, path))
    yield from (found for found in passwords.costly(deployment, survey) if found.level == "warning")
    yield from nginx.neighbours(survey)
    for path, user in survey["nginx_files_of_others"]:
        what = f"{path} can be changed by {user}, and nginx reads it as root"
        yield warning("nginx", what, "have root alone own it and the folders that lead to it")
    yield from supervisor_file.warn(survey)
    yield from acme.neighbours(deployment, survey)
    for path, sockets in nginx.Server.of(survey).answer_unknown_names.items():
        what = f"{path} answers host names that no site has, on {', '.join(sockets)}"
        yield warning("nginx", f"{what}; without its default_server nobody would")
    if not packages.has_brotli(survey):
        yield warning("nginx", "this host's has no brotli module, answers are compressed by gzip alone")
    if survey["somaxconn"] < wsgi.BACKLOG and any(i.wsgi_server == "uwsgi" for i in deployment.instances):
        what = f"net.core.somaxconn is {survey['somaxconn']}: so few requests may wait for uWSGI, further ones get 502"
        keep = "/etc/sysctl.d/60-catmaid.conf"
        yield warning("kernel", what, Command(f"echo net.core.somaxconn=4096 > {keep} && sysctl -p {keep}"))
    for instance in deployment.instances:
        for key, address in survey["instances"][instance.name]["silent"].items():
            place = f"site.instances[{instance.name}].{key}"
            what = f"nothing answers at {address['host']}:{address['port']}"
            here = start_here(key, address["host"], survey)
            yield warning(place, what, here or "start it there, or correct the address")
    yield from _links(deployment, survey)
    yield from settings.standing(deployment, survey)
    yield from _judge_work_mem(deployment, survey)


def start_here(part: str, address: str, survey: dict[str, Any]) -> Command | None:
    """The command for a database or broker at an address of the host's own that is installed there and doesn't run."""
    if address not in LOCAL:
        return None
    known = survey["units"]
    down = [unit for unit in PEERS[part] if known.get(unit, {}).get("enabled") and not known[unit]["active"]]
    return Command(f"systemctl start {down[0].removesuffix('.service')}") if len(down) == 1 else None


def _opened(deployment: Deployment, path: str) -> Command:
    """What opens again what is closed by a flag."""
    instance = next((i.name for i in deployment.instances if path == f"{i.config_dir}/maintenance"), None)
    which = f" --data instance={instance}" if instance else ""
    return this_run.command("runbooks/maintenance.py", f"--data maintenance=off{which}")


def _judge_work_mem(deployment: Deployment, survey: dict[str, Any]) -> Iterator[Finding]:
    connections = sum(i.workers * i.threads for i in deployment.instances)
    if survey["work_mem"] and survey["memory"] and connections * survey["work_mem"] << 10 > survey["memory"]:
        yield warning(
            "workers",
            f"{connections} (workers x threads of all instances) x {survey['work_mem'] >> 10} MiB "
            f"(PostgreSQL's work_mem) = {connections * survey['work_mem'] >> 10} MiB, and the host has "
            f"{survey['memory'] >> 20} MiB",
            "lower workers, threads or work_mem",
        )


def clock(offset: float) -> str:
    """What is wrong with a host's clock; empty where nothing is."""
    if abs(offset) <= CLOCK_SECONDS:
        return ""
    return f"the host's is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this machine's"


SET_CLOCK = "correct the one that is wrong; 'timedatectl set-ntp true' keeps it right"


def warn(deployment: Deployment, survey: dict[str, Any], offset: float, to_do: bool = True) -> list[Finding]:
    """What the admin should know, and what doesn't stop a run; ``to_do`` says whether it changes anything."""
    found = list(standing(deployment, survey))
    if clock(offset):
        found.append(warning("clock", clock(offset), SET_CLOCK))
    for name, instance in survey["instances"].items():
        if problem := instance["settings_problem"]:
            what = f"its settings can't be loaded, and so its folders weren't compared with Django's: {problem}"
            found.append(warning(f"site.instances[{name}].checkout", what, "correct settings.py"))
    last, lock = survey["last_run"], survey["lock"]
    if this_run.DRY and lock and lock["alive"]:
        text = f"{lock['admin']} deploys there since {lock['since']}, which may change what is shown"
        found.append(warning("lock", text))
    if last and not last.get("ended") and not (lock and lock["alive"]):
        left = "a run does" if this_run.DRY else "this one does"
        end = f"{left} what is left" if to_do else "nothing is left to do of it"
        found.append(warning("deploy", f"the run of {last['admin']} at {last['since']} was cut before its end; {end}"))
    return found


def ask(fact: type[Survey], asked: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """What one of our scripts answers as root on the current host, and how many seconds its clock is ahead."""
    sudo.become_root()
    before, question = time.time(), json.dumps(asked)
    # pyinfra shows what a fact is asked.
    hidden = HiddenValue(question) if asked.get("fetching") else question  # type: ignore[no-untyped-call]
    try:
        found: dict[str, Any] = host.get_fact(fact, hidden)
    except shell.NotBegun as said:
        raise sudo.no_commands(str(said)) from None
    except Unanswered as said:
        raise Refused(fault("python3", f"the host's doesn't run ({said})", INSTALL_PYTHON)) from None
    if not found:
        raise Refused(fault("python3", "missing on the host", INSTALL_PYTHON))
    if found["uid"]:
        raise sudo.not_root()
    then = found["time"]
    return found, then - time.time() if then > time.time() else min(0.0, then - before)


def say_begun(programs: list[str], said: str) -> str:
    """Say what is waited for, unless that was ``said`` before; returns it."""
    line = f"waiting for {', '.join(programs)}, which has just begun"
    if line != said:
        logger.info(f"{host.print_prefix}{line}")
    return line


def _survey(
    deployment: Deployment, sets: list[configuration.ConfigurationSet], load_settings: bool = True
) -> tuple[dict[str, Any], float]:
    """The host's answer, and how many seconds its clock is ahead. Waits for another run of the package manager."""
    end, asked = time.monotonic() + PACKAGE_MANAGER_SECONDS, question(deployment, sets, load_settings)
    patience = max((instance.start_seconds for instance in deployment.instances), default=0)
    latest = time.monotonic() + (min(patience, DRY_SECONDS) if this_run.DRY else patience)
    said = ""
    while True:
        survey, offset = ask(Survey, asked)
        busy = survey["package_manager"]
        begun = asking.starting(survey)
        if begun and time.monotonic() < latest:
            said = say_begun(begun, said)
            gevent.sleep(2)
            continue
        if this_run.DRY or not busy or not packages.missing(deployment, survey):
            return survey, offset
        who = f"{busy['name']} (process {busy['pid']})"
        if time.monotonic() > end:
            raise Refused(fault("packages", f"{who} holds the package manager", "run again after its end, or end it"))
        logger.info(f"{host.print_prefix}waiting for {visible(who)}, which installs packages")
        gevent.sleep(5)


def _judge_lock(survey: dict[str, Any]) -> list[Finding]:
    lock = survey["lock"]
    if not lock or not lock["alive"] or this_run.DRY:
        return []
    since = f"{lock['admin']} deploys there since {lock['since']}"
    return [fault("lock", since, "run again after the end of that run, or end it on the admin's side")]


def look(deployment: Deployment) -> dict[str, Any]:
    """Ask the current host; raises Refused when another run has it. Nothing else of the answer is judged."""
    survey, _ = _survey(deployment, plan.wanted_sets(deployment), load_settings=False)
    faults = _judge_lock(survey)
    if faults:
        raise Refused(*faults)
    return survey


def judge(deployment: Deployment, survey: dict[str, Any], sets: list[configuration.ConfigurationSet]) -> list[Finding]:
    """What keeps a host from serving what its inventory says."""
    if late := list(disks.judge(deployment, survey)):
        return late
    faults = list(judge_system(deployment, survey))
    for site in deployment.sites:
        of_site = (*certificates.judge(site, survey), *requested.judge(site, survey))
        faults += [one.below(f"site[{site.server_name}]") for one in of_site]
    faults += [found for found in passwords.costly(deployment, survey) if found.level == "fault"]
    hung = disks.hung_tiles(deployment, survey)
    for tiles in deployment.tiles:
        if tiles.name in hung:
            continue
        found = survey["tiles"][tiles.name]
        faults += [one.below(f"site.tiles[{tiles.name}]") for one in judge_tiles(tiles, found)]
    for instance in deployment.instances:
        found = survey["instances"][instance.name]
        roots = {one.place: one for one in settings.judge_roots(instance, survey)}
        judged = (
            *judge_user(instance, survey["accounts"][instance.user]),
            *judge_instance(instance, found, survey["directory"]["is_asked"]),
            *nginx.judge_group(instance, survey),
        )
        # What is missing would be made in the other place.
        wrong = [one for one in judged if one.place not in roots]
        faults += [one.below(f"site.instances[{instance.name}]") for one in (*wrong, *roots.values())]
    faults = faults or [*judge_served(deployment, survey), *judge_access(deployment, survey)]
    faults = faults or list(_unsteady(deployment, survey))
    return [*faults, *asking.judge(survey), *configuration.in_the_way(sets, survey)]


def _foretell(deployment: Deployment, made: plan.Plan) -> None:
    """Ask the database what a run would find out by itself. Only where other code comes: that takes its time."""
    waiting = migrations.waiting(deployment, made.changes, made.survey)
    if not waiting:
        return
    found = ask(Migrations, migrations.question(waiting, made.survey))[0]["migrations"]
    faults = [one for instance in waiting for one in migrations.judge(instance, found[instance.name])]
    if faults:
        raise Refused(*faults)
    made.report.notes += [note for instance in waiting for note in migrations.notes(instance, found[instance.name])]


def _refuse_what_is_nowhere(deployment: Deployment, made: plan.Plan) -> None:
    """Ask repositories and the package index for what a run would fetch. It costs a command each, and only then."""
    if (asked := proxy.question(made)) and (found := [*proxy.judge(deployment, ask(Proxied, asked)[0]["refused"])]):
        # Of all else nothing would be known.
        raise Refused(*found)
    faults: list[Finding] = []
    fetching = {"fetching": made.fetching}
    if made.releases:
        revisions = ask(Revisions, releases.question(made.releases) | fetching)[0]["revisions"]
        faults += [one for i in made.releases for one in releases.judge_revision(i, revisions[i.name])]
    if servers := acme.strange(made.from_acme):
        strangers = ask(Acme, {"servers": servers} | fetching)[0]["strangers"]
        faults += acme.judge(made.from_acme, strangers)
    if made.servers:
        versions = ask(Available, wsgi.question(made.servers) | fetching)[0]["available"]
        faults += wsgi.judge_available(made.servers, versions)
    if faults:
        raise Refused(*dict.fromkeys(proxy.blamed(one, deployment) for one in faults))


def _look(deployment: Deployment) -> plan.Plan:
    """Ask the current host, judge what it says, and decide what there is to do."""
    sets = plan.wanted_sets(deployment)
    survey, offset = _survey(deployment, sets)
    faults = judge(deployment, survey, sets) + _judge_lock(survey)
    if faults:
        raise Refused(*faults)
    report = reports.report(host.name, asking.question(deployment))
    last = survey["last_run"]
    if last.get("ended"):
        report.notes.append(f"last changed {last['since']} by {last['admin']}, revision {last['revision']}")
    made = plan.make(deployment, survey, report)
    report.warnings = [*warn(deployment, survey, offset, bool(made)), *report.warnings]
    for found in report.warnings:
        logger.warning(f"{host.print_prefix}{found.line()}")
    if made.faults:
        raise Refused(*made.faults)
    _refuse_what_is_nowhere(deployment, made)
    if this_run.DRY:
        _foretell(deployment, made)
    # What a run changes is asked for at its end.
    if this_run.DRY or not made:
        wrong = asking.standing(survey) if made else asking.findings(survey)
        if survey["manifest"]:
            report.wrong = causes.folded(wrong, causes.needs(deployment))
        else:
            # Of a host that is adopted the old site goes when all else is known to be well.
            report.warnings += [replace(found, level="warning") for found in wrong]
        report.served = survey["asked"]["served"]
    report.away = asking.away(deployment, survey)
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


def described(hosts: list[Host]) -> tuple[dict[Host, Deployment], dict[str, list[Finding]]]:
    """What the inventory says of each host, and what is wrong with it where it says it wrong or isn't reached."""
    deployments: dict[Host, Deployment] = {}
    # pyinfra goes on without a host that it can't reach, and has said why.
    faults = {
        one.name: [
            fault("ssh_hostname", "not reached, see above", f"correct that, or leave it out with --exclude {one.name}")
        ]
        for one in sorted(state.failed_hosts, key=lambda one: one.name)
    }
    for one in sorted(hosts, key=lambda one: one.name):
        deployment, wrong = validate(one)
        if deployment:
            deployments[one] = deployment
        else:
            faults[one.name] = wrong
    return deployments, faults


def _look_at_all(hosts: list[Host]) -> tuple[dict[str, plan.Plan], list[tuple[str, Finding]]]:
    """The plans of all hosts, asked side by side, and the faults of all."""
    deployments, wrong = described(hosts)
    faults = [(name, found) for name, some in wrong.items() for found in some]
    plans: dict[str, plan.Plan] = {}
    for one, answer in each({} if faults else deployments, _look).items():
        if isinstance(answer, Refused):
            faults += [(one.name, found) for found in answer.findings]
        else:
            plans[one.name] = answer
    return plans, faults


def refusal(faults: list[tuple[str, Finding]]) -> SystemExit:
    """What ends a run with exit code 1 and a line for each fault, which is one of a host."""
    reports.refused(faults)
    return SystemExit("\n".join(f"--> {found.line(name)}" for name, found in faults))


def options(*known: str) -> None:
    """End the run with exit code 1 and a line for each name given with --data that a runbook doesn't know.

    pyinfra would add it to what the inventory says, where nobody reads it: all hosts or instances would be meant.
    """
    faults = []
    for name in sorted(set(state.inventory.override_data) - {*known, *SSHConnector.data_cls.__annotations__}):
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        fix = f"did you mean {close[0]}?" if close else takes
        faults.append(fault(f"--data {name}", "this runbook doesn't know it", fix))
    if faults:
        raise refusal([("", found) for found in faults])


def one_instance(deployment: Deployment) -> Instance | None:
    """The instance that --data instance=NAME names; None where all of the current host are meant. Ends the run with
    exit code 1 and a line where there is no such one.
    """
    name = host.data.get("instance")
    if name is None:
        return None
    found = next((one for one in deployment.instances if one.name == str(name)), None)
    if found is None:
        known = ", ".join(one.name for one in deployment.instances)
        fix = f"give one of {known}, or none for all of the host"
        raise refusal([(host.name, fault("instance", f"there is no {str(name)!r}", fix))])
    return found


def alone() -> tuple[Deployment, dict[str, Any]]:
    """What the inventory says of the current host, and what that answers, for a runbook that changes it; ends the run
    with exit code 1 and a line for each fault.
    """
    deployment, faults = validate(host)
    if deployment is not None:
        try:
            survey = look(deployment)
            sudo.keep_password_out_of_sight()
            return deployment, survey
        except Refused as refused:
            faults = list(refused.findings)
    raise refusal([(host.name, found) for found in faults]) from None


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

    Ends the run with exit code 1 and a line for each fault: host, key, what is wrong, its fix. Nothing has changed by
    then.
    The host whose turn comes first asks for all of them.
    """
    global _found
    if _found is None:
        _found = gevent.spawn(_look_at_all, list(state.inventory.get_active_hosts()))
    plans: dict[str, plan.Plan]
    plans, faults = _found.get()
    if faults:
        raise refusal(faults)
    sudo.keep_password_out_of_sight()
    return plans[host.name]
