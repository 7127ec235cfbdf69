"""The stand-in, which the deploy installs on a bare host: what is asked for, and what there is afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

import testbed.bare
from testbed import repository
from testbed.bare import with_port
from testbed.hosts import Bed, BedHost
from testbed.run import Run, pyinfra

PASSWORD = "/etc/catmaid/secrets/catmaid.administrator"
RELEASES = {
    "1.0": {},
    # Code, tables and environment change together.
    "1.1": {
        "projects/mysite/migrations/0002_note_color.py": repository.MIGRATION.format(
            before="0001_initial", field="color"
        ),
        "requirements-async.txt": "daphne==4.2.3\nchannels-rabbitmq==4.0.1\nsqlparse==0.5.1\n",
    },
    "2.0": {"requirements.txt": "celery==4.4.7\n"},
}


def run_on(host: BedHost, described: dict[str, Any], *options: str, port: int = 0, **more: Any) -> Run:
    """A run that finds the host at the port which leads there, unless it is told another one."""
    return pyinfra(host, with_port(described, port or host.ports[443]), *options, **more)


def timed(host: BedHost, described: dict[str, Any], times: Path) -> tuple[Run, list[tuple[str, float]]]:
    """A run, and its operations with their seconds."""
    return testbed.bare.timed(host, with_port(described, host.ports[443]), times)


def bare(bed: Bed, suite: str, name: str) -> BedHost:
    """A host with nothing but Debian and a repository."""
    return testbed.bare.boot(bed, suite, name, RELEASES)


class FromEnvironment:
    """A secret as the file of an inventory reads it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"__import__('catmaid_deploy.secret', fromlist=['x']).from_environment({self.name!r})"


def served(host: BedHost) -> str:
    """The release that answers, which calls itself what git calls it."""
    answer = httpx.get(f"{host.url}/catmaid/whoami", verify=host.trust(), trust_env=False, timeout=30)
    found = answer.raise_for_status().json()
    assert found["version"] == found["release"]
    return str(found["release"])


def said(run: Run) -> str:
    """What status finds, in lines."""
    found = run.report["hosts"][0]["findings"]
    return "\n".join(f"{one['place']}: {one['what']}" for one in found)


# Roles, databases and virtual hosts.
SERVICES = """
cd /
runuser -u postgres -- psql -At -c 'select rolname, rolpassword, rolsuper from pg_authid order by 1'
runuser -u postgres -- psql -At -c 'select datname, pg_get_userbyid(datdba) from pg_database order by 1'
rabbitmqctl -q list_users | sort
for vhost in $(rabbitmqctl -s list_vhosts | sort); do echo $vhost; rabbitmqctl -q list_permissions -p $vhost; done
"""


@dataclass
class Installed:
    """A host that was bare, and how it came to CATMAID.

    ``operations`` are those of the first run with their seconds, ``state`` what it left, by ``RELEVANT`` and ``MORE``.
    """

    suite: str
    host: BedHost
    before: str
    dry: Run
    after_dry: str
    first: Run
    operations: list[tuple[str, float]]
    state: str


# What RELEVANT hasn't: code and environment, the database with its rows, the broker, and who is there.
# Made by chance or by the clock are the secrets, the salt of passwords, the times of rows, and their numbers: after a
# crash a sequence of PostgreSQL goes on up to 32 later.
MORE = r"""
set +f
cd /home/catmaid/releases
ls -A . environments
cat environments/*/requirements.lock
find . -mindepth 1 -not -path './.uv/*' -not -path './environments/*' -not -path '*/repository.git/*' \
    -not -name '*.pyc' -not -name __pycache__ -not -name heartbeat.txt \
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
runuser -u postgres -- pg_dump --exclude-table-data=auth_permission catmaid \
    | grep -v -E -e '^.(un)?restrict ' -e 'pg_catalog.setval' \
    | sed -E 's/^[0-9]+\t/NUMBER\t/; s/[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.+]+/TIME/g; s/pbkdf2[^\t]*/PASSWORD/'
in_catmaid() { runuser -u postgres -- psql -At catmaid -c "$1"; }
in_catmaid 'select app_label, model, codename, p.name from auth_permission p
    join django_content_type c on c.id = content_type_id order by 1, 2, 3'
rabbitmqctl -q list_vhosts name; rabbitmqctl -q list_users | sort; rabbitmqctl -q list_permissions -p catmaid
"""
