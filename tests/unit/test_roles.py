"""What a host gets follows from what its description has."""

from __future__ import annotations

from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.file_sets import compare
from catmaid_deploy.finding import Refused
from catmaid_deploy.on_host.facts.nginx import CONFIGURATION
from catmaid_deploy.on_host.facts.units import WANTED
from catmaid_deploy.plan.look import Look
from catmaid_deploy.run import preflight
from catmaid_deploy.tasks import last_word, packages, system
from catmaid_deploy.tasks.nginx import passwords
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.programs import supervisor_file
from catmaid_deploy.tasks.tiles import disks
from testbed.order import TASKS
from tests import answers

TILES = {"name": "em", "url": "/em", "folder": "/data/em"}
ALONE = {"server_name": "tiles.org", "tiles": [TILES]}
WITH_CATMAID = ALONE | {"instances": [{}]}
BARE = answers.survey(
    os={"id": "debian", "version": "12"}, packages={}, files={}, manifest={}, units={}, instances={}, accounts={}
)


def bare(**more: Any) -> Survey:
    """A bare host that has this beside."""
    return answers.survey(**{**BARE, **more})


@pytest.mark.parametrize(
    ("site", "units", "has_supervisor"),
    [(ALONE, ["nginx.service"], False), (WITH_CATMAID, ["nginx.service", "supervisor.service"], True)],
    ids=["tiles alone", "an instance"],
)
def test_a_host_with_tiles_alone_has_no_supervisor(
    site: dict[str, Any], units: list[str], has_supervisor: bool
) -> None:
    deployment = schema.load(site)
    assert system.units(deployment) == units
    assert {"nginx", "logrotate", "openssl"} <= set(packages.wanted(Look(deployment, BARE)))
    assert ("supervisor" in packages.wanted(Look(deployment, BARE))) is has_supervisor
    assert ("supervisor.service" in last_word.question(deployment)["units"]) is has_supervisor
    assert ("supervisor.service" in system.question(deployment)["units"]) is has_supervisor
    paths = [item.path for item in system.wanted(deployment).items]
    of_programs = [system.TMPFILES, system.LOGROTATE, "/etc/systemd/system/supervisor.service.d/catmaid.conf"]
    assert [path in paths for path in of_programs] == [has_supervisor] * 3
    checks = [word for check in system.wanted(deployment).checks for word in check]
    assert ("supervisor.service" in checks) is ("systemd-tmpfiles" in checks) is has_supervisor


def test_what_was_for_supervisor_goes_with_the_last_instance() -> None:
    before, now = (system.wanted(schema.load(site)) for site in (WITH_CATMAID, ALONE))
    paths = [item.path for item in before.items if not getattr(item, "data", False)]
    file = {"kind": "file", "text": "", "sha256": "", "user": "root", "group": "root", "mode": "644"}
    there = dict.fromkeys(paths, file)
    differences = compare(now, bare(files=there, manifest={"system": dict.fromkeys(paths, "")}))
    drop_in = "/etc/systemd/system/supervisor.service.d"
    gone = {drop_in, f"{drop_in}/catmaid.conf", system.TMPFILES, system.LOGROTATE}
    assert {one.path for one in differences if one.what == "remove"} == gone


def test_a_supervisor_that_is_anothers_is_not_judged() -> None:
    """An admin's own beside tiles may be as it likes; one with programs of the deploy's has to take orders."""
    file = {"problem": ["it has no socket", "give it one"], "is_controlled": False, "of_others": [["/x", "ada"]]}
    survey = bare(supervisor_file=file)
    assert [*supervisor_file.judge(survey), *supervisor_file.warn(survey)] == []
    has: tuple[dict[str, Any], ...]
    has = ({"instances": {"catmaid": {}}}, {"manifest": {"programs of catmaid": {}}})
    for needed in has:
        assert [one.place for one in supervisor_file.judge(bare(supervisor_file=file, **needed))] == ["supervisor"]
        assert len(list(supervisor_file.warn(bare(supervisor_file=file, **needed)))) == 2


