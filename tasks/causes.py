"""What depends on what, on a host: of many things that fail at once, the one that is to be fixed, and what follows.

A part's name is the place of its findings: of a stopped program and a page that answers 502 the page is the
consequence, since `needs` has the program for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from catmaid_deploy.finding import Finding
from catmaid_deploy.schema import NGINX_USER, Deployment, Instance, Site, TileSet
from catmaid_deploy.tasks.program import PROGRAMS

# The place of what differs in a set of files.
CONFIGURATION = "configuration of "
# What keeps a service from starting: its files as a whole, or one of somebody's that it names.
SERVICES = ("nginx", "supervisor")
FILES, FILE = "'s files", "'s file "
Needs = Mapping[str, tuple[str, ...]]


def _keys(part: str, *keys: str) -> tuple[str, ...]:
    """Places that are keys of the inventory."""
    return tuple(f"{part}.{key}" for key in keys)


def _instance(site: Site, instance: Instance) -> dict[str, tuple[str, ...]]:
    name = instance.name
    described = f"site.instances[{name}]"
    web = ("nginx", f"TLS of {site.server_name}")
    files, sockets = f"{CONFIGURATION}nginx", f"sockets of {name}"
    application = f"application of {name}"
    needs = {
        f"database of {name}": _keys(described, "database"),
        f"broker of {name}": _keys(described, "broker"),
        application: _keys(described, "user", "runtime_group", "checkout", "wsgi_file", "virtualenv", "prefix"),
        f"page of {name}": (*web, sockets, f"wsgi of {name}", application, f"database of {name}", files),
        f"static file of {name}": (*web, *_keys(described, "checkout", "static_folder"), files),
        f"WebSocket of {name}": (*web, sockets, f"daphne of {name}", application, f"broker of {name}", files),
        f"task of {name}": (f"celery of {name}", application, f"broker of {name}"),
        f"notice of {name}": (f"WebSocket of {name}", application, f"{CONFIGURATION}programs of {name}"),
        f"programs of {name}": ("supervisor",),
        # A deploy would be refused, or makes it anew.
        f"{CONFIGURATION}programs of {name}": (application, f"web server of {name}", sockets),
    }
    for short in PROGRAMS:
        broker = (f"broker of {name}",) if short.startswith("celery") else ()
        needs[f"{short} of {name}"] = ("supervisor", f"programs of {name}", sockets, application, *broker)
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


def cause(place: str, at_fault: Collection[str], graph: Needs) -> str | None:
    """The part that is at fault, and needs nothing that is, of all that ``place`` needs, with itself as the last."""
    for need in graph.get(place, ()):
        if found := cause(need, at_fault, graph):
            return found
    return place if place in at_fault else None


def _kept_down(at_fault: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each service that doesn't run the files that it refuses: one that runs needs them at its next start alone."""
    return {
        service: tuple(sorted(place for place in at_fault if place.startswith((service + FILES, service + FILE))))
        for service in SERVICES
        if service in at_fault
    }


def folded(findings: list[Finding], graph: Needs, well: Collection[str] = ()) -> list[Finding]:
    """The findings, faults first, without what follows from others of them: that stands with its cause.

    What was asked and is ``well`` hands nothing on: a page that answers keeps nobody from it.
    """
    graph = {place: tuple(need for need in found if need not in well) for place, found in graph.items()}
    at_fault = {finding.place for finding in findings if finding.level == "fault"}
    graph = {**graph, **{name: files + graph.get(name, ()) for name, files in _kept_down(at_fault).items()}}
    so: dict[str, list[str]] = {}
    kept = []
    for finding in findings:
        by = cause(finding.place, at_fault, graph) if finding.level == "fault" else finding.place
        if by is None or by == finding.place:
            kept.append(finding)
        elif finding.place not in so.setdefault(by, []):
            so[by].append(finding.place)
    # Of several findings of one place the first has what follows.
    told = [replace(finding, so=tuple(so.pop(finding.place, ()))) for finding in kept]
    return sorted(told, key=lambda finding: finding.level)
