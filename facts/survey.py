"""One look at a host before anything is decided: all that the tasks need to know, in one command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.hiddenvalue import HiddenValue
from typing_extensions import override

from catmaid_deploy import shell
from facts.lexer import with_lexer

_FOLDER = Path(__file__).parent
_LINES = re.DOTALL | re.MULTILINE
_SURVEY = (
    "nginx_on_host.py",
    "clean_on_host.py",
    "places_on_host.py",
    "notice_on_host.py",
    "probe_on_host.py",
    "web_on_host.py",
    "certbot_on_host.py",
    "supervisor_on_host.py",
    "asking_on_host.py",
    "survey_on_host.py",
)


def _joined(*further: str) -> str:
    """The one way to what others may write, the survey and what builds on it: each without its imports of the others,
    and without the last line of the one before, which answers.
    """
    script = (_FOLDER.parent / "operations/trust_on_host.py").read_text()
    for name in (*_SURVEY, *further):
        text = re.sub(
            r"^from (?:facts|operations)\.\w+ import (\(.*?^\)|.*?)$", "", (_FOLDER / name).read_text(), flags=_LINES
        )
        script = re.sub(r"\nanswer\(\w+\)\n\Z", "", script) + "\n" + with_lexer(text)
    return script


class Unanswered(Exception):
    """The host's Python hasn't answered; the message is the last thing that it said."""


class Survey(FactBase[dict[str, Any]]):
    """
    Returns what the host has of all that the deploy relies on, asked in one command by a script that needs
    nothing but Python 3.9: see ``survey_on_host.py`` for the keys. ``{}`` where the host has no python3.

    Raises Unanswered where its Python doesn't run.
    """

    script = _joined()

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
    Returns how the host is, in one command, with the survey beside it: see ``health_on_host.py`` for the keys. ``{}``
    where the host has no python3.
    """

    script = _joined("health_on_host.py")


class Verify(Survey):
    """
    Returns how the host is and what it answers to users, as ``Health`` and with the keys of ``verify_on_host.py``.
    """

    script = _joined("health_on_host.py", "verify_on_host.py")


class Migrations(Survey):
    """Returns which migrations the databases of instances lack by other code: see ``migrations_on_host.py``."""

    script = _joined("../operations/common_on_host.py", "../operations/release_on_host.py", "migrations_on_host.py")


class Available(Survey):
    """Returns whether the package index has what is to be installed: see ``available_on_host.py`` for the keys."""

    script = _joined("../operations/common_on_host.py", "../operations/packages_on_host.py", "available_on_host.py")


class Revisions(Survey):
    """Returns whether repositories have what is to be put in place: see ``revisions_on_host.py`` for the keys."""

    script = _joined("../operations/common_on_host.py", "../operations/release_on_host.py", "revisions_on_host.py")


class Proxied(Survey):
    """Returns whether a proxy takes the host to what is to be fetched: see ``proxy_on_host.py`` for the keys."""

    script = _joined("proxy_on_host.py")


class Acme(Survey):
    """Returns which ACME servers don't know the host: see ``acme_on_host.py`` for the keys."""

    script = _joined("proxy_on_host.py", "acme_on_host.py")


class Logs(Survey):
    """Returns the last lines of logs, and files, of which the host has taken secrets out: see ``logs_on_host.py``."""

    script = _joined("logs_on_host.py")
