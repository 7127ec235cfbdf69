"""Dry runs: the patch is what the real run then does, nothing changes, no secret shows, and the code tells."""

from __future__ import annotations

import base64
import copy
import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.images import ROOT
from testbed.run import CHECKOUT, PYINFRA, Run, pyinfra
from tests.host.conftest import SITE, boot_ready, differences, everything_runs, processes, settled
from tests.host.web import HASH

pytestmark = pytest.mark.xdist_group("dry runs")

SETTINGS = f"{CHECKOUT}/django/projects/mysite/settings.py"
KEY = "/etc/catmaid/tls/self-signed/localhost/privkey.pem"
NAMED = re.compile(
    r"^(?:create|change|remove|make folder|link|correct the link|owner or mode of) (/\S+)", flags=re.MULTILINE
)
# What is in the folders that a deploy writes to; of two slots the one in use.
LOOK = r"""
import hashlib, json, os, re
found = {}
for root in ("nginx", "supervisor", "catmaid", "systemd/system", "tmpfiles.d", "logrotate.d"):
    for folder, folders, files in os.walk("/etc/" + root, followlinks=True):
        folders[:] = [name for name in folders if not re.search("-[ab]$|^run$|^tls$", name)]
        paths = [os.path.join(folder, name) for name in folders + files]
        folders[:] = [name for name in folders if name != "release"]
        for path in paths:
            status = os.lstat(path)
            if os.path.islink(path):
                if not re.search("/(wsgi|daphne|celery|celery-beat)$", path):
                    found[path] = os.readlink(path)
            else:
                data = "" if os.path.isdir(path) else hashlib.sha256(open(path, "rb").read()).hexdigest()
                found[path] = [status.st_uid, status.st_gid, status.st_mode, data]
print(json.dumps(found))
"""


def other_site() -> list[dict[str, Any]]:
    """Another inventory than SITE: files that change, come and go, with links, owners and secrets."""
    first = copy.deepcopy(SITE)
    del first["instances"][2]
    first["instances"][0]["threads"] = 3
    first["instances"][0]["environment"] = {"STANDIN_GREETING": "``` <b>other</b>"}
    first["headers"] = {"frame_options": "DENY"}
    first["tiles"] = [
        {"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb", "passwords": {"alice": HASH}},
    ]
    tiles = {"name": "more", "url": "/tiles/more", "folder": "/data/fafb", "fallback": "none"}
    return [first, {"server_name": "other.test", "tls": {"certificate": "none"}, "tiles": [tiles]}]


def look(host: BedHost) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.run(f"python3 - <<'END'\n{LOOK}END"))
    return found


def state(host: BedHost) -> list[Any]:
    """What a dry run leaves as it is: files, programs with their processes, the record and its lock."""
    record = host.run(
        "cat /var/log/catmaid-deploy.log /var/lib/catmaid-deploy/*.json; ls -l /run/catmaid-deploy* || true"
    )
    return [settled(host), look(host), processes(host), record]


def changes(host: BedHost, untouched: list[Any]) -> list[list[str]]:
    """What of that is no longer as it was, line by line."""
    now = zip(untouched, state(host), strict=True)
    return [differences(*(one if isinstance(one, str) else json.dumps(one, indent=1) for one in pair)) for pair in now]


def contents(host: BedHost, paths: list[str], folder: Path) -> None:
    """Those of the host's files that are there, in a folder of this machine."""
    names = " ".join(path[1:] for path in paths)
    packed = host.run(f"cd / && ls -d {names} 2>/dev/null | tar -ch -T - | base64 -w0", check=False)
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed))) as archive:
        archive.extractall(folder, filter="data")


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_ready(bed, "bookworm", "dry")
    host.run("mkdir -p /data/fafb")
    yield host
    host.remove()


@pytest.fixture
def there(host: BedHost) -> BedHost:
    """The host with other_site()."""
    run = pyinfra(host, {"sites": other_site()}, "-y")
    assert run.code == 0, run.text
    wait_for("all programs", lambda: everything_runs(host), 30)
    return host


@pytest.fixture
def secrets(host: BedHost) -> list[str]:
    """What no output may have."""
    key = [line for line in host.run(f"cat {KEY}").splitlines() if not line.startswith("-")]
    settings = re.findall(r"SECRET_KEY = '(.*)'", host.run(f"cat {SETTINGS}"))
    assert len(key) > 2
    assert len(settings) == 1
    return [*key, *settings, HASH, HASH[10:30]]


