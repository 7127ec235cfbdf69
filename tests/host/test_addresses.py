"""What nginx serves and refuses by itself: layouts of tiles, volumes, words for programs, an admin's own locations."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from catmaid_deploy.tasks.nginx.site import REFUSALS
from testbed.run import pyinfra
from tests.host.test_web import ALICE, FRIEND, HTML, SECTION, WHOLE, careless, closed, raw
from tests.host.web import SITES, Web

pytestmark = pytest.mark.row_34

TILES = "/tiles/fafb"

# ---- Layouts of tiles and volumes ----


@pytest.mark.row_13
def test_tiles_of_each_layout(web: Web) -> None:
    """CATMAID's tile source types 1, 4, 5 and 10, with their overviews."""
    with web.client() as client:
        for path in (
            *("5/1_2_0.jpg", "5/small.jpg"),
            *("5/0/1_2.jpg", "0/5/1/2.jpg", "small/5.jpg"),
            "s0/512_512/0_512_5.jpg",
        ):
            got = client.get(f"{TILES}/{path}")
            assert (got.status_code, got.text, got.headers["content-type"]) == (200, "tile", "image/jpeg"), path


BLOCKS = ["v.n5/s0/0/1/2", "v/8_8_8/0-64_-64-0_0-40", "v/8_8_8/64-128_0-64_0-40", "v.zarr/0/0.0.0", "v.zarr/0/c/0/1"]
DESCRIPTIONS = ["v.n5/attributes.json", "v/info", "v.zarr/.zgroup", "v.zarr/0/.zarray", "v.zarr/zarr.json"]


@pytest.mark.row_13
@pytest.mark.row_10
def test_volumes(web: Web) -> None:
    """N5 (CATMAID's type 11), precomputed (14) and Zarr: blocks for good, what describes them asked for each time."""
    with web.client() as client:
        for path in BLOCKS:
            got = client.get(f"{TILES}/{path}")
            assert (got.status_code, got.content) == (200, b"block"), path
            assert got.headers["content-type"] == "application/octet-stream"
            assert got.headers["cache-control"] == "public, max-age=86400"
            assert got.headers["access-control-allow-origin"] == "*"
            assert client.head(f"{TILES}/{path}").status_code == 200
            again = client.get(f"{TILES}/{path}", headers={"If-None-Match": got.headers["etag"]})
            assert again.status_code == 304
        for path in DESCRIPTIONS:
            got = client.get(f"{TILES}/{path}")
            assert (got.status_code, got.headers["content-type"]) == (200, "application/json"), path
            assert got.headers["cache-control"] == "no-cache"
            assert isinstance(got.json(), dict)
        # CATMAID's own N5 reader writes it so where a volume has one scale alone.
        assert client.get(f"{TILES}/v.n5/s0//0/1/2").text == "block"
        assert client.post(f"{TILES}/{BLOCKS[0]}").status_code == 405
        # What is missing is empty and no black tile; readers go by the status.
        for path in ("v.n5/s0/0/1/3", "v/8_8_8/128-192_0-64_0-40", "v.zarr/0/0.0.1", "v.zarr/0/c/0/2", "v.n5/s9/info"):
            got = client.get(f"{TILES}/{path}")
            assert (got.status_code, got.headers["cache-control"]) == (404, "no-store"), path
    status, body, headers = raw(web, f"{TILES}/{BLOCKS[2]}", **{"Accept-Encoding": "gzip"})
    assert (status, headers["content-encoding"], gzip.decompress(body)) == (200, "gzip", b"block")
    # Beyond its end: the header can't be taken back, and so there are no words that a browser would decompress.
    assert raw(web, f"{TILES}/{BLOCKS[2]}", Range="bytes=9999-")[:2] == (416, b"")


@pytest.mark.row_13
def test_shards_of_a_volume(web: Web) -> None:
    with web.client() as client:
        shard = f"{TILES}/v/8_8_8/0f.shard"
        part = client.get(shard, headers={"Range": "bytes=990-999"} | WHOLE)
        assert (part.status_code, part.headers["content-range"], part.content) == (206, "bytes 990-999/1000", bytes(10))
        assert client.get(shard, headers={"Range": "bytes=1000-"}).status_code == 416
        asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
        assert "Range" in client.options(shard, headers=FRIEND | asked).headers["access-control-allow-headers"]


