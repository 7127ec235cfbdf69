"""Every command of the book is typed, in the order of its pages, and every CI example runs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from testbed import images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.images import ROOT
from testbed.run import CHECKOUT, pyinfra
from tests.host.book import NAME, Reader, make_reader, typed
from tests.host.conftest import boot_ready

pytestmark = pytest.mark.xdist_group("book")

DJANGO = f"{CHECKOUT}/django"
SITE: dict[str, Any] = {
    "server_name": "localhost",
    "aliases": [NAME],
    "instances": [
        {
            "workers": 1,
            "celery": {"concurrency": 1},
            "programs": [{"name": "large", "celery": {"concurrency": 1, "queues": ["large"]}}],
            "cors": {"origins": ["https://lab.example.org"]},
        }
    ],
    "tiles": [{"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb"}],
}


def own_user(host: BedHost) -> None:
    """The page makes the user, who is there on a test host: as another one until then."""
    host.run("usermod -l before catmaid; groupmod -n before catmaid")


def no_own_user(host: BedHost) -> None:
    """What the page says is enough for a deploy, and all of it is as it was afterwards."""
    deploy(host, user="catmaid")
    host.run(f"chown www-data: {DJANGO}/projects/mysite/settings.py; chown -R www-data: {DJANGO}/files")
    deploy(host)
    wait_for("the end of the old programs", lambda: not host.run("pgrep -u catmaid || true"), 60)
    host.run("deluser --quiet catmaid; usermod -l catmaid before; groupmod -n catmaid before")


def repository(host: BedHost) -> None:
    """A checkout that was cloned, and a newer commit where it came from."""
    host.run(
        """
        install -d -o catmaid -g catmaid /srv/git
        git config --system user.email test@example.org; git config --system user.name test
        """
    )
    host.run(
        f"""
        cd {CHECKOUT}; printf '%s\\n' env static files settings.py __pycache__ '*.log' > .gitignore
        git init -q -b main .; git add -A; git commit -q -m 1; git clone -q --bare . /srv/git/catmaid.git
        git remote add origin /srv/git/catmaid.git; git fetch -q; git branch -q -u origin/main
        git clone -q /srv/git/catmaid.git /srv/git/clone; cd /srv/git/clone; echo 2 > django/RELEASE
        git commit -q -a -m 2; git push -q
        """,
        user="catmaid",
    )


def updated(host: BedHost) -> None:
    """The commands have brought the newer commit, and a place for releases."""
    assert host.run(f"cat {DJANGO}/RELEASE") == "2"
    host.run(f"rm -rf {CHECKOUT}/.git /home/catmaid/releases")


# Their commands have something to do, and a release to go back to.
DEPLOYING = ("index.md", "tutorial.md", "howto/updates.md", "howto/dry-runs.md")
PREPARE: dict[str, tuple[Callable[[BedHost], None], Callable[[BedHost], None]]] = {
    "howto/user.md": (own_user, no_own_user),
    "howto/updates.md": (repository, updated),
}
# Their commands are typed by tests of their own.
LONG = ("contributing.md", "howto/user.md", "howto/upgrades.md")
ELSEWHERE = {"howto/adopt.md": "test_adoption.py", "lab.md": "test_lab.py", "ci.md": "below"}
PAGES = [str(path.relative_to(ROOT / "docs")) for path in sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_ready(bed, "bookworm", "book")
    host.run(
        f"""
        echo 127.0.0.1 {NAME} >> /etc/hosts
        mkdir -p /data/fafb/0; echo tile > /data/fafb/0/0_0_0.jpg
        apt-get -qq update
        apt-get -qq install -y --no-install-recommends git postgresql sudo apache2-utils certbot >/dev/null 2>&1
        sudo -u postgres createdb catmaid
        """,
        timeout=600,
    )
    deploy(host)
    host.run(
        """
        cp /etc/catmaid/tls/self-signed/localhost/fullchain.pem /usr/local/share/ca-certificates/lab.crt
        update-ca-certificates >/dev/null
        """
    )
    yield host
    host.remove()


@pytest.fixture
def reader(host: BedHost, tmp_path: Path) -> Reader:
    reader = make_reader(tmp_path / "checkout")
    reader.describe(host, described(host))
    return reader


def described(host: BedHost, **more: Any) -> dict[str, Any]:
    """SITE at the port that leads here, with more for its instance."""
    tls = {"certificate": "self-signed", "port": host.ports[443]}
    return SITE | {"tls": tls, "instances": [SITE["instances"][0] | more]}


def deploy(host: BedHost, **more: Any) -> None:
    run = pyinfra(host, {"site": described(host, **more)}, "-y")
    assert run.code == 0, run.text


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.long] if page in LONG else [])
        for page in PAGES
        if page not in ELSEWHERE and typed(page)
    ],
)
def test_the_commands_of_a_page(host: BedHost, reader: Reader, page: str) -> None:
    if page in PREPARE:
        PREPARE[page][0](host)
    deploy(host, workers=2 if page in DEPLOYING else 1)
    for found in typed(page).values():
        for block in found:
            reader.read(host, block)
    host.run("rm -f /etc/catmaid/maintenance /etc/catmaid/catmaid/maintenance")
    if page in PREPARE:
        PREPARE[page][1](host)
    deploy(host)


def test_the_readme(host: BedHost, reader: Reader) -> None:
    """From a clean checkout on, in a virtualenv of its own."""
    (reader.folder / ".venv").unlink()
    lines = re.findall(
        r"^    ((?:python3|cp|\.venv/bin/pyinfra|pyinfra) .*)", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert len(lines) == 9
    deploy(host, workers=2)
    told = {}
    for line in lines:
        told[line] = reader.machine(line, env={"PATH": f"{reader.folder}/.venv/bin:{os.environ['PATH']}"})
        if line.startswith("cp "):
            # "and change what is yours"
            assert (reader.folder / "inventories/lab.py").exists()
            reader.describe(host, described(host), "lab.py")
    dry, deployed = [told[line] for line in lines if "deploy.py" in line]
    assert "+workers = 1" in dry
    assert f"serves https://localhost:{host.ports[443]}/catmaid/" in deployed
    host.run("rm /etc/catmaid/maintenance")
    deploy(host)


def test_what_the_book_says_of_answers(host: BedHost, reader: Reader) -> None:
    """Where a command's answer is in a table, it is one that a well host gives."""
    page = typed("troubleshooting.md")
    assert "HTTP/1.1 101" in reader.read(host, page["WebSocket errors"][0])
    assert "max-age=31536000" in reader.read(host, page["A black stack"][0])
    assert "CN = localhost" in reader.read(host, page["The browser warns of the certificate"][0])


