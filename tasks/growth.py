"""What grows on a host, by how much a day, and when that fills a file system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from catmaid_deploy import questions
from catmaid_deploy.answers.health import Grown
from catmaid_deploy.finding import Command
from catmaid_deploy.on_host.facts.postgresql import SERVER
from catmaid_deploy.on_host.facts.rabbitmq import BROKER, BROKERS_HOME
from catmaid_deploy.on_host.operations.environments import UV
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Deployment, Instance
from catmaid_deploy.schema.install import ENVIRONMENTS
from catmaid_deploy.tasks import system
from catmaid_deploy.tasks.postgresql.settings import GIB, WAL_GIB
from catmaid_deploy.upkeep import output

# Over so many days the host adds up what was written.
WEEK_DAYS = 7
FAULT_DAYS, WARNING_DAYS, YEAR_DAYS = 3, 14, 365
# CATMAID's own names below MEDIA_ROOT. Beat has its task remove crops of more than a day, once a day.
CROPS, EXPORTS, CROPS_DAYS = "cropping", "export", 2
# How long logrotate keeps logs: ours, and by Debian's packages. Supervisor has its own: 50 MB and 10 old ones.
OUR_DAYS, NGINX_DAYS, POSTGRESQL_DAYS, RABBITMQ_DAYS, SUPERVISOR_BYTES = 14, 14, 70, 4, 550 << 20
# What journald takes at most, of its file system and at all.
JOURNAL_SHARE, JOURNAL_BYTES = 0.1, 4 * GIB
ROTATE = Command("logrotate --force /etc/logrotate.conf")

Limit = Callable[[Grown], float | None]


@dataclass(frozen=True)
class Growth:
    """A folder that may grow.

    + name: what is in it
    + path, user, apart, clusters: as in the question
    + fix: how it gets smaller
    + limit: how many bytes it reaches at most, since something removes the old ones; None where nothing does
    + counted: whether what was written lately says by how much it grows
    """

    name: str
    path: str
    fix: Command | str
    user: str = ""
    apart: tuple[str, ...] = ()
    clusters: bool = False
    limit: Limit = lambda _: None
    counted: bool = True

    @property
    def question(self) -> questions.Growing:
        apart = list(self.apart)
        return {"name": self.name, "path": self.path, "user": self.user, "apart": apart, "clusters": self.clusters}


def _days(days: int) -> Limit:
    """Of what is removed after so many days there are that many days' bytes."""
    return lambda grown: grown["recent"] / WEEK_DAYS * days


def _most(most: float) -> Limit:
    """What is larger all the same has no limit: nothing keeps it."""
    return lambda grown: most if (grown["size"] or 0) <= most else None


def _journal(grown: Grown) -> float | None:
    return _most(min(JOURNAL_BYTES, JOURNAL_SHARE * grown["total"]))(grown)


def _of_instance(one: Instance) -> Iterator[Growth]:
    folder, name = one.files_folder, one.name
    remove = "remove files below {} that nobody needs, or have a larger disk"
    crops = f"see that Celery beat runs, by which CATMAID removes crops of more than a day from {folder}/{CROPS}"
    yield Growth(f"crops of {name}", f"{folder}/{CROPS}", crops, one.user, limit=_days(CROPS_DAYS))
    yield Growth(f"exports of {name}", f"{folder}/{EXPORTS}", remove.format(f"{folder}/{EXPORTS}"), one.user)
    yield Growth(f"files of {name}", folder, remove.format(folder), one.user, (CROPS, EXPORTS))
    yield Growth(f"logs of {name}", one.log_dir, ROTATE, limit=_days(OUR_DAYS))


