"""What the four programs of an instance have in common."""

from __future__ import annotations

from dataclasses import dataclass

from configuration import File
from render import digest, render
from schema import Instance


@dataclass(frozen=True)
class Program:
    """A program under Supervisor: the files that it is started with, and what Supervisor has to know to stop it.

    ``stop_seconds`` is how long it may take to end in peace before it is killed.
    """

    name: str
    short: str
    stop_signal: str
    stop_seconds: int
    files: tuple[File, ...]

    @property
    def digest(self) -> str:
        """Names the files' contents. Its start script notes the same for those that it finds on disk."""
        return digest("".join(file.text for file in self.files))


def start_library(instance: Instance) -> File:
    """What the start scripts of an instance read first."""
    return File(f"{instance.config_dir}/start.sh", render("etc/catmaid/instance/start.sh"))


def program(instance: Instance, short: str, stop_signal: str, stop_seconds: int, *reads: File) -> Program:
    """Render a program's start script; ``reads`` are the other files that it is started with."""
    path = f"{instance.config_dir}/run-{short}.sh"
    library = start_library(instance)
    files = [path, *(file.path for file in reads)]
    text = render(f"etc/catmaid/instance/run-{short}.sh", instance=instance, files=files)
    script = File(path, text, mode="755")
    return Program(f"{instance.name}-{short}", short, stop_signal, stop_seconds, (library, script, *reads))
