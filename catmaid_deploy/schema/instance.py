"""An instance of CATMAID: its code, programs, and every path that follows from its name."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from catmaid_deploy.schema.hidden import HASH_EXAMPLE, Passwords
from catmaid_deploy.schema.install import (
    ENVIRONMENTS,
    Install,
    Installed,
    environment_of,
    made_addresses,
    with_folder,
    with_names,
    writes_settings,
)
from catmaid_deploy.schema.paths import Paths
from catmaid_deploy.schema.programs import FOUR, Celery, Kind, Program
from catmaid_deploy.schema.releases import Releases
from catmaid_deploy.schema.values import (
    PATH,
    REVISION,
    SERVICE_USER,
    SOCKET_GROUP,
    AbsolutePath,
    Count,
    HostName,
    Model,
    PlainUserName,
    Port,
    Prefix,
    Size,
    Status,
    like,
    valid_environment,
    valid_gunicorn_version,
    valid_instance_name,
    valid_uwsgi_version,
    valid_version,
    valid_wsgi_file,
)
from catmaid_deploy.schema.web import Cors


class Address(Model):
    """Where a database or broker listens, as the host of the instance sees it."""

    host: HostName = Field("localhost", examples=["db.example.org"], description="The host name or address.")
    port: Port = Field(
        examples=[5432], description="The port, usually 5432 for PostgreSQL, 5672 for RabbitMQ, 6379 for Redis."
    )


class Instance(Model, Paths, Installed):
    """One CATMAID: a prefix, a checkout, a virtualenv and the programs that serve it."""

    name: Annotated[
        str,
        AfterValidator(valid_instance_name),
    ] = Field(
        "catmaid",
        max_length=40,
        examples=["catmaid-fafb"],
        description="The name of the instance's folders, Supervisor group and nginx upstreams.",
    )
    prefix: Prefix = Field(
        "/catmaid", examples=["/tracing/fafb/v14"], description="The URL below the host name; '/' for the root."
    )
    checkout: AbsolutePath = Field(
        "/home/catmaid/catmaid-server",
        examples=["/home/catmaid/fafb"],
        description="Where CATMAID's code is on the host.",
    )
    releases: Releases | None = Field(
        None,
        examples=[{"repository": "https://github.com/catmaid/CATMAID.git", "revision": "2021.12.21"}],
        description="With it, the deploy puts the code in place itself, and `checkout` is the folder of the release.",
    )
    install: Install | None = Field(
        None,
        examples=[{"administrator": {"name": "alice", "email": "alice@example.org"}}],
        description="With it, the deploy installs CATMAID itself: Python, database, broker, settings and the first "
        "administrator.",
    )
    virtualenv: AbsolutePath = Field(
        "", examples=["/home/catmaid/env"], description="Its Python environment; by default CHECKOUT/django/env."
    )
    wsgi_file: Annotated[str, AfterValidator(valid_wsgi_file)] = Field(
        "",
        examples=["/home/catmaid/fafb/django/projects/mysite/django.wsgi"],
        description="The file that uWSGI loads; by default CHECKOUT/django/projects/mysite/django.wsgi.",
    )
    static_folder: AbsolutePath = Field(
        "", examples=["/data/catmaid/static"], description="Django's STATIC_ROOT; by default CHECKOUT/django/static."
    )
    files_folder: AbsolutePath = Field(
        "", examples=["/data/catmaid/files"], description="Django's MEDIA_ROOT; by default CHECKOUT/django/files."
    )
    extensions_folder: AbsolutePath = Field(
        "",
        examples=["/data/catmaid/staticext"],
        description="CATMAID's STATIC_EXTENSION_ROOT; by default CHECKOUT/django/staticext.",
    )
    user: PlainUserName = Field(
        SERVICE_USER, examples=["catmaid"], description="The system user that runs the instance's programs."
    )
    runtime_group: PlainUserName = Field(
        SOCKET_GROUP,
        examples=["catmaid-web"],
        description="The group of the folder with the sockets, through which nginx opens them.",
    )
    runtime_mode: Annotated[str, AfterValidator(like(r"[0-7]{3,4}", "write it as '0755' or '2750'"))] = Field(
        "",
        examples=["2750"],
        description="The mode of the folder with the sockets; by default 0755, or 2750 if `user` isn't www-data.",
    )
    workers: Annotated[Count, Field(ge=1, le=512)] = Field(
        8,
        examples=[16],
        json_schema_extra={"unit": "processes"},
        description="Worker processes of the web server, which answer requests.",
    )
    threads: Annotated[Count, Field(ge=1, le=512)] = Field(
        2, examples=[4], json_schema_extra={"unit": "threads per process"}, description="Threads in each worker."
    )
    body_limit: Size = Field(
        "20m",
        examples=["1g"],
        json_schema_extra={"unit": "bytes, or with k, m, g"},
        description="The largest request body; a larger one gets 413.",
    )
    post_buffering: Annotated[Count, Field(ge=0, le=2**30)] = Field(
        8192,
        examples=[65536],
        json_schema_extra={"unit": "bytes"},
        description="How much of a body uWSGI keeps in memory before it uses a file.",
    )
    read_timeout: Annotated[Count, Field(ge=1, le=10**9)] = Field(
        600,
        examples=[1800],
        json_schema_extra={"unit": "seconds"},
        description="How long nginx waits for the application's answer.",
    )
    # nginx counts up to 65,535 WebSockets.
    requests_per_address: Annotated[Count, Field(ge=8, le=16000)] = Field(
        72,
        examples=[256],
        json_schema_extra={"unit": "requests"},
        description="How many open requests to the application one address (for IPv6, one /64) may have; more "
        "get 429. One session may have three eighths of them, all requests without a session "
        "seven eighths. For WebSockets it is four times as many.",
    )
    wsgi_server: Literal["uwsgi", "gunicorn", "gevent"] = Field(
        "uwsgi",
        examples=["gunicorn"],
        description="What runs the application: uWSGI, Gunicorn with threads, or Gunicorn with gevent.",
    )
    gunicorn_version: Annotated[str, AfterValidator(valid_gunicorn_version)] = Field(
        "27.0.1",
        examples=["27.0.1"],
        description="The version of Gunicorn for the virtualenv, if `wsgi_server` needs it; it needs Python 3.10.",
    )
    gevent_version: Annotated[str, AfterValidator(valid_version)] = Field(
        "26.9.0",
        examples=["26.9.0"],
        description="The version of gevent for the virtualenv, if `wsgi_server` is gevent.",
    )
    uwsgi_version: Annotated[str, AfterValidator(valid_uwsgi_version)] = Field(
        "2.0.31", examples=["2.0.31"], description="The version of uWSGI for the virtualenv, if `wsgi_server` is uwsgi."
    )
    environment: Annotated[dict[str, str], AfterValidator(valid_environment)] = Field(
        {},
        examples=[{"OMP_NUM_THREADS": "1"}],
        description="Environment variables of the instance's programs. Not for secrets.",
    )
    cors: Cors | None = Field(
        None,
        examples=[{"origins": ["https://lab.example.org"], "credentials": True}],
        description="Which other sites' pages may use its API; by default none.",
    )
    passwords: Passwords = Field(
        {},
        examples=[{"alice": HASH_EXAMPLE}],
        description="Users and password hashes; by default those of the site. nginx may need 10 ms at most to "
        "check a hash.",
    )
    database: Address | None = Field(
        None,
        examples=[{"port": 5432}],
        description="PostgreSQL's address; with it, a deploy warns if nothing answers there.",
    )
    broker: Address | None = Field(
        None,
        examples=[{"port": 5672}],
        description="The broker's address; with it, a deploy warns if nothing answers there.",
    )
    update: Literal["hand over", "chain", "restart"] = Field(
        "hand over",
        examples=["restart"],
        description="How a new release replaces the old one: 'hand over' starts it beside the old one, "
        "'chain' replaces one uWSGI process after the other, 'restart' shows the maintenance page "
        "meanwhile.",
    )
    migrate: Literal["refuse", "before", "closed"] = Field(
        "refuse",
        examples=["before"],
        description="What happens if the database lacks migrations of a new release: 'refuse' the release; "
        "run them 'before' users see it, while the old release serves; or run them while the "
        "instance is 'closed', behind the maintenance page.",
    )
    way_back: Literal["dump", "elsewhere"] = Field(
        "dump",
        examples=["elsewhere"],
        description="How the database comes back from migrations: by the 'dump' that a run makes before them, or by "
        "something of your own 'elsewhere', such as a snapshot of the file system or point-in-time recovery; then "
        "no dump is made.",
    )
    dump_limit: Annotated[Count, Field(ge=1, le=100_000)] = Field(
        20,
        examples=[200],
        json_schema_extra={"unit": "GiB"},
        description="The largest database that is dumped before migrations; with a larger one the release is refused "
        "until `way_back` says 'elsewhere'.",
    )
    start_seconds: Annotated[Count, Field(ge=5, le=3600)] = Field(
        120,
        examples=[300],
        json_schema_extra={"unit": "seconds"},
        description="How long the programs may take to get ready; a release that takes longer is refused.",
    )
    ready_page: Annotated[str, AfterValidator(like(r"/[A-Za-z0-9._~/?=&-]*", "write it as '/' or '/projects/'"))] = (
        Field(
            "/",
            examples=["/projects/"],
            description="A page below the prefix that a new release must answer before it serves users.",
        )
    )
    ready_status: Status | None = Field(
        None,
        examples=[401],
        description="The status with which `ready_page` answers by design; by default any below 400. It has "
        "to be the same under each of the site's names.",
    )
    celery: Celery = Field(
        default_factory=lambda: Celery.model_validate({}),
        examples=[{"concurrency": 2}],
        description="Options of the Celery worker and beat.",
    )

    programs: tuple[Program, ...] = Field(
        (),
        examples=[[{"name": "spatial-update", "manage": "catmaid_spatial_update_worker"}]],
        description="More programs of the instance: Celery workers with their own queues, and CATMAID's "
        "long-running commands.",
    )

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: Any) -> Any:
        """Fill what follows from other values; a wrong type is left for the field's own message."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        checkout = data.get("checkout", cls.model_fields["checkout"].default)
        install = data["install"] = with_names(data)
        releases = data["releases"] = with_folder(data)
        if isinstance(releases, dict) and "checkout" not in data:
            folder = releases.get("folder", Releases.model_fields["folder"].default)
            data["checkout"] = "/invalid"
            if (
                isinstance(folder, str)
                and PATH.fullmatch(folder)
                and re.fullmatch(REVISION, str(releases.get("revision")))
            ):
                folder = folder.rstrip("/")
                checkout = data["checkout"] = f"{folder}/{releases['revision']}"
                if (made := environment_of(data, cls.model_fields)) and isinstance(install, dict):
                    data.setdefault("virtualenv", f"{folder}/{ENVIRONMENTS}/{releases['revision']}-{made}")
                if writes_settings(data):
                    data.setdefault("wsgi_file", f"{checkout}/django/projects/mysite/wsgi.py")
                data.setdefault("virtualenv", f"{folder}/shared/env")
                data.setdefault("files_folder", f"{folder}/shared/files")
                data.setdefault("extensions_folder", f"{folder}/shared/staticext")
        if not isinstance(checkout, str) or not PATH.fullmatch(checkout):
            checkout = "/invalid"  # one line for a wrong checkout, none for what follows from it
        django = checkout.rstrip("/") + "/django"
        data.setdefault("virtualenv", f"{django}/env")
        data.setdefault("wsgi_file", f"{django}/projects/mysite/django.wsgi")
        data.setdefault("static_folder", f"{django}/static")
        data.setdefault("files_folder", f"{django}/files")
        data.setdefault("extensions_folder", f"{django}/staticext")
        for part, where in made_addresses(install).items():
            data.setdefault(part, where)
        same_user = data.get("user", SERVICE_USER) == SERVICE_USER
        data.setdefault("runtime_mode", "0755" if same_user else "2750")
        return data

    @model_validator(mode="after")
    def _check(self) -> Instance:
        if self.releases and self.checkout != self.releases.path:
            raise ValueError("checkout: releases have their own folder: remove this one")
        if self.releases and self.static_folder != f"{self.checkout}/django/static":
            raise ValueError("static_folder: each release has its own, django/static: remove this one")
        if self.update == "chain" and self.wsgi_server != "uwsgi":
            raise ValueError("update: only uWSGI replaces its processes one by one: use 'hand over' or 'restart'")
        if self.install:
            self.check_install(self.install)
        names = [one.name for one in self.programs]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"programs: {twice[0]!r} stands twice: give one of them another name")
        # nginx opens the sockets through the folder's group, and so the folder hands its group on.
        mode = int(self.runtime_mode, 8)
        if mode & 0o700 != 0o700:
            raise ValueError(f"runtime_mode: {self.runtime_mode} keeps {self.user} out of its own folder: add 0700")
        if self.user != SERVICE_USER and self.runtime_group == SOCKET_GROUP and not mode & 0o2000:
            raise ValueError(
                f"runtime_mode: {self.runtime_mode} has no setgid bit, and nginx could not open the sockets of "
                f"{self.user}: use 2750"
            )
        return self

    def requests_of(self, whose: Literal["address", "session", "anonymous", "channels"]) -> int:
        """How many requests may wait for the application, or be open to its channels, at once.

        Others wait behind them: each as long as this many requests take workers x threads at a time. With 72 that is
        a second for requests of a fifth of a second; sixty users have room for one each.
        """
        eighths = {"address": 8, "session": 3, "anonymous": 7, "channels": 32}
        return self.requests_per_address * eighths[whose] // 8

    @property
    def kinds(self) -> dict[str, Kind]:
        """All its programs, in the order of a deploy."""
        return FOUR | {one.name: "worker" if one.celery else "single" for one in self.programs}

    @property
    def celery_workers(self) -> list[Celery]:
        """The options of all its Celery workers, its own first."""
        return [self.celery, *(one.celery for one in self.programs if one.celery)]

    def processes(self, processors: int) -> int:
        """How many processes load the application at least, on a host with so many processors."""
        workers = sum(one.concurrency or processors for one in self.celery_workers)
        return self.workers + workers + sum(one.manage is not None for one in self.programs)

    @property
    def hdf5_folder(self) -> str:
        """Where CATMAID looks for HDF5 files, of an instance with releases."""
        assert self.releases
        return f"{self.releases.folder}/shared/hdf5"

    @property
    def static_alias(self) -> str:
        """Where nginx finds static files: those of the release that serves."""
        return f"{self.release_link}/django/static" if self.releases else self.static_folder

    def addresses(self) -> dict[str, tuple[str, int] | None]:
        """Where its database and broker are, as host and port."""
        return {
            part: (one.host, one.port) if one else None
            for part, one in (("database", self.database), ("broker", self.broker))
        }

    # What follows from the prefix.
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
