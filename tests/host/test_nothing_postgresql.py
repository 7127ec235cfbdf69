"""PostgreSQL from a bare host: made, set, kept, and refused where it is somebody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost
from testbed.run import Run, pyinfra
from tests.host.conftest import EACH_SUITE, copy_project

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("nothing-postgresql")]

# What the tasks of a deploy ask and do, but for those that need an application.
TASKS = """
import sys
from pathlib import Path
sys.path.append(str(Path(__file__).resolve().parent))
import runpy

from catmaid_deploy import job
from catmaid_deploy.plan.task import Task
from catmaid_deploy.tasks import packages, secrets
from catmaid_deploy.tasks.postgresql import cluster, databases, settings

MINE = (cluster.TASK, packages.TASK, secrets.TASK, settings.TASK, databases.TASK)

def without_sites(deployment):
    return deployment.model_copy(update={"sites": ()})

def asking(task):
    return Task(
        task.name,
        lambda deployment: task.question(without_sites(deployment)),
        last_word=lambda deployment: task.last_word(without_sites(deployment)),
    )

ALL = runpy.run_path(str(Path(__file__).with_name("all.py")))["TASKS"]
job.run(tuple(task if task in MINE else asking(task) for task in ALL))
"""
# On such a host Debian's own defaults make a cluster that has no UTF-8.
GERMAN = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update && apt-get -qq install -y --no-install-recommends locales >/dev/null 2>&1
localedef -i de_DE -f ISO-8859-1 de_DE
echo LANG=de_DE > /etc/default/locale
"""


def instance(of: str, **database: Any) -> dict[str, Any]:
    return {
        "name": of,
        "prefix": f"/{of}",
        "workers": 2,
        "releases": {"repository": "https://example.org/x.git", "revision": "1.0", "folder": f"/home/{of}"},
        "install": {"broker": "found", "database": database},
    }


def data(*instances: dict[str, Any], **postgresql: Any) -> dict[str, Any]:
    site = {"server_name": "localhost", "tls": {"certificate": "none"}, "instances": list(instances)}
    return {"site": site, "postgresql": {"memory": "512m", **postgresql}}


BOTH = (instance("catmaid"), instance("catmaid-two"))
SETTINGS, DATABASE, OTHER = "Configuration: postgresql", "Database catmaid", "Database catmaid_two"


class FromEnvironment:
    """A password as the file of an inventory reads it."""

    def __repr__(self) -> str:
        return "__import__('catmaid_deploy.secret', fromlist=['x']).from_environment('HERS')"


