"""The web face: headers, CORS, passwords, tiles, maintenance, TLS and names (rows 10 to 13, 18, 19 and 30)."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image
from websockets.exceptions import InvalidStatus

from catmaid_deploy import schema
from catmaid_deploy.tasks.nginx import passwords
from testbed.hosts import wait_for
from testbed.run import pyinfra
from testbed.websocket import connect
from tests.headers import OTHERS, TABLE, head
from tests.headers import sent as security_headers
from tests.host.conftest import differences, place, settled
from tests.host.web import ALLOWED, PASSWORD, SITES, Web

FRIEND = {"Origin": "https://other.test"}
STRANGER = {"Origin": "https://evil.test"}
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
ALICE = ("alice", PASSWORD)
HTML = {"Accept": "text/html,application/xhtml+xml"}

SECURITY = {name.lower(): value for name, value in security_headers().items() if value}


# ---- States that some answers need ----


@contextmanager
def closed(web: Web, flag: str = "/etc/catmaid/maintenance") -> Iterator[None]:
    web.host.run(f"touch {flag}")
    try:
        yield
    finally:
        web.host.run(f"rm -f {flag}")


@contextmanager
def stopped(web: Web, program: str = place("wsgi")) -> Iterator[None]:
    web.host.run(f"supervisorctl stop {program}")
    try:
        yield
    finally:
        web.host.run(f"supervisorctl start {program}")
        with web.client() as client:
            wait_for("uWSGI", lambda: client.get("/catmaid/whoami").status_code == 200, 30)


@contextmanager
def mounted(web: Web) -> Iterator[None]:
    """The tile disk, there for a while. Lazily, since nginx keeps tiles open."""
    tile = "cd /mnt/disk && touch here && mkdir tiles && printf tile > tiles/1.jpg"
    web.host.run_privileged(f"mount -t tmpfs tmpfs /mnt/disk && {tile}")
    try:
        yield
    finally:
        web.host.run_privileged("umount -l /mnt/disk")


# ---- The table of headers (what no answer may lose) ----


@dataclass(frozen=True)
class Answer:
    """One kind of answer: how it is asked for, and what it is to be."""

    place: str
    status: int
    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    auth: tuple[str, str] | None = None
    content: bytes | None = None
    state: Any = None
    cors: str = "list"
    # Users' files have a policy of their own.
    other: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.status} {self.place}"


SANDBOX = {
    "content-security-policy": "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; "
    "style-src 'unsafe-inline'; frame-ancestors 'self'"
}
# What nginx compresses has no ranges.
WHOLE = {"Accept-Encoding": "identity"}
SECTION = "/tiles/fafb/sections/5/1.png"
ANSWERS = [
    Answer("application", 200, "/catmaid/whoami"),
    Answer("application, another instance", 200, "/tracing/fafb/v14/whoami", cors="none"),
    Answer("static file", 200, "/catmaid/static/standin.js"),
    Answer("static file of an extension", 200, "/catmaid/staticext/own.js"),
    Answer("user's file", 200, "/catmaid/files/seen.html", other=SANDBOX),
    Answer("tile", 200, "/tiles/fafb/0/1/2.jpg", cors="all"),
    Answer("tile, fallback", 200, "/tiles/fafb/0/1/3.jpg", cors="all"),
    Answer("block of a volume", 200, "/tiles/fafb/v.n5/s0/0/1/2", cors="all"),
    Answer("block of a volume, compressed", 200, "/tiles/fafb/v/8_8_8/64-128_0-64_0-40", cors="all"),
    Answer("block of a volume, doubled slashes", 200, "/tiles/fafb/v.n5//s0/0//1/2", cors="all"),
    Answer("description of a volume", 200, "/tiles/fafb/v.n5/attributes.json", cors="all"),
    Answer("tile, doubled slashes", 200, "/tiles/fafb//0/1/2.jpg", cors="all"),
    Answer("tile, more of them", 200, "/tiles//fafb///0//1/2.jpg", cors="all"),
    Answer("static file, doubled slashes", 200, "/catmaid//static//standin.js"),
    Answer("static file of an extension, doubled slashes", 200, "/catmaid//staticext//own.js"),
    Answer("user's file, doubled slashes", 200, "/catmaid//files//seen.html", other=SANDBOX),
    Answer("tile with a password", 200, SECTION, auth=ALICE),
    Answer("application, preflight", 204, "/catmaid/whoami", "OPTIONS", PREFLIGHT),
    Answer("tile with a password, preflight", 204, SECTION, "OPTIONS", PREFLIGHT),
    Answer("tile, preflight", 204, "/tiles/fafb/0/1/2.jpg", "OPTIONS", PREFLIGHT, cors="all"),
    Answer("tile, part", 206, "/tiles/fafb/0/1/2.jpg", headers={"Range": "bytes=0-1"}, cors="all"),
    Answer("shard of a volume, part", 206, "/tiles/fafb/v/8_8_8/0f.shard", headers={"Range": "bytes=0-9"}, cors="all"),
    Answer("application, without its slash", 301, "/catmaid", cors="none"),
    Answer("application, redirect", 302, "/catmaid/redirect"),
    Answer("static file, unchanged", 304, "/catmaid/static/standin.js", headers={"If-Modified-Since": "now"}),
    Answer("tile, unchanged", 304, "/tiles/fafb/0/1/2.jpg", headers={"If-Modified-Since": "now"}, cors="all"),
    Answer("a null byte in the address", 400, "/catmaid/%00", cors="none"),
    Answer("a line break in the address", 400, "/catmaid/static/%0aforged"),
    Answer("tile with a password", 401, SECTION),
    Answer("tile with a password, doubled slashes", 401, "/tiles/fafb//sections/5/1.png"),
    Answer("tile with a password, more of them", 401, "/tiles//fafb/sections//5//1.png"),
    Answer("static folder", 403, "/catmaid/static/"),
    Answer("users' folder", 403, "/catmaid/files/", other=SANDBOX),
    Answer("application", 404, "/catmaid/none"),
    Answer("static file", 404, "/catmaid/static/none.js"),
    Answer("user's file", 404, "/catmaid/files/none", other=SANDBOX),
    Answer("block that is missing", 404, "/tiles/fafb/v.n5/s0/0/1/3", cors="all"),
    Answer("tile without a fallback", 404, "/tiles/fafb/sections/9/9.png", auth=ALICE),
    Answer("no tile's name", 404, "/tiles/fafb/run.sh", cors="all"),
    Answer("channels", 404, "/catmaid/channels/none"),
    Answer("nobody's address", 404, "/none", cors="none"),
    Answer("the root of two instances' site", 404, "/", cors="none"),
    Answer("static file, POST", 405, "/catmaid/static/standin.js", "POST", content=b"x"),
    Answer("application, large body", 413, "/catmaid/body", "POST", content=b"x" * (21 << 20)),
    Answer("static file, its end", 416, "/catmaid/static/standin.js", headers={"Range": "bytes=99999999-"} | WHOLE),
    Answer("user's file, its end", 416, "/catmaid/files/seen.html", headers={"Range": "bytes=999-"}, other=SANDBOX),
    Answer("tile, its end", 416, "/tiles/fafb/0/1/2.jpg", headers={"Range": "bytes=999-"}, cors="all"),
    Answer("application, uWSGI stopped", 502, "/catmaid/whoami", state=stopped),
    Answer("application, uWSGI stopped, POST", 502, "/catmaid/body", "POST", content=b"x", state=stopped),
    Answer("application, closed", 503, "/catmaid/whoami", state=closed),
    Answer("application, closed, PUT", 503, "/catmaid/body", "PUT", content=b"x", state=closed),
    Answer("channels, closed", 503, "/catmaid/channels/echo/", state=closed),
    Answer("application, preflight, closed", 204, "/catmaid/whoami", "OPTIONS", PREFLIGHT, state=closed),
    Answer("application, too slow", 504, "/tracing/fafb/v14/slow?seconds=8", cors="none"),
    Answer("tile, disk not mounted", 503, "/tiles/disk/1.jpg", cors="none"),
]  # fmt: skip


def ask(web: Web, answer: Answer) -> httpx.Response:
    headers = FRIEND | answer.headers
    with ExitStack() as stack:
        client = stack.enter_context(web.client(auth=answer.auth))
        if headers.get("If-Modified-Since"):
            headers["If-Modified-Since"] = client.get(answer.path).headers["last-modified"]
        if answer.state:
            stack.enter_context(answer.state(web))
        return client.request(answer.method, answer.path, headers=headers, content=answer.content)


@pytest.fixture(scope="module")
def users_file(web: Web) -> None:
    with web.client() as client:
        html = b"<script>document.title = 'ran'</script>"
        assert client.post("/catmaid/upload", files={"file": ("seen.html", html)}).status_code == 200


@pytest.mark.row_10
@pytest.mark.row_11
@pytest.mark.row_19
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
@pytest.mark.usefixtures("users_file")
def test_every_answer_has_every_header_once(web: Web, answer: Answer) -> None:
    got = ask(web, answer)
    assert got.status_code == answer.status
    for name, value in (SECURITY | answer.other).items():
        assert got.headers.get_list(name) == [value], name
    origin, vary = got.headers.get_list("access-control-allow-origin"), got.headers.get("vary", "")
    credentials = got.headers.get_list("access-control-allow-credentials")
    wanted = {"list": (["https://other.test"], ["true"]), "all": (["*"], []), "none": ([], [])}
    assert (origin, credentials) == wanted[answer.cors]
    assert ("Origin" in vary) == (answer.cors == "list")
    assert len(got.headers.get_list("retry-after")) == (answer.status == 503)
    if answer.status >= 400:
        assert "no-store" in got.headers["cache-control"]
    assert got.headers.get_list("server") == ["nginx"]


@pytest.mark.row_19
def test_the_redirect_to_https_has_all_but_hsts(web: Web) -> None:
    """Browsers ignore HSTS where somebody on the way could have put it in."""
    with httpx.Client(trust_env=False) as client:
        got = client.get(f"{web.host.http_url}/catmaid/a?b=c", headers={"Host": "tracing.test"})
        assert (got.status_code, got.headers["location"]) == (301, "https://tracing.test/catmaid/a?b=c")
        assert client.get(web.host.http_url).headers["location"] == "https://localhost/"
    for name, value in SECURITY.items():
        expected = [] if name == "strict-transport-security" else [value]
        assert got.headers.get_list(name) == expected


def test_a_websocket_handshake_has_the_headers(web: Web) -> None:
    with connect(f"wss://localhost:{web.host.ports[443]}/catmaid/channels/echo/", web.trust) as channel:
        assert channel.response is not None
        for name, value in SECURITY.items():
            assert channel.response.headers.get_all(name) == [value]


def test_a_site_has_its_own_headers(web: Web) -> None:
    with web.client("other.test") as client:
        got = client.get("/whoami").headers
    assert (got["x-frame-options"], got["referrer-policy"]) == ("DENY", "no-referrer")


def _line(answer: Answer, got: httpx.Response) -> str:
    names = [*SECURITY, *OTHERS]
    cells = [", ".join(got.headers.get_list(name)) for name in names]
    short = {SECURITY[name]: "as set" for name in SECURITY} | {SANDBOX["content-security-policy"]: "sandbox"}
    return (
        "| " + " | ".join([str(answer.status), answer.place, *(short.get(cell, cell) or "-" for cell in cells)]) + " |"
    )


@pytest.mark.slow
@pytest.mark.row_19
@pytest.mark.usefixtures("users_file")
def test_the_table_of_headers_in_the_docs_is_true(web: Web) -> None:
    lines = [_line(answer, ask(web, answer)) for answer in sorted(ANSWERS, key=lambda a: (a.status, a.place))]
    text = head() + "\n".join(lines) + "\n"
    if os.environ.get("CATMAID_WRITE"):
        TABLE.write_text(text)
    assert TABLE.read_text() == text


# ---- CORS ----


@pytest.mark.row_11
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://other.test", True),
        ("https://a.lab.test", True),
        ("https://a.b.lab.test", True),
        ("http://other.test", False),
        ("https://other.test:8443", False),
        ("https://lab.test", False),
        ("https://evil-lab.test", False),
        ("https://other.test.evil.org", False),
        ("https://evil.org/https://other.test", False),
        ("https://a.lab.test.evil.org", False),
        ("null", False),
    ],
)
def test_only_named_origins_are_echoed(web: Web, origin: str, allowed: bool) -> None:
    with web.client(headers={"Origin": origin}) as client:
        for got in (client.get("/catmaid/whoami"), client.options("/catmaid/whoami", headers=PREFLIGHT)):
            assert got.headers.get("access-control-allow-origin") == (origin if allowed else None)
            assert got.headers.get("access-control-allow-credentials") == ("true" if allowed else None)
            assert "Origin" in got.headers["vary"]


@pytest.mark.row_11
def test_a_preflight_is_answered_by_nginx(web: Web) -> None:
    with web.client(headers=FRIEND) as client:
        got = client.options("/catmaid/slow?seconds=5", headers=PREFLIGHT)
        assert (got.status_code, got.content) == (204, b"")
        assert "content-type" not in got.headers
        assert got.headers["access-control-max-age"] == "1728000"
        assert {"POST", "PUT", "PATCH", "DELETE"} <= set(got.headers["access-control-allow-methods"].split(", "))
        allowed = got.headers["access-control-allow-headers"].lower().split(",")
        assert {"authorization", "x-authorization", "x-csrftoken", "content-type"} <= set(allowed)
        # An OPTIONS request that is no preflight is the application's, and needs the password where there is one.
        assert client.options("/catmaid/whoami").json()["method"] == "OPTIONS"
        assert client.options(SECTION).status_code == 401
        assert client.options(SECTION, headers={"Access-Control-Request-Method": ""}).status_code == 401
        real = client.get("/catmaid/whoami").headers
    assert not [name for name in real if name in ("access-control-max-age", "access-control-allow-methods")]


@pytest.mark.row_10
def test_the_simple_form_is_for_all(web: Web) -> None:
    for headers in ({}, STRANGER):
        with web.client(headers=headers) as client:
            got = client.get("/tiles/fafb/0/1/2.jpg").headers
            assert got["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in got
            assert "Origin" not in got.get("vary", "")


# ---- Tiles ----


@pytest.mark.row_13
def test_tiles_and_their_fallbacks(web: Web) -> None:
    with web.client() as client:
        tile = client.get("/tiles/fafb/0/1/2.jpg")
        assert (tile.status_code, tile.text, tile.headers["content-type"]) == (200, "tile 2", "image/jpeg")
        assert tile.headers["cache-control"] == "public, max-age=86400"
        black = client.get("/tiles/fafb/7/7/7.jpg")
        assert (black.status_code, black.headers["content-type"]) == (200, "image/jpeg")
        assert black.headers["cache-control"] == "public, max-age=60"
        assert black.content.startswith(b"\xff\xd8")
        named = client.get("/tiles/fafb/0/a tile é+&.jpg")
        assert named.text == "tile with a name"
        missing = client.get("/tiles/fafb/sections/9/9.png", auth=ALICE)
        assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")
    with web.client("private.test") as client:
        assert client.get("/tiles/private/0/1/2.jpg").status_code == 401
        assert client.get("/tiles/private/0/1/2.jpg", auth=ALICE).text == "tile 2"


@pytest.mark.slow
@pytest.mark.row_13
def test_a_tile_that_appears_is_seen(web: Web) -> None:
    path = "/tiles/fafb/new/1.jpg"
    with web.client() as client:
        assert client.get(path).headers["content-type"] == "image/jpeg"
        web.host.run("mkdir -p /data/fafb/new; printf new > /data/fafb/new/1.jpg")
        wait_for("the new tile", lambda: client.get(path).text == "new", 30, every=1)
        web.host.run("rm -r /data/fafb/new")


@pytest.mark.row_13
def test_tiles_go_out_as_they_are(web: Web) -> None:
    with web.client() as client:
        assert client.get("/tiles/fafb/run.jpg").text.startswith("#!/bin/sh")
        for path in ("run.sh", "run.php", ".hidden.jpg", "", "0/", "0", "0/1/2.jpg/", "0/1/2.JPG"):
            assert client.get(f"/tiles/fafb/{path}").status_code == 404, path
        assert client.post("/tiles/fafb/0/1/2.jpg").status_code == 405
        # Another set below it, static files and the application are not taken for its tiles.
        assert client.get("/tiles/fafb/sections/5/1.jpg", auth=ALICE).status_code == 404
        assert client.get("/catmaid/tiles/fafb/0/1/2.jpg").status_code == 404
        assert client.get("/other/tiles/fafb/0/1/2.jpg").status_code == 404


def raw(web: Web, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Asked with the path as it is: clients tidy it."""
    connection = http.client.HTTPSConnection("localhost", web.host.ports[443], context=web.trust, timeout=30)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}


