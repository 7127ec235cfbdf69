"""How a run ends: pyinfra's own command line, on this machine, with a deploy that changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PYINFRA = str(Path(sys.executable).with_name("pyinfra"))
# As the deploy does it: a report, and what is planned with its operation.
DEPLOY = """
import sys, time
sys.path.insert(0, {root!r})
from pyinfra import host
from pyinfra.operations import server
from tasks import run
report = run.report(host.name, [])
commands = {commands!r}
if "wait" in commands:
    print("waiting", flush=True)
    time.sleep(3)
elif "refuse" in commands:
    run.refused(["site.user: wrong"])
    raise SystemExit("--> site.user: wrong")
elif commands:
    report.planned.append(("a change", ["detail"], server.shell(name="A change", commands=commands)))
"""
NOTHING: list[str] = []


def start(folder: Path, commands: list[str], *options: str, exit_code: str = "1") -> subprocess.Popen[str]:
    deploy = folder / "deploy.py"
    deploy.write_text(DEPLOY.format(root=str(ROOT), commands=commands))
    return subprocess.Popen(
        [PYINFRA, "@local", *options, deploy],
        cwd=folder,
        env=os.environ | {"CATMAID_DEPLOY_EXIT_CODE": exit_code, "CATMAID_DEPLOY_SUMMARY": str(folder / "summary.md")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("commands", "options", "answer", "code", "heading"),
    [
        (NOTHING, ["--dry"], "", 0, "Nothing to do"),
        (["true"], ["--dry"], "", 2, "Dry run: changes on 1 of 1 host"),
        (["true"], ["--dry", "--json"], "", 2, "Dry run: changes on 1 of 1 host"),
        (["true"], ["--json"], "", 2, "Dry run: changes on 1 of 1 host"),
        (["true"], ["-y"], "", 0, "Done: changes on 1 of 1 host"),
        (["true"], [], "\n", 0, "Done: changes on 1 of 1 host"),
        (["true"], [], "no\n", 2, "Not done: changes on 1 of 1 host"),
        (["false"], ["-y"], "", 1, "Not done: changes on 1 of 1 host"),
        (["refuse"], ["--dry"], "", 1, "Refused: nothing was changed on any host"),
    ],
)
def test_exit_codes(
    tmp_path: Path, commands: list[str], options: list[str], answer: str, code: int, heading: str
) -> None:
    run = start(tmp_path, commands, *options)
    out, error = run.communicate(answer, timeout=60)
    assert run.returncode == code, error
    assert "Traceback" not in error
    assert ("--json" in options) == out.startswith("{")
    assert (tmp_path / "summary.md").read_text().startswith(f"# {heading}\n")


@pytest.mark.parametrize("exit_code", ["", "0"])
def test_the_code_has_to_be_asked_for(tmp_path: Path, exit_code: str) -> None:
    run = start(tmp_path, ["true"], "--dry", exit_code=exit_code)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 0
    assert "dry run, nothing was changed; a deploy would:\n  a change: detail\n" in error


def test_what_is_interrupted_is_not_done(tmp_path: Path) -> None:
    run = start(tmp_path, ["wait"], "--dry")
    assert run.stdout
    assert run.stdout.readline() == "waiting\n"
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 1, error
    assert "Traceback" not in error
