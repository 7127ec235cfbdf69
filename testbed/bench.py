"""``make bench``: the deploy against its peers, and each figure against its goal.

CATMAID_BENCH="second,delay" runs these parts alone; the names are those of PARTS.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

import httpx

from catmaid_deploy import schema
from catmaid_deploy.tasks.programs import wsgi
from testbed import bare, hosts, images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.images import progress, say
from testbed.peers import ansible, deploys, link, load, replaced, script, sites, steady, stock
from testbed.peers import nothing as from_nothing
from testbed.peers.sites import HTTP_SITE, INSTANCE, MANY_INSTANCES, MANY_SETS, OPEN_SITE, OTHER_SITE, SITE
from testbed.peers.table import Line, multiple, ratio, show, spread
from testbed.podman import BedError, podman
from testbed.updates import SITE as UPDATE_SITE
from testbed.updates import answered, imported, release, settled

FEWEST_FILES = 30
ROUNDS = 7
FEW_ROUNDS = 5
# Of two seconds each: the median of five moves by a twentieth from one run to the next.
TILE_ROUNDS = 15
FIRST_ROUNDS = 3
NOTHING_ROUNDS = 2
# In percent: what takes less isn't named.
LEAST_SHARE = 2
RECOVERY_ROUNDS = 3
DELAY = 0.05
MANY_HOSTS = 8
MOST_COMMANDS = 5
INSTANCE_MS, SET_MS = 30, 1
MORE_TILES = 1.2
PAGE_RATE = "50mbit"
UPDATE_ROUNDS, UPDATE_REQUESTS = 3, 5000
UPDATE_SECONDS = 15
IMPORT_SECONDS = 1.5

Works = dict[str, Callable[[], object]]


def timed(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def alternate(title: str, rounds: int, works: Works) -> dict[str, list[float]]:
    """Seconds of each work, taken in turns, since machines are noisy; each has run once before."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        say(f"{title}: " + (f"round {number} of {rounds}" if number else "once to warm up"))
        for name, work in works.items():
            seconds = timed(work)
            if number:
                times[name].append(seconds)
    return times


class Bench:
    """A bed, and the deployed host that most parts share."""

    def __init__(self, bed: Bed, image: str) -> None:
        self.bed, self.image = bed, image
        self.late: list[str] | None = None

    def boot(self, name: str, user: str = INSTANCE["user"]) -> BedHost:
        """A host with the application, whose programs run as this user, and nothing deployed."""
        host = self.bed.boot(self.image, name)
        host.run(f"{sites.DATA}; chown -R {user}: {INSTANCE['files_folder']}")
        return host

    @cached_property
    def host(self) -> BedHost:
        """A host with SITE on it and nothing left to do."""
        with progress("a host with every option, deployed"):
            host = self.boot("site")
            self.late = deploys.settle([host], SITE)
        return host

    @cached_property
    def client(self) -> BedHost:
        """A host with programs that load others."""
        with images.lock("bookworm"):
            image = images.client()
        return self.bed.boot(image, "client")

    @contextmanager
    def serving(self, site: dict[str, object]) -> Iterator[BedHost]:
        """The deployed host with another site on it, and Debian's own nginx beside its own, each with one worker."""
        with progress("a site without passwords"):
            deploys.deploy([self.host], site)
        try:
            with stock.beside(self.host):
                yield self.host
        finally:
            deploys.deploy([self.host], SITE)

    @contextmanager
    def copies(self, count: int) -> Iterator[list[BedHost]]:
        """Copies of the deployed host, booted: compiling uWSGI on each of them would take minutes."""
        image = f"{images.REGISTRY}/bench:{os.getpid()}"
        try:
            with progress(f"{count} copies of the deployed host"):
                podman("commit", "--quiet", "--change", f"LABEL {images.LABEL}=bench", self.host.name, image)
                found = [self.bed.boot(image, f"copy{number}", wait=False) for number in range(1, count + 1)]
                for host in found:
                    host.wait_until_up()
                deploys.settle(found, SITE)
            yield found
        finally:
            for host in self.bed.hosts:
                if "-copy" in host.name:
                    host.remove()
            podman("rmi", image, check=False)


def described(bench: Bench) -> list[Line]:
    """What is deployed: whether it is what the goals speak of."""
    count = len(ansible.Work.of(bench.host, schema.load(SITE)).items) + len(ansible.absent())
    missing = list(sites.left_out())
    return [
        Line("files, folders and links of the site", str(count), "", f"at least {FEWEST_FILES}", count >= FEWEST_FILES),
        Line("options left at their default", ", ".join(missing) or "none", "", "none", not missing),
        Line("changed by the second run", ", ".join(bench.late or ()) or "nothing", "", "nothing", not bench.late),
    ]


