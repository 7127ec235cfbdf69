"""The data of a CATMAID that the deploy installed: first projects, the way back from migrations, and its mail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from catmaid_deploy.script import joined
from testbed import images, repository
from testbed.hosts import Bed, BedHost
from testbed.run import Run, pyinfra
from tests.host.conftest import EACH_SUITE, wait_until_all_run
from tests.host.nothing import FromEnvironment, served

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("nothing-data")]

DUMPS, PG_DUMP = "/var/backups/catmaid/catmaid", "/usr/lib/postgresql/*/bin/pg_dump"
# What a run puts in place; programs that run write elsewhere.
PLACED = """
ls -A /home/catmaid/releases /home/catmaid/releases/environments
find /etc /var/lib/catmaid-deploy -xdev -type f -print0 | sort -z | xargs -0 sha256sum
"""
PROJECTS = [{"title": "FAFB", "comment": "A whole fly's brain"}, {"title": "Larva"}]


def migration(number: int, field: str) -> dict[str, str]:
    """A release that adds a column."""
    before = "0001_initial" if number == 2 else f"{number - 1:04}_more"
    path = f"projects/mysite/migrations/{number:04}_more.py"
    return {path: repository.MIGRATION.format(before=before, field=field)}


RELEASES: dict[str, dict[str, str]] = {
    "1.0": {},
    **{f"1.{number}": migration(number + 1, f"field{number}") for number in range(1, 6)},
    # Without a migration of its own.
    "1.6": {},
}
WORD = "of-mail-alone"
# A mail server of the lab's, with a certificate that the host trusts: it takes mail for example.org by name and
# password, and keeps what it gets.
MAIL_SERVER = """
import asyncio, ssl, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

class Kept:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if not address.endswith("@example.org"):
            return "550 5.7.1 no relaying"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        with open("/srv/mail.txt", "ab") as file:
            file.write(envelope.content)
        return "250 OK"

def known(server, session, envelope, mechanism, data):
    return AuthResult(success=data == LoginPassword(b"catmaid", b"WORD"), handled=False)

context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("/srv/mail.pem", "/srv/mail.key")
options = {"require_starttls": True, "auth_required": True, "authenticator": known}
Controller(Kept(), hostname="127.0.0.1", port=587, tls_context=context, **options).start()
asyncio.new_event_loop().run_forever()
"""
SERVE_MAIL = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq install -y --no-install-recommends python3-aiosmtpd ca-certificates >/dev/null 2>&1
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=mail.example.org -keyout /srv/mail.key -out /srv/mail.pem \
    -addext subjectAltName=DNS:mail.example.org 2>/dev/null
cp /srv/mail.pem /usr/local/share/ca-certificates/mail.crt; update-ca-certificates >/dev/null 2>&1
grep -q mail.example.org /etc/hosts || echo '127.0.0.1 mail.example.org wrong.example.org' >> /etc/hosts
systemd-run --quiet --unit=mail python3 /srv/mail.py
for _ in $(seq 50); do ss -ltn | grep -q :587 && break; sleep 0.2; done
"""


