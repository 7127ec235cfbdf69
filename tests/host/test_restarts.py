"""A restart of Supervisor is nothing: by hand, by upgrades, by kills, with long tasks in hand.

What a test prints is for the record: `pytest -s`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.peers.sockets import SocketFigures, Sockets
from testbed.peers.steady import SLOW, SLOW_SECONDS, Figures, Steady
from testbed.run import CHECKOUT, Run, pyinfra
from testbed.updates import SITE, changed, imported, release
from tests.blocks import blocks
from tests.host.conftest import EACH_SUITE, boot_packed, place, running

pytestmark = [pytest.mark.xdist_group("restarts"), pytest.mark.row_34]
MARKS = f"{CHECKOUT}/django/files/marks.txt"
# Beside the application's own import, until pages and WebSockets are back.
SECONDS = 3
PAGES = 20
ENDING = "ls -d /run/catmaid/wsgi-?/ending /run/catmaid/daphne-?/ending 2>/dev/null || true"
# Says, once its file has gone, for how long each of the names by which nginx reaches the application led nowhere.
WAYS_WATCH = """
import os, sys, time
names, missing, last = sys.argv[2:], {}, time.monotonic()
while os.path.exists(sys.argv[1]):
    time.sleep(0.001)
    now = time.monotonic()
    for name in names:
        if not os.path.exists(name):
            missing[name] = missing.get(name, 0) + now - last
    last = now
