"""Runs on the host, as root, with its own python3 (3.9 or later) and nothing else; prints JSON.

Reads only. The argument is JSON, made by `run.preflight.question`. What takes a process of its own is
started first and read last, so that the host works on it meanwhile. What isn't root's own is asked by `Places`.
"""

import os
import resource
import ssl
import stat
import time

from catmaid_deploy.on_host.facts.answer import answer, is_hanging
from catmaid_deploy.on_host.facts.application import (
    ask_applications,
    ask_work_mem,
    settings_of,
    settings_to_load,
    survey_instance,
)
from catmaid_deploy.on_host.facts.asking import begin_asking, end_asking
from catmaid_deploy.on_host.facts.certbot import lineages
from catmaid_deploy.on_host.facts.certificates import ask_certificates, ask_keys
from catmaid_deploy.on_host.facts.environments import ask_environments, noted_compiler
from catmaid_deploy.on_host.facts.files import ask_access, ask_files, ask_owners, owner_name
from catmaid_deploy.on_host.facts.nginx import ask_nginx, default_servers
from catmaid_deploy.on_host.facts.places import (
    SERVED_NAMES,
    SERVED_TOGETHER,
    Places,
    mounts,
    served,
    start_as,
    there,
    tiles,
)
from catmaid_deploy.on_host.facts.ports import listeners
from catmaid_deploy.on_host.facts.postgresql import begin_postgresql, end_postgresql
from catmaid_deploy.on_host.facts.probe import (
    LOADING_SECONDS,
    SAYING_SECONDS,
    begin_python,
    begin_settings,
    end_python,
)
from catmaid_deploy.on_host.facts.programs import ask_records, ask_workers, nginx, supervisor, supervisor_began
from catmaid_deploy.on_host.facts.rabbitmq import ask_broker
from catmaid_deploy.on_host.facts.secrets import first_made, secrets_kept
from catmaid_deploy.on_host.facts.supervisor import supervisors_file
from catmaid_deploy.on_host.facts.system import (
    ask_free,
    bundle,
    memory,
    os_release,
    package_manager,
    packages,
    zfs_cache,
)
from catmaid_deploy.on_host.facts.units import UNIT_PROPERTIES, units
from catmaid_deploy.on_host.facts.web import (
    accounts,
    ask_neighbours,
    directory,
    hung,
    nginxs_user,
    own_locations,
    password_lines,
)
from catmaid_deploy.on_host.paths import LOCK_SECONDS, RUN, STATE
from catmaid_deploy.on_host.trust import (
    NOBODY,
    ROOT,
    changeable,
    owner,
    proc,
    start,
)


def lock():
    """Who holds the lock of a deploy; ``alive`` is false when the session it was taken in has ended."""
    found = ROOT.json(RUN + "/lock.json")
    if not found:
        return None
    session = found.get("session")
    if session:
        line = proc(session[0], "stat")
        alive = bool(line) and line.rpartition(")")[2].split()[19] == session[1]
    else:
        alive = True
    return dict(found, alive=alive and time.time() - found.get("time", 0) < LOCK_SECONDS)


# ---- what isn't root's own, or may hang: asked first, answered when all have been asked ----


