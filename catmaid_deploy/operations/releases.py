"""Releases of an instance's code on the host: put in place beside the others, and removed."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import StringCommand, operation
from pyinfra.api.hiddenvalue import HiddenValue

from catmaid_deploy.file_sets import File
from catmaid_deploy.operations.jobs import Told, job, shown
from catmaid_deploy.schema import ENVIRONMENTS, Instance, Releases


def _described(
    instance: Instance, releases: Releases, fetching: HiddenValue | None = None, settings: File | None = None
) -> dict[str, object]:
    return {
        "fetching": shown(fetching),
        "repository": releases.repository,
        "revision": releases.revision,
        "folder": releases.folder,
        "owner": releases.owner,
        "shared": releases.shared,
        "settings": {"text": settings.text, "place": settings.path} if settings else None,
        "keep": releases.keep,
        "user": instance.user,
        "virtualenv": instance.virtualenv,
        "uv_version": instance.made_python.uv_version if instance.made_python else None,
        "environments": f"{releases.folder}/{ENVIRONMENTS}" if instance.made_python else None,
        "files_folder": instance.files_folder,
        "release_link": instance.release_link,
    }


@operation()
def in_place(
    instance: Instance,
    releases: Releases,
    run: str,
    fetching: HiddenValue | None = None,
    settings: File | None = None,
) -> Generator[StringCommand]:
    """
    Put a release in place: its files, links to those that all releases share, its static files.

    + instance: whose release it is
    + releases: where it comes from
    + run: the name of the run that holds the lock
    + fetching: variables of git's environment, from `hidden`
    + settings: the settings.py that the deploy writes, to which the release gets a link

    Nothing runs with it yet.
    """
    yield job({"do": "release", "run": run, "one": _described(instance, releases, fetching, settings)}, Told)


@operation()
def old_removed(instance: Instance, releases: Releases, run: str) -> Generator[StringCommand]:
    """
    Remove the oldest releases beyond those that are to be kept, but none that a program would start with.

    + instance: whose releases they are
    + releases: where they lie, and how many stay
    + run: the name of the run that holds the lock
    """
    yield job({"do": "remove releases", "run": run, "one": _described(instance, releases)})
