"""Disks that may hang: a watcher, which closes what nginx serves from such a disk while it hangs."""

from __future__ import annotations

import json
from collections.abc import Iterator

from catmaid_deploy.answers.survey import Survey, unit_of
from catmaid_deploy.file_sets import Change, ConfigurationSet, Difference, File, Folder, Reason, compare
from catmaid_deploy.finding import Command, Finding, Refused, fault, missed
from catmaid_deploy.on_host.facts.units import WANTED
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.render import render
from catmaid_deploy.run.apply import configured
from catmaid_deploy.schema import DISKS, NGINX_USER, Deployment
from catmaid_deploy.tasks.nginx.user import missing_groups

SERVICE, PATH, RELOAD = "catmaid-disks.service", "catmaid-disks.path", "catmaid-disks-reload.service"
REGROUPED = f"{NGINX_USER} gets other groups"
UNITS = (SERVICE, PATH)
# Of several tile sets on one disk so many are named.
NAMED = 3
WATCH = "/etc/catmaid/disks/watch.py"
PLACES = "/etc/catmaid/disks/places.json"
# A watcher that started within so many seconds of its files' time may be as new as they are.
CLOCK_SECONDS = 2


SET = "disks"
# Where systemd has what starts at boot.


def units(deployment: Deployment) -> tuple[str, ...]:
    """What watches over disks where nginx serves from some."""
    return UNITS if deployment.sites else ()


def places(deployment: Deployment) -> dict[str, list[str]]:
    """By its flag, where the files of each part lie that nginx serves itself."""
    return {i.flag: [i.static_alias, i.extensions_folder, i.files_folder] for i in deployment.instances} | {
        tiles.flag: tiles.paths for tiles in deployment.tiles
    }


def _by_disk(survey: Survey) -> dict[str, list[tuple[str, str]]]:
    """What gave no answer, by where its disk is mounted: who asked, and for which path."""
    found: dict[str, list[tuple[str, str]]] = {}
    for user, path, mount in survey["hanging"]:
        found.setdefault(mount, []).append((user, path))
    return found


def hung_tiles(deployment: Deployment, survey: Survey) -> dict[str, str]:
    """The tile sets whose disk gives no answer, with where that is mounted."""
    return {
        tiles.name: mount
        for mount, asked in _by_disk(survey).items()
        for tiles in deployment.tiles
        if any(path in tiles.paths for _, path in asked)
    }


def _hung_disks(deployment: Deployment, survey: Survey) -> Iterator[tuple[str, list[str]]]:
    """Each disk of tiles that gives no answer, with the sets on it, of many the first."""
    folders = {tiles.name: tiles.folder for tiles in deployment.tiles}
    by_disk: dict[str, list[str]] = {}
    for name, mount in hung_tiles(deployment, survey).items():
        by_disk.setdefault(folders[name] if mount == "/" else mount, []).append(name)
    for disk, names in by_disk.items():
        more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
        yield disk, [*names[:NAMED], *more]


def away(deployment: Deployment, survey: Survey) -> list[str]:
    """The tiles that a run does without."""
    return [
        f"the tiles of {', '.join(names)} are away: {disk} gives no answer"
        for disk, names in _hung_disks(deployment, survey)
    ]


def warn(deployment: Deployment, survey: Survey) -> Iterator[Finding]:
    """A line for each disk of tiles that hangs: no run needs it, and nginx doesn't touch it."""
    for disk, (name, *others) in _hung_disks(deployment, survey):
        what = f"{disk} gives no answer, its tiles answer 503"
        what += f", as those of {', '.join(others)} there do" if others else ""
        yield missed(
            f"site.tiles[{name}].mount", what, "have its server or network answer; tiles come back by themselves"
        )


