"""A bundle: one file from which a host is installed without the internet. Where its parts lie, here and on a host."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from catmaid_deploy.on_host.paths import BUNDLE

WHEELS = "wheels"
REPOSITORIES = "repositories"


def repository_file(address: str) -> str:
    """Where in a bundle a repository is, as one file of git's."""
    return f"{REPOSITORIES}/{hashlib.sha256(address.encode()).hexdigest()[:16]}.bundle"


def fetching(repositories: Iterable[str]) -> dict[str, str]:
    """The environment by which apt, pip, uv and git fetch from the bundle that the host has, and from nowhere else."""
    wheels = f"{BUNDLE}/{WHEELS}"
    found = {
        # It counts for this call alone: the host's own sources stay as they are.
        "APT_CONFIG": f"{BUNDLE}/apt.conf",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": wheels,
        "UV_NO_INDEX": "1",
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": wheels,
    }
    addresses = list(dict.fromkeys(repositories))
    if addresses:
        found["GIT_CONFIG_COUNT"] = str(len(addresses))
    for number, address in enumerate(addresses):
        found[f"GIT_CONFIG_KEY_{number}"] = f"url.{BUNDLE}/{repository_file(address)}.insteadOf"
        found[f"GIT_CONFIG_VALUE_{number}"] = address
    return found
