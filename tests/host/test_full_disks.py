"""A full disk of the database, the broker, users' files or logs: what users see, and that it heals by itself."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from testbed.bare import ten_lines
from testbed.hosts import BedHost, wait_for
from tests.host.conftest import wait_until_all_run
from tests.host.nothing import Installed, run_on, said

# With those of test_nothing.py, for their host.
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("nothing"), pytest.mark.row_35]

FILES = "/home/catmaid/releases/shared/files"
# More WAL than there is room for, as many users at once write it.
WRITE = """
cd /
for n in $(seq 40); do
    runuser -u postgres -- psql -q catmaid -c "select count(pg_logical_emit_message(false, 'x', repeat('y', 1000000)))
        from generate_series(1, 10)" >/dev/null 2>&1 || break
done
"""


@dataclass(frozen=True)
class Disk:
    """A file system of ``mib`` that gets full.

    + units: what runs on it
    + more: what else is done when it is full
    + answers: by path what users get then; all else answers as before
    """

    place: str
    mib: int
    units: str = ""
    more: str = ""
    answers: dict[str, int] = field(default_factory=dict)


PATHS = ("whoami", "notes", "task", "upload")
DISKS = {
    # CATMAID begins each request with it.
    "database": Disk("/var/lib/postgresql", 220, "postgresql 'postgresql@*'", WRITE, dict.fromkeys(PATHS, 500)),
    "broker": Disk("/var/lib/rabbitmq", 200, "rabbitmq-server", answers={"task": 500}),
    "files": Disk(FILES, 30, answers={"upload": 500}),
    # What runs goes on, and what starts anew runs without them.
    "logs": Disk("/var/log", 300, "supervisor nginx", "systemctl restart supervisor nginx"),
}


@contextmanager
def small(host: BedHost, disk: Disk) -> Iterator[None]:
    """The place as a file system of its own, which is as it was afterwards."""
    stop, start = (f"systemctl {verb} {disk.units}" if disk.units else "true" for verb in ("stop", "start"))
    host.run(f"{stop}; mkdir -p /srv/kept; cp -ax {disk.place}/. /srv/kept/")
    host.run_privileged(f"mount -t tmpfs -o size={disk.mib}m,mode=755 tmpfs {disk.place}")
    try:
        host.run(f"cp -a /srv/kept/. {disk.place}/; chown --reference=/srv/kept {disk.place}; {start}")
        wait_until_all_run(host)
        yield
    finally:
        host.run(stop)
        # The journal is a file system of its own in there.
        host.run_privileged(f"umount --lazy {disk.place}")
        host.run(f"rm -r /srv/kept; rm -f {FILES}/*.bin; {start}")
        wait_until_all_run(host)


def answers(host: BedHost) -> dict[str, int]:
    """What a user gets: none waits longer than a minute."""
    found = {}
    with httpx.Client(base_url=f"{host.url}/catmaid/", verify=host.trust(), trust_env=False, timeout=60) as browser:
        for path in PATHS:
            sent = {"file": (f"{time.time_ns()}.bin", b"z" * 100_000)} if path == "upload" else None
            found[path] = browser.request("POST" if sent else "GET", path, files=sent).status_code
    return found


@pytest.mark.parametrize("name", DISKS)
def test_users_see_what_needs_it_alone_fail_and_it_heals_by_itself(installed: Installed, name: str) -> None:
    disk, host = DISKS[name], installed.host
    well = dict.fromkeys(PATHS, 200)
    with small(host, disk):
        wait_for("all answers", lambda: answers(host) == well, 60)
        host.run(f"dd if=/dev/zero of={disk.place}/full bs=64k 2>/dev/null || true; {disk.more}")
        expected = well | disk.answers
        wait_for("what fails", lambda: answers(host) == expected, 180)
        status = run_on(host, ten_lines("1.0"), deploy="runbooks/status.py")
        short = rf"^space: {disk.place} has [\d.]+ (B|KiB) of {disk.mib} MiB free$"
        assert re.search(short, said(status), re.MULTILINE), said(status)
        # A database that tries again and again may serve for a moment.
        assert {*answers(host).values()} <= {200, 500}
        host.run(f"rm {disk.place}/full")
        wait_for("all answers again", lambda: answers(host) == well, 120)
        verify = run_on(host, ten_lines("1.0"), deploy="runbooks/verify.py")
        assert verify.code == 0, said(verify)