def judge(deployment: Deployment, survey: Survey) -> Iterator[Finding]:
    """A line for each other disk that hangs: of what lies there nothing is known, and it would be called missing."""
    of_tiles = {path for tiles in deployment.tiles for path in tiles.paths}
    for mount, asked in _by_disk(survey).items():
        others = [(user, path) for user, path in asked if path not in of_tiles]
        if others:
            user, path = others[0]
            more = f", and {len(others) - 1} more about {mount}" if len(others) > 1 else ""
            fix = "see whether its disk answers, and what is there"
            yield fault("disk", f"{path} gives {user} no answer in time{more}", fix)


def faults(look: Look) -> tuple[()]:
    """Raises Refused: of what lies on a disk that hangs nothing is known, and it would be called missing."""
    if late := list(judge(look.deployment, look.survey)):
        raise Refused(*late)
    return ()


def wanted(deployment: Deployment) -> ConfigurationSet:
    units = [f"/etc/systemd/system/{unit}" for unit in (SERVICE, PATH, RELOAD)]
    items = [File(path, render(path[1:], nginx_user=NGINX_USER, flags=DISKS)) for path in (WATCH, *units)]
    items.append(File(PLACES, json.dumps(places(deployment), indent=1) + "\n"))
    return ConfigurationSet(
        SET,
        (Folder(WATCH.rpartition("/")[0]), *items),
        checks=(("systemd-analyze", SERVICE, PATH, RELOAD),),
        service={"kind": "systemd"},
    )


def change(deployment: Deployment, survey: Survey) -> Change:
    """What differs, and whether the watcher runs with what is on disk."""
    one = wanted(deployment)
    differences = compare(one, survey)
    units = {unit: unit_of(survey, unit) for unit in UNITS}
    times = [found["time"] for item in one.items if (found := survey["files"].get(item.path))]
    enable = [unit for unit, state in units.items() if not state["enabled"]]
    off = [unit for unit, state in units.items() if not state["active"]]
    old = SERVICE not in off and units[SERVICE]["since"] + CLOCK_SECONDS < max(times, default=0)
    regrouped = bool(missing_groups(deployment, survey))
    reasons = []
    if not differences:
        reasons += [Reason("enable", unit, "it doesn't start at boot") for unit in enable]
        reasons += [Reason("start", unit, "it doesn't run") for unit in off]
        if old or regrouped:
            why = "its files are newer" if old else REGROUPED
            reasons.append(Reason("restart", SERVICE, why, (f"user {NGINX_USER}",) if not old else ()))
    one.service.update(
        enable=enable,
        reload=bool(differences) or any(state["needs_daemon_reload"] for state in units.values()),
        restart=list(UNITS) if differences else [*off, *([SERVICE] if old or regrouped else [])],
    )
    return Change(one, differences, tuple(reasons))


def removal(survey: Survey) -> Change:
    """The watcher goes with the last site."""
    left = ConfigurationSet(SET, service={"kind": "systemd", "stop": list(UNITS), "enable": [], "reload": True})
    # systemd takes out no link of a unit whose file is gone.
    links = [Difference(f"{WANTED}/{unit}", "remove") for unit in UNITS]
    why = "nginx serves no site any more"
    return Change(left, (*compare(left, survey), *links), (Reason("stop", " and ".join(UNITS), why),))


def steps(plan: Plan) -> Iterator[Step]:
    if plan.look.deployment.sites:
        yield from configured(change(plan.look.deployment, plan.survey))
    elif SET in plan.survey["manifest"]:
        yield from configured(removal(plan.survey))


def health(one: Health) -> None:
    if one.survey["manifest"] and one.deployment.sites and not one.is_active(SERVICE):
        what = "nobody watches over them, and one that hangs would hold up all pages"
        one.fault("disks", what, Command(f"systemctl restart {SERVICE}"))


HANGING = Task("disks that hang", faults=faults)
TASK = Task(
    "disks",
    lambda deployment: {"disks": places(deployment), "units": list(units(deployment))},
    sets=lambda deployment: [wanted(deployment)] if deployment.sites else [],
    warnings=lambda look: warn(look.deployment, look.survey),
    steps=steps,
    away=lambda look: away(look.deployment, look.survey),
    health=health,
)
