"""Programs beside the four: another Celery worker and a command of manage.py, which come and go by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.peers.steady import Figures, Steady
from testbed.run import CHECKOUT, Run, pyinfra
from testbed.updates import changed, release
from tests.host.conftest import boot_packed

pytestmark = [pytest.mark.xdist_group("programs"), pytest.mark.row_34]
FILES = f"{CHECKOUT}/django/files"
LARGE = {"name": "large", "celery": {"queues": ["large"], "concurrency": 1, "stop_seconds": 60}}
SPATIAL = {"name": "spatial-update", "manage": "catmaid_spatial_update_worker --delay 0.2"}
FOUR = ["wsgi", "daphne", "celery", "celery-beat"]
MORE = ["large", "spatial-update"]
NOTHING = "nothing to do"


def site(*programs: dict[str, Any]) -> dict[str, Any]:
    return changed(programs=list(programs))


def deploy(host: BedHost, *programs: dict[str, Any], code: int = 0) -> Run:
    run = pyinfra(host, {"site": site(*programs)}, "-y")
    assert run.code == code, run.text
    return run


def running(host: BedHost) -> dict[str, str]:
    """The process of each program that runs, by what Supervisor calls it, without the slot."""
    lines = (line.split() for line in host.run("supervisorctl status || true").splitlines())
    return {line[0].rpartition(":")[2][:-2]: line[3] for line in lines if line[1] == "RUNNING"}


def all_run(host: BedHost, *more: str) -> dict[str, str]:
    names = {*(f"catmaid-{short}" for short in FOUR), *(f"catmaid.{short}" for short in more)}
    wait_for("all programs", lambda: set(running(host)) == names, 60)
    return running(host)


def seen_by_users(host: BedHost, act: Callable[[], object]) -> Figures:
    """What a few users are answered while something is done."""
    ca = host.run("cat /etc/catmaid/tls/self-signed/localhost/fullchain.pem")
    with Steady(f"{host.url}/catmaid/", ca, 4) as load:
        time.sleep(1)
        act()
        time.sleep(1)
        return load.stop()


def client(host: BedHost) -> httpx.Client:
    return httpx.Client(base_url=f"{host.url}/catmaid/", timeout=90, trust_env=False, verify=host.trust())


def send(host: BedHost, queue: str, seconds: float, number: int) -> None:
    """Give the queue a task that leaves its number when it is done."""
    host.run(f"""
        . /etc/catmaid/catmaid/wsgi/environment.sh
        setpriv --reuid www-data --regid www-data --clear-groups python -c '
