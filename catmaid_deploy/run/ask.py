"""What one of our scripts answers as root on a host."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, TypeVar

from pyinfra import host, logger
from pyinfra.api.hiddenvalue import HiddenValue

from catmaid_deploy import shell
from catmaid_deploy.answers import Answer
from catmaid_deploy.facts.survey import Script, Unanswered
from catmaid_deploy.finding import Command, Refused, fault
from catmaid_deploy.run import sudo

T = TypeVar("T", bound=Answer)

# Also of one that is there and broken. The name of the package with its library has the version in it.
INSTALL_PYTHON = Command(
    "apt-get update && apt-get install -y --reinstall python3 python3-minimal 'libpython3.*-stdlib' 'python3.*-minimal'"
)


def ask(fact: type[Script[T]], asked: Mapping[str, Any]) -> tuple[T, float]:
    """What one of our scripts answers as root on the current host, and how many seconds its clock is ahead."""
    sudo.become_root()
    before, question = time.time(), json.dumps(asked)
    # pyinfra shows what a fact is asked.
    secret = asked.get("fetching") or asked.get("given")
    hidden = HiddenValue(question) if secret else question  # type: ignore[no-untyped-call]
    try:
        found: T = host.get_fact(fact, hidden)
    except shell.NotBegun as said:
        raise sudo.no_commands(str(said)) from None
    except Unanswered as said:
        raise Refused(fault("python3", f"the host's doesn't run ({said})", INSTALL_PYTHON)) from None
    if not found:
        raise Refused(fault("python3", "missing on the host", INSTALL_PYTHON))
    if found["uid"]:
        raise sudo.not_root()
    then = found["time"]
    return found, then - time.time() if then > time.time() else min(0.0, then - before)


def answer_of(fact: type[Script[T]], asked: Mapping[str, Any]) -> T:
    """What it answers, for those who need no clock."""
    return ask(fact, asked)[0]


def say_begun(programs: list[str], said: str) -> str:
    """Say what is waited for, unless that was ``said`` before; returns it."""
    line = f"waiting for {', '.join(programs)}, which has just begun"
    if line != said:
        logger.info(f"{host.print_prefix}{line}")
    return line
