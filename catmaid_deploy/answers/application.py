"""What a host answers about the applications that are installed there; `on_host/facts/application.py`."""

from __future__ import annotations

from typing import TypedDict


class Python(TypedDict, total=False):
    """A virtualenv's Python. Where it is ``missing``, ``unreachable`` or ``broken`` nothing else is known of it.

    >>> well: Python = {"version": [3, 11, 2], "base": "/usr/bin/python3.11", "packages_exist": True, "header": True,
    ...                 "have": {"django": "2.2.28", "uwsgi": None}, "owner": "catmaid", "of_a_group": False}
    """

    missing: str
    unreachable: bool
    broken: str
    version: list[int]
    base: str
    packages_exist: bool
    header: bool
    have: dict[str, str | None]
    owner: str
    of_a_group: bool


# Name, path and domain of a cookie, and whether it is Secure.
Cookie = tuple[str, str, str, bool]


class Settings(TypedDict):
    """The settings as Django has them. ``real`` is where the folders lead to; ``brokers`` are Celery's and the channel
    layer's, as address and virtual host.
    """

    STATIC_ROOT: str | None
    MEDIA_ROOT: str | None
    ALLOWED_HOSTS: list[str]
    MEDIA_URL: str | None
    STATIC_URL: str | None
    FORCE_SCRIPT_NAME: str | None
    SESSION_COOKIE: Cookie
    CSRF_COOKIE: Cookie
    real: dict[str, str | None]
    brokers: list[tuple[str, str]] | None


class Release(TypedDict):
    """Whether the release of the inventory is there, with the others, and which paths that all share are there.
    ``owner`` says whether that user exists.
    """

    there: bool
    all: list[str]
    shared: dict[str, bool]
    owner: bool


class Before(TypedDict, total=False):
    """What a hand-over noted: of each program the slots before and after it, and when. An older note has one ``time``
    for all, and a program may have none.
    """

    slots: dict[str, tuple[str, str]]
    times: dict[str, float | None]
    time: float


class Paths(TypedDict):
    """Which files of an application are there."""

    checkout: bool
    wsgi_file: bool
    settings_file: bool


class Folders(TypedDict):
    """Which folders of an application are there, as nginx finds them."""

    static_folder: bool
    files_folder: bool


class Address(TypedDict):
    """A database's or broker's, by the inventory."""

    host: str
    port: int


class Instance(TypedDict):
    """An application as it is installed.

    + code: what names its code and Python environment; empty where that isn't known
    + user, group: whether they exist
    + owner: whose the checkout is
    + script_name, static_url, static_root: as settings.py says by itself
    + media_root: the same, and where it leads to
    + settings_problem: why the settings couldn't be loaded
    + silent: the database and broker that don't answer
    """

    code: str
    release: Release | None
    before: Before
    user: bool
    group: bool
    paths: Paths
    folders: Folders
    owner: str
    requirements: list[str]
    python: Python
    script_name: str | None
    static_url: str | None
    static_root: str | None
    media_root: tuple[str, str] | None
    foreign_packages: str | None
    settings: Settings | None
    settings_problem: str | None
    silent: dict[str, Address]
