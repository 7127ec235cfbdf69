"""How commands reach a host: on standard input, in surroundings that the deploy chooses.

Between SSH and root stand a login shell of any kind, what a profile prints, a language, a PATH. So the command line is
the same few plain words each time, without quotes and backslashes, and the command is a script that ``/bin/sh`` reads:

>>> line(sudo=False)
'/bin/sh'
>>> line(sudo=True)
'/usr/bin/env LC_ALL=C /usr/bin/sudo -H -n /bin/sh'

What it prints stands between two marks, which no profile knows:

>>> list(between(["Welcome!", "", BEGIN, "an answer", "", END, "Bye!"]))
['an answer']
"""

from __future__ import annotations

import base64
import secrets
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pyinfra import logger
from pyinfra.api import Host, StringCommand
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.api.output import echo
from pyinfra.api.state import StateStage
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command, read_output_buffers

_MARK = secrets.token_hex(8)
BEGIN, END = f"catmaid-deploy-begins-{_MARK}", f"catmaid-deploy-ends-{_MARK}"
# Of Debian's packages alone: what an admin put into /usr/local/bin is for other work.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Of a profile, the login user's ~/.ssh/environment or sshd's configuration.
_UNSET = "BASH_ENV CDPATH ENV LANGUAGE LD_LIBRARY_PATH LD_PRELOAD PYTHONHOME PYTHONPATH TMPDIR"
# With any other value LANGUAGE would still count.
_SUDO = ("/usr/bin/env", "LC_ALL=C", "/usr/bin/sudo", "-H")
# What a command may be given beside the sudo password, which has its own way. What else pyinfra knows, it does itself.
_OWN = {
    *("_sudo", "_sudo_password", "_env", "_chdir", "_shell_executable", "_stdin", "_timeout", "_success_exit_codes"),
    *("_retries", "_retry_delay", "_retry_until", "_temp_dir"),
}
_PYINFRAS: dict[str, Callable[..., Any]] = {}


class NotBegun(Exception):
    """The host hasn't begun a command: its login shell, or sudo, ended before that. It has what was said instead."""


def line(sudo: bool, password: bool = False, command: str = "/bin/sh") -> str:
    """The command line that every shell takes for the same; with ``password``, sudo reads that first."""
    if not sudo:
        return command
    # Asked anew each time, so that the line isn't left for the shell.
    return " ".join([*_SUDO, *(["-k", "-S", "--prompt=sudo"] if password else ["-n"]), command])


def script(command: str, stdin: str | None = None, marks: bool = True) -> str:
    """A command as a script for ``/bin/sh``. What it reads is ``stdin``: the rest of the script isn't."""
    reads = f"<<'{END}-of-input'\n{stdin}\n{END}-of-input" if stdin is not None else "</dev/null"
    begin, end = (f"echo; echo {mark}; {{ echo; echo {mark}; }} >&2" if marks else ":" for mark in (BEGIN, END))
    surroundings = f"export LC_ALL=C.UTF-8 PATH={PATH}; unset {_UNSET}; umask 022; cd /"
    return f"{surroundings}\n{begin}\n(\n{command}\n) {reads}\ncode=$?\n{end}\nexit $code\n"


def between(lines: Iterable[str]) -> Iterator[str]:
    """The lines between the marks, as they come; all of them where the first mark doesn't come."""
    rest = iter(lines)
    before = []
    for text in rest:
        if text == BEGIN:
            break
        before.append(text)
    else:
        yield from before
        return
    empty = False
    for text in rest:
        if empty and text != END:
            yield ""
        empty = not text
        if text == END:
            # To its end, or the host would wait until somebody reads what else is said there.
            deque(rest, maxlen=0)
        elif text:
            yield text


def _pack(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode())).decode()


# Programs are the same for each host.
_packed = cache(_pack)


def python(
    program: str, said: str, *options: str, after: str = "", kind: type[StringCommand] = StringCommand
) -> StringCommand:
    """The command that runs a program by Debian's own Python, without what others put where it looks for more.

    + program: travels in the script and is shown nowhere
    + said: the same, as the program's argument, however long it is
    + after: what the shell is to do with its output
    """
    text = (
        "import sys, zlib, binascii\n"
        "def word(packed): return zlib.decompress(binascii.a2b_base64(packed)).decode()\n"
        f"sys.argv[1:] = [word('{_pack(said)}')]\n"
        f"exec(word('{_packed(program)}'))"
    )
    words = StringCommand("/usr/bin/python3", "-IS", *options, "-", f"<<'{END}-of-program'", after)
    hidden = HiddenValue(text)  # type: ignore[no-untyped-call]
    return kind(words, hidden, f"{END}-of-program", "", _separator="\n")


