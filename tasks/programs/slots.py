"""What the programs of an instance have in common: a folder of files, and slots to hand over from one to the next."""

from __future__ import annotations

from dataclasses import dataclass

from catmaid_deploy.file_sets import File
from catmaid_deploy.on_host.paths import RUN
from catmaid_deploy.render import digest, render
from catmaid_deploy.schema import FOUR, Instance, Kind
from catmaid_deploy.tasks.system import DESCRIPTORS

SLOTS = ("a", "b")
# Where a deploy notes that it hands over to a slot.
HANDOVERS = RUN


def places(short: str) -> list[str]:
    """The two slots of a program, as their folders are called.

    >>> places("wsgi")
    ['wsgi-a', 'wsgi-b']
    """
    return [f"{short}-{slot}" for slot in SLOTS]


def group(instance: Instance, short: str) -> str:
    """The group that a program has in Supervisor. The four are one; any other comes and goes without them."""
    return instance.name if short in FOUR else f"{instance.name}.{short}"


def process(instance: Instance, place: str) -> str:
    """What Supervisor calls the program in a slot within its group. No instance's name has a dot."""
    return f"{instance.name}{'-' if place[:-2] in FOUR else '.'}{place}"


def full_name(instance: Instance, place: str) -> str:
    """What `supervisorctl` calls it."""
    return f"{group(instance, place[:-2])}:{process(instance, place)}"


def sign(instance: Instance, short: str) -> str | None:
    """By which of its files a program gives signs of life, where no page is behind it that could be asked."""
    return {"celery-beat": "beat.py"}.get(short) or {"worker": "catmaid_ready.py"}.get(instance.kinds[short])


@dataclass(frozen=True)
class Program:
    """A program under Supervisor: its folder's files, and what Supervisor has to know to stop it.

    ``stop_seconds`` is how long it may take to end in peace before it is killed. It runs in one of two slots, with
    that slot's folder: PROGRAM-a or PROGRAM-b; PROGRAM is a link to the one in use. ``processes`` of it are asked for,
    0 where nobody says; ``sign`` is the file by which it gives signs of life, empty where a page is behind it.
    """

    instance: Instance
    short: str
    stop_signal: str
    stop_seconds: int
    files: tuple[File, ...]
    processes: int = 0

    @property
    def kind(self) -> Kind:
        return self.instance.kinds[self.short]

    @property
    def group(self) -> str:
        return group(self.instance, self.short)

    @property
    def places(self) -> list[str]:
        """The folders that it can run in."""
        return places(self.short)

    @property
    def names(self) -> dict[str, str]:
        """What Supervisor calls it in each of them."""
        return {place: process(self.instance, place) for place in self.places}

    @property
    def digest(self) -> str:
        """Names the files' contents. The start script notes the same for those that it finds on disk."""
        return digest("".join(file.text for file in sorted(self.files, key=lambda file: file.path)))


def rendered(instance: Instance, short: str, *names: str, like: str = "", **values: object) -> tuple[File, ...]:
    """A program's files: ``environment.sh``, ``run.sh`` and ``names``, from the templates of ``like``.

    Their paths are those by the link, whichever slot it is.
    """
    folder = f"{instance.config_dir}/{short}"
    texts = {"environment.sh": render("etc/catmaid/instance/environment.sh", instance=instance)}
    for name in ("run.sh", *names):
        texts[name] = render(f"etc/catmaid/instance/{like or short}/{name}", instance=instance, short=short, **values)
    return tuple(File(f"{folder}/{name}", text) for name, text in texts.items())


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
    return [f"{instance.config_dir}/{short}" for short in instance.kinds]


def start_script(instance: Instance) -> File:
    """What Supervisor starts all programs of an instance by."""
    text = render(
        "etc/catmaid/instance/start.sh",
        instance=instance,
        kinds=instance.kinds,
        seconds={one.name: one.end_seconds for one in instance.programs if one.manage},
        four=list(FOUR),
        handovers=HANDOVERS,
        descriptors=DESCRIPTORS,
    )
    return File(f"{instance.config_dir}/start.sh", text, mode="755")
