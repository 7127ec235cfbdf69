"""uWSGI: installed into the instance's virtualenv and configured (rows 2, 3, 4, 16, 24, 25)."""

from __future__ import annotations

from typing import Any

from pyinfra.operations import pip

from render import render
from schema import NGINX_USER, Instance
from tasks.files import put
from tasks.program import Program, program

# Requests that may wait for a free thread; kernels since 5.4 allow 4096.
BACKLOG = 1024
STOP_SECONDS = 60


def install(instance: Instance, survey: dict[str, Any]) -> None:
    """Install the pinned uWSGI into the virtualenv, as the user who owns that (row 2)."""
    owner = survey["instances"][instance.name]["python"]["owner"]
    as_owner: dict[str, Any] = {} if owner == "root" else {"_su_user": owner, "_su_shell": "/bin/sh"}
    pip.packages(
        name=f"{instance.name}: uWSGI {instance.uwsgi_version} in {instance.virtualenv}",
        packages=[f"uwsgi=={instance.uwsgi_version}"],
        virtualenv=instance.virtualenv,
        **as_owner,
    )


def configure(instance: Instance) -> Program:
    """Write the ini (rows 3 and 24) and return the program. INT stops uWSGI, TERM would reload it (row 16)."""
    ini = render("etc/catmaid/instance/uwsgi.ini", instance=instance, nginx_user=NGINX_USER, backlog=BACKLOG)
    put(f"{instance.config_dir}/uwsgi.ini", ini, f"{instance.name}'s uWSGI configuration")
    return program(instance, "uwsgi", "INT", STOP_SECONDS, reads=(ini, instance.uwsgi_version))
