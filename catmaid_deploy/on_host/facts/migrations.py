"""Which migrations a database lacks, by the code that a deploy would bring into use. Runs on the host; prints JSON.

It leaves nothing behind: code that only the mirror has is unpacked beside the releases, and removed again.
"""

import os

from catmaid_deploy.on_host.facts.answer import answer
from catmaid_deploy.on_host.facts.dumps import look_at_dump
from catmaid_deploy.on_host.facts.probe import short
from catmaid_deploy.on_host.operations.common import LONGEST_LINE, has_migrations, lacking_migrations
from catmaid_deploy.on_host.operations.release import LOCAL_SECONDS, commit_of, unpack
from catmaid_deploy.on_host.trust import As, Failed, plain, processes

# Followed by the number of the process that unpacks code.
UNPACKED = ".dry-"


def ask_manage(instance, projects):
    """What Django's manage.py says there, as the service user, with what the programs run with."""
    environment = ["%s=%s" % pair for pair in instance["environment"].items()]
    manage = [instance["virtualenv"] + "/bin/python", "manage.py", "showmigrations", "--plan"]
    # A service user that may write there would leave bytecode.
    words = ["env", "PYTHONDONTWRITEBYTECODE=1", *environment, *manage]
    code, output = As(instance["user"]).run(words, instance["seconds"], cwd=projects)
    if code:
        return {"problem": short((output.splitlines() or ["exit code %s" % code])[-1])}
    lacks = plain(lacking_migrations(output))[:LONGEST_LINE]
    return {"lacks": lacks, "empty": not has_migrations(output)}


def remove_unpacked(at, folder, alive):
    """Remove code that was unpacked by processes that no longer live."""
    for name in at.names(folder):
        if name.startswith(UNPACKED) and name[len(UNPACKED) :] not in alive:
            at.remove_tree("%s/%s" % (folder, name))


def ask_mirror(instance):
    """The same of a release that isn't in its place yet."""
    release = instance["release"]
    commit = commit_of(release)
    python = instance["virtualenv"] + "/bin/python"
    if not commit or not As(instance["user"]).do(lambda at: at.exists(python)):
        return {"away": True}
    them, folder, own = As(release["owner"]), release["folder"], str(os.getpid())
    unpacked, others = "%s/%s%s" % (folder, UNPACKED, own), {*map(str, processes())} - {own}
    try:
        unpack(release, commit, unpacked)
        return ask_manage(instance, unpacked + "/django/projects")
    finally:
        them.do(lambda at: remove_unpacked(at, folder, others), LOCAL_SECONDS)


def pending(instance):
    """The migrations that are lacking, or why nobody knows."""
    try:
        return ask_mirror(instance) if instance["release"] else ask_manage(instance, instance["projects"])
    except (Failed, OSError) as error:
        return {"problem": short(str(error))}


def foreseen(instance):
    """The same, with what is known of the dump before them where one is due, or may be."""
    found = pending(instance)
    may_come = found.get("lacks") != "" and not found.get("empty")
    return dict(found, dump=look_at_dump(instance["dump"])) if instance["dump"] and may_come else found


def migrations(question):
    return {"migrations": {one["name"]: foreseen(one) for one in question["instances"]}}


answer(migrations)
