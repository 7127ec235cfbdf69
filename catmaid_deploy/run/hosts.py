"""All hosts of a run: their descriptions in the inventory, and their answers, asked in parallel."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from functools import cache
from typing import Any, TypeVar

import gevent
from pyinfra import host, state
from pyinfra.api import Host
from pyinfra.api.arguments import all_global_arguments
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.context import ctx_config, ctx_host

from catmaid_deploy import schema
from catmaid_deploy.finding import Finding, Refused, fault
from catmaid_deploy.plan import report as reports
from catmaid_deploy.schema import Deployment, Instance

T = TypeVar("T")

# What a host's description has, and what pyinfra takes beside that.
BESIDE = [key for (key,) in schema.BESIDE]
KEYS = ["site", "sites", *BESIDE, "sudo_password", "_sudo", *SSHConnector.data_cls.__annotations__]
PYINFRAS = {name for name, _ in all_global_arguments()}


def misspelt(data: Collection[str]) -> list[Finding]:
    """Keys that are nearly one which isn't given. Any other is the lab's own."""
    given = set(data) | ({"site", "sites"} if {"site", "sites"} & set(data) else set())
    absent = [key for key in KEYS if key not in given]
    found = []
    for key in sorted(set(data) - set(KEYS) - PYINFRAS):
        close = difflib.get_close_matches(str(key), absent, n=1, cutoff=0.75)
        found += [fault(str(key), f"unknown key; did you mean {name!r}?") for name in close]
    return found


@cache
def inventory() -> dict[str, Deployment | schema.InvalidSite]:
    """What the inventory says of all its hosts, also of those that this run leaves out: what one of them gets is the
    same whichever it takes.
    """
    keys = ("site", "sites", *BESIDE)
    return schema.load_all(
        {one.name: {key: said for key in keys if (said := one.data.get(key)) is not None} for one in state.inventory}
    )


def validate(one: Host) -> tuple[Deployment | None, list[Finding]]:
    """What an inventory describes for a host, or the faults of the description."""
    faults = misspelt(one.data.dict())  # type: ignore[no-untyped-call]
    described = inventory()[one.name]
    if isinstance(described, schema.InvalidSite):
        # A site that is there under another name isn't missing.
        return None, faults + [found for found in described.findings if not (faults and found.what == "missing")]
    return (None if faults else described), faults


def each(deployments: dict[Host, Deployment], look: Callable[[Deployment], T]) -> dict[Host, T | Refused]:
    """What ``look`` finds on each host, all side by side; Refused where it can't be asked."""

    def one_of(one: Host, deployment: Deployment) -> T | Refused:
        with ctx_config.use(state.config.copy()), ctx_host.use(one):
            try:
                return look(deployment)
            except Refused as refused:
                return refused

    asked = {one: gevent.spawn(one_of, one, deployment) for one, deployment in deployments.items()}
    return {one: greenlet.get() for one, greenlet in asked.items()}


def described(hosts: list[Host]) -> tuple[dict[Host, Deployment], dict[str, list[Finding]]]:
    """What the inventory says of each host, and what is wrong with it where it says it wrong or isn't reached."""
    deployments: dict[Host, Deployment] = {}
    # pyinfra goes on without a host that it can't reach, and has said why.
    faults = {
        one.name: [
            fault("ssh_hostname", "not reached, see above", f"correct that, or leave it out with --exclude {one.name}")
        ]
        for one in sorted(state.failed_hosts, key=lambda one: one.name)
    }
    for one in sorted(hosts, key=lambda one: one.name):
        deployment, wrong = validate(one)
        if deployment:
            deployments[one] = deployment
        else:
            faults[one.name] = wrong
    return deployments, faults


def refusal(faults: list[tuple[str, Finding]]) -> SystemExit:
    """What ends a run with exit code 1 and a line for each fault, which is one of a host."""
    reports.refused(faults)
    return SystemExit("\n".join(f"--> {found.line(name)}" for name, found in faults))


def options(*known: str) -> None:
    """End the run with exit code 1 and a line for each name given with --data that a runbook doesn't know.

    pyinfra would add it to what the inventory says, where nobody reads it: all hosts or instances would be meant.
    """
    faults = []
    for name in sorted(set(state.inventory.override_data) - {*known, *SSHConnector.data_cls.__annotations__}):
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        fix = f"did you mean {close[0]}?" if close else takes
        faults.append(fault(f"--data {name}", "this runbook doesn't know it", fix))
    if faults:
        raise refusal([("", found) for found in faults])


def one_instance(deployment: Deployment) -> Instance | None:
    """The instance that --data instance=NAME names; None where all of the current host are meant. Ends the run with
    exit code 1 and a line where there is no such one.
    """
    name = host.data.get("instance")
    if name is None:
        return None
    found = next((one for one in deployment.instances if one.name == str(name)), None)
    if found is None:
        known = ", ".join(one.name for one in deployment.instances)
        fix = (
            f"give one of {known}, or none for all of the host" if known else "leave it out: this host has no instance"
        )
        raise refusal([(host.name, fault("instance", f"there is no {str(name)!r}", fix))])
    return found


_first: Any = None


def for_all() -> list[Host]:
    """All hosts of the run, for a runbook that looks at them, shows what it saw and ends the run.

    pyinfra runs a runbook once a host, side by side: the host whose turn comes first does it for all of them, and the
    turns of the others wait for its end.
    """
    global _first
    if _first is None:
        _first = gevent.getcurrent()
        return list(state.inventory.get_active_hosts())
    code: Any = 1
    if isinstance(_first, gevent.Greenlet):
        _first.join()
        code = getattr(_first.exception, "code", 1)
    # pyinfra ends with the code of whichever turn ends last.
    raise SystemExit(code)
