"""The pages that users ask for, and how their answers are judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from catmaid_deploy import questions
from catmaid_deploy.answers.health import PageAnswer
from catmaid_deploy.finding import Command
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Deployment, Instance, Site, TileSet
from catmaid_deploy.tasks import last_word as asking
from catmaid_deploy.tasks import maintenance
from catmaid_deploy.tasks.application import installed as application
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.programs import supervisor
from catmaid_deploy.tasks.tiles import disks

# What a program that has just begun doesn't answer yet.
OF_TILES = ("tile", "missing tile")
# What a page answers that is well.
WELL = tuple(range(200, 400))
HEADERS = ("x-content-type-options", "referrer-policy", "x-frame-options")
# The row and column of a tile that no set has.
MISSING = "999999"


@dataclass(frozen=True)
class Page:
    """A page that users ask for, and how its answer is judged; ``whose`` names its site, instance or tile set."""

    kind: str
    whose: str
    question: questions.Page
    expected: tuple[int, ...]
    cors: str | None = None


def address(site: Site) -> questions.Site:
    https = site.certificate is not None
    files = [path for path in (site.certificate, site.certificate_key) if path]
    return {"name": site.server_name, "https": https, "port": 443 if https else 80, "files": files}


def pages(deployment: Deployment) -> list[Page]:
    """All that is asked of a host's nginx, as users would."""
    found = []
    for site in deployment.sites:
        at = address(site)
        if at["https"]:
            plain: questions.Site = {**at, "https": False, "port": 80}
            found.append(Page("HTTP", site.server_name, {"site": plain, "path": "/"}, (301,)))
        for instance in site.instances:
            guarded = bool(instance.passwords or site.passwords)
            where = instance.location
            origin = instance.cors.origins[0] if instance.cors else None
            allowed = origin.replace("*.", "page.") if origin and origin != "*" else "https://page.example.org"
            found.append(
                Page(
                    "page",
                    instance.name,
                    {"site": at, "path": instance.prefix + instance.ready_page, "headers": {"Origin": allowed}},
                    (401,) if guarded else (instance.ready_status,) if instance.ready_status else WELL,
                    ("*" if origin == "*" else allowed) if instance.cors else "",
                )
            )
            static: questions.Page = {
                "site": at,
                "path": f"{where}static/",
                "folder": instance.static_alias,
                "ends": [".js"],
            }
            found.append(Page("static file", instance.name, static, (401,) if guarded else (200,)))
            upgrade = {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "Y2F0bWFpZC1kZXBsb3kgIQ==",
                "Origin": f"http{'s' if at['https'] else ''}://{site.server_name}",
            }
            channel: questions.Page = {"site": at, "path": f"{where}channels/updates/", "headers": upgrade}
            # CATMAID refuses unknown users; a 403 proves that Daphne answered.
            found.append(Page("WebSocket", instance.name, channel, (401,) if guarded else (101, 403)))
        for tiles in site.tiles:
            found += _tile_pages(site, tiles, at)
    return found


def _tile_pages(site: Site, tiles: TileSet, at: questions.Site) -> Iterator[Page]:
    guarded = bool(tiles.passwords or site.passwords)
    # A tile, or what describes a volume.
    ends = [f".{tiles.suffix}", *(f"/{name}" for name in nginx.DESCRIPTIONS)]
    question: questions.Page = {"site": at, "path": tiles.location, "folder": tiles.folder, "ends": ends}
    yield Page("tile", tiles.name, question, (401,) if guarded else (200,))
    missing: questions.Page = {"site": at, "path": f"{tiles.location}0/{MISSING}_{MISSING}_0.{tiles.suffix}"}
    status = 401 if guarded else 404 if tiles.fallback == "none" else 200
    yield Page("missing tile", tiles.name, missing, (status,))


