"""One look at a host before anything is decided: all that the tasks need to know, in one command."""

from __future__ import annotations

import json
from typing import Any, cast

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.hiddenvalue import HiddenValue
from typing_extensions import override

from catmaid_deploy import shell
from catmaid_deploy.script import joined


class Unanswered(Exception):
    """The host's Python hasn't answered; the message is the last thing that it said."""


class Survey(FactBase[dict[str, Any]]):
    """
    Returns what the host has of all that the deploy relies on, asked in one command by a script that needs
    nothing but Python 3.9: see ``on_host/facts/survey.py`` for the keys. ``{}`` where the host has no python3.

    Raises Unanswered where its Python doesn't run.
    """

    script = joined("facts.survey")

    @override
    def command(self, question: str | HiddenValue) -> StringCommand:
        text = question.unmask() if isinstance(question, HiddenValue) else question
        asked = shell.python(self.script, text, after="2>&1 || true")
        return StringCommand("if [ -x /usr/bin/python3 ]; then", asked, "fi")

    @override
    @staticmethod
    def default() -> dict[str, Any]:
        return {}

    @override
    def process(self, output: list[str]) -> dict[str, Any]:
        try:
            return cast(dict[str, Any], json.loads(output[-1]))
        except ValueError:
            raise Unanswered(output[-1]) from None


class Health(Survey):
    """
    Returns how the host is, in one command, with the survey beside it: see ``on_host/facts/health.py`` for the keys.
    ``{}`` where the host has no python3.
    """

    script = joined("facts.health")


class Verify(Survey):
    """
    Returns how the host is and what it answers to users, as ``Health`` and with the keys of
    ``on_host/facts/verify.py``.
    """

    script = joined("facts.verify")


class Migrations(Survey):
    """Returns which migrations the databases of instances lack by other code: see ``on_host/facts/migrations.py``."""

    script = joined("facts.migrations")


class Available(Survey):
    """Returns whether the package index has what is needed: see ``on_host/facts/available.py`` for the keys."""

    script = joined("facts.available")


class Revisions(Survey):
    """Returns whether repositories have what is to be put in place: see ``on_host/facts/revisions.py`` for the keys."""

    script = joined("facts.revisions")


class Proxied(Survey):
    """Returns whether a proxy takes the host to what is to be fetched: see ``on_host/facts/proxy.py`` for the keys."""

    script = joined("facts.proxy")


class Acme(Survey):
    """Returns which ACME servers don't know the host: see ``on_host/facts/acme.py`` for the keys."""

    script = joined("facts.acme")


class Logs(Survey):
    """Returns last lines of logs, and files, without the secrets in them: see ``on_host/facts/logs.py``."""

    script = joined("facts.logs")
