"""Which Python and which moved pins a release gets: the rules of fits.toml, and what is said of a release by them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from catmaid_deploy.answers.sought import Fit
from catmaid_deploy.finding import Finding, fault
from catmaid_deploy.schema import Instance

RULES = Path(__file__).with_name("fits.toml")
KINDS = ("move", "refuse", "beside", "build", "apart")


@cache
def rules() -> dict[str, list[dict[str, Any]]]:
    """All rules, by their kind; each is told of in fits.toml."""
    found = tomllib.loads(RULES.read_text())
    return {kind: found.get(kind, []) for kind in KINDS}


def judge(instance: Instance, version: str, found: Fit | None) -> Iterator[Finding]:
    """Why a release fits no Python of this version, with the ways out; nothing where nobody can tell."""
    assert instance.releases
    place = f"site.instances[{instance.name}]"
    if found is None:
        return
    if missing := found.get("missing"):
        what = f"{instance.releases.revision} has no {missing}"
        yield fault(f"{place}.install.python.requirements", what, "name the files that this release has")
    for package, pin, why in found.get("wrong", ()):
        what = f"{instance.releases.revision} requires {package} {pin}, which doesn't run with Python {version} ({why})"
        fix = f"name an older Python that is on the host, or another version of {package} in install.python.overrides"
        yield fault(f"{place}.install.python.executable", what, fix)


def words(found: Fit) -> str:
    """What is moved, for a run's lines: 'scipy 1.8.1 to 1.10.1'."""
    return ", ".join(f"{name} {old} to {new}" for name, old, new in found.get("moved", ()))
