"""The fenced blocks of the book, for the tests that read, load and type them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from testbed.images import ROOT


@dataclass(frozen=True)
class Block:
    """``page`` begins at docs/; ``title`` says where it belongs: a part of an inventory, or a machine."""

    page: str
    heading: str
    title: str
    text: str

    @property
    def lines(self) -> list[str]:
        """One for each command, those that go on in the next line joined."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def blocks(page: str, language: str) -> list[Block]:
    """A page's blocks of a language, with what they include. Ruff doesn't format { .python }."""
    found, heading = [], ""
    parts = rf'^##+ ([^\n]*)$|^```(?:{language}|{{ \.{language} }})(?: title="([^"]*)")?\n(.*?)^```|^```.*?^```'
    for match in re.finditer(parts, (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL):
        if match[1] is not None:
            heading = match[1]
        elif match[3] is not None:
            text = re.sub(r'--8<-- "(.*?)"', lambda m: (ROOT / m[1]).read_text(), match[3])
            found.append(Block(page, heading, match[2] or "", text))
    return found
