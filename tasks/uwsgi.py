"""uWSGI: installed into the instance's virtualenv and configured (rows 2, 3, 4, 16, 24, 25)."""

from __future__ import annotations

from typing import Any

from pyinfra.operations import pip

from configuration import File
from render import render
from schema import NGINX_USER, Instance, Site
from tasks.program import Program, program

# Requests that may wait for a free thread; kernels since 5.4 allow 4096.
BACKLOG = 1024
STOP_SECONDS = 60


def outdated(site: Site, survey: dict[str, Any]) -> dict[str, Instance]:
    """The virtualenvs without the pinned uWSGI, each with an instance that has it (row 2)."""
    found = survey["instances"]
    wrong = [i for i in site.instances if found[i.name]["python"]["have"]["uwsgi"] != i.uwsgi_version]
    return {instance.virtualenv: instance for instance in wrong}


def install(instance: Instance, survey: dict[str, Any]) -> Any:
    """Install the pinned uWSGI into the virtualenv, as the user who owns that (row 2)."""
    owner = survey["instances"][instance.name]["python"]["owner"]
    as_owner: dict[str, Any] = {} if owner == "root" else {"_su_user": owner, "_su_shell": "/bin/sh"}
    return pip.packages(
        name=f"uWSGI {instance.uwsgi_version} in {instance.virtualenv}",
        packages=[f"uwsgi=={instance.uwsgi_version}"],
        virtualenv=instance.virtualenv,
        **as_owner,
    )


def ini(instance: Instance) -> File:
    """uWSGI's configuration (rows 3 and 24)."""
    text = render("etc/catmaid/instance/uwsgi.ini", instance=instance, nginx_user=NGINX_USER, backlog=BACKLOG)
    return File(f"{instance.config_dir}/uwsgi.ini", text)


def programs(instance: Instance) -> list[Program]:
    """INT stops uWSGI, TERM would reload it (row 16)."""
    return [program(instance, "uwsgi", "INT", STOP_SECONDS, ini(instance))]
