"""A steady load as users make it, which tells of each request: an update of the application may lose none."""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from statistics import median
from typing import Any

import httpx

from testbed.peers.child import LIMIT, Load, serve

# A short request on a connection that is kept, one on a connection of its own, one that takes long, and one with a
# large body.
QUICK, NEW, SLOW, UPLOAD = KINDS = ("quick", "new connection", "slow", "upload")
SLOW_SECONDS = 2
UPLOAD_BYTES = 10_000_000
_PIECE = 1 << 18

# How many requests of a kind begin in a second, by all its clients together, where the server answers at once.
_RATES = {QUICK: 100.0, NEW: 20.0, UPLOAD: 1.0}
_PAUSE = 0.1  # of a slow client, which has no rate
# A server closes connections that it thinks idle. The request that crosses with that comes back at once; one that
# comes back later was lost by a server that had it.
_CROSSED = 1.0
_CROSSED_TEXT = "Server disconnected without sending a response"


@dataclass(frozen=True)
class Request:
    """One request. ``failure`` is empty for one that was answered as it should."""

    kind: str
    start: float
    seconds: float
    failure: str = ""
    release: str = ""
    # Sent again after its connection was closed under it, as a browser does without a word.
    retried: bool = False


@dataclass
class Figures:
    """All requests of a load."""

    requests: list[Request] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.requests)

    @property
    def failed(self) -> list[Request]:
        return [one for one in self.requests if one.failure]

    @property
    def retried(self) -> list[Request]:
        return [one for one in self.requests if one.retried]

    @property
    def releases(self) -> set[str]:
        """Those of the application that have answered."""
        return {one.release for one in self.requests if one.release}

    def of(self, kind: str | None = None, since: float | None = None, until: float | None = None) -> list[Request]:
        """The requests of a kind, or all, that were under way at some time of a window (as time.time() counts)."""
        return [
            one
            for one in self.requests
            if (kind is None or one.kind == kind)
            and (since is None or one.start + one.seconds >= since)
            and (until is None or one.start <= until)
        ]

    def longest(self, kind: str | None = None, since: float | None = None, until: float | None = None) -> float:
        """The seconds of the longest of them; 0 without any."""
        return max((one.seconds for one in self.of(kind, since, until)), default=0.0)

    def median(self, kind: str | None = None, since: float | None = None, until: float | None = None) -> float:
        """Their median in seconds; 0 without any."""
        return median([one.seconds for one in self.of(kind, since, until)] or [0.0])

    def table(self) -> str:
        """A line for each kind."""
        lines = [f"{'kind':<14} {'count':>7} {'failed':>7} {'retried':>7} {'median':>9} {'longest':>9}"]
        for kind in KINDS:
            found = Figures(self.of(kind))
            counts = f"{found.count:>7} {len(found.failed):>7} {len(found.retried):>7}"
            lines.append(f"{kind:<14} {counts} {found.median():>7.3f} s {found.longest():>7.3f} s")
        return "\n".join(lines)


