"""Everything that can be known to be wrong, said before anything changes."""

from __future__ import annotations

import json
from typing import Any

from pyinfra import host, logger, state
from pyinfra.api import Host

import schema
from facts.survey import Survey
from schema import Instance, Site
from tasks import connection, packages

SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04")}
OLDEST_PYTHON = (3, 8)
# Where the deploy writes, and how much it needs there: packages and a compiled uWSGI the first time.
SPACE = ("/usr", "/var/cache/apt/archives", "/var/log", "/etc", "/tmp")
FIRST_BYTES = 700 << 20
LATER_BYTES = 50 << 20


def _refuse(lines: list[str]) -> None:
    if lines:
        raise SystemExit("\n".join(f"--> {line}" for line in lines))


def validate(hosts: list[Host]) -> list[str]:
    """The faults in what the inventory says, of all hosts together; each line starts with its host."""
    lines = []
    for one in hosts:
        try:
            schema.load(one.data.get("site"))
        except schema.InvalidSite as error:
            lines += [f"{one.name}: {line}" for line in error.lines]
    return lines


def question(site: Site) -> str:
    """What the survey is to look at, as JSON."""
    keys = ("name", "user", "runtime_group", "checkout", "virtualenv", "wsgi_file", "settings_file")
    folders = ("static_folder", "files_folder")
    instances = []
    for instance in site.instances:
        asked: dict[str, Any] = {key: getattr(instance, key) for key in keys + folders}
        for key, address in (("database", instance.database), ("broker", instance.broker)):
            asked[key] = address.model_dump() if address else None
        instances.append(asked)
    return json.dumps(
        {
            "instances": instances,
            "packages": list(packages.NEEDED),
            "units": ["nginx.service", "supervisor.service"],
            "space": [*SPACE, *(i.virtualenv for i in site.instances)],
        }
    )


def judge_system(survey: dict[str, Any]) -> list[str]:
    """What is wrong with the host as a whole: key and mend, a line each."""
    if not survey:
        return ["python3: missing on the host: apt install python3"]
    lines = []
    system = survey["os"]
    if system["version"] not in SUPPORTED.get(system["id"], ()):
        lines.append(f"system: {system['name']} isn't supported: use Debian 12 or 13, or Ubuntu 22.04 or 24.04")
    if not survey["systemd"]:
        lines.append("system: systemd doesn't run there: use a host that was booted with systemd")
    needed = LATER_BYTES if len(survey["packages"]) == len(packages.NEEDED) else FIRST_BYTES
    for mount, free in {f["mount"]: f["bytes"] for f in survey["free"]}.items():
        if free < needed:
            lines.append(
                f"space: {free >> 20} MiB are free on {mount}, {needed >> 20} MiB are needed: free some, "
                "for example by 'apt-get clean' and 'journalctl --vacuum-size=100M'"
            )
    for name, pid in survey["port_80"].items():
        if name != "nginx":
            lines.append(
                f"port 80: held by {name} (process {pid}): stop it, for example by 'systemctl disable --now {name}'"
            )
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


def judge_instance(instance: Instance, found: dict[str, Any]) -> list[str]:
    """What is wrong with an application that should be in place (row 31): key and mend, a line each."""
    if not found["user"]:
        return [f"user: there is no user {instance.user!r}: adduser --system --group {instance.user}"]
    if not found["group"]:
        return [f"runtime_group: there is no group {instance.runtime_group!r}: addgroup --system it, or correct it"]
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
    if found["blocked"]:
        lines.append(
            f"user: {instance.user} can't read {found['blocked']}: chmod o+rX it, or give it to that user's group"
        )
    for key, wanted in (("script_name", instance.prefix), ("static_url", f"{instance.location}static/")):
        name = {"script_name": "FORCE_SCRIPT_NAME", "static_url": "STATIC_URL"}[key]
        value = found[key]
        if value is not None and value != wanted:
            lines.append(
                f"prefix: {instance.mount!r} doesn't fit {name} = {value!r} in {instance.settings_file}: "
                f"correct one of them ({name} = {wanted!r})"
            )
            break  # the other one follows from the same mistake
    return lines


def check() -> tuple[Site, dict[str, Any]]:
    """Validate the inventory of all hosts, survey this one, and refuse in clear lines what can't work.

    Ends the run with exit code 1 and a line for each fault: host, key, mend. Nothing has changed by then.
    """
    _refuse(validate(list(state.inventory.get_active_hosts())))
    site = schema.load(host.data.get("site"))
    try:
        connection.become_root()
    except connection.NoAccess as error:
        _refuse([f"{host.name}: {error}"])
    survey = host.get_fact(Survey, question(site))
    lines = judge_system(survey)
    for instance in site.instances if survey else ():
        found = survey["instances"][instance.name]
        lines += [f"site.instances[{instance.name}].{line}" for line in judge_instance(instance, found)]
    _refuse([f"{host.name}: {line}" for line in lines])
    for instance in site.instances:
        for key, address in survey["instances"][instance.name]["silent"].items():
            logger.warning(
                f"{host.name}: site.instances[{instance.name}].{key}: nothing answers at "
                f"{address['host']}:{address['port']}; the deploy goes on"
            )
    return site, survey
