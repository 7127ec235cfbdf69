"""One run of the deploy: who runs it, since when, and what its last lines say."""

from __future__ import annotations

import atexit
import getpass
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pyinfra import logger

NAME = secrets.token_hex(8)
SINCE = time.strftime("%Y-%m-%dT%H:%M:%S%z")
DRY = "--dry" in sys.argv


@dataclass
class Report:
    """What a run planned for one host, what came of it, and what its admin should know."""

    host: str
    urls: list[str]
    planned: list[tuple[str, list[str], Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


REPORTS: dict[str, Report] = {}


def admin() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"somebody@{socket.gethostname()}"


@cache
def revision(inventory: str) -> str:
    """The revision of the repository that an inventory file lies in, with a ``+`` when it has changes; or ``-``."""
    folder = Path(inventory).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        found = git("rev-parse", "--short", "HEAD")
        return found + ("+" if found and git("status", "--porcelain") else "") or "-"
    except OSError:
        return "-"


def inventory_file() -> str:
    """The inventory as it was named on the command line; this folder when there is no file."""
    return next((word for word in sys.argv[1:] if word.endswith(".py") and Path(word).is_file()), ".")


def _lines(report: Report) -> list[str]:
    """The last lines about one host."""
    lines = [f"note: {note}" for note in report.notes]
    if not report.planned:
        lines.append("nothing to do: everything is and runs as described")
    elif DRY:
        lines.append("dry run, nothing was changed; a deploy would:")
    done = []
    for title, details, operation in report.planned:
        if operation is None or not operation.is_complete():
            state = "" if DRY else "not reached: "
        else:
            state = "" if operation.did_succeed() else "FAILED: "
        done.append(state)
        lines.append(f"  {state}{title}" + (":" if details else ""))
        lines += [f"    {detail}" for detail in details]
        if operation is not None and operation.is_complete():
            said = (line.removeprefix("note: ") for line in operation.stdout_lines if line.startswith("note: "))
            lines += [f"    {line}" for line in said]
    if report.planned and not DRY:
        whole = not any(done)
        lines.append("done" if whole else "not done: what ran before still runs; mend the cause and run again")
    lines += [f"WARNING {warning}" for warning in report.warnings]
    lines += [f"serves {url}" for url in report.urls]
    return lines


def _tell() -> None:
    for report in REPORTS.values():
        for line in _lines(report):
            logger.info(f"[{report.host}] {line}")


def report(host: str, urls: list[str]) -> Report:
    """Begin the report of a host; all reports are printed when the run has ended."""
    if not REPORTS:
        atexit.register(_tell)
    return REPORTS.setdefault(host, Report(host, urls))
