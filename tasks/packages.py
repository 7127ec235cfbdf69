"""What the distribution brings (rows 1, 2 and 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyinfra.operations import apt

if TYPE_CHECKING:
    from tasks.plan import Plan

# gcc and the headers compile uWSGI; procps has pkill, which the start scripts use.
NEEDED = ("nginx", "supervisor", "gcc", "libc6-dev", "python3-dev", "logrotate", "procps")
# Where nginx.conf comes from: the survey asks for it as it came.
CONFIGURATION = "nginx-common"


def missing(survey: dict[str, Any]) -> list[str]:
    return [name for name in NEEDED if name not in survey["packages"]]


def install(plan: Plan) -> None:
    """Install what is missing. The package list is read anew only then, so a second run reports nothing."""
    if not plan.packages:
        return
    operation = apt.packages(
        name="Install nginx, Supervisor and what uWSGI is compiled with",
        packages=plan.packages,
        update=True,
        no_recommends=True,
        # Another one may have begun since the host was looked at.
        extra_install_args="-o DPkg::Lock::Timeout=300",
    )
    plan.report.planned.append(("install packages", [", ".join(plan.packages)], operation))
