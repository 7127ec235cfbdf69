"""Which user must be able to read what: the programs' user the code and settings, nginx's user what nginx serves."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.finding import Command, Finding, fault, warning
from catmaid_deploy.on_host.paths import STATE
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import NGINX_USER, SERVICE_USER, SOCKET_GROUP, Deployment
from catmaid_deploy.tasks import packages

# What a user needs of a path.
READ, ENTER, WRITE = "read", "enter", "write"
# The system's own with all that is in them: nothing there is opened by a fix, or served.
KEPT_CLOSED = ("/root", "/etc", "/boot", "/proc", "/sys", "/dev", "/run", "/var/log", STATE)
# Folders that hold others' things, and a few of which a lab's may be one.
SYSTEMS = (*KEPT_CLOSED, "/bin", "/home", "/lib", "/opt", "/sbin", "/tmp", "/usr", "/var", "/var/lib", "/var/cache")
NAME_ANOTHER = "name a folder that holds nothing but what is to be served"
# What a folder that nginx serves holds and nobody wants to be read, as the survey calls it.
_PRIVATE = {
    "settings": "a file of settings",
    "repository": "a repository",
    "environment": "a Python environment",
    "key": "a private key",
}


def accesses(deployment: Deployment) -> list[tuple[str, str, str, str]]:
    """Who has to reach what: key, user, path, and what for."""
    found = []
    for i in deployment.instances:
        place = f"site.instances[{i.name}]"
        for path in (i.settings_file, i.wsgi_file, f"{i.virtualenv}/bin/python"):
            found.append((f"{place}.user", i.user, path, READ))
        found.append((f"{place}.files_folder", i.user, i.files_folder, WRITE))
        for key in ("static_folder", "extensions_folder", "files_folder"):
            found.append((f"{place}.{key}", NGINX_USER, getattr(i, key), ENTER))
    for tiles in deployment.tiles:
        place = f"site.tiles[{tiles.name}]"
        found.append((f"{place}.folder", NGINX_USER, tiles.folder, ENTER))
        if tiles.marker:
            found.append((f"{place}.marker", NGINX_USER, tiles.marker, READ))
        if tiles.fallback not in ("black", "none"):
            found.append((f"{place}.fallback", NGINX_USER, tiles.fallback, READ))
    return found


def is_systems(path: str) -> bool:
    """Whether a file or folder is the system's own, which nobody gets more rights to by a fix."""
    return any(is_within(path, folder) for folder in KEPT_CLOSED)


