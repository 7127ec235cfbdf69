"""The Debian packages that a host needs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.operations import apt

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.finding import Command, fault
from catmaid_deploy.operations import jobs
from catmaid_deploy.operations.jobs import hidden
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.tasks import distributions

# What a host with sites needs: nginx, what rotates its logs, and what signs certificates.
FOR_SITES = ("nginx", "logrotate", "openssl")
# And one with instances: their start scripts use pkill and ss.
FOR_INSTANCES = ("supervisor", "procps", "iproute2")
# Not installed: a fix may need it.
ACL = "acl"
BROTLI = ("libnginx-mod-http-brotli-filter", "libnginx-mod-http-brotli-static")
# Where nginx.conf comes from: the survey asks for it as it came.
CONFIGURATION = "nginx-common"
# Of a distribution that nobody knows the oldest is supposed, before it is refused.
OLDEST = (1, 22)


def _distribution(survey: Survey) -> tuple[tuple[int, int], bool]:
    """The nginx that the distribution has, and whether there is a brotli module for it."""
    found = distributions.of(survey)
    return (found.nginx, found.brotli) if found else (OLDEST, False)


def nginx_version(survey: Survey) -> tuple[int, ...]:
    """The host's nginx, or the one that it is to get."""
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)\.(\d+)", survey["packages"].get("nginx", ""))
    return tuple(map(int, found.groups())) if found else (*_distribution(survey)[0], 0)


def is_anothers_nginx(survey: Survey) -> bool:
    """Whether nginx comes from another packager than the distribution, as nginx.org's does."""
    return "nginx" in survey["packages"] and CONFIGURATION not in survey["packages"]


def has_brotli(survey: Survey) -> bool:
    """Whether nginx has the module for brotli, or is to get it with the distribution's nginx."""
    # A module fits the nginx that it was built for, and would bring that in the place of another packager's.
    version, packaged = _distribution(survey)
    return packaged and not is_anothers_nginx(survey) and nginx_version(survey)[:2] == version


def setfacl(entry: str, path: str, survey: Survey) -> Command:
    """The command that lets somebody in by an access list, whether its tool is there or not."""
    install = "" if ACL in survey["packages"] else f"apt-get update && apt-get install -y {ACL} && "
    return Command(f"{install}setfacl {entry} {shlex.quote(path)}")


def wanted(look: Look) -> list[str]:
    """What a host needs for what its description has; further packages are those of its other tasks."""
    for_sites = (*FOR_SITES, *(BROTLI if has_brotli(look.survey) else ()))
    return [
        *(for_sites if look.deployment.sites else ()),
        *(FOR_INSTANCES if look.deployment.instances else ()),
    ]


def steps(plan: Plan) -> Iterator[Step]:
    """Install what is missing. The package lists are read anew only then, so a second run reports nothing."""
    names, fetching = plan.look.missing, plan.look.deployment.fetching
    if not names:
        return

    def update() -> Any:
        return jobs.updated(name="Read the package sources", run=this_run.NAME, fetching=hidden(fetching))

    def install() -> Any:
        return apt.packages(
            name="Install packages",
            packages=names,
            no_recommends=True,
            # Another one may have begun since the host was looked at.
            extra_install_args="-o DPkg::Lock::Timeout=300",
            # Root's alone, and masked where pyinfra shows it. What apt's own files say of a proxy counts more.
            _env={name: HiddenValue(value) for name, value in fetching.items()},  # type: ignore[no-untyped-call]
        )

    yield Step("read the package sources", [], update, by_job=False)
    lacks = tuple(fault("packages", f"{name} isn't installed", this_run.deploy()) for name in names)
    yield Step("install packages", [", ".join(names)], install, by_job=False, fetches=(), lacks=lacks)


ASKED = (*FOR_SITES, *FOR_INSTANCES, *BROTLI, CONFIGURATION, ACL)
TASK = Task("packages", lambda _: {"packages": list(ASKED)}, packages=wanted, steps=steps)
