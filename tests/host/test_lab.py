"""A lab's own repository with nothing but inventories: it installs the deploy, uses it, and goes to a new version."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from catmaid_deploy.version import VERSION
from testbed.hosts import Bed, BedHost, wait_for
from testbed.images import ROOT
from testbed.run import Run
from tests.host.conftest import boot_packed, running
from tests.host.test_access import PASSWORD
from tests.host.test_refusals import add_users

HASH = "$6$abcdefgh$" + "b" * 86
# A lab's own modules may be called as those of the deploy are: for its inventory, and for what pyinfra does afterwards.
OWN = "NAME = 'labs'\n"
INVENTORY = """
import schema, tasks
from catmaid_deploy import secret

assert (schema.NAME, tasks.NAME) == ("labs", "labs")

SITE = {
    "server_name": "localhost",
    "passwords": {"alice": secret.from_file("~/.lab/alice")},
    "instances": [{"workers": 1, "celery": {"concurrency": 1}}],
}
DATA = {"_sudo": True, "sudo_password": secret.from_command("pass", "show", "lab/sudo"), "site": SITE}
hosts = [("lab", DATA | {"job": "a key of the lab's own"})]
"""


@dataclass(frozen=True)
class Lab:
    """The lab's repository, and a virtualenv beside it."""

    folder: Path
    typed: list[str] = field(default_factory=list)

    @property
    def installed(self) -> Path:
        return Path(self.shell("catmaid-deploy").stdout.strip())

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line as it is typed in the lab's folder with the virtualenv activated."""
        self.typed.append(line)
        home = self.folder.parent / "home"
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        env |= {"HOME": str(home), "PATH": f"{self.folder}/.venv/bin:{home}/bin:{os.environ['PATH']}"}
        return subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=900,
        )

    def pyinfra(self, *options: str, deploy: str = "deploy.py") -> Run:
        done = self.shell(f"pyinfra inventories/prod.py $(catmaid-deploy)/{deploy} {' '.join(options)} --json")
        for secret in (PASSWORD, HASH):
            assert secret not in done.stdout + done.stderr
        return Run(done.returncode, json.loads(done.stdout) if done.stdout.startswith("{") else {}, done.stderr)

    def install(self, wheel: Path) -> None:
        (self.folder / "requirements.txt").write_text(f"catmaid-deploy @ {wheel.as_uri()}\n")
        done = self.shell("pip install -r requirements.txt")
        assert done.returncode == 0, done.stderr


