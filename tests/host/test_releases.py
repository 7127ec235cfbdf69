"""Releases that the deploy puts in place itself, the way back, and migrations (rows 26 and 27)."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.repository import MIGRATION
from testbed.run import CHECKOUT, VIRTUALENV, Run, pyinfra
from testbed.updates import SITE, masters
from tests.host.conftest import boot_ready, processes
from tests.host.test_updates import client, deploy, load, serving, statuses

pytestmark = pytest.mark.xdist_group("releases")

REPOSITORY, FOLDER, DATABASE = "/srv/catmaid.git", "/home/catmaid/releases", "/srv/database/catmaid.sqlite3"
SHARED = f"{FOLDER}/shared/django/projects/mysite"
ROLLBACK = "runbooks/rollback.py"


def released(revision: str, **more: Any) -> dict[str, Any]:
    """SITE with this revision of the code."""
    site = copy.deepcopy(SITE)
    releases = {"repository": REPOSITORY, "revision": revision, "keep": 3}
    site["instances"][0] |= {"virtualenv": VIRTUALENV, "releases": releases, "migrate": more.pop("migrate", "refuse")}
    releases |= more
    return site


def tag(host: BedHost, name: str, files: dict[str, str] | None = None) -> None:
    """Another release in the repository."""
    for path, text in (files or {}).items():
        host.put(f"/srv/source/django/{path}", text.encode())
    host.run(
        f"""
        cd /srv/source; echo {name} > django/RELEASE
        echo '// {name}' > django/assets/standin.js
        rm -f django/assets/only-*; echo {name} > django/assets/only-{name}.js
        # Often older than the release that it replaces is in use: collectstatic would keep that one's files.
        export GIT_COMMITTER_DATE=2020-01-01T00:00:00Z
        git add -A; git commit -q -m {name}; git tag {name}; git push -q {REPOSITORY} HEAD:main {name}
        """
    )


def prepare(host: BedHost) -> None:
    """A repository of the code that came into place by hand, a database, and the folder for releases."""
    host.run(
        f"""
        apt-get -qq update; apt-get -qq install -y --no-install-recommends git >/dev/null 2>&1
        git config --system user.email test@example.org; git config --system user.name test
        git config --system safe.directory '*'
        git init -q --bare {REPOSITORY}
        mkdir /srv/source
        tar -C {CHECKOUT} --exclude=./django/env --exclude=./django/files --exclude=./django/static \
            --exclude=settings.py --exclude=django.wsgi --exclude=__pycache__ -c . | tar -C /srv/source -x
        git init -q -b main /srv/source
        chmod -R a+rX /srv

        install -d -o www-data -g www-data /srv/database
        install -d -o catmaid -g catmaid {FOLDER}
        install -d {SHARED}
        install -d -o www-data -g www-data {FOLDER}/shared/files
        cp {CHECKOUT}/django/projects/mysite/django.wsgi {SHARED}/
        sed -e 's#^STATIC_ROOT.*#STATIC_ROOT = os.path.join(os.path.dirname(__file__), "../../static")#' \
            -e '1i import os' \
            -e 's#^MEDIA_ROOT.*#MEDIA_ROOT = "{FOLDER}/shared/files"#' \
            {CHECKOUT}/django/projects/mysite/settings.py > {SHARED}/settings.py
        echo 'DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "{DATABASE}"}}}}' \
            >> {SHARED}/settings.py
        chown -R catmaid:catmaid {FOLDER}/shared/django
        chown www-data {SHARED}/settings.py; chmod 640 {SHARED}/settings.py
        """,
        timeout=300,
    )


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    """A host whose code came into place by hand, with a repository of it, and a database."""
    host = boot_ready(bed, "bookworm", "releases")
    prepare(host)
    deploy(host)
    tag(host, "1.0")
    tag(host, "1.1")
    yield host
    host.remove()


@pytest.mark.row_31
@pytest.mark.row_34
@pytest.mark.long
def test_files_elsewhere_are_named_before_the_first_release_is_there(host: BedHost) -> None:
    """Django can't load its settings yet; users' files would be 404 and all else well."""
    host.run(
        f"cp -p {SHARED}/settings.py /root/settings.py; echo 'MEDIA_ROOT = \"/srv/media\"' >> {SHARED}/settings.py"
    )
    try:
        run = pyinfra(host, {"site": released("1.0")}, "-y")
    finally:
        host.run(f"cp -p /root/settings.py {SHARED}/settings.py")
    assert run.code != 0
    (line,) = run.refusals
    assert "files_folder: /home/catmaid/releases/shared/files isn't Django's MEDIA_ROOT, which is /srv/media" in line
    assert host.run(f"ls {FOLDER}") == "shared"


def rollback(host: BedHost, site: dict[str, Any], *options: str) -> Run:
    return pyinfra(host, {"site": site}, *(options or ("-y",)), deploy=ROLLBACK)


def statics(host: BedHost, *names: str) -> list[str]:
    """What static files say, or the status."""
    with client(host) as browser:
        answers = [browser.get(f"static/{name}") for name in names]
    return [one.text.strip() if one.status_code == 200 else str(one.status_code) for one in answers]


def migrated(host: BedHost) -> str:
    words = f"cd {FOLDER}/1.0/django/projects; {VIRTUALENV}/bin/python manage.py showmigrations mysite"
    return host.run(words, user="www-data")


UNKNOWN = "note: catmaid: its migrations are not known before the code is here"
WOULD_RUN = "note: catmaid: migrations would run before users see the new release: "


def foretold(host: BedHost, code: int, site: dict[str, Any]) -> Run:
    """A dry run, which leaves the folder of releases as it is."""
    before = host.run(f"ls -A {FOLDER}")
    run = pyinfra(host, {"site": site}, "--dry")
    assert run.code == code, run.text
    assert host.run(f"ls -A {FOLDER}") == before
    return run


@pytest.mark.row_27
@pytest.mark.row_33
def test_from_a_checkout_in_place_to_releases(host: BedHost) -> None:
    # Neither a mirror nor a release is there.
    assert UNKNOWN in foretold(host, 0, released("1.0")).text
    # Its database is new: what the first release lacks is told, and nothing happens.
    refused = pyinfra(host, {"site": released("1.0")}, "-y")
    assert refused.code != 0
    assert "the database lacks its migrations mysite.0001_initial" in refused.text
    with load(host, 8) as requests:
        time.sleep(1)
        dry = foretold(host, 0, released("1.0", migrate="before"))
        run = deploy(host, released("1.0", migrate="before"))
        figures = requests.stop()
    assert figures.failed == [], figures.table()
    assert run.changed == dry.planned
    assert WOULD_RUN + "mysite.0001_initial" in dry.text
    assert serving(host) == "1.0"
    assert "[X] 0001_initial" in migrated(host)
    assert deploy(host, released("1.0")).changed == []
    settings = f"{SHARED}/settings.py"
    host.run(f"cp -p {settings} /tmp/; sed -i '$aSTATIC_ROOT = \"/srv/static\"' {settings}")
    (line,) = pyinfra(host, {"site": released("1.1")}, "--dry").refusals
    assert f"releases: STATIC_ROOT = '/srv/static' in {settings} is one folder for all releases" in line
    host.run(f"cp -p /tmp/settings.py {settings}")
    owners = host.run(f"stat -c %U {FOLDER}/1.0 {FOLDER}/1.0/django/projects/manage.py; ls -A {FOLDER}")
    assert owners.split() == ["catmaid", "catmaid", "1.0", "current", "repository.git", "shared"]
    assert statics(host, "standin.js") == ["// 1.0"]


@pytest.mark.row_27
def test_there_and_back(host: BedHost) -> None:
    """Code and configuration go back together, without a lost request; twice is there again."""
    deploy(host, released("1.0", migrate="before"))
    newer = released("1.1")
    newer["instances"][0] |= {"threads": 4, "workers": 3}
    with load(host, 8) as requests:
        deploy(host, newer)
        assert serving(host) == "1.1"
        assert statics(host, "standin.js", "only-1.0.js", "only-1.1.js") == ["// 1.1", "1.0", "1.1"]
        shown = rollback(host, newer, "--dry")
        assert shown.code == 0, shown.text
        assert "which it replaced at" in shown.text
        assert serving(host) == "1.1"
        for release, threads, workers in (("1.0", 2, 2), ("1.1", 4, 3)):
            back = rollback(host, newer)
            assert back.code == 0, back.text
            assert serving(host) == release
            assert host.run(f"readlink -f {FOLDER}/current") == f"{FOLDER}/{release}"
            # Pages that were loaded before go on to ask for what they know.
            assert statics(host, "standin.js", "only-1.0.js", "only-1.1.js") == [f"// {release}", "1.0", "1.1"]
            ini = host.run("cat /etc/catmaid/catmaid/wsgi/uwsgi.ini")
            assert f"\nworkers = {workers}\nthreads = {threads}\n" in ini
            assert len(processes(host)) == 4
        figures = requests.stop()
    assert figures.failed == [], figures.table()
    assert deploy(host, newer).changed == []
    assert rollback(host, newer).code == 0
    # The inventory says what is to be: the next deploy goes there.
    assert "programs of catmaid" in deploy(host, newer).changed_services
    assert serving(host) == "1.1"
    wait_for("one master", lambda: masters(host) == 1, 60)


@pytest.mark.row_27
def test_old_releases_go_and_those_in_use_stay(host: BedHost) -> None:
    for number in range(2, 6):
        tag(host, f"1.{number}")
        deploy(host, released(f"1.{number}"))
    assert host.run(f"ls {FOLDER}").split() == ["1.3", "1.4", "1.5", "current", "repository.git", "shared"]
    # Of one release before, not of all.
    assert statics(host, "only-1.5.js", "only-1.4.js", "only-1.3.js") == ["1.5", "1.4", "404"]
    assert rollback(host, released("1.5")).code == 0
    assert serving(host) == "1.4"


@pytest.mark.row_27
@pytest.mark.parametrize(
    ("revision", "says"),
    [
        ("main", "main is a branch, whose meaning changes"),
        ("9.9", f"{REPOSITORY} has no tag 9.9: give a tag that it has, the newest are 1."),
    ],
)
def test_what_is_no_release_is_refused(host: BedHost, revision: str, says: str) -> None:
    deploy(host, released("1.5"))
    run = pyinfra(host, {"site": released(revision)}, "-y")
    assert run.code != 0
    assert says in run.text
    assert serving(host) == "1.5"
    assert host.run(f"ls -A {FOLDER}").split() == ["1.3", "1.4", "1.5", "current", "repository.git", "shared"]
    assert deploy(host, released("1.5")).changed == []


@pytest.mark.row_34
def test_a_repository_of_another_user(host: BedHost) -> None:
    """git doesn't read it before its user says so. Written as an address, for once."""
    tag(host, "1.5.1")
    host.run("git config --system --unset-all safe.directory")
    site = released("1.5.1", repository=f"file://{REPOSITORY}")
    try:
        refused = pyinfra(host, {"site": site}, "-y")
        assert refused.code == 1
        (line,) = refused.refusals
        assert line.startswith("host: site.instances[catmaid].releases.repository: git on the host can't read file:///")
        assert "dubious ownership" in line
        host.run(line.rpartition(": ")[2])
        assert deploy(host, site).code == 0
        assert serving(host) == "1.5.1"
        away = pyinfra(host, {"site": released("1.5.2", repository="/srv/none.git")}, "-y")
        assert away.code == 1
        (line,) = away.refusals
        assert "can't read /srv/none.git: fatal: '/srv/none.git' does not appear to be a git repository" in line
        assert "or let the user 'catmaid' of the host read it" in line
    finally:
        host.run("git config --system safe.directory '*'")
    deploy(host, released("1.5"))


