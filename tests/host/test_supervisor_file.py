"""Supervisor's own file as admins have it: its socket, its password, and what it includes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.peers.sites import SMALL as SITE
from testbed.run import Run, pyinfra
from testbed.updates import release
from tests.host.conftest import boot_ready, running
from tests.host.test_health import findings

pytestmark = pytest.mark.slow

FILE = "/etc/supervisor/supervisord.conf"
PASSWORD = "Hunter;2#%% of it"
LOGIN = f"username = lab\npassword = {PASSWORD}"
# Its own, which supervisorctl needs.
CONTROL = f"s|^.supervisorctl.|&\\n{LOGIN}|".replace("\n", "\\n")
# Debian's supervisord.conf, changed by sed.
SERVED = {
    "another socket, a password, other files": [
        "s#^file=.*#file = %(here)s/lab.sock ; ours#",
        "s#unix:///.*#unix:///etc/supervisor/lab.sock#",
        f"s|^.unix_http_server.|&\\n{LOGIN}|".replace("\n", "\\n"),
        CONTROL,
        "s#^pidfile=.*#pidfile=/run/lab.pid#",
        "s#^logfile=.*#logfile=%(here)s/lab.log#",
        "s#^files = .*#files = lab/*.ini\\n  %(here)s/*.d/cat*.conf#",
    ],
    "a password's hash": [
        "s#^.unix_http_server.#&\\nusername = lab\\npassword = {SHA}2389996a2e2641e84b791579c670cdb29cd355a5#",
        CONTROL,
    ],
    "a path of systemd's environment": [
        "s#^file=.*#file = /run/%(ENV_LAB)s.sock#",
        "s#unix:///.*#unix:///run/lab.sock#",
    ],
    "TCP beside the socket": ["$ a [inet_http_server]\\nport = 127.0.0.1:9001\\nusername = a\\npassword = b"],
}
REFUSED = {
    "TCP alone": (
        ["s#^.unix_http_server.#[inet_http_server]#", "s#^file=.*#port=127.0.0.1:9001#", "/^chmod/d"],
        f"supervisor: by {FILE} it takes orders by TCP alone, where any user may answer in its place: say file = ",
    ),
    "a socket where everybody writes": (
        ["s#^file=.*#file=/tmp/supervisor.sock#"],
        "its socket /tmp/supervisor.sock lies where a group may put another: say file = /run/supervisor.sock",
    ),
    "another user": (
        ["s#^.supervisord.#&\\nuser = catmaid#"],
        "it runs as catmaid, and can't start programs of others: take user = catmaid out of [supervisord], and restart",
    ),
    "no interface": (
        ["s#^.rpcinterface:supervisor.#[rpcinterface:other]#"],
        "it has no [rpcinterface:supervisor], without which it takes no orders: put that section back",
    ),
    "a hash alone": (
        ["s#^.unix_http_server.#&\\nusername = lab\\npassword = {SHA}2389996a2e2641e84b791579c670cdb29cd355a5#"],
        "it has a password's hash alone, and root needs the password: give username and password below [supervisorctl]",
    ),
    "a file for one": (
        ["s#^files = .*#files = conf.d/lab.conf conf.d/*.ini#"],
        "it reads /etc/supervisor/conf.d/lab.conf /etc/supervisor/conf.d/*.ini, and so no program of catmaid: "
        "say files = /etc/supervisor/conf.d/lab.conf /etc/supervisor/conf.d/*.ini /etc/supervisor/conf.d/*.conf below",
    ),
}


@pytest.fixture(scope="module", params=images.SUITES)
def host(bed: Bed, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    host = boot_ready(bed, request.param, f"supervisor-file-{request.param}")
    first = deploy(host)
    assert first.code == 0, first.text
    yield host
    host.remove()


def deploy(host: BedHost, *options: str) -> Run:
    return pyinfra(host, {"site": SITE}, *(options or ("-y",)))


@contextmanager
def its_file(host: BedHost, changes: list[str], restarts: bool) -> Iterator[None]:
    """Supervisor's file changed by an admin, who has Supervisor read it."""
    words = " ".join(f"-e '{change}'" for change in changes)
    end = "; systemctl restart supervisor" if restarts else ""
    drop_in = "/etc/systemd/system/supervisor.service.d/lab.conf"
    host.put(drop_in, b"[Service]\nEnvironment=LAB=lab\n")
    host.run(f"systemctl daemon-reload; cp -p {FILE} /root/; sed -i {words} {FILE}{end}")
    try:
        yield
    finally:
        host.run(f"rm {drop_in}; systemctl daemon-reload; cp -p /root/supervisord.conf {FILE}{end}")
        wait_for("the programs", lambda: running(host) == 4, 60)


@pytest.mark.row_34
@pytest.mark.parametrize(
    "kind", [kind if kind == next(iter(SERVED)) else pytest.param(kind, marks=pytest.mark.long) for kind in SERVED]
)
def test_what_is_served(host: BedHost, kind: str) -> None:
    with its_file(host, SERVED[kind], restarts=True):
        wait_for("the programs", lambda: running(host) == 4, 60)
        release(host, kind.split()[0], seconds=0.5)
        run = deploy(host, "-y", "--diff")
        assert run.code == 0, run.text
        # To Supervisor they start for some seconds, whether they are ready or not.
        wait_for("the programs", lambda: running(host) == 4, 10)
        again = deploy(host)
        assert (again.code, again.changed) == (0, []), again.text
        looks = [pyinfra(host, {"site": SITE}, deploy=f"runbooks/{name}.py") for name in ("status", "verify")]
        # This machine has another port for the host's.
        assert {one["place"] for look in looks for one in findings(look)} <= {"from here to localhost"}
        for one in (run, again, *looks):
            assert "unter" not in one.text + str(one.report)
    assert host.run("grep -rls 'unter;2' /var/lib/catmaid-deploy /var/log/catmaid* /run/catmaid* || true") == ""


@pytest.mark.row_34
@pytest.mark.bookworm
@pytest.mark.long
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(host: BedHost, kind: str) -> None:
    """In one line each, and nothing changes. Supervisor still runs with the file that it has read."""
    changes, says = REFUSED[kind]
    release(host, kind.split()[-1], seconds=0.5)
    with its_file(host, changes, restarts=False):
        for options in (("-y",), ("--dry",)):
            run = deploy(host, *options)
            assert (run.code, run.changed) == (1, []), run.text
            (line,) = run.refusals
            assert says in line
    assert deploy(host).code == 0
