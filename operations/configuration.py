"""Whole sets of files with the service that reads them, under the lock of one run."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyinfra.api import Host, QuoteString, State, StringCommand, operation
from pyinfra.connectors.util import CommandOutput

from configuration import Change, File, Folder, Item

# In the order in which they need each other: the one by which root touches what others may write comes first.
_PARTS = ("trust", "common", "files", "packages", "programs", "release", "apply")


def _joined() -> str:
    """The script for the host: its parts in a row, without their imports from each other."""
    texts = [(Path(__file__).parent / f"{part}_on_host.py").read_text() for part in _PARTS]
    return "\n\n".join(
        re.sub(r"^from operations\.\w+ import (\([^)]*\)|.*)$", "", t, flags=re.MULTILINE) for t in texts
    )


_SCRIPT = _joined()
_KINDS = {File: "file", Folder: "folder"}


class Told(StringCommand):
    """A command whose output is shown as it comes, since it may take a while (row 26)."""

    def execute(self, state: State, host: Host, connector_arguments: Any) -> tuple[bool, CommandOutput]:
        connector_arguments.update(self.connector_arguments)
        done, output = host.run_shell_command(self, print_output=True, print_input=False, **connector_arguments)
        # pyinfra would show it once more.
        return done, output if done else CommandOutput([])


def job(described: dict[str, Any], kind: type[StringCommand] = StringCommand) -> StringCommand:
    """The job travels on standard input: one transfer for all files, and none of it in a process list."""
    # Debian's own Python without what others put where it looks for more; it warns of children made beside threads.
    python = ("/usr/bin/python3", "-IS", "-W", "ignore::DeprecationWarning")
    return kind(*python, "-c", QuoteString(_SCRIPT), _stdin=json.dumps(described))


def _plain(item: Item) -> dict[str, Any]:
    return asdict(item) | {"kind": _KINDS.get(type(item), "link")}


@operation()
def locked(run: str, admin: str, revision: str, since: str, last_run: str | None) -> Generator[StringCommand]:
    """
    Take the host for one run. Another run that holds it, or has changed it since it was looked at, stops this one.

    + run: the run's own name
    + admin: who runs it
    + revision: the revision of the inventory's repository
    + since: when it began
    + last_run: the name of the run that the survey found as the last one

    A lock whose SSH session has ended, or that is two hours old, doesn't count.
    """
    yield job({"do": "lock", "run": run, "admin": admin, "revision": revision, "since": since, "last_run": last_run})


@operation()
def installed(virtualenv: str, packages: list[str], run: str) -> Generator[StringCommand]:
    """
    Install packages into a virtualenv, as the user who may change it; never as root (row 2).

    + virtualenv: its folder
    + packages: each with its version
    + run: the name of the run that holds the lock
    """
    yield job({"do": "install", "run": run, "install": {"virtualenv": virtualenv, "packages": packages}}, Told)


@operation()
def applied(change: Change, run: str) -> Generator[StringCommand]:
    """
    Put a set's files in place, all or none, and have its service run with them (rows 1, 14, 15 and 28).

    + change: what differs, from `configuration.compare`
    + run: the name of the run that holds the lock

    The files are staged and tested by the service's own parser, then moved in place together. When the
    service doesn't take them, the files of before are put back and the service goes on with those.
    """
    wanted = change.set
    yield job(
        {
            "do": "apply",
            "run": run,
            "set": wanted.name,
            "all": [_plain(item) for item in wanted.items],
            "items": [_plain(one.item) for one in change.differences if one.item is not None],
            "gone": change.gone,
            "trees": wanted.trees,
            "checks": wanted.checks,
            "service": wanted.service,
            "sweep": wanted.sweep,
        },
        Told,
    )


@operation()
def rolled_back(services: list[dict[str, Any]], claim: dict[str, Any], changed: list[str]) -> Generator[StringCommand]:
    """
    Hand over to the slots that were in use before, code and configuration together (row 27).

    + services: the programs of each instance, from `tasks.supervisor.service`
    + claim: what `locked` takes
    + changed: what this changes, a few words each, for the record

    It takes the host and records itself: one job, since users wait.
    """
    yield job({"do": "roll back", "services": services, "changed": changed, **claim}, Told)


@operation()
def recorded(run: str, changed: list[str]) -> Generator[StringCommand]:
    """
    End a run: a line in /var/log/catmaid-deploy.log, and the lock is free.

    + run: the name of the run that holds the lock
    + changed: what it changed, a few words each
    """
    yield job({"do": "record", "run": run, "changed": changed})
