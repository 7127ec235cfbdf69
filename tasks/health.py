"""How hosts are, for the runbooks: what is asked of them, and what is wrong by the answers, with the mend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pyinfra import host

from configuration import ConfigurationSet
from facts import survey as facts
from schema import Deployment, Instance, Site, TileSet
from tasks import connection, plan, preflight, run, supervisor, tell

GIB = 1 << 30
# A file system that is nearly full, and one that soon will be.
FULL, FILLING = 0.05, 0.15
LEAST_BYTES = GIB
# So many ends in an hour are no chance.
RESTARTS = 3
QUEUE = 1000
# So many differences are told of a service.
SHOWN = 4
HEADERS = ("x-content-type-options", "referrer-policy", "x-frame-options")
ROTATION = "logrotate.timer"
# The row and column of a tile that no set has.
MISSING = "999999"


@dataclass(frozen=True)
class Finding:
    """Something that isn't as it should be: ``fault`` keeps users from working, ``warning`` may soon."""

    level: Literal["fault", "warning"]
    place: str
    what: str
    mend: str


@dataclass
class Health:
    """A host's answer, judged. ``checks`` are what was asked and is well, each with a word about it."""

    host: str
    deployment: Deployment | None
    found: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    checks: list[tuple[str, str]] = field(default_factory=list)

    @property
    def faults(self) -> list[Finding]:
        return [one for one in self.findings if one.level == "fault"]

    @property
    def survey(self) -> dict[str, Any]:
        found: dict[str, Any] = self.found.get("survey", {})
        return found

    def fault(self, place: str, what: str, mend: str) -> None:
        self.findings.append(Finding("fault", place, what, mend))

    def warn(self, place: str, what: str, mend: str) -> None:
        self.findings.append(Finding("warning", place, what, mend))


def deploy_command(options: str = "") -> str:
    """What an admin types for a deploy with the inventory of this run."""
    return f"pyinfra {run.inventory_file()} deploy.py{options}"


# ---- what is asked ----


@dataclass(frozen=True)
class Page:
    """A page that users ask for, and how its answer is judged; ``whose`` names its site, instance or tile set."""

    kind: str
    whose: str
    question: dict[str, Any]
    expected: tuple[int, ...]
    cors: str | None = None


def _site(site: Site) -> dict[str, Any]:
    https = site.certificate is not None
    files = [site.certificate, site.certificate_key] if https else []
    return {"name": site.server_name, "https": https, "port": 443 if https else 80, "files": files}


def pages(deployment: Deployment) -> list[Page]:
    """All that is asked of a host's nginx, as users would."""
    found = []
    for site in deployment.sites:
        at = _site(site)
        if at["https"]:
            plain = at | {"https": False, "port": 80}
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
                    (401,) if guarded else (200, 301, 302),
                    ("*" if origin == "*" else allowed) if instance.cors else "",
                )
            )
            static = {"site": at, "path": f"{where}static/", "folder": instance.static_alias, "suffix": ".js"}
            found.append(Page("static file", instance.name, static, (401,) if guarded else (200,)))
            upgrade = {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "Y2F0bWFpZC1kZXBsb3kgIQ==",
                "Origin": f"http{'s' if at['https'] else ''}://{site.server_name}",
            }
            channel = {"site": at, "path": f"{where}channels/updates/", "headers": upgrade}
            # Whom CATMAID doesn't know it refuses: then Daphne has been asked.
            found.append(Page("WebSocket", instance.name, channel, (401,) if guarded else (101, 403)))
        for tiles in site.tiles:
            found += _tile_pages(site, tiles, at)
    return found


def _tile_pages(site: Site, tiles: TileSet, at: dict[str, Any]) -> Iterator[Page]:
    guarded = bool(tiles.passwords or site.passwords)
    question = {"site": at, "path": tiles.location, "folder": tiles.folder, "suffix": f".{tiles.suffix}"}
    yield Page("tile", tiles.name, question, (401,) if guarded else (200,))
    missing = {"site": at, "path": f"{tiles.location}0/{MISSING}_{MISSING}_0.{tiles.suffix}"}
    status = 401 if guarded else 404 if tiles.fallback == "none" else 200
    yield Page("missing tile", tiles.name, missing, (status,))


def spaces(deployment: Deployment) -> list[str]:
    """The paths whose file systems may fill."""
    return [
        *("/", "/tmp", "/var/log", "/var/lib"),
        *(instance.files_folder for instance in deployment.instances),
        *(tiles.folder for tiles in deployment.tiles),
    ]


