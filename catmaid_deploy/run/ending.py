"""How a run ends: its last lines, its summary in a file, its exit code, also after Ctrl-C."""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import click
import gevent
from pyinfra import logger, state
from pyinfra.api import Host, State
from pyinfra.api.state import BaseStateCallback

from catmaid_deploy.escape import visible, without_passwords
from catmaid_deploy.plan.report import FAULTS, REPORTS, Report
from catmaid_deploy.plan.this_run import DRY, inventory_file, revision
from catmaid_deploy.run import patch

# Where to write what a run shows as Markdown, and whether changes that are pending end it with PENDING.
SUMMARY = os.environ.get("CATMAID_DEPLOY_SUMMARY", "")
EXIT_CODE = os.environ.get("CATMAID_DEPLOY_EXIT_CODE", "") not in ("", "0")
PENDING = 2
# What a shell ends with after Ctrl-C.
INTERRUPTED = 130


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
            # What waited before the run may have what it needs now, and the other way round.
            still = [part for part in report.away if away is None or not part.endswith(report.waits)]
            silent = _listed(report.last.stdout_lines, "silent: ")
            if silent is not None:
                # Of what the end asks once more its answer counts.
                asked = {one["says"] for one in report.asking.get("peers", ())}
                still = [*silent, *(part for part in still if part not in asked)]
            report.away = still or patch.waiting(away or [], report.waits)
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
        click.echo(patch.text(reports, state.config.DIFF, patch.Terminal.of(sys.stderr)), err=True, color=True)
    elif not DRY:
        for report in reports:
            for line in _lines(report):
                logger.info(f"[{report.host}] {without_passwords(visible(line))}")
    if SUMMARY:
        made_for = f"{inventory_file()}, revision {revision(inventory_file())}"
        text = patch.markdown(reports, FAULTS, made_for, DRY, state.config.DIFF)
        try:
            Path(SUMMARY).write_text(text, encoding="utf-8")
        except OSError as error:
            logger.error(_unwritable(error))


def _unwritable(error: OSError) -> str:
    return (
        f"CATMAID_DEPLOY_SUMMARY: {SUMMARY} can't be written ({error.strerror}): name a file in a folder that is there"
    )


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


def begin() -> None:
    """What a run needs before it looks at a host: called once, and without effect outside of pyinfra's command line."""
    if "pyinfra_cli.main" not in sys.modules:
        return
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
