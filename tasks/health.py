"""How hosts are, for the runbooks: what is asked of them, and what is wrong by the answers, with the fix."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import gevent
from pyinfra import host

from catmaid_deploy.configuration import Change, Reason, lost
from catmaid_deploy.facts import survey as facts
from catmaid_deploy.finding import Command, Finding
from catmaid_deploy.plan import causes, this_run
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.report import Report
from catmaid_deploy.plan.task import Tasks
from catmaid_deploy.run import hosts, preflight, sudo
from catmaid_deploy.run.ask import ask, say_begun
from catmaid_deploy.schema import NGINX_USER, Deployment, Instance, Site, TileSet
from catmaid_deploy.tasks import application, asking, certificates, disks, nginx, settings, supervisor, system
from catmaid_deploy.upkeep import output

GIB = 1 << 30
# A file system that is nearly full, and one that soon will be.
FULL, FILLING = 0.05, 0.15
LEAST_BYTES = GIB
# A certificate that ends in fewer days.
SOON_DAYS = 14
# More ends than this in an hour are a fault.
RESTARTS = 3
SETTLED_SECONDS = 30
QUEUE = 1000
# What a program that has just begun doesn't answer yet.
OF_TILES = ("tile", "missing tile")
SERVES = {"wsgi": "page", "daphne": "WebSocket", "celery": "task"}
# The differences of a service that are named.
SHOWN = 4
# What a page answers that is well.
WELL = tuple(range(200, 400))
HEADERS = ("x-content-type-options", "referrer-policy", "x-frame-options")
ROTATION, ROTATED = "logrotate.timer", "logrotate.service"
# The row and column of a tile that no set has.
MISSING = "999999"


@dataclass
class Health:
    """A host's answer, judged. ``checks`` are what was asked and is well, each with a word about it."""

    host: str
    deployment: Deployment | None
    tasks: Tasks = ()
    found: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    checks: list[tuple[str, str]] = field(default_factory=list)

    @property
    def faults(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "fault"]

    @property
    def survey(self) -> dict[str, Any]:
        found: dict[str, Any] = self.found.get("survey", {})
        return found

    def fold(self) -> None:
        """Put what follows from a fault below it: to be done once all has been asked."""
        if self.deployment:
            needs = preflight.needs(self.tasks, self.deployment)
            self.findings = causes.folded(self.findings, needs, {name for name, _ in self.checks})

    def fault(self, place: str, what: str, fix: Command | str) -> None:
        self.findings.append(Finding("fault", place, what, fix))

    def warn(self, place: str, what: str, fix: Command | str) -> None:
        self.findings.append(Finding("warning", place, what, fix))


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
                    (401,) if guarded else (instance.ready_status,) if instance.ready_status else WELL,
                    ("*" if origin == "*" else allowed) if instance.cors else "",
                )
            )
            static = {"site": at, "path": f"{where}static/", "folder": instance.static_alias, "ends": [".js"]}
            found.append(Page("static file", instance.name, static, (401,) if guarded else (200,)))
            upgrade = {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "Y2F0bWFpZC1kZXBsb3kgIQ==",
                "Origin": f"http{'s' if at['https'] else ''}://{site.server_name}",
            }
            channel = {"site": at, "path": f"{where}channels/updates/", "headers": upgrade}
            # CATMAID refuses unknown users; a 403 proves that Daphne answered.
            found.append(Page("WebSocket", instance.name, channel, (401,) if guarded else (101, 403)))
        for tiles in site.tiles:
            found += _tile_pages(site, tiles, at)
    return found


def _tile_pages(site: Site, tiles: TileSet, at: dict[str, Any]) -> Iterator[Page]:
    guarded = bool(tiles.passwords or site.passwords)
    # A tile, or what describes a volume.
    ends = [f".{tiles.suffix}", *(f"/{name}" for name in nginx.DESCRIPTIONS)]
    question = {"site": at, "path": tiles.location, "folder": tiles.folder, "ends": ends}
    yield Page("tile", tiles.name, question, (401,) if guarded else (200,))
    missing = {"site": at, "path": f"{tiles.location}0/{MISSING}_{MISSING}_0.{tiles.suffix}"}
    status = 401 if guarded else 404 if tiles.fallback == "none" else 200
    yield Page("missing tile", tiles.name, missing, (status,))