DOTS = ["..", "%2e%2e", "%2E.", "%252e%252e", "..%00", "..%5c..", "..\\..", "..%2f..", "..;", "%c0%ae%c0%ae", "....//"]


@pytest.mark.row_13
@pytest.mark.row_20
@pytest.mark.parametrize("dots", DOTS)
def test_no_path_leads_out_of_a_folder(web: Web, dots: str) -> None:
    secrets = ["/data/secret.jpg", "/etc/passwd", "/home/catmaid/catmaid-server/django/projects/mysite/settings.py"]
    for start in ("/tiles/fafb/", "/tiles/fafb/0/", "/catmaid/static/", "/catmaid/files/", "/tiles/fafb"):
        for target in ("secret.jpg", "../etc/passwd", "projects/mysite/settings.py", "etc/passwd%00.jpg"):
            status, body, _ = raw(web, f"{start}{dots}/{target}")
            assert status in (200, 400, 403, 404), (start, target)
            assert b"root:" not in body
            assert b"SECRET_KEY" not in body
            assert body != b"secret"
            # What is left of the path may name a tile that isn't there.
            assert status != 200 or body.startswith(b"\xff\xd8"), (start, target)
    assert web.host.run(f"cat {secrets[0]}") == "secret"


@pytest.mark.row_13
def test_ranges_of_tiles(web: Web) -> None:
    path, size = "/tiles/fafb/large.jpg", 104857600
    with web.client() as client:
        whole = client.get(path)
        assert (whole.status_code, len(whole.content)) == (200, size)
        part = client.get(path, headers={"Range": "bytes=104857590-104857599"})
        assert (part.status_code, len(part.content)) == (206, 10)
        assert part.headers["content-range"] == f"bytes 104857590-104857599/{size}"
        last = client.get(path, headers={"Range": "bytes=-5"})
        assert (last.status_code, len(last.content)) == (206, 5)
        many = client.get(path, headers={"Range": "bytes=0-9,100-109,1000-1009"})
        assert many.status_code == 206
        assert many.headers["content-type"].startswith("multipart/byteranges")
        beyond = client.get(path, headers={"Range": f"bytes={size}-"})
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
        fresh = client.get(path, headers={"Range": "bytes=0-9", "If-Range": '"another"'})
        assert fresh.status_code == 200


