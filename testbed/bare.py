"""Bare hosts beside a repository of the stand-in, and runs that bring CATMAID to them from nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed import images, repository
from testbed.hosts import Bed, BedHost
from testbed.run import Run, pyinfra

# Notes what each operation takes.
WATCH = "tests/host/cut.py"


def ten_lines(revision: str, **more: Any) -> dict[str, Any]:
    """What an inventory says of the whole of it."""
    releases = {"repository": repository.PLACE, "revision": revision}
    install = {"administrator": {"name": "alice", "email": "alice@example.org"}}
    install |= more.pop("install", {})
    instance = {"releases": releases, "install": install, "migrate": "before", "workers": 2, **more}
    return {"site": {"server_name": "localhost", "tls": {"certificate": "self-signed"}, "instances": [instance]}}


def boot(bed: Bed, suite: str, name: str, releases: Mapping[str, Mapping[str, str]]) -> BedHost:
    """A host with nothing but Debian and a repository. RabbitMQ knows its data by the host's name."""
    with images.lock(suite):
        image = images.host(suite)
    host = bed.boot(image, name, hostname="host")
    repository.put(host, releases)
    return host


def timed(host: BedHost, described: dict[str, Any], times: Path) -> tuple[Run, list[tuple[str, float]]]:
    """A run, and its operations with their seconds, for which ``times`` is a file."""
    run = pyinfra(host, described, "-y", before=WATCH, env={"CATMAID_TIMES": str(times)})
    lines = times.read_text().splitlines() if times.exists() else []
    return run, [(name, seconds) for name, seconds in map(json.loads, lines)]


def with_port(described: dict[str, Any], port: int) -> dict[str, Any]:
    """The same for a host to which a port of this machine leads."""
    site = described["site"]
    return {**described, "site": {**site, "tls": {**site["tls"], "port": port}}}
