"""A host that was set up by hand as CATMAID's page says comes under this project, as docs/howto/adopt.md says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.peers.steady import Steady
from tests.host import by_hand
from tests.host.book import make_reader, typed
from tests.host.conftest import boot_packed

SITE: dict[str, Any] = {
    "server_name": "localhost",
    "tls": {"certificate": by_hand.CERTIFICATE, "key": by_hand.KEY},
    "instances": [
        {"name": "catmaid", "prefix": "/catmaid", "workers": 2, "threads": 2, "cors": {"origins": ["*"]}},
    ],
    "tiles": [
        {
            "name": "dataset",
            "url": "/tiles/dataset",
            "folder": "/data/dataset/tiles",
            "fallback": "/data/dataset/tiles/black.jpg",
        }
    ],
}


@pytest.fixture
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_packed(bed, "bookworm", "adoption")
    by_hand.set_up(host)
    yield host
    host.remove()


def heartbeats(client: httpx.Client) -> list[float]:
    return [float(one) for one in client.get("heartbeats").json()["times"]]


def test_a_host_set_up_by_hand_is_adopted(host: BedHost, tmp_path: Path) -> None:
    """Every command is the book's. No request fails, not even at the switch."""
    # The lab's own authority, which its machines trust.
    (tmp_path / "lab.pem").write_text(host.run(f"cat {by_hand.CERTIFICATE}"))
    reader = make_reader(tmp_path / "checkout", env={"SSL_CERT_FILE": str(tmp_path / "lab.pem")})
    reader.describe(host, SITE | {"tls": SITE["tls"] | {"port": host.ports[443]}})
    before = by_hand.kept(host)

    refused = reader.machine("pyinfra inventories/prod.py deploy.py --dry --diff", ends=1)
    assert "/etc/nginx/snippets/cors.conf: somebody else's file is in the way" in refused
    assert "/run/catmaid/uwsgi.socket: it isn't the deploy's and is in the way; a program may be using it" in refused
    assert by_hand.serves(host)

    told: dict[str, list[str]] = {}
    with Steady(f"{host.url}/catmaid/", (tmp_path / "lab.pem").read_text(), 8) as requests:
        time.sleep(2)
        for heading, found in typed("howto/adopt.md").items():
            for block in found:
                if "rm -r /run/catmaid-before" in block.text:
                    wait_for("the end of the old programs", lambda: by_hand.has_ended(host), 60)
                # In step 2 something is in the way at first.
                ends = int(heading.startswith("2.") and not told.get(heading))
                told.setdefault(heading, []).append(reader.read(host, block, ends))
            time.sleep(1)
        figures = requests.stop()
    assert figures.failed == [], figures.table()
    assert figures.count > 500
    assert by_hand.kept(host) == before

    switch = " ".join(told["3. The switch"])
    assert f"serves {host.url}/catmaid/" in switch
    assert "all is well" in told["4. The end of the old programs"][-1]
    assert "nothing to do" in reader.machine("pyinfra inventories/prod.py deploy.py")
    # Ours and the admin's own; one master with two workers; no folder of the old ones.
    assert host.run("supervisorctl status | grep -c RUNNING; pgrep -c uwsgi").split() == ["5", "3"]
    assert host.run("ls -d /run/catmaid*").split() == ["/run/catmaid", "/run/catmaid-deploy"]
