"""Runs of the deploy as the bench needs them: against several hosts, and counted."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catmaid_deploy import schema
from catmaid_deploy.answers.survey import Surveyed
from catmaid_deploy.facts.survey import Survey
from catmaid_deploy.run import preflight
from testbed.hosts import BedHost
from testbed.images import ROOT, say
from testbed.order import TASKS
from testbed.peers import script
from testbed.podman import BedError
from testbed.run import PYINFRA, Run

# What catmaid_deploy.shell says of each.
_COMMAND = "Running on "


def deploy(
    hosts: Sequence[BedHost],
    site: dict[str, Any],
    *options: str,
    runbook: str = "deploy.py",
    ends: tuple[int, ...] = (0,),
) -> Run:
    """Deploy one site to all hosts in one run, as an admin would from a shell; or run another runbook for it.

    Raises BedError when it ends with another exit code than one of ``ends``.
    """
    inventory = [(f"host{number}", host.ssh_data() | {"site": site}) for number, host in enumerate(hosts, 1)]
    with tempfile.TemporaryDirectory(prefix="catmaid-deploy-") as folder:
        path = Path(folder) / "inventory.py"
        path.write_text(f"hosts = {inventory!r}\n")
        words = [PYINFRA, "--json", "-y", *options, str(path), runbook]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode not in ends:
        # Not the addresses, of which there may be hundreds.
        said = "\n".join(line for line in done.stderr.splitlines() if "] serves " not in line)
        raise BedError(f"the deploy to {len(hosts)} hosts failed:\n{said[-4000:]}")
    return Run(done.returncode, json.loads(done.stdout), done.stderr)


def unchanged(hosts: Sequence[BedHost], site: dict[str, Any], *options: str) -> Run:
    """A run that has nothing to do.

    Raises BedError when it changed anything: then it is not the run that the bench means.
    """
    run = deploy(hosts, site, *options)
    if run.changed:
        raise BedError(f"a run without changes has changed: {', '.join(run.changed)}")
    return run


def settle(hosts: Sequence[BedHost], site: dict[str, Any]) -> list[str]:
    """Deploy until there is nothing left to do; returns what the second run changed, which should be nothing."""
    deploy(hosts, site)
    late = deploy(hosts, site).changed_services
    if late:
        say(f"    the second run still changed: {', '.join(late)}")
        unchanged(hosts, site)
    return late


def survey(host: BedHost, deployment: schema.Deployment) -> Surveyed:
    """What a host says of itself, as a deploy asks it."""
    question = json.dumps(preflight.question(TASKS, deployment, preflight.wanted_sets(TASKS, deployment)))
    found: Surveyed = json.loads(script.ssh(host, Survey().command(question).get_raw_value()))
    return found


def commands(host: BedHost, site: dict[str, Any], *options: str) -> int:
    """How many commands a run without changes sends to the host, by pyinfra's own account."""
    return unchanged([host], site, "--debug", *options).text.count(_COMMAND)
