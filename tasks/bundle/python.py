"""Python packages of a bundle, as uv resolves and pip fetches them for the Python of a host."""

from __future__ import annotations

import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from catmaid_deploy.on_host.facts.fits import files_for_uv, fitted, same_name
from catmaid_deploy.on_host.operations.requirements import requirements_of
from catmaid_deploy.on_host.trust import Failed
from catmaid_deploy.schema import Instance
from catmaid_deploy.tasks.bundle.debian import NotMade, run
from catmaid_deploy.tasks.programs import wsgi
from catmaid_deploy.tasks.python import fits
from catmaid_deploy.tasks.python.here import Admin

# The oldest C library of all distributions: what was made for it runs on each.
GLIBC = 36
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
# What a source that says nothing is built by.
BUILT_BY = ("setuptools", "wheel")


class Wheels:
    """
    A folder of Python packages for one Python.

    + folder: where they lie
    + work: a folder for what is needed meanwhile
    + python: the version, such as 3.11
    + machine: as the kernel calls it
    """

    def __init__(self, folder: Path, work: Path, python: str, machine: str) -> None:
        self.folder, self.work, self.python, self.machine = folder, work, python, machine
        self.uv = ""

    def have_uv(self, version: str) -> None:
        """Fetch uv, and have it work here."""
        self.wheels([f"uv=={version}"])
        if not self.uv:
            target = self.work / "uv"
            words = [*PIP, "install", "--no-deps", "--target", str(target), f"uv=={version}"]
            run(words, f"uv {version} can't be installed here")
            self.uv = str(target / "bin/uv")

    def resolved(self, files: Mapping[str, str]) -> list[str]:
        """All packages, each with its version, that requirements come to; files as from `files_for_uv`."""
        for name, text in files.items():
            (self.work / name).write_text(text)
        words = [self.uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-config"]
        words += ["--python", sys.executable, "--python-version", self.python]
        words += ["--python-platform", f"{self.machine}-manylinux_2_{GLIBC}"]
        words += ["--override", str(self.work / "overrides.txt"), "--build-constraints", str(self.work / "build.txt")]
        words += [str(self.work / "requirements.txt")]
        surroundings = {"UV_CACHE_DIR": str(self.work / "cache"), "UV_NATIVE_TLS": "true", "VIRTUAL_ENV": ""}
        text = run(words, "what is required can't be resolved", **surroundings)
        return [line.split(";")[0].strip() for line in text.splitlines() if "==" in line]

    def wheels(self, pins: Iterable[str]) -> None:
        """Fetch packages that come as wheels; raises NotMade where one doesn't."""
        platforms = [f"manylinux_2_{number}_{self.machine}" for number in range(GLIBC, 4, -1)]
        platforms += [f"manylinux{old}_{self.machine}" for old in ("2014", "2010", "1")] + [f"linux_{self.machine}"]
        short = self.python.replace(".", "")
        words = [*PIP, "download", "--no-deps", "--only-binary=:all:", "--dest", str(self.folder)]
        words += ["--implementation", "cp", "--python-version", self.python]
        words += [word for abi in (f"cp{short}", "abi3", "none") for word in ("--abi", abi)]
        words += [word for platform in platforms for word in ("--platform", platform)]
        run([*words, *pins], "Python packages can't be fetched")

    def source(self, pin: str) -> None:
        """Fetch a package as source."""
        name = pin.partition("==")[0]
        words = [*PIP, "download", "--no-deps", f"--no-binary={name}", "--dest", str(self.folder), pin]
        run(words, f"{pin} can't be fetched as source")

    def fetch(self, pins: Iterable[str]) -> None:
        """Fetch packages, those without a wheel as source."""
        as_wheels = [pin for pin in pins if same_name(pin.partition("==")[0]) not in wsgi.AS_SOURCE]
        for pin in pins:
            if pin not in as_wheels:
                self.source(pin)
        try:
            self.wheels(as_wheels)
        except NotMade:
            for pin in as_wheels:
                try:
                    self.wheels([pin])
                except NotMade:
                    self.source(pin)

    def have_builders(self, constraints: str) -> None:
        """Fetch what all sources are built by, and what that is built by."""
        seen: set[Path] = set()
        while new := [file for file in sources(self.folder) if file not in seen]:
            for file in new:
                seen.add(file)
                required = "".join(f"{line}\n" for line in builders(file))
                texts = {"requirements.txt": required, "overrides.txt": "", "build.txt": constraints}
                self.fetch(self.resolved({**texts, "requirements.txt": required + constraints}))

    def have(self, instance: Instance, mirror: Path, commit: str) -> None:
        """Fetch what an environment of an instance's release has; raises NotMade also where it fits no such Python."""
        assert instance.releases
        assert instance.made_python
        made, git = instance.made_python, Admin()
        try:
            text = requirements_of(git, str(mirror), commit, made.requirements)
        except Failed as error:
            raise NotMade(f"{instance.releases.revision}: {error}") from None
        found = fitted(text, fits.rules(), self.python, made.overrides)
        for package, pin, why in found["wrong"]:
            what = f"{instance.releases.revision} requires {package} {pin}, which doesn't run with Python {self.python}"
            raise NotMade(f"{what} ({why})")
        packages = [*(f"{name}=={version}" for name, version in wsgi.needed(instance).items()), *made.packages]
        files = files_for_uv(text, packages, found)
        self.have_uv(made.uv_version)
        self.fetch(self.resolved(files))
        self.have_builders(files["build.txt"])

    def versions(self) -> dict[str, tuple[str, ...]]:
        """What is there, the versions of each package."""
        found: dict[str, set[str]] = {}
        for file in self.folder.iterdir():
            if file.suffix == ".whl":
                name, version = file.name.split("-")[:2]
            else:
                name, version = re.sub(r"\.(tar\.\w+|zip|tgz)$", "", file.name).rsplit("-", 1)
            found.setdefault(same_name(name), set()).add(version)
        return {name: tuple(sorted(versions)) for name, versions in sorted(found.items())}


def sources(folder: Path) -> list[Path]:
    """The packages that come as source."""
    return sorted(file for file in folder.iterdir() if file.suffix != ".whl")


def _project_files(file: Path) -> Iterator[bytes]:
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if re.fullmatch(r"[^/]+/pyproject\.toml", name):
                    yield archive.read(name)
        return
    with tarfile.open(file) as packed:
        for member in packed:
            opened = packed.extractfile(member) if re.fullmatch(r"[^/]+/pyproject\.toml", member.name) else None
            if opened:
                yield opened.read()


def builders(file: Path) -> list[str]:
    """The requirements by which a source is built; setuptools where it names none."""
    for data in _project_files(file):
        if "build-system" in (found := tomllib.loads(data.decode())):
            return [*found["build-system"].get("requires", ()), *BUILT_BY]
    return [*BUILT_BY]