def first(bench: Bench) -> list[Line]:
    """A first deploy, against a plain shell script with the same end."""
    site = schema.load(SITE)
    work = ansible.Work.of(bench.host, site)
    # What compiles uWSGI isn't asked for where that is installed, as on the host that the files come from.
    text = script.plain(site, [*work.packages, *wsgi.COMPILER], ansible.absent())
    data = script.archive(bench.host, site, work.items)
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(FIRST_ROUNDS):
        say(f"first deploy and plain script: round {number + 1} of {FIRST_ROUNDS}")
        ours, plain = bench.boot(f"deploy{number}"), bench.boot(f"plain{number}")
        works: Works = {
            "ours": partial(deploys.deploy, [ours], SITE),
            "plain": partial(script.ssh, plain, text, data),
        }
        # They take turns in being first: the other finds in caches what both read.
        for name in sorted(works, reverse=number % 2 == 0):
            times[name].append(timed(works[name]))
        ours.remove()
        plain.remove()
    return [
        Line("first deploy", spread(times["ours"])),
        Line("plain shell script, same end", spread(times["plain"])),
        ratio("  first deploy to plain script", times["ours"], times["plain"], 1.15),
    ]


def nothing(bench: Bench) -> list[Line]:
    """From a bare host to CATMAID, against a plain script that does the same; and where the time goes."""
    boot = partial(bare.boot, bench.bed, "bookworm", releases={"1.0": {}})
    with progress("a host from nothing, for its files"):
        source = boot("nothing")
        from_nothing.deploy(source)
    text, data = from_nothing.plain(source)
    source.remove()
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    parts: dict[str, list[float]] = {}
    for number in range(NOTHING_ROUNDS):
        say(f"from nothing, and plain script: round {number + 1} of {NOTHING_ROUNDS}")
        # They take turns in being first: the other finds in caches what both read.
        for name in sorted(times, reverse=number % 2 == 0):
            host = boot(f"{name}{number}")
            start = time.monotonic()
            if name == "ours":
                for part, seconds in from_nothing.deploy(host):
                    parts.setdefault(part, []).append(seconds)
            else:
                script.ssh(host, text, data)
            times[name].append(time.monotonic() - start)
            host.remove()
    whole = median(times["ours"])
    shares = {part: 100 * median(seconds) / whole for part, seconds in parts.items()}
    named = {part: share for part, share in shares.items() if share >= LEAST_SHARE}
    return [
        Line("from nothing to CATMAID", spread(times["ours"])),
        Line("plain shell script, same end", spread(times["plain"])),
        ratio("  from nothing to plain script", times["ours"], times["plain"], 1.15),
        *(Line(f"    {part[0].lower()}{part[1:]}", f"{share:.0f} %") for part, share in named.items()),
        Line("    all else", f"{100 - sum(named.values()):.0f} %"),
    ]


def second(bench: Bench) -> list[Line]:
    """A run without changes, against the peers and against what no run can do without."""
    host, site = bench.host, schema.load(SITE)
    with progress("what Ansible's modules need on the host"):
        ansible.prepare(host)
    work = ansible.Work.of(host, site)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="catmaid-deploy-")))
        best = stack.enter_context(ansible.Ansible(folder / "best", host, site, work, mitogen=False))
        mitogen = stack.enter_context(ansible.Ansible(folder / "mitogen", host, site, work, mitogen=True))
        words = [sys.executable, "-c", "import pyinfra_cli.main"]
        works: Works = {
            "ours": lambda: deploys.unchanged([host], SITE),
            "ansible": best.run,
            "mitogen": mitogen.run,
            "ssh": lambda: script.ssh(host, "true"),
            "import": lambda: subprocess.run(words, check=True),
        }
        times = alternate("run without changes and its peers", ROUNDS, works)
    floor = [a + b for a, b in zip(times["ssh"], times["import"], strict=True)]
    return [
        Line("run without changes", spread(times["ours"])),
        Line("ansible-core, best settings", spread(times["ansible"])),
        ratio("  ours to it", times["ours"], times["ansible"], 1 / 15, part=True),
        Line("ansible-core with Mitogen", spread(times["mitogen"])),
        ratio("  ours to it", times["ours"], times["mitogen"], 1 / 5, part=True),
        Line("ssh host true", spread(times["ssh"])),
        Line("import pyinfra_cli.main", spread(times["import"])),
        ratio("  ours to the sum of both", times["ours"], floor, 1.5),
    ]