def question(deployment: Deployment, sets: list[ConfigurationSet], verify: bool) -> dict[str, Any]:
    """What a host is asked."""
    survey = preflight.question(deployment, sets)
    return {
        "survey": survey | {"units": [*survey["units"], ROTATION]},
        "sites": [_site(site) for site in deployment.sites],
        "pages": [page.question for page in pages(deployment)] if verify else [],
        "space": spaces(deployment),
        "logs": ["/var/log/nginx", *(instance.log_dir for instance in deployment.instances)],
        "instances": [
            {
                "name": i.name,
                "user": i.user,
                "config_dir": i.config_dir,
                "virtualenv": i.virtualenv,
                "log_dir": i.log_dir,
                "notes": f"{i.runtime_dir}/addresses",
                "statistics": f"{i.runtime_dir}/uwsgi-stats.socket",
                "daphne": i.daphne_socket,
                "queues": list(i.celery.queues),
            }
            for i in deployment.instances
        ],
    }


# ---- what is wrong ----


def ends(one: Health, instance: Instance, short: str) -> int:
    """How often a program ended by itself within the last hour, since its slot is in use."""
    pointer = one.survey["files"].get(f"{instance.config_dir}/{short}") or {"time": 0}
    place = supervisor.in_use(instance, one.survey)[short]
    times = one.found["ends"].get(f"{instance.name}-{place}", [])
    return sum(when > pointer["time"] for when in times)


def _programs(one: Health, instance: Instance) -> None:
    found, survey = one.found, one.survey
    slots = supervisor.in_use(instance, survey)
    for short, place in slots.items():
        name = f"{instance.name}:{instance.name}-{place}"
        log = f"{instance.log_dir}/{place}.log"
        program = (survey["supervisor"] or {}).get(name)
        restart = f"supervisorctl start {name}"
        if program is None:
            one.fault(instance.name, f"{short} isn't known to Supervisor", deploy_command())
        elif program["state"] == "STOPPED":
            one.fault(instance.name, f"{short} is stopped: somebody stopped it", restart)
        elif program["state"] not in supervisor.UP:
            last = found["logs"].get(name) or "nothing"
            one.fault(
                instance.name,
                f"{short} is {program['state']}: it ended again and again; its log ends with: {last}",
                f"tail -n 50 {log}; when the cause is gone: {restart}",
            )
        else:
            number = ends(one, instance, short)
            if number >= RESTARTS:
                one.fault(
                    instance.name,
                    f"{short} restarts all the time: it ended {number} times within an hour",
                    f"tail -n 50 {log}",
                )


def _strangers(one: Health) -> None:
    for stranger in one.found["strangers"]:
        kind, number = stranger["kind"], stranger["process"]
        harm = "what it sends is done twice" if kind == "beat" else "it takes tasks, with whatever code it has loaded"
        one.fault(
            "celery",
            f"a {kind} that isn't the deploy's runs by {stranger['virtualenv']}, process {number}: {harm}",
            f"kill {number}, and remove what starts it: docs/howto/adopt.md",
        )


def _applications(one: Health, instance: Instance, verify: bool) -> None:
    told = one.found["instances"][instance.name]
    probe, numbers = told["probe"], told["statistics"]
    if broken := probe.get("broken"):
        one.fault(
            instance.name,
            f"its application doesn't load: {broken}",
            f"runuser -u {instance.user} -- {instance.config_dir}/start.sh manage "
            f"{supervisor.in_use(instance, one.survey)['wsgi']} check",
        )
        return
    if probe["database"]:
        one.fault(
            instance.name,
            f"its database doesn't answer: {probe['database']}",
            "systemctl status postgresql on the database's host; DATABASES in settings.py says where that is",
        )
    if probe["broker"]:
        one.fault(
            instance.name,
            f"its broker doesn't answer: {probe['broker']}",
            "systemctl restart rabbitmq-server on the broker's host; CELERY_BROKER_URL in settings.py says where",
        )
    elif verify and probe["task"] is None:
        one.fault(
            instance.name,
            "a task isn't taken by any worker within 15 s",
            f"tail -n 50 {instance.log_dir}/{supervisor.in_use(instance, one.survey)['celery']}.log",
        )
    elif verify:
        one.checks.append((f"task of {instance.name}", f"taken by a worker after {probe['task']:.1f} s"))
    for queue, length in probe["queues"].items():
        if length > QUEUE:
            one.warn(
                instance.name,
                f"{length} tasks wait in the queue {queue}",
                "more celery.concurrency, if the host has processors and memory left",
            )
    if numbers and numbers["waiting"] and numbers["busy"] >= numbers["threads"]:
        one.warn(
            instance.name,
            f"all {numbers['threads']} threads are busy, and {numbers['waiting']} requests wait",
            "raise workers in the inventory, if the host has processors and memory left",
        )


