"""The way to root on hosts as they are: login shells, languages, profiles, Pythons, folders, sudo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.peers.sites import SMALL as SITE
from testbed.run import Run, pyinfra
from tests.host.conftest import EACH_SUITE, boot_packed, running
from tests.host.test_access import PASSWORD
from tests.host.test_refusals import add_users

# What a lab's image may bring. Each of these alone broke a run once.
IN_THE_WAY = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends locales fish tcsh zsh >/dev/null 2>&1
localedef -i de_DE -f UTF-8 de_DE.UTF-8
printf 'LANG=de_DE.UTF-8\nLANGUAGE=de\nLC_ALL=de_DE.UTF-8\n' > /etc/default/locale
for user in root careful free; do
    home=$(getent passwd $user | cut -d: -f6)
    mkdir -p $home/.config/fish
    for file in .bashrc .zshenv .tcshrc .config/fish/config.fish; do
        # A line, one that isn't UTF-8, one for the errors, and one without an end.
        printf 'echo Welcome to {\nprintf "Gr\\374n\\n"\nsh -c "echo {} >\&2"\nprintf "Have fun: "\n' > $home/$file
    done
    chown -R $user: $home
done
chsh -s /usr/bin/fish careful
chsh -s /bin/tcsh free
for name in python python3 sudo openssl; do
    printf '#!/bin/sh\necho another %s >&2\nexit 1\n' $name > /usr/local/bin/$name
    chmod 755 /usr/local/bin/$name
done
"""
NO_EXEC = "\n".join(
    f"mount -t tmpfs -o noexec,nosuid,nodev,mode=1777 tmpfs {folder}" for folder in ("/tmp", "/var/tmp", "/dev/shm")
)


def by_sudo(host: BedHost, user: str, *options: str, password: str = "", **named: Any) -> Run:
    data = {"site": SITE, "_sudo": True} | ({"sudo_password": password} if password else {})
    return pyinfra(host, data, *options, user=user, **named)


@pytest.mark.row_34
@pytest.mark.parametrize("suite", EACH_SUITE)
def test_with_all_of_it_in_the_way(bed: Bed, suite: str) -> None:
    host = boot_packed(bed, suite, f"way-{suite}")
    add_users(host)
    host.run(IN_THE_WAY, timeout=300)
    host.run_privileged(NO_EXEC)
    planned = by_sudo(host, "careful", "--dry", password=PASSWORD)
    assert planned.code == 0, planned.text
    first = by_sudo(host, "careful", "-y", password=PASSWORD)
    assert first.code == 0, first.text
    assert first.changed == planned.planned
    for text in (planned.text, first.text):
        assert "Traceback" not in text
        assert "Welcome" not in text
    wait_for("the programs", lambda: running(host) == 4, 10)
    for user, password in (("careful", PASSWORD), ("free", "")):
        again = by_sudo(host, user, "-y", password=password)
        assert (again.code, again.changed) == (0, []), again.text
    status = pyinfra(host, {"site": SITE}, deploy="runbooks/status.py", json_output=False)
    assert status.code == 0, status.text
    assert "Welcome" not in status.text
    host.run("chsh -s /usr/bin/zsh careful; chsh -s /bin/sh free")
    for user, password in (("careful", PASSWORD), ("free", "")):
        again = by_sudo(host, user, "-y", password=password)
        assert (again.code, again.changed) == (0, []), again.text
    host.remove()


@pytest.fixture(scope="module")
def german(bed: Bed) -> Iterator[BedHost]:
    """A host that speaks German, with an application and no deploy."""
    host = boot_packed(bed, "bookworm", "german")
    add_users(host)
    host.run(IN_THE_WAY, timeout=300)
    host.run_privileged(NO_EXEC)
    yield host
    host.remove()


