"""pyinfra's configuration, which it reads before it connects to the hosts."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click
from paramiko import SSHException
from pyinfra import logger, state
from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors.ssh_util import get_private_key

from catmaid_deploy.finding import Finding, fault

# pyinfra turns this off for inventories; this project's modules need not be compiled at each run.
sys.dont_write_bytecode = False

FAILURES = ("Could not connect", "SSH error", "Could not resolve hostname", "Authentication error", "EOF error")


class ConnectionHelp(logging.Filter):
    """Adds key and fix to pyinfra's line about a host that can't be reached; nothing has changed by then."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str) and any(failure in record.msg for failure in FAILURES):
            record.msg = (
                f"{record.msg.rstrip()}: log in by ssh as this machine's user does, and correct "
                "ssh_hostname, ssh_port, ssh_user or ssh_key in the inventory"
            )
        return True


def _inventory() -> str:
    return str(click.get_current_context().params["inventory"])


def _no_file() -> Iterator[Finding]:
    """A finding where the inventory can only be a file and isn't there: pyinfra would look it up as a host's name."""
    name = _inventory()
    if name.endswith(".py") and not Path(name).is_file():
        fix = "correct its path, or begin with a copy of inventories/prod.py"
        yield fault(name, "there is no such inventory", fix)


def _no_hosts() -> Iterator[Finding]:
    """A finding where there is no host to go to: pyinfra would do nothing and call that a success."""
    if not len(state.inventory):
        fix = "give it a list of them, hosts = [...], as inventories/prod.py does"
        yield fault(_inventory(), "it has no host", fix)
    elif not any(state.is_host_in_limit(host) for host in state.inventory):
        fix = "correct --limit or --exclude, which take names of hosts and groups of the inventory"
        yield fault(_inventory(), "no host is left", fix)


def _bad_keys() -> Iterator[Finding]:
    """A finding for each host whose ssh_key can't be used; pyinfra would show a traceback. It keeps those that can."""
    for host in state.inventory:
        key = host.data.get("ssh_key")
        if key and state.is_host_in_limit(host):
            try:
                get_private_key(state, key, host.data.get("ssh_key_password"))
            except (PyinfraError, SSHException, OSError) as error:
                fix = "give the path of the private key that you log in with"
                yield fault(f"{host.name}: ssh_key", str(error), fix)


def _make_known_hosts() -> None:
    """Make the file in which the keys of new hosts are noted, as ssh does: pyinfra reaches no host where it lacks."""
    with suppress(OSError, RuntimeError):
        file = Path("~/.ssh/known_hosts").expanduser()
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.touch(mode=0o600)


CHECKS = {"--> Loading inventory...": (_no_file,), "--> Connecting to hosts...": (_no_hosts, _bad_keys)}


class Checks(logging.Filter):
    """Ends a run that can't reach anything, before pyinfra's next step, with exit code 1."""

    def filter(self, record: logging.LogRecord) -> bool:
        faults = [found for check in CHECKS.get(str(record.msg), ()) for found in check()]
        if faults:
            raise SystemExit("\n".join(f"--> {found.line()}" for found in faults))
        return True


def _interrupted(*_: object) -> NoReturn:
    """Ctrl-C before the deploy itself is loaded, which has more to say: pyinfra would end with 0.

    At once: while hosts are reached, what is raised can end as the failure of a host.
    """
    click.echo("--> interrupted: nothing was changed on any host", err=True)
    os._exit(130)


_make_known_hosts()
signal.signal(signal.SIGINT, _interrupted)
# Without a handler Python prints tracebacks of paramiko's for each connection that breaks; pyinfra says what failed.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logger.addFilter(ConnectionHelp())
logger.addFilter(Checks())
