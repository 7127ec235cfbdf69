"""What a host is asked: the types of the JSON that the scripts in `on_host/facts` take; answers are in `answers/`.

Each task gives a part of a question, and all parts together are the whole: their keys are joined by `plan.task.merged`.
What is read side by side with a script stands together, and so in one file.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from catmaid_deploy.answers.application import Address

# ---- what users would see, asked at the end of a run and in each look ----


class LastPage(TypedDict):
    """A page whose status is asked for. ``good`` are the statuses that are well, any below 400 where it is empty; with
    ``guard``, the name of a cookie, the host lets itself in. It isn't asked while one of the flags ``closed`` is there,
    or its disk is away, by ``mount`` or ``flag``.
    """

    place: str
    program: str | None
    words: str
    url: str | None
    name: str
    host: str
    sni: str | None
    port: int
    https: bool
    path: str
    websocket: bool
    good: list[int]
    guard: str | None
    closed: list[str]
    mount: str | None
    flag: str | None


class LastProgram(TypedDict):
    """A program by its place among findings, with Supervisor's name of each slot and what its sign of life is in."""

    place: str
    name: str
    short: str
    pointer: str
    folder: str
    user: str
    log: str
    names: dict[str, str]
    sign: str | None
    seconds: int


class LastSite(TypedDict):
    """Where nginx should answer for a site."""

    names: list[str]
    path: str
    ports: list[int]


class LastPeer(TypedDict):
    """A server that programs need, and what is said where it doesn't answer."""

    host: str
    port: int
    says: str


class LastWord(TypedDict, total=False):
    """What `on_host/facts/asking.py` takes; the ``peers`` are asked at the end of a run alone."""

    pages: list[LastPage]
    programs: list[LastProgram]
    units: list[str]
    renewal: list[str]
    nginx_user: str
    sites: list[LastSite]
    ports: list[int]
    peers: list[LastPeer]


# ---- the look before a deploy ----


class Loading(TypedDict):
    """How Django loads an instance's settings; ``said`` names that in what was noted of them."""

    folder: str
    environment: dict[str, str]
    said: str
    notes: str


class Release(TypedDict):
    """A release that is to be there, by the file that proves it."""

    folder: str
    owner: str
    shared: tuple[str, ...]
    proof: str


class Instance(TypedDict):
    """An application: its paths and user, what names its ``code`` for a shell, and how its settings are loaded."""

    name: str
    user: str
    runtime_group: str
    checkout: str
    virtualenv: str
    wsgi_file: str
    lasting_wsgi_file: str
    settings_file: str
    static_folder: str
    files_folder: str
    code: str
    settings: Loading
    release: Release | None
    requirements: list[str]
    database: Address | None
    broker: Address | None


class Certificate(TypedDict):
    """A pair of files that a site has or is to have, and the names that it is for."""

    site: str
    kind: str
    certificate: str
    key: str
    names: list[str]


class Tiles(TypedDict):
    """A tile set's paths; ``fallback`` is None where it is no file."""

    name: str
    folder: str
    proof: str
    mount: str | None
    fallback: str | None


class NginxUser(TypedDict):
    """nginx's own user with its groups, and the user ``like`` which it reaches others' files."""

    user: str
    like: str
    groups: list[str]


class Secrets(TypedDict):
    """A file with an instance's secrets, by the names that it is to have; ``given`` are digests of those that the
    inventory gives.
    """

    path: str
    user: str
    names: list[str]
    given: dict[str, str]


class Vhost(TypedDict):
    """An instance's virtual host at RabbitMQ on this host: its user, the file that has the password, and under which
    name.
    """

    port: int
    vhost: str
    user: str
    secrets: str
    secret: str


class Database(TypedDict):
    """A database that the deploy makes on this host, with the role that owns it and the file with its password."""

    name: str
    user: str
    secrets: str


class Postgresql(TypedDict):
    """The databases that the deploy makes on this host, by instance, and the port of the server that they share."""

    port: int
    databases: dict[str, Database]


class Environment(TypedDict):
    """A release's environment, by the file that proves it, and the packages that are compiled into ``wheels``."""

    folder: str
    owner: str
    proof: str
    wheels: str
    executable: str
    compiled: dict[str, str]


class Survey(TypedDict, total=False):
    """What `on_host/facts/survey.py` takes.

    + paths: what the deploy has to do with; of those in ``secret`` no text is answered
    + access: who has to reach what, as user, path and right
    + served: the folders whose files nginx hands out
    + disks: by its flag, the paths on a disk that may hang
    + flags: the files that close instances
    + passwords: the folder of password files
    + rabbitmq: the virtual hosts, by their instances
    """

    load_settings: bool
    state_host: str
    asking: LastWord
    paths: list[str]
    secret: list[str]
    units: list[str]
    space: list[str]
    ports: list[int]
    packages: list[str]
    accounts: list[str]
    access: list[tuple[str, str, str]]
    served: list[str]
    instances: list[Instance]
    runtime_dirs: dict[str, str]
    certificates: list[Certificate]
    certbot: bool
    tiles: list[Tiles]
    disks: dict[str, list[str]]
    nginx: NginxUser
    passwords: str
    flags: list[str]
    secrets: dict[str, Secrets]
    installed: list[str]
    rabbitmq: dict[str, Vhost]
    postgresql: Postgresql
    environments: dict[str, Environment]


