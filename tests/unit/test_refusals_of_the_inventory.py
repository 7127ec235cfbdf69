"""What is wrong with an inventory by itself, each in one line; tests/host shows a sample as an admin sees it."""

from __future__ import annotations

import pytest

from tests.host.test_refusals import CASES, of_the_inventory

SAID = of_the_inventory()


@pytest.mark.row_31
@pytest.mark.parametrize("name", SAID)
def test_one_line_with_key_and_fix(name: str) -> None:
    (line,) = SAID[name]
    assert line.startswith(f"{CASES[name].key}: ")
    assert CASES[name].says in line
    assert "hunter2" not in line


@pytest.mark.row_31
def test_these_are_many() -> None:
    assert len(SAID) > 25