def spaces(deployment: Deployment) -> list[str]:
    """The paths whose file systems may fill."""
    return [
        *("/", "/run", "/tmp", "/var/log", "/var/lib"),
        *(instance.files_folder for instance in deployment.instances),
        *(tiles.folder for tiles in deployment.tiles),
    ]


def question(tasks: Tasks, deployment: Deployment, verify: bool) -> dict[str, Any]:
    """What a host is asked."""
    survey = preflight.question(tasks, deployment)
    return {
        "survey": survey | {"units": [*survey["units"], ROTATION, ROTATED]},
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
                "runtime_dir": i.runtime_dir,
                "stop_seconds": i.celery.stop_seconds,
                "notes": f"{i.runtime_dir}/addresses",
                "statistics": f"{i.runtime_dir}/uwsgi-stats.socket",
                "sockets": {"wsgi": i.uwsgi_socket, "daphne": i.daphne_socket},
                "queues": list(i.celery.queues),
                "channel": _channel(site, i),
            }
            for site in deployment.sites
            for i in site.instances
        ],
    }


def _channel(site: Site, instance: Instance) -> dict[str, Any]:
    """Where an instance's notices are waited for: behind nginx, or where that asks for a password, at Daphne itself."""
    guarded = bool(instance.passwords or site.passwords)
    at = _site(site)
    return {
        "host": at["name"],
        "https": at["https"],
        "port": at["port"],
        "socket": instance.daphne_socket if guarded else None,
        "path": f"{'/' if guarded else instance.location}channels/updates/",
    }


# ---- what is wrong ----


def ends(one: Health, instance: Instance, short: str) -> list[float]:
    """When a program ended by itself within the last hour, since its slot is in use and it was last started by hand."""
    pointer = one.survey["files"].get(f"{instance.config_dir}/{short}") or {"time": 0}
    place = supervisor.in_use(instance, one.survey)[short]
    return sorted(when for when in one.found["ends"].get(f"{instance.name}-{place}", []) if when > pointer["time"])


def restarts(times: list[float], now: float) -> bool:
    """Whether a program ends again and again: often enough, and the next end is still to be expected.

    One that ends every five minutes is at fault until it has run for fifteen, one that ended every few seconds until
    it has run for half a minute.
    """
    if len(times) < RESTARTS:
        return False
    first, middle, last = times[-3:]
    return now - last < max(SETTLED_SECONDS, 3 * max(middle - first, last - middle))


def _programs(one: Health, instance: Instance) -> None:
    known = one.survey["supervisor"]
    if known is None and _is_active(one, "supervisor.service"):
        return  # it runs and doesn't answer: nothing is known of its programs
    for short, place in supervisor.in_use(instance, one.survey).items():
        name = f"{instance.name}:{instance.name}-{place}"
        part, log = f"{short} of {instance.name}", f"{instance.log_dir}/{place}.log"
        program = (known or {}).get(name)
        if program is None:
            # Supervisor has a group whole or not at all.
            one.fault(f"{supervisor.SET}{instance.name}", "Supervisor doesn't have them", this_run.deploy())
            return
        if program["state"] == "STOPPED":
            one.fault(part, "it is stopped: somebody stopped it", Command(f"supervisorctl start {name}"))
        elif program["state"] not in supervisor.UP:
            last = one.found["logs"].get(name) or "nothing"
            what = f"it is {program['state']}: it ended again and again; its log ends with: {last}"
            one.fault(part, what, f"correct what {log} says, and deploy")
        elif restarts(times := ends(one, instance, short), one.found["time"]):
            what = f"it restarts all the time: it ended {len(times)} times within an hour"
            one.fault(part, what, f"correct what {log} says")


def _is_active(one: Health, unit: str) -> bool:
    return bool(one.survey["units"].get(unit, {}).get("active"))


