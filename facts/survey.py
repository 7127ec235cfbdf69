"""One look at a host before anything is decided: all that the tasks need to know, in one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

_SCRIPT = (Path(__file__).parent / "survey_on_host.py").read_text()


class Survey(FactBase[dict[str, Any]]):
    """
    Returns what the host has of all that the deploy relies on, asked in one command by a script that needs
    nothing but Python 3.9: see ``survey_on_host.py`` for the keys. ``{}`` where the host has no python3.
    """

    @override
    def requires_command(self, question: str) -> str:
        return "python3"

    @override
    def command(self, question: str) -> StringCommand:
        return StringCommand("python3", "-c", QuoteString(_SCRIPT), QuoteString(question))

    @override
    @staticmethod
    def default() -> dict[str, Any]:
        return {}

    @override
    def process(self, output: list[str]) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads("\n".join(output)))
