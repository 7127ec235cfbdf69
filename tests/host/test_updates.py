"""Updates that nobody notices: loads, kills, broken releases (rows 26, 27 and 29)."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from testbed import images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.peers import steady
from testbed.peers.sockets import Sockets
from testbed.peers.steady import Steady
from testbed.run import CHECKOUT, VIRTUALENV, Run, pyinfra
from testbed.updates import LEFT, SITE, answered, changed, masters, memory, other_environment, release
from tests.host.conftest import LARGE_HEADERS, boot_ready, copy_project, place, processes, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=images.SUITES)
def host(bed: Bed, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    host = boot_ready(bed, request.param, f"updates-{request.param}")
    release(host, "1", seconds=0.5)
    deploy(host)
    yield host
    host.remove()


def deploy(host: BedHost, site: dict[str, Any] | None = None, **options: Any) -> Run:
    run = pyinfra(host, {"site": site or SITE}, "-y", **options)
    assert run.code == 0, run.text
    wait_for("all programs", lambda: running(host) == 4, 30)
    return run


def load(host: BedHost, clients: int) -> Steady:
    return Steady(f"{host.url}/catmaid/", host.run("cat /etc/catmaid/tls/self-signed/localhost/fullchain.pem"), clients)


def client(host: BedHost, **options: Any) -> httpx.Client:
    return httpx.Client(base_url=f"{host.url}/catmaid/", timeout=90, trust_env=False, verify=host.trust(), **options)


def serving(host: BedHost) -> str:
    """The release that answers."""
    with client(host) as browser:
        return str(browser.get("whoami").json()["release"])


def answers(host: BedHost) -> bool:
    try:
        return bool(serving(host))
    except (httpx.HTTPError, ValueError, KeyError):
        return False


@contextmanager
def statuses(host: BedHost) -> Iterator[set[int]]:
    """With what a page is answered meanwhile."""
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        with client(host) as browser:
            while not done.is_set():
                seen.add(browser.get("whoami").status_code)
                time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


# ---- under load ----


def new_code(host: BedHost) -> dict[str, Any]:
    release(host, f"code-{time.time():.0f}")
    return SITE


def another_uwsgi(host: BedHost) -> dict[str, Any]:
    """The inventory's, where somebody has installed an older one."""
    host.run(f"su -s /bin/sh catmaid -c '{VIRTUALENV}/bin/pip install -q uwsgi==2.0.30'", timeout=600)
    return SITE


def rollback(host: BedHost) -> Run:
    deploy(host, new_code(host))
    run = pyinfra(host, {"site": SITE}, "-y", deploy="runbooks/rollback.py")
    assert run.code == 0, run.text
    wait_for("all programs", lambda: running(host) == 4, 30)
    return run


UPDATES: dict[str, Callable[[BedHost], Run]] = {
    "new code": lambda host: deploy(host, new_code(host)),
    "changed ini": lambda host: deploy(host, changed(post_buffering=16384)),
    "more workers": lambda host: deploy(host, changed(workers=3)),
    "another environment": lambda host: deploy(host, changed(virtualenv=other_environment(host))),
    "new uWSGI": lambda host: deploy(host, another_uwsgi(host)),
    "another server": lambda host: deploy(host, changed(wsgi_server="gunicorn")),
    "back": rollback,
}
# With --long updates follow each other until so many requests were answered.
REQUESTS = 5000


def marks_of(what: str, clients: int) -> list[pytest.MarkDecorator]:
    if (what, clients) == ("new code", 8):
        return []
    # Half an hour of it; what differs between the systems shows with fewer clients as well.
    return [pytest.mark.long, *([pytest.mark.bookworm] if clients > 8 and what != "new code" else [])]


@pytest.mark.row_27
@pytest.mark.parametrize(
    ("what", "clients"), [pytest.param(w, number, marks=marks_of(w, number)) for number in (8, 60) for w in UPDATES]
)
def test_an_update_loses_no_request(host: BedHost, request: pytest.FixtureRequest, what: str, clients: int) -> None:
    """And Supervisor has all its programs afterwards; how long a request takes is for `make bench`."""
    deploy(host)
    before = processes(host)
    long = request.config.getoption("long")
    with load(host, clients) as requests:
        time.sleep(3)
        last = answered(host) + REQUESTS if long else 0
        run = UPDATES[what](host)
        after = processes(host)
        # There and back again.
        deploy(host)
        while answered(host) < last:
            UPDATES[what](host)
            deploy(host)
        figures = requests.stop()
    print(figures.table())
    assert figures.failed == [], figures.table()
    count = figures.count
    assert count >= (REQUESTS if long else 100)
    assert all(figures.of(kind) for kind in steady.KINDS)
    assert run.changed_services[-1] in ("programs of catmaid", "Back to the release before, of catmaid")
    assert len(after) == 4
    assert before["catmaid-wsgi"] != after["catmaid-wsgi"]
    assert deploy(host).changed == []
    wait_for("the end of the old master", lambda: masters(host) == 1, 60)


