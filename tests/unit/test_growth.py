"""What grows on a host: how it is measured, and what is said of it."""

from __future__ import annotations

import importlib
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.answers import health as answers_of_health
from catmaid_deploy.answers.health import Grown
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.look import Look
from catmaid_deploy.tasks import growth
from tests import answers

trust: Any = importlib.import_module("catmaid_deploy.on_host.trust")
on_host: Any = importlib.import_module("catmaid_deploy.on_host.facts.growth")
HERE = trust.Here()
DAY, MIB = 86400, 1 << 20


def file(path: Path, days: float, size: int = MIB) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    os.utime(path, (time.time() - days * DAY,) * 2)


def measure(folder: Path, most: int = 1000, without: tuple[str, ...] = ()) -> tuple[int, int, bool]:
    size, made, whole = HERE.measure(str(folder), time.time() - 7 * DAY, most, 10, without)
    return size, made, whole


def test_new_files_are_told_from_old_ones(tmp_path: Path) -> None:
    file(tmp_path / "a/old", 30)
    file(tmp_path / "a/new", 2)
    size, made, whole = measure(tmp_path)
    assert 2 * MIB <= size <= 2 * MIB + 65536
    assert MIB <= made <= MIB + 8192
    assert whole


def test_a_file_counts_once_and_no_link_is_followed(tmp_path: Path) -> None:
    file(tmp_path / "in/new", 1)
    os.link(tmp_path / "in/new", tmp_path / "in/second")
    file(tmp_path / "out/new", 1)
    (tmp_path / "in/link").symlink_to(tmp_path / "out")
    file(tmp_path / "in/shared/new", 1)
    assert measure(tmp_path / "in", without=("shared",))[1] <= MIB + 8192


def test_it_ends_at_its_limit(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / str(number)).touch()
    assert measure(tmp_path, most=30)[2]
    assert not measure(tmp_path, most=29)[2]
    before = len(os.listdir("/proc/self/fd"))
    measure(tmp_path, most=5)
    assert len(os.listdir("/proc/self/fd")) == before


def test_stars_are_folders(tmp_path: Path) -> None:
    for name in ("15/main/base", "17/main/base"):
        (tmp_path / name).mkdir(parents=True)
    found = on_host.folders_of(HERE, f"{tmp_path}/*/*/base")
    assert found == [f"{tmp_path}/15/main/base", f"{tmp_path}/17/main/base"]


@pytest.mark.parametrize(
    ("notes", "daily"),
    [
        ([], None),
        ([(0.5, 0)], None),
        ([(2, 600)], 200),
        # The last of those that are a week old.
        ([(30, 0), (10, 0), (2, 990)], 100),
        ([(3, 5000)], 0),
    ],
)
def test_bytes_a_day_are_what_was_noted_before(notes: list[tuple[float, int]], daily: float | None) -> None:
    known = [{"time": 1e9 - days * DAY, "sizes": {"/a": size}} for days, size in notes]
    assert on_host.daily_by_notes(known, "/a", 1000, 1e9) == daily


def test_a_note_is_made_once_a_day_and_of_what_was_measured_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    root = SimpleNamespace(write=lambda _, data: written.append(json.loads(data)["notes"]))
    monkeypatch.setattr(on_host, "ROOT", root)
    found = [{"path": "/a", "size": 1, "whole": True}, {"path": "/b", "size": 2, "whole": False}]
    on_host.note_growth([], found, 1e9)
    assert written == [[{"time": 1e9, "sizes": {"/a": 1}}]]
    on_host.note_growth(written[0], found, 1e9 + DAY - 1)
    assert len(written) == 1
    on_host.note_growth(written[0] * 20, found, 1e9 + DAY)
    assert len(written[1]) == 8


def grown(daily: float | None, free: int = 1000, **more: Any) -> Grown:
    made: Any = {"what": "databases", "path": "/data/base", "mount": "/data", "total": 5000, "size": 9, "whole": True}
    one: Grown = made | {"daily": daily, "free": free} | more
    return one


def of(*growing: Grown) -> Health:
    look = Look(schema.load(sites=[]), answers.survey())
    return Health("host", look, answers.part(answers_of_health.Health, {"growing": list(growing)}))


@pytest.mark.parametrize(
    ("daily", "level", "is_dated"),
    [
        (None, None, False),
        (0, None, False),
        (1, None, False),
        (3, None, True),
        (80, "warning", True),
        (400, "fault", True),
    ],
)
def test_a_file_system_that_will_be_full_is_told(daily: float | None, level: str | None, is_dated: bool) -> None:
    health = of(grown(daily))
    growth.health(health)
    assert [finding.level for finding in health.findings] == ([level] if level else [])
    assert bool(growth.document(health)["filling"]["/data"]["full_on"]) == is_dated


def test_all_that_grows_on_a_file_system_fills_it() -> None:
    health = of(grown(40), grown(40, path="/data/files"), grown(None, path="/data/logs"))
    assert growth.days_left(health.found["growing"]) == {"/data": 12.5}


def test_what_is_not_known_is_said() -> None:
    [(_, words, rows)] = growth.blocks(of(grown(None, whole=False)))
    assert words == "/data: unknown yet"
    assert rows[0][2:] == ("more than 9 B", "unknown yet")
