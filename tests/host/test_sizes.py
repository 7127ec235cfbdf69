"""How long a request may be: answers from 1 to 40 KB by each server and to each kind of address, and none is a 502."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidHandshake

from testbed.hosts import Bed, BedHost
from testbed.run import pyinfra
from testbed.websocket import connect, websocket_url
from tests.host.conftest import boot_packed

KB = 1024
# What passes whatever it is made of, and what may be refused, with 414 or 431 alone.
PASSES, STEPS = 24, (1, 2, 4, 6, 8, 12, 16, 20, 22, 24, 27, 28, 30, 32, 36, 40)
TILES = {"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb"}
CHANNELS = "/catmaid/channels/echo/"
PAGES = ("/catmaid/whoami", CHANNELS, "/catmaid/static/standin.css", "/tiles/fafb/0/1/2.jpg")

Made = tuple[str, dict[str, str]]


def of_query(size: int) -> Made:
    return "?q=" + "x" * (size - 3), {}


def of_cookie(size: int) -> Made:
    return "", {"Cookie": "lab=" + "x" * (size - 4 - 10)}


def of_referer(size: int) -> Made:
    return "", {"Referer": "https://a.org/" + "x" * (size - 14 - 11)}


def of_both(size: int) -> Made:
    return "?q=" + "x" * (size // 2 - 3), {"Cookie": "lab=" + "x" * (size // 2 - 14)}


def of_several(size: int) -> Made:
    return "", {f"X-Lab-{n}": "x" * (KB - 13) for n in range(size)} if (size := size // KB) else {}


KINDS: dict[str, Callable[[int], Made]] = {
    "query": of_query,
    "cookie": of_cookie,
    "referer": of_referer,
    "query and cookie": of_both,
    "several headers": of_several,
}


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_packed(bed, "bookworm", "sizes")
    host.run("mkdir -p /data/fafb/0/1; printf tile > /data/fafb/0/1/2.jpg; chmod -R a+rX /data")
    yield host
    host.remove()


def deploy(host: BedHost, server: str) -> None:
    instance = {"workers": 1, "celery": {"concurrency": 1}, "wsgi_server": server}
    run = pyinfra(host, {"site": {"server_name": "localhost", "tiles": [TILES], "instances": [instance]}}, "-y")
    assert run.code == 0, run.text


def raw(host: BedHost, trust: ssl.SSLContext, request: bytes) -> int:
    """The status of an answer to what no client of a library would send."""
    url = httpx.URL(host.url)
    with (
        socket.create_connection((url.host, url.port or 443), timeout=30) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as line,
    ):
        line.sendall(request)
        return int(line.makefile("rb").readline().split()[1])


def websocket(host: BedHost, trust: ssl.SSLContext, path: str, headers: dict[str, str]) -> int:
    try:
        with connect(websocket_url(host.url) + path, trust, additional_headers=headers, open_timeout=30) as line:
            line.send("through")
            assert line.recv(timeout=10) == "through"
            return 101
    except InvalidHandshake as error:
        return int(error.response.status_code)  # type: ignore[attr-defined]


@pytest.mark.row_8
@pytest.mark.row_34
@pytest.mark.parametrize(
    "server",
    ["uwsgi", pytest.param("gunicorn", marks=pytest.mark.long), pytest.param("gevent", marks=pytest.mark.long)],
)
def test_queries_and_headers_of_1_to_40_kb(host: BedHost, server: str) -> None:
    """Daphne, tiles and static files with each of them."""
    deploy(host, server)
    trust = host.trust()
    table: dict[tuple[str, str, str], list[int]] = {}
    for version in ("1.1", "2"):
        options: dict[str, Any] = {"http2": version == "2", "http1": version == "1.1"}
        with httpx.Client(base_url=host.url, verify=trust, trust_env=False, timeout=60, **options) as client:
            for kind, made in KINDS.items():
                # A WebSocket by HTTP/2 is nothing that nginx knows.
                for page in PAGES if version == "1.1" else set(PAGES) - {CHANNELS}:
                    row = table[version, kind, page] = []
                    for step in STEPS:
                        query, headers = made(step * KB)
                        if page == CHANNELS:
                            row.append(websocket(host, trust, page + query, headers))
                        else:
                            row.append(client.get(page + query, headers=headers).status_code)
    for (version, kind, page), row in table.items():
        print(f"{server} {version:4} {kind:17} {page:26}", *row)
    for where, row in table.items():
        answers = dict(zip(STEPS, row, strict=True))
        assert {answers[step] for step in STEPS if step <= PASSES} <= {200, 101}, (where, answers)
        assert set(row) <= {200, 101, 414, 431}, (where, answers)


@pytest.mark.row_34
@pytest.mark.parametrize("server", ["uwsgi", pytest.param("gunicorn", marks=pytest.mark.long)])
def test_what_no_client_sends(host: BedHost, server: str) -> None:
    """Very many short headers, bare line feeds, and what the packet for the application has no room for."""
    deploy(host, server)
    trust = host.trust()
    start = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    page, channels = start % b"/catmaid/whoami", start % b"/catmaid/channels/echo/"
    for number in (100, 130, 300, 700, 990):
        headers = b"".join(b"x%d: 1\r\n" % n for n in range(number))
        assert raw(host, trust, page + headers + b"\r\n") == 200, number
    # CATMAID's consumers take WebSockets alone; that Daphne said so is what counts. Of very many headers it says it.
    plain = raw(host, trust, channels + b"\r\n")
    assert raw(host, trust, channels + b"".join(b"x%d: 1\r\n" % n for n in range(400)) + b"\r\n") == plain
    assert raw(host, trust, channels + b"".join(b"x%d: 1\r\n" % n for n in range(3000)) + b"\r\n") in (plain, 431)
    for headers in (b"a:\n" * 9000, b"a: b\r\n" * 9000, b"x" * 50000 + b": 1\r\n", b"x: " + b"y" * 90000 + b"\r\n"):
        assert raw(host, trust, page + headers + b"\r\n") == 431, headers[:10]
    assert raw(host, trust, b"GET /" + b"x" * 50000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n") == 414
    # A redirect that quotes the longest query, which Django refuses from 5.2.8 on.
    query = b"%22" * 9000
    assert raw(host, trust, start % (b"/catmaid/needs-slash?" + query) + b"\r\n") in (301, 400)
    # With a body: one in memory, and one in a file.
    both = b"Cookie: a=" + b"x" * 27000 + b"\r\nContent-Length: %d\r\n\r\n"
    post = b"POST /catmaid/body?" + b"x" * 27000 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    assert raw(host, trust, post + both % 5 + b"12345") == 431
    for accept, kind in (("text/html", "text/html"), ("*/*", "application/json")):
        long = {"Accept": accept, "Cookie": "a=" + "x" * 50000}
        answer = httpx.get(f"{host.url}/catmaid/whoami", headers=long, verify=trust, trust_env=False)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (431, kind)
        assert "headers are too large" in answer.text
    # By HTTP, where the site only leads to HTTPS.
    status = host.run(
        "curl -s -o /dev/null -w '%{http_code}' -H \"Cookie: $(head -c 50000 /dev/zero | tr '\\0' x)\" http://localhost/"
    )
    assert status == "431"
