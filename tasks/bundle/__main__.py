"""Makes a bundle on a machine with the internet: ``make bundle INVENTORY=inventories/lab.py SUITE=bookworm``."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import runpy
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyinfra.api import State
from pyinfra.context import ctx_state

import catmaid_deploy
from catmaid_deploy import bundles, schema
from catmaid_deploy.bundles import Contents
from catmaid_deploy.schema import Deployment, Instance
from catmaid_deploy.schema.bundle import REPOSITORIES, WHEELS, repository_file
from catmaid_deploy.tasks import distributions
from catmaid_deploy.tasks.bundle import debian
from catmaid_deploy.tasks.bundle.debian import NotMade, run
from catmaid_deploy.tasks.bundle.python import BUILT_BY, Wheels
from catmaid_deploy.tasks.distributions import Distribution
from catmaid_deploy.tasks.programs import wsgi
from catmaid_deploy.version import VERSION

HERE = Path(catmaid_deploy.__file__).resolve().parent
DEBS = "debs"


def say(text: str) -> None:
    print(f"--> {text}", file=sys.stderr, flush=True)


def inventory_of(path: str) -> Iterable[Any]:
    """The hosts of an inventory, as pyinfra reads it."""
    # Not before: it changes how Python waits, for whoever imports this file.
    from pyinfra_cli.inventory import make_inventory  # type: ignore[import-untyped]

    # pyinfra notes there which file it reads.
    with ctx_state.use(State()):
        return list(make_inventory(path, cwd=os.getcwd()))


def described(inventory: str, only: str) -> list[Deployment]:
    """What an inventory says of its hosts, or of one of them; raises NotMade."""
    keys = ("site", "sites", *(key for (key,) in schema.BESIDE))
    hosts = inventory_of(inventory)
    found = schema.load_all(
        {one.name: {key: said for key in keys if (said := one.data.get(key)) is not None} for one in hosts}
    )
    if only and only not in found:
        raise NotMade(f"{inventory} has no host {only}: it has {', '.join(found)}")
    deployments = []
    for name, one in found.items():
        if only and name != only:
            continue
        if isinstance(one, schema.InvalidSite):
            raise NotMade("\n".join(finding.line(name) for finding in one.findings))
        deployments.append(one)
    return deployments


def fetch_repositories(instances: list[Instance], work: Path, target: Path) -> dict[str, dict[str, str]]:
    """Put the repository of each instance into a file of git's; answers the commits of their revisions."""
    found: dict[str, dict[str, str]] = {}
    for instance in instances:
        if not (releases := instance.releases):
            continue
        address, mirror = releases.repository, mirror_of(work, releases.repository)
        if address not in found:
            say(f"cloning {address}")
            run(["git", "clone", "--quiet", "--bare", address, str(mirror)], f"{address} can't be cloned")
            file = str(target / repository_file(address))
            run(["git", "--git-dir", str(mirror), "bundle", "create", "--quiet", file, "--all"], f"{address}")
        words = ["git", "--git-dir", str(mirror), "rev-parse", "--verify", "-q", releases.revision + "^{commit}"]
        commit = run(words, f"{address} has no {releases.revision}").strip()
        found.setdefault(address, {})[releases.revision] = commit
    return found


def mirror_of(work: Path, address: str) -> Path:
    return work / repository_file(address)