def commands(bench: Bench) -> list[Line]:
    """Remote commands and seconds of runs without changes, for one instance and for many, and for many tile sets."""
    one = deploys.commands(bench.host, SITE)
    few, more = sites.many(), sites.many(MANY_SETS)
    with progress(f"a host with {MANY_INSTANCES} instances (some minutes)"):
        host = bench.boot("many", "www-data")
        host.run(sites.PLACE + sites.PLACE_SETS, timeout=600)
        took = timed(lambda: deploys.deploy([host], few))
        deploys.settle([host], few)
    runbooks = ("deploy.py", "runbooks/status.py", "runbooks/verify.py")

    def look(on: BedHost, site: dict[str, object], runbook: str) -> None:
        # Nothing of the bench's is a database or a broker's virtual host: that is a fault of its own.
        run = deploys.deploy([on], site, runbook=runbook, ends=(0, 1) if runbook != "deploy.py" else (0,))
        if run.changed:
            raise BedError(f"a run without changes has changed: {', '.join(run.changed)}")

    times: dict[tuple[str, int], list[float]] = {}
    for sets, site in ((0, few), (MANY_SETS, more)):
        if sets:
            deploys.settle([host], more)
        works: Works = {name: partial(look, host, site, name) for name in runbooks}
        works |= {f"one {name}": partial(look, bench.host, SITE, name) for name in runbooks}
        for name, seconds in alternate(f"{MANY_INSTANCES} instances, {sets} tile sets", FEW_ROUNDS, works).items():
            times[name, sets] = seconds
    many = deploys.commands(host, more)
    host.remove()
    goal = f"at most {MOST_COMMANDS}"
    lines = [
        Line("remote commands, one instance", str(one), "", goal, 0 < one <= MOST_COMMANDS),
        Line(f"remote commands, {MANY_INSTANCES} instances", str(many), "", goal, 0 < many <= MOST_COMMANDS),
        Line(f"first deploy, {MANY_INSTANCES} instances", f"{took:.0f} s"),
    ]
    for name in runbooks:
        floor, plain, full = times[f"one {name}", 0], times[name, 0], times[name, MANY_SETS]
        each = (median(plain) - median(floor)) / (MANY_INSTANCES - 1)
        of_set = (median(full) - median(plain)) / MANY_SETS
        with_goal = name == "deploy.py"
        lines += [
            Line(f"{name}, {MANY_INSTANCES} instances", spread(plain)),
            Line(f"{name}, {MANY_SETS} tile sets more", spread(full)),
            Line(
                "  an instance", f"{each * 1000:.0f} ms", "", f"at most {INSTANCE_MS} ms" if with_goal else "",
                each * 1000 <= INSTANCE_MS if with_goal else None,
            ),
            Line(
                "  a tile set", f"{of_set * 1000:.1f} ms", "", f"at most {SET_MS} ms" if with_goal else "",
                of_set * 1000 <= SET_MS if with_goal else None,
            ),
        ]  # fmt: skip
    return lines


def template(bench: Bench) -> list[Line]:
    """A run in which one template changes, until nginx serves it, against runs without changes."""
    targets, turns = [bench.host], [SITE, OTHER_SITE]

    def change() -> None:
        turns.reverse()
        changed = deploys.deploy(targets, turns[0]).changed_services
        if changed != ["nginx"]:
            raise BedError(f"a changed header should change nginx alone, and changes {', '.join(changed) or 'nothing'}")

    works: Works = {"changed": change, "unchanged": lambda: deploys.unchanged(targets, turns[0])}
    times = alternate("one changed template", ROUNDS, works)
    deploys.deploy(targets, SITE)
    return [
        Line("one changed template, live", spread(times["changed"])),
        Line("run without changes, in turns with it", spread(times["unchanged"])),
        ratio("  one to the other", times["changed"], times["unchanged"], 1.5),
    ]


def delay(bench: Bench) -> list[Line]:
    """A run without changes over a long link."""
    what = f"{DELAY * 1000:.0f} ms more a round trip"
    with link.delayed(bench.host, DELAY) as (far, means):
        works: Works = {
            "ours": lambda: deploys.unchanged([far], SITE),
            "ssh": lambda: script.ssh(far, "true"),
        }
        times = alternate(f"{what}, by {means}", ROUNDS, works)
    met = median(times["ours"]) <= 2
    return [
        Line(f"run without changes, {what}", spread(times["ours"]), "", "at most 2 s", met),
        Line(f"ssh host true, {what}", spread(times["ssh"])),
        Line("  the delay is made by", means),
    ]


