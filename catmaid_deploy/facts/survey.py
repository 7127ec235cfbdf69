"""One look at a host before anything is decided: all that the tasks need to know, in one command."""

from __future__ import annotations

import json
from typing import ClassVar, TypeVar, cast

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.hiddenvalue import HiddenValue
from typing_extensions import override

from catmaid_deploy import shell
from catmaid_deploy.answers import Answer, health, sought
from catmaid_deploy.answers.survey import Surveyed
from catmaid_deploy.script import joined

T = TypeVar("T", bound=Answer)


class Unanswered(Exception):
    """The host's Python hasn't answered; the message is the last thing that it said."""


class Part:
    """The text of a script, joined when it is first asked for: a run sends one or two of them."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, script: object, kind: type) -> str:
        return joined(self.name)


class Script(FactBase[T]):
    """
    Returns what one of our scripts answers, which needs nothing but the host's own Python: an object with the keys of
    `T`. ``{}`` where the host has no python3.

    Raises Unanswered where its Python doesn't run.
    """

    script: ClassVar[Part]

    @override
    def command(self, question: str | HiddenValue) -> StringCommand:
        text = question.unmask() if isinstance(question, HiddenValue) else question
        asked = shell.python(self.script, text, after="2>&1 || true")
        return StringCommand("if [ -x /usr/bin/python3 ]; then", asked, "fi")

    @override
    @staticmethod
    def default() -> T:
        return cast(T, {})

    @override
    def process(self, output: list[str]) -> T:
        try:
            return cast(T, json.loads(output[-1]))
        except ValueError:
            raise Unanswered(output[-1]) from None


class Survey(Script[Surveyed]):
    """Returns what the host has of all that the deploy relies on."""

    script = Part("facts.survey")


class Health(Script[health.Health]):
    """Returns how the host is, with the survey beside it."""

    script = Part("facts.health")


class Verify(Script[health.Health]):
    """Returns how the host is and what it answers to users, as ``Health`` and with ``pages``."""

    script = Part("facts.verify")


class Migrations(Script[sought.Migrations]):
    """Returns which migrations the databases of instances lack by other code."""

    script = Part("facts.migrations")


class Available(Script[sought.Available]):
    """Returns whether the package index has what is needed."""

    script = Part("facts.available")


class Revisions(Script[sought.Revisions]):
    """Returns whether repositories have what is to be put in place."""

    script = Part("facts.revisions")


class Passwords(Script[sought.Passwords]):
    """Returns whether roles of the database server have the passwords that an inventory gives."""

    script = Part("facts.passwords")


class Requirements(Script[sought.Requirements]):
    """Returns whether releases fit the Python that they are to get."""

    script = Part("facts.requirements")


class Proxied(Script[sought.Proxied]):
    """Returns whether a proxy takes the host to what is to be fetched."""

    script = Part("facts.proxy")


class Bundled(Script[sought.Bundled]):
    """Returns whether a bundle's packages go with those of the host."""

    script = Part("facts.bundle")


class Acme(Script[sought.Acme]):
    """Returns which ACME servers don't know the host."""

    script = Part("facts.acme")


class Logs(Script[sought.Logs]):
    """Returns last lines of logs, and files, without the secrets in them."""

    script = Part("facts.logs")
