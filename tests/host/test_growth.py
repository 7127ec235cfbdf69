"""What grows on a host is measured and told, within limits, and before a file system is full."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.hosts import Bed, BedHost
from testbed.run import pyinfra
from tests.host.conftest import boot_packed

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("growth")]

SITE = {"server_name": "localhost", "instances": [{"workers": 1, "celery": {"concurrency": 1}}]}
MIB = 1 << 20
FILES = "crops, exports (catmaid)"


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_packed(bed, "bookworm", "growth")
    run = pyinfra(host, {"site": SITE}, "-y")
    assert run.code == 0, run.text
    yield host
    host.remove()


def look(host: BedHost) -> dict[str, Any]:
    run = pyinfra(host, {"site": SITE}, "--json", deploy="runbooks/status.py")
    found: dict[str, Any] = json.loads(run.text[run.text.index("{\n") : run.text.rindex("}") + 1])["hosts"][0]
    return found


def of(found: dict[str, Any], what: str) -> dict[str, Any]:
    return next(one for one in found["growing"] if one["what"] == what)


def levels(found: dict[str, Any]) -> list[str]:
    return [finding["level"] for finding in found["findings"] if finding["place"] == "growth"]


@pytest.mark.row_35
def test_what_grows_is_measured_and_told_before_it_fills(host: BedHost) -> None:
    before = of(look(host), FILES)
    folder = before["path"]
    host.run(
        f"mkdir {folder}/crops; cd {folder}/crops; head -c 14M /dev/urandom > new; cp new old;"
        f"touch -d '30 days ago' old; chmod -R a+rX {folder}"
    )
    found = look(host)
    after = of(found, FILES)
    assert abs(after["size"] - before["size"] - 28 * MIB) < MIB / 2
    assert abs(after["daily"] - before["daily"] - 2 * MIB) < MIB / 10
    logs = of(found, "logs (catmaid)")
    assert logs["size"] > 0
    assert logs["daily"] is None
    # As if it had been noted two days ago, 10 MiB smaller than now.
    note = '{"notes": [{"time": %d, "sizes": {"%s": %d}}]}'
    seconds = int(host.run("date +%s")) - 2 * 86400
    text = note % (seconds, logs["path"], logs["size"])
    host.put("/var/lib/catmaid-deploy/growth.json", text.encode())
    host.run(f"head -c 10M /dev/urandom > {logs['path']}/other.log")
    assert abs(of(look(host), "logs (catmaid)")["daily"] - 5 * MIB) < MIB / 4

    owner = host.run(f"stat -c %U:%G {folder}").strip()
    host.run_privileged(f"mount -t tmpfs -o size=40m tmpfs {folder}; chown {owner} {folder}; chmod 755 {folder}")
    host.run(f"head -c 20M /dev/urandom > {folder}/first")
    found = look(host)
    assert levels(found) == ["warning"]
    assert found["filling"][folder]["full_on"]
    host.run(f"head -c 10M /dev/urandom > {folder}/second")
    assert levels(look(host)) == ["fault"]
    text = pyinfra(host, {"site": SITE}, deploy="runbooks/status.py").text
    assert f"{folder}: full on 20" in text
    host.run_privileged(f"umount {folder}")


@pytest.mark.row_35
def test_very_many_files_are_looked_at_in_part(host: BedHost) -> None:
    folder = of(look(host), FILES)["path"]
    host.run(f"mkdir {folder}/many; cd {folder}/many; seq 300000 | xargs touch; chmod 755 .", timeout=300)
    assert not of(look(host), FILES)["whole"]
    assert "more than" in pyinfra(host, {"site": SITE}, deploy="runbooks/status.py").text