def _strangers(one: Health) -> None:
    programs = one.survey["supervisor"]
    if programs is None:
        return  # nobody can say which processes are the deploy's own
    named = {program["pid"]: name for name, program in programs.items()}
    for stranger in one.found["strangers"]:
        kind, number, unit = stranger["kind"], stranger["process"], stranger["unit"]
        if late := stranger.get("late"):
            what = f"a {kind} of before, process {number}, was told to end and still runs after celery.stop_seconds"
            one.fault(f"celery of {late}", what, Command(f"pkill -KILL -U {stranger['user']} -g {number}"))
            continue
        harm = "what it sends is done twice" if kind == "beat" else "it takes tasks, with whatever code it has loaded"
        if unit:
            starter, fix = f"the service {unit}", f"systemctl disable --now {unit}"
        elif number in named:
            starter, fix = f"Supervisor's {named[number]}", f"supervisorctl stop {named[number]}"
        else:
            starter, fix = "something unknown", f"kill -- -{number}"
        what = f"a {kind} that isn't the deploy's runs by {stranger['virtualenv']}, process {number}, started by"
        one.fault("celery", f"{what} {starter}: {harm}", Command(fix))


def _applications(one: Health, instance: Instance, verify: bool) -> None:
    asked = one.found["instances"][instance.name]
    probe, numbers = asked["probe"], asked["statistics"]
    name = instance.name
    if broken := probe.get("broken"):
        correct = "correct that in its code, its settings or its virtualenv, and deploy"
        one.fault(f"application of {name}", f"it doesn't load: {broken}", correct)
        return
    for part, setting in (("database", "DATABASES"), ("broker", "CELERY_BROKER_URL")):
        if probe[part]:
            there = f"start it where {setting} in settings.py says that it is, or correct that"
            address = getattr(instance, part)
            where = address.host if address else application.LOCAL[0]
            # What listens and refuses is no matter of a start.
            is_off = re.search(r"connection refused|no such file|no answer within", probe[part], re.IGNORECASE)
            fix = application.start_here(part, where, one.survey) if is_off else None
            one.fault(f"{part} of {name}", f"it doesn't answer: {probe[part]}", fix or there)
    if verify and not probe["broker"]:
        if probe["task"] is None:
            log = f"{instance.log_dir}/{supervisor.in_use(instance, one.survey)['celery']}.log"
            one.fault(f"task of {name}", "no worker takes it within 15 s", f"correct what {log} says")
        else:
            one.checks.append((f"task of {name}", f"taken by a worker after {probe['task']:.1f} s"))
    if verify and not probe["broker"] and not probe["database"] and not is_closed(one, instance):
        _notice(one, instance, probe)
    for queue, length in probe["queues"].items():
        if length > QUEUE:
            one.warn(
                f"queue {queue} of {name}",
                f"{length} tasks wait in it",
                "raise celery.concurrency in the inventory, if the host has processors and memory left",
            )
    if numbers and numbers["waiting"] and numbers["busy"] >= numbers["threads"]:
        one.warn(
            f"wsgi of {name}",
            f"all {numbers['threads']} threads are busy, and {numbers['waiting']} requests wait",
            "raise workers in the inventory, if the host has processors and memory left",
        )


def _notice(one: Health, instance: Instance, probe: dict[str, Any]) -> None:
    """What a task tells a user's page, sent and waited for."""
    place, lost = f"notice of {instance.name}", settings.lost_notices(instance, one.survey["instances"][instance.name])
    # It is known now whether what the settings say keeps them away.
    one.findings = [finding for finding in one.findings if finding.place != place]
    if probe["notice"] is not None:
        one.checks.append((place, f"arrived in a WebSocket after {1000 * probe['notice']:.0f} ms"))
    elif lost:
        one.fault(place, *lost)
    else:
        log = f"{instance.log_dir}/{supervisor.in_use(instance, one.survey)['daphne']}.log"
        what = f"what tasks tell users' pages doesn't reach a WebSocket: {probe['no_notice']}"
        one.fault(place, what, f"correct CHANNEL_LAYERS in settings.py, or what {log} says, and deploy")