def kinds(clients: int) -> list[str]:
    """What each client does. A few are slow: of sixty six, more than a small server's four threads hold, so that all
    others wait in its backlog.

    Raises ValueError for fewer clients than kinds.
    """
    if clients < len(KINDS):
        raise ValueError(f"at least {len(KINDS)} clients, one of each kind")
    slow, new, upload = max(1, clients // 10), clients // 4, max(1, clients // 30)
    return [SLOW] * slow + [UPLOAD] * upload + [NEW] * new + [QUICK] * (clients - slow - upload - new)


class Steady(Load):
    """The load on an application at ``url``, such as https://localhost:40123/catmaid/, while the block runs.

    ``ca`` is the text of the certificate that it trusts.
    """

    module = "testbed.peers.steady"

    def __init__(self, url: str, ca: str, clients: int, seed: int = 0) -> None:
        kinds(clients)
        super().__init__({"url": url, "ca": ca, "clients": clients, "seed": seed})

    def stop(self) -> Figures:
        """Begin no new request, wait for those in hand, and tell of all."""
        return Figures([Request(*one) for one in self._end()])


class _Clients:
    """The child's side."""

    def __init__(self, job: dict[str, Any], stop: asyncio.Event) -> None:
        self.url, self.stop = job["url"].rstrip("/") + "/", stop
        self.trust = ssl.create_default_context(cadata=job["ca"])
        self.kinds, self.seed = kinds(job["clients"]), job["seed"]
        self.requests: list[Request] = []
        body = random.Random(self.seed).randbytes(UPLOAD_BYTES)  # noqa: S311
        self.pieces = [body[at : at + _PIECE] for at in range(0, UPLOAD_BYTES, _PIECE)]
        self.digest = hashlib.sha256(body).hexdigest()

    async def run(self) -> list[Request]:
        tasks = [asyncio.create_task(self.client(n, kind)) for n, kind in enumerate(self.kinds)]
        stopped = asyncio.create_task(self.stop.wait())
        # A client ends before only by a fault of its own.
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        self.stop.set()
        await asyncio.wait(tasks, timeout=LIMIT)
        for task in tasks:
            task.cancel()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(end, Exception):
                raise end
        return self.requests

    async def client(self, number: int, kind: str) -> None:
        dice = random.Random(f"{self.seed} {number}")  # noqa: S311
        pause = self.kinds.count(kind) / _RATES[kind] if kind in _RATES else _PAUSE
        # An upload keeps none either: a POST whose connection is closed under it may not be sent again.
        limits = httpx.Limits(max_keepalive_connections=1 if kind in (QUICK, SLOW) else 0)
        async with httpx.AsyncClient(verify=self.trust, trust_env=False, timeout=LIMIT, limits=limits) as client:
            await asyncio.sleep(dice.random() * min(pause, 0.2))  # not all in one step
            # Each makes one, however short the run.
            await self.request(client, kind)
            while not self.stop.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stop.wait(), pause * dice.uniform(0.5, 1.5))
                if not self.stop.is_set():
                    await self.request(client, kind)

    async def request(self, client: httpx.AsyncClient, kind: str) -> None:
        start, clock = time.time(), time.perf_counter()
        failure, release, retried = "not answered before the end", "", False
        try:
            try:
                answer, retried = await self.answer(client, kind)
                failure, release = self.judge(kind, answer)
            except Exception as error:
                # Those of the network often have no text of their own.
                failure = f"{type(error).__name__}: {str(error) or repr(error.__cause__ or error.__context__)}"
        finally:
            self.requests.append(Request(kind, start, time.perf_counter() - clock, failure, release, retried))

    async def answer(self, client: httpx.AsyncClient, kind: str) -> tuple[httpx.Response, bool]:
        """The answer, and whether it took a second connection."""
        if kind == UPLOAD:
            headers = {"Content-Length": str(UPLOAD_BYTES)}
            return await client.post(f"{self.url}body", content=self.body(), headers=headers), False
        url = f"{self.url}slow?seconds={SLOW_SECONDS}" if kind == SLOW else f"{self.url}whoami"
        connected = False

        async def trace(event: str, info: dict[str, Any]) -> None:
            nonlocal connected
            connected = connected or event == "connection.connect_tcp.started"

        clock = time.perf_counter()
        try:
            return await client.get(url, extensions={"trace": trace}), False
        except httpx.RemoteProtocolError as error:
            # httpx looks whether the connection is still open, and can't know what is on its way.
            late = time.perf_counter() - clock > _CROSSED
            if connected or late or not str(error).startswith(_CROSSED_TEXT):
                raise
        return await client.get(url), True

    async def body(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece

    def judge(self, kind: str, answer: httpx.Response) -> tuple[str, str]:
        """What is wrong with an answer, and which release gave it."""
        if answer.status_code != 200:
            return f"status {answer.status_code}", ""
        try:
            seen = answer.json()
        except ValueError:
            seen = None
        if not isinstance(seen, dict):
            return "wrong body", ""
        wanted: dict[str, Any] = {}
        if kind == UPLOAD:
            wanted = {"size": UPLOAD_BYTES, "sha256": self.digest}
        elif kind == SLOW:
            wanted = {"slept": SLOW_SECONDS}
        right = all(seen.get(key) == value for key, value in wanted.items()) and (wanted or "release" in seen)
        return "" if right else "wrong body", str(seen.get("release", ""))


async def _work(job: dict[str, Any], stop: asyncio.Event) -> list[tuple[Any, ...]]:
    return [astuple(one) for one in await _Clients(job, stop).run()]


if __name__ == "__main__":
    serve(_work)
