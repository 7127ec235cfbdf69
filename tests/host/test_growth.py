"""What grows on a host: its numbers are those of the files that are there, and no look at them takes long."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost
from testbed.run import Run, pyinfra
from tests.host.conftest import SITE as THREE
from tests.host.conftest import boot_ready

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("growth"), pytest.mark.row_35]

MIB = 1 << 20
FILES, SMALL, MANY = "/home/catmaid/catmaid-server/django/files", "/data/fafb", "/data/root"
RELEASES = "/home/catmaid/releases"
SITE: dict[str, Any] = copy.deepcopy(THREE)
SITE["instances"][1]["files_folder"] = SMALL
SITE["instances"][2]["files_folder"] = MANY
# Not deployed: only what lies there counts here.
SITE["instances"].append(
    {
        "name": "catmaid-new",
        "prefix": "/new",
        "releases": {"folder": RELEASES, "revision": "1.0", "owner": "catmaid"},
        "install": {"administrator": {"name": "alice", "email": "alice@example.org"}},
    }
)
# A file of so many MiB, of so many days ago, by a user.
MADE = """
made() {
    runuser -u "$1" -- sh -ec \\
        'mkdir -p "$(dirname "$0")"; head -c "$1"M /dev/urandom >"$0"; touch -d "$2 days ago" "$0"' "$2" "$3" "$4"
}
"""
SERVICES = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update && apt-get -qq install -y --no-install-recommends postgresql >/dev/null 2>&1
systemctl start postgresql
install -d -o www-data {files}
install -d -o catmaid {releases}
mkdir -p {small} {many}
"""
FILES_OF_ALL = f"""
made www-data {FILES}/upload/new 21 1
made www-data {FILES}/upload/old 5 9
made www-data {FILES}/cropping/new 7 0
made www-data {FILES}/export/new 14 6
made www-data {FILES}/export/old 6 8
ln -s /usr {FILES}/upload/link
made catmaid {RELEASES}/1.0/code 10 30
made catmaid {RELEASES}/environments/1.0-x/lib 12 2
made catmaid {RELEASES}/.uv/cache/wheel 8 2
ln {RELEASES}/environments/1.0-x/lib {RELEASES}/.uv/cache/lib
made rabbitmq /var/lib/rabbitmq/mnesia/queue 14 1
made rabbitmq /var/log/rabbitmq/rabbit.log.1 4 20
made root /var/log/nginx/access.log.2.gz 7 2
made root /var/log/catmaid/wsgi-a.log.9.gz 9 9
made root /var/log/supervisor/supervisord.log.1 3 30
made postgres /var/log/postgresql/postgresql.log.9.gz 2 60
"""


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_ready(bed, images.SUITES[0], "growth")
    host.run(SERVICES.format(files=FILES, releases=RELEASES, small=SMALL, many=MANY), timeout=600)
    host.run(MADE + FILES_OF_ALL)
    host.run_privileged(f"mount -t tmpfs -o size=64m,mode=755 tmpfs {SMALL}")
    host.run(f"chown catmaid: {SMALL}")
    yield host
    host.run_privileged(f"umount {SMALL}")
    host.remove()


def status(host: BedHost, **options: Any) -> Run:
    return pyinfra(host, {"site": SITE}, deploy="runbooks/status.py", **options)


def document(run: Run) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """What grows, by its name; the file systems, by where they are; and the findings that say so."""
    (one,) = run.report["hosts"]
    findings = [finding for finding in one["findings"] if finding["place"] == "growth"]
    return {place["name"]: place for place in one["growth"]}, {fs["mount"]: fs for fs in one["filling"]}, findings


def taken(host: BedHost, *paths: str) -> int:
    """The bytes on the disk of what lies there, as du counts them."""
    return sum(int(host.run(f"du -s -B1 {path}").split()[0]) for path in paths)


