"""Which parts of a host depend on which others, so that consequences of a fault aren't faults of their own."""

from __future__ import annotations

from catmaid_deploy.plan.causes import CONFIGURATION, FILES
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import FOUR, NGINX_USER, Deployment, Instance, Site, TileSet
from catmaid_deploy.tasks.programs.slots import group


def _keys(part: str, *keys: str) -> tuple[str, ...]:
    """Places that are keys of the inventory."""
    return tuple(f"{part}.{key}" for key in keys)


def _has_broker_here(instance: Instance) -> bool:
    """Whether its broker is the RabbitMQ that the deploy has on this host."""
    return bool(instance.made_broker and not instance.made_broker.host)


def _instance(site: Site, instance: Instance) -> dict[str, tuple[str, ...]]:
    name = instance.name
    described = f"site.instances[{name}]"
    web = ("nginx", f"TLS of {site.server_name}")
    files, sockets = f"{CONFIGURATION}nginx", f"sockets of {name}"
    application = f"application of {name}"
    is_local = instance.made_database is not None and not instance.made_database.host
    needs = {
        f"database of {name}": (*_keys(described, "database"), *(["postgresql"] if is_local else [])),
        f"broker of {name}": (*_keys(described, "broker"), *(["rabbitmq"] if _has_broker_here(instance) else [])),
        application: _keys(described, "user", "runtime_group", "checkout", "wsgi_file", "virtualenv", "prefix"),
        f"page of {name}": (*web, sockets, f"wsgi of {name}", application, f"database of {name}", files),
        f"static file of {name}": (*web, *_keys(described, "checkout", "static_folder"), files),
        f"WebSocket of {name}": (*web, sockets, f"daphne of {name}", application, f"broker of {name}", files),
        f"task of {name}": (f"celery of {name}", application, f"broker of {name}"),
        f"notice of {name}": (f"WebSocket of {name}", application, f"{CONFIGURATION}programs of {name}"),
        # A deploy would be refused, or makes it anew.
        f"{CONFIGURATION}programs of {name}": (application, f"web server of {name}", sockets),
    }
    for short, kind in instance.kinds.items():
        # Of what the inventory names a worker alone has to do with the broker.
        asked = "broker" if kind == "worker" or short in FOUR else "database"
        away = (f"{asked} of {name}",) if kind in ("worker", "single") else ()
        whole = f"programs of {group(instance, short)}"
        needs[whole] = ("supervisor",)
        if kind == "worker" and short not in FOUR:
            needs[f"task for {short} of {name}"] = (f"{short} of {name}", application, f"broker of {name}")
        needs[f"{short} of {name}"] = ("supervisor", whole, sockets, application, *away)
    return needs


def _tiles(site: Site, tiles: TileSet) -> dict[str, tuple[str, ...]]:
    keys = _keys(f"site.tiles[{tiles.name}]", "mount", "folder", "marker", "fallback")
    needed = ("nginx", f"TLS of {site.server_name}", *keys, f"{CONFIGURATION}nginx")
    return {f"tile of {tiles.name}": needed, f"missing tile of {tiles.name}": needed}


def needs(deployment: Deployment) -> dict[str, tuple[str, ...]]:
    """What each part of a host needs by itself, the likeliest cause first."""
    found: dict[str, tuple[str, ...]] = {
        "nginx": ("port 80", "port 443"),
        f"nginx{FILES}": (
            f"{CONFIGURATION}nginx",
            *(f"site[{site.server_name}].tls.certificate" for site in deployment.sites),
        ),
        f"supervisor{FILES}": tuple(f"{CONFIGURATION}programs of {one.name}" for one in deployment.instances),
        f"{CONFIGURATION}nginx": (f"user {NGINX_USER}",),
    }
    for site in deployment.sites:
        tls = f"TLS of {site.server_name}"
        described = _keys(f"site[{site.server_name}]", "tls.certificate", "tls.key")
        found[tls] = ("nginx", *described)
        found[f"HTTP of {site.server_name}"] = ("nginx", f"{CONFIGURATION}nginx")
        first = [f"page of {instance.name}" for instance in site.instances[:1]]
        found[f"from here to {site.server_name}"] = ("nginx", tls, *described, *first)
        for instance in site.instances:
            found |= _instance(site, instance)
        for tiles in site.tiles:
            found |= _tiles(site, tiles)
    return found


TASK = Task("needs", needs=needs)