def _of_releases(one: Instance, there: int) -> Iterator[Growth]:
    """What each release brings; ``there`` is how many of them the host has."""
    releases = one.releases
    assert releases

    def kept(grown: Grown) -> float:
        return (grown["size"] or 0) * max(1.0, releases.keep / max(1, there))

    folder, owner = releases.folder, releases.owner
    fewer = f"lower site.instances[{one.name}].releases.keep, and deploy the next release"
    # Users' files may lie among them.
    files = one.files_folder
    apart = (ENVIRONMENTS, UV, *([files[len(folder) + 1 :]] if files.startswith(f"{folder}/") else []))
    yield Growth(f"releases of {one.name}", folder, fewer, owner, apart, limit=kept)
    if one.made_python:
        uv, cache = f"{folder}/{UV}/{one.made_python.uv_version}/bin/uv", f"{folder}/{UV}/cache"
        prune = Command(f"runuser -u {owner} -- {uv} cache prune --cache-dir {cache}")
        yield Growth(f"environments of {one.name}", f"{folder}/{ENVIRONMENTS}", fewer, owner, limit=kept)
        yield Growth(f"uv's cache of {one.name}", f"{folder}/{UV}", prune, owner, limit=kept)


def growing(deployment: Deployment, there: dict[str, int] | None = None) -> list[Growth]:
    """All that may grow, whether the host has it or not; ``there`` is the number of each instance's releases."""
    slots = "SELECT slot_name, active, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) FROM pg_replication_slots"
    wal = Command(f'cd /; runuser -u {SERVER} -- psql -c "{slots}"')
    larger = "have a larger disk, or remove what CATMAID's users don't need"
    queues = "have Celery's workers take what waits: runbooks/status.py shows how many tasks do"
    return [
        Growth("databases", "", larger, SERVER, ("pg_wal",), clusters=True, counted=False),
        Growth("WAL", "pg_wal", wal, SERVER, clusters=True, limit=_most(WAL_GIB * GIB)),
        Growth("RabbitMQ", BROKERS_HOME, queues, BROKER),
        *(growth for one in deployment.instances for growth in _of_instance(one)),
        *(
            growth
            for one in deployment.instances
            if one.releases
            for growth in _of_releases(one, (there or {}).get(one.name, 1))
        ),
        Growth("logs of nginx", "/var/log/nginx", ROTATE, limit=_days(NGINX_DAYS)),
        Growth("logs of Supervisor", "/var/log/supervisor", ROTATE, limit=_most(SUPERVISOR_BYTES)),
        Growth("logs of PostgreSQL", "/var/log/postgresql", ROTATE, limit=_days(POSTGRESQL_DAYS)),
        Growth("logs of RabbitMQ", "/var/log/rabbitmq", ROTATE, limit=_days(RABBITMQ_DAYS)),
        Growth("journal", "/var/log/journal", Command("journalctl --vacuum-size=100M"), limit=_journal),
    ]


# ---- what the host says of it ----


@dataclass(frozen=True)
class Place:
    """A folder as it is on the host. ``daily`` are its bytes a day, None where nobody knows; ``room`` is what it still
    gets until something removes the old ones.
    """

    growth: Growth
    grown: Grown

    @property
    def daily(self) -> float | None:
        if self.grown["size"] is None or not self.growth.counted:
            return None
        return self.grown["recent"] / WEEK_DAYS

    @property
    def room(self) -> float | None:
        most = self.growth.limit(self.grown)
        return None if most is None else max(0.0, most - (self.grown["size"] or 0))

    def after(self, days: int) -> float:
        """The bytes by which it is larger after so many days."""
        grows = (self.daily or 0) * days
        return grows if self.room is None else min(grows, self.room)


@dataclass(frozen=True)
class Filling:
    """A file system with what grows on it."""

    mount: str
    places: tuple[Place, ...]

    @property
    def free(self) -> int | None:
        """The bytes that are free; None where it gives no answer."""
        return min((place.grown["free"] for place in self.places if place.grown["size"] is not None), default=None)

    @property
    def total(self) -> int:
        """Its size in bytes."""
        return self.places[0].grown["total"]

    @property
    def is_full(self) -> bool:
        return self.free is not None and system.is_full(self.free, self.total)

    @property
    def is_whole(self) -> bool:
        return all(place.grown["whole"] for place in self.places)

    @property
    def daily(self) -> float:
        return sum(place.daily or 0 for place in self.places)

    @property
    def days(self) -> int | None:
        """In how many days it is full by what is known; None where it isn't within a year."""
        free = self.free
        if free is None or not self.daily:
            return None
        by_day = (sum(place.after(days) for place in self.places) for days in range(YEAR_DAYS + 1))
        return next((days for days, grows in enumerate(by_day) if grows >= free), None)

    @property
    def most(self) -> Place:
        """What will have grown most by then."""
        return max(self.places, key=lambda place: place.after(self.days or YEAR_DAYS))