SUDO = "sudo_password: sudo refuses it (sudo: 1 incorrect password attempt): correct it"
# What is done before on the host, and after; the user, the password that the inventory has, and what the run says.
REFUSED: dict[str, tuple[str, str, str, str, str]] = {
    "a wrong password": ("", "", "careful", "guess", SUDO),
    "no password given": ("", "", "careful", "", "sudo_password: sudo asks for a password: give it from your env"),
    "no right to sudo": ("", "", "plain", "guess", "_sudo: sudo refuses ("),
    "sudo wants a terminal": (
        "echo 'Defaults requiretty' > /etc/sudoers.d/tty",
        "rm /etc/sudoers.d/tty",
        "free",
        "",
        "_sudo: sudo refuses (sudo: sorry, you must have a tty to run sudo): give the user sudo rights",
    ),
    "no login shell": (
        "usermod -s /usr/sbin/nologin free",
        "usermod -s /bin/tcsh free",
        "free",
        "",
        "shell: the host doesn't run commands (This account is currently not available.): allow the login user a shell",
    ),
    "a key for another command": (
        "sed -i 's/^/command=\"echo backups alone\" /' /home/free/.ssh/authorized_keys",
        "sed -i 's/^command=\"echo backups alone\" //' /home/free/.ssh/authorized_keys",
        "free",
        "",
        "shell: the host doesn't run commands (Have fun: backups alone): allow the login user a shell",
    ),
    "a shell that asks": (
        "printf '#!/bin/sh\\necho Choose: 1 or 2\\nexit 1\\n' > /usr/bin/menu; chmod 755 /usr/bin/menu; "
        "usermod -s /usr/bin/menu free",
        "usermod -s /bin/tcsh free; rm /usr/bin/menu",
        "free",
        "",
        "shell: the host doesn't run commands (Choose: 1 or 2): allow the login user a shell",
    ),
    "a python3 that ends": (
        "dpkg-divert --quiet --local --rename --add /usr/bin/python3; "
        "printf '#!/bin/sh\\necho no module named encodings >&2\\nexit 1\\n' > /usr/bin/python3; "
        "chmod 755 /usr/bin/python3",
        "rm /usr/bin/python3; dpkg-divert --quiet --local --rename --remove /usr/bin/python3",
        "free",
        "",
        "python3: the host's doesn't run (no module named encodings): apt-get update && apt-get install -y --reinstall",
    ),
    "no python3": (
        "dpkg-divert --quiet --local --rename --add /usr/bin/python3",
        "dpkg-divert --quiet --local --rename --remove /usr/bin/python3",
        "free",
        "",
        "python3: missing on the host: apt-get update && apt-get install -y --reinstall python3",
    ),
}


SAMPLE = ("a wrong password", "no password given", "no login shell", "a python3 that ends")


@pytest.mark.row_34
@pytest.mark.parametrize("case", [pytest.param(c, marks=[] if c in SAMPLE else [pytest.mark.long]) for c in REFUSED])
def test_what_cannot_be_is_said_in_one_line(german: BedHost, case: str) -> None:
    before, after, user, password, says = REFUSED[case]
    german.run(before)
    try:
        run = by_sudo(german, user, "--dry", password=password)
    finally:
        german.run(after)
    assert run.code == 1
    assert len(run.refusals) == 1, run.text
    assert run.refusals[0].startswith(f"host: {says}"), run.text
    assert "Traceback" not in run.text
    assert "Welcome" not in run.text
    assert german.run("ls /etc/catmaid /var/lib/catmaid-deploy 2>&1 || true").count("No such file") == 2


@pytest.mark.row_34
@pytest.mark.long
def test_the_fix_of_a_broken_python_works(german: BedHost) -> None:
    """Its link leads nowhere, and its library has lost a module."""
    library = german.run("/usr/bin/python3 -c 'import json; print(json.__path__[0])'").strip()
    german.run(f"mv {library}/decoder.py /root/; ln -sfn nowhere /usr/bin/python3")
    (line,) = by_sudo(german, "free", "--dry").refusals
    assert line.startswith("host: python3: ")
    german.run(f"export DEBIAN_FRONTEND=noninteractive; {line.rpartition(': ')[2]}", timeout=300)
    run = by_sudo(german, "free", "--dry")
    assert run.code == 0, run.text
