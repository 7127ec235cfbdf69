"""Every row that is claimed has a test that carries its mark, and no mark names a row that isn't."""

import re
from pathlib import Path

from tests.rows import CLAIMED

HOST_TESTS = Path(__file__).parent.parent / "host"


def test_marks_and_claims_are_the_same() -> None:
    marked = {
        int(number)
        for file in HOST_TESTS.glob("test_*.py")
        for number in re.findall(r"^@pytest\.mark\.row_(\d+)$", file.read_text(), re.MULTILINE)
    }
    assert marked == set(CLAIMED)
