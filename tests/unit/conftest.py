"""What unit tests have in common: none of them asks the world."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

_asked = socket.getaddrinfo


def _here(host: Any, *more: Any, **options: Any) -> Any:
    """The addresses of this machine and of what is an address itself."""
    name = host.decode() if isinstance(host, bytes) else host
    try:
        ipaddress.ip_address(name or "::")
    except ValueError:
        if name != "localhost":
            raise socket.gaierror(socket.EAI_NONAME, f"no unit test asks for {name}") from None
    return _asked(host, *more, **options)


@pytest.fixture(autouse=True)
def no_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNS that gives no answer, as some networks have it, would hold up each question for half a minute."""
    monkeypatch.setattr(socket, "getaddrinfo", _here)
