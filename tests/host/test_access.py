"""Deploys as a sudo user, without a password and with one; the password shows nowhere."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.peers.sites import SMALL as SITE
from testbed.podman import command
from testbed.run import Run, pyinfra
from testbed.updates import release
from tests.host.conftest import boot, boot_packed, running
from tests.host.test_refusals import add_users

PASSWORD = 'correct horse $battery "staple"'

# Every command line on the host, as any of its users can see them.
SPY = "while :; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >> /tmp/spy; sleep 0.01; done"


def deploy_twice(host: BedHost, user: str, data: dict[str, Any]) -> Run:
    first = pyinfra(host, {"site": SITE, "_sudo": True} | data, "-y", user=user)
    assert first.code == 0, first.text
    wait_for("the programs", lambda: running(host) == 4, 10)
    wait_for("the page", lambda: '"release"' in host.run("curl -sk https://localhost/catmaid/whoami || true"), 10)
    second = pyinfra(host, {"site": SITE, "_sudo": True} | data, "-y", "--diff", user=user)
    assert second.code == 0
    assert second.changed == []
    release(host, "by sudo", seconds=0.5)
    update = pyinfra(host, {"site": SITE, "_sudo": True} | data, "-y", user=user)
    assert update.changed_services == ["programs of catmaid"], update.text
    assert "by sudo" in host.run("curl -sk https://localhost/catmaid/whoami")
    return first


@pytest.mark.long
def test_as_a_sudo_user_without_a_password(bed: Bed) -> None:
    host = boot_packed(bed, "trixie", "sudo")
    add_users(host)
    deploy_twice(host, "free", {})
    host.remove()


def test_as_a_sudo_user_with_a_password(bed: Bed) -> None:
    host = boot_packed(bed, "bookworm", "sudo-password")
    add_users(host)
    spy = subprocess.Popen([*command(), "exec", host.name, "sh", "-c", SPY])
    try:
        # From the environment of the admin, as the README says.
        first = deploy_twice(host, "careful", {"sudo_password": PASSWORD})
    finally:
        host.run("pkill -f '^sh -c while :' || true")
        spy.wait(timeout=20)
    seen = host.run("strings /tmp/spy 2>/dev/null || cat -v /tmp/spy")
    assert "/usr/bin/sudo -H -k -S" in seen
    assert PASSWORD not in seen
    assert "battery" not in seen
    assert "battery" not in first.text
    assert "battery" not in str(first.report)
    assert host.run("find / -xdev -newer /etc/sudoers.d/careful -name '*askpass*' -not -path '/proc/*'") == ""
    assert host.run("journalctl | grep -c battery || true") == "0"
    assert os.environ.get("SUDO_PASSWORD") is None
    host.remove()


@pytest.mark.parametrize("flag", [["-vvv"], pytest.param(["--debug"], marks=pytest.mark.long)])
def test_loud_runs_keep_the_password_too(bed: Bed, flag: list[str]) -> None:
    host = boot(bed, "bookworm", f"loud{len(flag[0])}")
    add_users(host)
    data = {"site": SITE, "_sudo": True, "sudo_password": PASSWORD}
    run = pyinfra(host, data, "--dry", *flag, user="careful")
    assert run.code == 0, run.text
    assert "battery" not in run.text
    host.remove()
