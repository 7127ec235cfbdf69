"""As many WebSockets as a lab has browsers open, all at once (row 34)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.peers.sites import SMALL as SITE
from testbed.run import pyinfra
from tests.host.conftest import boot_ready, place, running

pytestmark = [pytest.mark.xdist_group("sockets"), pytest.mark.long, pytest.mark.row_34]

# What 20,000 open files allow, which is what hosts of a test have: nginx's workers need two for each.
COUNT, SECONDS = 4000, 60


@pytest.fixture(scope="module", params=images.SUITES)
def host(bed: Bed, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    host = boot_ready(bed, request.param, f"sockets-{request.param}")
    run = pyinfra(host, {"site": SITE}, "-y")
    assert run.code == 0, run.text
    yield host
    host.remove()


def test_four_thousand_are_held_and_others_still_answered(host: BedHost) -> None:
    """1,012 were the most that Daphne had files for, by Supervisor's own limit."""
    host.put("/root/sockets.py", (Path(__file__).parent / "sockets_on_host.py").read_bytes())
    words = f"ulimit -Sn 19000; exec python3 /root/sockets.py {COUNT} {SECONDS} /catmaid/channels/echo/"
    found = json.loads(host.run(words, timeout=600))
    daphne = f"/proc/$(supervisorctl pid {place('daphne')})"
    memory = host.run(f"awk '/VmRSS/ {{ print $2 }}' {daphne}/status")
    print(f"{found}; Daphne has {int(memory) >> 10} MiB")
    assert (found["open"], found["first"], found["last"], found["errors"]) == (COUNT, COUNT, COUNT, [])
    assert found["pages"] > SECONDS
    assert found["slowest_page"] < 5
    assert 0 < found["more"] < 5
    # All of them gone at once, which Daphne has to deal with first, it goes on.
    wait_for("all programs", lambda: running(host) == 4, 10)
    wait_for("a well host", lambda: pyinfra(host, {"site": SITE}, deploy="runbooks/status.py").code == 0, 120)