# Until all programs in use run, and none with the number of the one that was killed.
_KILL = """
pid=$({pid})
cd /etc/catmaid/{name}
used=""
for program in wsgi daphne celery celery-beat; do used="$used {name}:{name}-$(readlink $program)"; done
kill -9 $pid
until supervisorctl status $used | awk '/RUNNING/ && !/pid '$pid',/ {{n++}} END {{exit n != {programs}}}'; do
    sleep 0.1
done
"""


def recovery(bench: Bench) -> list[Line]:
    """How long a killed supervisord and a killed uWSGI master are missed."""
    host = bench.host
    url = f"{host.url}{INSTANCE['prefix']}/"
    # One client: who has shown the right password isn't counted any more, however often it asks.
    browser = httpx.Client(verify=False, auth=sites.USER, trust_env=False, timeout=5)  # noqa: S501 (self-signed)

    def answers() -> bool:
        try:
            return browser.get(url).status_code == 200
        except httpx.HTTPError:
            return False

    wait_for(f"{url} answers", answers, 60, every=1)

    def kill(pid: str) -> None:
        host.run(_KILL.format(pid=pid, programs=4, name=INSTANCE["name"]))
        wait_for(f"{url} answers", answers, 60, every=0.05)

    lines = []
    for what, pid in (
        ("supervisord", "systemctl show --property=MainPID --value supervisor"),
        ("the uWSGI master", f"cat /run/{INSTANCE['name']}/uwsgi.pid"),
    ):
        seconds = []
        for number in range(RECOVERY_ROUNDS):
            say(f"kill -9 of {what}: round {number + 1} of {RECOVERY_ROUNDS}")
            seconds.append(timed(partial(kill, pid)))
        lines.append(
            Line(f"all back after kill -9 of {what}", spread(seconds), "", "at most 10 s", median(seconds) <= 10)
        )
    return lines


def eight(bench: Bench) -> list[Line]:
    """A run without changes on many hosts, and their status, against one of them."""

    def status(hosts: list[BedHost]) -> None:
        # Nothing of the bench's is a database: that is a fault of its own.
        deploys.deploy(hosts, SITE, runbook="runbooks/status.py", ends=(0, 1))

    with bench.copies(MANY_HOSTS) as found:
        works: Works = {
            "many": lambda: deploys.unchanged(found, SITE),
            "one": lambda: deploys.unchanged(found[:1], SITE),
            "status of many": lambda: status(found),
            "status of one": lambda: status(found[:1]),
        }
        times = alternate(f"{MANY_HOSTS} hosts and one", ROUNDS, works)
    return [
        Line(f"run without changes, {MANY_HOSTS} hosts", spread(times["many"])),
        Line("run without changes, one of them", spread(times["one"])),
        ratio("  one to the other", times["many"], times["one"], 2),
        Line(f"status, {MANY_HOSTS} hosts", spread(times["status of many"])),
        Line("status, one of them", spread(times["status of one"])),
        ratio("  one to the other", times["status of many"], times["status of one"], 2),
    ]


# The deployed nginx and Debian's.
_HTTP = ("http://site", f"http://site:{stock.HTTP}")
_HTTPS = ("https://site", f"https://site:{stock.HTTPS}")


def _tiles(
    bench: Bench,
    title: str,
    bases: tuple[str, str],
    kind: str,
    goal: float,
    cold: bool = False,
    http2: bool = False,
    names: int = load.TILE_COUNT,
) -> list[Line]:
    """Tiles a second of both, in turns; cold ones with nothing of them in memory."""
    how = ""
    rates: dict[str, list[float]] = {"nginx": [], "stock": []}
    computed: dict[str, list[float]] = {"nginx": [], "stock": []}
    rounds = FEW_ROUNDS if cold else TILE_ROUNDS
    for number in range(rounds + 1):
        say(f"{title}: " + (f"round {number} of {rounds}" if number else "once to warm up"))
        for name, base in zip(rates, bases, strict=True):
            if cold:
                stock.renew(bench.host)
                how = f" by {load.forget_tiles(bench.host)}"
            before = stock.seconds(bench.host, name)
            start = number * 1237
            if http2:
                count, rate = load.tiles_by_http2(bench.client, base, start)
            else:
                count, rate = load.tiles(bench.client, base, kind, start, names)
            if number:
                rates[name].append(rate)
                computed[name].append((stock.seconds(bench.host, name) - before) / count * 1e6)
    return [
        Line(title + how, spread(rates["nginx"], "/s", 0)),
        Line("  Debian's nginx, the same tiles", spread(rates["stock"], "/s", 0)),
        multiple("  one to the other", rates["nginx"], rates["stock"], goal),
        Line("  computed for one of them", spread(computed["nginx"], "us", 0)),
        Line("  by Debian's nginx", spread(computed["stock"], "us", 0)),
        multiple("  tiles of the same computing", computed["stock"], computed["nginx"]),
    ]


