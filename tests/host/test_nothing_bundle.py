"""Without the internet: a bare host whose network is cut is installed from one file (row 35)."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from testbed import images, repository
from testbed.bare import ten_lines
from testbed.hosts import Bed, BedHost
from testbed.images import ROOT
from testbed.run import Run
from tests.host.conftest import STATE, differences, wait_until_all_run
from tests.host.nothing import run_on, served

pytestmark = [pytest.mark.xdist_group("nothing-bundle"), pytest.mark.long, pytest.mark.row_35]

# Nobody has it: only this machine is told where it is.
ADDRESS = "https://git.example.org/lab/catmaid.git"
# Of the application's tables 1.1 has the same.
RELEASES = {"1.0": {}, "1.1": {"requirements-async.txt": "daphne==4.2.3\nchannels-rabbitmq==4.0.1\nsqlparse==0.5.1\n"}}
# Of a host that needs little.
TILES = {
    "site": {
        "server_name": "localhost",
        "tls": {"certificate": "self-signed"},
        "tiles": [{"name": "em", "url": "/tiles/em", "folder": "/data/em", "tile_size": 256}],
    }
}
# The SSH server is still reached, through the bridge to which this machine belongs. Nothing answers names.
CUT = "ip route del default; ! ip route get 192.0.2.1; : > /etc/resolv.conf"
# What an installation from the internet would ask first.
ASK = "import socket; socket.create_connection(('deb.debian.org', 80), 5)"


def lab(revision: str, **more: Any) -> dict[str, Any]:
    """The ten lines, with the repository's address on the internet."""
    described = ten_lines(revision)
    described["site"]["instances"][0]["releases"]["repository"] = ADDRESS
    return described | more


class Maker:
    """Makes bundles on this machine, as an admin does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with tarfile.open(fileobj=BytesIO(repository.packed(RELEASES))) as archive:
            archive.extractall(folder / "catmaid.git", filter="data")

    def make(self, described: dict[str, Any], suite: str) -> str:
        """The path of a new bundle for such a host."""
        inventory = self.folder / f"lab{len([*self.folder.glob('*.py')])}.py"
        inventory.write_text(f"hosts = [('host', {described!r})]\n")
        file = inventory.with_name(f"{inventory.stem}-{suite}.tar")
        words = ["make", "bundle", f"PY={sys.executable}", f"INVENTORY={inventory}", f"SUITE={suite}"]
        here = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_VALUE_0": ADDRESS}
        here["GIT_CONFIG_KEY_0"] = f"url.{self.folder}/catmaid.git.insteadOf"
        done = subprocess.run(
            [*words, f"MORE=--output {file}"], cwd=ROOT, env={**os.environ, **here}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return str(file)


@dataclass
class Cut:
    """A host that was bare and reaches nothing, and how it came to CATMAID."""

    host: BedHost
    maker: Maker
    bundle: str
    before: str
    other: Run
    short: Run
    dry: Run
    after: str
    first: Run


@pytest.fixture(scope="module")
def cut(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cut]:
    suite = "bookworm"
    maker = Maker(tmp_path_factory.mktemp("bundles"))
    trixie = maker.make(TILES, "trixie")
    bundle = maker.make(lab("1.0"), suite)
    with images.lock(suite):
        image = images.host(suite)
    host = bed.boot(image, "nothing-bundle", hostname="host")
    host.run_privileged(CUT)
    before = host.run(STATE)
    other = run_on(host, lab("1.0", offline=trixie), "-y")
    short = run_on(host, lab("1.1", offline=bundle), "-y")
    dry = run_on(host, lab("1.0", offline=bundle), "--dry", "--diff")
    after = host.run(STATE)
    first = run_on(host, lab("1.0", offline=bundle), "-y")
    yield Cut(host, maker, bundle, before, other, short, dry, after, first)
    host.remove()


def test_the_host_reaches_nothing(cut: Cut) -> None:
    assert "Temporary failure in name resolution" in cut.host.run(f'python3 -c "{ASK}" 2>&1 || true')


def test_a_bundle_for_another_debian_is_refused_in_one_line(cut: Cut) -> None:
    assert cut.other.code == 1, cut.other.text
    (line,) = cut.other.refusals
    assert line.startswith("host: offline: ")
    assert "was made for Debian 13, and the host has Debian GNU/Linux 12 (bookworm): on this machine: " in line
    assert " -m catmaid_deploy.tasks.bundle " in line
    assert " bookworm --output " in line


def test_what_is_missing_in_it_is_said_in_one_line(cut: Cut) -> None:
    assert cut.short.code == 1, cut.short.text
    (line,) = cut.short.refusals
    assert f"host: offline: {cut.bundle} doesn't have 1.1 of {ADDRESS}: on this machine: " in line


def test_refusals_and_a_dry_run_change_nothing(cut: Cut) -> None:
    assert cut.dry.code == 0, cut.dry.text
    assert "Bring the bundle" in cut.dry.planned
    assert differences(cut.before, cut.after) == []


def test_it_ends_in_a_page_and_the_second_run_has_nothing_to_do(cut: Cut) -> None:
    assert cut.first.code == 0, cut.first.text
    wait_until_all_run(cut.host)
    assert served(cut.host) == "1.0"
    again = run_on(cut.host, lab("1.0", offline=cut.bundle), "-y")
    assert (again.code, again.changed) == (0, []), again.text
    # What compiled is gone, and apt's own sources are as they were.
    assert cut.host.run("command -v gcc || true") == ""
    sources = cut.host.run("find /etc/apt/sources.list* -type f | xargs sha256sum").splitlines()
    assert sources
    assert all(line in cut.before for line in sources)
    assert "bundle" not in cut.host.run("ls /var/lib/apt/lists")


def test_an_update_comes_by_the_next_bundle(cut: Cut) -> None:
    bundle = cut.maker.make(lab("1.1"), "bookworm")
    # By a user whose sudo password goes before the file.
    cut.host.run(
        "adduser -q --gecos '' --disabled-password careful; adduser -q careful sudo;"
        "echo careful:open-sesame | chpasswd; cp -r /root/.ssh /home/careful/; chown -R careful: /home/careful/.ssh"
    )
    by_sudo = {"_sudo": True, "sudo_password": "open-sesame"}
    update = run_on(cut.host, lab("1.1", offline=bundle, **by_sudo), "-y", user="careful")
    assert update.code == 0, update.text
    wait_until_all_run(cut.host)
    assert served(cut.host) == "1.1"
    assert run_on(cut.host, lab("1.1", offline=bundle), "-y").changed == []
    assert cut.host.run("ls /var/lib/catmaid-deploy").split().count("bundle") == 1
