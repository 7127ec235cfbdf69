"""The way to root on a host: checked before anything else, and without the password in sight."""

from __future__ import annotations

import getpass
import socket
import sys

from pyinfra import config, host
from pyinfra.api import StringCommand
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.connectors.ssh import SSHConnector

from catmaid_deploy import shell
from catmaid_deploy.finding import Refused, fault

# What sudo on a host is given, by the host's name: it travels on standard input, and is in no file there.
_PASSWORDS: dict[str, str] = {}
# The hosts of which is known how commands are root's.
_KNOWN: set[str] = set()


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


def _ask(command: str) -> tuple[bool, str, str]:
    try:
        ok, output = host.run_shell_command(StringCommand(command))
    except shell.NotBegun as said:
        raise no_commands(str(said)) from None
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


def no_commands(said: str) -> Refused:
    """What to say of a host whose login shell doesn't run what it is sent."""
    return _no_access("shell", f"the host doesn't run commands ({said})", "allow the login user a shell")


def _last(text: str) -> str:
    return (text.splitlines() or ["no message"])[-1]


def _no_rights(error: str) -> Refused:
    reason = next((line for line in error.splitlines() if "sudoers" in line), _last(error))
    return _no_access("_sudo", f"sudo refuses ({reason})", "give the user sudo rights")


def _use_password(password: str) -> None:
    done, output = shell.tried(host, password)
    if not done:
        error = output.stderr
        if "sudoers" in error or "not allowed" in error:
            raise _no_rights(error)
        raise _no_access("sudo_password", f"sudo refuses it ({shell.last(output)})", "correct it")
    _PASSWORDS[host.name] = password


def keep_password_out_of_sight() -> None:
    """The operations of a host whose sudo has its password get none of it."""
    if host.name in _PASSWORDS:
        config.SUDO_PASSWORD = None


# As all else is begun, so that what is asked for is what is allowed; -k: what sudo remembers may end in the middle.
_WHO = """
id -u
if [ ! -x /usr/bin/sudo ]; then echo; exit; fi
echo sudo
error=$(echo : | /usr/bin/sudo -H -k -n /bin/sh 2>&1) || echo "complaint: ${error:-no message}"
"""


def not_root() -> Refused:
    """What to say where commands run as another user and no sudo is asked for."""
    return _no_access("_sudo", "the login user isn't root", 'add "_sudo": True, or "ssh_user": "root"')


def become_root() -> None:
    """Find out once, in one command, how sudo makes commands root on this host. Without sudo the survey says who it is.

    Raises Refused with the key and the fix.
    """
    name = host.name
    if name in _KNOWN:
        return
    _send_at_once()
    shell.take_over(host, lambda: _PASSWORDS.get(name))
    if host.data.get("_sudo_password"):
        raise _no_access(
            "_sudo_password", "it would show in the host's process list", "give it as sudo_password instead"
        )
    if host.data.get("_sudo") or config.SUDO:
        _by_sudo()
    _KNOWN.add(name)


def _by_sudo() -> None:
    ok, output, error = _ask(_WHO)
    uid, _, rest = output.partition("\n")
    sudo, _, complaint = rest.partition("complaint: ")
    if not ok or not uid.isdigit():
        raise no_commands(_last(error or output))
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