def make_wheel(folder: Path, version: str = "") -> Path:
    """A wheel of this project, made from a copy; or one of another version, with a line more in nginx.conf."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    places = [
        "pyproject.toml",
        "hatch_build.py",
        "requirements.txt",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "catmaid_deploy",
    ]
    for place in (*places, *project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / place).is_dir():
            shutil.copytree(ROOT / place, folder / place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / place, folder / place)
    for link in ("project.toml", "CHANGELOG.md"):
        # Where pip makes a wheel they lead to the files of its root, as in a checkout.
        (folder / "catmaid_deploy" / link).unlink()
        (folder / "catmaid_deploy" / link).symlink_to((ROOT / "catmaid_deploy" / link).readlink())
    if version:
        file = folder / "pyproject.toml"
        file.write_text(file.read_text().replace(f'"{project["project"]["version"]}"', f'"{version}"', 1))
        news = f"## {version}, 2027-01-01\n\n### Fixed\n\n- nginx.conf says its version.\n\n## "
        file = folder / "CHANGELOG.md"
        file.write_text(file.read_text().replace("## ", news, 1))
        with (folder / "catmaid_deploy/templates/etc/nginx/nginx.conf.j2").open("a") as template:
            template.write(f"# Of version {version}.\n")
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder / "wheels"), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "wheels").glob("*.whl")
    return wheel


@pytest.fixture
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_packed(bed, "bookworm", "lab")
    add_users(host)
    yield host
    host.remove()


@pytest.fixture
def lab(tmp_path: Path, host: BedHost) -> Lab:
    files: dict[str, Any] = {
        # What is the same for all hosts of the inventory, in pyinfra's own way.
        "lab/inventories/group_data/prod.py": "".join(f"{k} = {v!r}\n" for k, v in host.ssh_data("careful").items()),
        "lab/schema.py": OWN,
        "lab/tasks.py": OWN,
        "lab/after.py": "import configuration, render, schema, tasks\nassert {tasks.NAME, render.NAME} == {'labs'}\n",
        "lab/configuration.py": OWN,
        "lab/render.py": OWN,
        "home/.lab/alice": HASH,
        "home/.password-store/lab/sudo": PASSWORD,
        "home/bin/pass": '#!/bin/sh\n[ "$1" = show ] && cat "$HOME/.password-store/$2"\n',
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o700)
    lab = Lab(tmp_path / "lab")
    assert lab.shell("python3 -m venv .venv && . .venv/bin/activate").returncode == 0
    return lab


def commands() -> list[str]:
    """Those of docs/lab.md."""
    text = (ROOT / "docs/lab.md").read_text()
    return re.findall(r"^    ((?:python3|pip|mkdir|pyinfra) .*?)(?: +# .*)?$", text, re.MULTILINE)


def test_first_use_and_an_update(lab: Lab, host: BedHost, tmp_path: Path) -> None:
    before = {path.name for path in (lab.folder / ".venv/lib").glob("python3.*/site-packages/*")}
    lab.install(make_wheel(tmp_path / "first"))
    site_packages = lab.installed.parent
    # One name of its own: a lab's other packages may have a 'tasks' or 'schema' too.
    names = {path.name for path in site_packages.iterdir()} - before - {"__pycache__"}
    assert {name for name in names if (ROOT / name).exists() or (ROOT / f"{name}.py").exists()} == {"catmaid_deploy"}
    assert lab.shell("python -m catmaid_deploy").stdout.strip() == str(lab.installed)

    assert lab.shell("mkdir -p inventories && cp $(catmaid-deploy)/inventories/prod.py inventories/").returncode == 0
    assert (lab.folder / "inventories/prod.py").read_text() == (ROOT / "inventories/prod.py").read_text()
    (lab.folder / "inventories/prod.py").write_text(INVENTORY)  # "and change what is yours"

    assert lab.pyinfra("--dry", "--diff").code == 0
    # Loud.
    dry = lab.pyinfra("--dry", "--debug", "-vvv")
    assert dry.code == 0, dry.text
    assert "*MASKED*" not in str(dry.report["plan"])
    assert len(dry.planned) > 3
    assert host.run("ls /etc/catmaid 2>&1 || true").endswith("No such file or directory")

    first = lab.pyinfra("-y", "-vvv")
    assert first.code == 0, first.text
    assert first.changed == dry.planned
    wait_for("the programs", lambda: running(host) == 4, 10)
    assert host.run("curl -sk -o /dev/null -w '%{http_code}' https://localhost/catmaid/") == "401"
    assert HASH in host.run("cat /etc/nginx/catmaid-passwords/*")
    assert lab.pyinfra("-y").changed == []

    own = lab.shell("pyinfra inventories/prod.py $(catmaid-deploy)/deploy.py after.py -y")
    assert own.returncode == 0, own.stderr
    # The same from a checkout, in another folder than its own: never with the code of another copy.
    words = f"pyinfra inventories/prod.py {ROOT}/deploy.py after.py -y"
    mixed = lab.shell(words)
    assert mixed.returncode == 1
    assert f"pip install -e {ROOT}" in mixed.stderr
    assert lab.shell(f"pip install -q -e {ROOT}").returncode == 0
    checkout = lab.shell(words)
    assert checkout.returncode == 0, checkout.stderr
    assert "nothing to do" in checkout.stderr

    # What the deploy adds to pyinfra: a host that isn't there in a line of its own.
    unreachable = lab.pyinfra("-y", "--data", "ssh_port=9")
    assert unreachable.code == 1
    assert "correct ssh_hostname, ssh_port, ssh_user or ssh_key in the inventory" in unreachable.text
    # Before as well, by a line in a file of the lab's.
    for text in ("", "import catmaid_deploy.config\n"):
        (lab.folder / "config.py").write_text(text)
        missing = lab.shell("pyinfra inventories/none.py $(catmaid-deploy)/deploy.py -y")
        assert missing.returncode == 1
        assert missing.stderr.count("inventories/none.py: there is no such inventory") == 1

    lab.install(make_wheel(tmp_path / "second", "9.9"))
    assert (
        "catmaid-deploy==9.9" in lab.shell("pip freeze").stdout or "9.9" in lab.shell("pip show catmaid-deploy").stdout
    )
    planned = lab.pyinfra("--dry")
    update = lab.pyinfra("-y")
    assert (planned.code, update.code) == (0, 0), planned.text + update.text
    for run in (planned, update):
        assert f"lab: deployed by {VERSION}; this is 9.9:\n    Fixed: nginx.conf says its version.\n" in run.text
    assert update.changed == planned.planned
    assert update.changed_services == ["nginx"]
    assert "# Of version 9.9." in host.run("cat /etc/nginx/nginx.conf")
    assert lab.pyinfra("-y").changed == []

    back = lab.pyinfra("--dry", deploy="runbooks/rollback.py")
    assert back.code == 0, back.text
    assert "there is no release before this one" in back.text

    assert len(commands()) == 8
    assert [line for line in commands() if not any(typed.startswith(line) for typed in lab.typed)] == []
