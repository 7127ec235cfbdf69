"""A far host: what it sends arrives later, so that each round trip takes that much longer."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from testbed.hosts import BedHost
from testbed.podman import BedError, command, podman, succeeds

_SIZE = 1 << 16


@contextmanager
def delayed(host: BedHost, seconds: float) -> Iterator[tuple[BedHost, str]]:
    """The host behind a link with the delay on the host's side, and by what it is made.

    By the kernel's netem where it has that; else by a proxy on this machine, which also answers for the
    handshake of the connection as late as the host would.
    """
    words = ["exec", "--privileged", host.name, "tc", "qdisc"]
    if succeeds(*words, "add", "dev", "eth0", "root", "netem", "delay", f"{seconds * 1000:.0f}ms"):
        try:
            yield host, "netem"
        finally:
            if not succeeds(*words, "del", "dev", "eth0", "root"):
                raise BedError(f"the delay stays on {host.name}: {' '.join([*command(), *words])} del dev eth0 root")
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, host.ssh_port, seconds), daemon=True).start()
        yield replace(host, ports={**host.ports, 22: listener.getsockname()[1]}), "a proxy (no netem here)"


@contextmanager
def narrowed(host: BedHost, rate: str | None) -> Iterator[None]:
    """The host behind a link that carries so much, such as ``50mbit``; as it is without a rate."""
    words = ["exec", "--privileged", host.name, "tc", "qdisc"]
    if rate:
        podman(*words, "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "64kb", "latency", "50ms")
    try:
        yield
    finally:
        if rate:
            podman(*words, "del", "dev", "eth0", "root")


def _serve(listener: socket.socket, port: int, delay: float) -> None:
    with suppress(OSError):  # closed at the end
        while True:
            here = listener.accept()[0]
            threading.Thread(target=_connect, args=(here, port, delay), daemon=True).start()


def _connect(here: socket.socket, port: int, delay: float) -> None:
    """One connection: the handshake takes its round trip, then each direction runs by itself."""
    there = socket.create_connection(("127.0.0.1", port))
    for one in (here, there):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    time.sleep(delay)
    threading.Thread(target=_carry, args=(there, here, delay), daemon=True).start()
    _carry(here, there, 0)


def _carry(source: socket.socket, sink: socket.socket, delay: float) -> None:
    """Hand on what comes, each piece ``delay`` after it came, however many are on their way."""
    pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def hand_on() -> None:
        with suppress(OSError):
            while True:
                due, data = pieces.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)

    threading.Thread(target=hand_on, daemon=True).start()
    data = b"begin"
    while data:
        try:
            data = source.recv(_SIZE)
        except OSError:
            data = b""
        pieces.put((time.monotonic() + delay, data))