# ---- between deploys ----


class Site(TypedDict):
    """How a site is reached on the host, with the files of its certificate."""

    name: str
    https: bool
    port: int
    files: list[str]


class Page(TypedDict):
    """A page that users ask for. Of one in a ``folder`` the first file that ``ends`` so is asked for."""

    site: Site
    path: str
    headers: NotRequired[dict[str, str]]
    folder: NotRequired[str]
    ends: NotRequired[list[str]]


class Channel(TypedDict):
    """Where an instance's notices are waited for: at nginx, or at a ``socket``."""

    host: str
    https: bool
    port: int
    socket: str | None
    path: str


class Running(TypedDict):
    """An application that runs: its folders and sockets, and what of its programs may go on beside the next ones.
    ``mail`` is to whom its mail server is asked to take mail; empty where none is described.
    """

    name: str
    user: str
    config_dir: str
    virtualenv: str
    log_dir: str
    runtime_dir: str
    stop_seconds: int
    places: list[str]
    commands: list[str]
    notes: str
    statistics: str
    sockets: dict[str, str]
    queues: list[str]
    other_workers: dict[str, str]
    channel: Channel
    mail: str


class Growing(TypedDict):
    """A folder that may grow, without those ``apart`` in it, and who reads it: whoever may write there if that is
    empty. Of ``clusters`` it is one below the data of each cluster of PostgreSQL's.
    """

    name: str
    path: str
    user: str
    apart: list[str]
    clusters: bool


class Health(TypedDict, total=False):
    """What `on_host/facts/health.py` and `verify.py` take. ``space`` are paths on disks that may fill, ``logs`` folders
    of logs, ``growth`` is what may grow; ``units`` are asked for by the survey. ``mail_to`` is whom a message is sent
    to, if anybody.
    """

    survey: Survey
    units: list[str]
    space: list[str]
    logs: list[str]
    mail_to: str
    growth: list[Growing]
    sites: list[Site]
    instances: list[Running]
    pages: list[Page]


class Logs(TypedDict, total=False):
    """Patterns of logs, and of other files, for `on_host/facts/logs.py`."""

    logs: list[str]
    files: list[str]
    lines: int


# ---- further questions of a run ----


class LocalDatabase(TypedDict):
    """A database that the deploy made on this host."""

    name: str
    owner: str
    port: int


class Dump(TypedDict):
    """A dump that is due before migrations: what programs run with as far as it is known, the ``limit`` in GiB, and the
    database itself where the deploy made it on this host.
    """

    folder: str
    revision: str
    user: str
    environment: str
    limit: int
    local: LocalDatabase | None


class Migrations(TypedDict):
    """An instance's code, in its place or, of a ``release`` that isn't there yet, in the mirror of its repository."""

    name: str
    user: str
    virtualenv: str
    projects: str
    environment: dict[str, str]
    seconds: int
    release: Unpacked | None
    dump: Dump | None


class Settings(TypedDict):
    """A settings.py that the deploy writes: what it says, and where it lies."""

    text: str
    place: str


class Unpacked(TypedDict):
    """A release that is unpacked for that and removed again."""

    folder: str
    owner: str
    revision: str
    shared: tuple[str, ...]
    settings: Settings | None


class Available(TypedDict):
    """The packages of each virtualenv, with their versions."""

    packages: dict[str, dict[str, str]]


class Repository(TypedDict):
    """A release that is to be put in place."""

    folder: str
    owner: str
    repository: str
    revision: str


class Requirements(TypedDict):
    """A release that is to get an environment with Python of this version."""

    folder: str
    owner: str
    repository: str
    revision: str
    requirements: list[str]
    overrides: dict[str, str]
    python: str


class Required(TypedDict):
    """The release of each instance, and the rules of what fits."""

    releases: dict[str, Requirements]
    rules: dict[str, list[dict[str, Any]]]
    fetching: dict[str, str]


class Revisions(TypedDict):
    """The release of each instance."""

    releases: dict[str, Repository]


class Given(TypedDict):
    """A role of PostgreSQL's, and the password that the inventory gives it."""

    user: str
    password: str


class Passwords(TypedDict):
    """The port of PostgreSQL, and what is given for each instance."""

    port: int
    given: dict[str, Given]


class Bundled(TypedDict):
    """The index of a bundle's packages, and those that are to be installed."""

    index: str
    packages: list[str]


class Proxied(TypedDict):
    """The variables of the proxy, whether packages are to be fetched, and which other addresses."""

    fetching: dict[str, str]
    packages: bool
    targets: list[str]
