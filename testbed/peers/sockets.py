"""WebSockets as CATMAID's page keeps them, which tell of each end and each new begin: what an update does to them."""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.protocol import State

from testbed.peers.child import Load, say, serve
from testbed.podman import BedError
from testbed.websocket import websocket_url

# CATMAID's page opens a closed socket again after so long.
RECONNECT_SECONDS = 3
ECHO_SECONDS = 10
_EVERY = 1.0
_OPEN_SECONDS = 30
# So many open at once at first: what is to be measured comes later.
_AT_ONCE = 20


@dataclass(frozen=True)
class Opened:
    client: int
    time: float


@dataclass(frozen=True)
class Closed:
    """The server's end of a socket; code 1006 is one without a word, which Firefox calls an error besides."""

    client: int
    time: float
    code: int


@dataclass(frozen=True)
class SocketError:
    """What leaves a page without its socket for good."""

    client: int
    time: float
    text: str


@dataclass
class SocketFigures:
    """What happened to the sockets, each in order of time."""

    opens: list[Opened] = field(default_factory=list)
    closes: list[Closed] = field(default_factory=list)
    errors: list[SocketError] = field(default_factory=list)
    open_at_end: int = 0

    @property
    def reconnects(self) -> list[float]:
        """The seconds from each end to the next begin, where there was one."""
        found = []
        for close in self.closes:
            next_open = (one.time for one in self.opens if one.client == close.client and one.time >= close.time)
            found += [opened - close.time for opened in [next(next_open, None)] if opened is not None]
        return found

    @property
    def close_codes(self) -> Counter[int]:
        return Counter(one.code for one in self.closes)

    @property
    def closed_per_second(self) -> int:
        """The most that ended within any one second."""
        times = sorted(one.time for one in self.closes)
        most = first = 0
        for last, at in enumerate(times):
            while at - times[first] >= 1:
                first += 1
            most = max(most, last - first + 1)
        return most


class Sockets(Load):
    """``count`` pages with a socket at ``url``, such as https://localhost:40123/catmaid/, while the block runs.

    ``ca`` is the text of the certificate that they trust. After an error a page has no socket any more: CATMAID's
    falls back to asking again and again, for good. So of the three tries that it has, none follows one that failed.
    """

    module = "testbed.peers.sockets"

    def __init__(self, url: str, ca: str, count: int) -> None:
        self._count = count
        super().__init__({"url": url, "ca": ca, "count": count})

    def wait_until_open(self, seconds: float = 60) -> None:
        """Once, before anything else. Raises BedError where not each page gets its first socket."""
        errors = self._hear(seconds)["errors"]
        if errors:
            raise BedError(f"{len(errors)} of {self._count} sockets don't open: {errors[0]}")

    def stop(self) -> SocketFigures:
        """Wait for sockets that are being opened, and tell of all."""
        said = self._end()
        while "opens" not in said:  # what wait_until_open hasn't heard
            said = self._hear(60)
        return SocketFigures(
            [Opened(*one) for one in said["opens"]],
            [Closed(*one) for one in said["closes"]],
            [SocketError(*one) for one in said["errors"]],
            said["open_at_end"],
        )


class _Connect(connect):
    """Without redirects, which browsers don't follow here."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Pages:
    """The child's side."""

    def __init__(self, job: dict[str, Any], stop: asyncio.Event) -> None:
        self.url = websocket_url(job["url"].rstrip("/") + "/channels/echo/")
        self.trust = ssl.create_default_context(cadata=job["ca"])
        self.count, self.stop = job["count"], stop
        self.gate = asyncio.Semaphore(_AT_ONCE)
        self.opens: list[tuple[int, float]] = []
        self.closes: list[tuple[int, float, int]] = []
        self.errors: list[tuple[int, float, str]] = []
        self.opening: set[int] = set()
        self.sockets: dict[int, ClientConnection] = {}

    async def run(self) -> dict[str, Any]:
        begun = [asyncio.Event() for _ in range(self.count)]
        tasks = [asyncio.create_task(self.page(n, begun[n])) for n in range(self.count)]
        first = asyncio.create_task(self.tell(begun))
        await self.stop.wait()
        end = time.monotonic() + _OPEN_SECONDS
        while self.opening and time.monotonic() < end:
            await asyncio.sleep(0.05)
        opened = [one for one in self.sockets.values() if one.state is State.OPEN]
        result = {
            "opens": list(self.opens),
            "closes": list(self.closes),
            "errors": list(self.errors),
            "open_at_end": len(opened),
        }
        for task in (first, *tasks):
            task.cancel()
        for problem in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(problem, Exception):
                raise problem
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(*(one.close() for one in opened))
        return result

    async def tell(self, begun: list[asyncio.Event]) -> None:
        """Say when each page has its first socket, or none."""
        for one in begun:
            await one.wait()
        say({"errors": [text for _, _, text in self.errors]})

    async def page(self, number: int, begun: asyncio.Event) -> None:
        dice = random.Random(number)  # noqa: S311
        async with self.gate:
            socket = await self.open(number)
            begun.set()
        while socket:
            error = await self.talk(socket, number, dice)
            if error:
                self.errors.append((number, time.time(), error))
                await socket.close()
                return
            self.closes.append((number, time.time(), socket.close_code or 1006))
            await asyncio.sleep(RECONNECT_SECONDS)
            if self.stop.is_set():
                return
            socket = await self.open(number)

    async def open(self, number: int) -> ClientConnection | None:
        if self.stop.is_set():
            return None
        self.opening.add(number)
        try:
            # Browsers send no pings, so what keeps the socket open is the server's doing.
            socket = await _Connect(
                self.url,
                ssl=self.trust,
                proxy=None,
                ping_interval=None,
                compression=None,
                open_timeout=_OPEN_SECONDS,
            )
        except (OSError, WebSocketException) as error:
            self.errors.append((number, time.time(), f"{type(error).__name__}: {error}"))
            return None
        finally:
            self.opening.discard(number)
        self.opens.append((number, time.time()))
        self.sockets[number] = socket
        return socket

    async def talk(self, socket: ClientConnection, number: int, dice: random.Random) -> str:
        """Send and expect texts until the socket closes; returns what was wrong before."""
        pause = dice.random() * _EVERY  # not all in one step
        try:
            for count in itertools.count():
                with suppress(TimeoutError):
                    await asyncio.wait_for(socket.wait_closed(), pause)
                pause = _EVERY
                text = f"{number} {count}"
                await socket.send(text)
                try:
                    async with asyncio.timeout(ECHO_SECONDS):
                        answer = await socket.recv()
                except TimeoutError:
                    return f"no echo within {ECHO_SECONDS} s"
                if answer != text:
                    return f"{answer!r} came back for {text!r}"
        except ConnectionClosed:
            # Its code is known when the connection itself has ended.
            await socket.wait_closed()
        return ""


async def _work(job: dict[str, Any], stop: asyncio.Event) -> dict[str, Any]:
    return await _Pages(job, stop).run()


if __name__ == "__main__":
    serve(_work)
