"""Which version of the deploy this is, and what its changelog says of the versions since another one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

# Links in a checkout, files in a wheel: what is read is of the code that runs, whatever pip has noted of it.
FOLDER = Path(__file__).resolve().parent
VERSION: str = tomllib.loads((FOLDER / "project.toml").read_text())["project"]["version"]
CHANGELOG = (FOLDER / "CHANGELOG.md").resolve()
# That of a host that was deployed before hosts noted it.
UNNOTED = "0.1.0"
KINDS = ("Breaking", "Added", "Fixed")


def numbers(version: str) -> tuple[int, ...]:
    """A version as it is compared.

    >>> numbers("0.10.0") > numbers("0.9.2")
    True
    """
    return tuple(int(part) for part in re.findall(r"[0-9]+", version))


def _brief(entry: str) -> str:
    """The first sentence of an entry of the changelog, without Markdown.

    >>> _brief("A host notes its **version**. See [the book](docs/lab.md).")
    'A host notes its version.'
    """
    text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", entry).replace("**", "")
    return re.split(r"(?<=\.) (?=[A-Z`])", text, maxsplit=1)[0]


def changes(before: str, until: str, changelog: str) -> list[str]:
    """What the versions after ``before`` change, until one with it: a line an entry, what breaks something first.

    >>> changes("0.1.0", "0.2.0", "## 0.2.0, 2026-11-27\\n### Fixed\\n- A fault.\\n## 0.1.0\\n### Added\\n- All.")
    ['Fixed: A fault.']
    """
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for part in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        if not numbers(before) < numbers(part.partition(",")[0].partition("\n")[0]) <= numbers(until):
            continue
        for section in re.split(r"^### ", part, flags=re.MULTILINE)[1:]:
            kind, _, entries = section.partition("\n")
            if kind in found:
                found[kind] += [" ".join(entry.split()) for entry in re.split(r"^- ", entries, flags=re.MULTILINE)[1:]]
    return [f"{kind}: {_brief(entry)}" for kind, entries in found.items() for entry in entries]
