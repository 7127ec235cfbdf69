"""How a run ends: pyinfra's own command line, on this machine, with a deploy that changes nothing."""

from __future__ import annotations

import os
import signal
import socket
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
from catmaid_deploy.finding import fault
from catmaid_deploy.plan import report as reports
from catmaid_deploy.run import ending
ending.begin()
report = reports.report(host.name)
commands = {commands!r}
if "wait" in commands:
    print("waiting", flush=True)
    time.sleep(3)
elif "refuse" in commands:
    reports.refused([("@local", fault("site.user", "wrong"))])
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
        (NOTHING, [], "", 0, "Nothing to do"),
        (["true"], [], "no\n", 2, "Not done: changes on 1 of 1 host"),
        (["false"], ["-y"], "", 1, "Failed: changes on 1 of 1 host"),
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


@pytest.mark.row_34
def test_without_a_terminal_it_says_what_to_type(tmp_path: Path) -> None:
    run = start(tmp_path, ["true"], "--data", "rack=two words")
    _, error = run.communicate("", timeout=60)
    assert run.returncode == 1, error
    assert "Traceback" not in error
    (line,) = (line for line in error.splitlines() if line.startswith("--> not done"))
    says, _, words = line.partition(": ")
    assert says == "--> not done, since there is no terminal to confirm it at"
    # As it stands.
    typed = subprocess.run(["sh", "-c", words], cwd=tmp_path, capture_output=True, text=True)
    assert typed.returncode == 0, typed.stderr
    assert "done" in typed.stderr.splitlines()[-1]


@pytest.mark.parametrize("exit_code", ["", "0"])
def test_the_code_has_to_be_asked_for(tmp_path: Path, exit_code: str) -> None:
    run = start(tmp_path, ["true"], "--dry", exit_code=exit_code)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 0
    assert "dry run, nothing was changed; a deploy would:\n  a change: detail\n" in error


MOMENTS = {
    "while it looks": (["wait"], ["--dry"], "waiting", "interrupted: nothing was changed on any host"),
    "at the question": (["true"], [], "Press enter to execute", "interrupted: nothing was changed on any host"),
    "in the middle": (
        ["echo under way; sleep 3"],
        ["-y", "-vvv"],
        "under way",
        "interrupted: what was under way goes on to its end there, and /var/log/catmaid-deploy.log says",
    ),
}


@pytest.mark.row_33
@pytest.mark.parametrize("exit_code", ["", "1"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c(tmp_path: Path, moment: str, exit_code: str) -> None:
    commands, options, shown, words = MOMENTS[moment]
    run = start(tmp_path, commands, *options, exit_code=exit_code)
    seen = [run.stdout if moment == "while it looks" else run.stderr]
    text = ""
    while shown not in text:
        assert seen[0]
        letter = seen[0].read(1)
        assert letter, text
        text += letter
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130, error
    assert "Traceback" not in error
    assert words in error
    assert "serves" not in error


@pytest.mark.row_33
def test_ctrl_c_while_it_connects(tmp_path: Path) -> None:
    """A host that takes the connection and says nothing."""
    (tmp_path / "deploy.py").write_text("")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        inventory = tmp_path / "inventory.py"
        inventory.write_text(
            f"hosts = [('host', {{'ssh_hostname': '127.0.0.1', 'ssh_port': {silent.getsockname()[1]}}})]"
        )
        words = [PYINFRA, str(inventory), str(tmp_path / "deploy.py")]
        run = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        connection, _ = silent.accept()
        with connection:
            run.send_signal(signal.SIGINT)
            _, error = run.communicate(timeout=60)
    assert run.returncode == 130, error
    assert "interrupted: nothing was changed on any host" in error
    assert "Traceback" not in error
