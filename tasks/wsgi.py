"""uWSGI: installed into the instance's virtualenv and configured (rows 2, 3, 4, 16, 24, 25)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyinfra.operations import pip

from configuration import File
from render import render
from schema import NGINX_USER, Deployment, Instance
from tasks.program import Program, program

if TYPE_CHECKING:
    from tasks.plan import Plan

# Requests that may wait for a free thread; kernels since 5.4 allow 4096.
BACKLOG = 1024
STOP_SECONDS = 60


def outdated(deployment: Deployment, survey: dict[str, Any]) -> dict[str, Instance]:
    """The virtualenvs without the pinned uWSGI, each with an instance that has it (row 2)."""
    found = survey["instances"]
    wrong = [i for i in deployment.instances if found[i.name]["python"]["have"]["uwsgi"] != i.uwsgi_version]
    return {instance.virtualenv: instance for instance in wrong}


def install(plan: Plan) -> None:
    """Install the pinned uWSGI into the virtualenvs that lack it, as the user who owns each (row 2)."""
    for virtualenv, instance in plan.uwsgi.items():
        owner = plan.survey["instances"][instance.name]["python"]["owner"]
        as_owner: dict[str, Any] = {} if owner == "root" else {"_su_user": owner, "_su_shell": "/bin/sh"}
        title = f"uWSGI {instance.uwsgi_version} in {virtualenv}"
        operation = pip.packages(
            name=title, packages=[f"uwsgi=={instance.uwsgi_version}"], virtualenv=virtualenv, **as_owner
        )
        plan.report.planned.append((title, [], operation))


def ini(instance: Instance) -> File:
    """uWSGI's configuration (rows 3 and 24)."""
    text = render("etc/catmaid/instance/uwsgi.ini", instance=instance, nginx_user=NGINX_USER, backlog=BACKLOG)
    return File(f"{instance.config_dir}/uwsgi.ini", text)


def programs(instance: Instance) -> list[Program]:
    """INT stops uWSGI, TERM would reload it (row 16)."""
    return [program(instance, "uwsgi", "INT", STOP_SECONDS, ini(instance))]
