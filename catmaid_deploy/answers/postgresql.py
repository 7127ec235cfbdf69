"""What a host answers about its own PostgreSQL; `on_host/facts/postgresql.py`."""

from __future__ import annotations

from typing import TypedDict


class Cluster(TypedDict):
    """A cluster of Debian's: where its data lie, whether it has ``ran`` at all, and whether the files of its settings
    are ``whole``.
    """

    version: str
    name: str
    data: str
    port: int
    whole: bool
    ran: bool


class Database(TypedDict):
    """A database. ``open`` says whether every role may connect to it; ``note`` is the comment that it has."""

    owner: str
    encoding: str
    open: bool
    size: int
    note: str
    extensions: list[str]


class Role(TypedDict):
    """A role. ``password`` is 'same' as the host's file has it, 'old' for that in the form of before, 'other' or
    'none'; ``settings`` are as PostgreSQL writes them down, ``note`` is the comment that it has.

    >>> role: Role = {"login": True, "superuser": False, "password": "same", "settings": ["TimeZone=UTC"], "note": ""}
    """

    login: bool
    superuser: bool
    password: str
    settings: list[str]
    note: str


class Server(TypedDict):
    """The server at a port, as it says of itself. ``settings`` is the digest of the deploy's settings that it runs
    with, ``in_file`` of those that its files have now; ``pending`` are the names of those that wait for a restart.
    ``used`` says whether it has a database of anybody's.
    """

    version: str
    number: int
    config: str
    data: str
    checksums: bool
    connections: int
    standby: bool
    settings: str
    in_file: str
    pending: list[str]
    available: list[str]
    used: bool
    sessions: int
    databases: dict[str, Database]
    roles: dict[str, Role]


class Postgresql(TypedDict):
    """PostgreSQL at the inventory's port. Where the ``server`` doesn't answer, ``problem`` says why, and there are the
    clusters that the host has, and the name of what listens on the port.
    """

    server: Server | None
    problem: str
    clusters: list[Cluster]
    holder: str | None
