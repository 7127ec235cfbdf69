"""What a host answers to the further questions of a run that has something to do, and to `logs`."""

from __future__ import annotations

from typing import TypedDict

from catmaid_deploy.answers import Answer


class NoDump(TypedDict):
    """Why a database can't be dumped: the instance's ``key`` with what is wrong, and what ends it, by a command or in
    words.

    >>> no: NoDump = {"key": "dump_limit", "what": "the database has 21.0 GiB", "todo": "raise it", "command": ""}
    """

    key: str
    what: str
    todo: str
    command: str


class Dump(TypedDict, total=False):
    """The database that is dumped before migrations, with its ``size`` in bytes. Or what ``refused`` it, the
    ``problem`` for which nobody knows, and whether it is of an ``other`` kind, of which no dump is made.
    """

    name: str
    size: int
    refused: NoDump
    problem: str
    other: bool


class Lacking(TypedDict, total=False):
    """The migrations that a database ``lacks``; an ``empty`` one has had none. ``away`` is code that isn't on the host
    yet; ``problem`` is why nobody knows. There is a ``dump`` where migrations may come to a database with data.
    """

    lacks: str
    empty: bool
    away: bool
    problem: str
    dump: Dump


class Migrations(Answer):
    """Of each instance; `on_host/facts/migrations.py`."""

    migrations: dict[str, Lacking]


class Offer(TypedDict, total=False):
    """The newest versions in the place of one that isn't there, or why there is no answer."""

    newest: list[str]
    problem: str


class Available(Answer):
    """Of each virtualenv and package; None where its version is there, or nobody can tell.
    `on_host/facts/available.py`.
    """

    available: dict[str, dict[str, Offer | None]]


class Revision(TypedDict, total=False):
    """Why a revision can't be put in place: it is a ``branch``, or isn't there, and these are the ``newest`` tags."""

    branch: bool
    newest: list[str]
    problem: str


class Revisions(Answer):
    """Of each instance; None where its revision is there, or nobody can tell. `on_host/facts/revisions.py`."""

    revisions: dict[str, Revision | None]


class Fit(TypedDict, total=False):
    """What a release's requirements become: what is ``moved``, with its old and its new version; and what is ``wrong``,
    with its version and why it doesn't run. Or the file of requirements that is ``missing`` in the release.
    """

    moved: list[tuple[str, str, str]]
    wrong: list[tuple[str, str, str]]
    missing: str


class Requirements(Answer):
    """Of each instance; None where nobody can tell yet. `on_host/facts/requirements.py`."""

    fits: dict[str, Fit | None]


class Refusal(TypedDict, total=False):
    """What a proxy answers when it is asked to go ``there``, or why it is ``silent``."""

    silent: str
    there: str
    status: int
    words: str


class Passwords(Answer):
    """How each instance's role fits the password that the inventory gives: 'same', 'old', 'other' or 'none'."""

    passwords: dict[str, str]


class Proxied(Answer):
    """None where the proxy takes the host everywhere; `on_host/facts/proxy.py`."""

    refused: Refusal | None


class Bundled(Answer):
    """What apt says where a bundle's packages don't go with those of the host; `on_host/facts/bundle.py`."""

    apt: str


class Acme(Answer):
    """The ACME servers that want to know beforehand who asks; `on_host/facts/acme.py`."""

    strangers: list[str]


class Logs(Answer):
    """The last lines of each log, and the text of each file; `on_host/facts/logs.py`."""

    logs: dict[str, list[str]]
    files: dict[str, str]