@pytest.mark.slow
@pytest.mark.row_13
def test_a_disk_that_is_not_mounted(web: Web) -> None:
    """503 without caching while it is away, tiles and the fallback while it is there, and nginx is never reloaded."""
    with web.client() as client:

        def status(path: str = "/tiles/disk/1.jpg") -> int:
            return client.get(path).status_code

        away = client.get("/tiles/disk/1.jpg")
        assert (away.status_code, away.headers["retry-after"], away.headers["cache-control"]) == (503, "60", "no-store")
        # What lies below an empty mount point isn't this set's.
        web.host.run("mkdir -p /mnt/disk/tiles; printf stray > /mnt/disk/tiles/3.jpg")
        assert status("/tiles/disk/3.jpg") == 503
        web.host.run("rm -r /mnt/disk/tiles")
        with mounted(web):
            wait_for("the tile", lambda: status() == 200, 40, every=1)
            missing = client.get("/tiles/disk/2.jpg")
            assert (missing.text, missing.headers["content-type"]) == ("grey", "image/jpeg")
        wait_for("503", lambda: status() == 503, 90, every=1)


@pytest.mark.row_13
def test_the_black_tile_is_black_and_of_its_size(web: Web) -> None:
    with web.client() as client:
        image = Image.open(BytesIO(client.get("/tiles/fafb/7/7/7.jpg").content))
    assert (image.format, image.size, image.convert("L").getextrema()) == ("JPEG", (512, 512), (0, 0))
    with web.client("private.test") as client:
        image = Image.open(BytesIO(client.get("/tiles/private/7.jpg", auth=ALICE).content))
    assert image.size == (256, 256)


