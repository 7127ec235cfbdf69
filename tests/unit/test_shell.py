"""How commands reach a host, tried with this machine's own shells."""

from __future__ import annotations

import json
import shutil
import string
import subprocess

import pytest

from catmaid_deploy import shell

PLAIN = set(string.ascii_letters + string.digits + "/_-=. ")
SHELLS = ["/bin/sh", *(path for name in ("bash", "busybox") if (path := shutil.which(name)))]


def run(text: str, before: str = "", interpreter: str = "/bin/sh") -> tuple[int, list[str], list[str]]:
    """How a script ends, and what is between the marks of what it prints."""
    words = [interpreter, "sh"] if interpreter.endswith("busybox") else [interpreter]
    done = subprocess.run(words, input=before + text, capture_output=True, text=True, timeout=60)
    out, error = done.stdout.splitlines(), done.stderr.splitlines()
    return done.returncode, list(shell.between(out)), list(shell.between(error))


@pytest.mark.row_34
def test_the_command_line_means_the_same_to_every_shell() -> None:
    for line in (shell.line(False), shell.line(True), shell.line(True, True), shell.line(True, True, "/usr/bin/true")):
        assert set(line) <= PLAIN


@pytest.mark.row_34
@pytest.mark.parametrize("interpreter", SHELLS)
def test_a_script_has_its_own_surroundings(interpreter: str) -> None:
    before = (
        "export LC_ALL=de_DE.UTF-8 PATH=/nowhere PYTHONPATH=/tmp TMPDIR=/none; umask 077; echo Welcome; echo x >&2\n"
    )
    said = 'echo "$LC_ALL $PATH ${PYTHONPATH-unset} ${TMPDIR-unset} $PWD"; umask; echo wrong >&2; exit 3'
    code, out, error = run(shell.script(said), before, interpreter)
    assert (code, error) == (3, ["wrong"])
    assert out == [f"C.UTF-8 {shell.PATH} unset unset /", "0022"]


@pytest.mark.row_34
@pytest.mark.parametrize("interpreter", SHELLS)
@pytest.mark.parametrize(
    ("command", "stdin", "lines"),
    [
        ("cat", None, []),
        ("cat", "one\n\n$two 'three' \\", ["one", "", "$two 'three' \\"]),
        ("printf 'no end'", None, ["no end"]),
        ("echo; echo between; echo", None, ["", "between", ""]),
        ('read -r line; echo "$line"', "first\nsecond", ["first"]),
    ],
)
def test_what_a_command_reads_and_prints(interpreter: str, command: str, stdin: str | None, lines: list[str]) -> None:
    assert run(shell.script(command, stdin), interpreter=interpreter) == (0, lines, [])


def test_a_profile_that_prints_without_an_end_of_line() -> None:
    assert run(shell.script("echo answer"), "printf 'Welcome! '; printf 'no tty' >&2\n") == (0, ["answer"], [])


def test_what_comes_after_the_command_is_not_its_answer() -> None:
    lines = iter(["noise", shell.BEGIN, "answer", "", shell.END, "", "bye"])
    assert list(shell.between(lines)) == ["answer"]
    assert list(lines) == [], "a host that isn't read to its end waits"


def test_without_the_marks_all_is_shown() -> None:
    assert list(shell.between(["This account is not available.", ""])) == ["This account is not available.", ""]


@pytest.mark.row_34
def test_a_program_and_its_argument_have_no_limit_and_are_not_shown() -> None:
    """The kernel takes 128 KiB of an argument; and a process list shows each."""
    said = json.dumps({"password": "battery", "long": "x" * 3_000_000})
    command = shell.python(
        "import os; print(len(sys.argv[1]), open('/proc/self/cmdline').read().count('battery'))", said
    )
    assert "battery" not in str(command)
    assert "import" not in str(command)
    assert run(shell.script(command.get_raw_value())) == (0, [f"{len(said)} 0"], [])
