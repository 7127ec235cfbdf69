"""The one description of a site: its models, defaults, and every rule about valid input.

An inventory gives a dictionary under the key ``site``; `load` turns it into a `Site` or raises
`InvalidSite`, whose lines name the key, what is wrong and the mend. Everything that follows from a
value (a socket's path, a location, Django's script name) is computed here and nowhere else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

NGINX_USER = "www-data"
UWSGI_OLDEST = (2, 0, 31)

_SECRET_NAME = re.compile(r"PASS(WORD|WD)?(_|$)|SECRET|TOKEN|CREDENTIAL|PRIVATE_KEY|API_KEY", re.IGNORECASE)
# Not more digits than nginx can count.
_SIZE = r"[1-9][0-9]{0,17}|[1-9][0-9]{0,8}[kmg]"
_PATH = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._+@~-]+)+/?")
# What every managed program needs for itself; the last four are the shell's own, and dash dies of a text in OPTIND.
_RESERVED_ENVIRONMENT = {"PATH", "HOME", "VIRTUAL_ENV", "IFS", "ENV", "LD_PRELOAD", "LD_LIBRARY_PATH"}
_RESERVED_ENVIRONMENT |= {"OPTIND", "PPID", "LINENO", "_"}


class InvalidSite(ValueError):
    """The description of a site is wrong; ``lines`` has one line for each fault."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def _text(pattern: str, rule: str) -> Callable[[str], str]:
    """A validator for text that has to match as a whole; ``rule`` says what is allowed."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"{value!r} is not allowed: {rule}")
        return value

    return check


def _prefix(value: object) -> object:
    """One form for every spelling with one meaning: '' for the root, else '/a/b' without a trailing slash."""
    if not isinstance(value, str):
        return value
    if "://" in value:
        raise ValueError(f"{value!r} is a whole address: give the part below the host name alone, such as '/catmaid'")
    parts = value.strip("/").split("/") if value.strip("/") else []
    if value.startswith("//") or value.endswith("//") or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{value!r} has an empty or dotted part: write it as '/catmaid' or '/tracing/fafb/v14'")
    for part in parts:
        if not re.fullmatch(r"[A-Za-z0-9._~-]+", part):
            raise ValueError(
                f"{value!r} has more than a path in it: use letters, digits and . _ ~ - between slashes, "
                "such as '/catmaid'"
            )
    return "".join(f"/{part}" for part in parts)


def _path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError(
            f"{value!r} is not allowed: give an absolute path of letters, digits and . _ + @ ~ - between slashes"
        )
    return value.rstrip("/")


def _host_name(value: str) -> str:
    if "://" in value or "/" in value:
        bare = re.sub(r"^[a-z]+://", "", value).split("/")[0]
        raise ValueError(f"{value!r} is an address: give the host name alone, {bare!r}")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", value):
        raise ValueError(f"{value!r} is not a host name: use lower-case letters, digits, dots and hyphens")
    if len(value) > 253 or max(map(len, value.split("."))) > 63:
        raise ValueError(f"{value!r} is too long: a host name has up to 253 characters, and 63 between two dots")
    return value


def _uwsgi_version(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})+", value):
        raise ValueError(f"{value!r} is not a version: write it as '2.0.31'")
    if tuple(int(n) for n in value.split(".")) < UWSGI_OLDEST:
        raise ValueError(f"{value!r} has a reload defect: give 2.0.31 or later")
    return value


def _environment(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{name!r} is not a variable's name: use letters, digits and _")
        if name in _RESERVED_ENVIRONMENT:
            raise ValueError(f"{name} is for the deploy and its shell alone: remove it")
        if _SECRET_NAME.search(name):
            raise ValueError(
                f"{name} looks like a secret, which would show in diffs: put it into settings.py on the host"
            )
        if any(ord(c) < 32 or ord(c) == 127 for c in text):
            raise ValueError(f"the value of {name} has a control character, such as a line break: remove it")
        # Python has these for bytes that it couldn't read, in os.environ for example; no file can have them.
        if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
            raise ValueError(f"the value of {name} isn't Unicode text: write it anew")
    return value


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a whole number is needed, not True or False")
    return value


HostName = Annotated[str, AfterValidator(_host_name)]
AbsolutePath = Annotated[str, AfterValidator(_path)]
Prefix = Annotated[str, BeforeValidator(_prefix)]
UserName = Annotated[str, AfterValidator(_text(r"[a-z_][a-z0-9_-]{0,31}", "give the name of a user of the host"))]
QueueName = Annotated[str, AfterValidator(_text(r"[A-Za-z0-9._-]+", "use letters, digits and . _ -"))]
Count = Annotated[int, BeforeValidator(_no_bool), Field(strict=True)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Address(_Model):
    """Where a database or broker listens, as the host of the instance sees it."""

    host: HostName = "localhost"
    port: Annotated[Count, Field(ge=1, le=65535)]


class Celery(_Model):
    """Options of an instance's Celery worker and beat (rows 17 and 28)."""

    concurrency: Annotated[Count, Field(ge=1, le=512)] | None = Field(
        None, description="Worker processes; without it one a core, as Celery does."
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        "info", description="How much worker and beat write to their logs."
    )
    queues: tuple[QueueName, ...] = Field((), description="Queues the worker reads; without any the default one.")
    max_tasks_per_child: Annotated[Count, Field(ge=1)] | None = Field(
        None, description="A worker process is replaced after so many tasks."
    )