def tiles(bench: Bench) -> list[Line]:
    """Tiles, one in five of them missing, against nginx as it comes from Debian."""
    lines = []
    with progress(f"{load.TILE_COUNT} tiles"):
        load.put_tiles(bench.host, bench.client)
    with bench.serving(HTTP_SITE):
        lines += _tiles(bench, "tiles a second, warm", _HTTP, "all", MORE_TILES)
        lines += _tiles(bench, "tiles a second, cold", _HTTP, "all", MORE_TILES, cold=True)
        lines += _tiles(bench, "tiles a second, none missing", _HTTP, "hits", 1)
        lines += _tiles(bench, "missing tiles a second: black ones, and 404", _HTTP, "misses", 1)
    with bench.serving(OPEN_SITE):
        title = f"tiles a second by TLS, {load.KEPT_COUNT:,} again and again"
        lines += _tiles(bench, title, _HTTPS, "all", MORE_TILES, names=load.KEPT_COUNT)
        lines += _tiles(bench, "tiles a second by TLS, warm", _HTTPS, "all", MORE_TILES)
        lines += _tiles(bench, "tiles a second by TLS and HTTP/2, warm", _HTTPS, "all", MORE_TILES, http2=True)
    return lines


def page(bench: Bench) -> list[Line]:
    """A page of CATMAID's size over HTTP/2 and TLS, against nginx as it comes from Debian."""
    lines = []
    folder, url = f"{INSTANCE['static_folder']}/page", f"https://site{INSTANCE['prefix']}/static/page"
    with bench.serving(OPEN_SITE) as host:
        load.put_page(host, bench.client, folder, url)
        for rate in (None, PAGE_RATE):
            loads: dict[str, list[load.Page]] = {"ours": [], "stock": []}
            with link.narrowed(host, rate):
                for number in range(FEW_ROUNDS + 1):
                    say(f"a page at {rate or 'full speed'}: round {number} of {FEW_ROUNDS}")
                    for name, port in (("ours", 443), ("stock", stock.HTTPS)):
                        one = load.page(bench.client, port)
                        if number:
                            loads[name].append(one)
            ours, theirs = ([one.seconds for one in loads[name]] for name in ("ours", "stock"))
            lines += [
                Line(f"a page by HTTP/2, {rate or 'no limit'}", spread(ours)),
                Line("  Debian's nginx, the same page", spread(theirs)),
                ratio("  one to the other", ours, theirs),
            ]
        host.run(f"rm -r {folder}")
    sent, plain = (float(loads[name][0].bytes) for name in ("ours", "stock"))
    return [
        *lines,
        Line("  bytes of it", f"{sent / 1e6:.1f} MB"),
        Line("  by Debian's nginx", f"{plain / 1e6:.1f} MB"),
        ratio("  one to the other", [sent], [plain]),
    ]


_WAYS: dict[str, Callable[[BedHost], None]] = {
    "by a deploy": replaced.by_deploy,
    "as CATMAID's page says": replaced.by_page,
    "by supervisorctl restart": replaced.by_restart,
}


