"""The loads that watch an update: what they count, and what a server does to them that fails on purpose."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
from websockets.sync.server import ServerConnection, serve

from testbed.hosts import wait_for
from testbed.peers.sockets import Closed, Opened, SocketFigures, Sockets
from testbed.peers.steady import KINDS, NEW, QUICK, SLOW, UPLOAD, Figures, Request, Steady, kinds
from testbed.podman import BedError

MADE = Figures(
    [
        Request(QUICK, 100.0, 0.1, release="1"),
        Request(QUICK, 101.0, 0.3, release="1"),
        Request(QUICK, 104.0, 0.2, "status 502"),
        Request(SLOW, 100.0, 2.5, release="2", retried=True),
    ]
)


def test_figures_count() -> None:
    assert MADE.count == 4
    assert [one.start for one in MADE.failed] == [104.0]
    assert [one.kind for one in MADE.retried] == [SLOW]
    assert MADE.releases == {"1", "2"}
    assert MADE.median(QUICK) == 0.2
    assert (MADE.longest(UPLOAD), MADE.median(UPLOAD)) == (0.0, 0.0)
    assert [line.split()[-8:-4] for line in MADE.table().splitlines()[1:]] == [
        ["quick", "3", "1", "0"],
        ["connection", "0", "0", "0"],
        ["slow", "1", "0", "1"],
        ["upload", "0", "0", "0"],
    ]


@pytest.mark.parametrize(
    ("since", "until", "longest"),
    [(None, None, 2.5), (102.0, None, 2.5), (102.6, None, 0.2), (None, 99.0, 0.0), (102.6, 103.9, 0.0)],
)
def test_a_window_has_what_was_under_way_in_it(since: float | None, until: float | None, longest: float) -> None:
    assert MADE.longest(since=since, until=until) == longest


def test_each_kind_has_its_clients() -> None:
    assert Counter(kinds(8)) == {SLOW: 1, UPLOAD: 1, NEW: 2, QUICK: 4}
    for number in range(4, 200):
        assert set(kinds(number)) == set(KINDS)
        assert len(kinds(number)) == number
    assert kinds(60).count(SLOW) == 6
    with pytest.raises(ValueError, match="at least 4"):
        kinds(3)


def test_socket_figures() -> None:
    figures = SocketFigures(
        opens=[Opened(0, 1.0), Opened(1, 1.0), Opened(0, 13.5), Opened(0, 18.0)],
        closes=[Closed(0, 10.0, 1012), Closed(1, 10.9, 1006), Closed(0, 15.0, 1012)],
    )
    assert figures.reconnects == [3.5, 3.0]
    assert figures.close_codes == {1012: 2, 1006: 1}
    assert figures.closed_per_second == 2
    assert SocketFigures().closed_per_second == 0


# What the server does to requests on kept connections and to uploads, once each.
FAULTS = {"/whoami": ["502", "wrong", "cut"], "/body": ["wrong"], "/slow": []}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: dict[str, list[str]]
    lock = threading.Lock()
    kept = False

    def do_GET(self) -> None:
        self.answer({"release": "7", "slept": 2})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"size": len(body), "sha256": hashlib.sha256(body).hexdigest()})

    def answer(self, seen: dict[str, object]) -> None:
        path = self.path.removeprefix("/app").partition("?")[0]
        fault = ""
        with self.lock:
            if self.faults[path] and (self.kept or path == "/body"):
                fault = self.faults[path].pop(0)
        self.kept = True
        if fault == "cut":
            self.close_connection = True
            return
        data = json.dumps({"other": 1} if fault == "wrong" else seen).encode()
        self.send_response(502 if fault == "502" else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


@pytest.fixture(scope="module")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def faults() -> dict[str, list[str]]:
    """Those that the server has still to make."""
    return {path: list(faults) for path, faults in FAULTS.items()}


@pytest.fixture
def url(server_context: ssl.SSLContext, faults: dict[str, list[str]]) -> Iterator[str]:
    handler = type("OneTest", (Handler,), {"faults": faults})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.socket = server_context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"https://localhost:{server.server_port}/app/"
        server.shutdown()


def test_the_load_sees_each_failure(url: str, ca: str, faults: dict[str, list[str]]) -> None:
    start = time.time()
    with Steady(url, ca, 8) as load:
        wait_for("all faults", lambda: not any(faults.values()), 20)
        figures = load.stop()
    failures = Counter((one.kind, one.failure) for one in figures.failed)
    assert failures == {(QUICK, "status 502"): 1, (QUICK, "wrong body"): 1, (UPLOAD, "wrong body"): 1}
    assert [one.kind for one in figures.retried] == [QUICK]
    assert {one.kind for one in figures.requests} == set(KINDS)
    assert figures.releases == {"7"}
    assert all(start < one.start < time.time() for one in figures.requests)


def test_a_connection_that_fails_is_a_failure(ca: str, url: str) -> None:
    stranger = trustme.CA().cert_pem.bytes().decode()
    with Steady(url, stranger, 4) as load:
        figures = load.stop()
    assert figures.count == len(figures.failed) > 0
    assert all(one.failure.startswith("ConnectError") and "certificate" in one.failure for one in figures.failed)


def test_no_load_outlives_its_block(url: str, ca: str) -> None:
    numbers = []

    def fail() -> None:
        with Steady(url, ca, 4) as load:
            assert load._process
            numbers.append(load._process.pid)
            raise RuntimeError("of the test")

    with pytest.raises(RuntimeError, match="of the test"):
        fail()
    with pytest.raises(ProcessLookupError):
        os.kill(numbers[0], 0)


def test_a_load_that_can_not_run_says_why(url: str) -> None:
    with Steady(url, "no certificate", 4) as load, pytest.raises(BedError, match=r"steady ended: .*(PEM|SSL|cert)"):
        load.stop()


def test_sockets_tell_of_their_ends(server_context: ssl.SSLContext, ca: str) -> None:
    ended = []

    def echo(socket: ServerConnection) -> None:
        text = socket.recv()
        socket.send(text)
        if str(text).startswith("1 "):
            socket.close(1012)
            ended.append(text)
        for more in socket:
            socket.send(more)

    with serve(echo, "127.0.0.1", 0, ssl=server_context) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://localhost:{server.socket.getsockname()[1]}/"
        with Sockets(url, ca, 2) as sockets:
            sockets.wait_until_open()
            wait_for("an end", lambda: bool(ended), 20)
            time.sleep(0.2)  # the client's side of it
            figures = sockets.stop()
    assert (len(figures.opens), figures.open_at_end, figures.errors) == (2, 1, [])
    assert figures.close_codes == {1012: 1}


def test_sockets_that_do_not_open(url: str, ca: str) -> None:
    # The server of pages answers 404 in its own way: it knows no such path.
    with Sockets(url, ca, 2) as sockets, pytest.raises(BedError, match="2 of 2 sockets don't open"):
        sockets.wait_until_open()