def _pages(one: Health) -> None:
    instances = {instance.name: instance for instance in one.deployment.instances}
    hung = disks.hung_tiles(one.deployment, one.survey)
    for page, answer in zip(pages(one.deployment), one.found["pages"], strict=True):
        instance = instances.get(page.whose)
        if maintenance.is_closed(one, instance) or (page.kind in OF_TILES and page.whose in hung):
            continue
        place = f"{page.kind} of {page.whose}"
        if "folder" in page.question and not answer.get("found"):
            what = f"there is no {page.question['ends'][0]} file below {page.question['folder']}"
            if page.kind == "tile":
                what += ", and no volume"
                one.fault(place, what, "have its disk mounted, or correct folder or suffix in the inventory")
            elif instance:
                one.fault(place, what, application.collected(instance, one.survey["instances"][instance.name]["owner"]))
        elif wrong := _wrong_answer(one, page, answer, instance):
            # The host has found that out by itself as well, in fewer words.
            one.findings = [finding for finding in one.findings if finding.place != place]
            one.fault(place, *wrong)
        else:
            path = page.question["path"] + (answer.get("found") or "")
            one.checks.append((place, f"{path} {answer['status']} in {1000 * answer['seconds']:.0f} ms"))


def _wrong_answer(one: Health, page: Page, answer: PageAnswer, instance: Instance | None) -> tuple[str, str] | None:
    """What is wrong with a page's answer, and the fix."""
    path, status = page.question["path"] + (answer.get("found") or ""), answer["status"]
    if status not in page.expected:
        what = answer.get("error") or asking.meaning(page.kind, status) or f"not {page.expected[0]}"
        log = "/var/log/nginx/error.log"
        if instance and page.kind in ("page", "WebSocket"):
            short = "wsgi" if page.kind == "page" else "daphne"
            log = f"{instance.log_dir}/{supervisor.in_use(instance, one.survey)[short]}.log"
        return f"{path} answers {status or 'nothing'}: {what}", f"correct what {log} says"
    headers = answer["headers"]
    # What differs in the deploy's own files is said by itself.
    fix = "take out of nginx's other files what changes it; 'nginx -T' shows all of them"
    if page.kind not in ("HTTP", "WebSocket") and status == 200:
        wanted = [*HEADERS, *(["strict-transport-security"] if page.question["site"]["https"] else [])]
        lacking = [header for header in wanted if header not in headers]
        if lacking:
            return f"{path} comes without {', '.join(lacking)}", fix
    allowed = headers.get("access-control-allow-origin", "")
    if page.cors is not None and status == 200 and allowed != page.cors:
        return f"{path} allows {allowed or 'no origin'!r}, not {page.cors or 'none'!r}", fix
    return None


def glance(deployment: Deployment, verify: bool) -> questions.Health:
    return {
        "pages": [page.question for page in pages(deployment)] if verify else [],
        "logs": ["/var/log/nginx"] if deployment.sites else [],
        "space": [tiles.folder for tiles in deployment.tiles],
    }


def health(one: Health) -> None:
    if not one.survey["manifest"] or not one.deployment.sites or one.is_active("nginx.service"):
        return
    if "nginx" not in {finding.place for finding in asking.judge(one.survey)}:
        one.fault("nginx", "it doesn't run: users reach nothing", Command("systemctl start nginx"))


def trial(one: Health, verify: bool) -> None:
    if verify:
        _pages(one)


def rows(one: Health) -> Iterator[tuple[str, str, str]]:
    for tiles in one.deployment.tiles:
        state = one.survey["tiles"][tiles.name]
        there = "there" if state["proof"] else "NOT THERE"
        yield "tiles", tiles.name, f"{there}: {tiles.folder}"


def logs(deployment: Deployment, _: Instance | None) -> questions.Logs:
    if not deployment.sites:
        return {}
    sites = [nginx.site_path(site) for site in deployment.sites]
    return {"logs": ["/var/log/nginx/error.log"], "files": ["/etc/nginx/conf.d/catmaid.conf", *sites]}


TASK = Task(
    "pages",
    glance=glance,
    health=health,
    trial=trial,
    rows=rows,
    logs=logs,
    document=lambda one: {"tiles": {tiles.name: one.survey["tiles"][tiles.name] for tiles in one.deployment.tiles}},
)
