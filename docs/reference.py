"""The reference of the inventory, made from its models: the book's page has what the deploy accepts."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typing_extensions import override

from catmaid_deploy import schema
from catmaid_deploy.schema import hidden, values
from catmaid_deploy.secret import Secret

# Each model, as an inventory calls it, in the order of the page.
MODELS: dict[type[BaseModel], str] = {
    schema.Deployment: "sites",
    schema.Site: "site",
    schema.Instance: "instances",
    schema.TileSet: "tiles",
    schema.Tls: "tls",
    schema.Eab: "eab",
    schema.Dns: "dns",
    schema.Balancer: "balancer",
    schema.Headers: "headers",
    schema.Maintenance: "maintenance",
    schema.Cors: "cors",
    schema.Releases: "releases",
    schema.Celery: "celery",
    schema.Address: "database, broker",
}


class _Secret(Secret):
    """One that stands on the page as an inventory reads it."""

    @override
    def __repr__(self) -> str:
        return 'secret.from_environment("EAB_KEY")'


_KEY = _Secret("x" * 43)
_HASH = "$2y$05$" + "x" * 53
# A value for each key, which a test validates.
EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    schema.Deployment: {
        "sites": [{"server_name": "catmaid.example.org", "instances": [{}]}],
        "proxy": "http://proxy.example.org:3128",
        "no_proxy": ["git.example.org", ".internal.example.org"],
    },
    schema.Site: {
        "server_name": "catmaid.example.org",
        "aliases": ["www.catmaid.example.org"],
        "tls": {"certificate": "acme", "email": "admin@example.org"},
        "balancer": {"addresses": ["192.0.2.10"]},
        "headers": {"frame_options": "DENY"},
        "passwords": {"alice": _HASH},
        "maintenance": {"text": "Back at six."},
        "instances": [
            {"name": "catmaid"},
            {"name": "catmaid-fafb", "prefix": "/fafb", "checkout": "/home/catmaid/fafb"},
        ],
        "tiles": [{"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb"}],
    },
    schema.Instance: {
        "name": "catmaid-fafb",
        "prefix": "/tracing/fafb/v14",
        "checkout": "/home/catmaid/catmaid-server",
        "releases": {"repository": "https://github.com/catmaid/CATMAID.git", "revision": "2021.12.21"},
        "virtualenv": "/home/catmaid/env",
        "wsgi_file": "/home/catmaid/catmaid-server/django/projects/mysite/django.wsgi",
        "static_folder": "/data/catmaid/static",
        "files_folder": "/data/catmaid/files",
        "extensions_folder": "/data/catmaid/staticext",
        "user": "catmaid",
        "runtime_group": "www-data",
        "runtime_mode": "2750",
        "workers": 16,
        "threads": 4,
        "body_limit": "1g",
        "post_buffering": 65536,
        "read_timeout": 1800,
        "requests_per_address": 256,
        "wsgi_server": "gunicorn",
        "gunicorn_version": "27.0.1",
        "gevent_version": "26.9.0",
        "uwsgi_version": "2.0.31",
        "environment": {"OMP_NUM_THREADS": "1"},
        "cors": {"origins": ["https://lab.example.org"], "credentials": True},
        "passwords": {"alice": _HASH},
        "database": {"port": 5432},
        "broker": {"port": 5672},
        "update": "restart",
        "migrate": "before",
        "start_seconds": 300,
        "ready_page": "/projects/",
        "ready_status": 401,
        "celery": {"concurrency": 2},
    },
    schema.TileSet: {
        "name": "fafb",
        "url": "/tiles/fafb",
        "folder": "/data/fafb",
        "suffix": "png",
        "tile_size": 1024,
        "fallback": "none",
        "mount": "/data",
        "marker": "/data/fafb/IS_MOUNTED",
        "cors": {"origins": ["https://*.example.org"]},
        "cache_seconds": 86400,
        "missing_cache_seconds": 10,
        "passwords": {"alice": _HASH},
    },
    schema.Tls: {
        "certificate": "/etc/ssl/lab.pem",
        "key": "/etc/ssl/private/lab.key",
        "email": "admin@example.org",
        "acme_server": "https://acme.example.org/directory",
        "subject": {"C": "DE", "O": "Example Institute"},
        "eab": {"kid": "lab-42", "key": _KEY},
        "dns": {"plugin": "rfc2136", "credentials": "/etc/letsencrypt/rfc2136.ini"},
        "port": 8443,
        "hsts_seconds": 3600,
        "hsts_subdomains": True,
    },
    schema.Eab: {"kid": "lab-42", "key": _KEY},
    schema.Dns: {"plugin": "rfc2136", "credentials": "/etc/letsencrypt/rfc2136.ini", "wait_seconds": 10},
    schema.Balancer: {"addresses": ["192.0.2.10", "198.51.100.0/24"], "https": False},
    schema.Headers: {
        "content_security_policy": "frame-ancestors 'self' https://lab.example.org",
        "referrer_policy": "no-referrer",
        "frame_options": "DENY",
    },
    schema.Maintenance: {
        "text": "A new disk. Back at six.",
        "end": "2026-12-01T18:00+01:00",
        "allow": ["192.0.2.7", "198.51.100.0/24"],
    },
    schema.Cors: {"origins": ["https://lab.example.org", "https://*.example.org"], "credentials": True},
    schema.Releases: {
        "repository": "https://github.com/catmaid/CATMAID.git",
        "revision": "2021.12.21",
        "folder": "/srv/catmaid/releases",
        "owner": "deploy",
        "shared": ["django/projects/mysite/settings.py", "django/projects/mysite/django.wsgi", "django/extra.json"],
        "keep": 3,
    },
    schema.Celery: {
        "concurrency": 4,
        "log_level": "warning",
        "queues": ["celery", "slow"],
        "stop_seconds": 3600,
        "shutdown_seconds": 120,
        "max_tasks_per_child": 100,
    },
    schema.Address: {"host": "db.example.org", "port": 5432},
}
# What a number counts, where its name doesn't end in _seconds.
UNITS = {
    "stop_seconds": "seconds",
    "concurrency": "processes",
    "max_tasks_per_child": "tasks",
    "tile_size": "pixels",
    "keep": "releases",
    "workers": "processes",
    "threads": "threads a process",
    "post_buffering": "bytes",
    "read_timeout": "seconds",
    "requests_per_address": "requests",
    "body_limit": "bytes, or with k, m, g",
    "text": "characters",
}
# Types of the schema in words.
_NAMED: list[tuple[Any, str]] = [
    (values.HostName, "host name"),
    (values.ServerName, "host name"),
    (values.AbsolutePath, "absolute path"),
    (values.Prefix, "path in the address"),
    (values.UserName, "name of a user or group"),
    (values.PlainUserName, "name of a user or group"),
    (values.QueueName, "queue's name"),
    (values.Origin, "origin"),
    (hidden.Passwords, "dictionary of user names and hashes"),
    (values.HeaderValue, "header's value"),
    (values.Network, "address or network"),
    (hidden.ProxyAddress, "address, which is a secret if it has a password"),
    (values.DirectName, "host name or domain"),
    (hidden.MacKey, "secret"),
]
_ROWS = re.compile(r",? ?\(rows? ([0-9, and]+)\)")


def unit(key: str) -> str:
    return UNITS.get(key) or ("seconds" if key.endswith("_seconds") else "")


def _range(metadata: Iterable[Any]) -> str:
    """What limits stand in a type: those of a number, or of a text's length."""
    found: dict[str, Any] = {}
    for one in metadata:
        for limit in one.metadata if isinstance(one, FieldInfo) else (one,):
            for name in ("ge", "le", "max_length"):
                if (value := getattr(limit, name, None)) is not None:
                    found[name] = value
    if "ge" in found:
        return f", {found['ge']} to {found['le']}" if "le" in found else f", {found['ge']} or more"
    return f", up to {found['max_length']} characters" if "max_length" in found else ""