class Runs:
    """Runs against one host with what they said, the Markdown included."""

    def __init__(self, host: BedHost, folder: Path) -> None:
        self.host, self.summary = host, folder / "summary.md"
        self.said = ""

    def __call__(self, sites: list[dict[str, Any]], *options: str, code: int, **more: Any) -> Run:
        env = {"CATMAID_DEPLOY_SUMMARY": str(self.summary), "CATMAID_DEPLOY_EXIT_CODE": "1"}
        run = pyinfra(self.host, {"sites": sites}, *options, env=env, **more)
        assert run.code == code, run.text
        assert "Traceback" not in run.text
        self.said += run.text + json.dumps(run.report) + self.markdown
        return run

    @property
    def markdown(self) -> str:
        return self.summary.read_text()


@pytest.fixture
def runs(host: BedHost, tmp_path: Path) -> Runs:
    return Runs(host, tmp_path)


def test_the_patch_is_what_the_run_does(host: BedHost, runs: Runs, secrets: list[str], tmp_path: Path) -> None:
    # Somebody's hand: a mode, a file without its last newline, and one that is gone.
    host.run(
        "chmod 640 /etc/nginx/snippets/catmaid-tls.conf; printf '# by hand' >> /etc/nginx/nginx.conf;"
        "rm /etc/logrotate.d/catmaid"
    )
    untouched, before = state(host), look(host)
    dry = runs(other_site(), "--dry", "--diff", code=2)
    assert changes(host, untouched) == [[]] * 4

    patch = dry.text[dry.text.index("\n====") :]
    paths = re.findall(r"^(?:---|\+\+\+) [ab](/\S+)$", patch, flags=re.MULTILINE)
    assert len(set(paths)) > 8
    old, new = tmp_path / "old", tmp_path / "new"
    contents(host, sorted(set(paths)), old)
    # As it is on the screen, words and all.
    subprocess.run(["patch", "-p1", "--no-backup-if-mismatch"], cwd=old, input=patch, text=True, check=True)

    markdown = runs.markdown
    real = runs(other_site(), "-y", "--diff", code=0)
    assert real.changed == dry.planned
    contents(host, sorted(set(paths)), new)
    found = {
        folder: {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (old, new)
    }
    assert found[old] == found[new]
    assert len(found[new]) > 5

    after = look(host)
    touched = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    named = {
        path
        for path in NAMED.findall(patch)
        if path.startswith(
            ("/etc/nginx", "/etc/catmaid", "/etc/supervisor", "/etc/systemd", "/etc/tmpfiles", "/etc/logrotate")
        )
    }
    assert touched == named
    # Each kind of a difference was there.
    for line in (
        "change /etc/nginx/nginx.conf\n",
        "create /etc/logrotate.d/catmaid (root:root 644)\n",
        "owner or mode of /etc/nginx/snippets/catmaid-tls.conf (root:root 640 -> root:root 644)\n",
        "link /etc/nginx/sites-enabled/catmaid-other.test.conf -> /etc/nginx/sites-available/catmaid-other.test.conf\n",
        "create /etc/nginx/catmaid-passwords/tiles_fafb (root:catmaid-nginx 640; secret, not shown)\n",
        "remove /etc/supervisor/conf.d/catmaid-root.conf\n",
        "\\ No newline at end of file\n",
        "hand over wsgi: ",
    ):
        assert line in patch
    # Without --diff the same without diffs; the Markdown has them.
    assert "```diff" in markdown
    assert "+    server_name other.test;" in markdown
    assert [secret for secret in secrets if secret in runs.said] == []


def test_nothing_to_do(there: BedHost, runs: Runs) -> None:
    untouched = state(there)
    for options in (("--dry", "--diff"), ("--dry",), ("-y",)):
        run = runs(other_site(), *options, code=0)
        assert (run.changed if "-y" in options else run.planned) == []
        assert runs.markdown.startswith("# Nothing to do\n")
    assert changes(there, untouched) == [[]] * 4


def test_passwords_that_left_are_not_shown(there: BedHost, runs: Runs, secrets: list[str]) -> None:
    """Not even where somebody let everybody read them on the host."""
    there.run("chmod 644 /etc/nginx/catmaid-passwords/* /etc/nginx/conf.d/catmaid-passwords.conf")
    for sites in ([SITE], other_site()):
        run = runs(sites, "--dry", "--diff", "-vvv", code=2)
        assert " /etc/nginx/catmaid-passwords/tiles_fafb" in run.text
    assert [secret for secret in secrets if secret in runs.said] == []


def test_several_hosts_in_one_summary(there: BedHost, runs: Runs) -> None:
    twin = there.ssh_data() | {"sites": other_site()}
    run = runs([SITE], "--dry", "--diff", code=2, more={"twin": twin})
    assert [line.strip("= ") for line in run.text.splitlines() if line.endswith("====")][-2:] == [
        "host: summary",
        "twin: summary",
    ]
    headings = [line for line in runs.markdown.splitlines() if line.startswith("#")]
    assert headings == ["# Dry run: changes on 1 of 2 hosts", "## host", "## twin"]
    assert "| nginx | " in runs.markdown


def test_errors_end_with_1(there: BedHost, runs: Runs) -> None:
    """What is refused, and what fails on the host; not what is only pending."""
    wrong = other_site()
    wrong[0]["instances"][0]["user"] = "nobody-there"
    runs(wrong, "--dry", "--diff", code=1)
    assert runs.markdown.startswith("# Refused: nothing was changed on any host\n")
    assert r"site.instances\[catmaid\].user: there is no user 'nobody-there'" in runs.markdown
    wrong = other_site()
    wrong[0]["headers"] = {"frame_options": "SAMEORIGIN"}
    there.run("echo 'nonsense;' > /etc/nginx/conf.d/broken.conf")
    try:
        runs(wrong, "-y", code=1)
    finally:
        there.run("rm /etc/nginx/conf.d/broken.conf")
    assert runs.markdown.startswith("# Failed: changes on 1 of 1 host\n")
    assert "| nginx | FAILED: " in runs.markdown
    gone = {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_user": "root", "sites": other_site()}
    runs(other_site(), "--dry", code=1, more={"gone": gone})


def test_the_code_is_asked_for(there: BedHost) -> None:
    """Who doesn't ask gets pyinfra's; with --json and without -y pyinfra changes nothing either."""
    untouched = state(there)
    assert pyinfra(there, {"site": SITE}, "--dry").code == 0
    assert pyinfra(there, {"site": SITE}).code == 0
    assert pyinfra(there, {"site": SITE}, env={"CATMAID_DEPLOY_EXIT_CODE": "1"}).code == 2
    assert changes(there, untouched) == [[]] * 4


def test_a_folder_that_is_not_there(there: BedHost) -> None:
    run = pyinfra(there, {"site": SITE}, "--dry", env={"CATMAID_DEPLOY_SUMMARY": "/nowhere/summary.md"})
    assert run.code == 1
    assert "CATMAID_DEPLOY_SUMMARY: /nowhere/summary.md can't be written" in run.text
    assert "Traceback" not in run.text


def in_terminal(host: BedHost, site: dict[str, Any], *options: str, **env: str) -> tuple[int, str]:
    """The exit code and the screen of a run in a terminal of 100 columns."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    with tempfile.TemporaryDirectory() as folder:
        inventory = Path(folder, "inventory.py")
        inventory.write_text(f"hosts = [('host', {host.ssh_data() | {'site': site}!r})]\n")
        environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
        run = subprocess.Popen(
            [PYINFRA, *options, inventory, "deploy.py"],
            cwd=ROOT,
            env=environment | {"TERM": "xterm"} | env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        screen = b""
        # A terminal that nobody writes to any more is an error here.
        while True:
            try:
                screen += os.read(ours, 1 << 16)
            except OSError:
                break
        os.close(ours)
        return run.wait(timeout=60), screen.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("no_color", ["", "1"])
def test_in_a_terminal(there: BedHost, no_color: str) -> None:
    code, screen = in_terminal(there, SITE, "--dry", "--diff", CATMAID_DEPLOY_EXIT_CODE="1", NO_COLOR=no_color)
    assert code == 2
    # The last thing on the screen, and pyinfra says nothing in between.
    first = screen.index("==== host: ")
    ours = screen[first:]
    # What answers now: an instance that is to come doesn't.
    assert ours.rstrip().splitlines()[-1].startswith("serves https://localhost/")
    assert not any(line.startswith(("-->", "    [")) for line in ours.splitlines())
    assert ("\x1b[32m+" in ours, "\x1b" in ours) == ((False, False) if no_color else (True, True))
    words = [line for line in click.unstyle(ours).splitlines() if not line.startswith(("+", "-", " "))]
    assert max(map(len, words)) <= 100
