"""What grows: how much of it the host sees, and when that fills a file system."""

from __future__ import annotations

import os
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.answers import health as answers_of_health
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.look import Look
from catmaid_deploy.script import joined
from catmaid_deploy.tasks import growth
from tests import answers

ON_HOST: dict[str, Any] = {}
exec(joined("facts.health").rpartition("\nanswer(")[0], ON_HOST)  # noqa: S102

DAY, MIB, GIB = 86400, 1 << 20, 1 << 30
RELEASES = {"revision": "1", "keep": 4}
SITE: dict[str, Any] = {
    "server_name": "catmaid.example.org",
    "instances": [{"releases": RELEASES, "install": {"administrator": {"name": "a", "email": "a@example.org"}}}],
}
FILES = "/home/catmaid/releases/shared/files"


# ---- what the host sees ----


def write(path: Path, days: float = 0, kib: int = 64) -> Path:
    """A file of some days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(kib << 10))
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def usage(folder: Path, *apart: str, seconds: float = 10) -> tuple[int, int, bool]:
    """The KiB of the files in a folder, those of the last week, and whether these are all."""
    folders = sum(os.stat(place).st_blocks * 512 for place, *_ in os.walk(folder) if place not in apart)
    now = time.time()
    size, recent, whole = ON_HOST["usage"](
        ON_HOST["Here"](), str(folder), apart, now - 7 * DAY, time.monotonic() + seconds
    )
    return (size - folders) >> 10, recent >> 10, whole


def test_old_and_new_files_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "old", 8)
    write(tmp_path / "deep/er/new", 6)
    assert usage(tmp_path) == (128, 64, True)


def test_a_file_of_two_names_counts_once(tmp_path: Path) -> None:
    os.link(write(tmp_path / "one"), tmp_path / "two")
    assert usage(tmp_path) == (64, 64, True)


def test_links_and_what_is_apart_do_not_count(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/large", kib=512)
    write(tmp_path / "here/own")
    write(tmp_path / "here/apart/other", kib=512)
    (tmp_path / "here/link").symlink_to("../elsewhere")
    assert usage(tmp_path / "here", str(tmp_path / "here/apart")) == (64, 64, True)


def test_a_sparse_file_has_what_it_takes_on_the_disk(tmp_path: Path) -> None:
    os.truncate(write(tmp_path / "sparse"), 1 << 40)
    assert usage(tmp_path) == (64, 64, True)


def test_no_folder_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(20):
        write(tmp_path / str(n), kib=4)
    monkeypatch.setitem(ON_HOST, "MOST_FILES", 10)
    size, _, whole = usage(tmp_path)
    assert not whole
    assert size < 80
    monkeypatch.setitem(ON_HOST, "MOST_FILES", 100)
    assert usage(tmp_path, seconds=0)[2] is False
    assert usage(tmp_path) == (80, 80, True)


def test_a_folder_that_is_not_there_is_not_answered(tmp_path: Path) -> None:
    write(tmp_path / "there/new")
    one = {"name": "x", "apart": [], "clusters": False}
    there, missing = (dict(one, path=str(tmp_path / name)) for name in ("there", "missing"))
    usages = ON_HOST["usages"]
    ((path, real, size, recent, whole, total, free),) = usages(ON_HOST["Here"](), there, 0, time.monotonic() + 9)
    assert (path, real, whole) == (str(tmp_path / "there"), os.path.realpath(tmp_path / "there"), True)
    assert 64 << 10 == recent < size < free <= total
    assert usages(ON_HOST["Here"](), missing, 0, time.monotonic() + 9) == []


def test_one_that_hangs_is_known_by_its_place_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TOGETHER", "ALONE", "BUSY"):
        monkeypatch.setitem(ON_HOST, name, 1)
    monkeypatch.setitem(ON_HOST, "usages", lambda at, one, *_: time.sleep(60) if one["name"] == "hangs" else [])
    place = {"path": str(tmp_path), "user": "nobody", "apart": [], "clusters": False}
    asked = [dict(place, name="hangs", path="/hangs"), dict(place, name="well")]
    question = {"growth": asked, "survey": {"nginx": {"user": "nobody"}, "disks": {}}}
    if os.geteuid():
        pytest.skip("only root takes another user's rights")
    (found,) = ON_HOST["end_growth"](*ON_HOST["begin_growth"](question))
    assert (found["name"], found["path"], found["mount"], found["size"]) == ("hangs", "/hangs", "/", None)


# ---- what follows from it ----


def grown(name: str, size: float = GIB, daily: float = 0, **more: Any) -> dict[str, Any]:
    """A folder of a host, which has ``daily`` bytes more each day."""
    space = {"mount": "/", "total": 100 * GIB, "free": 50 * GIB}
    numbers = {"name": name, "path": FILES, "size": int(size), "recent": int(7 * daily), "whole": True}
    return space | numbers | more


def of(*places: dict[str, Any]) -> Health:
    release = {"there": True, "all": ["1", "2"], "shared": {}, "owner": True}
    look = Look(schema.load(SITE), answers.survey(instances={"catmaid": {"release": release}}))
    return Health("host", look, answers.part(answers_of_health.Health, {"growth": list(places), "spaces": []}))


def days(*places: dict[str, Any]) -> int | None:
    (filling,) = growth.of_host(of(*places))
    return filling.days


def in_days(number: int) -> str:
    return (date.today() + timedelta(number)).isoformat()


@pytest.mark.row_35
def test_what_grows_fills_its_file_system() -> None:
    assert days(grown("files of catmaid", daily=GIB)) == 50
    assert days(grown("files of catmaid", daily=GIB), grown("exports of catmaid", daily=GIB)) == 25
    assert days(grown("files of catmaid", daily=GIB / 8)) is None
    assert days(grown("files of catmaid")) is None
    assert days(grown("files of catmaid", daily=GIB, free=0)) == 0
    # A full one that nothing grows on has its own line.
    assert days(grown("files of catmaid", free=0)) is None


@pytest.mark.row_35
def test_what_is_removed_by_itself_fills_none() -> None:
    """It grows until as much is removed as is written."""
    tight: dict[str, Any] = {"free": 3 * GIB}
    # Databases are written over in place.
    assert days(grown("databases", 40 * GIB, daily=GIB, **tight)) is None
    # Two GiB of WAL are written over again and again; what is beyond is held by something.
    assert days(grown("WAL", 2 * GIB, daily=GIB, **tight)) is None
    assert days(grown("WAL", 4 * GIB, daily=GIB, **tight)) == 3
    # Logs of 14 days: 14 GiB, of which 10 are there; and of which 13 are.
    assert days(grown("logs of catmaid", 10 * GIB, daily=GIB, **tight)) == 3
    assert days(grown("logs of catmaid", 13 * GIB, daily=GIB, **tight)) is None
    # Two releases are there, and four are kept.
    assert days(grown("releases of catmaid", 2 * GIB, daily=GIB, **tight)) is None
    assert days(grown("environments of catmaid", 4 * GIB, daily=GIB, **tight)) == 3
    assert days(grown("journal", 4 * GIB, daily=GIB, **tight)) is None


@pytest.mark.row_35
@pytest.mark.parametrize(("free", "level"), [(3, "fault"), (14, "warning"), (15, None)])
def test_one_that_is_soon_full_is_told(free: int, level: str | None) -> None:
    tight: dict[str, Any] = {"free": free * GIB, "total": 20 * GIB, "mount": "/data"}
    one = of(
        grown("files of catmaid", daily=GIB / 2, **tight),
        grown("exports of catmaid", daily=GIB / 2, path=f"{FILES}/export", **tight),
        grown("journal", daily=GIB),
    )
    growth.health(one)
    lines = [finding.line("host") for finding in one.findings]
    assert [finding.level for finding in one.findings] == ([level] if level else [])
    if level:
        assert lines == [
            f"host: growth: /data is full on {in_days(free)}: 512 MiB a day are written to {FILES}: remove files below "
            f"{FILES} that nobody needs, or have a larger disk"
        ]


@pytest.mark.row_35
@pytest.mark.parametrize(("free", "level"), [(0, "fault"), (12, "warning"), (50, None)])
def test_one_that_is_full_is_told_once(free: int, level: str | None) -> None:
    one = of(grown("files of catmaid", free=free * GIB, mount="/data"), grown("journal"))
    growth.health(one)
    expected = [f"space: /data has {free or '0 B'}{' GiB' * bool(free)} of 100 GiB free: remove"] if level else []
    assert [finding.line().partition(" what isn't")[0] for finding in one.findings] == expected
    assert [finding.level for finding in one.findings] == ([level] if level else [])
    # What is told of it already isn't repeated.
    again = of(grown("files of catmaid", free=free * GIB, mount="/data"))
    again.found["spaces"] = [{"mount": "/data", "free": 0, "size": 1, "files_free": 1}]
    growth.health(again)
    assert again.findings == []


@pytest.mark.row_35
def test_status_shows_each_of_them() -> None:
    one = of(
        grown("databases", 3 * GIB, path="/var/lib/postgresql/15/main"),
        grown("files of catmaid", 2 * GIB, daily=GIB, whole=False),
        grown("logs of nginx", mount="/logs", path="/var/log/nginx"),
        grown("exports of catmaid", path="/far/export", mount="/far", free=0, total=0, whole=False) | {"size": None},
    )
    ((title, _, table),) = growth.blocks(one)
    assert title == "What grows"
    assert table == [
        ("databases", "3.0 GiB", "-", "on /"),
        ("files of catmaid", "more than 2.0 GiB", "more than 1.0 GiB a day", "on /"),
        ("exports of catmaid", "unknown", "", "/far/export gives no answer in time"),
        ("logs of nginx", "1.0 GiB", "0 B a day", "on /logs"),
        ("all on /", "50 GiB free", "1.0 GiB a day", f"full on {in_days(50)} or before"),
        ("all on /far", "", "", "unknown"),
        ("all on /logs", "50 GiB free", "0 B a day", "not within a year"),
    ]
    document = growth.document(one)
    assert document["growth"][1] == {
        "name": "files of catmaid",
        "path": FILES,
        "mount": "/",
        "size": 2 * GIB,
        "daily": GIB,
        "whole": False,
    }
    free = {"free": 50 * GIB, "whole": True}
    assert document["filling"] == [
        free | {"mount": "/", "daily": GIB, "whole": False, "full_on": in_days(50)},
        {"mount": "/far", "free": None, "daily": None, "whole": False, "full_on": None},
        free | {"mount": "/logs", "daily": 0, "full_on": None},
    ]


def test_each_is_asked_once_and_only_by_status() -> None:
    deployment = schema.load(SITE)
    asked = growth.TASK.glance(deployment, False)["growth"]
    names = [one["name"] for one in asked]
    assert len(names) == len({*names})
    assert {"releases of catmaid", "environments of catmaid", "uv's cache of catmaid"} < {*names}
    (releases,) = (one for one in asked if one["name"] == "releases of catmaid")
    # Users' files lie among them, and are counted by themselves.
    assert releases["apart"] == ["environments", ".uv", "shared/files"]
    assert growth.TASK.glance(deployment, True) == {"growth": []}
    bare = schema.load({"server_name": "catmaid.example.org", "instances": [{}]})
    assert not any("releases" in one.name for one in growth.growing(bare))
