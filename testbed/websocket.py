"""The stand-in's WebSocket, as a browser opens it."""

from __future__ import annotations

import ssl

from websockets.sync.client import connect


def websocket_url(url: str) -> str:
    return "ws" + url.removeprefix("http")


def echo(url: str, text: str, trust: ssl.SSLContext) -> str:
    """Send a text through the WebSocket at ``url`` (https) and return the answer."""
    with connect(websocket_url(url), ssl=trust, open_timeout=10, proxy=None) as socket:
        socket.send(text)
        answer = socket.recv(timeout=10)
    return answer if isinstance(answer, str) else answer.decode()