def _services(one: Health) -> None:
    blocked = {finding.place for finding in asking.judge(one.survey)}
    if one.survey["supervisor"] is None and "supervisor" not in blocked:
        if _is_active(one, "supervisor.service"):
            log = one.survey["supervisor_file"]["log"]
            one.fault("supervisor", "it runs, and gives no answer", f"correct what {log} says")
        else:
            one.fault("supervisor", "it doesn't run", Command("systemctl start supervisor"))
    if not _is_active(one, "nginx.service") and "nginx" not in blocked:
        one.fault("nginx", "it doesn't run: users reach nothing", Command("systemctl start nginx"))
    if not _is_active(one, disks.SERVICE) and disks.SERVICE in one.survey["units"]:
        what = "nobody watches over them, and one that hangs would hold up all pages"
        one.fault("disks", what, Command(f"systemctl restart {disks.SERVICE}"))
    if not _is_active(one, ROTATION):
        one.fault("logs", f"they aren't rotated: {ROTATION} is off", Command(f"systemctl enable --now {ROTATION}"))
    if one.survey["units"].get(ROTATED, {}).get("failed"):
        one.fault(
            "logs", "their last rotation failed", "correct what 'journalctl -u logrotate' says, and start logrotate"
        )
    for path, size in one.found["old_logs"]:
        rotate = Command("logrotate --verbose /etc/logrotate.conf")
        one.fault("logs", f"{path} has {size >> 20} MiB and isn't rotated", rotate)


def _host(one: Health, offset: float) -> None:
    found = one.found
    for space in found["spaces"]:
        if not space["size"]:
            continue
        share = space["free"] / space["size"]
        room = system.free_space(space["mount"])
        text = f"{space['mount']} has {output.size(space['free'])} of {output.size(space['size'])} free"
        small = space["size"] < 2 * GIB
        if (share < FULL and space["free"] < 10 * GIB) or (space["free"] < LEAST_BYTES and not small):
            one.fault("space", text, room)
        elif share < FILLING and space["free"] < 20 * GIB:
            one.warn("space", text, room)
        if space["files_free"] < FULL:
            fix = f"remove files that nobody needs below {space['mount']}"
            one.fault("space", f"{space['mount']} has room for no more files", fix)
    if wrong := system.clock(offset):
        one.fault("clock", f"{wrong}: logins, certificates and tasks go wrong", system.SET_CLOCK)
    if found["security_updates"]:
        names = found["security_updates"]
        one.warn("packages", f"{len(names)} security updates wait: {', '.join(names[:4])}", Command("apt-get upgrade"))
    if found["reboot"]:
        one.warn("packages", "an update waits for a reboot", "have the host boot anew when nobody traces")


def _certificates(one: Health, site: Site) -> None:
    if site.certificate is None:
        return
    served, file = one.found["served"][site.server_name], one.survey["certificates"][f"{site.server_name} served"]
    place = f"TLS of {site.server_name}"
    if site.tls_dir and file["problem"]:
        path = site.certificate_key if file["of_key"] else site.certificate
        what = f"{path} is missing or broken, and nginx would not start again"
        one.fault(f"site[{site.server_name}].tls.certificate", what, this_run.deploy())
    if served["problem"]:
        one.fault(place, f"no TLS connection: {served['problem']}", "correct what /var/log/nginx/error.log says")
        return
    days = served["seconds_left"] / 86400
    # A deploy gets or signs a new one where it is not the admin's own, and has nginx load what is there.
    own = site.tls.certificate not in ("acme", "self-signed")
    old = own and file["seconds_left"] < SOON_DAYS * 86400
    fix = f"put a new one at {site.tls.certificate}, and deploy" if old else this_run.deploy()
    if days < 0:
        one.fault(place, f"the certificate ended {-days:.0f} days ago: browsers refuse the site", fix)
    elif days < (certificates.FEW_DAYS if site.tls.certificate == "self-signed" else SOON_DAYS):
        one.warn(place, f"the certificate ends in {days:.0f} days", fix)
    else:
        one.checks.append(
            (place, f"{served.get('version', 'by its file')}, the certificate is good for {days:.0f} days")
        )


