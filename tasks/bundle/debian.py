"""Debian's packages of a bundle, as apt itself resolves and fetches them for a host that has nothing yet."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.task import Tasks
from catmaid_deploy.run import preflight
from catmaid_deploy.schema import Deployment
from catmaid_deploy.tasks.distributions import Distribution
from catmaid_deploy.tasks.programs import wsgi

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCES = """deb [signed-by={keyring}] {mirror}/debian {suite} main
deb [signed-by={keyring}] {mirror}/debian {suite}-updates main
deb [signed-by={keyring}] {mirror}/debian-security {suite}-security main
"""
MIRROR = "http://deb.debian.org"
# As Debian calls a machine.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Nothing of this machine's own apt counts, and nobody but this process has to read the folder.
APT_CONF = """Dir "{root}";
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Cache::archives "{archives}";
Dir::Etc "{root}/etc";
Dir::Log "{root}/log";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
"""


class NotMade(Exception):
    """Why a bundle can't be made, in a line or the last lines of what was tried."""


def names(tasks: Tasks, deployment: Deployment, system: Distribution) -> list[str]:
    """The packages that a host with nothing on it needs for what an inventory describes."""
    instances = deployment.instances
    found: Any = {
        "os": {"id": system.id, "version": system.version, "name": system.name},
        "packages": {},
        "manifest": {},
        "postgresql": None,
        "environments": {one.name: {"there": False, "built": False} for one in instances},
        "instances": {one.name: {"python": {}} for one in instances},
    }
    needed = preflight.packages(tasks, Look(deployment, cast(Survey, found)))
    # Also for environments that somebody else has made.
    return list(dict.fromkeys([*needed, *((*wsgi.COMPILER, wsgi.PIP) if instances else ())]))


def run(words: list[str], what: str, **variables: str) -> str:
    """Run a program of this machine; raises NotMade with its last lines."""
    surroundings = {**os.environ, "LC_ALL": "C.UTF-8", **variables}
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=surroundings)
    except OSError as error:
        raise NotMade(f"{what}: {words[0]} can't be run ({error.strerror})") from None
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise NotMade(f"{what}:\n{last}")
    return done.stdout


def fetch(packages: Iterable[str], suite: str, machine: str, mirror: str, root: Path, target: Path) -> dict[str, str]:
    """
    Have apt fetch packages with all that they depend on, and write their index.

    + packages: their names
    + suite: of Debian, such as bookworm
    + machine: as the kernel calls it
    + mirror: the address below which debian and debian-security are
    + root: a folder for apt's own files
    + target: the folder that gets the packages

    Answers their names with their versions; raises NotMade.
    """
    for folder in ("state/lists/partial", "cache", "etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d", "log"):
        (root / folder).mkdir(parents=True)
    (target / "partial").mkdir(parents=True)
    (root / "status").touch()
    (root / "etc/sources.list").write_text(SOURCES.format(keyring=KEYRING, mirror=mirror.rstrip("/"), suite=suite))
    configuration = root / "apt.conf"
    words = {"root": root, "archives": target, "architecture": ARCHITECTURES[machine]}
    configuration.write_text(APT_CONF.format(**words))
    run(["apt-get", "-q", "update"], f"the packages of {suite} can't be listed", APT_CONFIG=str(configuration))
    get = ["apt-get", "-q", "-y", "--download-only", "install", *packages]
    run(get, f"the packages of {suite} can't be fetched", APT_CONFIG=str(configuration))
    (target / "partial").rmdir()
    (target / "lock").unlink(missing_ok=True)
    return index(target)


def index(folder: Path) -> dict[str, str]:
    """Write the index of a folder with packages, as apt reads it; answers their names with their versions."""
    found, stanzas = {}, []
    for file in sorted(folder.glob("*.deb")):
        # A colon in a name is an epoch's, which a file: source takes for an escape.
        plain = file.with_name(file.name.replace("%3a", "."))
        file.rename(plain)
        stanza = run(["dpkg-deb", "--field", str(plain)], f"{plain.name} can't be read").strip()
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
        found[fields["Package"]] = fields["Version"]
        digest = run(["sha256sum", str(plain)], f"{plain.name} can't be read").split()[0]
        stanzas.append(f"{stanza}\nFilename: ./{plain.name}\nSize: {plain.stat().st_size}\nSHA256: {digest}\n")
    (folder / "Packages").write_text("\n".join(stanzas))
    return found
