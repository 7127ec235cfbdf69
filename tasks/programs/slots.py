"""What the programs of an instance have in common: a folder of files, and slots to hand over from one to the next."""

from __future__ import annotations

from dataclasses import dataclass

from catmaid_deploy.configuration import File
from catmaid_deploy.render import digest, render
from catmaid_deploy.schema import Instance
from catmaid_deploy.tasks.system import DESCRIPTORS

SLOTS = ("a", "b")
PROGRAMS = ("wsgi", "daphne", "celery", "celery-beat")
# Where a deploy notes that it hands over to a slot.
HANDOVERS = "/run/catmaid-deploy"


def places(short: str) -> list[str]:
    """The two slots of a program, as their folders are called."""
    return [f"{short}-{slot}" for slot in SLOTS]


@dataclass(frozen=True)
class Program:
    """A program under Supervisor: its folder's files, and what Supervisor has to know to stop it.

    ``stop_seconds`` is how long it may take to end in peace before it is killed. It runs in one of two slots, with
    that slot's folder: PROGRAM-a or PROGRAM-b; PROGRAM is a link to the one in use.
    """

    instance: str
    short: str
    stop_signal: str
    stop_seconds: int
    files: tuple[File, ...]

    @property
    def places(self) -> list[str]:
        """The folders that it can run in; Supervisor's names for it have the instance's before that."""
        return places(self.short)

    @property
    def digest(self) -> str:
        """Names the files' contents. The start script notes the same for those that it finds on disk."""
        return digest("".join(file.text for file in sorted(self.files, key=lambda file: file.path)))


def program(
    instance: Instance,
    short: str,
    stop_signal: str,
    stop_seconds: int,
    *names: str,
    **values: object,
) -> Program:
    """Render a program's files: ``environment.sh``, ``run.sh`` and ``names``.

    Their paths are those by the link, whichever slot it is.
    """
    folder = f"{instance.config_dir}/{short}"
    texts = {"environment.sh": render("etc/catmaid/instance/environment.sh", instance=instance)}
    for name in ("run.sh", *names):
        texts[name] = render(f"etc/catmaid/instance/{short}/{name}", instance=instance, **values)
    files = [File(f"{folder}/{name}", text) for name, text in texts.items()]
    return Program(instance.name, short, stop_signal, stop_seconds, tuple(files))


def environment(instance: Instance) -> dict[str, str]:
    """What an instance's programs run with, as in their environment.sh, which may not be there yet."""
    return {
        "DJANGO_SETTINGS_MODULE": "mysite.settings",
        "PATH": f"{instance.virtualenv}/bin:/usr/local/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": instance.virtualenv,
        **instance.environment,
    }


def code(instance: Instance) -> str:
    """The shell command that names the code and the Python environment that an instance's programs load."""
    return render("etc/catmaid/instance/_code.sh", instance=instance)


def pointers(instance: Instance) -> list[str]:
    """The links that lead to the slots in use."""
    return [f"{instance.config_dir}/{short}" for short in PROGRAMS]


def start_script(instance: Instance) -> File:
    """What Supervisor starts all programs of an instance by."""
    text = render("etc/catmaid/instance/start.sh", instance=instance, handovers=HANDOVERS, descriptors=DESCRIPTORS)
    return File(f"{instance.config_dir}/start.sh", text, mode="755")
