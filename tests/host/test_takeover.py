"""A host that an earlier version of this project deployed is taken over by the next run, and no user notices."""

from __future__ import annotations

import copy
import io
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.peers.steady import Steady
from testbed.run import Run, pyinfra
from testbed.updates import SITE as ONE
from testbed.updates import release
from tests.host.conftest import SITE, boot_packed, everything_runs

# The last version in which root opened files of the service user by itself, and nginx ran as that user.
BEFORE = "f4e5d14"
# One instance runs as nginx's user of then, the other as its owner.
TWO = copy.deepcopy(ONE)
TWO["instances"].append(SITE["instances"][1] | {"workers": 2, "threads": 2, "start_seconds": 60})


def checkout(folder: Path) -> Path:
    """The project as it was, from the history of this repository."""
    words = ["git", "-C", str(images.ROOT), "archive", BEFORE]
    with tarfile.open(fileobj=io.BytesIO(subprocess.run(words, check=True, capture_output=True).stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def host(bed: Bed, tmp_path: Path) -> Iterator[BedHost]:
    host = boot_packed(bed, "bookworm", "takeover")
    run = pyinfra(host, {"site": TWO}, "-y", cwd=checkout(tmp_path / "before"))
    assert run.code == 0, run.text
    wait_for("all programs", lambda: everything_runs(host), 60)
    yield host
    host.remove()


def update(host: BedHost) -> Run:
    release(host, "next", seconds=0)
    return pyinfra(host, {"site": TWO}, "-y")


def loads(host: BedHost) -> list[Steady]:
    ca = host.run("cat /etc/catmaid/tls/self-signed/localhost/fullchain.pem")
    return [Steady(f"{host.url}/{path}/", ca, 4) for path in ("catmaid", "tracing/fafb/v14")]


def follow(host: BedHost, *runs: Callable[[], Run]) -> list[Run]:
    """Do runs one after the other under a load that loses nothing."""
    first, second = loads(host)
    with first, second:
        done = [run() for run in runs]
        figures = [first.stop(), second.stop()]
    for run in done:
        assert run.code == 0, run.text
    for one in figures:
        assert one.failed == [], one.table()
        assert one.count >= 50
    wait_for("all programs", lambda: everything_runs(host), 60)
    return done


@pytest.mark.row_27
@pytest.mark.row_32
def test_a_host_of_an_earlier_version_is_taken_over(host: BedHost) -> None:
    dry = pyinfra(host, {"site": TWO}, "--dry", "--diff")
    assert dry.code == 0, dry.text
    # What is replaced on the way is told before, with every line of it.
    planned = {name.removeprefix("Configuration: ") for name in dry.planned}
    assert planned >= {"programs of catmaid", "programs of catmaid-fafb", "nginx"}, dry.text
    assert "change /etc/catmaid/catmaid/start.sh" in dry.text
    assert "reload nginx: its files change" in dry.text
    (run,) = follow(host, lambda: pyinfra(host, {"site": TWO}, "-y"))
    assert run.changed == dry.planned
    again = pyinfra(host, {"site": TWO}, "-y")
    assert (again.code, again.changed) == (0, []), again.text
    # The next update replaces the programs that the earlier version started.
    follow(host, partial(update, host))
    again = pyinfra(host, {"site": TWO}, "-y")
    assert (again.code, again.changed) == (0, []), again.text


@pytest.mark.row_27
@pytest.mark.long
def test_back_to_what_the_earlier_version_started(host: BedHost) -> None:
    """A rollback after the first update goes back to files that the earlier version wrote."""
    deploy = partial(pyinfra, host, {"site": TWO}, "-y")
    follow(host, deploy, partial(update, host), partial(deploy, deploy="runbooks/rollback.py"), deploy)
