"""A release of an instance's code, put in place beside the others. Joined with the other files of a job."""

import stat

from catmaid_deploy.on_host.operations.common import ending, say
from catmaid_deploy.on_host.paths import SYSTEM_PYTHON
from catmaid_deploy.on_host.trust import ROOT, As, Failed, owner

DONE = ".catmaid-deploy"
# The release that serves, for admins.
CURRENT = "current"
# What comes from the network may take long; nothing else of this may.
FETCH_SECONDS = 1800
LOCAL_SECONDS = 300
STATIC = "/django/static"
SETTINGS_PY = "/django/projects/mysite/settings.py"
# What git calls a release, which has no git of its own; the deploy's settings read it.
VERSION_FILE = "/.catmaid-deploy.version"


def do(user, what, *words, seconds=LOCAL_SECONDS, **options):
    """Run words as a user, with that user's own Git and SSH settings; raises Failed with its last lines."""
    code, output = As(user).run(words, seconds, **options)
    if code:
        raise Failed("%s: %s" % (what, ending(output, 8)))
    return output


def git(job, what, *words, **options):
    mirror = job["folder"] + "/repository.git"
    return do(job["owner"], what, "git", "--git-dir", mirror, *words, GIT_TERMINAL_PROMPT="0", **options)


def make_for(path, user):
    """A folder of a user's with those that it is in, if it is missing: by root only where root alone may write."""
    if owner(path):
        As(user).do(lambda at: make_missing(at, path))
    elif not ROOT.is_folder(path):
        make_missing(ROOT, path.rpartition("/")[0])
        ROOT.make_folder(path, 0o755, As(user).uid, As(user).gid)


def make_missing(at, path):
    if path and not at.is_folder(path):
        make_missing(at, path.rpartition("/")[0])
        at.make_folder(path)


def commit_of(job):
    """What the revision is in the mirror; '' if it is missing there."""
    words = ["git", "--git-dir", job["folder"] + "/repository.git", "rev-parse", "--verify", "-q"]
    code, output = As(job["owner"]).run([*words, job["revision"] + "^{commit}"], LOCAL_SECONDS)
    return "" if code else output


def fetch(job):
    """Have the revision in the mirror beside the releases; the network is asked only for one that is not there."""
    mirror, revision, them = job["folder"] + "/repository.git", job["revision"], As(job["owner"])
    if not them.do(lambda at: at.is_folder(mirror)):
        say("cloning %s" % job["repository"])
        new = mirror + ".new"
        them.do(lambda at: at.remove_tree(new), LOCAL_SECONDS)
        words = ["git", "clone", "--quiet", "--mirror", job["repository"], new]
        do(
            job["owner"],
            "%s can't be cloned" % job["repository"],
            *words,
            seconds=FETCH_SECONDS,
            GIT_TERMINAL_PROMPT="0",
            **job["fetching"],
        )
        them.do(lambda at: at.rename(new, mirror))
    elif not commit_of(job):
        say("fetching %s" % job["repository"])
        git(job, "the repository can't be changed", "remote", "set-url", "origin", job["repository"])
        what = "%s can't be fetched" % job["repository"]
        git(job, what, "fetch", "--quiet", "--prune", seconds=FETCH_SECONDS, **job["fetching"])
    commit = commit_of(job)
    if not commit:
        raise Failed("%s isn't in %s" % (revision, job["repository"]))
    if git(job, "git doesn't answer", "for-each-ref", "refs/heads/" + revision):
        raise Failed(
            "%s is a branch, whose meaning changes: give a tag or a commit such as %s" % (revision, commit[:12])
        )
    return commit


# As the user whose files they are: root follows nobody's links.
SHARE = """
import os, sys
mine, other, listed = sys.argv[1:]
own = [os.path.relpath(os.path.join(folder, name), mine) for folder, _, names in os.walk(mine) for name in names]
with open(os.path.join(mine, listed), "w") as file:
    file.write("".join(name + chr(10) for name in own))
try:
    with open(os.path.join(other, listed)) as file:
        theirs = file.read().splitlines()
except OSError:
    sys.exit()
for names, source, target in ((theirs, other, mine), (own, mine, other)):
    for name in names:
        try:
            os.makedirs(os.path.dirname(os.path.join(target, name)), exist_ok=True)
            os.link(os.path.join(source, name), os.path.join(target, name))
        except OSError:
            pass  # it has one of its own
"""


def share_static(job, new):
    """What only one of two releases has, the new one and the one in use, the other one gets as well: pages that were
    loaded before an update, or before a rollback, go on to ask for theirs.
    """
    used = ROOT.target(job["release_link"]) or ""
    words = (SYSTEM_PYTHON, "-I", "-c", SHARE, new + STATIC, used + STATIC, DONE)
    do(job["user"], "its static files can't be completed", *words)