print(*("%s: %.3f s" % one for one in missing.items()), sep=", ")
"""
# What the book says, as it is typed there.
AUTOMATIC = "apt-get -qq update\n" + blocks("howto/upgrades.md", "sh")[0].text


@pytest.fixture(scope="module", params=EACH_SUITE)
def host(bed: Bed, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    host = boot_packed(bed, request.param, f"restarts-{request.param}")
    release(host, "1", seconds=1.5)
    deploy(host)
    yield host
    host.remove()


def deploy(host: BedHost, **changes: Any) -> Run:
    run = pyinfra(host, {"site": changed(**changes) if changes else SITE}, "-y")
    assert run.code == 0, run.text
    wait_for("all programs", lambda: running(host) == 4, 60)
    return run


def beats(host: BedHost) -> int:
    """How many beats there are, once there is one: it lets the web server begin first, for up to 20 s."""
    found = "pgrep -f beat.py || true"
    wait_for("a beat", lambda: host.run(found) != "", 60)
    return len(host.run(found).split())


def client(host: BedHost) -> httpx.Client:
    return httpx.Client(base_url=f"{host.url}/catmaid/", timeout=90, trust_env=False, verify=host.trust())


def marks(host: BedHost) -> list[int]:
    return [int(number) for number in host.run(f"cat {MARKS} 2>/dev/null || true").split()]


@dataclass
class Task:
    """A task in hand, which leaves its number when it ends."""

    host: BedHost
    number: int
    ends: float

    def ends_well(self) -> None:
        """Once, and all that came after it as well."""
        left = max(0, self.ends - time.time())
        wait_for(f"task {self.number}", lambda: self.number in marks(self.host), left + 60, every=1)
        assert time.time() >= self.ends
        with client(self.host) as browser:
            assert browser.get("task?x=2&y=3").json()["result"] == 5
        time.sleep(3)
        assert marks(self.host).count(self.number) == 1


def begin(host: BedHost, seconds: float) -> Task:
    """Have Celery begin a task."""
    number = int(time.time() * 10) % 100_000_000
    received = "cat /var/log/catmaid/celery-?.log | grep -c 'slow_mark.* received' || true"
    before = host.run(received)
    with client(host) as browser:
        assert browser.post(f"slow-mark?seconds={seconds}&number={number}").status_code == 200
    wait_for("the task's begin", lambda: host.run(received) != before, 60)
    return Task(host, number, time.time() + seconds - 3)


@dataclass
class Watch:
    """What users are answered meanwhile."""

    pages: Figures
    sockets: SocketFigures
    # The names by which nginx reaches the application that led nowhere for a moment.
    nowhere: str

    @property
    def without_pages(self) -> float:
        """The longest time in which no page was answered as it should: 0 where each request was."""
        quick = sorted((one.start + one.seconds, bool(one.failure)) for one in self.pages.requests if one.kind != SLOW)
        if not any(failed for _, failed in quick):
            return 0.0
        good = [when for when, failed in quick if not failed]
        return max(after - before for before, after in pairwise(good))

    @property
    def without_sockets(self) -> float:
        """The longest that a page was without its WebSocket, beside the 3 s that it waits by itself."""
        return max([0.0, *(one - 3 for one in self.sockets.reconnects)])


@contextmanager
def ways_watched(host: BedHost) -> Iterator[list[str]]:
    """Look at the ways to both programs while the block runs; after it the list has what WAYS_WATCH says."""
    said: list[str] = []
    flag = host.run("mktemp /run/ways.XXXXXX").strip()
    names = "/run/catmaid/uwsgi.socket /run/catmaid/daphne.sock"
    command = f"python3 - {flag} {names} <<'END'\n{WAYS_WATCH}END\n"
    thread = threading.Thread(target=lambda: said.append(host.run(command, timeout=600)))
    thread.start()
    try:
        yield said
    finally:
        host.run(f"rm {flag}")
        thread.join()


@contextmanager
def watched(host: BedHost, what: str) -> Iterator[list[Watch]]:
    """Under eight clients and with pages that keep a WebSocket; both are printed and looked at in the end."""
    ca = host.run("cat /etc/catmaid/tls/self-signed/localhost/fullchain.pem")
    watches: list[Watch] = []
    url = f"{host.url}/catmaid/"
    with Steady(url, ca, 8) as load, Sockets(url, ca, PAGES) as pages, ways_watched(host) as nowhere:
        pages.wait_until_open()
        time.sleep(3)
        start = time.monotonic()
        yield watches
        took = time.monotonic() - start
        # Until the web server and Daphne of before have gone, and pages have opened their WebSockets again.
        time.sleep(3)
        wait_for("the end of the old ones", lambda: running(host) == 4 and not host.run(ENDING), 120, every=1)
        time.sleep(5)
        figures = load.stop(), pages.stop()
    watch = Watch(*figures, nowhere[0])
    watches.append(watch)
    print(
        f"\n{host.name.rpartition('-')[2]}: {what}: took {took:.1f} s; no page for {watch.without_pages:.2f} s, "
        f"{len(watch.pages.failed)} of {watch.pages.count} requests failed, "
        f"the longest quick one took {watch.pages.longest('quick'):.2f} s; "
        f"{len(watch.sockets.closes)} of {PAGES} WebSockets closed, {len(watch.sockets.errors)} not opened again, "
        f"the longest was away {watch.without_sockets:.2f} s; led nowhere: {watch.nowhere or 'nothing'}"
    )


def is_nothing(host: BedHost, what: str, act: Callable[[], object], seconds: float) -> Watch:
    """Do this with a task in hand: users have their pages and WebSockets again in time, and the task ends well."""
    alone = imported(host)
    task = begin(host, seconds)
    with watched(host, what) as watches:
        act()
    (watch,) = watches
    # A machine that is busy with other work answers each request later.
    late = watch.pages.longest("slow") - SLOW_SECONDS
    assert watch.without_pages <= alone + late + SECONDS, (watch.pages.table(), alone)
    assert watch.without_sockets <= alone + late + SECONDS, (watch.pages.table(), alone)
    assert watch.sockets.open_at_end + len(watch.sockets.errors) == PAGES
    task.ends_well()
    wait_for("all programs", lambda: running(host) == 4, 30)
    run = deploy(host)
    assert run.changed == [], run.text
    return watch


def restart(host: BedHost) -> None:
    host.run("systemctl restart supervisor", timeout=60)


# ---- by hand ----


def test_a_restart_by_hand(host: BedHost) -> None:
    watch = is_nothing(host, "systemctl restart supervisor", lambda: restart(host), 20)
    assert watch.pages.failed == [], watch.pages.table()
    assert watch.sockets.errors == []
    assert watch.nowhere == ""


@pytest.mark.long
def test_a_restart_with_a_long_task(host: BedHost) -> None:
    watch = is_nothing(host, "systemctl restart supervisor, a task of 120 s", lambda: restart(host), 120)
    assert watch.pages.failed == [], watch.pages.table()


HALF_WAY = "a second restart while programs load"
WAYS = {
    "kill -9 of supervisord": "kill -9 $(cat /run/supervisord.pid); sleep 5",
    "two restarts in a row": "systemctl restart supervisor; systemctl restart supervisor",
    HALF_WAY: "systemctl restart supervisor; sleep 3; systemctl restart supervisor",
    "systemctl reload supervisor": "systemctl reload supervisor; sleep 5",
    "kill -9 of Celery's script": f"kill -9 $(supervisorctl pid {place('celery')}); sleep 5",
    "supervisorctl restart of Celery": f"supervisorctl restart {place('celery')}",
}


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_other_ways(host: BedHost, way: str) -> None:
    watch = is_nothing(host, way, lambda: host.run(WAYS[way], timeout=90), 45)
    # What has just taken over, or is about to, when the second restart comes may leave users until the next has loaded.
    assert way == HALF_WAY or watch.pages.failed == [], watch.pages.table()
    assert way == HALF_WAY or watch.nowhere == ""


@pytest.mark.long
def test_where_there_is_no_room_for_two(host: BedHost) -> None:
    """The web server of before ends first."""
    deploy(host, update="restart")
    try:
        alone, task = imported(host), begin(host, 45)
        with watched(host, "a restart, without room for two") as watches:
            restart(host)
        late = watches[0].pages.longest("slow") - SLOW_SECONDS
        assert watches[0].without_pages <= alone + late + SECONDS, (watches[0].pages.table(), alone)
        task.ends_well()
    finally:
        deploy(host)


@pytest.mark.long
def test_a_stop_and_a_start(host: BedHost) -> None:
    """A stop ends all but the task, and waits for it no longer than for the others."""
    task, start = begin(host, 60), time.monotonic()
    host.run("systemctl stop supervisor", timeout=60)
    stopped = time.monotonic() - start
    left = host.run("pgrep -u www-data -fa '/bin/(uwsgi|celery)|serve.py|beat.py'").splitlines()
    host.run("systemctl start supervisor", timeout=60)
    alone = imported(host)
    wait_for("all programs", lambda: running(host) == 4 and answers(host), 60, every=0.2)
    away = time.monotonic() - start
    print(f"\nstop took {stopped:.1f} s; pages are back {away:.1f} s after its begin, an import takes {alone:.1f} s")
    assert stopped < 20
    assert left
    assert all("/bin/celery -A mysite worker" in line for line in left), left
    assert "failed" not in host.run("systemctl is-failed supervisor || true")
    task.ends_well()
    assert deploy(host).changed == []


def answers(host: BedHost) -> bool:
    try:
        with client(host) as browser:
            return browser.get("whoami").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.long
def test_what_others_have_under_supervisor_runs_once(host: BedHost) -> None:
    """Another's program is ended by Supervisor as its file says, and started anew."""
    host.run("printf '[program:lab]\ncommand=sleep 4711\n' > /etc/supervisor/conf.d/lab.conf; supervisorctl update")
    try:
        before = host.run("pgrep -f '^sleep 4711'")
        restart(host)
        wait_for("theirs", lambda: host.run("supervisorctl status lab || true").count("RUNNING") == 1, 30)
        after = host.run("pgrep -f '^sleep 4711'")
        assert len(after.split()) == 1
        assert after != before
    finally:
        host.run("rm /etc/supervisor/conf.d/lab.conf; supervisorctl update")


