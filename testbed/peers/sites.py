"""What the bench deploys."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from catmaid_deploy import schema
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

# Where SITE gives the options of each model.
_GIVEN: dict[str, dict[str, Any]] = {
    "Site": SITE,
    "Tls": SITE["tls"],
    "Headers": SITE["headers"],
    "Maintenance": SITE["maintenance"],
    "Cors": INSTANCE["cors"],
    "TileSet": FAFB | EM,
    "Instance": INSTANCE,
    "Celery": INSTANCE["celery"],
    "Program": INSTANCE["programs"][0] | INSTANCE["programs"][1],
    "Address": INSTANCE["database"],
    "Deployment": {"sites": [SITE]},
}
# What excludes another option, or wants something of its own around the host: certificates that are brought or asked
# for, a balancer, a proxy, releases with their migrations, and the other web servers.
_APART = {
    "Tls": {"key", "subject", "eab", "dns"},
    "Site": {"balancer"},
    "Deployment": {"proxy", "no_proxy"},
    "Instance": {"releases", "migrate", "gunicorn_version", "gevent_version"},
}
_MODELS_APART = {"Eab", "Dns", "Balancer", "Releases"}


def left_out() -> list[str]:
    """Options of the schema that SITE doesn't give: none, if it is what it claims."""
    models = [one for one in vars(schema).values() if isinstance(one, type) and issubclass(one, BaseModel)]
    return [
        f"{model.__name__}.{key}"
        for model in models
        if model.__name__ not in _MODELS_APART
        for key in model.model_fields
        if key not in _GIVEN.get(model.__name__, {}) and key not in _APART.get(model.__name__, ())
    ]


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
