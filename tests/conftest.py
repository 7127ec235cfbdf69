from __future__ import annotations

import pytest

from tests import effort
from tests.rows import CLAIMED


def pytest_configure(config: pytest.Config) -> None:
    effort.LONG = config.getoption("long")
    config.addinivalue_line("markers", "slow: on one of the systems, on all of them with --long")
    config.addinivalue_line("markers", "long: with --long alone; something shorter of the kind is there without")
    config.addinivalue_line("markers", "bookworm: on Debian 12 alone, whatever is asked for")
    for number, text in CLAIMED.items():
        config.addinivalue_line("markers", f"row_{number}: {text}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also what takes longer: make test-long")