from mysite.celery import app
app.send_task("mysite.tasks.slow_mark", ({seconds}, {number}), queue="{queue}", ignore_result=True)'
    """)


def marks(host: BedHost) -> list[int]:
    return [int(number) for number in host.run(f"cat {FILES}/marks.txt 2>/dev/null || true").split()]


def turns(host: BedHost) -> list[tuple[str, str]]:
    """The process and what it did, line by line."""
    lines = host.run(f"cat {FILES}/spatial.txt 2>/dev/null || true").splitlines()
    return [(pid, what) for _, pid, what in (line.split() for line in lines)]


def never_two(host: BedHost) -> int:
    """How many have run, of which there was never a second one beside another."""
    order = list(dict.fromkeys(pid for pid, _ in turns(host)))
    at_once = [pid for pid, _ in turns(host)]
    assert [pid for number, pid in enumerate(at_once) if number == 0 or at_once[number - 1] != pid] == order
    return len(order)


@pytest.fixture(scope="module", params=["bookworm", pytest.param("trixie", marks=pytest.mark.long)])
def host(bed: Bed, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    host = boot_packed(bed, request.param, f"programs-{request.param}")
    release(host, "1", seconds=1)
    deploy(host)
    all_run(host)
    yield host
    host.remove()


def test_they_come_and_nobody_notices(host: BedHost) -> None:
    before = all_run(host)
    dry = pyinfra(host, {"site": site(LARGE, SPATIAL)}, "--dry")
    assert "reload the Supervisor group catmaid.large" in dry.text
    figures = seen_by_users(host, lambda: deploy(host, LARGE, SPATIAL))
    assert figures.failed == []
    after = all_run(host, *MORE)
    assert {name: after[name] for name in before} == before
    assert NOTHING in deploy(host, LARGE, SPATIAL).text
    wait_for("its work", lambda: "begins" in [what for _, what in turns(host)], 30)
    send(host, "large", 0, 7)
    wait_for("the task", lambda: marks(host) == [7], 60)


def test_status_and_verify_know_them(host: BedHost) -> None:
    (one,) = pyinfra(host, {"site": site(LARGE, SPATIAL)}, deploy="runbooks/status.py").report["hosts"]
    told = one["instances"]["catmaid"]
    assert [program["program"] for program in told["programs"]] == [*FOUR, *MORE]
    assert {program["state"] for program in told["programs"]} == {"RUNNING"}
    assert told["queues"] == {"celery": 0, "large": 0}
    (one,) = pyinfra(host, {"site": site(LARGE, SPATIAL)}, deploy="runbooks/verify.py").report["hosts"]
    assert "taken by a worker" in one["checks"]["task for large of catmaid"]
    host.run("supervisorctl stop catmaid.spatial-update:*")
    try:
        run = pyinfra(host, {"site": site(LARGE, SPATIAL)}, deploy="runbooks/status.py", json_output=False)
        assert "spatial-update of catmaid: it is stopped" in run.text, run.text
        assert "supervisorctl start catmaid.spatial-update:catmaid.spatial-update-a" in run.text
    finally:
        deploy(host, LARGE, SPATIAL)
    all_run(host, *MORE)
    logs = pyinfra(host, {"site": site(LARGE, SPATIAL)}, deploy="runbooks/logs.py", json_output=False)
    assert "spatial-update-a.log" in logs.text


def test_another_release_has_a_task_end_well_and_never_two_commands(host: BedHost) -> None:
    number, had = int(time.time()), never_two(host)
    send(host, "large", 12, number)
    time.sleep(2)
    release(host, "2", seconds=1)
    figures = seen_by_users(host, lambda: deploy(host, LARGE, SPATIAL))
    assert figures.failed == []
    wait_for("the task", lambda: marks(host).count(number) == 1, 60)
    all_run(host, *MORE)
    wait_for("the next one's work", lambda: never_two(host) == had + 1, 30)
    assert NOTHING in deploy(host, LARGE, SPATIAL).text
    back = pyinfra(host, {"site": site(LARGE, SPATIAL)}, "-y", deploy="runbooks/rollback.py")
    assert back.code == 0, back.text
    wait_for("the one of before", lambda: never_two(host) == had + 2, 30)


def test_a_restart_of_supervisor_is_nothing_to_them(host: BedHost) -> None:
    deploy(host, LARGE, SPATIAL)
    all_run(host, *MORE)
    number, had = int(time.time()), never_two(host)
    send(host, "large", 10, number)
    time.sleep(2)
    host.run("systemctl restart supervisor")
    wait_for("the task", lambda: marks(host).count(number) == 1, 60)
    all_run(host, *MORE)
    wait_for("the next one's work", lambda: never_two(host) == had + 1, 60)


def test_a_release_without_the_command_is_refused(host: BedHost) -> None:
    before = all_run(host, *MORE)
    unknown = SPATIAL | {"manage": "catmaid_unknown_worker"}
    run = deploy(host, LARGE, unknown, code=1)
    assert "Unknown command: 'catmaid_unknown_worker'" in run.text, run.text
    assert all_run(host, *MORE) == before
    assert NOTHING in deploy(host, LARGE, SPATIAL).text


def test_one_by_hand_beside_them_is_named(host: BedHost) -> None:
    host.run(f"""cd {CHECKOUT}/django/projects; . /etc/catmaid/catmaid/wsgi/environment.sh
        setsid setpriv --reuid www-data --regid www-data --clear-groups \\
            $VIRTUAL_ENV/bin/python manage.py catmaid_spatial_update_worker </dev/null >/dev/null 2>&1 &
        sleep 3""")
    run = pyinfra(host, {"site": site(LARGE, SPATIAL)}, deploy="runbooks/status.py")
    (one,) = run.report["hosts"]
    (fault,) = [fault for fault in one["findings"] if "catmaid_spatial_update_worker" in fault["place"]]
    assert "its work is done twice" in fault["what"]
    host.run("pkill -f 'manage.py catmaid_spatial_update_worker'; true")


def test_they_go_and_nobody_notices(host: BedHost) -> None:
    before = all_run(host, *MORE)
    dry = pyinfra(host, {"site": site(LARGE)}, "--dry")
    assert "stop and remove catmaid.spatial-update: it is no longer in the inventory; its logs stay" in dry.text
    figures = seen_by_users(host, lambda: deploy(host, LARGE))
    assert figures.failed == []
    after = all_run(host, "large")
    assert after == {name: pid for name, pid in before.items() if name != "catmaid.spatial-update"}
    left = host.run("ls -d /etc/catmaid/catmaid/spatial-update* /etc/supervisor/conf.d/*spatial* 2>/dev/null || true")
    assert left == ""
    assert host.run("ls /var/log/catmaid/spatial-update-a.log") != ""
    assert NOTHING in deploy(host, LARGE).text
    deploy(host)
    all_run(host)
    assert NOTHING in deploy(host).text
