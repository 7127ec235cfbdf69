"""The way to root on a host: checked before anything else, and without the password in sight."""

from __future__ import annotations

import getpass
import shlex
import socket
import sys
from typing import Any

from pyinfra import config, host
from pyinfra.api import StringCommand
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.connectors.ssh import SSHConnector

from catmaid_deploy.finding import Refused, fault

# The askpass script of pyinfra reads the password from the environment of a command line, where every
# user of the host can see it (ps). Ours is a file that only the login user can read; pyinfra uses the
# one that it finds noted here, and removes it at the end of the run.
_NOTE = "sudo_askpass_path__{folder}"
_IN_FILE = "read-by-askpass"


def _no_access(key: str, what: str, fix: str) -> Refused:
    """What ends a run that can't become root on the host."""
    return Refused(fault(key, what, fix))


def _send_at_once() -> None:
    """TCP_NODELAY: without it each of the run's commands waits 40 ms for a delayed acknowledgement."""
    connector = host.connector
    if isinstance(connector, SSHConnector) and connector.client is not None:
        transport = connector.client.get_transport()
        if transport is not None and isinstance(transport.sock, socket.socket):
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _ask(command: str, **arguments: Any) -> tuple[bool, str, str]:
    ok, output = host.run_shell_command(StringCommand(command), **arguments)
    return ok, output.stdout.strip(), output.stderr.strip()


def _password() -> str:
    """The sudo password: from the inventory's ``sudo_password``, pyinfra's own options, or a question."""
    given = host.data.get("sudo_password") or config.SUDO_PASSWORD
    if given:
        return given.unmask() if isinstance(given, HiddenValue) else str(given)
    if sys.stdin.isatty():
        return getpass.getpass(f"[{host.name}] sudo password: ")
    raise _no_access(
        "sudo_password",
        "sudo asks for a password",
        'give it from your environment, "sudo_password": secret.from_environment("SUDO_PASSWORD"), or allow the user '
        "NOPASSWD",
    )


def _last(text: str) -> str:
    return (text.splitlines() or ["no message"])[-1]


def _no_rights(error: str) -> Refused:
    reason = next((line for line in error.splitlines() if "sudoers" in line), _last(error))
    return _no_access("_sudo", f"sudo refuses ({reason})", "give the user sudo rights")


def _use_password(password: str) -> None:
    folder = str(host.get_temp_dir_config())  # type: ignore[no-untyped-call]
    make = f"umask 077; path=$(mktemp {shlex.quote(folder)}/askpass-XXXXXXXXXXXX) && cat > $path && chmod 700 $path"
    script = f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(password)}"
    ok, path, error = _ask(f"{make} && echo $path", _stdin=script)
    if not ok:
        raise _no_access(
            "sudo_password", f"no temporary file in {folder} ({error})", "remove files there that nobody needs"
        )
    host.connector_data[_NOTE.format(folder=folder)] = path
    host.connector_data["prompted_sudo_password"] = _IN_FILE
    keep_password_out_of_sight()
    ok, _, error = _ask("true", _sudo=True)
    if not ok:
        if "sudoers" in error or "not allowed" in error:
            raise _no_rights(error)
        raise _no_access("sudo_password", f"sudo refuses it ({_last(error)})", "correct it")


def keep_password_out_of_sight() -> None:
    """Where a file has the sudo password, the operations of this host get none of it."""
    if host.connector_data.get("prompted_sudo_password") == _IN_FILE:
        config.SUDO_PASSWORD = None


# pyinfra answers sudo's complaint about a password by asking at the terminal, even where there is none:
# so the complaint comes back as the output of a command that succeeds.
_WHO = """
id -u
if ! command -v sudo; then echo; else error=$(sudo -H -n true 2>&1) || echo "complaint: ${error:-no message}"; fi
"""


def not_root() -> Refused:
    """What to say where commands run as another user and no sudo is asked for."""
    return _no_access("_sudo", "the login user isn't root", 'add "_sudo": True, or "ssh_user": "root"')


def become_root() -> None:
    """Find out, in one command, how sudo makes commands root on this host. Without sudo the survey tells who it is.

    Raises Refused with the key and the fix.
    """
    _send_at_once()
    if host.data.get("_sudo_password"):
        raise _no_access(
            "_sudo_password", "it would show in the host's process list", "give it as sudo_password instead"
        )
    if not (host.data.get("_sudo") or config.SUDO):
        return
    ok, output, error = _ask(_WHO)
    uid, _, rest = output.partition("\n")
    sudo, _, complaint = rest.partition("complaint: ")
    if not ok or not uid.isdigit():
        raise _no_access(
            "shell", f"the host doesn't run commands ({_last(error or output)})", "allow the login user a shell"
        )
    if uid == "0":
        if not sudo.strip():
            raise _no_access("_sudo", "the host has no sudo, and you log in as root", "remove the key")
        return
    if not sudo.strip():
        raise _no_access("_sudo", "the host has no sudo", 'log in with "ssh_user": "root", or install sudo there')
    if "password is required" in complaint or "authentication is required" in complaint:
        _use_password(_password())
    elif complaint:
        raise _no_rights(complaint)
