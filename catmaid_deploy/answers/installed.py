"""What a host answers of instances that the deploy has installed; `on_host/facts/survey.py`."""

from __future__ import annotations

from typing import TypedDict


class Secrets(TypedDict):
    """The names of the secrets that the host's file lacks, and of those that differ from what the inventory gives;
    ``open`` says whether it isn't root's, for its user's group to read; ``broken`` whether it is there and has none.
    """

    broken: bool

    lacks: list[str]
    differs: list[str]
    open: bool


class Installed(TypedDict):
    """What the host has noted of an instance that was installed: whether its tables, an administrator and projects were
    made.
    """

    tables: bool
    administrator: bool
    projects: bool


class Bundle(TypedDict):
    """The bundle that a host has, by its digest, which is empty for none; and the host's machine, such as x86_64."""

    id: str
    machine: str
