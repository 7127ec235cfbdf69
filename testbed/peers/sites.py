"""What the bench deploys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from catmaid_deploy import schema
from catmaid_deploy.secret import Secret
from testbed.run import CHECKOUT, VIRTUALENV

MANY_INSTANCES, MANY_SETS = 30, 500
TILES, MANY_TILES = "/srv/tiles/fafb", "/srv/tiles/many"
USER = ("bench", "bench")
_PASSWORDS = {
    "bench": "$6$benchbench$L/SWrobNRkV.iUB93gv.PJywy/QX4wzN1m2YZYeF.uBbRUYLgodycFkml5WWSUxFf4eG/3lJwiGVvvDLD8/76."
}

# One instance and two tile sets with every option that exists, each with a value of its own.
INSTANCE: dict[str, Any] = {
    "name": "catmaid",
    "prefix": "/catmaid",
    "checkout": CHECKOUT,
    "virtualenv": VIRTUALENV,
    "wsgi_file": f"{CHECKOUT}/django/projects/mysite/django.wsgi",
    "static_folder": f"{CHECKOUT}/django/static",
    "files_folder": f"{CHECKOUT}/django/files",
    "extensions_folder": f"{CHECKOUT}/django/staticext",
    "user": "catmaid",
    "runtime_group": "www-data",
    "runtime_mode": "2750",
    "workers": 2,
    "threads": 4,
    "body_limit": "50m",
    "post_buffering": 65536,
    "read_timeout": 300,
    "uwsgi_version": "2.0.31",
    "environment": {"STANDIN_GREETING": "hello", "OMP_NUM_THREADS": "1"},
    "cors": {"origins": ["https://lab.example.org", "https://*.example.com"], "credentials": True},
    "passwords": _PASSWORDS,
    "database": {"host": "localhost", "port": 5432},
    "broker": {"host": "localhost", "port": 5672},
    "celery": {
        "concurrency": 1,
        "log_level": "warning",
        "queues": ["celery", "tracing"],
        "stop_seconds": 300,
        "shutdown_seconds": 20,
        "max_tasks_per_child": 500,
    },
    "programs": [
        {"name": "large", "celery": {"queues": ["large"], "concurrency": 1}},
        {"name": "spatial-update", "manage": "catmaid_spatial_update_worker --delay 2", "end_seconds": 30},
    ],
    "wsgi_server": "uwsgi",
    "requests_per_address": 400,
    "update": "hand over",
    "start_seconds": 60,
    "ready_page": "/whoami",
    "ready_status": 200,
}
FAFB: dict[str, Any] = {
    "name": "fafb",
    "url": "/tiles/fafb",
    "folder": TILES,
    "suffix": "jpg",
    "tile_size": 512,
    "fallback": "black",
    "marker": f"{TILES}/here",
    "cors": {"origins": ["*"], "credentials": False},
    "cache_seconds": 604800,
    "missing_cache_seconds": 30,
    "passwords": _PASSWORDS,
}
# Its disk is away, which is no reason to refuse a deploy.
EM: dict[str, Any] = {
    "name": "em",
    "url": "/tiles/em",
    "folder": "/srv/disk/em",
    "mount": "/srv/disk",
    "suffix": "png",
    "tile_size": 256,
    "fallback": "none",
}
SITE: dict[str, Any] = {
    "server_name": "localhost",
    # The host has the last name on the bed's network.
    "aliases": ["127.0.0.1", "site"],
    "tls": {
        "certificate": "self-signed",
        "email": "admin@example.org",
        "acme_server": "https://acme.example.org/directory",
        "port": 8443,
        "hsts_seconds": 86400,
        "hsts_subdomains": True,
    },
    "headers": {
        "content_security_policy": "frame-ancestors 'self' https://lab.example.org; object-src 'none'",
        "referrer_policy": "same-origin",
        "frame_options": "DENY",
    },
    "passwords": _PASSWORDS,
    "maintenance": {"text": "Back on Monday.", "end": "2030-01-07T06:00+01:00", "allow": ["192.0.2.0/24"]},
    "instances": [INSTANCE],
    "tiles": [FAFB, EM],
}
# The same with another line in one template, nginx's site.
OTHER_SITE = SITE | {"headers": SITE["headers"] | {"referrer_policy": "no-referrer"}}


def _open(one: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key != "passwords"}


# The same without passwords, whose check would be what a load measures; by HTTPS and by HTTP alone.
OPEN_SITE = _open(SITE) | {"instances": [_open(INSTANCE)], "tiles": [_open(FAFB), EM]}
HTTP_SITE = OPEN_SITE | {"tls": {"certificate": "none"}}

# The smallest that has all programs.
SMALL: dict[str, Any] = {"server_name": "localhost", "instances": [{"workers": 1, "celery": {"concurrency": 1}}]}


def _small(tls: dict[str, Any] | None = None, **instance: Any) -> dict[str, Any]:
    one = {"server_name": "a.example.org", "instances": [{} | instance]}
    return {"site": one | {"tls": tls} if tls else one}


_ACME = {"certificate": "acme", "email": "admin@example.org", "acme_server": "https://acme.example.org/directory"}
_RELEASES = {
    "repository": "https://git.example.org/catmaid.git",
    "revision": "2021.12.21",
    "folder": "/srv/releases",
    "owner": "catmaid",
    "shared": ["django/projects/mysite/settings.py"],
    "keep": 3,
}
_PASSWORD = Secret("p" * 20)
_WAY_BACK: dict[str, Any] = {"way_back": "elsewhere", "dump_limit": 50}
_INSTALL: dict[str, Any] = {
    "administrator": {"name": "alice", "email": "alice@example.org", "password": _PASSWORD, "token": True},
    "projects": [{"title": "FAFB", "comment": "A whole adult fly brain"}],
    "python": {
        "executable": "/usr/bin/python3.11",
        "requirements": ["django/requirements.txt"],
        "packages": ["h5py==3.8.0"],
        "overrides": {"scipy": "1.10.1"},
        "uv_version": "0.11.1",
    },
    "database": {"host": "db", "port": 5433, "name": "tracing", "user": "tracer", "password": _PASSWORD},
    "broker": {"host": "mq", "port": 5673, "vhost": "tracing", "user": "tracer", "password": _PASSWORD},
    "settings": {
        "time_zone": "Europe/Berlin",
        "mail": {
            "host": "mail",
            "port": 465,
            "security": "tls",
            "user": "catmaid",
            "password": _PASSWORD,
            "sender": "catmaid@example.org",
        },
        "fragment": "USER_REGISTRATION_ALLOWED = True\n",
        "secrets": {"ldap_password": _PASSWORD},
        "secret_key": _PASSWORD,
    },
}
# Inventories that give every option there is, each by the model or option that no other one gives: what excludes
# another option, or wants something of its own around the host, can't be in SITE.
SAMPLES: dict[str, dict[str, Any]] = {
    "Maintenance": {"site": SITE},
    "Balancer": {"site": SMALL | {"balancer": {"addresses": ["192.0.2.7"], "https": False}}},
    "Tls.key": _small({"certificate": "/etc/ssl/lab.pem", "key": "/etc/ssl/private/lab.pem"}),
    "Tls.subject": _small({"certificate": "request", "subject": {"O": "An institute"}}),
    "Eab": _small(_ACME | {"eab": {"kid": "kid-1", "key": Secret("k" * 43)}}),
    "Dns": _small(_ACME | {"dns": {"plugin": "rfc2136", "credentials": "/root/dns.ini", "wait_seconds": 5}}),
    "Install": _small(releases=_RELEASES | {"shared": []}, install=_INSTALL, migrate="before", **_WAY_BACK),
    "Deployment.rabbitmq": _small(releases={"revision": "2021.12.21"}, install={})
    | {"postgresql": {"memory": "2g", "restart": True}, "rabbitmq": {"restart": True}},
    "Instance.gunicorn_version": _small(wsgi_server="gunicorn", gunicorn_version="27.0.1"),
    "Instance.gevent_version": _small(wsgi_server="gevent", gevent_version="26.9.0"),
    "Deployment.proxy": _small(_ACME) | {"proxy": "http://proxy.example.org:3128", "no_proxy": [".example.org"]},
    "Deployment.offline": _small() | {"offline": "bundles/catmaid-bookworm.tar"},
}


def deployments() -> dict[str, schema.Deployment]:
    return {name: schema.load(**sample) for name, sample in SAMPLES.items()}


def _given(model: BaseModel) -> Iterator[str]:
    """The options that an inventory gives, in all models within one."""
    for key in model.model_fields_set:
        yield f"{type(model).__name__}.{key}"
        value = getattr(model, key)
        for one in value if isinstance(value, tuple) else [value]:
            if isinstance(one, BaseModel):
                yield from _given(one)


def left_out() -> Iterator[str]:
    """What no sample gives of the schema: a sentence for each option, and none if they are what they claim."""
    given = {option for deployment in deployments().values() for option in _given(deployment)}
    models = [one for one in vars(schema).values() if isinstance(one, type) and issubclass(one, BaseModel)]
    for option in (f"{model.__name__}.{key}" for model in models for key in model.model_fields):
        if option not in given:
            yield f"no sample in testbed/peers/sites.py gives {option}"


def many(sets: int = 0) -> dict[str, Any]:
    """Small instances, as many as one host may have, and so many tile sets."""
    instances = [
        {
            "name": f"catmaid-{number}",
            "prefix": f"/n{number}",
            "checkout": f"/home/catmaid/n{number}",
            "virtualenv": VIRTUALENV,
            "workers": 1,
            "threads": 1,
            "celery": {"concurrency": 1},
        }
        for number in range(1, MANY_INSTANCES + 1)
    ]
    tiles = [
        {"name": f"em-{number}", "url": f"/tiles/em-{number}", "folder": f"{MANY_TILES}/{number}"}
        for number in range(1, sets + 1)
    ]
    return OPEN_SITE | {"instances": instances, "tiles": tiles}


# The tile set's folder, as far as a deploy looks at it.
DATA = f"mkdir -p {TILES} && touch {TILES}/here"

# A set of each has a few files, as a folder of sections has in its upper levels.
PLACE_SETS = f"""
for number in $(seq {MANY_SETS}); do
    mkdir -p {MANY_TILES}/$number/0/0
    touch {MANY_TILES}/$number/0/0/0.jpg
done
"""
# Without a virtual host each at the broker: no task is sent here.
PLACE = f"""
for number in $(seq {MANY_INSTANCES}); do
    checkout=/home/catmaid/n$number
    mkdir $checkout
    tar -C {CHECKOUT} --exclude=./django/env -c . | tar -C $checkout -x
    python3 $checkout/django/create_configuration.py --prefix /n$number --files $checkout/django/files
    chown -R www-data:www-data $checkout
done
"""
