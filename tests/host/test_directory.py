"""Users that a directory service alone knows, and package sources that are stale."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.run import Run, pyinfra
from tests.host.conftest import SITE, running

pytestmark = [pytest.mark.row_34, pytest.mark.long]

# As sssd or nslcd would have them: getent knows them, and no file in /etc does.
DIRECTORY = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update; apt-get -qq install -y --no-install-recommends libnss-extrausers >/dev/null 2>&1
mkdir -p /var/lib/extrausers
echo 'ada:x:70001:70000:Ada:/net/home/none:/bin/bash' > /var/lib/extrausers/passwd
printf 'Domain Users:x:70000:\\nlab:x:70002:ada\\n' > /var/lib/extrausers/group
touch /var/lib/extrausers/shadow
sed -i -e 's/^passwd:.*/passwd: files extrausers/' -e 's/^group:.*/group: files extrausers/' /etc/nsswitch.conf
chown -R ada: /home/catmaid/catmaid-server/django/files
chown ada /home/catmaid/catmaid-server/django/projects/mysite/settings.py
"""


def site(**more: Any) -> dict[str, Any]:
    one = copy.deepcopy(SITE) | {"aliases": []}
    one["instances"] = [one["instances"][0] | {"workers": 1, "user": "ada"} | more]
    return one


def deploy(host: BedHost, *options: str, **more: Any) -> Run:
    return pyinfra(host, {"site": site(**more)}, *(options or ("-y",)))


@pytest.fixture(scope="module", params=images.SUITES)
def host(bed: Bed, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    with images.lock(request.param):
        image = images.site(request.param)
    host = bed.boot(image, f"directory-{request.param}", hostname="host")
    host.run(DIRECTORY, timeout=600)
    yield host
    host.remove()


def test_a_directory_s_group_for_sockets(host: BedHost) -> None:
    run = deploy(host, runtime_group="lab")
    assert (run.code, run.changed) == (1, []), run.text
    (line,) = run.refusals
    assert "runtime_group: 'lab' is a directory service's group, and nginx's own user can only be put into" in line


def test_a_user_that_is_not_there_now(host: BedHost) -> None:
    """Nobody is told to add one of the same name to the host."""
    run = deploy(host, user="grace")
    assert (run.code, run.changed) == (1, []), run.text
    (line,) = run.refusals
    assert "user: there is no user 'grace': see whether the directory service answers (getent passwd grace)" in line


def test_stale_sources_are_named_and_the_run_goes_on(host: BedHost) -> None:
    """One that is gone, and one that nobody has signed: the packages come from the others."""
    host.run("echo 'deb http://127.0.0.1:9/gone stable main' > /etc/apt/sources.list.d/gone.list")
    host.run("mkdir -p /srv/unsigned; echo 'deb file:/srv/unsigned ./' > /etc/apt/sources.list.d/unsigned.list")
    run = deploy(host)
    assert run.code == 0, run.text
    for address in ("http://127.0.0.1:9/gone stable", "file:/srv/unsigned"):
        assert f"WARNING packages: the package source {address}" in run.text, run.text
    assert "the others are used: correct or remove it in /etc/apt" in run.text
    host.run("rm /etc/apt/sources.list.d/gone.list /etc/apt/sources.list.d/unsigned.list")


def test_a_directory_s_user_runs_the_programs(host: BedHost) -> None:
    again = deploy(host)
    assert (again.code, again.changed) == (0, []), again.text
    assert host.run("grep -c '^ada' /etc/passwd /etc/shadow /etc/group || true").count(":0") == 3
    owners = set(host.run("ps -eo user:20,args | awk '/catmaid-server/ && !/awk/ { print $1 }'").split())
    assert owners == {"ada"}
    assert "Domain Users" in host.run("stat -c %G /run/catmaid/wsgi-?/started; id -gn ada")


def test_a_directory_that_answers_after_boot(host: BedHost) -> None:
    """systemd and Supervisor don't know the user at first."""
    host.run("mv /var/lib/extrausers /var/lib/away")
    host.reboot()
    assert host.run("ls -d /run/catmaid 2>/dev/null || true") == ""
    host.run("mv /var/lib/away /var/lib/extrausers")
    wait_for("the programs", lambda: running(host) == 4, 120)
    again = deploy(host)
    assert (again.code, again.changed) == (0, []), again.text