@pytest.mark.row_27
@pytest.mark.long
@pytest.mark.parametrize("server", ["uwsgi", "gunicorn", "gevent"])
def test_users_get_no_cold_worker(host: BedHost, server: str) -> None:
    """Django loads the URLs at a process's first request: of a deploy and of a rollback no user waits for that."""
    site = changed(wsgi_server=server, workers=3, start_seconds=120)
    release(host, "cold-1", seconds=0.5, urls=4)
    try:
        deploy(host, site)
        release(host, "cold-2", seconds=0.5, urls=4)
        with load(host, 8) as requests:
            time.sleep(2)
            deploy(host, site)
            begin = time.time()
            run = pyinfra(host, {"site": site}, "-y", deploy="runbooks/rollback.py")
            time.sleep(3)
            figures = requests.stop()
    finally:
        release(host, "warm", seconds=0.5)
    print(figures.table(), f"since the rollback began: {figures.longest(steady.QUICK, since=begin):.2f} s")
    assert run.code == 0, run.text
    assert figures.failed == [], figures.table()
    # A cold one takes four, beside what it takes otherwise.
    assert figures.longest(steady.QUICK) < 3.5, figures.table()
    deploy(host)


@pytest.mark.row_27
@pytest.mark.long
def test_a_rollback_whose_worker_answers_nothing_goes_through(host: BedHost) -> None:
    """What has served before is warmed, and not judged by that."""
    site = changed(start_seconds=120)
    deploy(host, site)
    new_code(host)
    deploy(host, site)
    host.run(f"echo dies > {CHECKOUT}/django/BROKEN")
    try:
        run = pyinfra(host, {"site": site}, "-y", deploy="runbooks/rollback.py")
    finally:
        host.run(f"rm -f {CHECKOUT}/django/BROKEN")
    assert run.code == 0, run.text
    # What serves now would die again in the next test.
    deploy(host, new_code(host))


@pytest.mark.row_27
def test_updates_leave_nothing_behind(host: BedHost, request: pytest.FixtureRequest) -> None:
    number = 20 if request.config.getoption("long") else 2

    def one() -> tuple[str, dict[str, int]]:
        deploy(host, new_code(host))
        found = [""]

        def same() -> bool:
            found.append(host.run(LEFT))
            # Celery's start script stays above it; another one is on its way.
            starting = re.search(r"/bin/sh \S+/start\.sh (?!celery$)", found[-1], re.MULTILINE)
            ending = len(re.findall(r"/start\.sh celery$", found[-1], re.MULTILINE)) - 1
            return found[-1] == found[-2] and not starting and not ending and masters(host) == 1

        wait_for("an end", same, 60, every=1)
        return found[-1], memory(host)

    one()
    first, before = one()
    last, after = [one() for _ in range(number - 1)][-1]
    print(before, after)
    assert last == first
    # What a program has besides depends on how it came to what it does.
    assert all(size <= before[name] * 1.1 + 1024 for name, size in after.items()), (before, after)


@pytest.mark.row_27
def test_no_beat_is_lost_or_doubled(host: BedHost) -> None:
    """One is due every five seconds, whichever of two beats tells of it."""
    start = time.time()
    for _ in range(3):
        deploy(host, new_code(host))
    time.sleep(6)
    with client(host) as browser:
        times = [one for one in browser.get("heartbeats").json()["times"] if one > start]
    assert len(times) >= 3
    gaps = [after - before for before, after in pairwise(times)]
    # A new one begins when the old one has ended, and a worker may be just at work.
    assert min(gaps) > 3, gaps
    assert max(gaps) < 7.5, gaps


