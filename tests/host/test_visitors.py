"""One visitor who does his worst, and the others: what waits for the application is limited by address."""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from catmaid_deploy import schema
from testbed.hosts import Bed, BedHost, wait_for
from testbed.images import ROOT
from testbed.run import pyinfra
from tests.host.book import typed
from tests.host.conftest import boot_ready, running
from tests.host.web import DATA, HASH, Web

pytestmark = pytest.mark.xdist_group("visitors")

FLOOD = Path(__file__).parent / "flood_on_host.py"
TILES = {"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb"}
# As many workers as by default.
SITE: dict[str, Any] = {
    "server_name": "tracing.test",
    "aliases": ["localhost"],
    "instances": [{"celery": {"concurrency": 1}}],
    "tiles": [TILES, TILES | {"name": "private", "url": "/tiles/private", "passwords": {"alice": HASH}}],
}
INSTANCE = schema.load(SITE).instances[0]
KINDS = ["fast", "slow", "resets", "passwords", "headers", "bodies"]
SESSION = {"Cookie": "sessionid=abcdefghijklmnopqrstuvwxyz012345"}
SECONDS = 3


@pytest.fixture(scope="module")
def crowded(bed: Bed) -> Iterator[Web]:
    host = boot_ready(bed, "bookworm", "visitors", aliases=("tracing.test",))
    host.run(DATA)
    run = pyinfra(host, {"site": SITE}, "-y")
    assert run.code == 0, run.text
    wait_for("the programs", lambda: running(host) == 4, 30)
    yield Web("bookworm", host, [SITE])
    host.remove()


def flood(host: BedHost, seconds: int, connections: int, kinds: list[str] = KINDS) -> dict[str, Any]:
    """Have somebody do his worst; what others saw of it, before, meanwhile and afterwards."""
    host.put("/tmp/flood.py", FLOOD.read_bytes())
    question = {"host": "tracing.test", "seconds": seconds, "control": 3, "connections": connections, "kinds": kinds}
    answer = host.run(f"ulimit -n 8192; python3 -I /tmp/flood.py '{json.dumps(question)}'", timeout=seconds + 120)
    found: dict[str, Any] = json.loads(answer)
    print(json.dumps(found, indent=1))
    return found


def judge(found: dict[str, Any], which: str, most: float = 2) -> None:
    for who in ("neighbour", "other"):
        assert found["before"][who]["worst"] < 2
        assert found["meanwhile"][who][which] < most
        # At once, as before.
        assert found["afterwards"][who]["worst"] < 1
    assert found["answers"] == {"page 200": 0}
    # He was there, in all his ways.
    kinds = {name.split()[0] for name, times in found["attacker"].items() if times}
    assert {"fast", "passwords", "headers", "bodies"} <= kinds
    assert found["attacker"].get("fast 429", 0) + found["attacker"].get("headers 429", 0) > 0


@pytest.mark.row_32
def test_one_visitor_does_his_worst_for_a_while(crowded: Web) -> None:
    # One of the few pages of these seconds may meet what else this machine does, and a slow machine takes its time.
    found = flood(crowded.host, 8, 300)
    judge(found, "middle", most=6)
    assert found["attacker"]["reset"] > 0


@pytest.mark.long
@pytest.mark.row_32
def test_one_visitor_does_his_worst_for_a_minute(crowded: Web) -> None:
    """Whatever waits for the application: a thousand connections hold nobody up for two seconds."""
    judge(flood(crowded.host, 60, 1000, [kind for kind in KINDS if kind != "resets"]), "worst")


