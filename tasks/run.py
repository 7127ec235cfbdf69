"""One run of the deploy: who runs it, since when, what its last lines say, and how it ends."""

from __future__ import annotations

import atexit
import getpass
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import click
import gevent
from pyinfra import host, logger, state
from pyinfra.api import Host, State
from pyinfra.api.state import BaseStateCallback
from pyinfra.context import ctx_host

from catmaid_deploy import typed
from catmaid_deploy.configuration import Change
from catmaid_deploy.finding import HERE, Command, Finding
from catmaid_deploy.tasks import shown
from catmaid_deploy.visible import visible, without_passwords

NAME = secrets.token_hex(8)
SINCE = time.strftime("%Y-%m-%dT%H:%M:%S%z")
# With --json and without -y pyinfra shows what there is to do, and ends.
DRY = "--dry" in sys.argv or ("--json" in sys.argv and state.check_for_changes)
# Where to write what a run shows as Markdown, and whether changes that are pending end it with PENDING.
SUMMARY = os.environ.get("CATMAID_DEPLOY_SUMMARY", "")
EXIT_CODE = os.environ.get("CATMAID_DEPLOY_EXIT_CODE", "") not in ("", "0")
PENDING = 2
# What a shell ends with after Ctrl-C.
INTERRUPTED = 130
LOG = "/var/log/catmaid-deploy.log"


@dataclass
class Report:
    """What a run planned for one host, what came of it, and what its admin should know.

    ``ended`` is what came of the run: "", "failed", or "cut". ``cut`` names the operation that was under way when it
    was interrupted. The operation ``first`` takes the host. ``asking`` is what the host is asked in the end, by the
    operation ``last``, and ``served`` what it answered then: None where it couldn't be asked. ``left`` is what a job
    that failed says of what it has left. ``idle`` is what a runbook says where it has nothing to do. ``others`` are
    operations by other programs than the deploy's own jobs, apt and certbot for instance.
    """

    host: str
    ended: str = ""
    cut: str = ""
    asking: dict[str, Any] = field(default_factory=dict)
    first: Any = None
    last: Any = None
    left: str = ""
    idle: str = ""
    served: list[str] | None = None
    wrong: list[Finding] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    planned: list[tuple[str, list[str], Any]] = field(default_factory=list)
    others: set[str] = field(default_factory=set)
    changes: dict[str, Change] = field(default_factory=dict)
    warnings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def plan(self, title: str, details: list[str], operation: Any, by_job: bool = True) -> None:
        """Note what is to be done, and whether by a job of the deploy's own, which writes down what it has done."""
        self.planned.append((title, details, operation))
        if not by_job:
            self.others.add(operation._hash)

    @property
    def pending(self) -> bool:
        """Whether something that was planned isn't done."""
        operations = [*(operation for _, _, operation in self.planned), *([self.last] if self.last else [])]
        return any(operation is None or not operation.is_complete() for operation in operations)

    @property
    def done(self) -> list[tuple[str, list[str]]]:
        """What was planned and succeeded: a title and its details each."""
        return [(title, details) for title, details, operation in self.planned if self._is_done(operation)]

    def _is_done(self, operation: Any) -> bool:
        """Whether an operation succeeded, as far as anybody here knows: pyinfra says so of one that was cut as well."""
        if operation is None or not operation.is_complete() or operation._hash == self.cut:
            return False
        return bool(operation.did_succeed())

    @property
    def serves(self) -> list[str]:
        """The addresses that were asked and answered."""
        return self.served or []

    @property
    def nothing(self) -> str:
        """What a run with nothing to do says of that."""
        if self.idle:
            return self.idle
        if self.wrong:
            return "nothing that a deploy could change, and yet not all is as described:"
        return shown.NOTHING + "".join(f"; but {part}" for part in self.away)

    def state_of(self, operation: Any) -> str:
        """What came of something planned, as a word before it; nothing where it was done, or is to be."""
        if self._is_done(operation):
            return ""
        if operation is not None and self.cut == operation._hash:
            return "interrupted: "
        if operation is not None and operation.is_complete():
            return "FAILED: "
        return "" if DRY else "not reached: "

    @property
    def last_words(self) -> str:
        """What a run that planned something says of its end."""
        if self.cut in self.others:
            return "interrupted: what was under way may go on there; when it has ended, run again"
        if self.cut:
            return f"interrupted: what was under way goes on to its end there, and {LOG} says what came of it"
        how = {"failed": "failed", "cut": "interrupted"}.get(self.ended, "not done")
        if self.left:
            return f"{how}: {self.left}"
        if not self.done and how != "failed":
            return f"{how}: nothing was changed"
        if not self.pending and not self.ended:
            return "done" + "".join(f"; but {part}" for part in self.away)
        left = "what ran before still runs" if self.served else "nothing serves"
        if self.served is None:
            left = "whether it serves isn't known, since the host couldn't be asked"
        return f"{how}: {left}; fix the cause and run again"