class Instance(_Model):
    """One CATMAID: a prefix, a checkout, a virtualenv and the four programs that serve it."""

    name: Annotated[
        str, AfterValidator(_text(r"catmaid(-[a-z0-9]+)*", "call it 'catmaid' or 'catmaid-' and a lower-case word"))
    ] = Field("catmaid", max_length=40, description="Names the folders, the Supervisor group and the nginx upstreams.")
    prefix: Prefix = Field("/catmaid", description="The URL below the host name; '/' for the root (row 4).")
    checkout: AbsolutePath = Field("/home/catmaid/catmaid-server", description="Where CATMAID's code is on the host.")
    virtualenv: AbsolutePath = Field("", description="Its Python environment; without it CHECKOUT/django/env.")
    wsgi_file: AbsolutePath = Field(
        "", description="What uWSGI loads; without it CHECKOUT/django/projects/mysite/django.wsgi."
    )
    static_folder: AbsolutePath = Field("", description="Django's STATIC_ROOT; without it CHECKOUT/django/static.")
    files_folder: AbsolutePath = Field("", description="Django's MEDIA_ROOT; without it CHECKOUT/django/files.")
    user: UserName = Field(NGINX_USER, description="The service user of all four programs (row 7).")
    runtime_group: UserName = Field(NGINX_USER, description="The group of the socket folder: nginx's (row 6).")
    runtime_mode: Annotated[str, AfterValidator(_text(r"[0-7]{3,4}", "write it as '0755' or '2750'"))] = Field(
        "", description="Mode of the socket folder; without it 0755, or 2750 for another user than nginx's (row 7)."
    )
    workers: Annotated[Count, Field(ge=1, le=512)] = Field(8, description="uWSGI worker processes (rows 3 and 24).")
    threads: Annotated[Count, Field(ge=1, le=512)] = Field(2, description="Threads in each worker.")
    body_limit: Annotated[str, AfterValidator(_text(_SIZE, "write it as '20m' (k, m, g or bytes)"))] = Field(
        "20m", description="The largest request body; more gets 413 (row 22)."
    )
    post_buffering: Annotated[Count, Field(ge=0, le=2**30)] = Field(
        8192, description="Bytes of a body that uWSGI keeps in memory before it uses a file (row 24)."
    )
    read_timeout: Annotated[Count, Field(ge=1, le=10**9)] = Field(
        600, description="Seconds that nginx waits for the application's answer."
    )
    uwsgi_version: Annotated[str, AfterValidator(_uwsgi_version)] = Field(
        "2.0.31", description="The uWSGI that the virtualenv gets (row 2)."
    )
    environment: Annotated[dict[str, str], AfterValidator(_environment)] = Field(
        {}, description="Environment variables of the four programs. Not for secrets."
    )
    database: Address | None = Field(
        None, description="PostgreSQL's address; given, a deploy warns when nothing answers there."
    )
    broker: Address | None = Field(None, description="The broker's address; given, the same check.")
    celery: Celery = Field(
        default_factory=lambda: Celery.model_validate({}), description="Options of the Celery worker and beat."
    )

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: Any) -> Any:
        """Fill what follows from other values; a wrong type is left for the field's own message."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        checkout = data.get("checkout", cls.model_fields["checkout"].default)
        if not isinstance(checkout, str) or not _PATH.fullmatch(checkout):
            checkout = "/invalid"  # one line for a wrong checkout, none for what follows from it
        django = checkout.rstrip("/") + "/django"
        data.setdefault("virtualenv", f"{django}/env")
        data.setdefault("wsgi_file", f"{django}/projects/mysite/django.wsgi")
        data.setdefault("static_folder", f"{django}/static")
        data.setdefault("files_folder", f"{django}/files")
        same_user = data.get("user", NGINX_USER) == NGINX_USER
        data.setdefault("runtime_mode", "0755" if same_user else "2750")
        return data

    @model_validator(mode="after")
    def _check(self) -> Instance:
        if self.user == "root":
            raise ValueError("user: root must not serve web pages: give another user")
        # nginx opens the sockets through the folder's group, and so the folder hands its group on (row 7).
        mode = int(self.runtime_mode, 8)
        if mode & 0o700 != 0o700:
            raise ValueError(f"runtime_mode: {self.runtime_mode} keeps {self.user} out of its own folder: add 0700")
        if self.user != NGINX_USER and self.runtime_group == NGINX_USER and not mode & 0o2000:
            raise ValueError(
                f"runtime_mode: {self.runtime_mode} has no setgid bit, and nginx could not open the sockets of "
                f"{self.user}: use 2750"
            )
        return self

    # What follows from the name.
    @property
    def runtime_dir(self) -> str:
        return f"/run/{self.name}"

    @property
    def private_dir(self) -> str:
        """Below the socket folder, for the service user alone: the statistics socket (row 25)."""
        return f"{self.runtime_dir}/private"

    @property
    def private_mode(self) -> str:
        """0700; below a setgid folder with that bit too, which new folders get and a chmod 700 leaves."""
        return "2700" if int(self.runtime_mode, 8) & 0o2000 else "0700"

    @property
    def log_dir(self) -> str:
        return f"/var/log/{self.name}"

    @property
    def state_dir(self) -> str:
        """What has to outlive a reboot: beat's schedule."""
        return f"/var/lib/{self.name}"

    @property
    def config_dir(self) -> str:
        return f"/etc/catmaid/{self.name}"

    @property
    def uwsgi_socket(self) -> str:
        return f"{self.runtime_dir}/uwsgi.socket"

    @property
    def daphne_socket(self) -> str:
        return f"{self.runtime_dir}/daphne.sock"

    # What follows from the prefix (rows 4, 8, 20, 21).
    @property
    def location(self) -> str:
        """The prefix with its trailing slash, as nginx and Django's CATMAID_URL write it."""
        return f"{self.prefix}/"

    @property
    def mount(self) -> str:
        """The prefix as uWSGI's mount option wants it: no trailing slash, '/' for the root."""
        return self.prefix or "/"

    @property
    def projects_dir(self) -> str:
        return f"{self.checkout}/django/projects"

    @property
    def settings_file(self) -> str:
        return f"{self.projects_dir}/mysite/settings.py"


