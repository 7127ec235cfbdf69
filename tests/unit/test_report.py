"""What a run says last of a host, by what came of its operations."""

from __future__ import annotations

import importlib
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from catmaid_deploy.plan import report as reports
from catmaid_deploy.plan import this_run
from catmaid_deploy.run import ending, patch

ASKED = 'asked: ["https://a/"]'


def operation(*said: str, done: bool | None = True) -> Any:
    """One that pyinfra has run, and what it printed; with None it wasn't reached."""
    return SimpleNamespace(
        is_complete=lambda: done is not None, did_succeed=lambda: done, stdout_lines=list(said), _hash=str(id(said))
    )


def lines(monkeypatch: pytest.MonkeyPatch, report: reports.Report, failed: bool = False) -> list[str]:
    monkeypatch.setattr(ending, "REPORTS", {report.host: report})
    monkeypatch.setattr(
        ending, "state", SimpleNamespace(failed_hosts=[SimpleNamespace(name=report.host)] if failed else [])
    )
    ending._settle()
    return ending._lines(report)


def test_what_was_changed_and_asked_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    report = reports.Report("a", planned=[("nginx", [], operation())], last=operation(ASKED))
    assert lines(monkeypatch, report) == ["  nginx", "done", "serves https://a/"]


def test_a_worker_that_waits_in_the_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was so before the run."""
    last = operation(ASKED, 'away: ["celery of a"]')
    report = reports.Report("a", planned=[("nginx", [], operation())], last=last, waits="for the broker")
    assert lines(monkeypatch, report)[1] == "done; but celery of a waits for the broker"
    report = reports.Report("a", planned=[("nginx", [], operation())], last=operation(ASKED, "away: []"))
    report.away = patch.waiting(["celery of a", "celery-beat of a"], "for the broker")
    report.waits = "for the broker"
    assert lines(monkeypatch, report)[1] == "done"


def test_a_server_that_the_run_has_made_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of one that is gone since it is said."""
    says = "pages wait: the database of a doesn't answer"
    asking: Any = {"peers": [{"host": "localhost", "port": 5432, "says": says}]}
    for away, silent, line in (([says], "[]", "done"), ([], f'["{says}"]', f"done; but {says}")):
        last = operation(ASKED, "away: []", f"silent: {silent}")
        report = reports.Report("a", planned=[("nginx", [], operation())], last=last, asking=asking, away=away)
        assert lines(monkeypatch, report)[1] == line


def test_a_run_whose_end_was_not_reached_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyinfra goes operation by operation: another host may hold this one up before its last."""
    report = reports.Report("a", planned=[("nginx", [], operation())], last=operation(done=None), ended="cut")
    assert report.pending
    assert lines(monkeypatch, report)[1].startswith("interrupted: ")


@pytest.mark.parametrize(("by_job", "says"), [(True, "goes on to its end there"), (False, "may go on there; when")])
def test_only_of_its_own_jobs_it_is_known_that_they_end(
    monkeypatch: pytest.MonkeyPatch, by_job: bool, says: str
) -> None:
    report = reports.Report("a", last=operation(done=None), ended="cut")
    under_way = operation()
    report.plan("install packages", [], under_way, by_job)
    report.cut = under_way._hash
    assert says in lines(monkeypatch, report)[-1]


@pytest.mark.parametrize(
    ("first", "nginx", "last", "says"),
    [
        (
            operation("left: nothing was changed", done=False),
            operation(done=None),
            operation(done=None),
            "failed: nothing was changed",
        ),
        (
            operation(),
            operation(),
            operation("asked: []", "left: all was changed, and the host isn't as described", done=False),
            "failed: all was changed, and the host isn't as described",
        ),
        (
            operation(),
            operation("left: not all of it is as it was before", done=False),
            operation(done=None),
            "failed: not all of it is as it was before",
        ),
        (
            operation(),
            operation(done=False),
            operation(done=None),
            "failed: whether it serves isn't known, since the host couldn't be asked; fix the cause and run again",
        ),
    ],
)
def test_a_failure_says_what_it_left(
    monkeypatch: pytest.MonkeyPatch, first: Any, nginx: Any, last: Any, says: str
) -> None:
    report = reports.Report("a", planned=[("nginx", [], nginx)], first=first, last=last)
    assert says in lines(monkeypatch, report, failed=True)


def test_who_was_not_asked_is_not_said_to_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(monkeypatch, reports.Report("a")) == [reports.NOTHING]
    idle = reports.Report("a", idle="nothing to do: it is closed already", served=["https://a/b/"])
    assert lines(monkeypatch, idle) == ["nothing to do: it is closed already", "serves https://a/b/"]


@pytest.mark.row_33
def test_a_fix_names_pyinfra_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "env" / "pyinfra"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["env/pyinfra", "inventories/demo.py", "deploy.py"])
    assert this_run.deploy().text == "env/pyinfra inventories/demo.py deploy.py"
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert this_run.deploy().text == "pyinfra inventories/demo.py deploy.py"


def test_a_server_that_instances_share_is_asked_once() -> None:
    record: Any = importlib.import_module("catmaid_deploy.on_host.operations.record")
    with socket.create_server(("127.0.0.1", 0)) as there, socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        ports = [there.getsockname()[1], reserved.getsockname()[1]]
        peers = [{"host": "127.0.0.1", "port": ports[number % 2], "says": str(number)} for number in range(4)]
        assert list(record.silent(peers)) == ["1", "3"]
        there.setblocking(False)
        there.accept()
        with pytest.raises(BlockingIOError):
            there.accept()
