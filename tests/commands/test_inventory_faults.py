"""What an admin gets wrong around an inventory, before any host is reached: one line, and exit code 1."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from catmaid_deploy.run import hosts
from tests.commands.inventories import ROOT

SITE = '{"server_name": "a.org", "instances": [{}]}'
WRONG = "correct it; see inventories/prod.py of the deploy for one that is right"
CASES: dict[str, tuple[str | bytes | None, list[str], str]] = {
    "no such file": (None, [], "INVENTORY: there is no such inventory: correct its path, or begin with a copy of"),
    "no list of hosts": ("host = 1", [], "INVENTORY: it has no host: give it a list of them, hosts = [...]"),
    "hosts of a wrong kind": ('hosts = [{"name": "a"}]', [], "INVENTORY: it has no host: give it a list of them"),
    "no such group": (
        f'hosts = [("@local", {{"site": {SITE}}})]',
        ["--limit", "web"],
        "INVENTORY: no host is left: correct what --limit or --exclude names: hosts and groups of the",
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
    "a key with a passphrase": (
        'hosts = [("127.0.0.1", {"ssh_key": "FOLDER/key", "site": {}})]',
        [],
        "127.0.0.1: ssh_key: FOLDER/key has a passphrase, and no terminal to ask for it; leave ssh_key out, for an "
        'agent: on this machine: eval "$(ssh-agent)" && ssh-add FOLDER/key',
    ),
    "an import that is not there": (
        "import os\nimport labs_own",
        [],
        "INVENTORY, line 2: ModuleNotFoundError: No module named 'labs_own': correct the name, or install",
    ),
    "a bracket too few": ("\nhosts = [", [], f"INVENTORY, line 2: '[' was never closed: {WRONG}"),
    "a mistake in a function": (
        "def hosts_of():\n    return {}['web']\n\nhosts = hosts_of()",
        [],
        f"INVENTORY, line 2: KeyError: 'web': {WRONG}",
    ),
    "a mistake beside it": (
        "import rack",
        [],
        f"FOLDER/rack.py, line 3: ZeroDivisionError: division by zero: {WRONG}",
    ),
    "a mistake in its group's data": (
        "hosts = ['127.0.0.1']",
        [],
        f"FOLDER/group_data/all.py, line 1: NameError: name 'true' is not defined: {WRONG}",
    ),
    "a host of a wrong kind": (
        "hosts = [('a', 5)]",
        [],
        f"INVENTORY: TypeError: 'int' object is not iterable: {WRONG}",
    ),
    "a port that is a text": (
        "hosts = [('a', {'ssh_port': '22'})]",
        [],
        f"INVENTORY: Invalid connector data `ssh_port`:: str is not an instance of int: {WRONG}",
    ),
    "a connector that is not there": ("hosts = ['@nix/a']", [], f"INVENTORY: Invalid connector: nix: {WRONG}"),
    "not a text": (b"\xff\xfe", [], "INVENTORY: UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff"),
    "a secret that is not there": (
        "from catmaid_deploy import secret\nhosts = [secret.from_environment('LAB_NOT_SET')]",
        [],
        "INVENTORY, line 2: the environment variable LAB_NOT_SET isn't set: give it in the shell",
    ),
}


def begin(folder: Path, *words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run pyinfra where no terminal is, as a scheduler does."""
    return subprocess.run(
        [sys.executable, "-m", "pyinfra", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.row_34
@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_what_is_said(case: str, elsewhere: bool, tmp_path: Path) -> None:
    text, options, says = CASES[case]
    inventory = tmp_path / "lab.py"
    if isinstance(text, bytes):
        inventory.write_bytes(text)
    elif text is not None:
        inventory.write_text(text.replace("FOLDER", str(tmp_path)))
    (tmp_path / "rack.py").write_text("# How many hosts there are.\n\n1 / 0\n")
    if "group" in case and "data" in case:
        (tmp_path / "group_data").mkdir()
        (tmp_path / "group_data/all.py").write_text("raid = true\n")
    if "passphrase" in case:
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "battery", "-f", str(tmp_path / "key")]
        subprocess.run(words, check=True)
    folder = tmp_path / "elsewhere" if elsewhere else ROOT
    folder.mkdir(exist_ok=True)
    done = begin(tmp_path, "-y", *options, str(inventory), str(ROOT / "deploy.py"), cwd=folder)
    assert done.returncode == 1, done.stderr
    last_step = ["--> Disconnecting from hosts...", "--> Loading inventory...", "--> Loading config..."]
    said = next(done.stderr.partition(step)[2] for step in last_step if step in done.stderr)
    says = says.replace("INVENTORY", str(inventory)).replace("FOLDER", str(tmp_path))
    assert said.strip().startswith(f"--> {says}"), done.stderr
    assert len(said.strip().splitlines()) == says.count("\n") + 1
    assert "Traceback" not in done.stderr


@pytest.mark.row_34
@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-", ">&- 2>&- <&-"])
def test_a_stream_that_is_closed(stream: str, tmp_path: Path) -> None:
    """As schedulers have it."""
    inventory = tmp_path / "lab.py"
    inventory.write_text("hosts = []")
    line = f"exec {shlex.quote(sys.executable)} -m pyinfra -y {inventory} {ROOT}/deploy.py {stream}"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    if "2>" not in stream:
        assert "it has no host" in done.stderr


@pytest.mark.row_34
def test_a_reader_that_has_ended(tmp_path: Path) -> None:
    """pyinfra ... 2>&1 | head -1: the run goes on to its end, and that tells its code."""
    inventory, deploy = tmp_path / "lab.py", tmp_path / "deploy.py"
    inventory.write_text("hosts = ['@local']")
    deploy.write_text(
        f"from pyinfra.operations import server\nserver.shell(commands=['sleep 1', 'echo done > {tmp_path}/done'])\n"
    )
    line = f"{{ {shlex.quote(sys.executable)} -m pyinfra -y {inventory} {deploy}; echo $? > code; }} 2>&1 | head -1"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "--> Loading config...\n"
    assert (tmp_path / "done").read_text() == "done\n"
    assert (tmp_path / "code").read_text() == "0\n"


def test_a_labs_own_keys_are_let_through() -> None:
    own = {"site": {}, "rack": 3, "size": 2, "env": "test", "sites_before": 1, "_sudo_user": "root", "ssh_user": "a"}
    assert hosts.misspelt(own) == []
    (finding,) = hosts.misspelt({"sites": [], "ssh_usr": "a"})
    assert finding.line() == "ssh_usr: unknown key; did you mean 'ssh_user'?"