class Progress(BaseStateCallback):
    """Notes which operation is under way on each host."""

    under_way: ClassVar[dict[str, str]] = {}

    @staticmethod
    def operation_host_start(state: State, host: Host, op_hash: str) -> None:
        Progress.under_way[host.name] = op_hash

    @staticmethod
    def operation_host_success(state: State, host: Host, op_hash: str, retry_count: int = 0) -> None:
        Progress.under_way.pop(host.name, None)

    @staticmethod
    def operation_host_error(
        state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        Progress.under_way.pop(host.name, None)


REPORTS: dict[str, Report] = {}
FAULTS: list[tuple[str, Finding]] = []


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


def command(file: str, options: str = "") -> Command:
    """What an admin types on this machine with the inventory of this run, about the current host alone."""
    words = sys.argv[1:]
    file_of_run = next((word for word in reversed(words) if word.endswith(".py") and Path(word).is_file()), file)
    # An inventory may also be the name of a host.
    inventory = next((word for word in words if word.endswith(".py")), "INVENTORY")
    if inventory == file_of_run:
        inventory = words[words.index(inventory) - 1]
    folder = Path(file_of_run).parent
    folder = folder.parent if folder.name == "runbooks" else folder
    one_of_many = ctx_host.isset() and len(state.inventory) > 1  # type: ignore[no-untyped-call]
    limit = f" --limit {shlex.quote(host.name)}" if one_of_many else ""
    further = f" {options}" if options else ""
    return Command(
        f"{typed.pyinfra()} {shlex.quote(inventory)} {shlex.quote(str(folder / file))}{limit}{further}", HERE
    )


def deploy() -> Command:
    """A deploy to the current host, which shows what it would change and asks."""
    return command("deploy.py")


def _lines(report: Report) -> list[str]:
    """The last lines about one host, in a run that isn't dry."""
    lines = [f"note: {note}" for note in report.notes]
    if not report.planned:
        lines += [report.nothing, *(f"FAULT {finding.line()}" for finding in report.wrong)]
    for title, details, operation in report.planned:
        lines.append(f"  {report.state_of(operation)}{title}" + (":" if details else ""))
        lines += [f"    {detail}" for detail in details]
        if operation is not None and operation.is_complete():
            said = (line.removeprefix("note: ") for line in operation.stdout_lines if line.startswith("note: "))
            lines += [f"    {line}" for line in said]
    if report.planned:
        lines.append(report.last_words)
    lines += [f"WARNING {warning.line()}" for warning in report.warnings]
    lines += [f"serves {url}" for url in report.serves]
    return lines


def _said(lines: list[str], word: str) -> str:
    """What a job has said last after a word."""
    return next((line.partition(word)[2] for line in reversed(lines) if line.startswith(word)), "")


def answered(lines: list[str]) -> list[str] | None:
    """The addresses that a host calls served at the end of a job; None where it wasn't asked."""
    return _listed(lines, "asked: ")


def _listed(lines: list[str], word: str) -> list[str] | None:
    """What a job has listed after a word, some on each line; None where it hasn't."""
    found = [line.removeprefix(word) for line in lines if line.startswith(word)]
    return [str(one) for line in found for one in json.loads(line)] if found else None


def _settle() -> None:
    """What came of the run on each host, as far as this machine knows."""
    failed = {host.name for host in state.failed_hosts}
    for report in REPORTS.values():
        if report.last is not None and report.last.is_complete() and not report.cut:
            report.served = answered(report.last.stdout_lines)
            away = _listed(report.last.stdout_lines, "away: ")
            # What waited before the run may have its broker now, and the other way round.
            still = [part for part in report.away if not (away is not None and part.endswith(shown.FOR_THE_BROKER))]
            report.away = still or shown.waiting(away or [])
        for operation in (report.first, *(operation for _, _, operation in report.planned), report.last):
            if operation is not None and operation.is_complete():
                report.left = _said(operation.stdout_lines, "left: ") or report.left
        # pyinfra ends a host's run at the first operation that fails.
        report.ended = report.ended or ("failed" if report.host in failed else "")


_was_interrupted = False


def _interrupted(*_: object) -> None:
    """Ctrl-C, whenever it comes: pyinfra would end with 0, as if all were done."""
    for report in REPORTS.values():
        report.cut = report.cut or Progress.under_way.get(report.host, "")
        if report.pending or report.cut:
            report.ended = "cut"
    if not Progress.under_way and not any(report.done for report in REPORTS.values()):
        click.echo("--> interrupted: nothing was changed on any host", err=True)
    global _was_interrupted
    _was_interrupted = True
    main = gevent.get_hub().parent
    if gevent.getcurrent() is main:
        sys.exit(INTERRUPTED)
    # At its next turn: thrown into whatever runs now it could leave a lock behind.
    gevent.get_hub().loop.run_callback(main.throw, SystemExit(INTERRUPTED))


def _tell() -> None:
    """The last lines on the screen, and the summary in its file."""
    _settle()
    # Whichever host answered first.
    reports = sorted(REPORTS.values(), key=lambda report: report.host)
    if DRY and reports:
        click.echo(shown.text(reports, state.config.DIFF, shown.Terminal.of(sys.stderr)), err=True, color=True)
    elif not DRY:
        for report in reports:
            for line in _lines(report):
                logger.info(f"[{report.host}] {without_passwords(visible(line))}")
    if SUMMARY:
        made_for = f"{inventory_file()}, revision {revision(inventory_file())}"
        text = shown.markdown(reports, FAULTS, made_for, DRY, state.config.DIFF)
        try:
            Path(SUMMARY).write_text(text, encoding="utf-8")
        except OSError as error:
            logger.error(_unwritable(error))


def _unwritable(error: OSError) -> str:
    return (
        f"CATMAID_DEPLOY_SUMMARY: {SUMMARY} can't be written ({error.strerror}): name a file in a folder that is there"
    )


def report(host: str, asking: dict[str, Any] | None = None) -> Report:
    """Begin the report of a host; all reports are printed when the run has ended."""
    return REPORTS.setdefault(host, Report(host, asking=asking or {}))


def refused(faults: list[tuple[str, Finding]]) -> None:
    """Nothing is done on any host, for these faults, which the summary repeats."""
    REPORTS.clear()
    FAULTS[:] = faults


def _end(end: Callable[[], NoReturn]) -> NoReturn:
    """End pyinfra's command line with 1 where a host isn't as described after all, and with PENDING instead of 0 where
    that is asked for, changes are pending and no host has failed.
    """
    if any(report.wrong for report in REPORTS.values()):
        sys.exit(1)
    if EXIT_CODE and not state.failed_hosts and any(report.pending for report in REPORTS.values()):
        sys.exit(PENDING)
    end()


def _end_of_process() -> None:
    _tell()
    if _was_interrupted:
        # What was raised may have ended as the failure of a host.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)


def _begin() -> None:
    """What a run needs before it looks at a host."""
    # At last: pyinfra may have been begun in another folder.
    import catmaid_deploy.checks  # noqa: F401

    if SUMMARY:
        try:
            # An old one isn't to be taken for this run's.
            Path(SUMMARY).write_text("")
        except OSError as error:
            raise SystemExit(f"--> {_unwritable(error)}") from None
    # pyinfra has no option for it. This is the one place where it ends a run that neither broke nor was
    # interrupted; a handler of atexit can't change the code.
    cli: Any = sys.modules["pyinfra_cli.cli"]
    if not hasattr(cli, "_exit"):
        raise SystemExit("--> the exit code can't be told by this pyinfra: install that of requirements.txt")
    cli._exit = partial(_end, cli._exit)
    signal.signal(signal.SIGINT, _interrupted)
    state.add_callback_handler(Progress())  # type: ignore[no-untyped-call]
    atexit.register(_end_of_process)


if "pyinfra_cli.main" in sys.modules:
    _begin()