def of_host(one: Health) -> list[Filling]:
    """The file systems of a host, as far as something may grow there."""
    releases = {name: found["release"] for name, found in one.survey["instances"].items()}
    there = {name: len(release["all"]) for name, release in releases.items() if release}
    known = {growth.name: growth for growth in growing(one.deployment, there)}
    by_mount: dict[str, list[Place]] = {}
    for grown in one.found["growth"]:
        by_mount.setdefault(grown["mount"], []).append(Place(known[grown["name"]], grown))
    return [Filling(mount, tuple(places)) for mount, places in sorted(by_mount.items())]


def _day(days: int) -> str:
    return (date.today() + timedelta(days)).isoformat()


def health(one: Health) -> None:
    told = {space["mount"] for space in one.found["spaces"]}
    for filling in of_host(one):
        days, free = filling.days, filling.free
        if filling.is_full or days is None or days > WARNING_DAYS:
            # It may be full already, or by what doesn't grow.
            if free is not None and filling.mount not in told:
                system.judge_room(one, filling.mount, free, filling.total)
            continue
        most = filling.most
        a_day = f"{output.size(most.daily or 0)} a day are written to {most.grown['path']}"
        text = f"{filling.mount} is full on {_day(days)}: {a_day}"
        if days <= FAULT_DAYS:
            one.fault("growth", text, most.growth.fix)
        else:
            one.warn("growth", text, most.growth.fix)


def _cells(place: Place) -> tuple[str, str, str, str]:
    grown = place.grown
    if grown["size"] is None:
        return place.growth.name, "unknown", "", f"{grown['path']} gives no answer in time"
    more = "" if grown["whole"] else "more than "
    daily = "-" if place.daily is None else f"{more}{output.size(place.daily)} a day"
    return place.growth.name, f"{more}{output.size(grown['size'])}", daily, f"on {grown['mount']}"


def _verdict(filling: Filling) -> str:
    if filling.days is not None:
        return f"full on {_day(filling.days)}{'' if filling.is_whole else ' or before'}"
    return "not within a year" if filling.is_whole else "not within a year by what was seen"


def _totals(filling: Filling) -> tuple[str, str, str, str]:
    if filling.free is None:
        return f"all on {filling.mount}", "", "", "unknown"
    free, daily = output.size(filling.free), output.size(filling.daily)
    return f"all on {filling.mount}", f"{free} free", f"{daily} a day", _verdict(filling)


def blocks(one: Health) -> Iterator[tuple[str, str, list[tuple[str, ...]]]]:
    found = of_host(one)
    if found:
        rows = [_cells(place) for filling in found for place in filling.places]
        words = "a day: a seventh of what was written in the last 7 days and is still there"
        yield "What grows", words, [*rows, *map(_totals, found)]


def document(one: Health) -> dict[str, Any]:
    found = of_host(one)
    return {
        "growth": [
            {
                "name": place.growth.name,
                "path": place.grown["path"],
                "mount": filling.mount,
                "size": place.grown["size"],
                "daily": place.daily,
                "whole": place.grown["whole"],
            }
            for filling in found
            for place in filling.places
        ],
        "filling": [
            {
                "mount": one.mount,
                "free": one.free,
                "daily": None if one.free is None else one.daily,
                "whole": one.is_whole,
                "full_on": None if one.days is None else _day(one.days),
            }
            for one in found
        ],
    }


TASK = Task(
    "growth",
    # Only at a glance: `verify` asks again and again until all programs are ready.
    glance=lambda deployment, verify: {"growth": [] if verify else [one.question for one in growing(deployment)]},
    health=health,
    blocks=blocks,
    document=document,
)
