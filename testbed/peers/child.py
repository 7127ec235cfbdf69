"""Loads in processes of their own, so that the work of a test doesn't delay them: both sides of the pipe.

The child is a module: the first line of its standard input is its job in JSON, and what it has to say are lines of
JSON. It ends when its standard input does, thus also when whoever started it was killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed.podman import BedError

# What is in hand when the end comes has this long to finish.
LIMIT = 90


class Load:
    """The parent's side, a context manager: however the block ends, the process is gone with it."""

    module: str

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C is for the parent, which then ends this
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        assert self._process.stdin
        with suppress(BrokenPipeError):  # _hear says why
            self._process.stdin.write(json.dumps(self._job).encode() + b"\n")
            self._process.stdin.flush()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            if self._process.stdin:
                with suppress(BrokenPipeError):
                    self._process.stdin.close()
        self._errors.close()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        with process.stdout:
            for line in process.stdout:
                self._lines.put(line)
        self._lines.put(b"")

    def _hear(self, seconds: float) -> Any:
        """The next thing that the process says. Raises BedError where it says nothing, or ends instead."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise BedError(f"{self.module} says nothing for {seconds:.0f} s") from None
        if not line:
            self._lines.put(line)
            self._errors.seek(0)
            errors = self._errors.read().decode(errors="replace").strip().splitlines()
            raise BedError(f"{self.module} ended: {(errors or ['?'])[-1]}")
        return json.loads(line)

    def _end(self) -> Any:
        """End the process, and return what it says last."""
        if not self._process or not self._process.stdin:
            raise BedError(f"{self.module} was not started")
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        return self._hear(LIMIT + 30)


def say(thing: Any) -> None:
    """Tell the parent."""
    print(json.dumps(thing), flush=True)


def serve(work: Callable[[dict[str, Any], asyncio.Event], Awaitable[Any]]) -> None:
    """The child's side: do the job until the event is set, by the end of the input or SIGTERM, and say the result."""
    job = json.loads(sys.stdin.buffer.readline())

    async def main() -> Any:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

        def wait() -> None:
            # Not by sys.stdin: its lock would be held when the interpreter ends.
            while os.read(0, 4096):
                pass
            with suppress(RuntimeError):  # the loop has ended before
                loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=wait, daemon=True).start()
        return await work(job, stop)

    say(asyncio.run(main()))