# ---- the examples for CI ----


def example(heading: str) -> dict[str, Any]:
    """The example below a heading, as the CI reads it."""
    part = (ROOT / "docs/ci.md").read_text().partition(f"## {heading}\n")[2]
    made: dict[str, Any] = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", part, re.DOTALL)[0])
    return made


@pytest.fixture
def keys(host: BedHost, reader: Reader) -> dict[str, str]:
    """The CI's key and the host's own one; pyinfra finds both where the example puts them, and refuses other hosts."""
    data = {key: value for key, value in host.ssh_data().items() if key in ("ssh_hostname", "ssh_port", "ssh_user")}
    data |= {"ssh_strict_host_key_checking": "yes", "site": described(host)}
    (reader.folder / "inventories/lab.py").write_text(f"hosts = {[(NAME, data)]!r}\n")
    # The machine of a CI has none of it at first.
    known = reader.machine(f"ssh-keyscan -p {host.ssh_port} 127.0.0.1 2>/dev/null")
    return {"DEPLOY_SSH_KEY": images.ssh_key().read_text().rstrip("\n"), "DEPLOY_KNOWN_HOSTS": known.rstrip("\n")}


@pytest.mark.parametrize("event", ["pull_request", "push"])
def test_the_example_for_github(
    host: BedHost, reader: Reader, keys: dict[str, str], tmp_path: Path, event: str
) -> None:
    deploy(host, workers=2)
    before = host.run("cat /etc/catmaid/catmaid/wsgi/uwsgi.ini")
    (job,) = example("GitHub Actions")["jobs"].values()
    reader.stand_in("gh", f'while [ $# -gt 1 ]; do shift; done; cp "$1" {tmp_path}/comment')
    values = {f"secrets.{name}": value for name, value in keys.items()}
    values |= {f"vars.{name}": value for name, value in keys.items()}
    values |= {"github.token": "token", "github.event.number": "7"}
    env: dict[str, str] = {"HOME": str(tmp_path), "GITHUB_STEP_SUMMARY": str(tmp_path / "page"), **job["env"]}
    ran = []
    for step in job["steps"]:
        condition = step.get("if", "")
        if "run" not in step or ("event_name" in condition and f"'{event}'" not in condition):
            continue
        for key, text in step.get("env", {}).items():
            env[key] = re.sub(r"\$\{\{ (.*?) \}\}", lambda m: values[m[1]], text)
        reader.machine(f"set -e\n{step['run']}", env=env)
        ran.append(step.get("name", "requirements"))
    summary = (tmp_path / "page").read_text()
    assert "-workers = 2" in summary
    assert "+workers = 1" in summary
    after = host.run("cat /etc/catmaid/catmaid/wsgi/uwsgi.ini")
    if event == "push":
        assert ran == ["requirements", "SSH", "Deploy", "Summary"]
        assert "workers = 1" in after
    else:
        assert ran == ["requirements", "SSH", "Dry run", "Summary", "Comment"]
        assert (tmp_path / "comment").read_text() == summary
        assert after == before
    deploy(host)


