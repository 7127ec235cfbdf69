"""Asks a deployed stand-in what a browser would ask it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from testbed.podman import BedError


def websocket_url(url: str) -> str:
    return "ws" + url.removeprefix("http")


def echo(url: str, text: str, trust: ssl.SSLContext) -> str:
    """Send a text through the WebSocket at ``url`` (https) and return the answer."""
    with connect(websocket_url(url), ssl=trust, open_timeout=10, proxy=None) as socket:
        socket.send(text)
        answer = socket.recv(timeout=10)
    return answer if isinstance(answer, str) else answer.decode()


def _patient_echo(url: str, text: str, trust: ssl.SSLContext, seconds: float = 60) -> str:
    """Like echo, but waits for Daphne: it is RUNNING for Supervisor before it listens."""
    end = time.monotonic() + seconds
    while True:
        try:
            return echo(url, text, trust)
        except (OSError, WebSocketException) as error:
            if time.monotonic() > end:
                return str(error)
            time.sleep(0.5)


def checks(url: str, location: str, trust: ssl.SSLContext, tiles: str) -> Iterator[tuple[str, str]]:
    """Yield what works with a word about it; ``tiles`` is the URL of a section, of which the last tile is missing.

    Raises BedError at the first thing that doesn't.
    """
    with httpx.Client(base_url=url, timeout=30, trust_env=False, verify=trust) as client:
        start = time.monotonic()
        page = client.get(location)
        if page.status_code != 200 or "Stand-in" not in page.text:
            raise BedError(f"{url}{location} answers {page.status_code}: see /var/log/catmaid/wsgi-*.log there")
        yield "page", f"200 in {1000 * (time.monotonic() - start):.0f} ms, {page.headers['strict-transport-security']}"
        static = client.get(f"{location}static/standin.js")
        if static.status_code != 200 or static.headers.get("content-encoding") != "gzip":
            raise BedError(f"a static file answers {static.status_code}, not compressed: see /var/log/nginx/error.log")
        yield "static file", f"200, {static.headers['content-encoding']}, {static.headers['cache-control']}"
        answer = _patient_echo(f"{url}{location}channels/echo/", "hello", trust)
        if answer != "hello":
            raise BedError(f"the WebSocket answers {answer!r}: see /var/log/catmaid/daphne-*.log there")
        yield "WebSocket", "echoes"
        task = client.post(f"{location}task?x=20&y=22")
        if task.status_code != 200 or task.json()["result"] != 42:
            raise BedError(f"the Celery task answers {task.status_code}: see /var/log/catmaid/celery-*.log there")
        yield "Celery task", f"20 + 22 = 42 in {task.json()['seconds']} s"
        tile, missing = client.get(f"{tiles}0_0_0.jpg"), client.get(f"{tiles}2_3_0.jpg")
        if (tile.status_code, missing.status_code) != (200, 200) or tile.content == missing.content:
            raise BedError(f"tiles answer {tile.status_code} and {missing.status_code}: see /var/log/nginx/error.log")
        yield "tiles", f"{len(tile.content) >> 10} kB, {tile.headers['cache-control']}; a missing one is black"
