"""CATMAID from nothing: what the deploy makes itself, and what it finds as somebody has installed it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, SecretStr, Tag, ValidationError, model_validator
from pydantic.fields import FieldInfo

from catmaid_deploy.schema.hidden import Password
from catmaid_deploy.schema.releases import Releases
from catmaid_deploy.schema.values import (
    EMAIL,
    AbsolutePath,
    HostName,
    Model,
    Port,
    like,
    valid_inside,
    valid_line,
    valid_version,
)

# A name in PostgreSQL that needs no quotes anywhere, and in RabbitMQ no escapes in an address.
NAME = r"[a-z][a-z0-9_]{0,62}"


def valid_service_name(value: str) -> str:
    like(NAME, "write it in lower-case letters, digits and _, beginning with a letter")(value)
    if value in RESERVED or value.startswith("pg_"):
        raise ValueError(f"{value!r} is the service's own: give another name")
    return value


# Among the releases, where the environments lie that the deploy makes.
ENVIRONMENTS = "environments"
# One package, with the versions that are allowed.
BOUND = r"[=<>!~]=?[A-Za-z0-9.*+!]+"
REQUIREMENT = rf"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?({BOUND}(,{BOUND})*)?"
PACKAGE = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
# Django's own rule for the name of a user.
USER = r"[A-Za-z0-9@.+_-]{1,150}"
ZONE = r"[A-Za-z]+([/_+-][A-Za-z0-9]+)*"
# Names that a database server or a broker has for itself.
RESERVED = ("postgres", "public", "none", "template0", "template1", "guest")


def valid_fragment(value: str) -> str:
    """Python that can be compiled; it is not run here."""
    try:
        compile(value, "fragment", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = f"line {error.lineno}" if isinstance(error, SyntaxError) else "it"
        raise ValueError(f"{line} is no Python ({getattr(error, 'msg', error)}): correct it") from None
    return value


def valid_overrides(value: dict[str, str]) -> dict[str, str]:
    for name, version in value.items():
        if not re.fullmatch(PACKAGE, name):
            raise ValueError(f"{name!r} is not the name of a package: write it as on PyPI, such as 'scipy'")
        if not re.fullmatch(r"[0-9][A-Za-z0-9.+!]*", version):
            raise ValueError(f"{version!r} is not a version of {name}: write it as '1.10.1'")
    return value


class Administrator(Model):
    """The first administrator of an instance: made once, and never changed afterwards."""

    name: Annotated[str, AfterValidator(like(USER, "use letters, digits and @ . + - _"))] = Field(
        examples=["alice"], description="The name with which the administrator signs in."
    )
    email: Annotated[str, AfterValidator(like(EMAIL, "give an e-mail address"))] = Field(
        examples=["alice@example.org"], description="The administrator's e-mail address."
    )
    password: Password | None = Field(
        None,
        examples=[SecretStr("x" * 20)],
        description="The first password, read by `secret`; by default the host makes one, for root alone.",
    )
    token: bool = Field(
        False,
        examples=[True],
        description="Whether the administrator gets an API token, with the permission to write by it.",
    )


class Project(Model):
    """A first project of an instance: made once, and never changed afterwards."""

    title: Annotated[str, AfterValidator(valid_line)] = Field(
        min_length=1, max_length=200, examples=["FAFB"], description="The project's title."
    )
    comment: Annotated[str, AfterValidator(valid_line)] = Field(
        "", max_length=1000, examples=["A whole adult fly brain"], description="What is said of it beside."
    )


class Python(Model):
    """The Python environments of an instance: one per release, with what that release requires."""

    executable: AbsolutePath | None = Field(
        None,
        examples=["/opt/python3.11/bin/python3.11"],
        description="The Python that environments are made of; by default the system's, `/usr/bin/python3`.",
    )
    requirements: tuple[Annotated[str, AfterValidator(valid_inside)], ...] = Field(
        ("django/requirements.txt", "django/requirements-async.txt"),
        examples=[["django/requirements.txt", "django/requirements-async.txt", "django/requirements-optional.txt"]],
        description="The release's files with its required packages.",
    )
    packages: tuple[Annotated[str, AfterValidator(like(REQUIREMENT, "write it as 'h5py==3.8.0'"))], ...] = Field(
        (), examples=[["h5py==3.8.0"]], description="Packages beside those that the release requires."
    )
    overrides: Annotated[dict[str, str], AfterValidator(valid_overrides)] = Field(
        {},
        examples=[{"scipy": "1.10.1"}],
        description="Packages with the version that they get whatever the release requires. What this Python needs "
        "is known and doesn't have to be given.",
    )
    uv_version: Annotated[str, AfterValidator(valid_version)] = Field(
        "0.11.2", examples=["0.11.2"], description="The version of uv, which makes the environments."
    )


class Service(Model):
    """A service that an instance needs: on this host, installed by the deploy, or on another one."""

    host: HostName | None = Field(
        None,
        examples=["db.example.org"],
        description="Where it is, as this host sees it; by default on this host, installed by the deploy.",
    )
    user: Annotated[str, AfterValidator(valid_service_name)] = Field(
        "catmaid",
        examples=["catmaid_fafb"],
        description="With which user CATMAID signs in there; by default the instance's name, with _ for -.",
    )
    password: Password | None = Field(
        None,
        examples=[SecretStr("x" * 20)],
        description="The user's password, read by `secret`; by default the host makes one, unless it is elsewhere.",
    )


class Database(Service):
    """An instance's own database at PostgreSQL."""

    port: Port = Field(5432, examples=[5433], description="PostgreSQL's port.")
    name: Annotated[str, AfterValidator(valid_service_name)] = Field(
        "catmaid",
        examples=["catmaid_fafb"],
        description="The database, which the user owns; by default the instance's name, with _ for -.",
    )


