"""What the four programs of an instance have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from render import digest, render
from schema import Instance


@dataclass(frozen=True)
class Program:
    """A program under Supervisor: its start script, and what Supervisor has to know to stop it.

    ``stop_seconds`` is how long it may take to end in peace before it is killed. ``digest`` names its
    start script and everything else it was started with: a running process with another one is stale.
    """

    name: str
    short: str
    stop_signal: str
    stop_seconds: int
    script: str
    digest: str


def start_library() -> str:
    """The text of /etc/catmaid/start.sh, which every start script reads."""
    return render("etc/catmaid/start.sh")


def program(instance: Instance, short: str, stop_signal: str, stop_seconds: int, reads: Iterable[str] = ()) -> Program:
    """Render a program's start script; ``reads`` are the texts of the other files it is started with."""
    template = f"etc/catmaid/instance/run-{short}.sh"
    bare = render(template, instance=instance, digest="")
    name = digest(bare, start_library(), *reads)
    script = render(template, instance=instance, digest=name)
    return Program(f"{instance.name}-{short}", short, stop_signal, stop_seconds, script, name)