def is_closed(one: Health, instance: Instance | None) -> bool:
    """Whether users see the notice, since somebody closed the host or an instance."""
    closed = one.survey["closed"]
    return "/etc/catmaid/maintenance" in closed or bool(instance and f"{instance.config_dir}/maintenance" in closed)


def _pages(one: Health) -> None:
    assert one.deployment
    instances = {instance.name: instance for instance in one.deployment.instances}
    hung = disks.hung_tiles(one.deployment, one.survey)
    for page, answer in zip(pages(one.deployment), one.found["pages"], strict=True):
        instance = instances.get(page.whose)
        if is_closed(one, instance) or (page.kind in OF_TILES and page.whose in hung):
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


def _wrong_answer(one: Health, page: Page, answer: dict[str, Any], instance: Instance | None) -> tuple[str, str] | None:
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


def _is_said(one: Health, change: Change, reason: Reason) -> bool:
    """Whether what a deploy would do has a finding of its own: of a program, of a group, of a certificate, of what
    starts at boot.
    """
    if reason.why == nginx.CHANGED_CERTIFICATE:
        faults = any(finding.place.endswith(".tls.certificate") for finding in one.faults)
        return faults or any(finding.place.startswith("TLS of ") for finding in one.findings)
    if reason.why == disks.REGROUPED:
        return any(finding.place == f"user {NGINX_USER}" for finding in one.faults)
    group = change.set.name.removeprefix(supervisor.SET)
    places = {f"{reason.part} of {group}", f"{supervisor.SET}{reason.part}"}
    return reason.do in ("start", "enable") or any(finding.place in places for finding in one.faults)


def _sockets(one: Health, instance: Instance) -> None:
    """Sockets that somebody removed under programs that have had time to make them."""
    for short, path in one.found["instances"][instance.name]["gone"].items():
        name = f"{instance.name}:{instance.name}-{supervisor.in_use(instance, one.survey)[short]}"
        state = (one.survey["supervisor"] or {}).get(name, {}).get("state")
        if state == "RUNNING" and (one.found["ages"].get(name) or 0) > instance.start_seconds:
            what = f"{path} leads to nothing, since the socket of {short} was removed"
            one.fault(f"sockets of {instance.name}", what, Command(f"supervisorctl restart {name}"))


def _difference(one: Health, look: Look) -> None:
    """What a deploy would change: the host isn't, or doesn't run, as the inventory says."""
    deployment = look.deployment
    made = preflight.make(one.tasks, look, Report(one.host))
    one.findings += [found for step in made.steps for found in step.lacks]
    for instance in deployment.instances:
        sets = [change.set for change in made.changes if change.set.name == f"{supervisor.SET}{instance.name}"]
        links = [path for group in sets for path in lost(group, one.survey)]
        if not one.survey["files"].get(instance.runtime_dir):
            what = f"{instance.runtime_dir} isn't there, and so nobody reaches its programs"
            one.fault(f"sockets of {instance.name}", what, this_run.deploy())
        elif links:
            what = f"{', '.join(links)} doesn't lead to its program, and so nobody reaches that"
            one.fault(f"sockets of {instance.name}", what, this_run.deploy())
        else:
            _sockets(one, instance)
    for change in made.changes:
        # Of what Supervisor doesn't tell nothing is known.
        unknown = one.survey["supervisor"] is None and change.set.name.startswith(supervisor.SET)
        reasons = [] if unknown else [reason for reason in change.reasons if not _is_said(one, change, reason)]
        lines = [*(f"{difference.what} {difference.path}" for difference in change.differences), *map(str, reasons)]
        if lines:
            more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
            what = f"not as the inventory says, a deploy would: {'; '.join(lines[:SHOWN])}{more}"
            one.fault(f"{causes.CONFIGURATION}{change.set.name}", what, this_run.deploy())