class Broker(Service):
    """An instance's own virtual host at RabbitMQ."""

    port: Port = Field(5672, examples=[5673], description="RabbitMQ's port.")
    vhost: Annotated[str, AfterValidator(valid_service_name)] = Field(
        "catmaid",
        examples=["catmaid_fafb"],
        description="The virtual host; by default the instance's name, with _ for -.",
    )


class Mail(Model):
    """The server by which CATMAID sends mail."""

    host: HostName = Field(examples=["mail.example.org"], description="The mail server, as this host sees it.")
    port: Port = Field(587, examples=[465], description="Its port.")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", examples=["tls"], description="How the connection is encrypted."
    )
    user: Annotated[str, AfterValidator(like(r"[!-~]{1,200}", "give the name that the mail server knows"))] | None = (
        Field(None, examples=["catmaid"], description="The name with which CATMAID signs in there, if it has to.")
    )
    password: Password | None = Field(
        None, examples=[SecretStr("x" * 20)], description="The password for that, read by `secret`."
    )
    sender: Annotated[str, AfterValidator(like(EMAIL, "give an e-mail address"))] = Field(
        examples=["catmaid@example.org"], description="The address that CATMAID's mail comes from."
    )

    @model_validator(mode="after")
    def _check(self) -> Mail:
        if (self.user is None) != (self.password is None):
            raise ValueError("user: user and password belong together: give both or none")
        return self


