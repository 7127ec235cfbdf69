"""One look at a host before anything is decided: all that the tasks need to know, in one command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

_FOLDER = Path(__file__).parent
_LINES = re.DOTALL | re.MULTILINE


def _part(name: str) -> str:
    """A file of the script for the host, without what it imports from the others."""
    return re.sub(r"^from facts\.\w+ import (\(.*?^\)|.*?)$", "", (_FOLDER / name).read_text(), flags=_LINES)


_SCRIPT = "\n".join(map(_part, ("web_on_host.py", "survey_on_host.py")))


class Survey(FactBase[dict[str, Any]]):
    """
    Returns what the host has of all that the deploy relies on, asked in one command by a script that needs
    nothing but Python 3.9: see ``survey_on_host.py`` for the keys. ``{}`` where the host has no python3.
    """

    script = _SCRIPT

    @override
    def requires_command(self, question: str) -> str:
        return "python3"

    @override
    def command(self, question: str) -> StringCommand:
        return StringCommand("python3", "-IS", "-c", QuoteString(self.script), QuoteString(question))

    @override
    @staticmethod
    def default() -> dict[str, Any]:
        return {}

    @override
    def process(self, output: list[str]) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads("\n".join(output)))


def _joined(*names: str) -> str:
    """The survey's script and others that build on it, each without the last line of the one before."""
    script = _SCRIPT
    for name in names:
        script = re.sub(r"\nanswer\(\w+\)\n\Z", "", script) + "\n" + _part(name)
    return script


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


class Logs(Survey):
    """Returns the last lines of logs, and files, of which the host has taken secrets out: see ``logs_on_host.py``."""

    script = _joined("logs_on_host.py")