@pytest.mark.row_27
def test_a_beat_that_is_told_to_end_sends_first_what_is_due(host: BedHost) -> None:
    """It has noted it as sent: with its broker slow just then, nobody would ever send it."""
    deploy(host)
    beat, path = place("celery-beat"), "/var/lib/catmaid/celery-beat-schedule"
    total = f'import shelve; print(shelve.open("{path}", "r")["entries"]["heartbeat"].total_run_count)'
    connections = "ss -Htn state established dport = :5672 | wc -l"

    def lost() -> int:
        noted = int(host.run(f"{VIRTUALENV}/bin/python -c '{total}'"))
        with client(host) as browser:
            return noted - len(browser.get("heartbeats").json()["times"])

    host.run(f"supervisorctl stop {beat}", timeout=60)
    time.sleep(1)
    before, connected = lost(), int(host.run(connections))
    time.sleep(5)
    host.run("systemctl kill -s STOP rabbitmq-server")
    try:
        host.run(f"supervisorctl start {beat}", timeout=60)
        wait_for("a beat that has something to send", lambda: int(host.run(connections)) > connected, 30)
        host.run(f"supervisorctl stop {beat} >/dev/null 2>&1 &")
        time.sleep(1)
    finally:
        host.run("systemctl kill -s CONT rabbitmq-server")
    wait_for("its end", lambda: "STOPPED" in host.run(f"supervisorctl status {beat} || true"), 30)
    wait_for("all that it has noted", lambda: lost() == before, 15)
    deploy(host)


@pytest.mark.row_27
def test_what_began_before_an_update_ends_well(host: BedHost, request: pytest.FixtureRequest) -> None:
    seconds = 60 if request.config.getoption("long") else 10
    results: list[httpx.Response] = []
    with client(host) as browser:
        browser.delete("marks")
        thread = threading.Thread(target=lambda: results.append(browser.get(f"slow?seconds={seconds}")))
        thread.start()
        with client(host) as other:
            other.post(f"slow-mark?seconds={seconds}&number=7")
        time.sleep(1)
        new_code(host)
        start = time.monotonic()
        deploy(host)
        assert seconds < 60 or time.monotonic() - start < seconds
        thread.join()
        assert [one.status_code for one in results] == [200]
        wait_for("the task", lambda: browser.get("marks").json()["numbers"] == [7], seconds + 20, every=0.5)


@pytest.mark.row_27
@pytest.mark.parametrize("late", [0, pytest.param(1, marks=pytest.mark.long)])
def test_every_task_is_done(host: BedHost, request: pytest.FixtureRequest, late: int) -> None:
    """Exactly once; where the task says acks_late, at least once."""
    tasks = 5000 if request.config.getoption("long") else 500
    with client(host) as browser:
        browser.delete("marks")
        for number in range(2):
            first, last = number * tasks // 2, (number + 1) * tasks // 2
            assert browser.post(f"marks?first={first}&last={last}&late={late}").status_code == 200
            new_code(host)
            deploy(host)

        def numbers() -> list[int]:
            found: list[int] = browser.get(f"marks?late={late}").json()["numbers"]
            return found

        wait_for("all tasks", lambda: len(set(numbers())) == tasks, 120, every=1)
        time.sleep(2)
        done = numbers()
    assert sorted(set(done)) == list(range(tasks))
    assert late or len(done) == tasks


@pytest.mark.row_29
def test_from_one_server_to_the_next(host: BedHost, request: pytest.FixtureRequest) -> None:
    """To Gunicorn with threads, with gevent, and back to uWSGI: updates like any other, and nginx is none the wiser."""
    long = request.config.getoption("long")
    servers = ("gunicorn", "gevent", "uwsgi") if long else ("gunicorn", "uwsgi")
    deploy(host)
    before = "uwsgi"
    with load(host, 8) as requests:
        for server in servers:
            site = changed(wsgi_server=server)
            assert deploy(host, site).changed_services[-1] == "programs of catmaid"
            with client(host) as browser:
                seen = browser.get("whoami").json()
                assert (seen["script_name"], seen["scheme"], seen["host"]) == (
                    "/catmaid", "https", host.url.removeprefix("https://"),
                )  # fmt: skip
                assert seen["client"] == seen["forwarded_for"]
                # Streamed, without a length, and more than a buffer holds.
                assert len(browser.get("large?bytes=5000000").content) == 5_000_000
                assert browser.post("body", content=b"x" * (21 << 20)).status_code == 413
                assert browser.get("whoami", headers=LARGE_HEADERS).status_code == 200
            main = host.run("ps -o args= -p $(cat /etc/catmaid/catmaid/wsgi/run/pid)")
            assert ("uwsgi" if server == "uwsgi" else "gunicorn") in main
            # And back to the one before, and here again.
            for name in (before, server) if long or server == "gunicorn" else ():
                run = pyinfra(host, {"site": site}, "-y", deploy="runbooks/rollback.py")
                assert run.code == 0, run.text
                main = host.run("ps -o args= -p $(cat /etc/catmaid/catmaid/wsgi/run/pid)")
                assert ("uwsgi" if name == "uwsgi" else "gunicorn") in main
            before = server
            assert deploy(host, site).changed == []
            # Its own updates, by its own means.
            new_code(host)
            deploy(host, site)
        figures = requests.stop()
    assert figures.failed == [], figures.table()


