"""What the bench deploys."""

from __future__ import annotations

from typing import Any

import schema
from testbed.run import CHECKOUT, VIRTUALENV

MANY_INSTANCES = 20

# One instance with every option that exists, each with a value of its own.
INSTANCE: dict[str, Any] = {
    "name": "catmaid",
    "prefix": "/catmaid",
    "checkout": CHECKOUT,
    "virtualenv": VIRTUALENV,
    "wsgi_file": f"{CHECKOUT}/django/projects/mysite/django.wsgi",
    "static_folder": f"{CHECKOUT}/django/static",
    "files_folder": f"{CHECKOUT}/django/files",
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
    "database": {"host": "localhost", "port": 5432},
    "broker": {"host": "localhost", "port": 5672},
    "celery": {"concurrency": 1, "log_level": "warning", "queues": ["celery", "tracing"], "max_tasks_per_child": 500},
}
SITE: dict[str, Any] = {"server_name": "localhost", "aliases": ["127.0.0.1"], "instances": [INSTANCE]}
# The same with another line in one template, nginx's site.
OTHER_SITE = SITE | {"aliases": ["127.0.0.1", "bench.example.org"]}


def left_out() -> list[str]:
    """Options of the schema that SITE doesn't give: none, if it is what it claims."""
    models = ((schema.Site, SITE), (schema.Instance, INSTANCE), (schema.Celery, INSTANCE["celery"]))
    return [key for model, given in models for key in model.model_fields if key not in given]


def many() -> dict[str, Any]:
    """Small instances, as many as one host may have."""
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
    return SITE | {"instances": instances}


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
