"""Sockets in another place than /run: a change in one file, which every later run takes for what it is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.images import ROOT
from testbed.peers.sites import SMALL as SITE
from testbed.run import pyinfra
from tests.host.conftest import boot_packed, everything_runs

HOME = "catmaid_deploy/schema/paths.py"
PLACE = '"runtime": "/run"'


@pytest.fixture
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_packed(bed, "bookworm", "elsewhere")
    yield host
    host.remove()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The project with that one change."""
    for name in ("catmaid_deploy", "tasks", "templates", "runbooks"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("deploy.py", "config.py", "pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    text = (tmp_path / HOME).read_text()
    assert text.count(PLACE) == 1
    (tmp_path / HOME).write_text(text.replace(PLACE, '"runtime": "/run/lab"'))
    return tmp_path


def of(checkout: Path) -> dict[str, Any]:
    """How pyinfra is started for its code, and not for the one that is installed."""
    return {"cwd": checkout, "env": {"PYTHONPATH": str(checkout)}}


@pytest.mark.long
def test_sockets_in_another_place(host: BedHost, checkout: Path) -> None:
    first = pyinfra(host, {"site": SITE}, "-y", **of(checkout))
    assert first.code == 0, first.text
    wait_for("all programs", lambda: everything_runs(host), 60)
    assert host.run("readlink /run/lab/catmaid/daphne.sock") == "/etc/catmaid/catmaid/daphne/run/socket"
    assert host.run("ls -d /run/catmaid || true") == ""
    again = pyinfra(host, {"site": SITE}, "-y", **of(checkout))
    assert (again.code, again.changed) == (0, []), again.text
    verify = pyinfra(host, {"site": SITE}, "-y", deploy="runbooks/verify.py", **of(checkout))
    (report,) = verify.report["hosts"]
    # From here the host has other ports.
    faults = [one for one in report["findings"] if one["level"] == "fault"]
    assert [one for one in faults if "from here" not in one["place"]] == []