def _services(one: Health) -> None:
    survey = one.survey
    active = {name for name, unit in survey["units"].items() if unit["active"]}
    if survey["supervisor"] is None:
        one.fault("supervisor", "it doesn't run, and so nothing of CATMAID does", "systemctl start supervisor")
    if "nginx.service" not in active:
        one.fault("nginx", "it doesn't run: users reach nothing", "systemctl start nginx; journalctl -u nginx -n 20")
    if one.found["nginx_refuses"]:
        one.fault(
            "nginx",
            f"it would not start with its files as they are: {one.found['nginx_refuses'][0]}",
            f"{deploy_command(' --dry --diff')}, or mend the file",
        )
    if ROTATION not in active:
        one.fault("logs", f"they aren't rotated: {ROTATION} is off", f"systemctl enable --now {ROTATION}")
    for path, size in one.found["old_logs"]:
        one.fault("logs", f"{path} has {size >> 20} MiB and isn't rotated", "logrotate --verbose /etc/logrotate.conf")


def _host(one: Health, offset: float) -> None:
    found = one.found
    for space in found["spaces"]:
        if not space["size"]:
            continue
        share = space["free"] / space["size"]
        look = f"du -xhd2 {space['mount']} | sort -h | tail"
        text = f"{space['mount']} has {tell.size(space['free'])} of {tell.size(space['size'])} free"
        small = space["size"] < 2 * GIB
        if (share < FULL and space["free"] < 10 * GIB) or (space["free"] < LEAST_BYTES and not small):
            one.fault("space", text, look)
        elif share < FILLING and space["free"] < 20 * GIB:
            one.warn("space", text, look)
        if space["files_free"] < FULL:
            one.fault("space", f"{space['mount']} has room for no more files", f"find {space['mount']} -xdev | wc -l")
    if abs(offset) > preflight.CLOCK_SECONDS:
        one.fault(
            "clock",
            f"the host's is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this machine's: logins, "
            "certificates and tasks go wrong",
            "timedatectl set-ntp true on the one that is wrong",
        )
    if found["security_updates"]:
        names = found["security_updates"]
        one.warn("packages", f"{len(names)} security updates wait: {', '.join(names[:4])}", "apt-get upgrade")
    if found["reboot"]:
        one.warn("packages", "an update waits for a reboot", "reboot, when nobody traces")


def _certificates(one: Health, site: Site) -> None:
    if site.certificate is None:
        return
    served = one.found["served"][site.server_name]
    place = f"TLS of {site.server_name}"
    if served["problem"]:
        one.fault(place, f"no TLS connection: {served['problem']}", "systemctl status nginx")
        return
    days = served["seconds_left"] / 86400
    mend = {
        "acme": f"certbot renew; journalctl -u certbot; then {deploy_command()}",
        "self-signed": deploy_command(),
    }.get(site.tls.certificate, f"put a new one at {site.tls.certificate}, then {deploy_command()}")
    if days < 0:
        one.fault(place, f"the certificate ended {-days:.0f} days ago: browsers refuse the site", mend)
    elif days < 14:
        one.warn(place, f"the certificate ends in {days:.0f} days", mend)
    else:
        one.checks.append(
            (place, f"{served.get('version', 'by its file')}, the certificate is good for {days:.0f} days")
        )