# ---- Passwords ----


@pytest.mark.row_12
def test_passwords(web: Web) -> None:
    with web.client() as client:
        bare = client.get(SECTION)
        assert bare.headers["www-authenticate"] == 'Basic realm="CATMAID"'
        assert client.get(SECTION, auth=("alice", "wrong")).status_code == 401
        assert client.get(SECTION, auth=("bob", PASSWORD)).status_code == 401
        assert client.head(SECTION).status_code == 401
        assert client.get(SECTION, auth=ALICE).text == "section"
        assert client.get("/tiles/fafb/0/1/2.jpg").status_code == 200
    with web.client("private.test") as client:
        assert client.get("/tiles/private/0/1/2.jpg", auth=("bob", PASSWORD)).status_code == 200
    files = web.host.run(
        "stat -c '%n %U:%G %a' /etc/nginx/catmaid-passwords/* /etc/nginx/conf.d/catmaid-passwords.conf"
    )
    assert files.splitlines() == [
        "/etc/nginx/catmaid-passwords/site_private_test root:catmaid-nginx 640",
        "/etc/nginx/catmaid-passwords/tiles_sections root:catmaid-nginx 640",
        "/etc/nginx/conf.d/catmaid-passwords.conf root:root 600",
    ]


def tries(web: Web, address: str, number: int, name: str = "alice") -> list[list[str]]:
    """The lines of the answers to so many wrong passwords at once, from an address of the host's own."""
    curl = f"curl -sk -o /dev/null --interface {address} --resolve tracing.test:443:127.0.0.1"
    tries = "\n".join(
        f"{curl} -D /tmp/answer{n} -u {name}:wrong{n} -H 'Origin: https://other.test' https://tracing.test{SECTION} &"
        for n in range(number)
    )
    web.host.run(f"rm -f /tmp/answer*\n{tries}\nwait")
    text = web.host.run(f"cd /tmp; for n in $(seq 0 {number - 1}); do cat answer$n; echo =====; done")
    return [part.replace("\r", "").lower().strip().splitlines() for part in text.split("=====")[:number]]


