"""What nginx keeps to itself on a host."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import QuoteString, StringCommand, operation

PLACEHOLDER = "KEY"


@operation()
def key(path: str, text: str) -> Generator[StringCommand]:
    """
    Write a file with a random key, which is made on the host and shown nowhere.

    + path: where it lies; root alone may read it
    + text: the file's text, with ``PLACEHOLDER`` where the key stands

    A process list never has the key, and whoever reads the file meanwhile finds the old one or the new one, whole.
    """
    # awk has the text as an argument and the key from its input.
    program = f'{{ sub("{PLACEHOLDER};", $1 ";", text); printf "%s", text }}'
    new = f"{path}.new"
    yield StringCommand(
        *("umask 077 && openssl rand -hex 32 | awk -v", StringCommand("text=", QuoteString(text), _separator="")),
        *(QuoteString(program), ">", QuoteString(new), "&& mv", QuoteString(new), QuoteString(path)),
    )
