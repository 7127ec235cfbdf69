"""The stand-in's WebSocket, as a browser opens it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from websockets.asyncio import client
from websockets.http11 import Response

T = TypeVar("T")


def websocket_url(url: str) -> str:
    return "ws" + url.removeprefix("http")


class Channel:
    """An open WebSocket, as websockets' own client for threads has it.

    That one reads in a thread of its own while its caller writes, and Python's TLS bears no two threads: it loses what
    came, or ends the process (https://github.com/python/cpython/issues/143756). Here one thread does both.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: client.ClientConnection) -> None:
        self._loop, self._connection = loop, connection

    @property
    def response(self) -> Response:
        """The answer to the handshake."""
        assert self._connection.response is not None
        return self._connection.response

    def send(self, message: str | bytes) -> None:
        _wait(self._loop, self._connection.send(message))

    def recv(self, timeout: float) -> str | bytes:
        """The next message; TimeoutError if none came for ``timeout`` seconds."""
        return _wait(self._loop, asyncio.wait_for(self._connection.recv(), timeout))


@contextmanager
def connect(url: str, trust: ssl.SSLContext, open_timeout: float = 10, **options: Any) -> Iterator[Channel]:
    """Open the WebSocket at ``url`` (wss); ``options`` are those of ``websockets.asyncio.client.connect``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def opened() -> client.ClientConnection:
        return await client.connect(url, ssl=trust, proxy=None, open_timeout=open_timeout, **options)

    try:
        connection = _wait(loop, opened())
        try:
            yield Channel(loop, connection)
        finally:
            _wait(loop, connection.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def echo(url: str, text: str, trust: ssl.SSLContext) -> str:
    """Send a text through the WebSocket at ``url`` (https) and return the answer."""
    with connect(websocket_url(url), trust) as channel:
        channel.send(text)
        answer = channel.recv(timeout=10)
    return answer if isinstance(answer, str) else answer.decode()


def _wait(loop: asyncio.AbstractEventLoop, of: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(of, loop).result()