@pytest.mark.row_27
def test_a_release_that_is_broken_leaves_no_trace_in_use(host: BedHost) -> None:
    tag(host, "1.6", {"projects/mysite/late.py": "", "projects/mysite/broken.py": "raise ImportError('no luck')\n"})
    run = pyinfra(host, {"site": released("1.6")}, "-y")
    assert run.code != 0
    assert "ImportError: no luck" in run.text
    assert serving(host) == "1.5"
    host.run("cd /srv/source; git revert -n HEAD; git commit -q -m back")


@pytest.mark.row_27
@pytest.mark.row_33
def test_migrations_that_the_old_release_can_live_with(host: BedHost) -> None:
    text = MIGRATION.format(before="0001_initial", field="more")
    tag(host, "2.0", {"projects/mysite/migrations/0002_more.py": text})
    assert UNKNOWN in foretold(host, 0, released("2.0")).text
    refused = pyinfra(host, {"site": released("2.0")}, "-y")
    assert refused.code != 0
    assert "the database lacks its migrations mysite.0002_more" in refused.text
    assert "by migrate 'before' or 'closed'" in refused.text
    assert serving(host) == "1.5"
    for place in ("its folder", "the mirror"):
        if place == "the mirror":
            host.run(f"rm -r {FOLDER}/2.0")
        (line,) = foretold(host, 1, released("2.0")).refusals
        assert "the database lacks its migrations mysite.0002_more: allow them in the inventory" in line, place
        assert WOULD_RUN + "mysite.0002_more" in foretold(host, 0, released("2.0", migrate="before")).text
    with load(host, 8) as requests:
        run = deploy(host, released("2.0", migrate="before"))
        figures = requests.stop()
    assert figures.failed == [], figures.table()
    assert "migrations run before users see the new release, as the inventory says" in run.text
    assert "mysite.0002_more" in run.text
    assert serving(host) == "2.0"


@pytest.mark.row_18
@pytest.mark.row_27
def test_migrations_behind_the_maintenance_page(host: BedHost) -> None:
    text = MIGRATION.format(before="0002_more", field="most")
    tag(host, "2.1", {"projects/mysite/migrations/0003_most.py": text})
    with statuses(host) as seen:
        run = deploy(host, released("2.1", migrate="closed"))
    assert seen == {200, 503}
    assert "users see the maintenance page" in run.text
    assert serving(host) == "2.1"
    assert host.run("ls /etc/catmaid/catmaid/maintenance 2>/dev/null || true") == ""


def test_the_runbook_says_what_it_is_for() -> None:
    assert "pyinfra inventories/prod.py runbooks/rollback.py" in Path(ROLLBACK).read_text()
