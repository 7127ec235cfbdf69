"""Run by Python as it starts, in each virtualenv that the deploy is installed into: see `start.pth`.

pyinfra reads ``config.py`` in the folder that it runs in, and nothing of a deploy before it has read the inventory and
reached the hosts. By this the checks of `catmaid_deploy.checks` hold in any folder.
"""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging


class _Kept(io.TextIOWrapper):
    """A stream whose reader may end, as that of ``pyinfra ... | head``: what was begun on hosts goes on to its end."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._lost()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._lost()

    def _lost(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def _keep(name: str) -> None:
    stream = getattr(sys, name)
    # None where it was closed before.
    kept = (
        _Kept(stream.detach(), stream.encoding, stream.errors, line_buffering=stream.line_buffering)
        if stream
        else open(os.devnull, "w")  # noqa: SIM115
    )
    setattr(sys, name, kept)
    setattr(sys, f"__{name}__", kept)


class _First:
    """Imports the checks at pyinfra's first line, when pyinfra itself is there."""

    def filter(self, record: logging.LogRecord) -> bool:
        import logging

        logging.getLogger("pyinfra").removeFilter(self)
        import catmaid_deploy.checks  # noqa: F401

        return True


def begin() -> None:
    """In a run of pyinfra have the checks imported; any other program is left as it is."""
    if "pyinfra" not in [os.path.basename(word) for word in sys.orig_argv[1:3]]:
        return
    import logging

    _keep("stdout")
    _keep("stderr")
    logging.getLogger("pyinfra").addFilter(_First())


begin()
