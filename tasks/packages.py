"""What the distribution brings (rows 1, 2 and 14)."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.operations import apt

from catmaid_deploy.finding import Command
from catmaid_deploy.operations import configuration
from catmaid_deploy.operations.configuration import hidden
from catmaid_deploy.plan import this_run
from catmaid_deploy.schema import Deployment
from catmaid_deploy.tasks import wsgi

if TYPE_CHECKING:
    from catmaid_deploy.tasks.plan import Plan

# The start scripts use pkill and ss; openssl signs certificates.
NEEDED = ("nginx", "supervisor", "logrotate", "procps", "iproute2", "openssl")
# What compiles uWSGI, which comes as source. A host with Gunicorn alone needs no compiler.
COMPILER = ("gcc", "libc6-dev", "python3-dev")
CERTBOT = "certbot"
GIT = "git"
# pip for virtualenvs that were made without it.
PIP = "python3-pip-whl"
# Not installed: a fix may need it.
ACL = "acl"
BROTLI = ("libnginx-mod-http-brotli-filter", "libnginx-mod-http-brotli-static")
# Where nginx.conf comes from: the survey asks for it as it came.
CONFIGURATION = "nginx-common"
# The distributions' nginx, and whether they have its brotli module.
NGINX = {("debian", "12"): ((1, 22), True), ("debian", "13"): ((1, 26), True), ("ubuntu", "24.04"): ((1, 24), True)}


def _distribution(survey: dict[str, Any]) -> tuple[tuple[int, ...], bool]:
    return NGINX.get((survey["os"]["id"], survey["os"]["version"]), ((1, 22), False))


def nginx_version(survey: dict[str, Any]) -> tuple[int, ...]:
    """The host's nginx, or the one that it is to get."""
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)\.(\d+)", survey["packages"].get("nginx", ""))
    return tuple(map(int, found.groups())) if found else (*_distribution(survey)[0], 0)


def is_anothers_nginx(survey: dict[str, Any]) -> bool:
    """Whether nginx comes from another packager than the distribution, as nginx.org's does."""
    return "nginx" in survey["packages"] and CONFIGURATION not in survey["packages"]


def has_brotli(survey: dict[str, Any]) -> bool:
    """Whether nginx has the module for brotli, or is to get it with the distribution's nginx."""
    # A module fits the nginx that it was built for, and would bring that in the place of another packager's.
    version, packaged = _distribution(survey)
    return packaged and not is_anothers_nginx(survey) and nginx_version(survey)[:2] == version


def setfacl(entry: str, path: str, survey: dict[str, Any]) -> Command:
    """The command that lets somebody in by an access list, whether its tool is there or not."""
    install = "" if ACL in survey["packages"] else f"apt-get update && apt-get install -y {ACL} && "
    return Command(f"{install}setfacl {entry} {shlex.quote(path)}")


def wanted(deployment: Deployment, survey: dict[str, Any]) -> list[str]:
    return [
        *NEEDED,
        *(BROTLI if has_brotli(survey) else ()),
        *([CERTBOT] if deployment.acme_sites else []),
        *sorted({site.tls.dns.package for site in deployment.acme_sites if site.tls.dns}),
        *([GIT] if any(i.releases for i in deployment.instances) else []),
        *(COMPILER if wsgi.compiles(deployment, survey) else ()),
        *([PIP] if wsgi.lack_pip(deployment, survey) else []),
    ]


def missing(deployment: Deployment, survey: dict[str, Any]) -> list[str]:
    return [name for name in wanted(deployment, survey) if name not in survey["packages"]]


def install(plan: Plan) -> None:
    """Install what is missing. The package lists are read anew only then, so a second run reports nothing."""
    if not plan.packages:
        return
    update = configuration.updated(name="Read the package sources", run=this_run.NAME, fetching=hidden(plan.fetching))
    plan.report.plan("read the package sources", [], update, by_job=False)
    operation = apt.packages(
        name="Install nginx, Supervisor and what they need",
        packages=plan.packages,
        no_recommends=True,
        # Another one may have begun since the host was looked at.
        extra_install_args="-o DPkg::Lock::Timeout=300",
        # Root's alone, and masked where pyinfra shows it. What apt's own files say of a proxy counts more.
        _env={name: HiddenValue(value) for name, value in plan.fetching.items()},  # type: ignore[no-untyped-call]
    )
    plan.report.plan("install packages", [", ".join(plan.packages)], operation, by_job=False)