@pytest.mark.row_27
@pytest.mark.parametrize("way", ["chain", pytest.param("restart", marks=pytest.mark.long)])
def test_where_two_have_no_room(host: BedHost, way: str) -> None:
    """One process after the other loses nothing; a restart shows the maintenance page, and no error."""
    site = changed(update=way)
    deploy(host, site)
    before, name = processes(host), f"{way}-{time.time():.0f}"
    release(host, name, seconds=0.5)
    with statuses(host) as seen:
        deploy(host, site)
    assert seen == ({200} if way == "chain" else {200, 503})
    assert serving(host) == name
    assert (before["catmaid-wsgi"] == processes(host)["catmaid-wsgi"]) == (way == "chain")
    assert host.run("ls /etc/catmaid/catmaid/maintenance 2>/dev/null || true") == ""
    assert deploy(host, site).changed == []
    release(host, "broken", broken="import", seconds=0.5)
    try:
        run = pyinfra(host, {"site": site}, "-y")
        assert run.code != 0
        assert "ImportError: broken on purpose" in run.text
        assert serving(host) == name
    finally:
        release(host, name, seconds=0.5)
    deploy(host, site)
    assert serving(host) == name


# What uwsgitop shows in two seconds: it wants a terminal.
TOP = """
import os, pty, select, signal, time
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv("/opt/top/bin/uwsgitop", ["uwsgitop", "/run/catmaid/uwsgi-stats.socket"])
end = time.time() + 2
try:
    while time.time() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            print(os.read(terminal, 65536))
    os.kill(pid, signal.SIGKILL)
except OSError:
    pass
"""


@pytest.mark.row_25
def test_uwsgitop_is_for_the_service_user_and_root(host: BedHost) -> None:
    deploy(host)
    host.run("[ -d /opt/top ] || { python3 -m venv /opt/top; /opt/top/bin/pip install -q uwsgitop; }", timeout=300)
    host.put("/tmp/top.py", TOP.encode())
    for user, sees in (("root", True), ("www-data", True), ("catmaid", False), ("nobody", False)):
        assert ("uwsgi-2.0.31" in host.run("python3 /tmp/top.py", user=user)) == sees, user


@pytest.mark.row_21
@pytest.mark.row_27
def test_websockets_are_moved(host: BedHost) -> None:
    ca = host.run("cat /etc/catmaid/tls/self-signed/localhost/fullchain.pem")
    with Sockets(f"{host.url}/catmaid/", ca, 200) as pages:
        pages.wait_until_open()
        new_code(host)
        deploy(host)
        time.sleep(12)
        figures = pages.stop()
    assert figures.errors == []
    assert figures.open_at_end == 200
    assert set(figures.close_codes) == {1012}
    assert len(figures.reconnects) == 200
    # CATMAID's page waits 3 s before it opens a new one.
    assert max(figures.reconnects) < 10
    assert figures.closed_per_second < 100


# ---- broken releases ----

BROKEN = {
    "import": "ImportError: broken on purpose",
    "request": "RuntimeError: broken on purpose",
    "schema": 'ProgrammingError: relation "catmaid_x" does not exist',
    "hang": "isn't ready within 10 s",
    "dies": "process died",
    "memory": "MemoryError: broken on purpose",
}
BROKEN_SAMPLE = ("import",)


