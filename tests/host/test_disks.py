"""Disks that hang: one line says so, and nothing else waits for them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.run import Run, pyinfra
from tests.host.conftest import EACH_SUITE, boot_ready

pytestmark = pytest.mark.xdist_group("disks")

SITE: dict[str, Any] = {
    "server_name": "localhost",
    "instances": [{"workers": 1, "celery": {"concurrency": 1}}],
    "tiles": [
        {
            "name": "fafb",
            "url": "/tiles/fafb",
            "folder": "/mnt/lab/fafb",
            "mount": "/mnt/lab",
            "marker": "/mnt/lab/here",
        },
        {"name": "other", "url": "/tiles/other", "folder": "/mnt/lab/other", "mount": "/mnt/lab"},
        {"name": "near", "url": "/tiles/near", "folder": "/data/near"},
    ],
}
WELL: dict[str, Any] = SITE | {"tiles": []}
FUSE = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update && apt-get -qq install -y --no-install-recommends sshfs >/dev/null 2>&1
mkdir -p /srv/lab/fafb /srv/lab/other /mnt/lab /data/near && touch /srv/lab/here
for n in $(seq 500); do echo $n > /srv/lab/fafb/$n.jpg; done
cp /srv/lab/fafb/1.jpg /srv/lab/other; cp /srv/lab/fafb/1.jpg /data/near
printf '#!/bin/sh\\nexec /usr/lib/openssh/sftp-server\\n' > /usr/local/bin/near && chmod 755 /usr/local/bin/near
"""
# As of a far host, whose program for files runs here.
MOUNT = "sshfs -o allow_other,ssh_command=/usr/local/bin/near lab:/srv/lab /mnt/lab </dev/null >/dev/null 2>&1"
LINE = "/mnt/lab gives no answer, its tiles answer 503, as those of other there do"
UNWATCHED = "nobody watches over them, and one that hangs would hold up all pages"
TILE, NEAR, PAGE = "/tiles/fafb/%d.jpg", "/tiles/near/1.jpg", "/catmaid/whoami"
# How long a disk may hang before it is noticed, with a machine that has other things to do; and what a hung one adds to
# a status, which takes two seconds where nothing else runs.
NOTICED, MORE = 10, 12