def test_what_runs_is_ended_where_its_notes_are_gone(host: BedHost) -> None:
    """Somebody has emptied the folder of the sockets, and restarts what doesn't answer any more."""
    task = begin(host, 15)
    host.run("rm -r /run/catmaid/*")
    restart(host)
    wait_for("all programs", lambda: running(host) == 4, 60)
    assert beats(host) == 1
    task.ends_well()
    assert beats(host) == 1
    # The script of each worker that is there.
    scripts = "pgrep -f 'start.sh celery-.$'"
    wait_for("the end of the old Celery", lambda: len(host.run(scripts).split()) == 1, 60)
    with client(host) as browser:
        assert browser.get("whoami").status_code == 200
    assert deploy(host).changed == []


@pytest.mark.long
def test_a_restart_in_the_middle_of_a_deploy(host: BedHost) -> None:
    """It succeeds, or is refused and what ran before runs on; users notice nothing, and the next one heals the rest."""
    task = begin(host, 45)
    release(host, f"code-{time.time():.0f}", seconds=4)
    runs: list[Run] = []
    with watched(host, "a restart in the middle of a deploy") as watches:
        thread = threading.Thread(target=lambda: runs.append(pyinfra(host, {"site": SITE}, "-y")))
        thread.start()
        wait_for("a new slot", lambda: bool(host.run("ls /run/catmaid-deploy/catmaid-wsgi-? 2>/dev/null || true")), 60)
        time.sleep(2)
        restart(host)
        thread.join()
        deploy(host)
    assert watches[0].pages.failed == [], watches[0].pages.table()
    assert watches[0].nowhere == ""
    task.ends_well()
    release(host, "1", seconds=1.5)
    deploy(host)
    assert deploy(host).changed == []


