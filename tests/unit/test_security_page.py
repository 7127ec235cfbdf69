"""Each promise of the book's page on security names the tests that prove it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
TESTS = {
    name
    for path in [*ROOT.glob("tests/*/test_*.py")]
    for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
}
PROOF = re.compile(r"<!-- tests: ([\w, ]+) -->")


def promises(page: str) -> list[str]:
    """The paragraphs, the items of lists and the rows of tables of a page; no heading and no command."""
    bare = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    found: list[str] = []
    for block in re.split(r"\n\s*\n", bare):
        lines = block.strip().splitlines()
        if not lines or lines[0].startswith("#"):
            continue
        if lines[0].startswith("|"):
            found += lines[2:]
        else:
            found += [part for part in re.split(r"^- ", block.strip(), flags=re.MULTILINE) if part.strip()]
    return found


def unproved(page: str) -> list[str]:
    """The promises that name no test, or one that isn't there."""
    named = {promise: PROOF.findall(promise) for promise in promises(page)}
    return [
        promise for promise, proofs in named.items() if not proofs or set(", ".join(proofs).split(", ")) - set(TESTS)
    ]


@pytest.mark.row_32
def test_each_promise_names_its_tests() -> None:
    assert len(promises(PAGE)) > 15
    assert unproved(PAGE) == []


NEW = {
    "a paragraph": "\n\nA new promise.\n",
    "a test that nobody wrote": "\n- A new one. <!-- tests: test_that_nobody_wrote -->\n",
    "a row": "\n\n| a | b |\n|---|---|\n| c | d |\n",
}


@pytest.mark.parametrize("kind", NEW)
def test_a_promise_without_a_test_is_found(kind: str) -> None:
    assert unproved(PAGE + NEW[kind])