@pytest.fixture(scope="module", params=EACH_SUITE)
def host(bed: Bed, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    host = boot_ready(bed, request.param, f"disks-{request.param}", extra=("--device", "/dev/fuse"))
    host.run(FUSE)
    host.run_privileged(MOUNT)
    run = deploy(host)
    assert run.code == 0, run.text
    yield host
    host.run("pkill -KILL sshfs; pkill -KILL sftp-server || true")
    host.remove()


def deploy(host: BedHost, *options: str, **changes: Any) -> Run:
    return pyinfra(host, {"site": SITE | changes}, *(options or ("-y",)))


def status_of(host: BedHost, path: str) -> str:
    return host.run(f"curl -sk -m 8 -o /dev/null -w '%{{http_code}}' https://localhost{path} || true")


@contextmanager
def hung(host: BedHost, program: str) -> Iterator[None]:
    """A disk whose daemon is stopped, or the far end of it: the daemon then has requests in hand, and what waits for
    them can't be killed.
    """
    host.run(f"pkill -STOP -x {program}")
    try:
        yield
    finally:
        host.run(f"pkill -CONT -x {program}")
        wait_for("tiles", lambda: status_of(host, TILE % 7) == "200", 30)


def flags(host: BedHost) -> list[str]:
    """The flags that are set; the folder is made while the watcher starts."""
    return host.run("ls /run/nginx-disks || true").split()


def noticed(host: BedHost) -> None:
    wait_for("the flag", lambda: flags(host) == ["tiles-fafb", "tiles-other"], NOTICED)


def status_of_two(host: BedHost) -> tuple[Run, float]:
    """The status of it and of a well host, and the seconds that it took."""
    begin = time.monotonic()
    more = {"well": host.ssh_data() | {"site": WELL}}
    return pyinfra(host, {"site": SITE}, deploy="runbooks/status.py", more=more), time.monotonic() - begin


def lines(run: Run) -> list[str]:
    """The lines of a run's last words that speak of the disk as something wrong."""
    return [line for line in run.text.splitlines() if "WARNING site.tiles[" in line and line.count(LINE)]


@pytest.mark.row_34
@pytest.mark.parametrize("program", ["sshfs", pytest.param("sftp-server", marks=pytest.mark.long)])
def test_it_is_one_line_and_hides_nothing(host: BedHost, program: str) -> None:
    """In status of this and a well host, in a dry run, in a deploy that changes something, and in verify."""
    _, usual = status_of_two(host)
    with hung(host, program):
        noticed(host)
        status, took = status_of_two(host)
        print(f"status of it and a well host: {took:.1f} s, and {usual:.1f} s before it hung")
        assert took < usual + MORE
        of_host, of_well = status.report["hosts"]
        assert [one["what"] for one in of_host["findings"] if one["level"] == "fault"] == [LINE]
        assert of_well["host"] == "well"
        assert of_well["instances"]
        dry = deploy(host, "--dry")
        assert (dry.code, len(lines(dry))) == (0, 1), dry.text
        for policy in ("no-referrer", "same-origin"):
            run = deploy(host, headers={"referrer_policy": policy})
            assert (run.code, len(lines(run))) == (0, 1), run.text
            again = deploy(host, headers={"referrer_policy": policy})
            assert (again.code, again.changed) == (0, []), again.text
        verify = pyinfra(host, {"site": SITE}, deploy="runbooks/verify.py")
        (report,) = verify.report["hosts"]
        faults = [
            one["what"] for one in report["findings"] if one["level"] == "fault" and "from here" not in one["place"]
        ]
        assert faults[0] == LINE
        assert not [what for what in faults if "tiles/" in what]
    assert deploy(host).code == 0


@pytest.mark.row_34
@pytest.mark.long
def test_it_is_said_also_where_nobody_watches(host: BedHost) -> None:
    host.run("systemctl stop catmaid-disks.service")
    try:
        _, usual = status_of_two(host)
        with hung(host, "sshfs"):
            status, took = status_of_two(host)
            print(f"status with nobody who watches: {took:.1f} s, and {usual:.1f} s before it hung")
            assert took < usual + MORE
            report, _ = status.report["hosts"]
            said = [one["what"] for one in report["findings"] if one["level"] == "fault"]
            assert sorted(said) == sorted([LINE, UNWATCHED])
            host.run("systemctl start catmaid-disks.service")
            noticed(host)
    finally:
        host.run("systemctl start catmaid-disks.service")


@pytest.mark.row_34
@pytest.mark.long
@pytest.mark.parametrize("program", ["sshfs", "sftp-server"])
def test_other_pages_wait_only_until_it_is_noticed(host: BedHost, program: str) -> None:
    """With four clients for each of a page, a tile elsewhere, and tiles of that disk."""
    host.put("/root/ask.py", (Path(__file__).parent / "ask_on_host.py").read_bytes())
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(host.run, f"python3 /root/ask.py 40 4 {PAGE} {NEAR} {TILE}")
        host.run("sleep 5")
        stop = float(host.run("date +%s.%N"))
        with hung(host, program):
            host.run(f"sleep {NOTICED + 2}")
            fresh = status_of(host, TILE % 7)
            host.run("sleep 8")
        back = float(host.run("date +%s.%N"))
        found = json.loads(asked.result())
    others = [(start - stop, took, status) for path, start, took, status in found if path != TILE]
    tiles = [(start - stop, took, status) for path, start, took, status in found if path == TILE]
    slow = max((start + took for start, took, _ in others if took > 1 and took < 19), default=0.0)
    print(
        f"{program}: others waited until {slow:.1f} s after the disk hung;",
        *(
            f"slowest {name} {max(took for start, took, _ in others if begin <= start < end):.2f} s"
            for name, begin, end in (("before", -9, -0.5), ("while", NOTICED, 19), ("after", back - stop, 99))
        ),
    )
    # On a machine that has other things to do as well.
    most = max(1, 2 * max(took for start, took, _ in others if start < -0.5))
    assert all(took < most and status == 200 for start, took, status in others if NOTICED < start < 19)
    assert fresh == "503"
    # What each client of these has asked before it was noticed may wait until the disk is back.
    assert {status for start, _, status in tiles if NOTICED < start < 19} <= {503}
    assert all(took < most and status == 200 for start, took, status in others if start > back - stop)
    assert {status for start, _, status in tiles if start > back - stop + 1} == {200}


@pytest.mark.row_34
@pytest.mark.long
def test_a_disk_that_is_taken_away_and_mounted_anew(host: BedHost) -> None:
    """The old one never answers."""
    host.run("pkill -STOP -x sshfs")
    noticed(host)
    host.run_privileged(f"umount -l /mnt/lab; {MOUNT}")
    wait_for("tiles", lambda: status_of(host, TILE % 8) == "200", 30)
    wait_for("no flag", lambda: not flags(host), NOTICED)
    host.run("pkill -KILL -o -x sshfs")