def kind(annotation: Any) -> str:
    """A type in words."""
    for known, words in _NAMED:
        if annotation == known:
            return words
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(inner[0]) + _range(inner[1:])
    if origin is Literal:
        return "one of " + ", ".join(f"`{literal(word)}`" for word in inner)
    if origin in (Union, types.UnionType):
        return " or ".join("`None`" if word is type(None) else kind(word) for word in inner)
    if origin is tuple:
        return f"list: {kind(inner[0])}"
    if origin is dict:
        return "dictionary of texts"
    if annotation in MODELS:
        return f"dictionary, [{MODELS[annotation]}](#{anchor(annotation)})"
    return {str: "text", int: "whole number", bool: "`True` or `False`", datetime: "time with its zone"}[annotation]


def key_kind(model: type[BaseModel], key: str) -> str:
    """The type of a key in words, with its limits."""
    # The field itself has lost the names of its types.
    return kind(get_type_hints(model, include_extras=True)[key]) + _range(
        one for one in model.model_fields[key].metadata if hasattr(one, "max_length")
    )


def _derived() -> dict[str, Any]:
    """Defaults that follow from the checkout, with CHECKOUT in its place."""
    (instance,) = schema.load({"server_name": "host.example", "instances": [{"checkout": "/CHECKOUT"}]}).instances
    return {key: value.replace("/CHECKOUT", "CHECKOUT") for key, value in instance if isinstance(value, str)}


def default(model: type[BaseModel], key: str) -> str:
    """What a key is without being said, as it is written in an inventory; empty for a key that has to be there."""
    field = model.model_fields[key]
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value == "" and model is schema.Instance:
        value = _derived()[key]
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    return literal(value)


def literal(value: Any) -> str:
    """A value as Python writes it, with the double quotes that inventories have."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(k)}: {literal(v)}' for k, v in value.items())}}}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def anchor(model: type[BaseModel], key: str = "") -> str:
    name = model.__name__.lower()
    return f"{name}-{key}" if key else name


def split_rows(text: str) -> tuple[str, str]:
    """A description without its rows of the specification, and these."""
    rows = _ROWS.search(text)
    return _ROWS.sub("", text), rows.group(1) if rows else ""


def _key(model: type[BaseModel], key: str) -> Iterator[str]:
    field = model.model_fields[key]
    assert field.description, f"{model.__name__}.{key} has no description"
    text, rows = split_rows(field.description)
    yield f"### `{key}` {{ #{anchor(model, key)} }}\n"
    yield f"{text}\n"
    yield f"- type: {key_kind(model, key)}"
    if unit(key):
        yield f"- unit: {unit(key)}"
    yield f"- default: `{default(model, key)}`" if not field.is_required() else "- default: none, it has to be there"
    yield f"- example: `{literal({key: EXAMPLES[model][key]})[1:-1]}`"
    if rows:
        yield f"- specification: row {rows}"
    yield ""


def page() -> str:
    """All models with their keys, in Markdown."""
    lines: list[str] = []
    for model, name in MODELS.items():
        text, rows = split_rows((model.__doc__ or "").strip())
        lines += [f"## {name} {{ #{anchor(model)} }}\n", text + (f" Specification: row {rows}." if rows else "") + "\n"]
        for key in model.model_fields:
            lines += _key(model, key)
    return "\n".join(lines)
