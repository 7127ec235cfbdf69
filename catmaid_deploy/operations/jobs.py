"""Whole sets of files with the service that reads them, under the lock of one run."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import asdict
from typing import Any, TypedDict

from pyinfra.api import Host, State, StringCommand, operation
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.connectors.util import CommandOutput

from catmaid_deploy import questions, shell
from catmaid_deploy.file_sets import Change, File, Folder, Item
from catmaid_deploy.schema import Instance
from catmaid_deploy.script import joined


class Claim(TypedDict):
    """By whom and when a host is taken by a run, and which one was the last before."""

    run: str
    admin: str
    revision: str
    since: str
    last_run: str | None


_KINDS = {File: "file", Folder: "folder"}


class Told(StringCommand):
    """A command whose output is shown as it comes, since it may take a while."""

    def execute(self, state: State, host: Host, connector_arguments: Any) -> tuple[bool, CommandOutput]:
        connector_arguments.update(self.connector_arguments)
        done, output = host.run_shell_command(self, print_output=True, print_input=False, **connector_arguments)
        # pyinfra would show it once more. What the host was asked in the end, and what is left, is for the last words.
        kept = [line for line in output if line.line.startswith(("asked: ", "away: ", "silent: ", "left: "))]
        return done, output if done else CommandOutput(kept)


def job(described: dict[str, Any], kind: type[StringCommand] = StringCommand) -> StringCommand:
    """A job for the host: one transfer for all files, and none of it in a process list."""
    # Python warns of children made beside threads.
    return shell.python(
        joined("operations.apply"), json.dumps(described), "-W", "ignore::DeprecationWarning", kind=kind
    )


def hidden(values: dict[str, Any]) -> HiddenValue:
    """What may have a password in it, as an argument of an operation that pyinfra prints as masked."""
    return HiddenValue(values)  # type: ignore[no-untyped-call]


def shown(value: HiddenValue | None) -> dict[str, Any]:
    """What `hidden` has, for the host."""
    found: Any = value.unmask() if value else {}
    return dict(found)


def _plain(item: Item) -> dict[str, Any]:
    return asdict(item) | {"kind": _KINDS.get(type(item), "link")}


@operation()
def locked(
    run: str, admin: str, revision: str, since: str, last_run: str | None, version: str
) -> Generator[StringCommand]:
    """
    Take the host for one run. Another run that holds it, or has changed it since it was looked at, stops this one.

    + run: the run's own name
    + admin: who runs it
    + revision: the revision of the inventory's repository
    + since: when it began
    + last_run: the name of the run that the survey found as the last one
    + version: that of the deploy, which the host has from the run's first change on

    A lock whose SSH session has ended, or that is two hours old, doesn't count.
    """
    claim = {"run": run, "admin": admin, "revision": revision, "since": since, "last_run": last_run}
    yield job({"do": "lock", "version": version, **claim})


@operation()
def installed(
    virtualenv: str, packages: list[str], run: str, fetching: HiddenValue | None = None
) -> Generator[StringCommand]:
    """
    Install packages into a virtualenv, as the user who may change it; never as root.

    + virtualenv: its folder
    + packages: each with its version
    + run: the name of the run that holds the lock
    + fetching: variables of pip's environment, from `hidden`
    """
    described = {
        "virtualenv": virtualenv,
        "packages": packages,
        "names": ", ".join(packages),
        "fetching": shown(fetching),
    }
    yield job({"do": "install", "run": run, "one": described}, Told)


@operation()
def secrets_kept(
    path: str, user: str, names: list[str], run: str, given: HiddenValue | None = None
) -> Generator[StringCommand]:
    """
    Have a file of root's keep secrets for a user's programs: those that are missing are made on the host, once.

    + path: the file, which the user's group may read
    + user: the user
    + names: the secrets that it is to have
    + run: the name of the run that holds the lock
    + given: those that are taken from the inventory, from `hidden`
    """
    described = {"path": path, "user": user, "names": names, "given": shown(given)}
    yield job({"do": "keep secrets", "run": run, "one": described}, Told)


@operation()
def first_started(
    instance: Instance,
    environment: dict[str, str],
    settings: File | None,
    run: str,
    password: HiddenValue,
) -> Generator[StringCommand]:
    """
    Make what an instance needs in its database before it starts for the first time; what is there stays.

    + instance: the instance
    + environment: what its programs run with
    + settings: the settings.py that the deploy writes, which is put there if it is missing
    + run: the name of the run that holds the lock
    + password: the administrator's first one, from `hidden`; where it is empty the host makes one
    """
    one = instance.install.administrator if instance.install else None
    administrator = {"name": one.name, "email": one.email, "token": one.token, **shown(password)} if one else None
    described = {
        "instance": instance.name,
        "user": instance.user,
        "virtualenv": instance.virtualenv,
        "projects": instance.projects_dir,
        "environment": environment,
        "settings": {"text": settings.text, "place": settings.path} if settings else None,
        "administrator": administrator,
        "first_projects": [one.model_dump() for one in instance.install.projects] if instance.install else [],
        "password_file": instance.first_password_file,
    }
    yield job({"do": "first start", "run": run, "one": described}, Told)


@operation()
def updated(run: str, fetching: HiddenValue | None = None) -> Generator[StringCommand]:
    """
    Have apt read its sources, and go on where one of them is stale: a warning names it.

    + run: the name of the run that holds the lock
    + fetching: variables of apt's environment, from `hidden`
    """
    yield job({"do": "update lists", "run": run, "one": {"fetching": shown(fetching)}}, Told)


@operation()
def flagged(path: str, text: str | None) -> Generator[StringCommand]:
    """
    Put a file of root's in its place that closes CATMAID for users while it is there, or take it away.

    + path: the file
    + text: what it says; None takes it away
    """
    yield job({"do": "flag", "path": path, "text": text})


@operation()
def applied(change: Change, run: str) -> Generator[StringCommand]:
    """
    Put a set's files in place, all or none, and have its service run with them.

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
def rolled_back(
    services: list[dict[str, Any]], claim: Claim, changed: list[str], asking: questions.LastWord
) -> Generator[StringCommand]:
    """
    Hand over to the slots that were in use before, code and configuration together.

    + services: the programs of each instance, as the task that has them describes them
    + claim: what `locked` takes
    + changed: what this changes, a few words each, for the record
    + asking: what the host is asked before that, from `run.preflight.last_word`

    It takes the host and records itself: one job, since users wait.
    """
    yield job({"do": "roll back", "services": services, "changed": changed, "asking": asking, **claim}, Told)


@operation()
def noted(run: str) -> Generator[StringCommand]:
    """
    Have a host note that the version of this run's deploy is the one that it has.

    + run: the name of the run that holds the lock
    """
    yield job({"do": "note version", "run": run, "one": {}})


@operation()
def recorded(run: str, changed: list[str], asking: questions.LastWord) -> Generator[StringCommand]:
    """
    End a run: the host is asked whether users see what they should, gets a line in /var/log/catmaid-deploy.log, and
    is free. It fails, and the record says so, if they don't.

    + run: the name of the run that holds the lock
    + changed: what it changed, a few words each
    + asking: what the host is asked, from `run.preflight.last_word`
    """
    yield job({"do": "record", "run": run, "changed": changed, "asking": asking})


def failed(run: str, what: str, changed: list[str], asking: questions.LastWord) -> StringCommand:
    """The command that ends a run which failed at ``what``: as `recorded`, whatever the host answers."""
    return job({"do": "record", "run": run, "changed": changed, "asking": asking, "failed": what})


@operation()
def cleared(last_run: str) -> Generator[StringCommand]:
    """
    Write down that a run was cut before its end, when nothing is left of it to do.

    + last_run: its name
    """
    yield job({"do": "clear", "last_run": last_run})