class Settings(Model):
    """CATMAID's settings.py, as the deploy writes it."""

    secret_key: Password | None = Field(
        None,
        examples=[SecretStr("x" * 20)],
        description="Django's SECRET_KEY, read by `secret`, of users' sessions; by default the host makes one.",
    )
    time_zone: Annotated[str, AfterValidator(like(ZONE, "write it as 'Europe/Berlin' or 'UTC'"))] = Field(
        "UTC", examples=["Europe/Berlin"], description="The time zone in which CATMAID shows times."
    )
    mail: Mail | None = Field(
        None,
        examples=[{"host": "mail.example.org", "sender": "catmaid@example.org"}],
        description="How CATMAID sends mail; without it, it sends none.",
    )
    fragment: Annotated[str, AfterValidator(valid_fragment)] = Field(
        "",
        max_length=60_000,
        examples=["USER_REGISTRATION_ALLOWED = True\n"],
        description="Python of the lab's own at the end of settings.py, as text or read from a file by "
        "`Path(...).read_text()`. It finds the values of `secrets` under their names in `SECRETS`.",
    )
    secrets: dict[Annotated[str, AfterValidator(valid_service_name)], Password] = Field(
        {},
        examples=[{"ldap_password": SecretStr("x" * 20)}],
        description="Secrets for the fragment, read by `secret`. They lie on the host in a file of root's that the "
        "service user may read.",
    )


Found = Literal["found"]
FOUND: Found = "found"
# Not keys: by these a value is told to be one or the other before it is checked, so that of two checks that fail no
# line comes, which would repeat what is secret.
TAGS = MADE_TAG, FOUND_TAG = "<made>", "<found>"


def _tag(value: object) -> str:
    return FOUND_TAG if isinstance(value, str) else MADE_TAG


_FOUND = Annotated[Found, Tag(FOUND_TAG)]
MadePython = Annotated[Annotated[Python, Tag(MADE_TAG)] | _FOUND, Discriminator(_tag)]
MadeDatabase = Annotated[Annotated[Database, Tag(MADE_TAG)] | _FOUND, Discriminator(_tag)]
MadeBroker = Annotated[Annotated[Broker, Tag(MADE_TAG)] | _FOUND, Discriminator(_tag)]
MadeSettings = Annotated[Annotated[Settings, Tag(MADE_TAG)] | _FOUND, Discriminator(_tag)]


class Install(Model):
    """What of an instance the deploy makes itself. A part that is `"found"` is used as somebody has installed it."""

    administrator: Administrator | None = Field(
        None,
        examples=[{"name": "alice", "email": "alice@example.org"}],
        description="The first administrator, whom the deploy makes if the database has none.",
    )
    projects: tuple[Project, ...] = Field(
        (),
        examples=[[{"title": "FAFB"}]],
        description="The first projects, made once, if there is none, with all permissions for the administrator.",
    )
    python: MadePython = Field(
        default_factory=lambda: Python.model_validate({}),
        examples=["found"],
        description="The Python environments, one per release.",
    )
    database: MadeDatabase = Field(
        default_factory=lambda: Database.model_validate({}),
        examples=[{"host": "db.example.org", "password": SecretStr("x" * 20)}],
        description="The database.",
    )
    broker: MadeBroker = Field(
        default_factory=lambda: Broker.model_validate({}),
        examples=["found"],
        description="The virtual host at RabbitMQ.",
    )
    settings: MadeSettings = Field(
        default_factory=lambda: Settings.model_validate({}),
        examples=[{"time_zone": "Europe/Berlin"}],
        description="CATMAID's settings.py. Found ones know their own database and broker.",
    )


# ---- what follows from other keys of an instance ----


def named(data: Any, name: str, first: str) -> Any:
    """Fill the two names that follow from an instance's, ``first`` and the user's; a wrong type is left as it is."""
    if not isinstance(data, dict):
        return data
    data = dict(data)
    given = data.setdefault(first, name)
    data.setdefault("user", given if isinstance(given, str) else name)
    return data


def with_names(data: dict[str, Any]) -> Any:
    """What an inventory says under `install`, with the names that follow from the instance's."""
    install = data.get("install")
    if not isinstance(install, dict):
        return install
    name = str(data.get("name", "catmaid")).replace("-", "_")
    firsts = {"database": "name", "broker": "vhost"}
    return install | {part: named(install.get(part, {}), name, first) for part, first in firsts.items()}


