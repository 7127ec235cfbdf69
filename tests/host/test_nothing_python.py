"""Python environments that the deploy makes on a host where nothing of CATMAID is (row 36)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost
from testbed.images import ROOT
from testbed.run import BOOKKEEPING, Run, pyinfra
from tests.host.conftest import STATE, differences

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("nothing-python"), pytest.mark.bookworm]

REPOSITORY, FOLDER = "/srv/catmaid.git", "/home/catmaid/releases"
REQUIREMENTS = "".join(path.read_text() for path in sorted((ROOT / "tests/app/django").glob("requirements*.txt")))
PREPARE = f"""
apt-get -qq update; apt-get -qq install -y --no-install-recommends git >/dev/null 2>&1
git config --system user.email test@example.org; git config --system user.name test
git config --system safe.directory '*'
git init -q --bare {REPOSITORY}; git init -q -b main /srv/source; mkdir /srv/source/django
touch /srv/source/django/requirements-async.txt
chmod -R a+rX /srv
"""


def release(host: BedHost, name: str, requirements: str) -> None:
    """Another one in the repository."""
    host.put("/srv/source/django/requirements.txt", requirements.encode())
    words = f"cd /srv/source; echo {name} > RELEASE; git add -A; git commit -q -m {name}; git tag {name}"
    host.run(f"{words}; git push -q {REPOSITORY} HEAD:main {name}")


def deploy(host: BedHost, revision: str, *options: str, **python: Any) -> Run:
    """Only what makes environments: the rest of the host isn't there."""
    found = dict.fromkeys(("database", "broker", "settings"), "found")
    releases = {"repository": REPOSITORY, "revision": revision, "keep": 2}
    site = {
        "server_name": "localhost",
        "tls": {"certificate": "self-signed"},
        "instances": [{"releases": releases, "install": {"python": python, **found}}],
    }
    return pyinfra(host, {"site": site}, *(options or ("-y",)), deploy="tests/host/only_python.py")


def done(run: Run) -> list[str]:
    assert run.code == 0, run.text
    return [name for name in run.changed if name not in BOOKKEEPING]


def environment(host: BedHost, revision: str) -> str:
    return host.run(f"ls -d {FOLDER}/environments/{revision}-*")


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    with images.lock("bookworm"):
        image = images.host("bookworm")
    host = bed.boot(image, "nothing-python")
    host.run(PREPARE, timeout=300)
    release(host, "1.0", REQUIREMENTS)
    release(host, "1.1", REQUIREMENTS)
    release(host, "2.0", "celery==4.4.7\n")
    yield host
    host.remove()


COMPILER = ("gcc", "cpp", "libc6-dev", "python3-dev")
ASKED = f"dpkg-query -W -f '${{db:Status-Status}} ${{Package}}\\n' {' '.join(COMPILER)} 2>/dev/null"
HAVE = f"{ASKED} | grep ^installed || true"


@pytest.mark.row_36
def test_what_does_not_fit_is_refused_before_anything_changes(host: BedHost) -> None:
    before = host.run(STATE)
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("2.0", {}, "install.python.executable: 2.0 requires celery 4.4.7, which doesn't run with Python 3.11"),
        ("1.0", {"requirements": ["django/other.txt"]}, "install.python.requirements: 1.0 has no django/other.txt"),
        ("1.0", {"executable": "/opt/py/bin/python3"}, "/opt/py/bin/python3 doesn't run: it isn't there"),
        ("1.0", {"executable": "/bin/true"}, "/bin/true doesn't run"),
    ]
    for revision, python, words in cases:
        run = deploy(host, revision, **python)
        assert run.code == 1, run.text
        (line,) = run.refusals
        assert words in line
    assert differences(before, host.run(STATE)) == []
    assert host.run("ls /tmp | grep catmaid-requirements || true") == ""


@pytest.mark.row_36
def test_an_environment_is_made_and_the_compiler_is_gone(host: BedHost) -> None:
    dry = deploy(host, "1.0", "--dry")
    assert dry.code == 0, dry.text
    assert "Python environment of catmaid" in dry.planned
    run = deploy(host, "1.0")
    assert "Python environment of catmaid" in done(run), run.text
    path = environment(host, "1.0")
    lock = host.run(f"cat {path}/requirements.lock").splitlines()
    assert all("==" in line for line in lock)
    assert {"django", "uwsgi", "daphne"} <= {line.partition("==")[0] for line in lock}
    assert host.run(f"find {path} ! -user catmaid -print -quit") == ""
    # It runs by what stays when the compiler goes.
    host.run(f"{path}/bin/uwsgi --version; {path}/bin/python -c 'import django, daphne, celery'", user="www-data")
    assert host.run(HAVE) == ""
    host.run("test ! -e /var/lib/catmaid-deploy/compiler.json")
    assert done(deploy(host, "1.0")) == []


def test_the_next_one_takes_little_more_and_no_compiler(host: BedHost) -> None:
    run = deploy(host, "1.1")
    assert done(run) == ["Python environment of catmaid"], run.text
    first, second = environment(host, "1.0"), environment(host, "1.1")
    sizes = host.run(f"du -s {first} {second}").split()[::2]
    assert int(sizes[1]) < 0.6 * int(sizes[0])
    module = "lib/python3.11/site-packages/django/__init__.py"
    assert len(set(host.run(f"stat -c %i {first}/{module} {second}/{module}").split())) == 1


def test_one_that_was_cut_is_made_anew(host: BedHost) -> None:
    path = environment(host, "1.1")
    host.run(f"rm -r {path}/.catmaid-deploy {path}/lib/python3.11/site-packages/django; touch {path}/left")
    assert done(deploy(host, "1.1")) == ["Python environment of catmaid"]
    host.run(f"{path}/bin/python -c 'import django'; test ! -e {path}/left")


def test_what_a_run_that_was_cut_has_brought_goes_with_the_next(host: BedHost) -> None:
    host.run(f"rm -r {FOLDER}/.uv/wheels {environment(host, '1.1')}/.catmaid-deploy")
    # uv is away: what is to be compiled with is there by then.
    host.run("mkdir -p /etc/uv; echo 'broken' > /etc/uv/uv.toml")
    cut = deploy(host, "1.1")
    assert cut.code == 1
    assert "installed gcc" in host.run(HAVE)
    host.run("rm -r /etc/uv")
    expected = ["Python environment of catmaid", "Remove what was brought to compile"]
    assert done(deploy(host, "1.1")) == expected
    assert host.run(HAVE) == ""
