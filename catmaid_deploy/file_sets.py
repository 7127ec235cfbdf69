"""Sets of files: what a service's configuration should be, and how the host differs from it.

A set is compared with what the survey found, and put in place whole or not at all by
`operations.jobs`. Files of others are never touched: what this project didn't write is in the way.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from catmaid_deploy.answers.survey import Entry, Survey
from catmaid_deploy.finding import Command, Finding, fault

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
    """A symbolic link. ``meanwhile`` is a pattern of where else it may lead, until its program has loaded."""

    path: str
    target: str
    meanwhile: str = ""

    def is_as(self, found: Entry | None) -> bool:
        """Whether what was found is this link."""
        if not found or found["kind"] != "link":
            return False
        target = found["target"]
        return bool(target == self.target or (self.meanwhile and re.fullmatch(self.meanwhile, target)))


Item = File | Folder | Link


@dataclass(frozen=True)
class ConfigurationSet:
    """All files of one service. ``trees`` are copied and get the new files for ``checks``, the service's own
    tests, which find the copy under ``{stage}``; ``service`` tells how what runs takes the files. The check
    ``supervisor`` is Supervisor's parser, which has no command of its own; ``systemd-analyze`` verifies units; what
    follows ``as user`` and a name is run with that user's rights.
    """

    name: str
    items: tuple[Item, ...] = ()
    trees: tuple[str, ...] = ()
    checks: tuple[tuple[str, ...], ...] = ()
    service: dict[str, Any] = field(default_factory=dict)
    # Links of a package that are to go, each with the file it leads to.
    stock_links: dict[str, str] = field(default_factory=dict)
    # What its programs make in a folder of theirs.
    of_programs: tuple[Link, ...] = ()
    # Emptied when the set is removed with its programs.
    sweep: tuple[str, ...] = ()

    @property
    def everything(self) -> tuple[Item, ...]:
        """The items and what its programs make."""
        return (*self.items, *self.of_programs)


@dataclass(frozen=True)
class Difference:
    """One path that isn't as it is to be; ``lines`` is a unified diff as git writes it, empty for a secret.
    ``note`` tells what no diff does: owner and mode, where a link leads, why there are no lines.
    """

    path: str
    what: str
    lines: tuple[str, ...] = ()
    item: Item | None = None
    note: str = ""


@dataclass(frozen=True)
class Reason:
    """What is done with something that runs, and why.

    >>> str(Reason("reload", "nginx", "its files change"))
    'reload nginx: its files change'
    """

    do: str
    part: str
    why: str
    # Places of findings that say the same between runs, as regular expressions.
    told: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.brief}: {self.why}"

    @property
    def brief(self) -> str:
        return f"{self.do} {self.part}"


@dataclass(frozen=True)
class Change:
    """What one set needs. ``reasons`` tell why what runs has to take it, beside the files."""

    set: ConfigurationSet
    differences: tuple[Difference, ...]
    reasons: tuple[Reason, ...] = ()

    @property
    def gone(self) -> list[str]:
        return [one.path for one in self.differences if one.item is None]

    @property
    def summary(self) -> list[str]:
        """A line for each thing that differs."""
        return [f"{one.what} {one.path}" for one in self.differences] + [str(reason) for reason in self.reasons]


def _lines(text: str) -> list[str]:
    """The lines of a file, with their ends: for a diff only a newline ends one."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def _diff(path: str, before: str | None, after: str | None) -> tuple[str, ...]:
    """What ``patch -p1`` needs to make one text of the other; None stands for no file."""
    old, new = ("/dev/null" if text is None else side + path for side, text in (("a", before), ("b", after)))
    found: list[str] = []
    for line in difflib.unified_diff(_lines(before or ""), _lines(after or ""), old, new):
        found += [line[:-1]] if line.endswith("\n") else [line, "\\ No newline at end of file"]
    return tuple(found)


def _same_owner(item: File | Folder, found: Entry) -> bool:
    return (found["user"], found["group"], int(found["mode"], 8)) == (item.user, item.group, int(item.mode, 8))


def _owner(user: str, group: str, mode: str) -> str:
    return f"{user}:{group} {int(mode, 8):o}"


def _owner_note(item: File | Folder, found: Entry | None) -> str:
    """Owner and mode that an item gets, with those that it has; nothing when they stay."""
    new = _owner(item.user, item.group, item.mode)
    if not found:
        return new
    return "" if _same_owner(item, found) else f"{_owner(found['user'], found['group'], found['mode'])} -> {new}"


