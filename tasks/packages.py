"""What the distribution brings (rows 1, 2 and 14)."""

from __future__ import annotations

from typing import Any

from pyinfra.operations import apt

# gcc and the headers compile uWSGI; procps has pkill, which the start scripts use.
NEEDED = ("nginx", "supervisor", "gcc", "libc6-dev", "python3-dev", "logrotate", "procps")


def install(survey: dict[str, Any]) -> None:
    """Install what is missing. The package list is read anew only then, so a second run reports nothing."""
    missing = [name for name in NEEDED if name not in survey["packages"]]
    apt.packages(
        name="Install nginx, Supervisor and what uWSGI is compiled with",
        packages=list(NEEDED),
        update=bool(missing),
        no_recommends=True,
    )
