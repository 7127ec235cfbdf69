"""Booted hosts for the tests, shared as far as the tests leave them as they were."""

from __future__ import annotations

import difflib
import os
import shutil
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest

from catmaid_deploy import schema
from catmaid_deploy.tasks import packages
from catmaid_deploy.tasks.programs import wsgi
from testbed import hosts, images
from testbed.bare import ten_lines
from testbed.podman import check_machine
from testbed.run import VIRTUALENV, Run, place_application, pyinfra
from tests.host import acme, nothing, secrets_found
from tests.host.web import DATA, SITES, Web

# The first one in every run, all of them in long ones.
EACH_SUITE = [images.SUITES[0], *(pytest.param(suite, marks=pytest.mark.long) for suite in images.SUITES[1:])]

# Three instances at once, as an admin may have them: at the page's prefix, at the root, and far
# below it as another user than nginx's (the page's second way of row 7).
SITE: dict[str, Any] = {
    "server_name": "localhost",
    "aliases": ["tracing.test"],
    "instances": [
        {
            "name": "catmaid",
            "prefix": "/catmaid",
            "workers": 2,
            "environment": {"STANDIN_GREETING": 'it\'s 100% $HOME "quoted"'},
            "celery": {"concurrency": 1},
        },
        {
            "name": "catmaid-fafb",
            "prefix": "tracing/fafb/v14/",
            "checkout": "/home/catmaid/fafb",
            "virtualenv": VIRTUALENV,
            "user": "catmaid",
            "workers": 1,
            "threads": 4,
            "celery": {"concurrency": 1, "queues": ["celery", "fafb"]},
        },
        {
            "name": "catmaid-root",
            "prefix": "/",
            "checkout": "/home/catmaid/root",
            "virtualenv": VIRTUALENV,
            "workers": 1,
            "celery": {"concurrency": 1},
        },
    ],
}


# Nearly as much of headers as nginx takes of a request.
LARGE_HEADERS = {"Cookie": f"lab={'x' * 7000}", "X-Lab": "y" * 7000, "X-Other": "z" * 7000}

# One name for the run, also in its parallel workers, which inherit it.
RUN = os.environ.setdefault("CATMAID_TEST_RUN", f"test-{os.getpid()}")


@dataclass
class Deployed:
    """A host with SITE on it, and how its runs went."""

    suite: str
    host: hosts.BedHost
    site: schema.Deployment
    state_before: str
    dry: Run
    state_after_dry: str
    first: Run

    @cached_property
    def trust(self) -> ssl.SSLContext:
        return self.host.trust()

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.host.url, timeout=30, trust_env=False, verify=self.trust, **options)

    def instance(self, name: str) -> schema.Instance:
        return next(i for i in self.site.instances if i.name == name)

    def deploy(self, site: dict[str, Any] | None = None, *options: str) -> Run:
        run = pyinfra(self.host, {"site": site or SITE}, "-y", *options)
        assert run.code == 0, run.text
        # A deploy knows that they would serve; Supervisor calls them RUNNING after three seconds.
        hosts.wait_for("all programs", lambda: everything_runs(self.host), 30)
        return run


# What a run may not touch before it is allowed to: files, packages, processes. Left out is what a login
# or time alone changes.
STATE = r"""
find /etc /home /opt /usr/local /var/lib/systemd -xdev -type f -not -path '*/__pycache__/*' -print0 2>/dev/null \
    | sort -z | xargs -0 sha256sum
find /etc /run /var/log -xdev \( -path '/run/systemd/*' -o -path '/run/user*' -o -path '/run/sudo*' \
    -o -path '/var/log/journal*' -o -path '/var/log/rabbitmq/*' -o -name utmp -o -name wtmp -o -name btmp \
    -o -name lastlog -o -name motd.dynamic -o -name faillog \) -prune -o -printf '%p %u %g %m\n' | sort
dpkg-query -W
ps -eo user,comm --no-headers | sort | uniq -c \
    | grep -v '^ *[0-9]* rabbitmq ' \
    | grep -v -E ' (sshd.*|ps|sh|bash|sort|uniq|grep|sftp.*|sudo|df|systemd.*|\(sd-pam\)|beam.smp|epmd|erl.*|inet.*)$'
"""


@pytest.fixture(scope="session", autouse=True)
def _machine() -> None:
    hosts.exit_on_signals()
    check_machine()
    hosts.remove_orphans()


