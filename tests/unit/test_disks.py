"""What is said of disks that hang, and what is watched over."""

from __future__ import annotations

import json
from typing import Any

from catmaid_deploy import schema
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.file_sets import File
from catmaid_deploy.tasks.nginx.user import groups
from catmaid_deploy.tasks.tiles import disks
from tests import answers
from tests.unit.test_configuration import on_host

TILES = [{"name": f"t-{n}", "url": f"/t/{n}", "folder": f"/data/{n}", "mount": "/data"} for n in range(6)]
SITE = schema.load(
    {"server_name": "a.org", "instances": [{}], "tiles": [*TILES, {"name": "u", "url": "/u", "folder": "/srv/u"}]}
)


def hanging(*asked: tuple[str, str]) -> Survey:
    return answers.survey(hanging=[["catmaid-nginx", path, mount] for path, mount in asked])


def test_of_a_disk_there_is_one_line_with_some_of_its_tile_sets() -> None:
    (finding,) = disks.warn(SITE, hanging(*((f"/data/{n}", "/data") for n in range(6) for _ in range(3))))
    assert finding.place == "site.tiles[t-0].mount"
    assert finding.what == "/data gives no answer, its tiles answer 503, as those of t-1, t-2, 3 more there do"
    assert disks.away(SITE, hanging(("/data/1", "/data"))) == ["the tiles of t-1 are away: /data gives no answer"]


def test_a_folder_that_a_link_leads_to_is_named_itself() -> None:
    (finding,) = disks.warn(SITE, hanging(("/srv/u", "/")))
    assert finding.what == "/srv/u gives no answer, its tiles answer 503"


def test_what_is_no_tile_s_keeps_a_run_from_deciding() -> None:
    survey = hanging(("/data/1", "/data"), ("/home/catmaid", "/home"), ("/home/lab", "/home"))
    (finding,) = disks.judge(SITE, survey)
    assert (finding.level, finding.place) == ("fault", "disk")
    assert finding.what == "/home/catmaid gives catmaid-nginx no answer in time, and 1 more about /home"
    assert list(disks.judge(SITE, hanging(("/data/1", "/data")))) == []


def test_all_that_nginx_serves_by_itself_is_watched_over() -> None:
    files = {item.path: item.text for item in disks.wanted(SITE).items if isinstance(item, File)}
    instance, found = SITE.instances[0], json.loads(files[disks.PLACES])
    assert found["/run/nginx-disks/files-catmaid"] == [
        instance.static_alias,
        instance.extensions_folder,
        instance.files_folder,
    ]
    assert found["/run/nginx-disks/tiles-t-1"] == ["/data/1"]
    assert len(found) == 8


def test_the_watcher_is_started_where_it_is_off_or_older_than_its_files() -> None:
    there = {
        item.path: on_host(item.text) if isinstance(item, File) else on_host("", mode="755") | {"kind": "folder"}
        for item in disks.wanted(SITE).items
    }
    for found in there.values():
        found["time"] = 1000.0
    unit = {"active": True, "enabled": True, "since": 2000.0, "needs_daemon_reload": False}
    group = {"uid": 1, "groups": ["catmaid-nginx", *groups(SITE)]}
    survey = {"files": there, "manifest": {}, "as_it_came": {}, "accounts": {schema.NGINX_USER: group}}

    def change(**state: Any) -> tuple[list[str], list[str]]:
        one = disks.change(SITE, answers.survey(**survey, units={disks.SERVICE: unit | state, disks.PATH: unit}))
        assert one.differences == ()
        return [reason.brief for reason in one.reasons], one.set.service["restart"]

    assert change() == ([], [])
    assert change(active=False) == ([f"start {disks.SERVICE}"], [disks.SERVICE])
    assert change(since=900.0) == ([f"restart {disks.SERVICE}"], [disks.SERVICE])
    assert change(enabled=False) == ([f"enable {disks.SERVICE}"], [])