class Runs:
    """Runs against the host, by a copy of the project that a test may change."""

    def __init__(self, host: BedHost, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.env: dict[str, str] = {}
        copy_project(folder)
        deploy = folder / "deploy.py"
        deploy.with_name("all.py").write_text(deploy.read_text().replace("\njob.run(TASKS)\n", "\n"))
        deploy.write_text(TASKS)

    def __call__(self, described: dict[str, Any], *options: str, code: int = 0) -> Run:
        run = pyinfra(self.host, described, *(options or ("-y",)), cwd=self.folder, env=self.env)
        assert run.code == code, run.text
        assert "Traceback" not in run.text
        return run


@pytest.fixture(scope="module", params=EACH_SUITE)
def host(bed: Bed, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    with images.lock(request.param):
        image = images.host(request.param)
    host = bed.boot(image, f"postgresql-{request.param}", hostname="host")
    host.run(GERMAN, timeout=300)
    yield host
    host.remove()


@pytest.fixture
def runs(host: BedHost, tmp_path: Path) -> Runs:
    return Runs(host, tmp_path)


def sql(host: BedHost, text: str, database: str = "postgres") -> str:
    return host.run(f"cd / && runuser -u postgres -- psql -XAt -v ON_ERROR_STOP=1 -d {database} <<'END'\n{text}\nEND\n")


STATE = """
find /etc /var/lib/catmaid-deploy -xdev -type f -print0 2>/dev/null | sort -z | xargs -0 sha256sum; dpkg-query -W
systemctl list-units 'postgresql*' --no-legend --plain || true
[ ! -e /run/postgresql/.s.PGSQL.5432 ] || { cd / && runuser -u postgres -- pg_dumpall --globals-only \
    | grep -v -e '^.restrict' -e '^.unrestrict'; runuser -u postgres -- psql -XAtl; }
"""


def test_from_nothing(host: BedHost, runs: Runs) -> None:
    before = host.run(STATE)
    runs(data(*BOTH), "--dry", "--diff")
    assert host.run(STATE) == before
    first = runs(data(*BOTH))
    assert {SETTINGS, DATABASE, OTHER} < {*first.changed}
    assert runs(data(*BOTH)).changed == []
    assert sql(host, "SHOW data_checksums; SHOW server_encoding") == "on\nUTF8"
    assert sql(host, "SELECT datcollate FROM pg_database WHERE datname = 'template1'") == "C.UTF-8"
    assert sql(host, "SHOW catmaid.settings") in host.run("cat /etc/catmaid/postgresql.conf")
    extensions = "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension"
    assert sql(host, extensions, "catmaid") == "pg_trgm plpgsql postgis"
    owners = "SELECT datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding) FROM pg_database"
    assert "catmaid_two|catmaid_two|UTF8" in sql(host, owners)


def sign_in(host: BedHost, instance: str, database: str) -> str:
    """What a role's password from the host's file opens."""
    path = f"/etc/catmaid/secrets/{instance}.json"
    read = f"import json; print(json.load(open('{path}'))['database_password'])"
    role = instance.replace("-", "_")
    select = "SELECT current_setting('default_transaction_isolation'), current_setting('timezone')"
    psql = f'psql -XAt -h localhost -U {role} -d {database} -c "{select}" 2>&1 || true'
    return host.run(f'PGPASSWORD=$(python3 -c "{read}") {psql}')


def test_each_role_has_its_own_database(host: BedHost) -> None:
    assert sign_in(host, "catmaid", "catmaid") == "read committed|UTC"
    assert sign_in(host, "catmaid-two", "catmaid_two") == "read committed|UTC"
    for instance, others in (("catmaid", "catmaid_two"), ("catmaid-two", "catmaid")):
        assert "permission denied for database" in sign_in(host, instance, others)
        assert "permission denied for database" not in sign_in(host, instance, "postgres")


def test_secrets_are_in_no_log(host: BedHost) -> None:
    """Nor what PostgreSQL keeps of them, though all statements are logged that don't say otherwise."""
    verifiers = sql(host, "SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL").split()
    assert len(verifiers) == 2
    assert all(one.startswith("SCRAM-SHA-256$4096:") for one in verifiers)
    passwords = [json.loads(host.run(f"cat {path}"))["database_password"] for path in
                 ("/etc/catmaid/secrets/catmaid.json", "/etc/catmaid/secrets/catmaid-two.json")]  # fmt: skip
    logs = host.run("cat /var/log/postgresql/*.log /var/log/catmaid-deploy.log; journalctl --no-pager || true")
    assert [one for one in (*verifiers, *passwords, "SCRAM-SHA") if one in logs] == []


def test_a_setting_waits_for_a_restart_or_gets_one(host: BedHost, runs: Runs) -> None:
    waits = "shared_buffers waits for the next restart of PostgreSQL"
    run = runs(data(*BOTH, memory="640m"))
    assert waits in run.text
    assert sql(host, "SHOW shared_buffers; SHOW effective_cache_size") == "128MB\n480MB"
    run = runs(data(*BOTH, memory="640m"))
    assert run.changed == []
    assert f"WARNING postgresql: {waits}: systemctl restart postgresql@" in run.text
    assert SETTINGS in runs(data(*BOTH, memory="640m", restart=True)).changed
    assert sql(host, "SHOW shared_buffers") == "160MB"
    assert runs(data(*BOTH, memory="640m", restart=True)).changed == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("no_such_setting = 1", "unrecognized configuration parameter"),
        ("work_mem = 'three apples'", "invalid value for parameter"),
        # Known to be wrong at its start alone.
        ("unix_socket_directories = '/nowhere'", "PostgreSQL doesn't restart"),
    ],
)
def test_a_broken_setting_is_refused_and_put_back(host: BedHost, runs: Runs, line: str, words: str) -> None:
    described = data(*BOTH, memory="640m", restart=True)
    before, file = sql(host, "SELECT name, setting FROM pg_settings"), host.run("cat /etc/catmaid/postgresql.conf")
    template = runs.folder / "templates/etc/catmaid/postgresql.conf.j2"
    template.write_text(f"{template.read_text()}{line}\n")
    run = runs(described, code=1)
    assert words in run.text
    assert host.run("cat /etc/catmaid/postgresql.conf") == file
    assert sql(host, "SELECT name, setting FROM pg_settings") == before
    assert sql(host, "SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"


def test_what_somebody_changed_is_as_before(host: BedHost, runs: Runs) -> None:
    described = data(*BOTH, memory="640m", restart=True)
    sql(host, "ALTER ROLE catmaid PASSWORD 'another one'; ALTER ROLE catmaid RESET timezone;")
    sql(host, "GRANT CONNECT ON DATABASE catmaid TO PUBLIC; ALTER DATABASE catmaid_two WITH CONNECTION LIMIT 50")
    host.run("rm /etc/postgresql/*/main/conf.d/catmaid.conf; systemctl disable postgresql")
    assert {*runs(described).changed} >= {SETTINGS, DATABASE}
    assert sign_in(host, "catmaid", "catmaid") == "read committed|UTC"
    assert "permission denied" in sign_in(host, "catmaid-two", "catmaid")
    assert runs(described).changed == []
    assert host.run("systemctl is-enabled postgresql") == "enabled"


def refused(host: BedHost, runs: Runs, described: dict[str, Any]) -> str:
    """The one line of a run that changes nothing."""
    before = host.run(STATE)
    run = runs(described, code=1)
    assert host.run(STATE) == before
    (line,) = run.refusals
    return line


def test_what_is_somebody_else_s_is_refused_in_one_line(host: BedHost, runs: Runs) -> None:
    more = {"memory": "640m", "restart": True}
    sql(host, "CREATE ROLE lab LOGIN PASSWORD 'of the lab alone'; CREATE ROLE latin")
    sql(host, "CREATE DATABASE lab OWNER lab")
    sql(host, "CREATE DATABASE latin OWNER latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    third = instance("catmaid-three")
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"name": "lab", "user": "catmaid_three"}, {}, "the database lab belongs to lab, not to catmaid_three"),
        ({"name": "latin"}, {}, "the database latin has the encoding LATIN1"),
        ({"name": "three", "user": "lab"}, {}, "the role lab is there and has another password than the deploy's"),
        ({"port": 5433}, {}, "install.database.port"),
        ({}, {"memory": "9000g"}, "postgresql.memory: 9000g is more than the host has"),
    ]
    for database, postgresql, words in cases:
        described = data(third | {"install": {"broker": "found", "database": database}}, **(more | postgresql))
        assert words in refused(host, runs, described)
    # The fix of that line.
    line = refused(host, runs, data(instance("catmaid-three", name="three", user="lab"), **more))
    host.run(f"cd / && {line[line.index('runuser') :]}")
    assert "Database three" in runs(data(instance("catmaid-three", name="three", user="lab"), **more)).changed
    assert runs(data(*BOTH, instance("catmaid-three", name="three", user="lab"), **more)).changed == []