def described(revision: str, install: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    administrator = {"name": "alice", "email": "alice@example.org"}
    instance = {
        "releases": {"repository": repository.PLACE, "revision": revision},
        "install": {"administrator": administrator, "projects": PROJECTS} | (install or {}),
        "migrate": "before",
        "workers": 2,
        **more,
    }
    return {"site": {"server_name": "localhost", "tls": {"certificate": "self-signed"}, "instances": [instance]}}


@pytest.fixture(scope="module", params=EACH_SUITE)
def host(bed: Bed, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    """A host that was bare, and has release 1.0."""
    suite = str(request.param)
    with images.lock(suite):
        image = images.host(suite)
    host = bed.boot(image, f"data-{suite}")
    repository.put(host, RELEASES)
    deploy(host, described("1.0"))
    yield host
    host.remove()


def deploy(host: BedHost, data: dict[str, Any], *options: str, code: int = 0, **more: Any) -> Run:
    run = pyinfra(host, data, *(options or ("-y",)), **more)
    assert run.code == code, run.text
    assert "Traceback" not in run.text
    if not code and not options:
        wait_until_all_run(host)
    return run


def sql(host: BedHost, text: str, database: str = "catmaid") -> list[str]:
    return host.run(f"cd / && runuser -u postgres -- psql -XAt -d {database} <<'END'\n{text}\nEND\n").split("\n")


def columns(host: BedHost, database: str = "catmaid") -> list[str]:
    text = "SELECT column_name FROM information_schema.columns WHERE table_name = 'mysite_note' ORDER BY 1"
    return sql(host, text, database)


def dumps(host: BedHost) -> list[str]:
    return host.run(f"ls -A {DUMPS} 2>/dev/null || true").split()


# ---- first projects ----


@pytest.mark.row_35
def test_the_first_projects_are_there_for_the_administrator(host: BedHost) -> None:
    assert sql(host, "SELECT title, comment FROM project ORDER BY id") == ["FAFB|A whole fly's brain", "Larva|"]
    may = "SELECT username, count(*) FROM catmaid_permission JOIN auth_user ON auth_user.id = user_id GROUP BY 1"
    assert sql(host, may) == ["alice|8"]
    assert json.loads(host.run("cat /var/lib/catmaid-deploy/installed/catmaid.json"))["projects"] is True


@pytest.mark.row_35
def test_a_project_that_was_removed_isn_t_made_again(host: BedHost) -> None:
    sql(host, "DELETE FROM catmaid_permission; DELETE FROM project")
    assert deploy(host, described("1.0")).changed == []
    assert sql(host, "SELECT count(*) FROM project") == ["0"]


@pytest.mark.row_35
def test_where_there_are_projects_none_is_made(host: BedHost) -> None:
    sql(host, "INSERT INTO project (title) VALUES ('Somebody''s own')")
    noted = "/var/lib/catmaid-deploy/installed/catmaid.json"
    host.run(f"""sed -i 's/"projects": true/"projects": false/' {noted}""")
    run = deploy(host, described("1.0"))
    assert "First data of catmaid" in run.changed
    assert sql(host, "SELECT title FROM project") == ["Somebody's own"]
    assert json.loads(host.run(f"cat {noted}"))["projects"] is True


# ---- the way back from migrations ----


def refused(host: BedHost, data: dict[str, Any]) -> str:
    """The one line of a run, and of a dry run, that changes nothing."""
    before = host.run(PLACED)
    lines = []
    for options in (("--dry",), ("-y",)):
        (line,) = deploy(host, data, *options, code=1).refusals
        lines.append(line)
    assert host.run(PLACED) == before
    assert lines[0] == lines[1]
    return lines[0]


@pytest.mark.row_27
def test_what_can_t_be_dumped_is_refused_before_anything_changes(host: BedHost) -> None:
    assert dumps(host) == []
    host.run_privileged("mkdir -p /var/backups/catmaid && mount -t tmpfs -o size=1m tmpfs /var/backups/catmaid")
    try:
        line = refused(host, described("1.1"))
    finally:
        host.run_privileged("umount /var/backups/catmaid && rmdir /var/backups/catmaid")
    assert line.startswith("host: site.instances[catmaid].way_back: a dump of the database catmaid needs ")
    assert "are free on /var/backups/catmaid: free some there, or give way_back 'elsewhere'" in line
    host.run(f"mkdir /root/pg && for one in {PG_DUMP}; do mv $one /root/pg/; done")
    try:
        line = refused(host, described("1.1"))
        assert line.endswith(
            "by which the database catmaid is dumped before migrations: apt-get install postgresql-client"
        )
    finally:
        host.run("for one in /usr/lib/postgresql/*/bin; do mv /root/pg/pg_dump $one/; done; rmdir /root/pg")
    assert served(host) == "1.0"


@pytest.mark.row_27
@pytest.mark.parametrize("migrate", ["before", "closed"])
def test_a_dump_that_fails_leaves_the_old_release_serving(host: BedHost, migrate: str) -> None:
    before = columns(host)
    host.run(
        f"""for one in {PG_DUMP}; do
            mv $one $one.kept; printf '#!/bin/sh\\necho the disk is broken >&2\\nexit 1\\n' > $one; chmod 755 $one
        done"""
    )
    try:
        run = deploy(host, described("1.1", migrate=migrate), code=1)
    finally:
        host.run(f"for one in {PG_DUMP}; do mv $one.kept $one; done")
    words = "the new release is refused, the one before serves: its database can't be dumped: the disk is broken"
    assert words in run.text
    assert served(host) == "1.0"
    assert columns(host) == before
    assert dumps(host) == []
    # The code is there now.
    dry = deploy(host, described("1.1", migrate=migrate), "--dry")
    assert "mysite.0002_more" in dry.text
    assert "note: catmaid: its database catmaid (" in dry.text


@pytest.mark.row_27
def test_an_update_with_a_migration_makes_a_dump_which_comes_back_beside(host: BedHost) -> None:
    sql(host, "INSERT INTO mysite_note (text) VALUES ('of before')")
    run = deploy(host, described("1.1"))
    assert served(host) == "1.1"
    assert columns(host) == ["field1", "id", "text"]
    (name,) = dumps(host)
    assert name.startswith("1.1-before-")
    assert host.run(f"stat -c '%U %a' {DUMPS} {DUMPS}/{name}").split("\n") == ["root 700", "root 600"]
    sql(host, "INSERT INTO mysite_note (text) VALUES ('of after')")
    # Said when it is made, and again at the end.
    line, _ = [one for one in run.text.splitlines() if "beside the live one: " in one]
    host.run(line.partition("beside the live one: ")[2])
    beside = line.rpartition(" -d ")[2].split()[0]
    assert columns(host, beside) == ["id", "text"]
    assert sql(host, "SELECT text FROM mysite_note", beside) == ["of before"]
    assert sql(host, "SELECT text FROM mysite_note ORDER BY id") == ["of before", "of after"]
    # The way back by the inventory: the release of before with the database of before, in one update.
    back = described("1.0", {"database": {"name": beside, "user": "catmaid"}})
    deploy(host, back)
    assert served(host) == "1.0"
    notes = httpx.get(f"{host.url}/catmaid/notes", verify=host.trust(), trust_env=False, timeout=30).json()
    assert notes == {"notes": ["of before"]}
    assert deploy(host, back).changed == []
    # And forth: the live one was never touched.
    deploy(host, described("1.1"))
    assert sql(host, "SELECT text FROM mysite_note ORDER BY id") == ["of before", "of after"]
    assert dumps(host) == [name]


@pytest.mark.row_27
def test_three_dumps_stay_and_none_is_made_where_nothing_migrates(host: BedHost) -> None:
    for revision in ("1.2", "1.3", "1.4"):
        run = deploy(host, described(revision))
    assert [name.partition("-")[0] for name in dumps(host)] == ["1.2", "1.3", "1.4"]
    assert f"of the dumps in {DUMPS} 3 stay; removed 1.1-before-" in run.text
    before = dumps(host)
    deploy(host, described("1.5", way_back="elsewhere"))
    deploy(host, described("1.6"))
    assert served(host) == "1.6"
    assert dumps(host) == before


@pytest.mark.row_27
def test_settings_that_are_found_give_the_password_to_pg_dump_alone(host: BedHost) -> None:
    """Of a database that the deploy didn't make: the application's own process dumps it."""
    kept = json.loads(host.run("cat /etc/catmaid/secrets/catmaid.json"))["database_password"]
    script = """
import sys, json
sys.argv = ["-c", "{}"]
PARTS
one = {"folder": "/var/backups/catmaid/found", "revision": "x", "user": "www-data", "limit": 20, "local": None,
       "environment": "/etc/catmaid/catmaid/wsgi/environment.sh"}
dump_before(one, "[X]  a.0001")()
"""
    host.put("/root/dump.py", script.replace("PARTS", joined("operations.dumps")).encode())
    said = host.run("/usr/bin/python3 /root/dump.py 2>&1; rm /root/dump.py")
    assert "note: the database catmaid as it was is in /var/backups/catmaid/found/x-before-" in said
    assert kept not in said
    tables = host.run("/usr/lib/postgresql/*/bin/pg_restore --list /var/backups/catmaid/found/*.dump")
    assert "TABLE DATA public mysite_note" in tables


# ---- mail ----


def mailed(host: BedHost, *options: str, code: int = 0, given: str = WORD, at: str = "mail.example.org") -> str:
    """What verify says of an instance that is described so, and the next deploy of it."""
    values = {"host": at, "sender": "catmaid@example.org", "user": "catmaid"}
    settings = {"settings": {"mail": values | {"password": FromEnvironment("MAIL_PASSWORD")}}}
    env = {"MAIL_PASSWORD": given}
    deploy(host, described("1.6", settings), env=env)
    run = pyinfra(host, described("1.6", settings), *options, deploy="runbooks/verify.py", env=env)
    assert given not in run.text + json.dumps(run.report)
    found = [one for one in run.report["hosts"][0]["findings"] if one["place"] == "mail of catmaid"]
    assert bool(found) == bool(code), run.report
    return (
        " ".join(f"{one['what']}: {one['fix']}" for one in found) or run.report["hosts"][0]["checks"]["mail of catmaid"]
    )


@pytest.mark.row_35
def test_verify_tries_the_mail_server(host: BedHost) -> None:
    key = "site.instances[catmaid].install.settings.mail"
    host.run("grep -q mail.example.org /etc/hosts || echo '127.0.0.1 mail.example.org wrong.example.org' >> /etc/hosts")
    said = mailed(host, code=1)
    assert said.startswith("mail.example.org:587 doesn't answer: ConnectionRefusedError")
    assert said.endswith(f"let this host reach its port, or correct {key}.host and {key}.port")
    host.put("/srv/mail.py", MAIL_SERVER.replace("WORD", WORD).encode())
    host.run(SERVE_MAIL, timeout=300)
    assert mailed(host) == "mail.example.org:587 takes it from catmaid@example.org; none was sent"
    assert host.run("ls /srv/mail.txt 2>/dev/null || true") == ""
    wrong = mailed(host, code=1, at="wrong.example.org")
    assert wrong.startswith("wrong.example.org:587 gives no trusted connection: ")
    assert "CERTIFICATE_VERIFY_FAILED" in wrong
    assert wrong.endswith(f"give as {key}.host what its certificate has")
    wrong = mailed(host, code=1, given="another word")
    assert wrong.startswith("mail.example.org:587 lets nobody in by that name: 535 ")
    sent = mailed(host, "--data", "mail=bob@example.org")
    assert sent == "mail.example.org:587 has taken a message to bob@example.org"
    assert "To: bob@example.org" in host.run("cat /srv/mail.txt")
    wrong = mailed(host, "--data", "mail=bob@example.com", code=1)
    assert "takes nothing for others: 550 5.7.1 no relaying" in wrong
