"""What an admin gets wrong around an inventory, before any host is reached: one line, and exit code 1."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks import preflight
from tests.commands.inventories import ROOT

SITE = '{"server_name": "a.org", "instances": [{}]}'
CASES = {
    "no such file": (None, [], "INVENTORY: there is no such inventory: correct its path, or begin with a copy of"),
    "no list of hosts": ("host = 1", [], "INVENTORY: it has no host: give it a list of them, hosts = [...]"),
    "hosts of a wrong kind": ('hosts = [{"name": "a"}]', [], "INVENTORY: it has no host: give it a list of them"),
    "no such group": (
        f'hosts = [("@local", {{"site": {SITE}}})]',
        ["--limit", "web"],
        "INVENTORY: no host is left: correct --limit or --exclude, which take names of hosts and groups of the",
    ),
    "a key that is not there": (
        f'hosts = [("127.0.0.1", {{"ssh_key": "/none/key", "site": {SITE}}})]',
        [],
        "127.0.0.1: ssh_key: No such private key file: /none/key: give the path of the private key that you log in",
    ),
    "a key that is none": (
        f'hosts = [("127.0.0.1", {{"ssh_key": "{ROOT}/LICENSE", "site": {SITE}}})]',
        [],
        f"127.0.0.1: ssh_key: Invalid private key file: {ROOT}/LICENSE: give the path",
    ),
    "no site": ('hosts = ["@local"]', [], "@local: site: missing: describe the site in the inventory"),
    "a key misspelt": (
        f'hosts = [("@local", {{"sudo": True, "stie": {SITE}}})]',
        [],
        "@local: stie: unknown key; did you mean 'site'?\n--> @local: sudo: unknown key; did you mean '_sudo'?",
    ),
    "a secret that is not there": (
        "from catmaid_deploy import secret\nhosts = [secret.from_environment('LAB_NOT_SET')]",
        [],
        "INVENTORY, line 2: the environment variable LAB_NOT_SET isn't set: give it in the shell",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said(case: str, tmp_path: Path) -> None:
    text, options, says = CASES[case]
    inventory = tmp_path / "lab.py"
    if text is not None:
        inventory.write_text(text)
    words = [sys.executable, "-m", "pyinfra", "-y", *options, str(inventory), "deploy.py"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1, done.stderr
    last_step = ["--> Disconnecting from hosts...", "--> Loading inventory...", "--> Loading config..."]
    said = next(done.stderr.partition(step)[2] for step in last_step if step in done.stderr)
    assert said.strip().startswith(f"--> {says.replace('INVENTORY', str(inventory))}"), done.stderr
    assert len(said.strip().splitlines()) == says.count("\n") + 1
    assert "Traceback" not in done.stderr


def test_a_labs_own_keys_are_let_through() -> None:
    own = {"site": {}, "rack": 3, "size": 2, "env": "test", "sites_before": 1, "_sudo_user": "root", "ssh_user": "a"}
    assert preflight.misspelt(own) == []
    (finding,) = preflight.misspelt({"sites": [], "ssh_usr": "a"})
    assert finding.line() == "ssh_usr: unknown key; did you mean 'ssh_user'?"