@pytest.mark.row_12
@pytest.mark.row_32
def test_wrong_tries_are_limited_and_right_ones_are_not(web: Web) -> None:
    start = time.monotonic()
    answers = tries(web, ALLOWED, 150)
    seconds = time.monotonic() - start
    statuses = Counter(lines[0].split()[1] for lines in answers)
    # Twenty a second, and forty in a row.
    assert set(statuses) == {"401", "429"}
    assert 20 <= statuses["401"] <= 45 + 20 * seconds
    lines = next(lines for lines in answers if " 429" in lines[0])
    for name, value in SECURITY.items():
        assert lines.count(f"{name}: {value.lower()}") == 1
    assert "access-control-allow-origin: https://other.test" in lines
    assert "retry-after: 1" in lines
    assert "content-type: application/json" in lines
    with web.client() as client:
        assert client.get(SECTION, auth=ALICE).status_code == 200


@pytest.mark.row_12
@pytest.mark.row_32
def test_a_right_password_is_never_one_too_many(web: Web) -> None:
    """2,000 times by 50 threads without a cookie, while somebody at another address guesses."""
    statuses: Counter[int] = Counter()

    def ask() -> None:
        with web.client(auth=ALICE) as client:
            for _ in range(40):
                statuses[client.get(SECTION).status_code] += 1
                client.cookies.clear()

    # Once, and not by fifty threads.
    assert web.trust
    with ThreadPoolExecutor(51) as pool:
        guess = pool.submit(tries, web, ALLOWED, 100)
        for thread in [pool.submit(ask) for _ in range(50)]:
            thread.result()
        guess.result()
    assert statuses == {200: 2000}


@pytest.mark.row_12
@pytest.mark.row_32
def test_the_cookie_opens_and_nobody_else_can_make_one(web: Web) -> None:
    with web.client() as client:
        first = client.get(SECTION, auth=ALICE)
        assert {"HttpOnly", "Secure", "SameSite=None", "Path=/"} <= set(first.headers["set-cookie"].split("; "))
        cookie = client.cookies["catmaid_known_tiles_sections"]
        # Known, and not hashed again.
        web.host.run("mv /etc/nginx/catmaid-passwords/tiles_sections /tmp/away")
        try:
            assert [client.get(SECTION).status_code for _ in range(120)] == [200] * 120
            assert client.get(SECTION, auth=("alice", "wrong")).status_code == 200
            assert "set-cookie" not in client.get(SECTION).headers
        finally:
            web.host.run("mv /tmp/away /etc/nginx/catmaid-passwords/tiles_sections")
    (guard,) = (one for one in passwords.guards(schema.load(sites=SITES)).values() if one.name == "tiles_sections")
    key = web.host.run("grep -oE '[0-9a-f]{64}' /etc/nginx/conf.d/catmaid-key.conf")
    assert cookie == guard.token + key
    # The inventory alone, the key alone, parts of both, and what the server compares with.
    for guess in ("", guard.token, key, cookie[:-1], cookie + "0", f"{cookie}|{cookie}", "|", "a|a"):
        with web.client(headers={"Cookie": f"catmaid_known_tiles_sections={guess}"}) as client:
            assert client.get(SECTION).status_code == 401, guess
            assert client.options(SECTION).status_code == 401
    with web.client() as client:
        assert "set-cookie" not in client.get(SECTION, auth=("alice", "wrong")).headers
        assert "set-cookie" not in client.options(SECTION, headers=FRIEND | PREFLIGHT, auth=ALICE).headers
        assert client.options(SECTION, auth=("alice", "wrong")).status_code == 401