@pytest.mark.long
def test_there_is_never_a_second_beat(host: BedHost) -> None:
    """One is due every five seconds, and restarts follow each other."""
    # As the beat says it: a worker that loads meanwhile gets two of them at once.
    sent = (
        "cat /var/log/catmaid/celery-beat-?.log | sed -n 's/^\\[\\([^]]*\\): INFO.*Sending due task heartbeat .*/\\1/p'"
    )
    before = set(host.run(sent).splitlines())

    def has_sent(number: int) -> Callable[[], bool]:
        return lambda: len({*host.run(sent).splitlines()} - before) >= number

    for number in (1, 2, 3):
        restart(host)
        # A busy machine takes its time to load a beat; none is sent twice.
        wait_for("another one", has_sent(number), 90)
        time.sleep(6)
        assert beats(host) == 1
    times = sorted(datetime.fromisoformat(one) for one in set(host.run(sent).splitlines()) - before)
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    assert min(gaps) > 3, gaps


# ---- a limit for what ends ----


@pytest.mark.long
def test_a_task_that_never_ends(host: BedHost) -> None:
    """After celery.stop_seconds it is ended. One that not even that ends is named."""
    deploy(host, celery={"concurrency": 1, "stop_seconds": 40})
    try:
        begin(host, 600)
        workers = "pgrep -f '/bin/celery -A mysite worker' || true"
        old = set(host.run(workers).split())
        restart(host)
        run = pyinfra(
            host, {"site": changed(celery={"concurrency": 1, "stop_seconds": 40})}, deploy="runbooks/status.py"
        )
        assert "told to end" not in run.text
        wait_for("the end of the old one", lambda: not old & set(host.run(workers).split()), 120, every=1)
    finally:
        deploy(host)


# ---- upgrades as Debian does them ----


@pytest.fixture(scope="module")
def upgraded(host: BedHost) -> BedHost:
    host.run(f"{{ {AUTOMATIC} }} >/dev/null 2>&1", timeout=300)
    return host


@pytest.mark.long
@pytest.mark.parametrize("package", ["supervisor", "nginx", "libc6", "python3"])
def test_an_upgrade(upgraded: BedHost, package: str) -> None:
    """Reinstalled, with needrestart in automatic mode: it restarts what has the old files open."""
    names = "nginx nginx-common" if package == "nginx" else package
    if package == "python3":
        names = "python3 python3-minimal $(readlink -f /usr/bin/python3 | sed 's#.*/##; s#$#-minimal#')"
    install = f"DEBIAN_FRONTEND=noninteractive apt-get install -y -q --reinstall {names}"
    before = upgraded.run("cat /run/supervisord.pid /run/nginx.pid")
    said: list[str] = []

    def act() -> None:
        said.append(upgraded.run(install + " 2>&1", timeout=600))
        # It restarts some services a moment later.
        time.sleep(5)

    is_nothing(upgraded, f"reinstall of {names.partition('$')[0]}", act, 120)
    print("\n".join(line for line in said[0].splitlines() if "estart" in line))
    after = upgraded.run("cat /run/supervisord.pid /run/nginx.pid")
    print("supervisord and nginx before and after:", before.split(), after.split())
    assert before != after


