"""Python environments of releases on the host, and the compiler that is there while they are made."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pyinfra.api import StringCommand, operation
from pyinfra.api.hiddenvalue import HiddenValue

from catmaid_deploy.operations.jobs import Told, job, shown
from catmaid_deploy.schema import Instance, Releases


@operation()
def made(
    instance: Instance,
    releases: Releases,
    executable: str,
    packages: dict[str, str],
    compiled: dict[str, str],
    rules: dict[str, list[dict[str, Any]]],
    run: str,
    fetching: HiddenValue | None = None,
) -> Generator[StringCommand]:
    """
    Make the Python environment of a release, as the owner of the code.

    + instance: whose release it is
    + releases: where the code comes from
    + executable: the Python that it is made of
    + packages: what the instance's programs need beside what the release requires, each with its version
    + compiled: those of them that come as source
    + rules: which versions a release gets on which Python
    + run: the name of the run that holds the lock
    + fetching: variables of git's and uv's environment, from `hidden`

    One that is complete stays; one that isn't is made anew.
    """
    python = instance.made_python
    assert python
    described = {
        "fetching": shown(fetching),
        "repository": releases.repository,
        "revision": releases.revision,
        "folder": releases.folder,
        "owner": releases.owner,
        "path": instance.virtualenv,
        "executable": executable,
        "requirements": python.requirements,
        "packages": [*(f"{name}=={version}" for name, version in packages.items()), *python.packages],
        "compiled": compiled,
        "overrides": python.overrides,
        "uv_version": python.uv_version,
        "rules": rules,
    }
    yield job({"do": "environment", "run": run, "one": described}, Told)


@operation()
def compiler_noted(names: list[str], run: str) -> Generator[StringCommand]:
    """
    Note which packages a run brings to compile with, so that they go again.

    + names: the packages
    + run: the name of the run that holds the lock
    """
    yield job({"do": "note compiler", "run": run, "one": {"names": names}})


@operation()
def compiler_removed(run: str) -> Generator[StringCommand]:
    """
    Remove the packages that were brought to compile with, and nothing that was there before or that others need.

    + run: the name of the run that holds the lock
    """
    yield job({"do": "remove compiler", "run": run, "one": {}}, Told)