def _inventory(one: Health, look: Look) -> bool:
    """What a run would refuse, or warn of; returns whether it would refuse, before it decides what there is to do."""
    refused = preflight.judge(one.tasks, look)
    one.findings += refused
    last, lock = one.survey["last_run"], one.survey["lock"]
    if last and not last.get("ended") and not (lock and lock["alive"]):
        one.warn("deploy", f"the run of {last['admin']} at {last['since']} was cut before its end", this_run.deploy())
    for found in preflight.standing(one.tasks, look):
        # A run goes on without them, users don't.
        missed = found.place.endswith((".database", ".broker", ".mount", ".prefix")) or found.place.startswith(
            "login of "
        )
        one.findings.append(replace(found, level="fault") if missed else found)
    return bool(refused)


def judge(one: Health, look: Look, verify: bool) -> None:
    """All that is wrong with a host; what follows from what is for `causes`."""
    assert one.deployment
    _host(one, look.ahead)
    if not one.survey["manifest"]:
        _inventory(one, look)
        one.fault("deploy", "nothing was deployed to this host yet", this_run.deploy())
        return
    _services(one)
    for instance in one.deployment.instances:
        _programs(one, instance)
    _strangers(one)
    at_fault = {finding.place for finding in one.findings}
    one.findings += [finding for finding in asking.findings(one.survey) if finding.place not in at_fault]
    refused = _inventory(one, look)
    for instance in one.deployment.instances:
        _applications(one, instance, verify)
    for site in one.deployment.sites:
        _certificates(one, site)
    if not refused:
        _difference(one, look)
    if verify:
        _pages(one)


# ---- all hosts ----


def begun(one: Health) -> list[str]:
    """The programs that have just begun, and at fault for no other reason: nobody can say yet whether they are well."""
    assert one.deployment
    found = preflight.starting(one.survey)
    unanswered = {
        finding.place
        for finding in causes.folded(one.faults, preflight.needs(one.tasks, one.deployment))
        if finding.place.startswith("task of ") or re.search(r" answers (502|nothing)", finding.what)
    }
    for instance in one.deployment.instances:
        for short, place in supervisor.in_use(instance, one.survey).items():
            name = f"{instance.name}:{instance.name}-{place}"
            program = (one.survey["supervisor"] or {}).get(name)
            if not program or program["state"] not in supervisor.UP:
                continue
            young = (one.found["ages"].get(name) or 0) < instance.start_seconds
            if young and (program["digest"] is None or f"{SERVES.get(short)} of {instance.name}" in unanswered):
                found.append(f"{short} of {instance.name}")
    return sorted(set(found))


def _look(tasks: Tasks, name: str, deployment: Deployment, verify: bool) -> Health:
    """Ask the current host, and judge what it says; to verify it, once all its programs have had time to begin."""
    fact, asked = facts.Verify if verify else facts.Health, question(tasks, deployment, verify)
    sets = preflight.wanted_sets(tasks, deployment)
    patience = time.monotonic() + max((instance.start_seconds for instance in deployment.instances), default=0)
    said = ""
    while True:
        one = Health(name, deployment, tasks)
        one.found, ahead = ask(fact, asked)
        look = Look(deployment, one.survey, sets, ahead)
        look.missing = preflight.missing(tasks, look)
        judge(one, look, verify)
        waits = begun(one) if verify and one.survey["manifest"] else []
        if not waits or time.monotonic() > patience:
            return one
        said = say_begun(waits, said)
        gevent.sleep(2)


def look_at_all(tasks: Tasks, verify: bool) -> list[Health]:
    """Ask all hosts of the run side by side, and judge each; the caller shows them and ends the run."""
    hosts.options()
    deployments, wrong = hosts.described(hosts.for_all())
    results = {}
    for name, faults in wrong.items():
        results[name] = Health(name, None, findings=faults)
    answers = hosts.each(deployments, lambda deployment: _look(tasks, host.name, deployment, verify))
    for asked, answer in answers.items():
        if isinstance(answer, Health):
            results[asked.name] = answer
            continue
        results[asked.name] = Health(asked.name, deployments[asked], tasks, findings=list(answer.findings))
    sudo.keep_password_out_of_sight()
    return [results[name] for name in sorted(results)]
