"""Lists that stand once: the whole of each fits what is said elsewhere, and an entry that is left out is named."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from catmaid_deploy.tasks.nginx import headers
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


LISTS = (List(headers, "SECURITY", headers_of_the_book.missing),)


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
