"""Hosts as they are: kernels, limits, disks and environments that aren't like ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from catmaid_deploy.tasks.nginx.capabilities import Server
from catmaid_deploy.tasks.system import DESCRIPTORS
from testbed import images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.peers.sites import SMALL as SITE
from testbed.run import CHECKOUT, VIRTUALENV, Run, pyinfra
from testbed.updates import release
from tests.host.conftest import boot_ready, place, running

PROGRAMS = ("wsgi", "daphne", "celery", "celery-beat")
PAGE = "curl -sk https://localhost/catmaid/whoami || true"


def deploy(host: BedHost, *options: str, **changes: Any) -> Run:
    site = SITE | {"instances": [SITE["instances"][0] | changes]}
    return pyinfra(host, {"site": site}, *(options or ("-y",)))


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_ready(bed, "bookworm", "as-they-are")
    first = deploy(host)
    assert first.code == 0, first.text
    yield host
    host.remove()


def updated(host: BedHost, name: str) -> None:
    release(host, name, seconds=0.5)
    run = deploy(host)
    assert run.code == 0, run.text
    assert f'"{name}"' in host.run(PAGE)
    again = deploy(host)
    assert (again.code, again.changed) == (0, []), again.text


@pytest.mark.row_34
@pytest.mark.parametrize("options", [pytest.param("hidepid=1", marks=pytest.mark.long), "hidepid=2"])
def test_processes_that_others_do_not_see(host: BedHost, options: str) -> None:
    """As hardening guides have it, for /proc as a whole."""
    host.run_privileged(f"mount -o remount,{options} /proc")
    try:
        updated(host, options)
        status = pyinfra(host, {"site": SITE}, deploy="runbooks/status.py")
        assert status.code == 0, status.text
    finally:
        host.run_privileged("mount -o remount,hidepid=0 /proc")


@pytest.mark.row_34
def test_a_kernel_with_short_queues(host: BedHost) -> None:
    host.run_privileged("mount -o remount,rw /proc/sys; echo 512 > /proc/sys/net/core/somaxconn")
    try:
        release(host, "short queues", seconds=0.5)
        run = deploy(host)
        assert run.code == 0, run.text
        assert "WARNING kernel: net.core.somaxconn is 512" in run.text
        socket = "/run/catmaid/$(readlink /etc/catmaid/catmaid/wsgi)/socket"
        assert host.run(f"ss -xlH src {socket}").split()[3] == "512"
    finally:
        host.run_privileged("echo 4096 > /proc/sys/net/core/somaxconn")


@pytest.mark.row_34
def test_each_program_may_have_ten_thousand_connections(host: BedHost) -> None:
    def most(pid: str) -> int:
        return int(host.run(f"awk '/open files/ {{ print $4 }}' /proc/{pid}/limits"))

    # What a container of this machine has at most; a host of its own has more.
    allowed = min(DESCRIPTORS, int(host.run("ulimit -Hn")))
    assert allowed > 10_000
    for short in PROGRAMS:
        assert most(f"$(supervisorctl pid {place(short)})") == allowed
    for worker in host.run("pgrep -f 'nginx: worker process$'").split():
        assert most(worker) == Server(descriptors=int(host.run("ulimit -Hn"))).used(0)


@pytest.mark.row_34
@pytest.mark.long
@pytest.mark.parametrize("late", [VIRTUALENV, CHECKOUT])
def test_a_disk_that_comes_after_boot(host: BedHost, late: str) -> None:
    """Longer than Supervisor tries."""
    host.run(f"mv {late} {late}.away")
    host.reboot()
    wait_for("Supervisor", lambda: host.run("supervisorctl avail 2>/dev/null || true") != "", 60)
    host.run("sleep 75")
    assert '"release"' not in host.run(PAGE)
    assert "waiting for it" in host.run("tail -n 5 /var/log/catmaid/wsgi-*.log")
    host.run(f"mv {late}.away {late}")
    wait_for("the page", lambda: '"release"' in host.run(PAGE), 30)
    wait_for("the programs", lambda: running(host) == 4, 10)
    again = deploy(host)
    assert (again.code, again.changed) == (0, []), again.text


@pytest.fixture(scope="module")
def bare(bed: Bed) -> Iterator[BedHost]:
    """A host with an application, and nothing of a deploy."""
    host = bed.boot(images.site("bookworm"), "bare-environment", hostname="host")
    yield host
    host.remove()


@pytest.mark.row_34
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"uwsgi_version": "2.0.99"},
            "site.instances[catmaid].uwsgi_version: there is no uwsgi 2.0.99 for this Python: give another, the newest",
        ),
        (
            {"wsgi_server": "gunicorn", "gunicorn_version": "99.0.0"},
            "site.instances[catmaid].gunicorn_version: there is no gunicorn 99.0.0 for this Python: give another, the",
        ),
    ],
)
def test_a_version_that_is_not_there(bare: BedHost, changes: dict[str, Any], says: str) -> None:
    run = deploy(bare, "-y", **changes)
    assert run.code == 1
    (line,) = run.refusals
    assert line.startswith(f"host: {says}")
    assert bare.run("ls -d /etc/catmaid /var/lib/catmaid-deploy 2>/dev/null || true") == ""


@pytest.mark.row_34
def test_an_index_that_does_not_answer(bare: BedHost) -> None:
    """As behind an institute's firewall."""
    there = bare.run("cat /etc/pip.conf 2>/dev/null || true")
    bare.run("printf '[global]\\nindex-url = http://127.0.0.1:9/simple\\n' > /etc/pip.conf")
    try:
        run = deploy(bare, "-y")
    finally:
        bare.run("rm /etc/pip.conf")
        if there:
            bare.put("/etc/pip.conf", there.encode())
    assert run.code == 1
    (line,) = run.refusals
    assert line.startswith(
        "host: site.instances[catmaid].uwsgi_version: the package index gives the host no answer for "
    )
    assert "Connection refused" in line


@pytest.mark.row_34
@pytest.mark.long
def test_an_environment_without_pip(bare: BedHost) -> None:
    """As uv makes them. Its packages are there; the web server isn't."""
    bare.run(f"{VIRTUALENV}/bin/python -m pip uninstall -q -y pip setuptools wheel 2>/dev/null", user="catmaid")
    planned = deploy(bare, "--dry", wsgi_server="gunicorn")
    assert planned.code == 0, planned.text
    run = deploy(bare, "-y", wsgi_server="gunicorn")
    assert run.code == 0, run.text
    assert "serves https://localhost/catmaid/" in run.text
    assert bare.run(f"ls {VIRTUALENV}/bin").count("pip") == 0
    again = deploy(bare, "-y", wsgi_server="gunicorn")
    assert (again.code, again.changed) == (0, []), again.text
