"""Sets of files: what a service's configuration is to be, and how the host differs from it.

A set is compared with what the survey found, and put in place whole or not at all by
`operations.configuration`. Files of others are never touched: what this project didn't write is in the way.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

MARK = "Made by catmaid-deploy from templates/"


@dataclass(frozen=True)
class File:
    """A file as it is to be. ``stock`` may replace a package's own file that nobody changed.

    A ``secret`` one is compared by its digest, and its text is shown nowhere. What isn't text has an
    ``encoding`` that gives its bytes.
    """

    path: str
    text: str
    mode: str = "644"
    user: str = "root"
    group: str = "root"
    secret: bool = False
    stock: bool = False
    encoding: str = "utf-8"

    @staticmethod
    def binary(path: str, data: bytes) -> File:
        return File(path, data.decode("latin-1"), encoding="latin-1")

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode(self.encoding)).hexdigest()

    @property
    def has_diff(self) -> bool:
        return not self.secret and self.encoding == "utf-8"


@dataclass(frozen=True)
class Folder:
    """A folder with its owner and mode. ``data`` stays when its instance goes: logs, and what programs keep."""

    path: str
    user: str = "root"
    group: str = "root"
    mode: str = "755"
    data: bool = False


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: str
    target: str


Item = File | Folder | Link


@dataclass(frozen=True)
class ConfigurationSet:
    """All files of one service. ``trees`` are copied and get the new files for ``checks``, the service's own
    tests, which find the copy under ``{stage}``; ``service`` tells how what runs takes the files. The check
    ``supervisor`` is Supervisor's parser, which has no command of its own; ``systemd-analyze`` verifies units.
    """

    name: str
    items: tuple[Item, ...] = ()
    trees: tuple[str, ...] = ()
    checks: tuple[tuple[str, ...], ...] = ()
    service: dict[str, Any] = field(default_factory=dict)
    # Links of a package that are to go, each with the file it leads to.
    stock_links: dict[str, str] = field(default_factory=dict)
    # Emptied when the set is removed with its programs.
    sweep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """One path that isn't as it is to be; ``lines`` is a unified diff, empty for a secret."""

    path: str
    what: str
    lines: tuple[str, ...] = ()
    item: Item | None = None


@dataclass(frozen=True)
class Change:
    """What one set needs. ``reasons`` tell why what runs has to take it, beside the files."""

    set: ConfigurationSet
    differences: tuple[Difference, ...]
    reasons: tuple[str, ...] = ()

    @property
    def gone(self) -> list[str]:
        return [one.path for one in self.differences if one.item is None]

    @property
    def summary(self) -> list[str]:
        """A line for each thing that differs."""
        return [f"{one.what} {one.path}" for one in self.differences] + list(self.reasons)


def _diff(path: str, before: str, after: str) -> tuple[str, ...]:
    new = difflib.unified_diff(before.splitlines(), after.splitlines(), f"host:{path}", f"deploy:{path}", lineterm="")
    return tuple(new)


def _same_owner(item: File | Folder, found: dict[str, Any]) -> bool:
    return (found["user"], found["group"], int(found["mode"], 8)) == (item.user, item.group, int(item.mode, 8))


def _owner(user: str, group: str, mode: str) -> str:
    return f"{user}:{group} {int(mode, 8):o}"


def _difference(item: Item, found: dict[str, Any] | None) -> Difference | None:
    match item:
        case Link():
            if found and found["kind"] == "link" and found["target"] == item.target:
                return None
            return Difference(item.path, "link" if not found else "correct the link", (), item)
        case Folder():
            if not found:
                return Difference(item.path, "make folder", (), item)
            if _same_owner(item, found):
                return None
        case File():
            if not found or found["kind"] != "file":
                return Difference(item.path, "create", _diff(item.path, "", item.text) if item.has_diff else (), item)
            if found["sha256"] != item.sha256:
                lines = _diff(item.path, found.get("text", ""), item.text) if item.has_diff else ()
                return Difference(item.path, "change", lines, item)
            if _same_owner(item, found):
                return None
    assert found is not None
    old, new = _owner(found["user"], found["group"], found["mode"]), _owner(item.user, item.group, item.mode)
    return Difference(item.path, "owner or mode of", (f"-{old}", f"+{new}"), item)


def _is_ours(item: Item, found: dict[str, Any], owned: set[str], survey: dict[str, Any]) -> bool:
    """Whether what is at the item's path may be replaced."""
    if item.path in owned or isinstance(item, Folder):
        return found["kind"] == "folder" or not isinstance(item, Folder)
    if isinstance(item, Link):
        return bool(found["kind"] == "link" and found["target"] == item.target)
    if found["kind"] != "file":
        return False
    if found["sha256"] == item.sha256 or MARK in found.get("text", "")[:400]:
        return True
    return item.stock and survey["as_it_came"].get(item.path) == found["md5"]


def in_the_way(wanted: Iterable[ConfigurationSet], survey: dict[str, Any]) -> Iterator[str]:
    """Lines, with the mend, about what others put where a file of ours has to be."""
    owned = {path for paths in survey["manifest"].values() for path in paths}
    for one in wanted:
        for item in one.items:
            found = survey["files"].get(item.path)
            if found and not _is_ours(item, found, owned, survey):
                yield (
                    f"{item.path}: somebody else's {found['kind']} is in the way: take over what you need from it, and "
                    f"move it away (mv {item.path} {item.path}.before)"
                )


def compare(wanted: ConfigurationSet, survey: dict[str, Any]) -> tuple[Difference, ...]:
    """How the host differs from a set, files that left it included."""
    files = survey["files"]
    found = [d for item in wanted.items if (d := _difference(item, files.get(item.path)))]
    kept = {item.path for item in wanted.items}
    for path in survey["manifest"].get(wanted.name, ()):
        if path not in kept and files.get(path):
            found.append(_removal(path, files[path]))
    for path, target in wanted.stock_links.items():
        there, leads_to = files.get(path), files.get(target)
        untouched = not leads_to or leads_to.get("md5") == survey["as_it_came"].get(target)
        if there and there["kind"] == "link" and there["target"] == target and untouched:
            found.append(_removal(path, there))
    return tuple(found)


def _removal(path: str, found: dict[str, Any]) -> Difference:
    return Difference(path, "remove", _diff(path, found["text"], "") if "text" in found else ())


def foreign_links(wanted: ConfigurationSet, survey: dict[str, Any]) -> list[str]:
    """A package's links that stay, since somebody changed the file that they lead to."""
    gone = {one.path for one in compare(wanted, survey)}
    return [path for path in wanted.stock_links if survey["files"].get(path) and path not in gone]