@pytest.mark.row_13
def test_what_lies_beside_a_volume_is_nobodys(web: Web) -> None:
    with web.client() as client:
        for path in (
            *("v.zarr/.cache/1", "v.zarr/.htaccess", "v/info.bak", "v/notes.txt", "v", "v/", "v.n5/s0/0", "v.n5/s0/0/"),
            *("v.n5/s0/0/1/2/", "v.n5/s0/0/1/2x", "v/8_8_8/64-128_0-64_0-40.gz", "v/8_8_8/0-64_-64-0", ".n5/1"),
        ):
            assert client.get(f"{TILES}/{path}").status_code == 404, path
        # A set with a password asks for it before all else.
        for path in ("v.n5/attributes.json", "v.n5/s0/0/1/2", ".zgroup"):
            assert client.get(f"{TILES}/sections/{path}").status_code == 401, path
            assert client.get(f"{TILES}/sections/{path}", auth=ALICE).status_code == 404, path
        assert client.get("/tiles/disk/v.n5/s0/0/1/2").status_code == 503
    for dots in ("..", "%2e%2e", "..%2f..", ".%00."):
        status, body, _ = raw(web, f"{TILES}/{dots}/1")
        assert (status in (400, 404), b"root:" in body) == (True, False), dots


@pytest.mark.long
@pytest.mark.row_13
def test_a_set_that_is_a_volume_alone_is_well(web: Web) -> None:
    """Verify asks for what describes it, since there is no tile."""
    volume = {"name": "volume", "url": "/volume", "folder": "/data/fafb/v.n5"}
    with_volume = {"sites": [SITES[0] | {"tiles": [*SITES[0]["tiles"], volume]}, *SITES[1:]]}
    assert pyinfra(web.host, with_volume, "-y").code == 0
    (one,) = pyinfra(web.host, with_volume, deploy="runbooks/verify.py").report["hosts"]
    assert one["checks"]["tile of volume"].startswith("/volume/attributes.json 200")
    assert pyinfra(web.host, {"sites": SITES}, "-y").code == 0


# ---- What nginx refuses ----


def sent(web: Web, text: str, tls: bool = True) -> tuple[int, dict[str, str], str]:
    """The answer to what no client would send."""
    connection = socket.create_connection(("127.0.0.1", web.host.ports[443]), timeout=10)
    connection = careless().wrap_socket(connection, server_hostname="tracing.test") if tls else connection
    answer = b""
    # nginx may answer and close before it has read all.
    with connection, suppress(OSError):
        with suppress(OSError):
            connection.sendall(text.encode("latin-1"))
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return (
        int(first.split()[1]),
        {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)},
        body,
    )


