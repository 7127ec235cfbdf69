"""What a host answers to the look before a deploy; `on_host/facts/survey.py`."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from catmaid_deploy.answers import Answer
from catmaid_deploy.answers.application import Instance
from catmaid_deploy.answers.installed import Bundle, Installed, Secrets
from catmaid_deploy.answers.postgresql import Postgresql
from catmaid_deploy.answers.rabbitmq import Rabbitmq

# ---- the host as a whole ----


class System(TypedDict):
    """The distribution, by /etc/os-release.

    >>> debian: System = {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12 (bookworm)"}
    """

    id: str
    version: str
    name: str


class Free(TypedDict):
    """The free bytes of the file system that holds ``path``."""

    path: str
    mount: str
    bytes: int


class Listener(TypedDict):
    """A process that listens on a port, with the service that starts it."""

    pid: int
    unit: str | None


class Holder(TypedDict):
    """The process that installs packages now."""

    pid: int
    name: str


class Unit(TypedDict):
    """A unit, as systemd has it. ``masked`` says in which way, or is empty; ``command`` and ``files`` are in systemd's
    own words.
    """

    active: bool
    enabled: bool
    failed: bool
    since: float
    ending: bool
    masked: str
    needs_daemon_reload: bool
    command: str
    files: list[str]


class Account(TypedDict):
    """A user with all its groups."""

    uid: int
    groups: list[str]


class Directory(TypedDict):
    """The groups in the host's own file, and whether users may come from elsewhere, such as LDAP."""

    groups: list[str]
    is_asked: bool


class Run(TypedDict, total=False):
    """What the host has noted of the last run; empty before the first one.

    ``ended`` is True, "failed" or "cut", and isn't there while the run lasts; ``did`` is there for as long.
    ``host_version`` is the version that the host has by it.

    >>> done: Run = {"run": "5e0c", "admin": "ada@desk", "revision": "1c2d3e4", "since": "2026-11-27 22:21",
    ...              "version": "0.2.0", "host_version": "0.2.0", "ended": True, "changed": "nginx: reload"}
    """

    run: str
    admin: str
    revision: str
    since: str
    version: str | None
    host_version: str | None
    did: list[str]
    ended: bool | str
    changed: str


class Lock(TypedDict):
    """The run that has the host. ``session`` is its SSH session, as process and start; ``alive`` is false when that
    has ended.
    """

    run: str
    admin: str
    revision: str
    since: str
    version: str | None
    host_version: str | None
    session: tuple[int, str] | None
    time: float
    alive: bool


# ---- files and folders ----


class Entry(TypedDict):
    """What is at a path. A link has ``target``; a file has its digests, and ``text`` where everybody may read it: of a
    ``large`` one the beginning.

    >>> link: Entry = {"kind": "link", "user": "root", "group": "root", "mode": "777", "time": 1.7e9,
    ...                "target": "/opt/catmaid"}
    """

    kind: Literal["file", "folder", "link", "other"]
    user: str
    group: str
    mode: str
    time: float
    target: NotRequired[str]
    sha256: NotRequired[str]
    md5: NotRequired[str]
    text: NotRequired[str]
    large: NotRequired[bool]


class ServedFolder(TypedDict):
    """A folder that nginx serves: where it leads to, what it holds that nobody wants to be read, as kind and name, and
    the names of links that nginx doesn't follow.
    """

    real: str
    holds: list[tuple[str, str]]
    links: list[str]


class Tiles(TypedDict):
    """A tile set: whether its folder, proof, fallback image and disk are there, and who may write there."""

    folder: bool
    proof: bool
    fallback: bool
    mounted: bool
    is_mount: bool
    in_fstab: bool
    writers: list[str]


# ---- certificates ----


class Certificate(TypedDict):
    """A certificate with its key. ``problem`` is a word for what is wrong, or empty, and ``of_key`` says whether it is
    the key's. ``seconds_left`` and ``lifetime`` are in seconds, ``time`` is when a file was last written.
    """

    problem: str
    of_key: bool
    names: list[str]
    missing_names: list[str]
    seconds_left: float
    lifetime: float
    time: float
    digest: str


class Key(TypedDict):
    """Whose a key is, and which of the users that serve the web can read it."""

    user: str
    group: str
    mode: str
    readers: list[str]


class Lineage(TypedDict):
    """A certificate that certbot renews, in certbot's words. ``others`` are options by which it does more than that,
    and ``kept`` are names that no site has.
    """

    server: str
    authenticator: str
    webroots: list[str]
    others: list[str]
    deploy_hook: str
    credentials: str
    wait: str
    names: list[str]
    kept: list[str]


# ---- nginx and Supervisor ----


class Nginx(TypedDict):
    """The running nginx: the digest of its configuration, and since when its workers run."""

    digest: str | None
    since: float | None
    workers: int


class Neighbour(TypedDict):
    """What another's site needs and nginx's own user doesn't reach: the site's file, the path and the missing right."""

    file: str
    path: str
    in_group: bool
    right: str


class Program(TypedDict):
    """A program of Supervisor's. ``config`` is what Supervisor has in memory of its section. ``digest``,
    ``group_digest`` and ``code`` are what it noted at its start; ``replaced`` says that the file it runs was replaced.
    """

    state: str
    pid: int | None
    config: dict[str, str]
    digest: str | None
    group_digest: str | None
    code: str | None
    memory: int
    processes: int
    replaced: bool


class SupervisorFile(TypedDict):
    """Supervisor's own file. ``problem`` is what a deploy can't live with, and the fix; ``of_others`` are files that
    others may change, each with who that is.
    """

    socket: str
    log: str
    patterns: list[str]
    problem: tuple[str, str] | None
    is_controlled: bool
    is_newer: bool
    of_others: list[tuple[str, str]]


# ---- what users would see ----


class Wrong(TypedDict):
    """Something that the host found wrong with what it serves. The fix is ``command``, a deploy, or ``todo`` in words.
    A page that answers has its ``status``.

    >>> off: Wrong = {"place": "nginx", "what": "it doesn't run: users reach nothing", "command":
    ...               "systemctl start nginx", "todo": "", "by_deploy": False, "status": 0}
    """

    place: str
    what: str
    command: str
    todo: str
    by_deploy: bool
    status: int


class Asked(TypedDict):
    """What users would see. ``blocked`` keeps a deploy from its work, ``standing`` is what it leaves as it is;
    ``served`` are addresses, ``programs`` a word about each, ``certificates`` the digest that each name shows.
    """

    blocked: list[Wrong]
    standing: list[Wrong]
    wrong: list[Wrong]
    served: list[str]
    programs: dict[str, str]
    certificates: dict[str, str]


# ---- the look before a deploy ----


class Environment(TypedDict):
    """A release's environment: whether it is complete, and whether what it takes to compile has been kept from another.
    Of one that is to be made also the version of its Python, whether that has its headers, or its ``problem``.
    """

    there: bool
    built: bool
    python: str
    header: bool
    problem: str


class Survey(TypedDict):
    """What a host answers to a deploy's own questions; `on_host/facts/survey.py`.

    + memory, memory_available, swap, memory_elsewhere: in bytes; ``work_mem``, PostgreSQL's, in kB
    + ports: the listeners of each port by their name
    + descriptors: how many a process of root's may have
    + default_servers: files of others that answer names which nobody has, each with what it listens on
    + own_locations: the digest of what an admin has added to each site
    + nginx_files_of_others: files that others may change, each with who that is
    + closed: the flags that close instances, with their text
    + manifest: the paths that were deployed with their digests, by set
    + as_it_came: the digests of packages' own files
    + blocked: for each access asked about the part that keeps the user out, and whose right is missing
    + compiler: the packages that a run has brought to compile with
    + hanging: what gave no answer in time: the user, the path, and where its disk is mounted
    + supervisor: its programs; None where it doesn't run
    + postgresql: None where the deploy has nothing to do with it
    + asks_password: whether it wants another password than its file has
    """

    os: System
    systemd: bool
    ipv6: bool
    memory: int | None
    memory_available: int | None
    swap: int
    memory_elsewhere: int
    work_mem: int | None
    processors: int
    somaxconn: int
    ports: dict[str, dict[str, Listener]]
    descriptors: int
    openssl: list[int]
    lineages: dict[str, Lineage]
    default_servers: list[tuple[str, str]]
    own_locations: dict[str, str]
    nginx_files_of_others: list[tuple[str, str]]
    closed: dict[str, str]
    package_manager: Holder | None
    manifest: dict[str, dict[str, str]]
    lock: Lock | None
    accounts: dict[str, Account | None]
    directory: Directory
    password_lines: list[str]
    last_run: Run
    certificates: dict[str, Certificate]
    keys: dict[str, Key]
    tiles: dict[str, Tiles]
    free: list[Free]
    files: dict[str, Entry | None]
    secrets: dict[str, Secrets]
    installed: dict[str, Installed]
    rabbitmq: Rabbitmq
    environments: dict[str, Environment]
    compiler: list[str]
    bundle: Bundle
    blocked: list[tuple[str, str] | None]
    neighbours: list[Neighbour]
    hanging: list[tuple[str, str, str]]
    served_folders: dict[str, ServedFolder]
    nginx: Nginx
    supervisor: dict[str, Program] | None
    asks_password: bool
    instances: dict[str, Instance]
    packages: dict[str, str]
    as_it_came: dict[str, str]
    units: dict[str, Unit]
    supervisor_file: SupervisorFile | None
    postgresql: Postgresql | None
    asked: Asked


class Surveyed(Survey, Answer):
    """The survey as a script's own answer."""


NO_UNIT: Unit = {
    "active": False,
    "enabled": False,
    "failed": False,
    "since": 0.0,
    "ending": False,
    "masked": "",
    "needs_daemon_reload": False,
    "command": "",
    "files": [],
}


def unit_of(survey: Survey, name: str) -> Unit:
    """A unit's state, also of one that isn't there."""
    return survey["units"].get(name, NO_UNIT)


def target_of(survey: Survey, path: str | None) -> str | None:
    """Where a link leads; None where there is none."""
    entry = survey["files"].get(path) if path else None
    return entry.get("target") if entry else None