def ask_folders(question, places, nginx):
    """What nginx's workers find in the folders that they serve."""
    static_and_files = [one[key] for one in question["instances"] for key in ("static_folder", "files_folder")]
    there_is = {
        path: places.ask(nginx, path, lambda at, path=path: there(at, path, stat.S_ISDIR), False)
        for path in static_and_files
    }
    most = min(SERVED_NAMES, SERVED_TOGETHER // max(1, len(question["served"])))
    holds = {
        path: places.ask(
            nginx, path, lambda at, path=path: served(at, path, most), {"real": path, "holds": [], "links": []}
        )
        for path in question["served"]
    }
    return there_is, holds


def ask_tiles(question, places, nginx):
    mounted = mounts()
    known_mounts = [line.split()[1] for line in ROOT.read("/etc/fstab").splitlines() if len(line.split()) > 1]
    nothing = {"folder": False, "proof": False, "fallback": False}
    asked = [
        (
            one,
            places.ask(
                nginx, one["folder"], lambda at, one=one: tiles(at, one), dict(nothing, real="", mount=one["mount"])
            ),
        )
        for one in question["tiles"]
    ]
    users = sorted({one["user"] for one in question["instances"]})
    writers = {
        (path, user): places.ask(user, path, lambda at, path=path: at.may(path, "write"), False)
        for path in {one["folder"] for one in question["tiles"]}
        for user in users
    }

    def answer():
        for one, told in asked:
            state = {"writers": [user for user in users if writers[one["folder"], user].value]}
            real, mount = told.value.pop("real"), told.value.pop("mount")
            state.update(mounted=bool(mount) and mount in mounted, is_mount=real in mounted)
            yield one["name"], dict(told.value, **state, in_fstab=one["mount"] in known_mounts)

    return lambda: dict(answer())


# ---- all of it ----


def survey(question, places=None, answered=None):
    """``places`` has further questions, and ``answered`` processes, by virtualenv, that tell of its Python as well."""
    places, answered = places or Places(), answered or {}
    # Once for all that works beside this.
    ask_nginx()
    manifest = ROOT.json(STATE + "/manifest.json")
    asked_postgresql = begin_postgresql(question["postgresql"], manifest)
    asking = begin_asking(question["asking"])
    first = Places()
    owners, its_workers = ask_owners(question, first), ask_workers(first)
    first.begin()
    codes = {one["name"]: start_as(one["user"], ["sh", "-c", one["code"]]) for one in question["instances"]}
    pythons = dict(answered)
    for one in question["instances"]:
        if one["virtualenv"] not in pythons:
            # By who runs its code all the time. With another's rights it would get those as well.
            pythons[one["virtualenv"]] = begin_python(one["user"], one["virtualenv"])
    status = "=${Package} ${db:Status-Status} ${Version}\n${Conffiles}\n"
    asked_packages = start(["dpkg-query", "-W", "-f", status] + question["packages"])
    asked_units = start(["systemctl", "show", "--property=" + UNIT_PROPERTIES] + question["units"])
    first.end()

    nginx_user = nginxs_user(question["nginx"])
    told = ask_applications(question, places)
    there_is, holds = ask_folders(question, places, nginx_user)
    noted = ask_records(question["runtime_dirs"], places)
    later = {
        "work_mem": ask_work_mem(places),
        "environments": ask_environments(question, places),
        "certificates": ask_certificates(question, places, owners),
        "keys": ask_keys(question, places, owners, nginx_user),
        "tiles": ask_tiles(question, places, nginx_user),
        "free": ask_free(question, places, nginx_user),
        "files": ask_files(question, places, manifest),
        "blocked": ask_access(question, places, nginx_user),
        "neighbours": ask_neighbours(question["nginx"], places, nginx_user),
        "rabbitmq": ask_broker(question, places),
    }
    places.begin(hung(question))
    found = {
        "os": os_release(),
        "systemd": ROOT.is_folder("/run/systemd/system"),
        "ipv6": ROOT.exists("/proc/net/if_inet6"),
        "memory": memory("MemTotal"),
        "memory_available": memory("MemAvailable"),
        "swap": memory("SwapTotal") or 0,
        # Beside what the kernel calls available.
        "memory_elsewhere": (memory("SwapFree") or 0) + zfs_cache(),
        "processors": os.cpu_count() or 1,
        "somaxconn": int(ROOT.read("/proc/sys/net/core/somaxconn", "", 20) or 4096),
        "ports": listeners(question["ports"]),
        "descriptors": most if (most := resource.getrlimit(resource.RLIMIT_NOFILE)[1]) > 0 else 1 << 20,
        "openssl": ssl.OPENSSL_VERSION_INFO[:2],
        "lineages": lineages() if question["certbot"] else {},
        "default_servers": default_servers(),
        "own_locations": own_locations(),
        # Read by nginx as root: whoever may write one of these has root's rights.
        "nginx_files_of_others": [
            [path, owner_name(who)] for path in ask_nginx()["paths"] if (who := changeable(path))
        ],
        "closed": {path: ROOT.read(path) for path in question["flags"] if ROOT.exists(path)},
        "package_manager": package_manager(),
        "manifest": manifest,
        "lock": lock(),
        "accounts": accounts(question["accounts"]),
        "directory": directory(),
        "secrets": secrets_kept(question),
        "installed": {name: first_made(name) for name in question["installed"]},
        "compiler": noted_compiler(),
        "bundle": bundle(),
        "password_lines": password_lines(question["passwords"]),
        "last_run": ROOT.json(STATE + "/last-run.json"),
    }
    places.end()
    found.update({key: answer() for key, answer in later.items()})
    found["hanging"] = first.hanging + places.hanging
    to_load = question["instances"] if question["load_settings"] else []
    loading = {one["name"]: begin_settings(one) for one in to_load if settings_to_load(one, told[one["name"]])}
    found["served_folders"] = {path: one.value for path, one in holds.items()}
    found["nginx"] = nginx(question["state_host"], its_workers())
    found["supervisor"], found["asks_password"] = supervisor(noted())
    ended = {}
    for virtualenv, process in pythons.items():
        # One that loads the application as well may take as long as that.
        seconds = LOADING_SECONDS if virtualenv in answered else SAYING_SECONDS
        ended[virtualenv] = end_python(process, 0 if is_hanging(found, virtualenv) else seconds)
    found["instances"] = {}
    for one in question["instances"]:
        name, told_of = one["name"], told[one["name"]]
        python = dict(ended[one["virtualenv"]])
        python["owner"] = owner_name(told_of["application"].value["owner"])
        python["of_a_group"] = owner(one["virtualenv"]) == NOBODY
        settings = settings_of(one, told_of, loading.get(name))
        code = codes[name].end(0 if is_hanging(found, one["checkout"]) else SAYING_SECONDS)[1]
        found["instances"][name] = survey_instance(one, told_of, python, code, settings)
        folders = {key: there_is[one[key]].value for key in ("static_folder", "files_folder")}
        found["instances"][name]["folders"] = folders
    found["packages"], found["as_it_came"] = packages(asked_packages.end()[1])
    found["units"] = units(asked_units.end()[1])
    found["postgresql"] = end_postgresql(question["postgresql"], asked_postgresql)
    found["supervisor_file"] = supervisors_file(supervisor_began())
    found["asked"] = end_asking(asking, found["supervisor"], found["units"])
    return found


answer(survey)