def test_all_have_the_size_that_they_take_and_what_a_week_brought(host: BedHost) -> None:
    found, filling, findings = document(status(host))
    # MiB of all, and of the last week.
    written = {
        "files of catmaid": (26, 21),
        "crops of catmaid": (7, 7),
        "exports of catmaid": (20, 14),
        "releases of catmaid-new": (10, 0),
        # A file with a name in both counts half in each.
        "environments of catmaid-new": (6, 6),
        "uv's cache of catmaid-new": (14, 14),
    }
    for name, (size, recent) in written.items():
        # Beside the folders themselves.
        assert found[name]["size"] / MIB == pytest.approx(size, abs=0.3), name
        assert found[name]["daily"] * 7 / MIB == pytest.approx(recent, abs=0.1), name
        assert found[name]["whole"]
        assert found[name]["mount"] == "/"
    # Programs write there meanwhile.
    others = {
        "logs of nginx": (7, "/var/log/nginx"),
        "logs of catmaid": (0, "/var/log/catmaid"),
        "logs of Supervisor": (0, "/var/log/supervisor"),
        "logs of RabbitMQ": (0, "/var/log/rabbitmq"),
        "RabbitMQ": (14, "/var/lib/rabbitmq"),
    }
    for name, (recent, folder) in others.items():
        assert found[name]["size"] == pytest.approx(taken(host, folder), abs=MIB), name
        assert found[name]["daily"] * 7 / MIB == pytest.approx(recent, abs=1), name
    assert found["logs of PostgreSQL"]["size"] / MIB == pytest.approx(2, abs=0.3)
    data = host.run("ls -d /var/lib/postgresql/*/main")
    assert found["databases"]["path"] == data
    assert found["databases"]["daily"] is None
    wal = taken(host, f"{data}/pg_wal")
    assert found["WAL"]["size"] == pytest.approx(wal, abs=MIB)
    assert found["databases"]["size"] == pytest.approx(taken(host, data) - wal, abs=2 * MIB)
    # A file system of its own on these hosts.
    journal = "/var/log/journal"
    assert found["journal"]["size"] == pytest.approx(taken(host, journal), abs=16 * MIB)
    assert {*filling} == {"/", SMALL, journal}
    on_root = [place["daily"] or 0 for place in found.values() if place["mount"] == "/"]
    assert filling["/"]["daily"] == pytest.approx(sum(on_root))
    assert findings == []


def test_status_shows_them_in_lines(host: BedHost) -> None:
    text = status(host, json_output=False).text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "What grows" in lines
    assert "exports of catmaid 20 MiB 2.0 MiB a day on /" in lines
    assert "crops of catmaid 7.0 MiB 1.0 MiB a day on /" in lines
    assert f"all on {SMALL} 64 MiB free 0 B a day not within a year" in lines


@pytest.mark.parametrize(("size", "days", "level"), [(40, 3, "fault"), (64, 9, "warning"), (200, 43, None)])
def test_a_small_file_system_that_fills_is_told(host: BedHost, size: int, days: int, level: str | None) -> None:
    """Of 28 MiB in the last week 4 are those of a day."""
    host.run_privileged(f"mount -o remount,size={size}m {SMALL}")
    host.run(f"{MADE} made catmaid {SMALL}/upload/new 28 1")
    found, filling, findings = document(status(host))
    assert found["files of catmaid-fafb"]["mount"] == SMALL
    assert filling[SMALL]["daily"] == 4 * MIB
    day = (date.today() + timedelta(days)).isoformat()
    assert filling[SMALL]["full_on"] == day
    assert [finding["level"] for finding in findings] == ([level] if level else [])
    if level:
        assert findings[0]["what"] == f"{SMALL} is full on {day}: 4.0 MiB a day are written to {SMALL}"
        assert findings[0]["fix"] == f"remove files below {SMALL} that nobody needs, or have a larger disk"
    lines = [" ".join(line.split()) for line in status(host, json_output=False).text.splitlines()]
    assert any(line.startswith(f"all on {SMALL} ") and line.endswith(f"full on {day}") for line in lines)


CREATE = f"""
import os
for n in range(30):
    os.makedirs("{MANY}/%d" % n)
    for m in range(10000):
        os.close(os.open("{MANY}/%d/%d" % (n, m), os.O_CREAT | os.O_WRONLY))
"""


def test_very_many_files_are_looked_at_for_a_moment(host: BedHost) -> None:
    began = time.monotonic()
    assert document(status(host))[0]["files of catmaid-root"]["whole"]
    few = time.monotonic() - began
    host.put("/root/create.py", CREATE.encode())
    host.run("python3 /root/create.py", timeout=300)
    try:
        began = time.monotonic()
        found, filling, _ = document(status(host))
        many = time.monotonic() - began
        assert found["files of catmaid-root"]["whole"] is False
        assert filling["/"]["whole"] is False
        # Two seconds of looking, on a machine that has other things to do.
        assert many < few + 8
        lines = [" ".join(line.split()) for line in status(host, json_output=False).text.splitlines()]
        assert any(line.startswith("files of catmaid-root more than ") for line in lines)
    finally:
        host.run(f"rm -r {MANY}/*", timeout=300)
