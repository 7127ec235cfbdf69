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
    + python: the version that our scripts run with there
    + suite: its name among the tests' images; without one no test runs on it
    """

    id: str
    version: str
    nginx: tuple[int, int]
    brotli: bool
    python: tuple[int, int]
    suite: str = ""

    @property
    def family(self) -> str:
        return self.id.capitalize()

    @property
    def name(self) -> str:
        return f"{self.family} {self.version}"


DISTRIBUTIONS = (
    Distribution("debian", "12", nginx=(1, 22), brotli=True, python=(3, 11), suite="bookworm"),
    Distribution("debian", "13", nginx=(1, 26), brotli=True, python=(3, 13), suite="trixie"),
    Distribution("ubuntu", "24.04", nginx=(1, 24), brotli=True, python=(3, 12)),
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
