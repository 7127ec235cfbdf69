"""The admin's supervisord.conf: what a deploy uses of it, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.finding import Command, Finding, fault, warning
from catmaid_deploy.on_host.facts.supervisor import SUPERVISORD

# What the sets of files of the instances' programs are called, with the instance's name.
SET = "programs of "
PATH = SUPERVISORD
# What has Supervisor read the file of each instance's group.
FOLDER = "/etc/supervisor/conf.d"
PATTERN = f"{FOLDER}/*.conf"
# Programs that run are ended and begun.
RESTART = Command("systemctl restart supervisor")


def _reads(pattern: str, path: str) -> bool:
    """Whether Supervisor reads a path by a pattern, whose wildcards stand for no slash."""
    parts, of_path = pattern.split("/"), path.split("/")
    return len(parts) == len(of_path) and all(map(fnmatchcase, of_path, parts))


def _is_needed(survey: Survey) -> bool:
    """Whether Supervisor has programs of the deploy's, or is to get some: the file of any other isn't the deploy's."""
    return bool(survey["instances"]) or any(title.startswith(SET) for title in survey["manifest"])


def judge(survey: Survey) -> Iterator[Finding]:
    """Why Supervisor would never read what a deploy writes for it, or takes no orders."""
    file = survey["supervisor_file"]
    if file is None or not _is_needed(survey):
        return
    if file["problem"]:
        what, fix = file["problem"]
        yield fault("supervisor", f"by {PATH} {what}", fix)
        return
    if survey["asks_password"]:
        yield fault("supervisor", f"it runs with another username or password than {PATH} has", RESTART)
    elif survey["supervisor"] is None and file["is_newer"]:
        yield fault("supervisor", f"it began before {PATH} was changed, and has no socket at {file['socket']}", RESTART)
    unread = [name for name in survey["instances"] if not _is_read(f"{FOLDER}/{name}.conf", file["patterns"])]
    if unread:
        patterns = " ".join(file["patterns"])
        yield fault(
            "supervisor",
            f"it reads {patterns or 'no other files'}, and so no program of {', '.join(unread)}",
            f"say files = {f'{patterns} {PATTERN}'.strip()} below [include] in {PATH}",
        )


def _is_read(path: str, patterns: list[str]) -> bool:
    return any(_reads(pattern, path) for pattern in patterns)


def warn(survey: Survey) -> Iterator[Finding]:
    """What doesn't stop a run: an admin's tool that finds nothing, and files that others may change."""
    file = survey["supervisor_file"]
    if file is None or not _is_needed(survey):
        return
    if not file["is_controlled"]:
        what = f"by {PATH} supervisorctl can't ask it, and so programs of others don't end when Supervisor restarts"
        yield warning("supervisor", what, "give [supervisorctl] there the socket as serverurl, username and password")
    for path, user in file["of_others"]:
        what = f"{path} can be changed by {user}, and Supervisor starts as root what it says"
        yield warning("supervisor", what, "have root alone own it and the folders that lead to it")
