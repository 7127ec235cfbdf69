"""What a bundle says of itself, in its first file: what it was made for, and what is in it."""

from __future__ import annotations

import json
import tarfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

FORMAT = 1
# The first file of a bundle, the one with the digests of all others, and the index of Debian's packages.
CONTENTS, DIGESTS, INDEX = "bundle.json", "SHA256SUMS", "debs/Packages"
LARGEST = 4 << 20


class Unreadable(Exception):
    """A file that is no bundle of this deploy's; the message says why, in a few words."""


@dataclass(frozen=True)
class Contents:
    """
    What is in a bundle.

    + id: the digest of its digests, in hexadecimal digits
    + made: by which deploy
    + system: the distribution's id and version, such as debian and 12
    + machine: as the kernel calls it, such as x86_64
    + revisions: the commit of each revision, by the repository's address
    + environments: the names of the environments whose packages it has, by the repository's address
    + wheels: the versions of each Python package
    + packages: Debian's packages with their versions
    + size: in bytes, as far as it is known

    >>> Contents("0af1", "0.2.0", ("debian", "12"), "x86_64", {}, {}, {"uv": ("0.11.2",)}, {}).has("uv", "0.11.2")
    True
    """

    id: str
    made: str
    system: tuple[str, str]
    machine: str
    revisions: dict[str, dict[str, str]]
    environments: dict[str, list[str]]
    wheels: dict[str, tuple[str, ...]]
    packages: dict[str, str]
    size: int = 0

    def has(self, package: str, version: str) -> bool:
        return version in self.wheels.get(package, ())

    def text(self) -> str:
        """As the bundle has it."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True) + "\n"


def read(path: str) -> Contents:
    """What a file of this machine says of itself; raises Unreadable."""
    file = Path(path).expanduser()
    try:
        status = file.stat()
    except OSError as error:
        raise Unreadable(f"can't be read ({error.strerror})") from None
    return _read(file, status.st_size, status.st_mtime_ns)


@cache
def _read(file: Path, size: int, time: int) -> Contents:
    try:
        with tarfile.open(file, "r:") as archive:
            first = archive.next()
            opened = archive.extractfile(first) if first and first.name == CONTENTS and first.size < LARGEST else None
            found = json.loads(opened.read()) if opened else {}
            form = found.pop("format", None)
            if form != FORMAT:
                raise Unreadable("is no bundle of this version of the deploy" if form is not None else "is no bundle")
            wheels = {name: tuple(versions) for name, versions in found.pop("wheels").items()}
            system = found.pop("system")
            return Contents(**found | {"wheels": wheels, "system": (system[0], system[1]), "size": size})
    except (OSError, tarfile.TarError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise Unreadable("is no bundle") from None


def index(path: str) -> str:
    """The index of Debian's packages in a bundle, as apt reads it; raises Unreadable."""
    try:
        with tarfile.open(Path(path).expanduser(), "r:") as archive:
            opened = archive.extractfile(INDEX)
            return opened.read().decode() if opened else ""
    except (OSError, tarfile.TarError, KeyError, UnicodeDecodeError):
        raise Unreadable("is no whole bundle") from None
