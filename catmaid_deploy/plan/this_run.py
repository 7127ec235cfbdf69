"""This run: who started it, when, with which inventory, and the command to repeat it."""

from __future__ import annotations

import getpass
import secrets
import shlex
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

from pyinfra import host, state
from pyinfra.context import ctx_host

from catmaid_deploy import command_line
from catmaid_deploy.finding import HERE, Command

NAME = secrets.token_hex(8)
SINCE = time.strftime("%Y-%m-%dT%H:%M:%S%z")
# With --json and without -y pyinfra shows what there is to do, and ends.
DRY = "--dry" in sys.argv or ("--json" in sys.argv and state.check_for_changes)


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
        f"{command_line.pyinfra()} {shlex.quote(inventory)} {shlex.quote(str(folder / file))}{limit}{further}", HERE
    )


def deploy() -> Command:
    """A deploy to the current host, which shows what it would change and asks."""
    return command("deploy.py")