REST = " HTTP/1.1\r\nHost: tracing.test\r\nConnection: close\r\n"
REFUSED = [
    (400, f"GET /catmaid/%00{REST}\r\n"),
    (400, f"GET /catmaid/\xc2\x9b2J{REST}\r\n"),
    (400, f"GET {TILES}/0/1/2.jpg{REST}Referer: \x1b[2J\r\n\r\n"),
    (400, f"GET {TILES}/0/1/2.jpg{REST}Referer: \xc2\x9b2J\r\n\r\n"),
    (400, f"POST /catmaid/body{REST}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"),
    (400, "GET\x01 / HTTP/1.1\r\n\r\n"),
    (400, "GET /catmaid/ HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (401, f"GET {SECTION}{REST}\r\n"),
    (403, f"GET /catmaid/static/{REST}\r\n"),
    (403, f"GET /catmaid/files/{REST}\r\n"),
    (404, f"GET /none{REST}\r\n"),
    (404, f"GET /none{'/a' * 10000}%20{REST}\r\n"),
    (404, f"GET /none{'//a' * 7000}{REST}\r\n"),
    (404, f"GET /catmaid/static/none{REST}\r\n"),
    (404, f"GET /catmaid/files/none{REST}\r\n"),
    (404, f"GET {TILES}/run.sh{REST}\r\n"),
    (404, f"GET /_catmaid/outage.html{REST}\r\n"),
    (405, f"POST /catmaid/static/standin.js{REST}Content-Length: 0\r\n\r\n"),
    (405, f"TRACE /catmaid/{REST}\r\n"),
    (412, f"GET /catmaid/static/standin.js{REST}If-Unmodified-Since: Thu, 01 Jan 1990 00:00:00 GMT\r\n\r\n"),
    (413, f"POST /catmaid/body{REST}Content-Length: {21 << 20}\r\n\r\n"),
    (413, f"POST /catmaid/body.html{REST}Content-Length: {21 << 20}\r\n\r\n"),
    (416, f"GET {TILES}/0/1/2.jpg{REST}Range: bytes=99-\r\n\r\n"),
    (501, f"POST /catmaid/body{REST}Transfer-Encoding: strange\r\n\r\n"),
    (503, f"GET /tiles/disk/1.jpg{REST}\r\n"),
    (505, "GET / HTTP/3.7\r\nHost: tracing.test\r\n\r\n"),
]  # fmt: skip


def test_what_nginx_refuses_has_words_for_programs(web: Web) -> None:
    for status, text in REFUSED:
        found, headers, body = sent(web, text)
        assert (found, headers["content-type"]) == (status, "application/json"), text
        why, fix = REFUSALS[status]
        assert json.loads(body) == {"error": why, "detail": fix, "expected_end": None}, text
        assert len(body) < 200
        assert headers["x-content-type-options"] == "nosniff", text
    # Nobody's address, since the line is too long to be one.
    for text in (f"GET /{'a' * 60000}{REST}\r\n", f"GET /{REST}X: {'a' * 60000}\r\n\r\n"):
        found, headers, body = sent(web, text)
        assert (found, headers["content-type"], json.loads(body)["error"]) in [
            (status, "application/json", REFUSALS[status][0]) for status in (414, 431)
        ], text[:20]
    # HTTP where HTTPS is spoken.
    assert sent(web, f"GET /{REST}\r\n", tls=False)[0] == 400
    with web.client() as client:
        limited = client.get("/catmaid/none")
        assert (limited.status_code, limited.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_what_nginx_refuses_is_a_page_for_browsers(web: Web) -> None:
    with web.client(headers=HTML) as client:
        for path, status in (("/none", 404), (SECTION, 401), ("/catmaid/static/", 403), ("/catmaid/files/", 403)):
            got = client.get(path)
            assert (got.status_code, got.headers["content-type"]) == (status, "text/html"), path
            assert REFUSALS[status][0] in got.text
        # A redirected error keeps its place: a file's answer runs nothing, whoever asks.
        assert client.get("/catmaid/files/none").headers["content-security-policy"].startswith("sandbox")
        assert client.get(SECTION).headers["www-authenticate"] == 'Basic realm="CATMAID"'
    with closed(web), web.client() as client:
        assert client.get("/catmaid/whoami").json()["error"] == "CATMAID is closed for maintenance"
        assert client.get("/none").json()["error"] == REFUSALS[404][0]


# ---- An admin's own locations ----

OWN = "/etc/nginx/catmaid-locations/tracing.test"
PAGE = "location = /own/page {\n    default_type text/plain;\n    return 200 'VERSION';\n}\n"


@contextmanager
def own(web: Web, name: str, text: str) -> Iterator[None]:
    """A file of the admin's, there for a while; a run afterwards takes it back."""
    web.host.put(f"{OWN}/{name}", text.encode())
    try:
        yield
    finally:
        web.host.run(f"rm -f {OWN}/{name}")
        assert pyinfra(web.host, {"sites": SITES}, "-y").code == 0


def test_own_locations(web: Web) -> None:
    """Read, tested and reloaded, with the site's headers; never written."""
    assert web.host.run(f"stat -c '%U:%G %a' {OWN}") == "root:root 755"
    with own(web, "page.conf", PAGE.replace("VERSION", "first")), web.client() as client:
        dry = pyinfra(web.host, {"sites": SITES}, "--dry", "--diff")
        assert "of tracing.test an admin's own locations are" in dry.text.lower()
        run = pyinfra(web.host, {"sites": SITES}, "-y")
        assert (run.code, run.changed_services) == (0, ["nginx"]), run.text
        got = client.get("/own/page")
        assert (got.text, got.headers["x-frame-options"]) == ("first", "SAMEORIGIN")
        assert pyinfra(web.host, {"sites": SITES}, "-y").changed == []
        # Changed with the time of before, as rsync and cp -p leave it.
        web.host.run(f"sed -i.old s/first/second/ {OWN}/page.conf; touch -r {OWN}/page.conf.old {OWN}/page.conf")
        web.host.run(f"rm {OWN}/page.conf.old")
        assert pyinfra(web.host, {"sites": SITES}, "-y").changed_services == ["nginx"]
        assert client.get("/own/page").text == "second"
        assert "second" in web.host.run(f"cat {OWN}/page.conf")
    with web.client() as client:
        assert client.get("/own/page").status_code == 404


WRONG = {
    "location /catmaid/ {\n    return 404;\n}\n": 'duplicate location "/catmaid/" in',
    "location /own/ {\n    retrun 404;\n}\n": 'unknown directive "retrun" in',
    "location /own/ {\n    return 404;\n": 'unexpected end of file, expecting "}" in',
}


@pytest.mark.long
@pytest.mark.parametrize("text", WRONG, ids=WRONG.get)
def test_a_file_of_own_locations_that_is_wrong_is_one_line(web: Web, text: str) -> None:
    with own(web, "wrong.conf", text), web.client() as client:
        run = pyinfra(web.host, {"sites": SITES}, "-y")
        assert run.code == 1
        (line,) = [line for line in run.text.splitlines() if f"{OWN}/wrong.conf" in line]
        assert WRONG[text] in line or WRONG[text].removesuffix(" in") in line, run.text
        assert client.get("/catmaid/whoami").status_code == 200