def test_a_password_of_the_inventory(host: BedHost, runs: Runs) -> None:
    """A role of somebody's is taken over by its password, and by no other one; of the deploy's own it is changed."""
    sql(host, "CREATE ROLE hers LOGIN PASSWORD 'her-own-password'")
    sql(host, "CREATE DATABASE hers OWNER hers TEMPLATE template0")

    def with_password(text: str) -> dict[str, Any]:
        runs.env = {"HERS": text}
        hers = instance("catmaid-hers", name="hers", user="hers", password=FromEnvironment())
        return data(*BOTH, hers, memory="640m", restart=True)

    assert "has another password than the inventory gives" in refused(host, runs, with_password("not-her-password"))
    assert "Database hers" in runs(with_password("her-own-password")).changed
    assert runs(with_password("her-own-password")).changed == []
    changed = runs(with_password("a-later-password"))
    assert "Database hers" in changed.changed
    signed_in = "PGPASSWORD=a-later-password psql -XAt -h localhost -U hers -d hers -c 'SELECT 1'"
    assert host.run(signed_in) == "1"
    assert [word for word in ("her-own-password", "a-later-password") if word in changed.text] == []


def test_a_server_that_is_down(host: BedHost, runs: Runs) -> None:
    host.run("systemctl stop 'postgresql@*'")
    line = refused(host, runs, data(*BOTH, memory="640m", restart=True))
    assert "doesn't answer" in line
    host.run(line[line.index("systemctl start") :])
    assert runs(data(*BOTH, memory="640m", restart=True)).changed == []


def test_a_cluster_whose_making_was_cut_is_made_anew(host: BedHost, runs: Runs) -> None:
    host.run(
        """
        cd /; version=$(ls /etc/postgresql)
        pg_dropcluster --stop $version main
        runuser -u postgres -- /usr/lib/postgresql/$version/bin/initdb -D /var/lib/postgresql/$version/main >/dev/null
        rm /var/lib/postgresql/$version/main/global/pg_control
        runuser -u postgres -- mkdir -p /etc/postgresql/$version/main
        """
    )
    run = runs(data(*BOTH))
    assert {SETTINGS, DATABASE, OTHER} < {*run.changed}
    assert sign_in(host, "catmaid", "catmaid") == "read committed|UTC"
    assert runs(data(*BOTH)).changed == []
