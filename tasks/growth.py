"""What grows on a host, by how much a day, and when that fills its file systems."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from typing import Any

from catmaid_deploy import questions
from catmaid_deploy.answers.health import Grown
from catmaid_deploy.on_host.facts import postgresql
from catmaid_deploy.on_host.facts.rabbitmq import BROKER, BROKERS_HOME
from catmaid_deploy.on_host.operations.environments import UV
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Deployment
from catmaid_deploy.schema.install import ENVIRONMENTS
from catmaid_deploy.upkeep import output

SOON_DAYS, WARN_DAYS, LATEST_DAYS = 3, 14, 365
DAY = 86400


def places(deployment: Deployment) -> Iterator[questions.Growing]:
    """What may grow, whether the host has it or not."""

    def one(
        what: str, path: str, user: str = "root", kept: bool = False, without: tuple[str, ...] = ()
    ) -> questions.Growing:
        return {"what": what, "path": path, "user": user, "kept": kept, "without": list(without)}

    for instance in deployment.instances:
        name = instance.name
        # Crops and exports have names of their own: none is written again.
        yield one(f"crops, exports ({name})", instance.files_folder, instance.user, kept=True)
        yield one(f"logs ({name})", instance.log_dir)
        if releases := instance.releases:
            yield one(f"releases ({name})", releases.folder, releases.owner, without=("shared", ENVIRONMENTS, UV))
            yield one(f"environments ({name})", f"{releases.folder}/{ENVIRONMENTS}", releases.owner)
            yield one(f"uv's cache ({name})", f"{releases.folder}/{UV}", releases.owner)
    yield one("databases", f"{postgresql.DATA}/*/*/base", postgresql.SERVER)
    yield one("WAL", f"{postgresql.DATA}/*/*/pg_wal", postgresql.SERVER)
    yield one("the broker's disk", BROKERS_HOME, BROKER)
    for what, folder in (
        ("nginx", "nginx"),
        ("Supervisor", "supervisor"),
        ("PostgreSQL", "postgresql"),
        ("journal", "journal"),
    ):
        yield one(f"logs of {what}", f"/var/log/{folder}")
    yield one("logs of RabbitMQ", "/var/log/rabbitmq", BROKER)


def by_day(growing: list[Grown]) -> dict[str, float | None]:
    """By how many bytes a day each file system fills, as far as that is known; None where nothing of it is."""
    found: dict[str, float | None] = {}
    for one in growing:
        before = found.setdefault(one["mount"], None)
        if one["daily"] is not None:
            found[one["mount"]] = (before or 0) + one["daily"]
    return found


def days_left(growing: list[Grown]) -> dict[str, float]:
    """In how many days each file system is full, of those that are within a year."""
    free = {one["mount"]: one["free"] for one in growing}
    days = {mount: free[mount] / daily for mount, daily in by_day(growing).items() if daily}
    return {mount: left for mount, left in days.items() if left <= LATEST_DAYS}


def on_day(days: float) -> str:
    return date.fromtimestamp(time.time() + days * DAY).isoformat()


def health(one: Health) -> None:
    growing = one.found["growing"]
    daily = by_day(growing)
    for mount, left in days_left(growing).items():
        if left > WARN_DAYS:
            continue
        most = max((grown for grown in growing if grown["mount"] == mount), key=lambda grown: grown["daily"] or 0)
        a_day = output.size(daily[mount] or 0)
        text = f"{mount} is full on {on_day(left)}: {a_day} a day, most of it in {most['path']}"
        fix = f"give {mount} more room, or remove what nobody needs in {most['path']}"
        if left <= SOON_DAYS:
            one.fault("growth", text, fix)
        else:
            one.warn("growth", text, fix)


def row(grown: Grown) -> tuple[str, str, str, str]:
    size = output.size(grown["size"])
    more = "" if grown["whole"] else "more than "
    daily = "unknown yet" if grown["daily"] is None else f"{more}{output.size(grown['daily'])} a day"
    return grown["what"], grown["path"], f"{more}{size}", daily


def blocks(one: Health) -> Iterator[tuple[str, str, list[tuple[str, ...]]]]:
    growing = one.found["growing"]
    if not growing:
        return
    left, words = days_left(growing), []
    for mount, daily in by_day(growing).items():
        when = f"full on {on_day(left[mount])}" if mount in left else "not full within a year"
        words.append(f"{mount}: {'unknown yet' if daily is None else when}")
    yield "What grows", "; ".join(words), [row(grown) for grown in growing]


def document(one: Health) -> dict[str, Any]:
    growing = one.found["growing"]
    left = days_left(growing)
    full = {
        mount: {"daily": daily, "full_on": on_day(left[mount]) if mount in left else None}
        for mount, daily in by_day(growing).items()
    }
    return {"growing": growing, "filling": full}


TASK = Task(
    "what grows",
    glance=lambda deployment, _: {"growing": list(places(deployment))},
    health=health,
    blocks=blocks,
    document=document,
)
