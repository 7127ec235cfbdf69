"""A reader of the book who types its commands: on a machine with this project, and as root on a host."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.hosts import BedHost
from testbed.images import ROOT
from testbed.podman import BedError
from tests.blocks import Block, blocks
from tests.host.conftest import copy_project

# The host that the book's commands name.
NAME = "catmaid.example.org"
# Commands that also tell by their exit code what they have found, and what that may be.
TELLING = {
    "supervisorctl status": (0, 3),
    "systemctl status": (0, 3),
    "systemctl list-units": (0, 1),
    "systemctl is-enabled": (0, 1),
    "grep -Rs": (0, 1, 2),
    "grep": (0, 1),
    "pgrep": (0, 1),
    # There is none while nobody has closed the site, or deploys.
    "ls -l /etc/catmaid/maintenance": (0, 2),
    "cat /run/catmaid-deploy/lock.json": (0, 1),
}
# What isn't typed, and what proves it in its place.
LEFT_OUT = {
    "python3 -m venv .venv": "test_the_readme",
    ".venv/bin/pip install": "test_the_readme",
    "htpasswd -nB": "it asks for a password: the hashes of web.py",
    "openssl passwd -6": "it asks for a password: the hashes of web.py",
    "pyinfra inventories/vagrant.py": "make test-vagrant",
    "make ": "CI itself, and test_testbed.py",
    "pyinfra inventories/demo.py": "test_testbed.py",
    "vagrant ": "make test-vagrant",
    "pyinfra inventories/prod.py runbooks/verify.py --data mail=": "test_nothing_data.py",
    "cd / && runuser -u postgres -- createdb": "test_nothing_data.py",
    "tail -F": "it never ends",
    "uwsgitop": "it is a screen: test_uwsgitop_is_for_the_service_user_and_root",
    "nft ": "the host has no right to: test_the_firewall_bounds_what_nginx_cannot",
}


def typed(page: str) -> dict[str, list[Block]]:
    """The commands of a page of the book below their headings."""
    found: dict[str, list[Block]] = {}
    for block in blocks(page, "sh"):
        found.setdefault(block.heading, []).append(block)
    return found


def allowed(line: str) -> tuple[int, ...]:
    """The exit codes that a command may end with."""
    return next((codes for words, codes in TELLING.items() if line.strip().startswith(words)), (0,))


@dataclass(frozen=True)
class Reader:
    """``folder`` is the checkout in which the commands for the reader's own machine are typed."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def stand_in(self, name: str, text: str) -> None:
        """A program of the reader's machine that isn't to be had here, as a shell script."""
        path = self.folder.parent / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def describe(self, host: BedHost, site: dict[str, Any], *files: str) -> None:
        """Write the inventories that the book calls so, prod.py by default."""
        inventory = f"hosts = {[(NAME, host.ssh_data() | {'site': site})]!r}\n"
        for name in files or ("prod.py",):
            (self.folder / "inventories" / name).write_text(inventory)

    def machine(self, line: str, ends: int = 0, env: Mapping[str, str] | None = None) -> str:
        """Type a line on the reader's machine, press enter when it asks, and return what it prints."""
        own = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        own["PATH"] = f"{self.folder.parent / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env={**own, **self.env, **(env or {})},
            capture_output=True,
            text=True,
            input="\n",
            timeout=600,
        )
        text = done.stdout + done.stderr
        assert done.returncode == ends, f"{line}\n{text}"
        return text

    def read(self, host: BedHost, block: Block, ends: int = 0) -> str:
        """Type all lines of a block where the book says, but those that are LEFT_OUT; returns what they print."""
        lines = [line for line in block.lines if not line.startswith(tuple(LEFT_OUT))]
        if not block.title.startswith("on the host"):
            return "".join(self.machine(line, ends) for line in lines)
        script = "exec 2>&1\ncd /root\n"
        for line in lines:
            codes = "|".join(str(code) for code in allowed(line))
            script += f"code=0\n{{ {line}\n}} || code=$?\n"
            script += f"case $code in {codes}) ;; *) echo ended with $code: {shlex.quote(line)}; exit 1 ;; esac\n"
        try:
            return host.run(
                script, user=block.title.rpartition(", as ")[2] if ", as " in block.title else "root", timeout=600
            )
        except BedError as error:
            raise AssertionError(f"{block.page}: {error}") from None


def make_reader(folder: Path, env: Mapping[str, str] | None = None) -> Reader:
    """A checkout of this project, with a virtualenv in it that has what the README's would have."""
    copy_project(folder)
    for name in ("requirements.txt", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    for name in ("runbooks", "inventories"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return Reader(folder, env or {})