def _update(host: BedHost, clients: int, way: str) -> list[Line]:
    """Releases under a steady load: what failed, and how much longer the longest request took than without one."""
    ours = way == "by a deploy"
    if way == "as CATMAID's page says":
        replaced.begin_page(host)
    ca = host.run("cat /etc/catmaid/tls/self-signed/localhost/fullchain.pem")
    try:
        with steady.Steady(f"{host.url}/catmaid/", ca, clients) as requests:
            time.sleep(UPDATE_SECONDS)
            begin, last = time.time(), answered(host) + UPDATE_REQUESTS
            number = 0
            while number < UPDATE_ROUNDS or answered(host) < last:
                number += 1
                say(f"{clients} clients, update {number} {way}, {last - answered(host)} requests to go")
                _WAYS[way](host)
                time.sleep(2)
            figures = requests.stop()
    finally:
        if way == "as CATMAID's page says":
            replaced.end_page(host)
    failed = len(figures.failed)
    lines = [
        Line(
            f"{clients} clients, {number} updates {way}: failed",
            f"{failed} of {figures.count}",
            *(("", "none", failed == 0) if ours else ()),
        )
    ]
    for kind in steady.KINDS:
        without, during = figures.longest(kind, until=begin), figures.longest(kind, since=begin)
        goal = ("", "at most 0.1 s more", during - without <= 0.1) if ours else ()
        lines.append(Line(f"  longest {kind}, without and with", f"{without:.2f} s, {during:.2f} s", *goal))
    return lines


def updates(bench: Bench) -> list[Line]:
    """A new release under load, and how long it takes until it serves."""
    with progress("a host for updates"):
        host = bench.boot("updates", "www-data")
        release(host, "first", seconds=IMPORT_SECONDS)
        deploys.settle([host], UPDATE_SITE)
    lines = []
    for clients in (8, 60):
        for way in _WAYS:
            lines += _update(host, clients, way)
    ready, back, there, imports = [], [], [], []
    for number in range(FEW_ROUNDS):
        say(f"a release and back: round {number + 1} of {FEW_ROUNDS}")
        release(host, f"timed-{number}", seconds=IMPORT_SECONDS)
        run = deploys.deploy([host], UPDATE_SITE)
        ready.append(max(float(one) for one in re.findall(r"wsgi-[ab] is ready after ([0-9.]+) s", run.text)))
        # An idle Celery takes three seconds to end, and its slot is needed.
        wait_for("the end of the old programs", lambda: settled(host), 60)
        back.append(timed(lambda: deploys.deploy([host], UPDATE_SITE, runbook="runbooks/rollback.py")))
        there.append(timed(lambda: deploys.deploy([host], UPDATE_SITE, "--dry", runbook="runbooks/rollback.py")))
        imports.append(imported(host))
        wait_for("the end of the old programs", lambda: settled(host), 60)
    most, goal = median(imports) + 2, f"at most {median(imports):.2f} + 2 s"
    return [
        *lines,
        Line(f"the application's import: {IMPORT_SECONDS} s of its own, and Django's", spread(imports)),
        Line("until a release serves", spread(ready), "", goal, median(ready) <= most),
        Line("a rollback as a whole", spread(back), "", goal, median(back) <= most),
        Line("  of which pyinfra takes to begin, and to look", spread(there)),
    ]  # fmt: skip


PARTS: dict[str, Callable[[Bench], list[Line]]] = {
    "described": described,
    "second": second,
    "template": template,
    "delay": delay,
    "recovery": recovery,
    "commands": commands,
    "eight": eight,
    "tiles": tiles,
    "page": page,
    "updates": updates,
    "first": first,
    "nothing": nothing,
}


def _chosen() -> list[str]:
    names = [name for name in os.environ.get("CATMAID_BENCH", "").split(",") if name] or list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise BedError(f"CATMAID_BENCH: {', '.join(unknown)} is no part of the bench: use {', '.join(PARTS)}")
    return names


def _versions(host: BedHost) -> str:
    names = ansible.versions()
    there = host.run("echo Debian $(cat /etc/debian_version), Python $(python3 -V | cut -d' ' -f2)")
    return (
        f"pyinfra {version('pyinfra')} with Python {platform.python_version()}; "
        + ", ".join(f"{name} {number}" for name, number in names.items())
        + f"; the hosts have {there}"
    )


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def main() -> None:
    """Take the figures of all parts, or of those in CATMAID_BENCH, and print them."""
    names = _chosen()
    # What a user's second run finds compiled is compiled here too.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with images.lock("bookworm"):
        image = images.site("bookworm")
    ansible.python()
    lines: list[Line] = []
    about = f"{os.cpu_count()} cores, with a load of {_load()} before"
    try:
        with Bed(f"bench-{os.getpid()}") as bed:
            bench = Bench(bed, image)
            about = f"{_versions(bench.host)}; {about}"
            for name in names:
                lines += PARTS[name](bench)
    finally:
        with hosts.uninterrupted():
            hosts.tidy()
        # Also when a part has failed: the others took minutes.
        if lines:
            print(f"{about} and {_load()} after")
            show(lines)