def with_folder(data: dict[str, Any]) -> Any:
    """What it says under `releases`: of several that are installed, each has a folder of its own."""
    releases, name = data.get("releases"), data.get("name", "catmaid")
    if isinstance(releases, dict) and isinstance(data.get("install"), dict) and name != "catmaid":
        folder = Releases.model_fields["folder"].default
        releases = {"folder": f"{folder}-{str(name).removeprefix('catmaid-')}"} | releases
    if isinstance(releases, dict) and writes_settings(data):
        # What the deploy writes, and the repository's own wsgi.py, isn't put there by anybody.
        releases = {"shared": ()} | releases
    return releases


def writes_settings(data: dict[str, Any]) -> bool:
    install = data.get("install")
    return isinstance(install, dict) and install.get("settings") != FOUND


# What a web server is installed by.
_VERSIONS = ("wsgi_server", "uwsgi_version", "gunicorn_version", "gevent_version")


def environment_of(data: dict[str, Any], defaults: Mapping[str, FieldInfo]) -> str:
    """A short digest of all that an inventory says of a release's environment; empty where it is found."""
    install = data.get("install")
    python = install.get("python", {}) if isinstance(install, dict) else FOUND
    if python == FOUND:
        return ""
    try:
        made = Python.model_validate(python).model_dump(exclude={"uv_version"})
    except ValidationError:
        return "invalid"  # the key has its own line
    versions = [str(data.get(key, defaults[key].default)) for key in _VERSIONS]
    return hashlib.sha256(json.dumps([made, versions], sort_keys=True).encode()).hexdigest()[:8]


def made_addresses(install: Any) -> dict[str, dict[str, Any]]:
    """Where the database and the broker are that the deploy makes or describes."""
    found = {}
    for part, model in (("database", Database), ("broker", Broker)):
        made = install.get(part) if isinstance(install, dict) else FOUND
        if isinstance(made, dict):
            port = made.get("port", model.model_fields["port"].default)
            found[part] = {"host": made.get("host") or "localhost", "port": port}
    return found


class Installed:
    """What of an instance the deploy makes, and whether its other keys go with that."""

    if TYPE_CHECKING:
        install: Install | None
        releases: Releases | None
        virtualenv: str

        def addresses(self) -> dict[str, tuple[str, int] | None]: ...

    @property
    def made_python(self) -> Python | None:
        """How the deploy makes its environments; None where somebody else does."""
        return self.install.python if self.install and self.install.python != FOUND else None

    @property
    def made_database(self) -> Database | None:
        """The database that the deploy's settings name; None where those that are found do."""
        return self.install.database if self.install and self.install.database != FOUND else None

    @property
    def made_broker(self) -> Broker | None:
        """The broker that the deploy's settings name; None where those that are found do."""
        return self.install.broker if self.install and self.install.broker != FOUND else None

    @property
    def made_settings(self) -> Settings | None:
        """What the deploy writes into settings.py; None where somebody else does."""
        return self.install.settings if self.install and self.install.settings != FOUND else None

    def check_install(self, install: Install) -> None:
        if not self.releases:
            raise ValueError("releases: nothing says what to install: name its revision")
        if install.projects and not install.administrator:
            raise ValueError("install.projects: they are the administrator's: give install.administrator as well")
        if install.python != FOUND and f"/{ENVIRONMENTS}/" not in self.virtualenv:
            raise ValueError(
                'virtualenv: install.python makes one per release: remove this one, or have that be "found"'
            )
        for part, one in (("database", install.database), ("broker", install.broker)):
            if one != FOUND and one.host and not one.password:
                raise ValueError(f"install.{part}.password: {one.host} has to know it: read it by secret.from_file")
            if install.settings == FOUND and one != FOUND:
                raise ValueError(
                    f'install.{part}: settings that are found know their own: have it be "found" as well, or have the '
                    "deploy write the settings"
                )
        # What it makes needs the address, and that of the other key would be another.
        for part, one in (("database", install.database), ("broker", install.broker)):
            if one != FOUND and self.addresses()[part] != (one.host or "localhost", one.port):
                raise ValueError(f"{part}: install.{part} says where it is: remove this one")