def take_over(host: Host, password: Callable[[], str | None]) -> None:
    """From now on commands reach a host as this module has it.

    + password: what sudo is to be given, if anything
    """
    connector = host.connector
    if "run_shell_command" in vars(connector):
        return
    pyinfras = connector.run_shell_command

    def run(
        command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        foreign = {name for name, value in arguments.items() if value and name not in _OWN}
        if foreign:
            return pyinfras(command, print_output, print_input, **arguments)
        of_shell = arguments.get("_shell_executable")
        inner = make_unix_command(
            command,
            _env=arguments.get("_env"),
            _chdir=arguments.get("_chdir"),
            _shell_executable=None if of_shell == "sh" else of_shell,
        )
        logger.debug(f"Running on {host.name}: {inner}")
        if print_input:
            echo(f"{host.print_prefix}>>> {inner}", err=True)
        sudo = bool(arguments.get("_sudo"))
        secret = password() if sudo else None
        options = {name: arguments[name] for name in ("_timeout", "_success_exit_codes") if arguments.get(name)}
        if isinstance(file := arguments.get("_stdin"), Path) and isinstance(connector, SSHConnector):
            # Its bytes are for the command, which is plain words: a shell would read them for itself.
            words = line(sudo, secret is not None, inner.get_raw_value()), f"{secret}\n" if secret is not None else ""
            return _send(connector, *words, print_output, has_marks=False, file=file, **options)
        text = script(inner.get_raw_value(), _text(arguments.get("_stdin")), marks=isinstance(connector, SSHConnector))
        words = line(sudo, secret is not None), (f"{secret}\n" if secret is not None else "") + text
        if not isinstance(connector, SSHConnector):
            # No login shell stands between, on this machine or in a container.
            options |= {"_stdin": words[1], "_shell_executable": None}
            return pyinfras(StringCommand(words[0]), print_output, **options)
        return _send(connector, *words, print_output, **options)

    connector.run_shell_command = run  # type: ignore[method-assign]
    _PYINFRAS[host.name] = pyinfras


def tried(host: Host, password: str) -> tuple[bool, CommandOutput]:
    """Whether sudo takes a password, and what it says."""
    # Nothing but the password, since sudo would take each further line for another one.
    words = line(True, True, "/usr/bin/true"), f"{password}\n"
    if isinstance(host.connector, SSHConnector):
        return _send(host.connector, *words, has_marks=False)
    done: tuple[bool, CommandOutput] = _PYINFRAS[host.name](
        StringCommand(words[0]), _stdin=words[1], _shell_executable=None
    )
    return done


def _text(stdin: Any) -> str | None:
    """What pyinfra takes for standard input, as one text."""
    if stdin is None or isinstance(stdin, str):
        return stdin
    lines = stdin.readlines() if hasattr(stdin, "readlines") else stdin
    return "".join(one if one.endswith("\n") else f"{one}\n" for one in lines)


def _send(
    connector: SSHConnector,
    command_line: str,
    text: str,
    print_output: bool = False,
    has_marks: bool = True,
    file: Path | None = None,
    _timeout: int | None = None,
    _success_exit_codes: Iterable[int] = (0,),
) -> tuple[bool, CommandOutput]:
    transport = connector.client.get_transport() if connector.client else None
    if transport is None:
        raise OSError("the connection has ended")
    channel = transport.open_session()
    channel.exec_command(command_line)
    try:
        channel.sendall(text.encode())
        if file:
            with file.open("rb") as opened:
                while data := opened.read(1 << 20):
                    channel.sendall(data)
        channel.shutdown_write()
    except OSError:
        pass  # it has ended before, and says why
    begun: list[bool] = []

    def lines(of: Iterable[bytes]) -> Iterator[str]:
        for one in of:
            # In whatever encoding a profile prints.
            text = one.decode(errors="replace").rstrip("\n")
            if text == BEGIN:
                begun.append(True)
            yield text

    output = read_output_buffers(
        between(lines(channel.makefile("rb"))),
        between(lines(channel.makefile_stderr("rb"))),
        timeout=_timeout,
        print_output=print_output,
        print_prefix=connector.host.print_prefix,
    )
    code = channel.recv_exit_status()
    if has_marks and not begun:
        if connector.state.current_stage != StateStage.Execute:
            raise NotBegun(last(output))
        raise OSError(f"the host doesn't run commands ({last(output)})")
    return code in _success_exit_codes, output


def last(output: CommandOutput) -> str:
    """The last thing that was said, of the errors before the rest."""
    said: list[OutputLine] = [one for one in output if one.line.strip()]
    said.sort(key=lambda one: one.buffer_name == "stderr")
    return said[-1].line.strip() if said else "no message"
