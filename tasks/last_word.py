"""The check at the end of a run: pages, programs, the services' own tests.

The host answers for itself (`on_host.facts.asking`): within the one look at it, and once more at the end of a run that
changed something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Survey, Wrong
from catmaid_deploy.finding import Command, Finding, fault
from catmaid_deploy.on_host.facts.nginx import LOCATIONS
from catmaid_deploy.on_host.facts.units import RENEWAL
from catmaid_deploy.plan import causes, this_run
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import NGINX_USER, Deployment, Instance, Site, is_address
from catmaid_deploy.tasks import system
from catmaid_deploy.tasks.nginx import passwords
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.programs import slots, supervisor_file
from catmaid_deploy.tasks.tiles import disks

# What Daphne answers to a handshake: CATMAID refuses unknown users; a 403 proves that Daphne answered.
HANDSHAKES = [101, 403]
HOST_FLAG = "/etc/catmaid/maintenance"


def _page(site: Site, name: str, path: str, place: str) -> questions.LastPage:
    https = site.certificate is not None
    address = f"[{name}]" if ":" in name else name
    return {
        "place": place,
        "program": None,
        "words": f"http{'s' if https else ''}://{address}{site.port_suffix if https else ''}{path}",
        "url": None,
        "name": name,
        "host": f"{address}{site.port_suffix if https else ''}",
        # Browsers name no address in the TLS handshake.
        "sni": None if is_address(name) else name,
        "port": 443 if https else 80,
        "https": https,
        "path": path,
        "websocket": False,
        "good": [],
        "guard": None,
        "closed": [],
        "mount": None,
        "flag": None,
    }


def _of_instance(site: Site, instance: Instance) -> Iterator[questions.LastPage]:
    guard = passwords.guard(site, instance)
    cookie, closed = guard.cookie if guard else None, [HOST_FLAG, f"{instance.config_dir}/maintenance"]
    good = [instance.ready_status] if instance.ready_status else []
    for name in site.names:
        page = _page(site, name, instance.prefix + instance.ready_page, f"page of {instance.name}")
        url = f"{site.address}{instance.location}" if name == site.server_name else None
        page.update(
            {"guard": cookie, "closed": closed, "url": url, "good": good, "program": f"wsgi of {instance.name}"}
        )
        yield page
    page = _page(site, site.server_name, f"{instance.location}channels/updates/", f"WebSocket of {instance.name}")
    page.update({"guard": cookie, "closed": closed, "websocket": True, "good": HANDSHAKES})
    page["program"] = f"daphne of {instance.name}"
    yield page


def pages(deployment: Deployment) -> Iterator[questions.LastPage]:
    """What users ask for: the page of each instance by each name of its site, its WebSocket, and the way to tiles."""
    for site in deployment.sites:
        for instance in site.instances:
            yield from _of_instance(site, instance)
        for name in site.names:
            for tiles in site.tiles:
                # nginx's own answer: a tile itself may be missing, or on a disk that is away.
                page = _page(site, name, tiles.location, f"tile of {tiles.name}")
                url = f"{site.address}{tiles.location}" if name == site.server_name else None
                page.update({"url": url, "good": [401, 404], "mount": tiles.mount, "flag": tiles.flag})
                yield page


def question(deployment: Deployment) -> questions.LastWord:
    """What `on_host.facts.asking` is to ask."""
    renewal = [site.server_name for site in deployment.acme_sites]
    return {
        "pages": list(pages(deployment)),
        "programs": [
            {
                "place": f"{short} of {instance.name}",
                "name": instance.name,
                "short": short,
                "pointer": f"{instance.config_dir}/{short}",
                "folder": instance.runtime_dir,
                "user": instance.user,
                "log": instance.log_dir,
                "names": {place: slots.full_name(instance, place) for place in slots.places(short)},
                # Where no page is behind it: what of its files touches a sign of life.
                "sign": slots.sign(instance, short),
                "seconds": instance.start_seconds,
            }
            for instance in deployment.instances
            for short in instance.kinds
        ],
        "units": [*system.units(deployment), *disks.units(deployment), *([RENEWAL] if renewal else [])],
        "renewal": renewal,
        "nginx_user": NGINX_USER,
        "sites": [
            {
                "names": site.names,
                "path": nginx.enabled_path(site),
                "ports": [443, *([80] if site.tls.certificate == "acme" else [])] if site.certificate else [80],
            }
            for site in deployment.sites
        ],
        "ports": deployment.ports,
    }


# ---- what is wrong by the answer ----

# What a status means, of what is asked here.
STATUSES = {
    0: "nginx doesn't answer",
    401: "it asks for a password",
    403: "nginx may not read it, or the application refuses",
    404: "it isn't where nginx looks for it",
    413: "the body is larger than body_limit",
    500: "the application fails",
    502: "nginx doesn't reach the program behind it",
    503: "it is closed, or its disk isn't there",
    504: "the application takes too long",
}
OF_APPLICATION = {
    400: "the application refuses it, as Django does where settings.py lacks the site's name in ALLOWED_HOSTS",
    404: "the application has no such page",
}


def meaning(kind: str, status: int) -> str:
    """What it means that a page answers so; empty where that isn't known."""
    if kind == "WebSocket" and status == 502:
        return "Daphne doesn't answer, or CATMAID has no CHANNEL_LAYERS in settings.py"
    of_application = OF_APPLICATION.get(status) if kind in ("page", "WebSocket") else None
    return of_application or STATUSES.get(status, "")


