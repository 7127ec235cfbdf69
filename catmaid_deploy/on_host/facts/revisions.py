"""Whether repositories have the revisions that are to be put in place, asked as their owners. Runs on the host; prints
JSON.
"""

import re

from catmaid_deploy.on_host.facts.answer import answer
from catmaid_deploy.on_host.facts.probe import short
from catmaid_deploy.on_host.operations.release import commit_of
from catmaid_deploy.on_host.trust import As, Failed, plain

ASKING_SECONDS = 60
NEWEST = 6
# What a shell ends with for a program that isn't installed.
NOT_THERE = 127


def order(tag):
    """Versions as their numbers, so that 1.10 is newer than 1.9."""
    return [int(part) for part in re.findall(r"\d+", tag)]


def revision_of(release, fetching):
    """None where the revision is there, or where nobody can tell before it is fetched; else what there is."""
    if commit_of(release):
        return None
    words = ["git", "ls-remote", "--tags", "--heads", release["repository"]]
    code, output = As(release["owner"]).run(words, ASKING_SECONDS, GIT_TERMINAL_PROMPT="0", **fetching)
    if code == NOT_THERE:
        return None  # git comes with the deploy
    if code:
        said = plain(output).splitlines()
        lines = [line for line in said if line.startswith(("fatal: ", "error: "))]
        return {"problem": short((lines or said or ["git ended with %s" % code])[0])}
    names = {line.partition("\t")[2] for line in output.splitlines()}
    tags = {plain(name[len("refs/tags/") :].replace("^{}", "")) for name in names if name.startswith("refs/tags/")}
    revision = release["revision"]
    if "refs/heads/" + revision in names and revision not in tags:
        return {"branch": True}
    # A commit shows when it is fetched.
    if revision in tags or re.fullmatch(r"[0-9a-f]{7,40}", revision):
        return None
    return {"newest": sorted(tags, key=order, reverse=True)[:NEWEST]}


def ask_repositories(question):
    found = {}
    for name, release in question["releases"].items():
        try:
            found[name] = revision_of(release, question["fetching"])
        except (Failed, OSError):
            found[name] = None  # said when it is fetched
    return {"revisions": found}


answer(ask_repositories)