def _file_difference(item: File, found: Entry | None) -> Difference:
    """How the contents of a file differ, as far as they may be shown."""
    lines: tuple[str, ...] = ()
    if item.secret:
        hidden = "secret, not shown"
    elif item.encoding != "utf-8":
        hidden = "not text"
    elif found and found.get("large"):
        hidden = "too large to be shown"
    elif found and "text" not in found:
        hidden = "not shown, since not everybody may read it there"
    else:
        hidden = ""
        lines = _diff(item.path, found["text"] if found else None, item.text)
    note = "; ".join(part for part in (_owner_note(item, found), hidden) if part)
    return Difference(item.path, "change" if found else "create", lines, item, note)


def _difference(item: Item, found: Entry | None) -> Difference | None:
    match item:
        case Link():
            if item.is_as(found):
                return None
            old = f"{found['target']} " if found and found["kind"] == "link" else ""
            return Difference(
                item.path, "link" if not found else "correct the link", (), item, f"{old}-> {item.target}"
            )
        case Folder():
            if not found:
                return Difference(item.path, "make folder", (), item, _owner_note(item, None))
        case File():
            if not found or found["kind"] != "file":
                return _file_difference(item, None)
            if found["sha256"] != item.sha256:
                return _file_difference(item, found)
    if _same_owner(item, found):
        return None
    return Difference(item.path, "owner or mode of", (), item, _owner_note(item, found))


def _is_ours(item: Item, found: Entry, owned: set[str], survey: Survey) -> bool:
    """Whether what is at the item's path may be replaced."""
    if item.path in owned or isinstance(item, Folder):
        return found["kind"] == "folder" or not isinstance(item, Folder)
    if isinstance(item, Link):
        return item.is_as(found)
    if found["kind"] != "file":
        return False
    if found["sha256"] == item.sha256 or MARK in found.get("text", "")[:400]:
        return True
    return item.stock and survey["as_it_came"].get(item.path) == found["md5"]


def in_the_way(wanted: Iterable[ConfigurationSet], survey: Survey) -> Iterator[Finding]:
    """What others put where a file of ours has to be."""
    owned = {path for paths in survey["manifest"].values() for path in paths}
    for one in wanted:
        for item in one.everything:
            found = survey["files"].get(item.path)
            if not found or _is_ours(item, found, owned, survey):
                continue
            if item.path.startswith("/run/"):
                # Moved away, it would take a program out of service that users still use.
                yield fault(
                    item.path,
                    "it isn't the deploy's and is in the way; a program may be using it",
                    "have that program go on from another folder, as docs/howto/adopt.md says",
                )
            else:
                # What is needed of it can be taken over from there. Beside its place a service might read it on.
                away = Command(f"mv {item.path} /root/{item.path.strip('/').replace('/', '-')}.before")
                yield fault(item.path, f"somebody else's {found['kind']} is in the way", away)


def compare(wanted: ConfigurationSet, survey: Survey) -> tuple[Difference, ...]:
    """How the host differs from a set, files that left it included."""
    files = survey["files"]
    found = [d for item in wanted.items if (d := _difference(item, files.get(item.path)))]
    kept = {item.path for item in wanted.everything}
    for path in survey["manifest"].get(wanted.name, ()):
        if path not in kept and (there := files.get(path)):
            found.append(_removal(path, there))
    for path, target in wanted.stock_links.items():
        if (there := files.get(path)) and is_stock_link(path, target, survey):
            found.append(_removal(path, there))
    return tuple(found)


def is_stock_link(path: str, target: str, survey: Survey) -> bool:
    """Whether a package's link is there and leads to its file as it came."""
    there, leads_to = survey["files"].get(path), survey["files"].get(target)
    untouched = not leads_to or leads_to.get("md5") == survey["as_it_came"].get(target)
    return bool(there and there["kind"] == "link" and there["target"] == target and untouched)


def lost(wanted: ConfigurationSet, survey: Survey) -> list[str]:
    """The links of its programs that aren't as they are to be."""
    return [link.path for link in wanted.of_programs if _difference(link, survey["files"].get(link.path))]


def _removal(path: str, found: Entry) -> Difference:
    if found["kind"] == "file" and "text" not in found:
        return Difference(path, "remove", note="not shown, since not everybody may read it there")
    return Difference(
        path, "remove", _diff(path, found["text"], None) if "text" in found and not found.get("large") else ()
    )


def foreign_links(wanted: ConfigurationSet, survey: Survey) -> list[str]:
    """A package's links that stay, since somebody changed the file that they lead to."""
    gone = {one.path for one in compare(wanted, survey)}
    return [path for path in wanted.stock_links if survey["files"].get(path) and path not in gone]