@pytest.mark.row_12
@pytest.mark.row_32
def test_nobody_asks_nginx_about_a_password_past_the_limit(web: Web) -> None:
    """Its own server answers nginx alone, its files are for its workers alone, and a long password costs nothing."""
    for path in ("/tiles_sections", "/"):
        command = f"curl -s -o /dev/null -w '%{{http_code}}' -H 'Host: {schema.PASSWORD_HOST}' -u 'alice:{PASSWORD}'"
        command += f" -H 'X-Catmaid-Address: 192.0.2.1' -H 'X-Catmaid-Key: |' http://127.0.0.1{path} || true"
        assert web.host.run(command) == "000"
    with web.client() as client:
        assert client.get("/_catmaid/passwords/tiles_sections", auth=ALICE).status_code == 404
        assert client.get(SECTION, auth=("alice", "a" * 300)).status_code == 401
    assert web.host.run("stat -c '%U %a' /run/catmaid-nginx") == "catmaid-nginx 700"
    assert web.host.run("stat -f -c %T /run/catmaid-nginx") == "tmpfs"
    assert web.host.run("stat -c '%U:%G %a' /etc/nginx/conf.d/catmaid-key.conf") == "root:root 600"


@pytest.mark.row_12
@pytest.mark.row_32
def test_what_a_browser_shows_nginx_is_handed_on_to_nobody(web: Web) -> None:
    known = "catmaid_known_tiles_sections=a; sessionid=b; catmaid_known_site_private_test=c; other=catmaid_known_d=e"
    with web.client() as client:

        def sent(authorization: str, cookies: str = known) -> dict[str, str]:
            headers = {"Authorization": authorization, "X-Authorization": "Token 1", "Cookie": cookies}
            seen: dict[str, str] = client.get("/catmaid/sent", headers=headers).json()
            return seen

        for basic in ("Basic YTpi", "basic YTpi", "BASIC   YTpi", "Basic"):
            seen = sent(basic)
            assert "HTTP_AUTHORIZATION" not in seen
            assert seen["HTTP_X_AUTHORIZATION"] == "Token 1"
            assert seen["HTTP_COOKIE"] == "sessionid=b; other=catmaid_known_d=e"
        for other in ("Token abc", "Bearer basic", "Basically"):
            assert sent(other)["HTTP_AUTHORIZATION"] == other
        assert "HTTP_COOKIE" not in sent("Token abc", "catmaid_known_tiles_sections=a")
        # More of them than a browser has.
        assert "HTTP_COOKIE" not in sent("Token abc", "; ".join(["catmaid_known_tiles_sections=a"] * 20))
        assert sent("Token abc", "a=b;  c=d;")["HTTP_COOKIE"] == "a=b;  c=d;"
    url = f"wss://localhost:{web.host.ports[443]}/catmaid/channels/echo/"
    headers = {"Authorization": "Basic YTpi", "X-Authorization": "Token 1", "Cookie": known}
    with connect(url, web.trust, additional_headers=headers) as channel:
        channel.send("sent")
        seen = json.loads(channel.recv(timeout=10))
    assert "authorization" not in seen
    assert (seen["x-authorization"], seen["cookie"]) == ("Token 1", "sessionid=b; other=catmaid_known_d=e")


@pytest.mark.row_32
def test_no_address_forges_a_line_or_moves_a_terminal(web: Web) -> None:
    log = "/var/log/nginx/error.log"
    lines = int(web.host.run(f"wc -l < {log}"))
    with web.client() as client:
        names = ("a\x1b[2J", "a\n2026/01/01 00:00:00 [emerg] forged")
        assert [client.get(SECTION, auth=(name, "wrong")).status_code for name in names] == [400, 400]
        for text in ("%1b]0;title%07%1b[2J", "%0a2026/01/01 00:00:00 [emerg] forged", "%7f", "%c2%9b2J", "a%0d"):
            for place in ("/catmaid/static/", "/catmaid/files/", "/tiles/fafb/", "/catmaid/", "/none/"):
                assert client.get(place + text).status_code == 400, (place, text)
        assert client.get("/catmaid/static/none", headers={"Referer": "a\x1b[2J"}).status_code == 400
        plain = f"http://localhost:{web.host.ports[80]}/.well-known/acme-challenge/%0aforged"
        assert httpx.get(plain, trust_env=False).status_code == 400
        # What isn't ASCII is no control character.
        assert client.get("/catmaid/static/n%C3%A9").status_code == 404
    text = web.host.run(f"tail -n +{lines + 1} {log}")
    assert "static/n\u00e9" in text
    assert not [c for c in text if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160]
    assert "forged" not in text


