"""Secrets of an inventory, from outside its repository: the environment, a file, or a password manager's command.

"sudo_password": secret.from_command("pass", "show", "lab/sudo")

Each is read once a run. pyinfra shows it as *MASKED* in whatever it prints; `schema` and `tasks.connection` unmask it.
What can't be read ends the run before any host is reached, in one line with the place, the cause and the fix.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NoReturn

from pyinfra.api.hiddenvalue import HiddenValue

from catmaid_deploy.finding import HERE, Command, fault


class Secret(HiddenValue):
    """A text that is shown nowhere. Not a str, which JSON and paramiko's log would print."""

    def __init__(self, value: str) -> None:
        super().__init__(value)  # type: ignore[no-untyped-call]

    def to_json(self) -> str:
        """What ``debug-inventory`` prints."""
        return str(self)


def _place() -> str:
    """The line of the inventory that asks."""
    frame = sys._getframe()
    while frame.f_code.co_filename == __file__ and frame.f_back:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}"


def _refuse(what: str, fix: Command | str) -> NoReturn:
    raise SystemExit(f"--> {fault(_place(), what, fix).line()}")


def _first_line(text: str, source: str, fix: str) -> Secret:
    """The secret, which is the first line, as password managers have it. Raises SystemExit when that is empty."""
    lines = text.splitlines()
    if not lines or not lines[0].strip():
        _refuse(f"{source} is empty", fix)
    return Secret(lines[0].strip())


def from_environment(name: str) -> Secret:
    """The value of an environment variable."""
    fix = f"give it in the shell that runs pyinfra, as export {name}=..."
    if name not in os.environ:
        _refuse(f"the environment variable {name} isn't set", fix)
    return _first_line(os.environ[name], f"the environment variable {name}", fix)


def from_file(path: str) -> Secret:
    """The first line of a file that its owner alone can read; ``~`` is this machine's user's home."""
    file = Path(path).expanduser()
    try:
        # Where this fails, whatever path says is wrong.
        if file.stat().st_mode & 0o077:
            _refuse(f"{path} can be read by others", Command(f"chmod 600 {shlex.quote(str(file))}", HERE))
        text = file.read_text()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text"
        _refuse(f"{path} can't be read ({reason})", "put the secret there, in its first line, readable by you alone")
    return _first_line(text, path, "put the secret into its first line")


def from_command(*words: str) -> Secret:
    """The first line that a password manager's command prints. What it asks or complains of goes to the terminal."""
    return _first_line(_output(words), f"the output of '{shlex.join(words)}'", "correct the name of the entry")


@cache
def _output(words: tuple[str, ...]) -> str:
    command = shlex.join(words)
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE)
        text = done.stdout.decode()
    except FileNotFoundError:
        _refuse(f"'{command}' can't be run", f"have {words[0]} installed, or correct its name")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it doesn't print text"
        _refuse(f"'{command}' can't be run ({reason})", "correct it")
    if done.returncode:
        _refuse(f"'{command}' ended with {done.returncode}", "run it in this shell, and correct what it says")
    return text
