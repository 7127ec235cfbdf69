"""CATMAID's page against the live files: docs/page.md says for each directive where it is, or why it isn't."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host.test_rows import nginx_files
from tests.host.web import Web

DOCUMENT = Path(__file__).parents[2] / "docs/page.md"


def rows() -> list[tuple[str, str, str]]:
    """The table: on the page, on the host, why."""
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")][1:]
    found = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]
    return [(page, here, why.rstrip(" |")) for page, here, why in found]


def directives(block: list[dict[str, Any]]) -> Iterator[str]:
    for one in block:
        arguments = " ".join(one["args"])
        yield f"{one['directive']} ({arguments})" if one["directive"] == "if" else f"{one['directive']} {arguments}"
        yield from directives(one.get("block", []))


@pytest.mark.row_8
@pytest.mark.row_11
@pytest.mark.row_13
@pytest.mark.row_18
def test_each_directive_of_the_page_is_there_or_has_a_reason(web: Web) -> None:
    live = {one for file in nginx_files(web.host) for one in directives(file)}
    table = rows()
    assert len(table) > 45
    for page, here, why in table:
        claimed = re.findall(r"`([^`]+)`", here)
        if not claimed:
            assert (here, bool(why)) == ("-", True), page
        for one in claimed:
            assert any(directive == one or directive.startswith(f"{one} ") for directive in live), one
        if claimed != re.findall(r"`([^`]+)`", page)[:1] and "..." not in page and "<" not in page:
            assert why or claimed[0].split()[0] == "location", page