def served(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """The folders whose files nginx hands out, each with its key."""
    for i in deployment.instances:
        yield f"site.instances[{i.name}].static_folder", i.static_folder
        yield f"site.instances[{i.name}].extensions_folder", i.extensions_folder
        yield f"site.instances[{i.name}].files_folder", i.files_folder
    for tiles in deployment.tiles:
        yield f"site.tiles[{tiles.name}].folder", tiles.folder


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def holds_systems(folder: str) -> bool:
    """Whether a folder is one of the system's, lies in one that is all the system's, or holds one."""
    return is_systems(folder) or any(is_within(one, folder) for one in SYSTEMS)


def judge_served(deployment: Deployment, survey: Survey) -> Iterator[Finding]:
    """Folders that are served and aren't meant to be: one line each."""
    own = [path for i in deployment.instances for path in (i.projects_dir, i.virtualenv, i.state_dir, i.log_dir)]
    own += [i.releases.folder for i in deployment.instances if i.releases]
    for key, path in served(deployment):
        found = survey["served_folders"][path]
        held = next((one for one in own if is_within(one, path) or is_within(one, found["real"])), None)
        if holds_systems(path) or holds_systems(found["real"]):
            yield fault(key, f"{path} is the system's, and nginx would serve what is in it", NAME_ANOTHER)
        elif held:
            yield fault(key, f"{path} has {held} in it, which nginx would serve", NAME_ANOTHER)
        elif found["holds"]:
            kind, name = found["holds"][0]
            yield fault(key, f"{path} has {_PRIVATE[kind]} in it, {name}, which nginx would serve", NAME_ANOTHER)
    for tiles in deployment.tiles:
        if tiles.fallback not in ("black", "none") and is_systems(tiles.fallback):
            key = f"site.tiles[{tiles.name}].fallback"
            yield fault(key, f"{tiles.fallback} is the system's, and nginx would serve it", "name an image elsewhere")


def _links(deployment: Deployment, survey: Survey) -> Iterator[Finding]:
    """Links in an application's served folders that nginx doesn't follow, since they lead to what another user owns."""
    tiles = {one.folder for one in deployment.tiles}
    for key, path in served(deployment):
        for name in survey["served_folders"][path]["links"] if path not in tiles else ():
            what = f"{path}/{name} is a link to what another user owns: who asks for what is behind it gets 403"
            # No command: what root would type here, whoever may write there could turn to another file.
            yield warning(key, what, "have the owner of what it leads to make the link anew, or remove it")


def judge_access(deployment: Deployment, survey: Survey) -> list[Finding]:
    """The first folder on a path that keeps somebody out, and the command that lets this one user in."""
    found: dict[tuple[str, str], Finding] = {}
    for (key, user, path, want), blocked in zip(accesses(deployment), survey["blocked"], strict=True):
        if blocked:
            part, letter = blocked
            # nginx's own user may not be there yet, and has this group: one command may open it to both.
            whom = f"g:{SOCKET_GROUP}" if user in (NGINX_USER, SERVICE_USER) else f"u:{user}"
            whom = "owner" if letter == "u" else whom
            one = _let_in(key, user, part, want if part == path else ENTER, whom, survey)
            found.setdefault((whom, part), one)
    return list(found.values())


def _let_in(key: str, user: str, part: str, want: str, whom: str, survey: Survey) -> Finding:
    """What to say of a file or folder that keeps a user out; nobody else gets in by the fix."""
    verb = {READ: "read", ENTER: "enter", WRITE: "write in"}[want]
    what = f"{user} can't {verb} {part}"
    if is_systems(part):
        return fault(key, what, f"put what belongs to it elsewhere: {part} isn't to be opened")
    rights = {READ: "r", ENTER: "x", WRITE: "rwx"}[want]
    if whom == "owner":
        return fault(key, what, Command(f"chmod u+{rights} {shlex.quote(part)}"))
    # What is in a folder already is written to as well, and what others add later.
    entry = f"-R -m {whom}:rwX,d:{whom}:rwX" if want == WRITE else f"-m {whom}:{rights}"
    return fault(key, what, packages.setfacl(entry, part, survey))


def _unsteady(deployment: Deployment, survey: Survey) -> Iterator[Finding]:
    """Environments that their user couldn't get at, and to which every folder is open by now."""
    for instance in deployment.instances:
        if "unreachable" in survey["instances"][instance.name]["python"]:
            what = f"{instance.user} couldn't reach {instance.virtualenv}, and then could: somebody changes its folders"
            yield fault(f"site.instances[{instance.name}].virtualenv", what, "run again when nobody does")


def question(deployment: Deployment) -> questions.Survey:
    return {
        "served": sorted({path for _, path in served(deployment)}),
        "access": [(user, path, want) for _, user, path, want in accesses(deployment)],
    }


def faults(look: Look) -> list[Finding]:
    """Only where all is there: what is missing has a line of its own."""
    if look.faults:
        return []
    found = [*judge_served(look.deployment, look.survey), *judge_access(look.deployment, look.survey)]
    return found or list(_unsteady(look.deployment, look.survey))


def warnings(look: Look) -> Iterator[Finding]:
    return _links(look.deployment, look.survey)


TASK = Task("access", question, faults=faults, warnings=warnings)
