"""CATMAID from nothing: a bare host and ten lines end in a page that an administrator signs in to (rows 31, 35 to 37).

What is installed is the stand-in, which needs what CATMAID needs: PostGIS and pg_trgm in its migrations, pkg_resources,
an AnonymousUser before anybody else, a manifest of its static files.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from testbed import repository
from testbed.bare import ten_lines
from testbed.hosts import BedHost, wait_for
from testbed.podman import podman
from testbed.run import BOOKKEEPING
from tests.host import secrets_found
from tests.host.browser import browse
from tests.host.conftest import STATE, differences, settled, wait_until_all_run
from tests.host.nothing import PASSWORD, SERVICES, Installed, run_on, said, served

pytestmark = pytest.mark.xdist_group("nothing")

SIGN_IN = """
page.goto(url)
first = page.locator("#sign-in").count()
page.fill("input[name=name]", name)
page.fill("input[name=pwd]", password)
page.click("#sign-in button")
page.wait_for_selector("#user")
works = "[...document.querySelectorAll('.state')].every(one => one.textContent == 'works')"
page.wait_for_function(works, timeout=30000)
result = {"form": first, "user": page.locator("#user").inner_text(), "screen": page.screenshot()}
"""


@pytest.mark.row_31
@pytest.mark.row_35
def test_a_dry_run_tells_all_of_it_and_changes_nothing(installed: Installed) -> None:
    dry = installed.dry
    assert dry.code == 0, dry.text
    assert differences(installed.before, installed.after_dry) == []
    assert set(installed.first.changed) - set(BOOKKEEPING) <= set(dry.planned)


@pytest.mark.row_31
@pytest.mark.row_35
def test_one_run_ends_in_a_page_that_the_administrator_signs_in_to(installed: Installed, client: BedHost) -> None:
    assert installed.first.code == 0, installed.first.text
    # By now there is what wasn't when it began: nothing waits for it.
    assert " [host] done\n" in installed.first.text
    wait_until_all_run(installed.host)
    password = installed.host.run(f"cat {PASSWORD}")
    # By its own name in the browser, whatever its address.
    arguments = (f"--host-resolver-rules=MAP localhost nothing-{installed.suite}",)
    url = "https://localhost/catmaid/"
    found = browse(client, SIGN_IN, url=url, name="alice", password=password, arguments=arguments)
    # AnonymousUser is the first.
    assert (found["form"], found["user"]) == (1, "Signed in as alice, user 2.")


@pytest.mark.row_35
def test_verify_is_well_and_the_next_run_has_nothing_to_do(installed: Installed) -> None:
    verify = run_on(installed.host, ten_lines("1.0"), deploy="runbooks/verify.py")
    assert verify.code == 0, verify.text
    again = run_on(installed.host, ten_lines("1.0"), "-y")
    assert (again.code, again.changed) == (0, []), again.text
    assert served(installed.host) == "1.0"


@pytest.mark.long
@pytest.mark.row_36
def test_an_update_brings_code_tables_and_environment_and_a_rollback_takes_them_back(installed: Installed) -> None:
    host, version = installed.host, "import importlib.metadata as m; print(m.version('sqlparse'))"

    def parser(release: str) -> str:
        return host.run(f'/home/catmaid/releases/environments/{release}-*/bin/python -c "{version}"')

    before = parser("1.0")
    update = run_on(host, ten_lines("1.1"), "-y")
    assert update.code == 0, update.text
    wait_until_all_run(host)
    assert served(host) == "1.1"
    assert parser("1.1") == "0.5.1" != before
    columns = "select column_name from information_schema.columns where table_name = 'mysite_note'"
    assert "color" in host.run(f'runuser -u postgres -- psql -At catmaid -c "{columns}"').split()
    back = run_on(host, ten_lines("1.1"), "-y", deploy="runbooks/rollback.py")
    assert back.code == 0, back.text
    wait_until_all_run(host)
    assert served(host) == "1.0"
    running = "ps -ww -u www-data -o args --no-headers | grep -o 'environments/[^-]*' | sort -u"
    # A worker of before ends when its tasks do.
    wait_for("the end of the other programs", lambda: host.run(running) == "environments/1.0", 60)


def secrets(host: BedHost) -> list[str]:
    """All that the host knows alone."""
    kept = json.loads(host.run("cat /etc/catmaid/secrets/catmaid.json"))
    return [*kept.values(), host.run(f"cat {PASSWORD}")]


@pytest.mark.row_35
def test_no_secret_is_anywhere_else(installed: Installed) -> None:
    host = installed.host
    values = secrets(host)
    assert len(values) >= 4
    assert min(map(len, values)) >= 16
    assert host.run("systemctl is-active watcher") == "active"
    assert secrets_found.search(host, values) == []
    for run in (installed.dry, installed.first):
        assert not secrets_found.printed(run.text + json.dumps(run.report), values)
    # A search that can find: as a part of a URL, in base64 within more, and in a command line.
    host.put("/etc/planted", f"amqp://x:{values[0]}@localhost/".encode())
    host.put("/home/catmaid/planted", base64.b64encode(b"user:" + values[1].encode() + b"@"))
    host.run(f"sh -c 'sleep 0.5 # {values[2]}'")
    host.run(f"logger {values[3]}")
    found = {"/etc/planted", "/home/catmaid/planted", "/root/seen", "journal"}
    assert found <= {*secrets_found.search(host, values)}
    host.run("rm /etc/planted /home/catmaid/planted /root/seen; systemctl stop watcher")


# ---- what a run refuses ----

PREPARE = """
sql() { runuser -u postgres -- psql -q -c "$1"; }
sql "CREATE ROLE lab LOGIN PASSWORD 'of the lab alone'"
sql "CREATE ROLE latin"
sql "CREATE DATABASE lab OWNER lab"
sql "CREATE DATABASE latin OWNER latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
rabbitmqctl -q add_user lab of-the-lab-alone
"""
# Asks for a password whatever is asked for.
LOCKED = """
import http.server
class Locked(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic realm=lab")
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 8099), Locked).serve_forever()
"""


def second(revision: str = "1.0", **install: Any) -> dict[str, Any]:
    """Another instance beside the first."""
    releases = {"repository": repository.PLACE, "revision": revision}
    return {"name": "catmaid-two", "prefix": "/two", "workers": 1, "releases": releases, "install": install}


def both(other: dict[str, Any]) -> dict[str, Any]:
    described = ten_lines("1.0")
    described["site"]["instances"].append(other)
    return described


def moved(revision: str, **releases: str) -> dict[str, Any]:
    """The first instance with other code."""
    described = ten_lines(revision)
    described["site"]["instances"][0]["releases"] |= releases
    return described


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a revision that isn't there": (moved("9.9"), "site.instances[catmaid].releases.revision: "),
    "a Python that doesn't fit": (
        moved("2.0"),
        "site.instances[catmaid].install.python.executable: 2.0 requires celery 4.4.7, which doesn't run with Python",
    ),
    "a repository that asks for a password": (
        moved("1.2", repository="http://127.0.0.1:8099/catmaid.git"),
        "site.instances[catmaid].releases.repository: ",
    ),
    "somebody else's database": (
        both(second(database={"name": "lab", "user": "catmaid_two"})),
        "the database lab belongs to lab, not to catmaid_two",
    ),
    "another encoding": (both(second(database={"name": "latin"})), "the database latin has the encoding LATIN1"),
    "a role with another password": (
        both(second(database={"name": "two", "user": "lab"})),
        "the role lab is there and has another password than the deploy's",
    ),
    "a cluster at another port": (both(second(database={"port": 5433})), "install.database.port"),
    "guest alone": (both(second(broker={"user": "guest"})), "install.broker.user: 'guest' is the service's own"),
    "somebody else's user at the broker": (
        both(second(broker={"vhost": "two", "user": "lab"})),
        "site.instances[catmaid-two].install.broker.user: RabbitMQ has a user lab that isn't the deploy's",
    ),
    "settings that are no Python": (
        ten_lines("1.0", install={"settings": {"fragment": "MINUTES = = 60\n"}}),
        "site.instances[0].install.settings.fragment: line 1 is no Python",
    ),
}


@pytest.fixture(scope="module")
def prepared(installed: Installed) -> Iterator[BedHost]:
    """A host on which other things are as well."""
    host = installed.host
    assert run_on(host, ten_lines("1.0"), "-y").code == 0
    host.put("/root/locked.py", LOCKED.encode())
    host.run(f"systemd-run --quiet --unit=locked python3 /root/locked.py\n{PREPARE}")
    yield host
    host.run("systemctl stop locked")


def refused(host: BedHost, described: dict[str, Any], words: str) -> None:
    """One line with these words, and nothing changed."""
    before = settled_state(host)
    run = run_on(host, described, "-y")
    assert run.code == 1, run.text
    (line,) = run.refusals
    assert words in line
    assert differences(before, settled_state(host)) == []
    assert served(host) == "1.0"


@pytest.mark.long
@pytest.mark.row_35
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_refused_in_one_line(prepared: BedHost, kind: str) -> None:
    refused(prepared, *WRONG[kind])


def settled_state(host: BedHost) -> str:
    wait_until_all_run(host)
    # Beat's own sign of life, and how many processes of PostgreSQL serve somebody.
    others = re.compile(r"heartbeat\.txt|^ *\d+ postgres +postgres$")
    return "\n".join(line for line in host.run(STATE + SERVICES).splitlines() if not others.search(line))


@pytest.mark.long
@pytest.mark.row_35
def test_an_extension_that_is_missing_is_refused_in_one_line(prepared: BedHost) -> None:
    there = "/usr/share/postgresql/*/extension"
    prepared.run(f"mv {there}/pg_trgm.control /root/")
    try:
        refused(prepared, both(second()), "the extension pg_trgm isn't available")
    finally:
        prepared.run(f"mv /root/pg_trgm.control {there}/")


@pytest.mark.long
@pytest.mark.row_35
def test_settings_that_do_not_load_are_put_back(prepared: BedHost) -> None:
    """Only the application tells, which starts beside the one that serves."""
    before = settled(prepared)
    run = run_on(prepared, ten_lines("1.0", install={"settings": {"fragment": "MINUTES = 60 / 0\n"}}), "-y")
    assert run.code == 1, run.text
    assert "ZeroDivisionError" in run.text
    assert "the new release is refused, the one before serves" in run.text
    assert differences(before, settled(prepared)) == []
    assert served(prepared) == "1.0"


@pytest.mark.long
@pytest.mark.row_35
def test_two_instances_have_their_own_and_one_that_leaves_keeps_its_data(installed: Installed) -> None:
    host = installed.host
    run = run_on(host, both(second()), "-y")
    assert run.code == 0, run.text
    wait_until_all_run(host)
    assert run_on(host, both(second()), deploy="runbooks/verify.py").code == 0
    assert run_on(host, both(second()), "-y").changed == []
    names = "runuser -u postgres -- psql -At -c 'select datname from pg_database'; rabbitmqctl -q list_vhosts"
    there = host.run(names)
    assert {"catmaid", "catmaid_two"} <= {*there.split()}
    gone = run_on(host, ten_lines("1.0"), "-y")
    assert gone.code == 0, gone.text
    assert "database catmaid_two: it stays, with its role: catmaid-two no longer has it" in gone.text
    assert "virtual host catmaid_two: no instance has it any longer; it stays" in gone.text
    assert host.run(names) == there
    assert "catmaid-two" not in host.run("supervisorctl status || true")
    assert host.run("ls /etc/catmaid/secrets").split() != []
    assert run_on(host, ten_lines("1.0"), "-y").changed == []


# ---- the broker and the database may be away ----


def waits_for(what: str, host: BedHost, path: str, seconds: float) -> None:
    """Until a page is well again."""

    def is_well() -> bool:
        try:
            return httpx.get(f"{host.url}/catmaid/{path}", verify=host.trust(), trust_env=False, timeout=30).is_success
        except httpx.HTTPError:
            return False

    wait_for(what, is_well, seconds)


@pytest.mark.long
@pytest.mark.row_37
def test_an_update_without_a_broker(installed: Installed) -> None:
    """The new release serves, and tasks wait for the broker."""
    host = installed.host
    host.run("systemctl stop rabbitmq-server")
    try:
        run = run_on(host, ten_lines("1.1"), "-y")
        assert run.code == 0, run.text
        assert "tasks wait: the broker of catmaid doesn't answer" in run.text
        assert served(host) == "1.1"
        status = run_on(host, ten_lines("1.1"), deploy="runbooks/status.py")
        assert "it doesn't run: tasks wait, and notices reach no page" in said(status)
        # Who sends a task meanwhile learns it within seconds.
        started = time.monotonic()
        url = f"{host.url}/catmaid/task"
        assert httpx.get(url, verify=host.trust(), trust_env=False, timeout=60).status_code == 500
        assert time.monotonic() - started < 30
    finally:
        host.run("systemctl start rabbitmq-server")
    waits_for("a task after the broker is back", host, "task", 60)
    assert run_on(host, ten_lines("1.1"), deploy="runbooks/verify.py").code == 0


@pytest.mark.long
@pytest.mark.row_37
def test_a_database_that_is_three_minutes_late_at_boot(installed: Installed) -> None:
    host = installed.host
    place = "/etc/systemd/system/postgresql@.service.d/late.conf"
    host.run(f"mkdir -p {place.rpartition('/')[0]}")
    host.put(place, b"[Service]\nExecStartPre=/bin/sleep 180\nTimeoutStartSec=400\n")
    try:
        host.shut_down()
        # It doesn't count as booted before PostgreSQL runs.
        podman("start", host.name)
        wait_for("sshd", host.answers_ssh, 60)
        status = run_on(host, ten_lines("1.1"), deploy="runbooks/status.py")
        assert "postgresql" in said(status)
        assert status.code == 1
        waits_for("the site", host, "notes", 400)
    finally:
        host.run(f"rm {place}; systemctl daemon-reload")
    wait_until_all_run(host)
    assert run_on(host, ten_lines("1.1"), deploy="runbooks/verify.py").code == 0