def judge(survey: Survey) -> Iterator[Finding]:
    """What keeps a service from taking orders, or Supervisor from ever reading what a deploy writes for it."""
    yield from (_finding(one, survey) for one in survey["asked"]["blocked"])
    # The run's own test would find it as well, but after what comes before nginx.
    for found in findings(survey):
        if found.place.startswith(f"nginx{causes.FILE}{LOCATIONS}/"):
            yield replace(found, fix="correct it, or move it away")
    yield from supervisor_file.judge(survey)


def _whose(place: str, words: str, survey: Survey) -> str:
    """A file of the deploy's that a service refuses differs, and a deploy is the fix: it also gives way to another
    default server. Another file stands for itself.
    """
    service, files, _ = place.partition(causes.FILES)
    named = re.search(r" in (/\S+):\d+$|\bfile: '(/[^']+)'", words)
    path = named and (named[1] or named[2])
    known = {
        *(path for path, _ in survey["default_servers"]),
        *(path for paths in survey["manifest"].values() for path in paths),
    }
    return f"{service}{causes.FILE}{path}" if files and path and path not in known else place


def _finding(answer: Wrong, survey: Survey) -> Finding:
    place, what, command = answer["place"], answer["what"], answer["command"]
    fix = this_run.deploy() if answer["by_deploy"] else Command(command) if command else answer["todo"]
    means = meaning(place.partition(" of ")[0], answer["status"]) if answer["status"] else ""
    return fault(_whose(place, what, survey), f"{what}: {means}" if means else what, fix)


def findings(survey: Survey) -> list[Finding]:
    """What the host answered that isn't as it should be."""
    return [_finding(one, survey) for one in (*survey["asked"]["standing"], *survey["asked"]["wrong"])]


def standing(survey: Survey) -> list[Finding]:
    """What of that a deploy leaves as it is."""
    theirs = [one for one in findings(survey) if causes.FILE in one.place]
    return [*(_finding(one, survey) for one in survey["asked"]["standing"]), *theirs]


def doing(survey: Survey, instance: Instance) -> dict[str, str]:
    """A word about each program of an instance: well, down, starting, stopped, silent or away."""
    words = survey["asked"]["programs"]
    return {short: words.get(f"{short} of {instance.name}", "") for short in instance.kinds}


TASK = Task(
    "last word",
    last_word=question,
    faults=lambda look: judge(look.survey),
    wrong=lambda look: findings(look.survey),
    lasting=lambda look: standing(look.survey),
)
