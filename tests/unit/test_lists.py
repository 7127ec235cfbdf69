"""Lists that stand once: the whole of each fits what is said elsewhere, and an entry that is left out is named."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from catmaid_deploy.tasks import distributions
from catmaid_deploy.tasks.nginx import headers
from testbed.images import ROOT
from tests import headers as headers_of_the_book


@dataclass(frozen=True)
class List:
    """A list of a module, by its name, and the check that says in sentences what doesn't fit it."""

    home: ModuleType
    name: str
    missing: Callable[[], Iterable[str]]

    @property
    def entries(self) -> Collection[Any]:
        found: Collection[Any] = getattr(self.home, self.name)
        return found

    def without(self, left_out: Any) -> Collection[Any]:
        if isinstance(self.entries, dict):
            return {key: value for key, value in self.entries.items() if key != left_out}
        return tuple(entry for entry in self.entries if entry != left_out)


def undescribed_distributions() -> Iterator[str]:
    """What the pages for newcomers say of distributions and the list doesn't have, and the other way round."""
    known = {one.name for one in distributions.DISTRIBUTIONS}
    for page in ("README.md", "docs/tutorial.md"):
        found = re.findall(r"(Debian|Ubuntu) (\d[\d.]*(?: (?:or|and) \d[\d.]*)*)", (ROOT / page).read_text())
        named = {f"{family} {version}" for family, versions in found for version in re.split(" or | and ", versions)}
        for name in sorted(named - known):
            yield f"{page} names {name}: DISTRIBUTIONS in tasks/distributions.py doesn't have it"
        for name in sorted(known - named):
            yield f"{page} doesn't name {name}"


LISTS = (
    List(headers, "SECURITY", headers_of_the_book.missing),
    List(distributions, "DISTRIBUTIONS", undescribed_distributions),
)


def called(entry: Any) -> str:
    """An entry's name: its own, or the text that it is."""
    return entry if isinstance(entry, str) else str(entry.name)


@pytest.mark.parametrize("one", LISTS, ids=lambda one: one.name)
def test_a_list_fits_what_is_said_elsewhere(one: List) -> None:
    assert list(one.missing()) == []


@pytest.mark.parametrize(
    ("one", "entry"),
    [
        pytest.param(one, entry, id=f"{one.name}-{called(entry)}".replace(" ", "-"))
        for one in LISTS
        for entry in one.entries
    ],
)
def test_an_entry_that_is_left_out_is_named(one: List, entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, rest = one.entries, one.without(entry)
    # Also where a module has the list by a name of its own.
    for module in [module for name, module in sys.modules.items() if name.startswith(("catmaid_deploy", "test"))]:
        for name in [name for name, value in vars(module).items() if value is whole]:
            monkeypatch.setattr(module, name, rest)
    assert [sentence for sentence in one.missing() if called(entry) in sentence]


def test_the_book_has_the_headers() -> None:
    """What comes from a host stands below, and `tests/host/test_web.py` compares it."""
    page = headers_of_the_book.TABLE
    head, text = headers_of_the_book.head(), page.read_text()
    if os.environ.get("CATMAID_WRITE"):
        _, rule, answers = text.rpartition("---|\n")
        assert rule
        page.write_text(head + answers)
    assert page.read_text().startswith(head), f"docs/{page.name}: run CATMAID_WRITE=1 pytest {__file__}"


def test_what_runs_on_hosts_is_of_the_oldest_python_among_them() -> None:
    oldest = min(one.python for one in distributions.DISTRIBUTIONS)
    for path in (ROOT / "catmaid_deploy/on_host").rglob("*.py"):
        ast.parse(path.read_text(), feature_version=oldest)