@pytest.mark.long
@pytest.mark.row_32
def test_the_firewall_bounds_what_nginx_cannot(crowded: Web) -> None:
    """Streams that are given up cost nginx itself, by connection: the book's rule, as it is typed, bounds these."""
    page = (ROOT / "docs/security.md").read_text()
    [(path, rules)] = re.findall(r'```text title="(\S+)"\n(.*?)```', page, re.DOTALL)
    [begin, end] = [line for block in typed("security.md")["Limits"] for line in block.lines if line.startswith("nft ")]
    without = flood(crowded.host, 20, 1000)
    assert without["attacker"]["reset"] > 0
    # Nobody is refused without it, only late.
    assert without["answers"] == {"page 200": 0}
    crowded.host.run("apt-get -qq update; apt-get -qq install -y nftables >/dev/null 2>&1")
    crowded.host.put(path, rules.encode())
    crowded.host.run_privileged(begin)
    try:
        found = flood(crowded.host, 60, 1000)
        # Who shares his address finds no room, as the page says.
        assert found["meanwhile"]["other"]["worst"] < 2
        assert found["afterwards"]["other"]["worst"] < 1
        assert "page failed for other" not in found["answers"]
        assert found["attacker"]["reset"] > 0
    finally:
        crowded.host.run_privileged(end)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def given_up(web: Web, streams: int) -> ssl.SSLSocket:
    """An HTTP/2 connection whose requests, of some seconds each, are given up as soon as they are sent."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", web.host.ports[443]), timeout=10)
    connection = context.wrap_socket(plain, server_hostname="tracing.test")
    path, host = f"/catmaid/slow?seconds={SECONDS}".encode(), b"tracing.test"
    # GET, https, the path and the host, in HPACK's simplest form.
    fields = b"\x82\x87\x04" + bytes([len(path)]) + path + b"\x01" + bytes([len(host)]) + host
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
    for stream in range(1, 2 * streams, 2):
        data += frame(1, 5, stream, fields)
    connection.sendall(data)
    time.sleep(0.3)
    connection.sendall(b"".join(frame(3, 0, n, struct.pack("!I", 8)) for n in range(1, 2 * streams, 2)))
    return connection


@pytest.mark.row_32
def test_what_was_given_up_counts_until_the_application_has_answered_it(crowded: Web) -> None:
    with crowded.client() as client:
        assert client.get("/catmaid/whoami").status_code == 200
        connection = given_up(crowded, INSTANCE.requests_of("anonymous"))
        time.sleep(0.3)
        refused = client.get("/catmaid/whoami", headers={"Accept": "application/json"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.headers["content-type"] == "application/json"
        assert refused.json()["error"] == "Too many requests at once"
        assert refused.headers["x-frame-options"] == "SAMEORIGIN"
        assert client.post("/catmaid/body", content=b"x", headers={"Accept": "text/html"}).status_code == 429
        # Tiles and static files are not the application's.
        assert client.get("/tiles/fafb/0/1/2.jpg").status_code == 200
        assert client.get("/catmaid/static/standin.js").status_code == 200
        assert client.get("/tiles/private/0/1/2.jpg").status_code == 401
        # Who has a session at this address finds room, and so does another address.
        assert client.get("/catmaid/whoami", headers=SESSION).status_code == 200
        elsewhere = "curl -sk -o /dev/null -w '%{http_code}' --interface 127.0.0.7 https://localhost/catmaid/whoami"
        assert crowded.host.run(elsewhere) == "200"
        connection.close()
        # Sixteen at a time.
        seconds = SECONDS * (INSTANCE.requests_of("anonymous") // 16 + 2)
        wait_for("room", lambda: client.get("/catmaid/whoami").status_code == 200, seconds)
    # For the tests that follow: the application is through with them.
    time.sleep(seconds)


@pytest.mark.row_32
@pytest.mark.parametrize("session", [False, True])
def test_sixty_busy_users_behind_one_address(crowded: Web, session: bool) -> None:
    statuses: Counter[int] = Counter()

    def work(number: int) -> None:
        headers = {"Cookie": f"sessionid={number:032d}"} if session else {}
        with crowded.client(headers=headers) as client:
            for _ in range(6):
                statuses[client.get("/catmaid/slow?seconds=0.05").status_code] += 1
                statuses[client.get("/tiles/fafb/0/1/2.jpg").status_code] += 1

    assert crowded.trust
    with ThreadPoolExecutor(60) as pool:
        for thread in [pool.submit(work, number) for number in range(60)]:
            thread.result()
    assert statuses == {200: 720}


@pytest.mark.row_32
def test_a_request_of_the_application_needs_the_password_whatever_its_method(crowded: Web) -> None:
    """None of them reaches it without, and a preflight is nginx's own answer."""
    guarded = SITE | {"instances": [SITE["instances"][0] | {"passwords": {"alice": HASH}, "cors": {"origins": ["*"]}}]}
    run = pyinfra(crowded.host, {"site": guarded}, "-y")
    assert run.code == 0, run.text
    log = "cat /var/log/catmaid/wsgi-*.log | grep -c 'request .*mark=' || true"
    try:
        with crowded.client() as client:
            methods = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "options", "X")
            for method in methods:
                for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Token a"}):
                    answer = client.request(method, "/catmaid/whoami?mark=1", headers=headers)
                    assert answer.status_code in (401, 405, 400), (method, headers)
            preflight = {"Origin": "https://a.org", "Access-Control-Request-Method": "POST"}
            assert client.options("/catmaid/whoami?mark=1", headers=preflight).status_code == 204
            assert crowded.host.run(log) == "0"
            assert client.get("/catmaid/whoami?mark=1", auth=("alice", "correct horse")).status_code == 200
            seen: httpx.Response = client.get("/catmaid/sent")
            assert "HTTP_AUTHORIZATION" not in seen.json()
            assert "catmaid_known_" not in seen.text
        wait_for("its line", lambda: crowded.host.run(log) == "1", 10)
    finally:
        assert pyinfra(crowded.host, {"site": SITE}, "-y").code == 0