@pytest.mark.row_12
def test_hashes_are_shown_nowhere(web: Web) -> None:
    other = [SITES[0], SITES[1], SITES[2] | {"passwords": {"carol": SITES[2]["passwords"]["alice"]}}]
    shown = pyinfra(web.host, {"sites": other}, "--dry", "--diff", "-vvv")
    assert shown.code == 0
    assert "catmaid-passwords/site_private_test" in shown.text
    assert SITES[2]["passwords"]["alice"][10:] not in shown.text + json.dumps(shown.report)


# ---- Maintenance ----


@pytest.mark.row_18
def test_closed_for_maintenance(web: Web) -> None:
    """By a file, without a reload: the notice for pages, JSON for programs; tiles and static files go on."""
    with web.client() as client, closed(web):
        page = client.get("/catmaid/", headers=HTML)
        assert page.status_code == 503
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "The database moves to a &#34;faster&#34; &lt;machine&gt;." in page.text
        assert "Tuesday, 1 December 2026, 18:00 UTC+01:00" in page.text
        assert page.headers["retry-after"] == "Tue, 01 Dec 2026 17:00:00 GMT"
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            answer = client.request(method, "/tracing/fafb/v14/body", content=b"x" if method != "GET" else None)
            assert answer.status_code == 503, method
            assert answer.headers["content-type"] == "application/json"
            assert answer.json()["error"] == "CATMAID is closed for maintenance"
            assert answer.json()["expected_end"] == "2026-12-01T18:00:00+01:00"
        with (
            pytest.raises(InvalidStatus) as caught,
            connect(f"wss://localhost:{web.host.ports[443]}/catmaid/channels/echo/", web.trust),
        ):
            pass
        assert caught.value.response.status_code == 503
        assert client.get("/catmaid/static/standin.js").status_code == 200
        assert client.get("/tiles/fafb/0/1/2.jpg").text == "tile 2"
        inside = "curl -sk -o /dev/null -w '%{http_code}' --interface ADDRESS https://localhost/catmaid/whoami"
        assert web.host.run(inside.replace("ADDRESS", ALLOWED)) == "200"
        assert web.host.run(inside.replace("ADDRESS", "127.0.0.8")) == "503"
    with web.client() as client:
        assert client.get("/catmaid/whoami").status_code == 200


@pytest.mark.row_18
def test_one_instance_is_closed_and_the_others_are_not(web: Web) -> None:
    with web.client() as client, closed(web, "/etc/catmaid/catmaid-fafb/maintenance"):
        assert client.get("/tracing/fafb/v14/whoami").status_code == 503
        assert client.get("/catmaid/whoami").status_code == 200
        with web.client("other.test") as other:
            assert other.get("/whoami").status_code == 200


@pytest.mark.row_18
def test_an_application_that_is_away(web: Web) -> None:
    with web.client() as client, stopped(web):
        page = client.get("/catmaid/", headers=HTML)
        assert (page.status_code, page.headers["content-type"]) == (502, "text/html; charset=utf-8")
        assert "can&#39;t be reached" in page.text
        assert client.post("/catmaid/body", content=b"x").json()["error"] == "CATMAID can't be reached"
        assert client.get("/tracing/fafb/v14/whoami").status_code == 200
        assert client.get("/_catmaid/outage.html").status_code == 404


@pytest.mark.slow
@pytest.mark.row_18
def test_the_notice_outlives_a_reboot_and_a_deploy(web: Web) -> None:
    with closed(web):
        run = pyinfra(web.host, {"sites": SITES}, "-y")
        assert (run.code, run.changed) == (0, []), run.text
        # The fix names pyinfra as the run was typed: by its path where no shell finds it.
        assert re.search(
            r"maintenance: /etc/catmaid/maintenance is there, users see the notice: "
            r"on this machine: \S*pyinfra \S+ runbooks/maintenance\.py --data maintenance=off",
            run.text,
        ), run.text
        web.host.reboot()
        with web.client() as client:
            wait_for("the notice", lambda: client.get("/catmaid/").status_code == 503, 30)
    with web.client() as client:
        wait_for("the application", lambda: client.get("/catmaid/whoami").status_code == 200, 60)


# ---- TLS and names ----


