"""From a bare host, killed anywhere: the next run ends where a run without a kill ends (row 35)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testbed import images, repository
from testbed.bare import ten_lines
from testbed.hosts import Bed, BedHost, wait_for
from testbed.podman import podman
from testbed.run import Run
from tests.host.conftest import differences, settled
from tests.host.nothing import MORE, Installed, bare, run_on

# With those of test_nothing.py, for their host.
pytestmark = pytest.mark.xdist_group("nothing")

SITE = ten_lines("1.0")
PLANTED = "insert into mysite_note (text) values ('planted')"


def state(host: BedHost) -> str:
    return settled(host, MORE)


def run(host: BedHost, installed: Installed, **environment: str) -> Run:
    # What a host listens at is the same on both.
    port = installed.host.ports[443]
    return run_on(host, SITE, "-y", port=port, before="tests/host/cut.py", env=environment)


def lose_power(host: BedHost) -> None:
    """All processes of the host end at once, and it comes back."""
    podman("kill", "--signal", "KILL", host.name)
    host.start()


def killed(host: BedHost, installed: Installed, **environment: str) -> None:
    """A run that ends by a kill as the environment says, and with it the host."""
    ended = run(host, installed, **environment)
    assert ended.code in (-9, -14), ended.text
    lose_power(host)


def ends_well(host: BedHost, installed: Installed, where: str) -> None:
    ended = run(host, installed)
    assert ended.code == 0, f"after a kill {where}: {ended.text}"
    assert (where, differences(installed.state, state(host))) == (where, [])


LONGER = 2
SAMPLE = ("Install packages", "Python environment of catmaid", "First data of catmaid")


@pytest.mark.row_35
def test_killed_in_the_middle_of_the_longest(bed: Bed, installed: Installed) -> None:
    """One host that meets it three times: among packages, in the environment, between two migrations."""
    seconds = dict(installed.operations)
    host = bare(bed, installed.suite, f"killed-{installed.suite}")
    for name in SAMPLE:
        killed(host, installed, CATMAID_CUT_IN=name, CATMAID_CUT_SECONDS=str(seconds[name] / 2))
    ends_well(host, installed, f"in {', '.join(SAMPLE)}")
    assert run(host, installed).changed == []
    # What it compares shows a difference.
    host.run(f'runuser -u postgres -- psql -q catmaid -c "{PLANTED}"')
    assert any("planted" in line for line in differences(installed.state, state(host)))
    host.remove()


# Nobody listens there.
NO_SOURCES = 'Acquire::http::Proxy "http://127.0.0.1:9";\nAcquire::https::Proxy "http://127.0.0.1:9";\n'
RELEASES = "/home/catmaid/releases"


def meanwhile(host: BedHost, installed: Installed, times: Path, after: str, do: Callable[[], object]) -> Run:
    """A run in which something happens on the host a second after an operation's end."""

    def watch() -> None:
        wait_for(after, lambda: times.exists() and json.dumps(after) in times.read_text(), 300, every=0.2)
        time.sleep(1)
        do()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(watch)
        ended = run(host, installed, CATMAID_TIMES=str(times))
        done.result()
    assert "Traceback" not in ended.text
    return ended


@pytest.mark.long
@pytest.mark.row_35
def test_a_run_that_loses_what_it_needs(bed: Bed, installed: Installed, tmp_path: Path) -> None:
    """One host on which each run but the last misses something: sources, its link, the repository, room."""
    host = bare(bed, installed.suite, f"poor-{installed.suite}")
    host.put("/etc/apt/apt.conf.d/zz-away", NO_SOURCES.encode())
    ended = run(host, installed)
    assert ended.code == 1
    assert "127.0.0.1:9" in ended.text, ended.text
    host.run("rm /etc/apt/apt.conf.d/zz-away")
    # Among the packages.
    cut = "pkill -KILL -f 'sshd: root@'"
    ended = meanwhile(host, installed, tmp_path / "link", "Read the package sources", lambda: host.run(cut))
    assert ended.code != 0
    host.run(f"mv {repository.PLACE} /srv/away")
    ended = run(host, installed)
    assert ended.code == 1
    assert repository.PLACE in ended.text, ended.text
    host.run(f"mv /srv/away {repository.PLACE}")
    # A file system of its own, which somebody fills while the environment is made there.
    host.run(f"install -d -o catmaid -g catmaid {RELEASES}; mkdir /srv/kept; cp -a {RELEASES}/. /srv/kept/")
    options = "size=4g,mode=755,uid=$(id -u catmaid),gid=$(id -g catmaid)"
    host.run_privileged(f"mount -t tmpfs -o {options} tmpfs {RELEASES}; cp -a /srv/kept/. {RELEASES}/; rm -r /srv/kept")
    fill = f"dd if=/dev/zero of={RELEASES}/full bs=1M 2>/dev/null || true"
    ended = meanwhile(host, installed, tmp_path / "room", "Take the host for this run", lambda: host.run(fill))
    assert ended.code == 1
    assert "No space left on device" in ended.text or "os error 28" in ended.text, ended.text
    host.run(f"rm {RELEASES}/full")
    ends_well(host, installed, "without what it needed")
    host.remove()


def kept(bed: Bed, host: BedHost, number: int) -> str:
    """An image of a host as it is, which goes on afterwards."""
    image = f"{images.REGISTRY}/killed:{bed.name}-{number}"
    podman("stop", "--time", "20", host.name)
    podman("commit", "--change", f"LABEL {images.LABEL}=killed", host.name, image)
    host.start()
    return image


@pytest.mark.row_35
@pytest.mark.long
def test_killed_after_each_operation_and_in_the_middle_of_each_long_one(bed: Bed, installed: Installed) -> None:
    walker = bare(bed, installed.suite, f"walker-{installed.suite}")
    image = kept(bed, walker, 0)
    try:
        for number, (name, seconds) in enumerate(installed.operations[:-1], 1):
            if seconds > LONGER:
                inside = bed.boot(image, f"in{number}", hostname="host")
                killed(inside, installed, CATMAID_CUT_IN=name, CATMAID_CUT_SECONDS=str(seconds / 2))
                ends_well(inside, installed, f"in {name}")
                inside.remove()
            killed(walker, installed, CATMAID_CUT_AFTER=name)
            before, image = image, kept(bed, walker, number)
            podman("rmi", "--force", before, check=False)
            after = bed.boot(image, f"after{number}", hostname="host")
            ends_well(after, installed, f"after {name}")
            after.remove()
    finally:
        podman("rmi", "--force", image, check=False)
    walker.remove()
