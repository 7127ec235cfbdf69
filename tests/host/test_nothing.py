"""CATMAID from nothing: a bare host and ten lines end in a page that an administrator signs in to (rows 31, 35 to 37).

What is installed is the stand-in, which needs what CATMAID needs: PostGIS and pg_trgm in its migrations, pkg_resources,
an AnonymousUser before anybody else, a manifest of its static files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from testbed import images, repository
from testbed.hosts import Bed, BedHost, wait_for
from testbed.run import BOOKKEEPING, Run, pyinfra
from tests.host.browser import browse
from tests.host.conftest import EACH_SUITE, STATE, differences, everything_runs

pytestmark = pytest.mark.xdist_group("nothing")

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
}
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


def ten_lines(revision: str, **more: Any) -> dict[str, Any]:
    """What an inventory says of the whole of it."""
    releases = {"repository": repository.PLACE, "revision": revision}
    install = {"administrator": {"name": "alice", "email": "alice@example.org"}}
    instance = {"releases": releases, "install": install, "migrate": "before", **more}
    return {"site": {"server_name": "localhost", "tls": {"certificate": "self-signed"}, "instances": [instance]}}


@dataclass
class Installed:
    """A host that was bare, and how it came to CATMAID."""

    name: str
    host: BedHost
    before: str
    dry: Run
    after_dry: str
    first: Run


@pytest.fixture(scope="module", params=EACH_SUITE)
def installed(request: pytest.FixtureRequest, bed: Bed) -> Iterator[Installed]:
    suite = str(request.param)
    with images.lock(suite):
        image = images.host(suite)
    host = bed.boot(image, name := f"nothing-{suite}")
    repository.put(host, RELEASES)
    before = host.run(STATE)
    dry = pyinfra(host, ten_lines("1.0"), "--dry", "--diff")
    after_dry = host.run(STATE)
    first = pyinfra(host, ten_lines("1.0"), "-y")
    yield Installed(name, host, before, dry, after_dry, first)
    host.remove()


def settled(host: BedHost) -> None:
    wait_for("all programs", lambda: everything_runs(host), 30)


def served(host: BedHost) -> str:
    """The release that answers."""
    answer = httpx.get(f"{host.url}/catmaid/whoami", verify=host.trust(), trust_env=False, timeout=30)
    return str(answer.raise_for_status().json()["release"])


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
    settled(installed.host)
    password = installed.host.run(f"cat {PASSWORD}")
    # By its own name in the browser, whatever its address.
    arguments = (f"--host-resolver-rules=MAP localhost {installed.name}",)
    url = "https://localhost/catmaid/"
    found = browse(client, SIGN_IN, url=url, name="alice", password=password, arguments=arguments)
    # AnonymousUser is the first.
    assert (found["form"], found["user"]) == (1, "Signed in as alice, user 2.")


@pytest.mark.row_35
def test_verify_is_well_and_the_next_run_has_nothing_to_do(installed: Installed) -> None:
    verify = pyinfra(installed.host, ten_lines("1.0"), deploy="runbooks/verify.py")
    assert verify.code == 0, verify.text
    again = pyinfra(installed.host, ten_lines("1.0"), "-y")
    assert (again.code, again.changed) == (0, []), again.text


@pytest.mark.row_36
def test_an_update_brings_code_tables_and_environment_and_a_rollback_takes_them_back(installed: Installed) -> None:
    host, version = installed.host, "import importlib.metadata as m; print(m.version('sqlparse'))"

    def parser(release: str) -> str:
        return host.run(f'/home/catmaid/releases/environments/{release}-*/bin/python -c "{version}"')

    before = parser("1.0")
    update = pyinfra(host, ten_lines("1.1"), "-y")
    assert update.code == 0, update.text
    settled(host)
    assert served(host) == "1.1"
    assert parser("1.1") == "0.5.1" != before
    columns = "select column_name from information_schema.columns where table_name = 'mysite_note'"
    assert "color" in host.run(f'runuser -u postgres -- psql -At catmaid -c "{columns}"').split()
    back = pyinfra(host, ten_lines("1.1"), "-y", deploy="runbooks/rollback.py")
    assert back.code == 0, back.text
    settled(host)
    assert served(host) == "1.0"
    running = host.run("ps -ww -u www-data -o args --no-headers | grep -o 'environments/[^/]*' | sort -u")
    assert running.startswith("environments/1.0-")
    assert "\n" not in running
