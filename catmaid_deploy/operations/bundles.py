"""Bundles, from which hosts are installed without the internet."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from pyinfra.api import Host, State, StringCommand, operation
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput

from catmaid_deploy.on_host.paths import BUNDLE
from catmaid_deploy.operations.jobs import Told, job


class Sent(StringCommand):
    """A file of this machine as root's on the host, in a folder that is root's alone."""

    def __init__(self, file: Path, target: str) -> None:
        super().__init__("/usr/bin/dd", f"of={target}", "bs=1M", "status=none")
        self.file, self.target = file, target

    def execute(self, state: State, host: Host, connector_arguments: Any) -> tuple[bool, CommandOutput]:
        connector_arguments.update(self.connector_arguments)
        if not isinstance(host.connector, SSHConnector):
            return bool(host.put_file(str(self.file), self.target, **connector_arguments)), CommandOutput([])
        connector_arguments["_stdin"] = self.file
        return host.run_shell_command(self, print_output=False, print_input=False, **connector_arguments)


@operation()
def brought(path: str, id: str, run: str) -> Generator[StringCommand]:
    """
    Send a bundle to the host, and unpack it there.

    + path: the bundle, on this machine
    + id: its digest, by which the host tells whether all of it came
    + run: the name of the run that holds the lock
    """
    yield Sent(Path(path).expanduser(), f"{BUNDLE}.tar")
    yield job({"do": "bundle", "run": run, "one": {"id": id}}, Told)