@pytest.mark.long
@pytest.mark.parametrize("name", ["dry run", "deploy"])
def test_the_example_for_gitlab(host: BedHost, reader: Reader, keys: dict[str, str], tmp_path: Path, name: str) -> None:
    deploy(host, workers=2)
    jobs = example("GitLab CI")
    job = jobs[jobs[name]["extends"]] | jobs[name]
    reader.stand_in("curl", f'cat > {tmp_path}/header; for one; do echo "$one"; done > {tmp_path}/words')
    env = {"HOME": str(tmp_path), "NOTES_TOKEN": "a-token", **job["variables"]}
    env |= {"CI_API_V4_URL": "https://git.test/api/v4", "CI_PROJECT_ID": "3", "CI_MERGE_REQUEST_IID": "7"}
    for key, value in keys.items():
        (tmp_path / key).write_text(value + "\n")
        env[key] = str(tmp_path / key)
    # Its two parts have a shell each.
    reader.machine("set -e\n" + "\n".join(job["before_script"] + job["script"]), env=env)
    reader.machine("set -e\n" + "\n".join(job.get("after_script", [])), env=env)
    assert "+workers = 1" in (reader.folder / job["artifacts"]["paths"][0]).read_text()
    if name == "dry run":
        assert (tmp_path / "header").read_text() == "PRIVATE-TOKEN: a-token"
        words = (tmp_path / "words").read_text()
        assert "https://git.test/api/v4/projects/3/merge_requests/7/notes" in words
        assert "a-token" not in words
    deploy(host)


def test_the_example_for_a_scheduled_dry_run(host: BedHost, reader: Reader, tmp_path: Path) -> None:
    reader.describe(host, described(host), "lab.py")
    reader.stand_in("mail", f'echo "$2 $3" >> {tmp_path}/mails; cat >> {tmp_path}/mails')
    (block,) = (one for found in typed("ci.md").values() for one in found)
    deploy(host)
    reader.machine(block.text)
    assert not (tmp_path / "mails").exists()
    deploy(host, workers=2)
    reader.machine(block.text)
    assert (tmp_path / "mails").read_text().startswith("the host isn't as described admin@example.org")
    (tmp_path / "mails").unlink()
    reader.describe(host, SITE | {"instances": [{"wrkers": 1}]}, "lab.py")
    reader.machine(block.text)
    assert (tmp_path / "mails").read_text().startswith("the dry run fails admin@example.org")
    deploy(host)