def handshake(web: Web, name: str | None, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", web.host.ports[443]), timeout=10)
    return context.wrap_socket(plain, server_hostname=name)


def careless() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.mark.row_19
@pytest.mark.row_30
def test_each_site_has_its_own_certificate(web: Web) -> None:
    for site in SITES:
        for name in (site["server_name"], *site.get("aliases", ())):
            with handshake(web, name, web.trust) as connection:
                subject = dict(part[0] for part in connection.getpeercert()["subject"])  # type: ignore[index,misc]
                assert subject == {"commonName": site["server_name"]}


@pytest.mark.row_19
@pytest.mark.parametrize("name", ["unknown.test", "evil.tracing.test", None])
def test_unknown_names_get_nothing_of_ours(web: Web, name: str | None) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(web, name, careless()).close()
    with socket.create_connection(("127.0.0.1", web.host.ports[80]), timeout=10) as plain:
        plain.sendall(f"GET / HTTP/1.1\r\nHost: {name or '192.0.2.1'}\r\n\r\n".encode())
        with suppress(ConnectionResetError):
            assert plain.recv(100) == b""
    # A known name in the handshake and another one in the request.
    with handshake(web, "tracing.test", web.trust) as connection:
        connection.sendall(f"GET /catmaid/ HTTP/1.1\r\nHost: {name or '192.0.2.1'}\r\n\r\n".encode())
        assert b"Stand-in" not in connection.recv(10000)


@pytest.mark.row_19
def test_old_protocols_and_ciphers_are_refused(web: Web) -> None:
    old = careless()
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(web, "tracing.test", old).close()
    weak = careless()
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-SHA:AES256-SHA:DHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(web, "tracing.test", weak).close()


@pytest.mark.row_19
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(web: Web, version: ssl.TLSVersion) -> None:
    web.trust.minimum_version = web.trust.maximum_version = version
    try:
        session: ssl.SSLSession | None = None
        reused: list[bool | None] = []
        for _ in range(3):
            plain = socket.create_connection(("127.0.0.1", web.host.ports[443]), timeout=10)
            with web.trust.wrap_socket(plain, server_hostname="tracing.test", session=session) as connection:
                connection.sendall(b"GET /catmaid/whoami HTTP/1.0\r\nHost: tracing.test\r\n\r\n")
                while connection.recv(10000):
                    pass
                session, reused = connection.session, [*reused, connection.session_reused]
        assert reused == [False, True, True]
    finally:
        web.trust.minimum_version, web.trust.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.mark.row_19
def test_http_2_is_spoken(web: Web) -> None:
    context = careless()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with handshake(web, "tracing.test", context) as connection:
        assert connection.selected_alpn_protocol() == "h2"


@pytest.mark.row_30
def test_three_sites_and_three_prefixes(web: Web) -> None:
    with web.client() as client, web.client("other.test") as other:
        assert client.get("/catmaid/whoami").json()["script_name"] == "/catmaid"
        assert client.get("/tracing/fafb/v14/whoami").json()["script_name"] == "/tracing/fafb/v14"
        assert other.get("/whoami").json()["script_name"] == ""
        # What one site has, another one hasn't.
        assert client.get("/whoami").status_code == 404
        assert other.get("/catmaid/whoami").status_code == 404
        # Limits are each instance's own.
        assert client.post("/tracing/fafb/v14/body", content=b"x" * (2 << 20)).status_code == 413
        assert client.post("/catmaid/body", content=b"x" * (2 << 20)).status_code == 200
    files = web.host.run("cd /etc/nginx; grep -rl 'Made by catmaid-deploy' . | sort").split()
    assert len(files) == 17
    for file in files:
        assert web.host.run(f"head -n 1 /etc/nginx/{file}").startswith("# Made by catmaid-deploy from templates/")


@pytest.mark.slow
@pytest.mark.row_30
def test_a_site_that_leaves_takes_its_files_along(web: Web) -> None:
    before = settled(web.host)
    fewer = pyinfra(web.host, {"sites": SITES[:2]}, "-y")
    assert (fewer.code, fewer.changed_services) == (0, ["nginx", "disks"])
    assert "private" not in web.host.run("ls -R /etc/nginx /etc/catmaid/web")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(web, "private.test", careless()).close()
    again = pyinfra(web.host, {"sites": SITES}, "-y")
    assert again.code == 0, again.text
    time.sleep(1)
    assert differences(before, settled(web.host)) == []


# ---- Speed ----


@pytest.mark.row_8
def test_answers_are_compressed_as_the_browser_likes(web: Web) -> None:
    for asked, sent in (("gzip, br", "br"), ("gzip", "gzip"), ("identity", None)):
        with web.client(headers={"Accept-Encoding": asked}) as client:
            got = client.get("/catmaid/static/standin.js").headers
            assert got.get("content-encoding") == sent
            assert sent is None or "Accept-Encoding" in got["vary"]


@pytest.mark.row_8
def test_hashed_files_are_kept_for_good_and_made_ones_used(web: Web) -> None:
    folder = "/home/catmaid/catmaid-server/django/static"
    web.host.run(f"cp {folder}/standin.js {folder}/standin.0123456789ab.js; echo plain > {folder}/made.css")
    web.host.put(f"{folder}/made.css.gz", gzip.compress(b"made before"))
    with web.client() as client:
        hashed = client.get("/catmaid/static/standin.0123456789ab.js")
        assert hashed.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert client.get("/catmaid/static/standin.js").headers["cache-control"] == "public, max-age=3600"
        assert client.get("/catmaid/static/made.css", headers={"Accept-Encoding": "gzip"}).text == "made before"


@pytest.mark.row_22
def test_large_answers_need_no_temporary_file(web: Web) -> None:
    """5 MB stay in memory while a slow client reads, and the worker is free for the next request."""
    web.host.run("truncate -s 0 /var/log/nginx/error.log")
    with handshake(web, "tracing.test", web.trust) as connection:
        connection.sendall(
            b"GET /catmaid/large?bytes=5000000 HTTP/1.1\r\nHost: tracing.test\r\nConnection: close\r\n\r\n"
        )
        connection.recv(1000)
        time.sleep(2)
        assert web.host.run("find /var/lib/nginx/uwsgi -type f") == ""
        received = 0
        while data := connection.recv(1 << 16):
            received += len(data)
    assert received > 4_990_000