@pytest.fixture(scope="session")
def bed() -> Iterator[hosts.Bed]:
    with hosts.Bed(f"{RUN}-{os.getpid()}") as bed:
        yield bed


def boot(bed: hosts.Bed, suite: str, name: str, **options: Any) -> hosts.BedHost:
    with images.lock(suite):
        image = images.site(suite)
    return bed.boot(image, name, **options)


# What a first deploy's result depends on.
CODE = (
    "catmaid_deploy",
    "tasks",
    "templates",
    "deploy.py",
)


def copy_project(folder: Path) -> None:
    """What a deploy runs from, so that a test can change a part of it."""
    for name in (*CODE, "config.py", "pyproject.toml", "CHANGELOG.md"):
        if (images.ROOT / name).is_dir():
            # As links to "tasks" and "templates" here.
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(images.ROOT / name, folder / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(images.ROOT / name, folder / name)


ALL = " ".join((*packages.FOR_SITES, *packages.FOR_INSTANCES, *wsgi.COMPILER, *packages.BROTLI))
PACKAGES = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends curl acl {ALL} >/dev/null 2>&1
su -s /bin/sh catmaid -c '{VIRTUALENV}/bin/pip install -q uwsgi=={schema.load(SITE).instances[0].uwsgi_version}'
"""


def boot_packed(bed: hosts.Bed, suite: str, name: str, aliases: tuple[str, ...] = ()) -> hosts.BedHost:
    """A host with the applications of SITE, all packages and uWSGI, and no file of a deploy."""

    def make(parent: str) -> str:
        host = bed.boot(parent, f"packed-{suite}", hostname="host")
        place_instances(host)
        host.run(PACKAGES, timeout=600)
        return host.name

    with images.lock(f"packed-{suite}"):
        with images.lock(suite):
            site = images.site(suite)
        image = images.committed("packed", suite, site, make, PACKAGES, images.digest_of("testbed/run.py"), SITE)
    return bed.boot(image, name, hostname="host", aliases=aliases)


def boot_ready(bed: hosts.Bed, suite: str, name: str, **options: Any) -> hosts.BedHost:
    """A host after a first deploy of SITE, taken from an image: for tests that break it in their own ways."""

    def make(parent: str) -> str:
        host = boot_packed(bed, suite, f"ready-{suite}")
        run = pyinfra(host, {"site": SITE}, "-y")
        assert run.code == 0, run.text
        return host.name

    with images.lock(f"ready-{suite}"):
        with images.lock(suite):
            site = images.site(suite)
        image = images.committed("ready", suite, site, make, images.digest_of(*CODE), PACKAGES, SITE)
    host = bed.boot(image, name, hostname="host", **options)
    hosts.wait_for("the programs", lambda: running(host) == len(SITE["instances"]) * 4, 60)
    signs = "ls /etc/catmaid/*/celery/run/alive /etc/catmaid/*/celery-beat/run/alive 2>/dev/null | wc -l || true"
    hosts.wait_for("their signs of life", lambda: int(host.run(signs)) == len(SITE["instances"]) * 2, 60)
    return host


# What a deploy answers for: files with their contents, owners and modes, and what runs, without numbers and times:
# the programs themselves, nginx's workers (its cache loader ends by itself, after a minute), and what has lost its
# parent. No two certificates are the same, and of two slots the one in use counts, whichever it is.
RELEVANT = r"""
cd /etc; places="catmaid nginx supervisor systemd/system tmpfiles.d logrotate.d"
unused=""
for link in catmaid/*/wsgi catmaid/*/daphne catmaid/*/celery catmaid/*/celery-beat; do
    case $(readlink "$link") in *-a) slot=$link-b ;; *) slot=$link-a ;; esac
    for path in "$slot" "/run/${slot#catmaid/}"; do unused="$unused -not -path $path -not -path $path/*"; done
