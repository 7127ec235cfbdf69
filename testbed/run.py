"""Runs of pyinfra against test hosts, and applications put in place on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.hosts import BedHost
from testbed.images import ROOT

CHECKOUT = "/home/catmaid/catmaid-server"
VIRTUALENV = f"{CHECKOUT}/django/env"
PYINFRA = str(Path(sys.executable).parent / "pyinfra")


# What every run that changes something does beside it.
BOOKKEEPING = ["Take the host for this run", "Record what changed"]


@dataclass(frozen=True)
class Run:
    """How a run of pyinfra ended; ``changed`` has the names of the operations that changed something."""

    code: int
    report: dict[str, Any]
    text: str

    @property
    def changed(self) -> list[str]:
        results = self.report.get("results", {}).get("operations", [])
        return [op["name"] for op in results if op["success"]]

    @property
    def planned(self) -> list[str]:
        return [op["name"] for op in self.report.get("plan", []) if op["hosts_with_change"]]

    @property
    def changed_services(self) -> list[str]:
        """The sets of files that changed, or whose service had to take them."""
        return [name.removeprefix("Configuration: ") for name in self.changed if name not in BOOKKEEPING]

    @property
    def refusals(self) -> list[str]:
        """The lines of a refusal: they name the host first."""
        lines = [line.removeprefix("--> ") for line in self.text.splitlines()]
        return [line for line in lines if line.startswith("host: ")]


def pyinfra(
    host: BedHost | None,
    data: dict[str, Any],
    *options: str,
    before: str = "",
    deploy: str = "deploy.py",
    user: str = "root",
    env: dict[str, str] | None = None,
    cwd: Path = ROOT,
    more: dict[str, dict[str, Any]] | None = None,
    json_output: bool = True,
) -> Run:
    """Run the deploy against one host, called ``host``, as an admin would from a shell.

    ``before`` is a deploy file that is run before it, ``deploy`` one in its place; ``more`` are other hosts, by
    their names.
    """
    connection = host.ssh_data(user) if host else {}
    everything = {"host": connection | data} | (more or {})
    inventory = f"hosts = {list(everything.items())!r}\n"
    with tempfile.TemporaryDirectory(prefix="catmaid-deploy-") as folder:
        path = Path(folder) / "inventory.py"
        path.write_text(inventory)
        done = subprocess.run(
            [PYINFRA, *(["--json"] if json_output else []), *options, str(path), *([before] if before else []), deploy],
            cwd=cwd,
            # What a user's second run finds compiled is so here too.
            env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | (env or {}),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=900,
        )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = {}
    return Run(done.returncode, report, done.stderr + ("" if report else done.stdout))


def place_application(host: BedHost, checkout: str, prefix: str, user: str) -> None:
    """Put another copy of the stand-in in place, as CATMAID's installation page would.

    It shares the virtualenv, and has a virtual host of its own at the broker: on a shared one each worker
    would take the others' tasks.
    """
    vhost = checkout.rpartition("/")[2]
    host.run(
        f"""
        rabbitmqctl await_startup >/dev/null
        rabbitmqctl add_vhost {vhost} >/dev/null
        rabbitmqctl set_permissions -p {vhost} guest '.*' '.*' '.*' >/dev/null
        mkdir -p {checkout}
        tar -C {CHECKOUT} --exclude=./django/env --exclude=./django/files -c . | tar -C {checkout} -x
        cd {checkout}/django
        {VIRTUALENV}/bin/python create_configuration.py --prefix '{prefix}' --files {checkout}/django/files \
            --broker amqp://guest:guest@127.0.0.1:5672/{vhost}
        {VIRTUALENV}/bin/python projects/manage.py collectstatic --noinput --verbosity 0
        chown -R catmaid:catmaid {checkout}
        chown -R {user}:{user} files
        chown {user} projects/mysite/settings.py && chmod 640 projects/mysite/settings.py
        """
    )