# ---- at a reboot ----


@pytest.mark.long
@pytest.mark.parametrize("seconds", [5, 20])
def test_a_reboot_waits_for_tasks_as_long_as_the_inventory_says(host: BedHost, seconds: int) -> None:
    """A task of 12 s ends well where there are 20 s, and is ended where there are 5."""
    deploy(host, celery={"concurrency": 1, "shutdown_seconds": seconds})
    try:
        task, start = begin(host, 12), time.monotonic()
        host.shut_down()
        took = time.monotonic() - start
        print(f"\nshutdown took {took:.1f} s with a task of 12 s and shutdown_seconds {seconds}")
        assert took < seconds + 20
    finally:
        host.start()
    assert marks(host).count(task.number) == (1 if seconds > 12 else 0)
    wait_for("all programs", lambda: running(host) == 4, 120)
    deploy(host)


# ---- at boot ----

SETTINGS = f"{CHECKOUT}/django/projects/mysite/settings.py"
ASKS_DATABASE = 'import socket; socket.create_connection(("127.0.0.1", 5432), 2).close()'


def all_works(host: BedHost) -> bool:
    if running(host) < 4 or not answers(host):
        return False
    with client(host) as browser:
        return browser.get("task?x=2&y=3").status_code == 200


@pytest.mark.long
def test_a_database_and_a_broker_that_come_late(host: BedHost) -> None:
    """Long after Supervisor's own tries. A deploy that can't bring them up says so at once, as ever."""
    host.run(f"cp -p {SETTINGS} /root/settings.py; echo '{ASKS_DATABASE}' >> {SETTINGS}")
    host.run("systemctl disable rabbitmq-server 2>/dev/null")
    try:
        host.reboot()
        time.sleep(100)
        assert not answers(host)
        assert "FATAL" not in host.run("supervisorctl status || true")
        start = time.monotonic()
        run = pyinfra(host, {"site": SITE}, "-y")
        print(f"\nwithout a database a deploy fails after {time.monotonic() - start:.1f} s")
        assert run.code != 0
        assert "ConnectionRefusedError" in run.text
        start = time.monotonic()
        host.run("systemd-run --quiet --unit lab-database python3 -m http.server --bind 127.0.0.1 5432")
        wait_for("pages", lambda: answers(host), 60)
        print(f"pages {time.monotonic() - start:.1f} s after the database")
        host.run("systemctl enable --now rabbitmq-server 2>/dev/null", timeout=300)
        start = time.monotonic()
        wait_for("all", lambda: all_works(host), 120)
        print(f"tasks {time.monotonic() - start:.1f} s after the broker")
    finally:
        host.run(f"cp -p /root/settings.py {SETTINGS}; systemctl stop lab-database || true")
        host.run("systemctl enable --now rabbitmq-server 2>/dev/null", timeout=300)
    deploy(host)
    assert deploy(host).changed == []


@pytest.mark.long
def test_a_user_that_comes_late(host: BedHost) -> None:
    """As one does that only a directory service knows, which is there after Supervisor."""
    own = f"cd {CHECKOUT}/django; chown -R USER: files; chown USER projects/mysite/settings.py"
    host.run(own.replace("USER", "catmaid"))
    deploy(host, user="catmaid")
    host.run("cp -p /etc/passwd /root/passwd; sed -i '/^catmaid:/d' /etc/passwd")
    try:
        host.shut_down()
        host.start()
        time.sleep(15)
        # For a moment of each try it is active.
        wait_for("its end", lambda: host.run("systemctl is-active supervisor || true") != "active", 30)
        assert not answers(host)
    finally:
        host.run("cp -p /root/passwd /etc/passwd")
    wait_for("all", lambda: all_works(host), 90)
    assert host.run("stat -c %U /run/catmaid") == "catmaid"
    assert pyinfra(host, {"site": changed(user="catmaid")}, "-y").changed == []
    host.run(own.replace("USER", "www-data"))
    deploy(host)
