"""From a bare host, killed anywhere: the next run ends where a run without a kill ends (row 35)."""

from __future__ import annotations

import json

import pytest

from testbed import images, repository
from testbed.hosts import Bed, BedHost
from testbed.podman import podman
from testbed.run import Run, pyinfra
from tests.host.conftest import differences, settled
from tests.host.test_nothing import RELEASES, ten_lines

pytestmark = pytest.mark.xdist_group("nothing-killed")

SITE = ten_lines("1.0")
# What RELEVANT hasn't: code and environment, the database with its rows, the broker, and who is there.
# Made by chance or by the clock are the secrets, the salt of passwords, and the times of rows.
MORE = r"""
cd /home/catmaid/releases
ls -A . environments
cat environments/*/requirements.lock
find . -mindepth 1 -not -path './.uv/*' -not -path './environments/*' -not -path '*/repository.git/*' \
    -not -name '*.pyc' -not -name __pycache__ \
    \( -type f -printf '%p %u %g %m %s\n' -o -printf '%p %u %g %m %l\n' \) | sort
find /etc/postgresql /etc/postgresql-common /etc/rabbitmq -type f -print0 | sort -z | xargs -0 sha256sum
find /etc/catmaid/secrets /var/lib/catmaid* -printf '%p %u %g %m\n' | sort
python3 -c 'import json; print(sorted(json.load(open("/etc/catmaid/secrets/catmaid.json"))))'
getent passwd | cut -d: -f1,6,7 | sort; getent group | cut -d: -f1,4 | sort
cd /
sql() { runuser -u postgres -- psql -At -c "$1"; }
sql "select rolname, rolsuper, rolcreatedb, rolcreaterole, rolcanlogin, rolconfig from pg_roles order by 1"
sql "select datname, pg_get_userbyid(datdba), encoding, datcollate, datacl from pg_database order by 1"
sql "select name, setting from pg_settings where source = 'configuration file' order by 1"
runuser -u postgres -- pg_dump catmaid | grep -v -E '^.(un)?restrict ' \
    | sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.+]+/TIME/g; s/pbkdf2[^\t]*/PASSWORD/'
rabbitmqctl -q list_vhosts name; rabbitmqctl -q list_users | sort; rabbitmqctl -q list_permissions -p catmaid
"""
PLANTED = "insert into mysite_note (text) values ('planted')"


def state(host: BedHost) -> str:
    return settled(host, MORE)


def bare(bed: Bed, name: str) -> BedHost:
    with images.lock("bookworm"):
        image = images.host("bookworm")
    # RabbitMQ knows its data by the host's name.
    host = bed.boot(image, name, hostname="host")
    repository.put(host, RELEASES)
    return host


def run(host: BedHost, **environment: str) -> Run:
    return pyinfra(host, SITE, "-y", before="tests/host/cut.py", env=environment)


def lose_power(host: BedHost) -> None:
    """All processes of the host end at once, and it comes back."""
    podman("kill", "--signal", "KILL", host.name)
    host.start()


def killed(host: BedHost, **environment: str) -> None:
    """A run that ends by a kill as the environment says, and with it the host."""
    ended = run(host, **environment)
    assert ended.code in (-9, -14), ended.text
    lose_power(host)


def ends_well(host: BedHost, wanted: str, where: str) -> None:
    ended = run(host)
    assert ended.code == 0, f"after a kill {where}: {ended.text}"
    assert (where, differences(wanted, state(host))) == (where, [])


@pytest.fixture(scope="module")
def whole(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[tuple[str, float]]]:
    """The state after a run without a kill, and that run's operations with their seconds."""
    times = tmp_path_factory.mktemp("whole") / "times"
    host = bare(bed, "whole")
    ended = run(host, CATMAID_TIMES=str(times))
    assert ended.code == 0, ended.text
    found = state(host)
    # What it compares shows a difference.
    host.run(f'runuser -u postgres -- psql -q catmaid -c "{PLANTED}"')
    assert any("planted" in line for line in differences(found, state(host)))
    host.remove()
    return found, [(name, seconds) for name, seconds in map(json.loads, times.read_text().splitlines())]


LONGER = 2
SAMPLE = ("Install packages", "Python environment of catmaid", "First tables and administrator of catmaid")


@pytest.mark.row_35
def test_killed_in_the_middle_of_the_longest(bed: Bed, whole: tuple[str, list[tuple[str, float]]]) -> None:
    """One host that meets it three times: among packages, in the environment, between two migrations."""
    wanted, operations = whole
    seconds = dict(operations)
    host = bare(bed, "killed")
    for name in SAMPLE:
        killed(host, CATMAID_CUT_IN=name, CATMAID_CUT_SECONDS=str(seconds[name] / 2))
    ends_well(host, wanted, f"in {', '.join(SAMPLE)}")
    assert run(host).changed == []
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
def test_killed_after_each_operation_and_in_the_middle_of_each_long_one(
    bed: Bed, whole: tuple[str, list[tuple[str, float]]]
) -> None:
    wanted, operations = whole
    walker = bare(bed, "walker")
    image = kept(bed, walker, 0)
    try:
        for number, (name, seconds) in enumerate(operations[:-1], 1):
            if seconds > LONGER:
                inside = bed.boot(image, f"in{number}", hostname="host")
                killed(inside, CATMAID_CUT_IN=name, CATMAID_CUT_SECONDS=str(seconds / 2))
                ends_well(inside, wanted, f"in {name}")
                inside.remove()
            killed(walker, CATMAID_CUT_AFTER=name)
            before, image = image, kept(bed, walker, number)
            podman("rmi", "--force", before, check=False)
            after = bed.boot(image, f"after{number}", hostname="host")
            ends_well(after, wanted, f"after {name}")
            after.remove()
    finally:
        podman("rmi", "--force", image, check=False)
    walker.remove()