@pytest.mark.row_26
@pytest.mark.row_27
@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[] if k in BROKEN_SAMPLE else [pytest.mark.long]) for k in BROKEN]
)
def test_a_broken_release_is_refused(host: BedHost, kind: str) -> None:
    # The others show by themselves, however slow the machine is.
    site = changed(start_seconds=10 if kind == "hang" else 60)
    release(host, "sound", seconds=0.5)
    deploy(host, site)
    before, files = processes(host), host.run("cat /etc/catmaid/catmaid/*/* 2>/dev/null | sha256sum")
    with load(host, 8) as requests:
        time.sleep(2)
        release(host, "broken", broken=kind, seconds=0.5)
        run = pyinfra(host, {"site": site}, "-y")
        figures = requests.stop()
    try:
        assert run.code != 0
        assert "the new release is refused, the one before serves" in run.text
        assert BROKEN[kind] in run.text, run.text
        assert figures.failed == [], figures.table()
        assert figures.releases == {"sound"}
        assert processes(host) == before
        assert host.run("cat /etc/catmaid/catmaid/*/* 2>/dev/null | sha256sum") == files
        assert serving(host) == "sound"
    finally:
        release(host, "sound", seconds=0.5)
    deploy(host, site)


# ---- kills ----

# Appended to the job's own code: it waits at the moment that a test names.
WAITING = """

def _waiting(owner, method, _time=time):
    plain = getattr(owner, method)

    def stop(name):
        with open("/tmp/moment", "r+") as file:
            reached = file.read().strip() == name
            if reached:
                file.seek(0)
                file.truncate()
                file.write("reached\\n")
        if reached:
            _time.sleep(4)

    def replaced(self, *words):
        short = getattr(self, "short", None) or words[0][:-2]
        stop("before %s %s" % (method, short))
        result = plain(self, *words)
        stop("after %s %s" % (method, short))
        return result

    setattr(owner, method, replaced)


for _owner, _methods in ((Slot, ("start", "wait", "move")), (Single, ("move",)), (Supervisor, ("finish",))):
    for _method in _methods:
        _waiting(_owner, _method)
"""
MOMENTS = [
    "before start wsgi",
    "after start wsgi",
    "after wait wsgi",
    "after move wsgi",
    "after start celery",
    "after move celery",
    "before move celery-beat",
    "after move celery-beat",
    "before finish wsgi",
    "after finish wsgi",
]
KILLED = {
    "the new master": "kill -9 $(cut -d' ' -f1 /run/catmaid/$new/started)",
    "the old master": "kill -9 $(cut -d' ' -f1 /run/catmaid/$old/started)",
    "supervisord": "kill -9 $(cat /run/supervisord.pid)",
    "the deploying process": "pkill -KILL -f '^/usr/bin/python3 -IS .* -$'",
    "the host": "",
}
SAMPLE = {("after move wsgi", "supervisord")}


def waiting(folder: Path) -> Path:
    """A copy of the project whose jobs wait at a moment."""
    copy_project(folder)
    with (folder / "catmaid_deploy/on_host/operations/programs.py").open("a") as file:
        file.write(WAITING)
    return folder


@pytest.mark.bookworm
@pytest.mark.row_27
@pytest.mark.row_28
@pytest.mark.parametrize(
    ("moment", "who"),
    [pytest.param(m, w, marks=[] if (m, w) in SAMPLE else [pytest.mark.long]) for m in MOMENTS for w in KILLED],
)
def test_a_kill_in_the_middle(host: BedHost, tmp_path: Path, moment: str, who: str) -> None:
    deploy(host)
    new_code(host)
    old = host.run("readlink /etc/catmaid/catmaid/wsgi")
    new = old[:-1] + ("b" if old.endswith("a") else "a")
    host.run(f"echo '{moment}' > /tmp/moment")
    runs: list[Run] = []
    thread = threading.Thread(target=lambda: runs.append(pyinfra(host, {"site": SITE}, "-y", cwd=waiting(tmp_path))))
    with load(host, 4) as requests:
        thread.start()
        wait_for(moment, lambda: host.run("cat /tmp/moment") == "reached", 60)
        if who == "the host":
            host.reboot()
        else:
            host.run(f"old={old}; new={new}; {KILLED[who]} || true", check=False)
        thread.join()
        wait_for("an answer", lambda: answers(host), 60)
        time.sleep(1)
        figures = requests.stop()
    in_use = host.run("readlink /etc/catmaid/catmaid/wsgi")
    if who == "the deploying process" or (who == "the new master" and in_use == old):
        assert figures.failed == [], figures.table()
    wait_for("one master", lambda: masters(host) == 1, 90)
    assert host.run(f"supervisorctl pid {place('wsgi')}") == host.run("cat /run/catmaid/uwsgi.pid")
    deploy(host)
    assert deploy(host).changed == []
    wait_for("one master in the end", lambda: masters(host) == 1, 60)
    assert len(processes(host)) == 4
    assert re.match(r"code-\d+", serving(host))
