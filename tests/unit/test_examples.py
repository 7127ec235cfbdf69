"""The examples in docstrings are right, and the data that all else is made of has one each."""

from __future__ import annotations

import doctest
import importlib
from types import ModuleType

import pytest

from catmaid_deploy.finding import Finding
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.report import Report
from tests.unit.test_floors import MODULES, PACKAGE

WITH_EXAMPLES = [name for name, path in MODULES.items() if ">>> " in path.read_text()]


def of(name: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.{name}")


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_are_right(name: str) -> None:
    done = doctest.testmod(of(name))
    assert (done.failed, done.attempted > 0) == (0, True)


@pytest.mark.parametrize("kind", [Finding, Health, Look, Plan, Report, Step], ids=lambda kind: kind.__name__)
def test_plain_data_has_an_example(kind: type) -> None:
    assert f" {kind.__name__}(" in (kind.__doc__ or "").partition(">>> ")[2]
