"""The distributions that a host may have, and what their packages can do: each stands here once.

Another one is an entry: `tests/unit/test_lists.py` says which pages have to name it, and tests boot a host of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from catmaid_deploy.answers.survey import Survey


@dataclass(frozen=True)
class Distribution:
    """
    A distribution, as its /etc/os-release names it.

    + nginx: its version, as far as what it can do follows from that
    + brotli: whether there is a module for it
    + postgresql: its major version; PostGIS comes as a package for it
    + python: the version that our scripts run with there
    + gis: the packages with the libraries that Django's maps load
    + libpython: the one with the library that a program compiled against its Python loads
    + suite: its name among the tests' images; without one no test runs on it
    """

    id: str
    version: str
    nginx: tuple[int, int]
    brotli: bool
    postgresql: int
    python: tuple[int, int]
    suite: str = ""
    gis: tuple[str, ...] = ()
    libpython: str = ""

    @property
    def family(self) -> str:
        return self.id.capitalize()

    @property
    def name(self) -> str:
        return f"{self.family} {self.version}"


DISTRIBUTIONS = (
    Distribution(
        *("debian", "12"),
        nginx=(1, 22),
        brotli=True,
        postgresql=15,
        python=(3, 11),
        suite="bookworm",
        gis=("libgdal32",),
        libpython="libpython3.11",
    ),
    Distribution(
        *("debian", "13"),
        nginx=(1, 26),
        brotli=True,
        postgresql=17,
        python=(3, 13),
        suite="trixie",
        gis=("libgdal36",),
        libpython="libpython3.13",
    ),
    Distribution(
        *("ubuntu", "24.04"),
        nginx=(1, 24),
        brotli=True,
        postgresql=16,
        python=(3, 12),
        gis=("libgdal34t64",),
        libpython="libpython3.12t64",
    ),
)


def of(survey: Survey) -> Distribution | None:
    """The host's, if it is one of these."""
    system = survey["os"]
    return next((one for one in DISTRIBUTIONS if (one.id, one.version) == (system["id"], system["version"])), None)


def names() -> str:
    """All of them, for a sentence: 'Debian 12 or 13, or Ubuntu 24.04'."""
    families = dict.fromkeys(one.family for one in DISTRIBUTIONS)
    versions = {family: [one.version for one in DISTRIBUTIONS if one.family == family] for family in families}
    return ", or ".join(f"{family} {' or '.join(numbers)}" for family, numbers in versions.items())


def suites() -> tuple[str, ...]:
    """The names of those that tests run on."""
    return tuple(one.suite for one in DISTRIBUTIONS if one.suite)
