"""What a host answers between deploys: `on_host/facts/health.py`, and with ``pages`` `on_host/facts/verify.py`."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from catmaid_deploy.answers import Answer
from catmaid_deploy.answers.survey import Survey


class Space(TypedDict):
    """A file system that may fill: its bytes, those that are free, and the share of files that still fit."""

    mount: str
    size: int
    free: int
    files_free: float


class Grown(TypedDict):
    """What is in a folder that may grow, in bytes: all, what was written in the last 7 days, and of its file system the
    size and what is free. It is more than that where it isn't the ``whole``; nothing is known of one whose ``size`` is
    None, which gives no answer.
    """

    name: str
    path: str
    mount: str
    size: int | None
    recent: int
    whole: bool
    total: int
    free: int


class Shown(TypedDict):
    """The certificate that nginx shows for a name, or the problem. At a glance it is the file's, of no TLS version."""

    problem: str | None
    seconds_left: NotRequired[float]
    version: NotRequired[str | None]


class Stranger(TypedDict):
    """A process that does the work of a program and isn't the deploy's, with the service that starts it. One of the
    deploy's own that is ``late`` was told to end; that has the name of its instance.
    """

    process: int
    kind: str
    virtualenv: str
    unit: str | None
    late: NotRequired[str]
    user: NotRequired[str]


class Statistics(TypedDict):
    """uWSGI's own figures."""

    requests: int
    busy: int
    threads: int
    waiting: int


class Mail(TypedDict):
    """How a mail server takes what an application would send: the ``stage`` at which it doesn't, with its ``words``; an
    empty one where it does. ``sent`` is whom a message was sent to, where one was asked for.

    >>> wrong: Mail = {"stage": "sign in", "words": "535 Authentication failed", "sent": ""}
    """

    stage: str
    words: str
    sent: str


class Probe(TypedDict, total=False):
    """What an application's own Python finds; ``broken`` says why it doesn't load, and then there may be nothing else.

    + queues: how many tasks wait in each
    + task, tasks: seconds until a worker took a task; None where none did
    + notice: seconds until a WebSocket had a notice, or ``no_notice`` says why not
    + mail: None where none is described, or asked for
    + broker, database: what is wrong with them
    """

    broken: str | None
    queues: dict[str, int]
    task: float | None
    tasks: dict[str, float | None]
    notice: float | None
    no_notice: str | None
    mail: Mail | None
    broker: str | None
    database: str | None


class Running(TypedDict):
    """An application as it runs: requests in a second, WebSockets, and the sockets that are gone by their program."""

    statistics: Statistics | None
    rate: float | None
    websockets: int
    gone: dict[str, str]
    probe: Probe


class PageAnswer(TypedDict):
    """What a page answers: status 0 and ``error`` where nothing does. Of one in a folder the file that was ``found``.

    >>> tile: PageAnswer = {"status": 200, "headers": {"content-type": "image/jpeg"}, "seconds": 0.02,
    ...                     "found": "0/0_0_0.jpg"}
    """

    status: int
    headers: dict[str, str]
    seconds: float
    error: NotRequired[str]
    found: NotRequired[str | None]


class Health(Answer):
    """How a host is.

    + survey: what it answers to a deploy's own questions
    + served: the certificate that each site shows
    + uptime: in seconds
    + growth: what may grow; only of `status`
    + ends: when each program ended by itself within the last hour
    + ages: seconds since each program began
    + logs: the last line of each program that doesn't run
    + old_logs: large logs that aren't rotated, each with its bytes
    + security_updates: None where apt doesn't say
    + pages: what each page answers; only of `verify`
    """

    survey: Survey
    served: dict[str, Shown]
    spaces: list[Space]
    growth: list[Grown]
    uptime: float
    load: float
    processors: int
    ends: dict[str, list[float]]
    old_logs: list[tuple[str, int]]
    reboot: bool
    ages: dict[str, float | None]
    logs: dict[str, str]
    strangers: list[Stranger]
    instances: dict[str, Running]
    security_updates: list[str] | None
    pages: NotRequired[list[PageAnswer]]
