"""The inventories that admins begin with: as pyinfra loads them, each host's data are valid, also what is off."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catmaid_deploy import schema, secret
from catmaid_deploy.run import hosts
from tests.commands.inventories import ROOT, debug_inventory

INVENTORIES = ROOT / "inventories"
HASH = "$6$abcdefgh$" + "a" * 86
VALUE = "correct horse"
# What is off in a model: a key, or a dictionary of a list.
OFF = re.compile(r"^( *)# (?=[\"{])", re.MULTILINE)


def load(path: Path) -> dict[str, Any]:
    """The hosts of an inventory with their groups and data."""
    return {one["name"]: one for one in json.loads(debug_inventory(path, "--json"))}


def check(data: dict[str, Any]) -> schema.Deployment:
    """The description of a host, if it is valid and has no key that nobody knows."""
    assert set(data) <= {*hosts.KEYS, *hosts.PYINFRAS}
    return schema.load(data.get("site"), data.get("sites"))


def run_text(text: str) -> Iterator[dict[str, Any]]:
    """The data of the hosts in an inventory's text."""
    found: dict[str, Any] = {}
    exec(text, found)  # noqa: S102
    return (data for _, data in found["hosts"])


def test_prod_as_it_is() -> None:
    hosts = load(INVENTORIES / "prod.py")
    assert list(hosts) == ["catmaid.example.org"]
    (one,) = hosts.values()
    assert set(one["groups"]) == {"hosts", "prod"}
    deployment = check(one["data"])
    assert deployment.urls == ["https://catmaid.example.org/catmaid/"]
    (instance,) = deployment.instances
    assert None not in (instance.made_python, instance.made_database, instance.made_broker, instance.made_settings)


def test_what_is_off_in_prod_holds_when_it_is_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (INVENTORIES / "prod.py").read_text()
    places = [match.start() for match in OFF.finditer(text)]
    assert len(places) >= 8
    # What its secrets come from.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    secret._output.cache_clear()
    for name, content in (("pass", "#!/bin/sh\necho secret\n"), (".lab/alice", HASH), ("db", "x" * 20)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o700)
    plain = list(run_text(text))
    for place in places:
        line = OFF.sub(r"\1", text[place:].partition("\n")[0])
        data = list(run_text(text[:place] + OFF.sub(r"\1", text[place:], count=1)))
        assert data != plain, line
        for one in data:
            check(one)
    for one in run_text(OFF.sub(r"\1", text)):
        assert check(one).sites[0].passwords == {"alice": HASH}


def test_each_line_of_prod_is_explained() -> None:
    for line in (INVENTORIES / "prod.py").read_text().splitlines():
        bare = line.strip().removeprefix("# ")
        if re.match(r'"\w+": (?![\[{]$)', bare):
            assert "  # " in bare, line
        assert len(line) <= 120


def test_cluster() -> None:
    hosts = load(INVENTORIES / "cluster.py")
    deployments = {name: check(one["data"]) for name, one in hosts.items()}
    assert [set(one["groups"]) for one in hosts.values()] == [{"public", "cluster"}] * 2 + [{"internal", "cluster"}]
    first, second, trial = (one["data"] for one in hosts.values())
    # A group's value holds for its hosts, and a host's own goes before it.
    assert (first["ssh_user"], second["ssh_user"], trial["ssh_user"]) == ("admin", "admin", "root")
    assert ("ssh_port" in first, second["ssh_port"], "_sudo" in trial) == (False, 2222, False)
    instances = {name: [(i.name, i.workers, i.user) for i in one.instances] for name, one in deployments.items()}
    assert instances == {
        "catmaid1.example.org": [("catmaid", 8, "catmaid"), ("catmaid-larva", 4, "catmaid")],
        "catmaid2.example.org": [("catmaid-fafb", 8, "catmaid")],
        "trial.example.org": [("catmaid", 2, "www-data")],
    }
    names = [site.server_name for one in deployments.values() for site in one.sites]
    assert len(set(names)) == len(names) == 4


def test_group_data_beside_the_inventory(tmp_path: Path) -> None:
    """A lab may also put them into files; inventories/group_data/NAME.py is for the hosts of inventories/NAME.py."""
    inventories = tmp_path / "inventories"
    shutil.copytree(INVENTORIES, inventories)
    (inventories / "group_data").mkdir()
    (inventories / "group_data/cluster.py").write_text("ssh_port = 22022\n")
    (inventories / "group_data/internal.py").write_text("ssh_key = '~/.ssh/internal'\n")
    hosts = load(inventories / "cluster.py")
    assert [one["data"].get("ssh_port") for one in hosts.values()] == [22022, 2222, 22022]
    assert [one["data"].get("ssh_key") for one in hosts.values()] == [None, None, "~/.ssh/internal"]
    (prod,) = load(inventories / "prod.py").values()
    assert "ssh_port" not in prod["data"]


@pytest.mark.parametrize("options", [["--json"], ["--debug", "-vvv"], ["--debug-all"]])
def test_no_secret_is_printed(tmp_path: Path, options: list[str]) -> None:
    """Group data is what pyinfra prints under --debug, and all data are what debug-inventory does."""
    (tmp_path / "lab.py").write_text('hosts = ["a.example.org"]\n')
    (tmp_path / "group_data").mkdir()
    text = f"from catmaid_deploy import secret\nsudo_password = secret.from_command('echo', {VALUE!r})\n"
    (tmp_path / "group_data" / "lab.py").write_text(text)
    shown = debug_inventory(tmp_path / "lab.py", *options)
    assert VALUE not in shown
    assert shown.count("*MASKED*") == (1 if options == ["--json"] else 2)