def write(file: Path, folder: Path, contents: dict[str, Any]) -> Contents:
    """Write the bundle: what it has, the digests of its files, and the files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = []
    for path in files:
        with path.open("rb") as opened:
            lines.append(f"{hashlib.file_digest(opened, 'sha256').hexdigest()}  {path.relative_to(folder)}\n")
    digests = "".join(lines)
    found = Contents(id=hashlib.sha256(digests.encode()).hexdigest(), **contents)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    with tarfile.open(new, "w") as archive:
        for name, text in ((bundles.CONTENTS, found.text()), (bundles.DIGESTS, digests)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
        for path in sorted(folder.rglob("*")):
            archive.add(path, str(path.relative_to(folder)), recursive=False, filter=_plain)
    new.rename(file)
    return found


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Root's, and readable: the owner of the code reads it too."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def make(deployments: list[Deployment], system: Distribution, chosen: argparse.Namespace, work: Path) -> Contents:
    """Collect all that these hosts need, and write it into the file."""
    tasks = runpy.run_path(str((HERE if (HERE / "deploy.py").is_file() else HERE.parent) / "deploy.py"))["TASKS"]
    content, machine = work / "content", os.uname().machine
    if machine not in debian.ARCHITECTURES:
        raise NotMade(
            f"a bundle is made on a machine of {' or '.join(debian.ARCHITECTURES)}, and this one is {machine}"
        )
    for folder in (DEBS, WHEELS, REPOSITORIES):
        (content / folder).mkdir(parents=True)
        (work / folder).mkdir()
    instances = [one for deployment in deployments for one in deployment.instances]
    revisions = fetch_repositories(instances, work, content)
    say("fetching Python packages")
    python = chosen.python or ".".join(map(str, system.python))
    wheels = Wheels(content / WHEELS, work / WHEELS, python, machine)
    environments: dict[str, list[str]] = {}
    for one in instances:
        if one.made_python and one.releases:
            address, name = one.releases.repository, one.virtualenv.rpartition("/")[2]
            if name not in environments.setdefault(address, []):
                wheels.have(one, mirror_of(work, address), revisions[address][one.releases.revision])
                environments[address].append(name)
        else:
            # pip builds what comes as source by these.
            wheels.fetch([*(f"{name}=={version}" for name, version in wsgi.needed(one).items()), *BUILT_BY])
    say(f"fetching packages of {system.name}")
    names = [name for deployment in deployments for name in debian.names(tasks, deployment, system)]
    packages = debian.fetch(dict.fromkeys(names), system.suite, machine, chosen.mirror, work / "apt", content / DEBS)
    contents = {
        "made": VERSION,
        "system": (system.id, system.version),
        "machine": machine,
        "revisions": revisions,
        "environments": environments,
        "wheels": wheels.versions(),
        "packages": packages,
    }
    return write(Path(chosen.output), content, contents)


def main() -> None:
    """Make a bundle; ends with 1 and the reason where it can't be made."""
    parser = argparse.ArgumentParser(prog="make bundle", description="Makes one file to install hosts from.")
    parser.add_argument("inventory", help="the inventory that describes the hosts")
    parser.add_argument("suite", choices=distributions.suites(), help="the hosts' Debian")
    parser.add_argument("--output", default="", help="the file; by default bundles/INVENTORY-SUITE.tar")
    parser.add_argument("--host", default="", help="the host that it is for; by default all of the inventory")
    parser.add_argument("--python", default="", help="the version of install.python.executable, such as 3.11")
    parser.add_argument("--mirror", default=debian.MIRROR, help="the address with debian and debian-security")
    chosen = parser.parse_args()
    chosen.output = chosen.output or f"bundles/{Path(chosen.inventory).stem}-{chosen.suite}.tar"
    system = next(one for one in distributions.DISTRIBUTIONS if one.suite == chosen.suite)
    try:
        with tempfile.TemporaryDirectory(prefix="catmaid-deploy-", dir="/var/tmp") as folder:
            found = make(described(chosen.inventory, chosen.host), system, chosen, Path(folder))
    except NotMade as error:
        sys.exit(f"--> {error}")
    size = Path(chosen.output).stat().st_size
    number = sum(map(len, found.wheels.values()))
    say(f"{chosen.output}: {size >> 20} MiB, {len(found.packages)} packages of {system.name}, {number} of Python")
    say(f'name it in the inventory, beside the site: "offline": "{chosen.output}"')


if __name__ == "__main__":
    main()
