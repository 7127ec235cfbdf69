"""What is wrong, from the check that finds it to the screen: plain data, on which all else builds.

A fix is a command that can be pasted into bash as it stands, on the machine that it names, or a sentence:

>>> stopped = fault("nginx", "it doesn't run", Command("systemctl start nginx"))
>>> stopped.line("web1")
"web1: nginx: it doesn't run: systemctl start nginx"
>>> silent = fault("broker", "it doesn't answer", Command("systemctl start rabbitmq-server", "db1.example.org"))
>>> silent.line("web1")
"web1: broker: it doesn't answer: on db1.example.org: systemctl start rabbitmq-server"
>>> warning("workers", "they need 4 GiB, the host has 2", "lower workers or threads").line()
'workers: they need 4 GiB, the host has 2: lower workers or threads'
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from catmaid_deploy.escape import one_line, visible

# The machine that pyinfra runs on.
HERE = "this machine"


@dataclass(frozen=True)
class Command:
    """A command for bash, as root on ``host``: without one, the host that the finding is about.

    What is put into ``text`` has gone through `shlex.quote`, unless a rule of the inventory has made it safe.
    """

    text: str
    host: str = ""

    def __str__(self) -> str:
        return (f"on {self.host}: " if self.host else "") + visible(self.text)


@dataclass(frozen=True)
class Finding:
    """Something that isn't as it should be: a ``fault`` keeps users from working or a run from being done, a
    ``warning`` doesn't, or not yet.

    + place: a key of the inventory, or a part of the host
    + what: what is wrong, in words
    + fix: what ends it; empty where ``what`` says that already, or where nothing has to be done
    + so: the places that are at fault for this reason alone
    + missed: whether users miss it, though a run goes on without it: between runs it is a fault

    >>> down = Finding("fault", "nginx", "it doesn't run", Command("systemctl start nginx"))
    >>> down.for_machines("web1")["on"]
    'web1'
    """

    level: Literal["fault", "warning"]
    place: str
    what: str
    fix: Command | str = ""
    so: tuple[str, ...] = ()
    missed: bool = False

    def __post_init__(self) -> None:
        # What is put into it comes from the host, the application or the web.
        object.__setattr__(self, "place", one_line(self.place))
        object.__setattr__(self, "what", one_line(self.what))
        if isinstance(self.fix, str):
            object.__setattr__(self, "fix", one_line(self.fix))

    def below(self, place: str) -> Finding:
        """The same with its place as a key of a part of the inventory."""
        return replace(self, place=f"{place}.{self.place}")

    def line(self, host: str = "") -> str:
        """The finding in one line; its consequences aren't part of that."""
        return ": ".join(part for part in (host, self.place, self.what, str(self.fix)) if part)

    def for_machines(self, host: str) -> dict[str, Any]:
        """The finding as JSON has it: ``on`` is where ``fix`` can be typed, and null for a sentence."""
        on = (self.fix.host or host) if isinstance(self.fix, Command) else None
        fix = self.fix.text if isinstance(self.fix, Command) else self.fix
        return {"level": self.level, "place": self.place, "what": self.what, "fix": fix, "on": on, "so": [*self.so]}


def fault(place: str, what: str, fix: Command | str = "") -> Finding:
    """A finding that keeps users from working, or a run from being done."""
    return Finding("fault", place, what, fix)


def warning(place: str, what: str, fix: Command | str = "") -> Finding:
    """A finding that doesn't, or not yet."""
    return Finding("warning", place, what, fix)


def missed(place: str, what: str, fix: Command | str = "") -> Finding:
    """A finding that stops no run, and that users miss: a fault between runs."""
    return Finding("warning", place, what, fix, missed=True)


class Refused(Exception):
    """Nothing can be done on a host; the findings say why."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__(*(finding.line() for finding in findings))
        self.findings = findings