class Site(_Model):
    """What one nginx serves under one host name."""

    server_name: HostName = Field(description="The host name in users' browsers.")
    aliases: tuple[HostName, ...] = Field((), description="Other host names of the same site.")
    instances: tuple[Instance, ...] = Field(description="The CATMAIDs behind it.")

    @model_validator(mode="after")
    def _check(self) -> Site:
        if not self.instances:
            raise ValueError("instances: there is none: describe at least one")
        names = [self.server_name, *self.aliases]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"aliases: the name {name!r} stands twice: remove one")
        for what, values in (
            ("name", [i.name for i in self.instances]),
            ("prefix", [i.location for i in self.instances]),
        ):
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f"instances: two have the {what} {value!r}: give each its own")
        for one in self.instances:
            for other in self.instances:
                for folder in ("static/", "files/", "channels/"):
                    if one is not other and one.location.startswith(other.location + folder):
                        raise ValueError(
                            f"instances: the prefix {one.prefix!r} lies in {other.location + folder}, "
                            f"which belongs to {other.name}: give {one.name} another prefix"
                        )
        return self

    @property
    def urls(self) -> list[str]:
        return [f"http://{self.server_name}{instance.location}" for instance in self.instances]


def _place(location: Iterable[str | int]) -> str:
    text = ""
    for part in location:
        # A key may have a line break in it, and a line is to stay one.
        text += f"[{part}]" if isinstance(part, int) else f".{part if part.isprintable() else repr(part)}"
    return "site" + text


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys allowed where an unknown one was found."""
    model: type[BaseModel] = Site
    for part in location:
        if part == "instances":
            model = Instance
        elif part == "celery":
            model = Celery
        elif part in ("database", "broker"):
            model = Address
    return list(model.model_fields)


_PLAIN = {
    "string_type": "text is needed",
    "int_type": "a whole number is needed",
    "dict_type": "a dictionary is needed",
    "model_type": "a dictionary is needed",
    "tuple_type": "a list is needed",
}


def _explain(error: ErrorDetails) -> str:
    location, kind = error["loc"], error["type"]
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        mend = f"did you mean {close[0]!r}?" if close else "known are: " + ", ".join(known)
        return f"{_place(location)}: unknown key; {mend}"
    if kind == "missing":
        return f"{_place(location)}: missing: add it"
    if kind in _PLAIN:
        return f"{_place(location)}: {_PLAIN[kind]}, not {error['input']!r}"
    message = error["msg"].removeprefix("Value error, ")
    if kind.startswith(("greater_than", "less_than", "literal", "too_", "string_too")):
        message = f"{error['input']!r} is not allowed: {message[0].lower()}{message[1:]}"
    if kind == "value_error" and not location and message.startswith(("instances:", "aliases:")):
        return f"site.{message}"
    # A rule over several keys of one model names its key first.
    named = re.match(r"([a-z_]+): ", message) if kind == "value_error" else None
    if named and named.group(1) in Instance.model_fields and not str(location[-1]).startswith(named.group(1)):
        return f"{_place(location)}.{message}"
    return f"{_place(location)}: {message}"


def load(data: object) -> Site:
    """Validate what an inventory says under ``site``.

    Raises InvalidSite with a line for each fault.
    """
    if data is None:
        raise InvalidSite(["site: missing: describe the site in the inventory, as inventories/prod.py does"])
    try:
        return Site.model_validate(data)
    except ValidationError as error:
        raise InvalidSite([_explain(e) for e in error.errors()]) from None