_CAUSES = {
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


def _pages(one: Health) -> None:
    deployment = one.deployment
    assert deployment
    closed = one.survey["closed"]
    instances = {i.name: i for i in deployment.instances}
    for page, answer in zip(pages(deployment), one.found["pages"], strict=True):
        name = f"{page.kind} of {page.whose}"
        path, status = page.question["path"] + (answer.get("found") or ""), answer["status"]
        instance = instances.get(page.whose)
        if "/etc/catmaid/maintenance" in closed or (instance and f"{instance.config_dir}/maintenance" in closed):
            continue
        if "folder" in page.question and not answer.get("found"):
            if page.kind == "tile":
                one.fault(name, f"there is no .{page.question['suffix'][1:]} file below {page.question['folder']}",
                          f"ls {page.question['folder']}; mount its disk, or correct folder or suffix")  # fmt: skip
            continue
        if status not in page.expected:
            what = answer.get("error") or _CAUSES.get(status, f"not {page.expected[0]}")
            if page.kind == "WebSocket" and status == 502:
                what = "Daphne doesn't answer, or CATMAID has no CHANNEL_LAYERS in settings.py"
            log = "/var/log/nginx/error.log"
            if instance and page.kind in ("page", "WebSocket"):
                short = "wsgi" if page.kind == "page" else "daphne"
                log = f"{instance.log_dir}/{supervisor.in_use(instance, one.survey)[short]}.log"
            one.fault(name, f"{path} answers {status or 'nothing'}: {what}", f"tail -n 50 {log}")
            continue
        headers = answer["headers"]
        if page.kind not in ("HTTP", "WebSocket"):
            wanted = [*HEADERS, *(["strict-transport-security"] if page.question["site"]["https"] else [])]
            lacking = [header for header in wanted if header not in headers]
            if lacking and status == 200:
                one.fault(name, f"{path} comes without {', '.join(lacking)}", deploy_command(" --dry --diff"))
                continue
        if page.cors is not None and status == 200 and headers.get("access-control-allow-origin", "") != page.cors:
            one.fault(name, f"{path} allows {headers.get('access-control-allow-origin', 'no origin')!r}, not "
                      f"{page.cors or 'none'!r}", deploy_command(" --dry --diff"))  # fmt: skip
            continue
        one.checks.append((name, f"{path} {status} in {1000 * answer['seconds']:.0f} ms"))


def _difference(one: Health) -> None:
    """What a deploy would change: the host isn't, or doesn't run, as the inventory says."""
    deployment = one.deployment
    assert deployment
    made = plan.make(deployment, one.survey, run.Report(one.host, []))
    mend = f"{deploy_command()} (with --dry --diff to see it before)"
    for name in made.packages:
        one.fault("packages", f"{name} isn't installed", deploy_command())
    for instance in made.releases:
        assert instance.releases
        one.fault(instance.name, f"its release {instance.releases.revision} isn't on the host", deploy_command())
    for change in made.changes:
        # What doesn't run has been said.
        lines = [line for line in change.summary if not line.startswith("start ")]
        if lines:
            more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
            what = "; ".join(lines[:SHOWN]) + more
            one.fault(change.set.name, f"not as the inventory says, a deploy would: {what}", mend)


def _inventory(one: Health, sets: list[ConfigurationSet]) -> bool:
    """What a run would refuse, or warn of; returns whether it would refuse, before it decides what there is to do."""
    deployment = one.deployment
    assert deployment
    refused = preflight.judge(deployment, one.survey, sets)
    for line in refused:
        place, _, rest = line.partition(": ")
        what, _, mend = rest.partition(": ")
        one.fault(place, what, mend or deploy_command())
    last, lock = one.survey["last_run"], one.survey["lock"]
    if last and not last.get("ended") and not (lock and lock["alive"]):
        one.warn("deploy", f"the run of {last['admin']} at {last['since']} broke off", deploy_command())
    for line in preflight.standing(deployment, one.survey):
        place, _, rest = line.partition(": ")
        what, _, mend = rest.rpartition(": ")
        if place.endswith((".database", ".broker")):
            what, _, _ = rest.partition("; ")
            one.fault(place, what, "start it there, or correct the address in the inventory")
        elif place.endswith(".mount"):
            one.fault(place, what, f"mount {what.split()[0]}")
        else:
            one.warn(place, what or rest, mend if what else "")
    return bool(refused)


def judge(one: Health, sets: list[ConfigurationSet], offset: float, verify: bool) -> None:
    """All that is wrong with a host, the causes before what follows from them."""
    assert one.deployment
    _host(one, offset)
    if not one.survey["manifest"]:
        _inventory(one, sets)
        one.fault("deploy", "nothing was deployed to this host yet", deploy_command(" --dry"))
        return
    _services(one)
    for instance in one.deployment.instances:
        _programs(one, instance)
    _strangers(one)
    refused = _inventory(one, sets)
    for instance in one.deployment.instances:
        _applications(one, instance, verify)
    for site in one.deployment.sites:
        _certificates(one, site)
    if not refused:
        _difference(one)
    if verify:
        _pages(one)


# ---- all hosts ----


def _look(name: str, deployment: Deployment, verify: bool) -> Health:
    """Ask the current host, and judge what it says."""
    one, sets = Health(name, deployment), plan.wanted_sets(deployment)
    fact = facts.Verify if verify else facts.Health
    one.found, offset = preflight.ask(fact, question(deployment, sets, verify))
    judge(one, sets, offset, verify)
    one.findings.sort(key=lambda finding: finding.level)
    return one


def look(verify: bool) -> list[Health]:
    """Ask all hosts of the run side by side, and judge each; the caller shows them and ends the run."""
    deployments, wrong = preflight.described(preflight.for_all())
    results = {}
    for name, lines in wrong.items():
        one = results[name] = Health(name, None)
        for line in lines:
            one.fault("inventory", line, "correct the inventory")
    for asked, answer in preflight.each(deployments, lambda deployment: _look(host.name, deployment, verify)).items():
        if isinstance(answer, Health):
            results[asked.name] = answer
            continue
        one = results[asked.name] = Health(asked.name, deployments[asked])
        for line in answer.lines:
            what, _, mend = line.rpartition(": ")
            one.fault("access", what or line, mend)
    connection.keep_password_out_of_sight()
    return [results[name] for name in sorted(results)]