def test_a_host_without_sites_has_nothing_to_serve_with() -> None:
    deployment = schema.load(sites=[])
    assert (system.units(deployment), deployment.ports, deployment.urls) == ([], [], [])
    assert preflight.packages(TASKS, Look(deployment, BARE)) == []
    assert [one.name for one in preflight.wanted_sets(TASKS, deployment)] == ["system"]
    assert [item.path for item in system.wanted(deployment).items] == ["/etc/catmaid"]
    assert system.wanted(deployment).checks == ()
    asked = last_word.question(deployment)
    assert {key: asked[key] for key in ("pages", "programs", "units", "sites", "ports")} == {
        "pages": [],
        "programs": [],
        "units": [],
        "sites": [],
        "ports": [],
    }


def test_no_site_at_all_has_to_be_said() -> None:
    """A key that is forgotten, or misspelt, is no host without sites."""
    with pytest.raises(schema.InvalidSite) as caught:
        schema.load()
    assert caught.value.lines == ["site: missing: describe the site in the inventory, as inventories/prod.py does"]


def test_what_was_for_nginx_goes_with_the_last_site() -> None:
    """But for nginx.conf: without it nginx wouldn't start, and others may have sites there."""
    site = "/etc/nginx/sites-available/catmaid-a.org.conf"
    there = {path: {"kind": "file", "text": ""} for path in (CONFIGURATION, site, passwords.KEY)}
    change = nginx.removal(bare(files=there, manifest={"nginx": dict.fromkeys((CONFIGURATION, site), "")}))
    assert change.summary == [
        f"remove {site}",
        f"remove {passwords.KEY}",
        "take the sites from nginx: none is left in the inventory",
    ]
    assert change.set.service["digest"] is None
    watcher = disks.removal(bare(files={disks.WATCH: there[site]}, manifest={"disks": {disks.WATCH: ""}}))
    links = [f"{WANTED}/{unit}" for unit in disks.UNITS]
    assert watcher.gone == [disks.WATCH, *links]
    assert watcher.set.service["stop"] == list(disks.UNITS)


# ---- what one host has to know of another ----

GUARDED = TILES | {"passwords": {"ada": "$2y$05$abcdefghijklmnopqrstuuIY3wnXlz0pYzJ1Jb0vEyA1MqQ1SgO5K"}}
TILE_SERVER = {"site": ALONE | {"tiles": [GUARDED]}}
CATMAID = {"site": {"server_name": "catmaid.org", "aliases": ["tracing.org"], "instances": [{}]}}


def load_all(**hosts: dict[str, Any]) -> dict[str, schema.Deployment | schema.InvalidSite]:
    return schema.load_all(hosts)


def origins_of_tiles(deployment: schema.Deployment | schema.InvalidSite) -> tuple[str, ...]:
    assert isinstance(deployment, schema.Deployment)
    cors = nginx.cors_of(deployment, deployment.sites[0], deployment.tiles[0])
    assert cors
    return cors.origins


def test_tiles_with_a_password_know_the_pages_of_other_hosts() -> None:
    alone, among = load_all(tiles=TILE_SERVER), load_all(zebra={"sites": []}, tiles=TILE_SERVER, catmaid=CATMAID)
    assert origins_of_tiles(alone["tiles"]) == ("https://tiles.org",)
    assert origins_of_tiles(among["tiles"]) == ("https://tiles.org", "https://catmaid.org", "https://tracing.org")
    # Whatever changes a copy, as the maintenance page's own words do.
    assert isinstance(among["tiles"], schema.Deployment)
    assert set(among["tiles"].model_copy(update={"proxy": None}).others) == {"zebra", "catmaid"}


def test_what_a_host_has_to_know_of_one_that_is_described_wrong() -> None:
    """It is refused only where it has to know of that; a host that the inventory says nothing of is another's."""
    wrong = {"site": {"server_name": "catmaid.org", "instance": []}}
    found = load_all(tiles=TILE_SERVER, catmaid=wrong, plain={"site": ALONE}, printer={})
    with pytest.raises(Refused) as caught:
        origins_of_tiles(found["tiles"])
    assert [one.line("tiles") for one in caught.value.findings] == [
        "tiles: catmaid: site.instance: unknown key; did you mean 'instances'?"
    ]
    assert origins_of_tiles(found["plain"]) == ("*",)
    for name, says in (("catmaid", "did you mean 'instances'?"), ("printer", "missing")):
        described = found[name]
        assert isinstance(described, schema.InvalidSite)
        assert says in described.lines[0]