def make_for_user(job, path):
    """A folder of the service user's; among the releases it is made by their owner, and then given away."""
    them, user = As(job["owner"]), As(job["user"])
    if not path.startswith(job["folder"] + "/"):
        make_for(path, job["user"])
        return
    them.do(lambda at: make_missing(at, path))
    if them.uid != user.uid:
        ROOT.give(path, them.uid, user.uid, user.gid)


def place_static(job, new):
    """The release's folder of static files, which its owner makes and the service user fills."""
    them, user, folder = As(job["owner"]), As(job["user"]), new + STATIC
    them.do(lambda at: make_missing(at, folder))
    if them.uid != user.uid:
        ROOT.give(folder, them.uid, user.uid, user.gid)
    if not user.do(lambda at: at.is_folder(job["files_folder"])):
        make_for_user(job, job["files_folder"])
    python, projects = job["virtualenv"] + "/bin/python", new + "/django/projects"
    path = "%s/bin:/usr/local/bin:/usr/bin:/bin" % job["virtualenv"]
    words = [python, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
    do(job["user"], "its static files can't be collected", *words, cwd=projects, PATH=path)
    share_static(job, new)


def unpack(job, commit, new):
    """A folder with the files of a commit, and links to what all releases share."""
    folder, them = job["folder"], As(job["owner"])
    them.do(lambda at: at.make_folder(new))
    script = 'git --git-dir "$1" archive --format=tar "$2" | tar -x -C "$3"'
    words = ["sh", "-c", script, "sh", folder + "/repository.git", commit, new]
    do(job["owner"], "%s can't be unpacked" % job["revision"], *words)
    # By the newest tag before it, if there is one.
    code, version = them.run(["git", "--git-dir", folder + "/repository.git", "describe", commit], LOCAL_SECONDS)

    def share(at):
        if job.get("settings"):
            if not code:
                at.write(new + VERSION_FILE, (version + "\n").encode())
            # Until the release serves as they will be; then by their place, where they may change.
            at.remove_tree(new + SETTINGS_PY)
            at.write(new + SETTINGS_PY, job["settings"]["text"].encode())
        for path in job["shared"]:
            at.remove_tree("%s/%s" % (new, path))
            at.link("%s/%s" % (new, path), "%s/shared/%s" % (folder, path))

    them.do(share)


def put_in_place(job):
    """A folder with the release's files, links to what all releases share, and its static files collected."""
    folder, revision, them = job["folder"], job["revision"], As(job["owner"])
    make_for(folder, job["owner"])
    commit = fetch(job)
    new, final = "%s/.%s.new" % (folder, revision), "%s/%s" % (folder, revision)
    remove_release(job, new)
    try:
        unpack(job, commit, new)
        python = job["virtualenv"] + "/bin/python"
        do(job["owner"], "the code isn't Python", python, "-m", "compileall", "-q", new + "/django")
        say("collecting its static files")
        place_static(job, new)
        them.do(lambda at: at.write("%s/%s" % (new, DONE), (commit + "\n").encode()))
        remove_release(job, final)
        current = "%s/%s" % (folder, CURRENT)

        def finish(at):
            if job.get("settings"):
                at.remove(new + SETTINGS_PY)
                at.link(new + SETTINGS_PY, job["settings"]["place"])
            at.rename(new, final)
            if not at.status(current):
                at.link(current, job["release_link"])

        them.do(finish)
    except BaseException:
        remove_release(job, new)
        raise
    say("put %s in place, commit %s" % (revision, commit[:12]))


def remove_release(job, path):
    """Remove a release, by those whose files it has; says what stays."""
    try:
        As(job["user"]).do(lambda at: at.is_folder(path + STATIC) and at.empty(path + STATIC), LOCAL_SECONDS)
    except (OSError, Failed):
        pass  # it isn't the service user's
    try:
        As(job["owner"]).do(lambda at: at.remove_tree(path), LOCAL_SECONDS)
        return True
    except (OSError, Failed) as error:
        say("kept %s: %s" % (path, error))
        return False


def releases(at, folder):
    """The complete ones, the newest first."""
    found = []
    for name in at.names(folder):
        done = at.status("%s/%s/%s" % (folder, name, DONE))
        if name != CURRENT and done:
            found.append((done.st_mtime, name))
    return [name for _, name in sorted(found, reverse=True)]


def started_with():
    """What the slots of all programs have in their files: the releases and environments that they refer to."""
    used = ""
    for path, status in ROOT.tree("/etc/catmaid"):
        if path.endswith("/environment.sh") and stat.S_ISREG(status.st_mode):
            used += ROOT.read(path)
    return used


def remove_old(job):
    """What is beyond the number to keep, and that no slot of any program refers to."""
    used = started_with()
    for name in As(job["owner"]).do(lambda at: releases(at, job["folder"]))[job["keep"] :]:
        path = "%s/%s" % (job["folder"], name)
        if name.isprintable() and path + "/" not in used and remove_release(job, path):
            say("removed the release %s" % name)