done
folders=$(echo /run/catmaid* /var/l??/catmaid*)
set -f
{
find $places -type f -not -path 'catmaid/tls/*' -not -path 'catmaid/secrets/*' $unused -print0 \
    | sort -z | xargs -0 sha256sum
find $places $folders -not -type f -not -type s -not -type p -not -path '/run/catmaid-deploy*' \
    -not -path /var/lib/catmaid-deploy/before -not -name '*.lock' $unused -printf '%p %u %g %m %l\n' | sort
find $places -type f $unused -printf '%p %u %g %m\n' | sort
cat /var/lib/catmaid-deploy/manifest.json
dpkg-query -W
supervisord=$(cat /run/supervisord.pid); nginx=$(cat /run/nginx.pid)
ps -eo pid,ppid,user:20,args --no-headers | awk -v s=$supervisord -v n=$nginx '
    $2 == s && /start.sh celery-[ab]$/ { script[$1] }
    ($2 == s || $2 == n || $2 in script || ($2 == 1 && /nginx:|uwsgi|celery|daphne|supervisord/)) \
        && !/start.sh|nginx: cache loader|sleep [0-9.]+$/ { $1 = $2 = ""; print }
' | sort
} | sed -E 's#(wsgi|daphne|celery|celery-beat)-[ab]\b#\1#g'
"""


def settled(host: hosts.BedHost, more: str = "") -> str:
    """RELEVANT and what a script says more, once it stays the same: nginx's old workers take a while to end, and so do
    programs replaced.
    """
    found = [host.run(RELEVANT + more)]

    def same() -> bool:
        found.append(host.run(RELEVANT + more))
        status = host.run("supervisorctl status || true").splitlines()
        replaced = sum(" EXITED " in line or " STOPPED " in line for line in status)
        ended = "is shutting down" not in found[-1] and "<defunct>" not in found[-1]
        return ended and found[-1] == found[-2] and len(status) == 2 * replaced

    hosts.wait_for("a state that stays", same, 60, every=2)
    return found[-1]


def differences(before: str, after: str) -> list[str]:
    """The lines in which two states differ."""
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))


def serves(host: hosts.BedHost) -> bool:
    """Whether all programs run and all instances answer."""
    pages = [f"https://localhost/{i['prefix'].strip('/')}/whoami".replace("t//", "t/") for i in SITE["instances"]]
    answers = host.run(f"for url in {' '.join(pages)}; do curl -sk -m 5 $url || true; done")
    return answers.count('"release"') == len(pages) and running(host) == len(pages) * 4


# The programs with their names at Supervisor: of two slots the one in use.
IN_USE = r"""
for script in /etc/catmaid/*/start.sh; do
    etc=${script%/start.sh}
    for program in wsgi daphne celery celery-beat; do
        echo "${etc##*/}-$program ${etc##*/}-$(readlink "$etc/$program" || echo $program)"
    done
done
echo; supervisorctl status || true
"""


def processes(host: hosts.BedHost) -> dict[str, str]:
    """Each program that is RUNNING, with its process."""
    names, _, status = host.run(IN_USE).partition("\n\n")
    found = {line.split()[0].partition(":")[2]: line for line in status.splitlines()}
    lines = {program: found.get(process, "") for program, process in map(str.split, names.splitlines())}
    # Programs beside the four have groups of their own: catmaid.large-a is in one of large's slots.
    lines |= {process[:-2]: line for process, line in found.items() if "." in process and " RUNNING " in line}
    return {program: line.split("pid ")[1].split(",")[0] for program, line in lines.items() if " RUNNING " in line}


def running(host: hosts.BedHost) -> int:
    """How many programs are RUNNING."""
    return len(processes(host))


def everything_runs(host: hosts.BedHost) -> bool:
    """Whether each program is RUNNING."""
    names = {line.split()[0] for line in host.run(IN_USE).partition("\n\n")[0].splitlines()}
    return names <= processes(host).keys()


def wait_until_all_run(host: hosts.BedHost) -> None:
    hosts.wait_for("all programs", lambda: everything_runs(host), 60)


def place(short: str, instance: str = "catmaid") -> str:
    """For a shell on the host: Supervisor's name of a program's slot in use."""
    return f"{instance}:{instance}-$(readlink /etc/catmaid/{instance}/{short})"


def place_instances(host: hosts.BedHost) -> None:
    """The applications of SITE that the image hasn't."""
    place_application(host, "/home/catmaid/fafb", "/tracing/fafb/v14", "catmaid")
    place_application(host, "/home/catmaid/root", "/", "www-data")


@pytest.fixture(scope="session", params=images.SUITES)
def deployed(bed: hosts.Bed, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    """A bare host after a dry run and a first deploy of SITE, as root."""
    suite = request.param
    host = boot(bed, suite, f"web-{suite}")
    place_instances(host)
    before = host.run(STATE)
    dry = pyinfra(host, {"site": SITE}, "--dry", "--diff")
    after = host.run(STATE)
    first = pyinfra(host, {"site": SITE}, "-y")
    assert first.code == 0, first.text
    yield Deployed(suite, host, schema.load(SITE), before, dry, after, first)
    host.remove()


@pytest.fixture(scope="session", params=EACH_SUITE)
def installed(
    bed: hosts.Bed, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[nothing.Installed]:
    """A host that was bare before a dry run and a first deploy of ten lines."""
    suite = request.param
    host = nothing.bare(bed, suite, f"nothing-{suite}")
    secrets_found.watch(host)
    site = ten_lines("1.0")
    before = host.run(STATE)
    dry = nothing.run_on(host, site, "--dry", "--diff")
    after = host.run(STATE)
    first, operations = nothing.timed(host, site, tmp_path_factory.mktemp("nothing") / "times")
    state = settled(host, nothing.MORE) if first.code == 0 else ""
    yield nothing.Installed(suite, host, before, dry, after, first, operations, state)
    host.remove()


@pytest.fixture(scope="session", params=images.SUITES)
def web(bed: hosts.Bed, request: pytest.FixtureRequest) -> Iterator[Web]:
    """A host with the three sites of tests/host/web.py, which others on the bed reach by their names."""
    host = boot_ready(bed, request.param, f"face-{request.param}", aliases=tuple(s["server_name"] for s in SITES))
    host.run(DATA)
    run = pyinfra(host, {"sites": SITES}, "-y")
    assert run.code == 0, run.text
    yield Web(request.param, host)
    host.remove()


@pytest.fixture(scope="session")
def bare(bed: hosts.Bed) -> Iterator[hosts.BedHost]:
    """A host with the application in place and nothing deployed."""
    host = boot(bed, "bookworm", "bare")
    place_instances(host)
    yield host
    host.remove()


@pytest.fixture(scope="session")
def client(bed: hosts.Bed) -> Iterator[hosts.BedHost]:
    """A host that looks at the others of the bed, with a browser (`tests.host.browser`)."""
    with images.lock("bookworm"):
        image = images.client()
    host = bed.boot(image, "client")
    yield host
    host.remove()


@pytest.fixture(scope="session")
def server(bed: hosts.Bed) -> Iterator[acme.Server]:
    server = acme.start(bed)
    yield server
    server.host.remove()


# First: xdist reads the groups in the same hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that share a host run one after the other, on one worker; all others where there is room.

    What a mark calls slow, and what needs a host with all three sites, runs on Debian 12 alone, and with --long on all;
    what a mark calls long with --long alone; and what it calls bookworm never on another one.
    """
    long = config.getoption("long")

    def is_left_out(item: pytest.Item) -> bool:
        of_another = any(suite in item.name for suite in images.SUITES[1:])
        if of_another and item.get_closest_marker("bookworm"):
            return True
        slow = of_another and (item.get_closest_marker("slow") or "web" in getattr(item, "fixturenames", ()))
        return not long and bool(item.get_closest_marker("long") or slow)

    left_out = [item for item in items if is_left_out(item)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(group(item)))
    # What takes longest begins first, so that no worker is left with it at the end.
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(group(item), len(order)))


# The groups of some minutes, the longest first. On a new machine the first three meet images that aren't there: one
# waits for those of each system, and one needs none.
LONGEST = (
    *(
        "updates-bookworm",
        "deployed-trixie",
        "test_inventory_faults",
        "nothing",
        "book",
        "deployed-bookworm",
        "web-bookworm",
        "releases",
        "test_testbed",
        "all-or-nothing",
    ),
    *("last words", "health", "test_adoption", "kills-bookworm", "acme", "test_lab", "trust"),
    *("test_takeover", "bare", "visitors", "states", "hostile", "dry runs", "test_access"),
)


def group(item: pytest.Item) -> str:
    """The name of those tests that share a host with this one."""
    marker = item.get_closest_marker("xdist_group")
    if marker:
        return str(marker.args[0])
    names = getattr(item, "fixturenames", ())
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    for fixture in ("deployed", "web"):
        if fixture in names:
            return f"{fixture}-{parameters[fixture]}"
    for fixture in ("bare", "client"):
        if fixture in names:
            return fixture
    if item.path.name == "test_updates.py":
        return f"{'kills' if 'moment' in names else 'updates'}-{parameters['host']}"
    return item.path.stem


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The last process of the run takes out what workers that were interrupted could not."""
    if not hasattr(config, "workerinput"):
        with hosts.uninterrupted():
            hosts.remove_beds(f"catmaid-{RUN}-")
            hosts.tidy()
