"""What is checked before a run connects to a host. Importing this module makes pyinfra report faults in one line.

It is imported by `config.py`, by an installed deploy in each run of pyinfra (`catmaid_deploy.start`), and at last by
the deploy itself.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial, partialmethod
from pathlib import Path
from typing import Any, NoReturn

import click
from paramiko import SSHException
from pyinfra import logger, state
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import StateStage
from pyinfra.connectors import ssh_util
from pyinfra.context import ctx_state
from pyinfra_cli import cli, exceptions  # type: ignore[import-untyped]

from catmaid_deploy import command_line
from catmaid_deploy.escape import one_line
from catmaid_deploy.finding import HERE, Command, Finding, fault

# pyinfra turns this off for inventories; this project's modules need not be compiled at each run.
sys.dont_write_bytecode = False

FAILURES = ("Could not connect", "SSH error", "Could not resolve hostname", "Authentication error", "EOF error")
_INVENTORIES: list[str] = ["inventory"]
EXAMPLE = "see inventories/prod.py of the deploy for one that is right"


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
    """The inventory as it was typed. Kept, since pyinfra says some of what is wrong when click has left the command."""
    context = click.get_current_context(silent=True)
    if context is not None:
        _INVENTORIES.append(str(context.params["inventory"]))
    return _INVENTORIES[-1]


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
        fix = "correct what --limit or --exclude names: hosts and groups of the inventory"
        yield fault(_inventory(), "no host is left", fix)


def _bad_keys() -> Iterator[Finding]:
    """A finding for each host whose ssh_key can't be used; pyinfra would show a traceback. It keeps those that can."""
    for host in state.inventory:
        key = host.data.get("ssh_key")
        if not key or not state.is_host_in_limit(host):
            continue
        place = f"{host.name}: ssh_key"
        try:
            ssh_util.get_private_key(state, key, host.data.get("ssh_key_password"))
        except EOFError:
            what = f"{key} has a passphrase, and no terminal to ask for it; leave ssh_key out, for an agent"
            fix = Command('eval "$(ssh-agent)" && ssh-add ' + shlex.quote(key), HERE)
            yield fault(place, what, fix)
        except (PyinfraError, SSHException, OSError) as error:
            yield fault(place, str(error), "give the path of the private key that you log in with")


def _passphrase(pyinfras: Callable[[str], str], question: str) -> str:
    """pyinfra's question for a key's passphrase, where there is somebody to answer it."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        raise EOFError(question) from None
    return pyinfras(question)


def _make_known_hosts() -> None:
    """Make the file in which the keys of new hosts are noted, as ssh does; without it pyinfra reaches no host."""
    with suppress(OSError, RuntimeError):
        file = Path("~/.ssh/known_hosts").expanduser()
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.touch(mode=0o600)


def _let_go() -> Iterator[Finding]:
    """The deploy that is loaded next brings its own modules, which may be of another version than those installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == __package__]:
        del sys.modules[name]
    yield from ()


CHECKS: dict[str, tuple[Callable[[], Iterator[Finding]], ...]] = {
    "--> Loading inventory...": (_no_file,),
    "--> Connecting to hosts...": (_no_hosts, _bad_keys),
    "--> Preparing operation files...": (_let_go,),
}


class Checks(logging.Filter):
    """Ends a run that can't reach anything, before pyinfra's next step, with exit code 1."""

    is_of_catmaid_deploy = True

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


def unreadable(error: BaseException, inventory: str) -> Finding:
    """An inventory that can't be read, with the file and line of it, or of a file beside it, where that ends."""
    folder = Path(inventory).resolve().parent
    own = [
        (frame.filename, frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_file()
        and Path(frame.filename).resolve().is_relative_to(folder)
        and "site-packages" not in frame.filename
    ]
    if isinstance(error, SyntaxError) and error.filename:
        own.append((error.filename, error.lineno))
        what = error.msg
    else:
        said = one_line(str(error))
        name = "" if isinstance(error, PyinfraError) else type(error).__name__
        what = ": ".join(part for part in (name, said) if part)
    place, number = own[-1] if own else (inventory, None)
    fix = f"correct it; {EXAMPLE}"
    if isinstance(error, ModuleNotFoundError):
        fix = "correct the name, or install what it is in into the virtualenv that pyinfra runs in"
        if error.name == "catmaid_deploy":
            root = Path(__file__).resolve().parent.parent
            fix = str(Command(f"{shlex.quote(sys.executable)} -m pip install -e {shlex.quote(str(root))}", HERE))
    return fault(f"{place}, line {number}" if number else place, what, fix)


def _show(error: Any, pyinfras: Callable[..., None], file: Any = None) -> None:
    """What pyinfra says of an exception. Until the inventory is read that is the inventory's, and one line says it."""
    if ctx_state.isset() and not state.initialised:  # type: ignore[no-untyped-call]
        logger.error(f"--> {unreadable(error.exception, _inventory()).line()}")
    else:
        pyinfras(error, file)


def _changes() -> bool:
    """Whether there is an operation that would change something on a host."""
    return any(state.get_meta_for_host(host).ops_change for host in state.inventory.get_active_hosts())


def _confirm(pyinfras: Callable[[str], bool], message: str) -> bool:
    """pyinfra's question whether to go on: not asked where there is nothing to do.

    Raises SystemExit with what to type where nobody is there to answer whether to begin.
    """
    begins = state.current_stage == StateStage.Prepare
    if begins and not _changes():
        return True
    try:
        return pyinfras(message)
    except EOFError:
        click.echo(err=True)
    if begins:
        words = shlex.join([*sys.argv[1:], "-y"])
        raise SystemExit(f"--> not done, since there is no terminal to confirm it at: {command_line.pyinfra()} {words}")
    return False


def _replace(of: Any, name: str, own: Callable[..., Any]) -> None:
    """Have pyinfra call a function of ours, which gets pyinfra's as its first argument."""
    if not hasattr(of, name):
        raise SystemExit(f"--> this pyinfra has no {name}: install that of requirements.txt")
    setattr(of, name, partial(own, getattr(of, name)))


def _begin() -> None:
    for kind in (exceptions.UnexpectedExternalError, exceptions.UnexpectedInternalError, exceptions.WrappedError):
        kind.show = partialmethod(_show, kind.show)
    _replace(cli, "_do_confirm", _confirm)
    _replace(ssh_util, "getpass", _passphrase)
    _make_known_hosts()
    signal.signal(signal.SIGINT, _interrupted)
    # Without a handler Python prints a traceback of paramiko's for each connection that breaks; pyinfra says it.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    logger.addFilter(ConnectionHelp())
    logger.addFilter(Checks())


# Once a run, whichever version of the deploy comes first.
if not any(getattr(one, "is_of_catmaid_deploy", False) for one in logger.filters):
    _begin()
