"""A release of an instance's code, put in place beside the others. Joined with the other files of a job."""

import os
import pwd
import shutil

from operations.common_on_host import Failed, run, say

DONE = ".catmaid-deploy"
# The release that serves, for admins.
CURRENT = "current"


def as_user(user, *words, **options):
    """Run words as a user, with that user's own Git and SSH settings; raises Failed with its last lines."""
    code, output = run(["runuser", "-u", user, "--", "env", "HOME=" + pwd.getpwnam(user).pw_dir, *words], 900)
    if code:
        raise Failed("%s: %s" % (options["what"], "\n".join(output.splitlines()[-8:])))
    return output


def git(job, *words, **options):
    mirror = job["folder"] + "/repository.git"
    return as_user(job["owner"], "git", "--git-dir", mirror, *words, **options)


def make_folder(path, user):
    if os.path.isdir(path):
        return
    account = pwd.getpwnam(user)
    os.makedirs(path)
    os.chown(path, account.pw_uid, account.pw_gid)


def fetch(job):
    """Have the revision in the mirror beside the releases; the network is asked only for one that is not there."""
    mirror, revision = job["folder"] + "/repository.git", job["revision"]
    if not os.path.isdir(mirror):
        say("cloning %s" % job["repository"])
        new = mirror + ".new"
        shutil.rmtree(new, ignore_errors=True)
        what = "%s can't be cloned" % job["repository"]
        as_user(job["owner"], "git", "clone", "--quiet", "--mirror", job["repository"], new, what=what)
        os.rename(new, mirror)
    elif run(
        ["git", "-c", "safe.directory=*", "--git-dir", mirror, "rev-parse", "--verify", "-q", revision + "^{commit}"]
    )[0]:
        say("fetching %s" % job["repository"])
        git(job, "remote", "set-url", "origin", job["repository"], what="the repository can't be changed")
        git(job, "fetch", "--quiet", "--prune", what="%s can't be fetched" % job["repository"])
    commit = git(
        job,
        "rev-parse",
        "--verify",
        "-q",
        revision + "^{commit}",
        what="%s isn't in %s" % (revision, job["repository"]),
    )
    if git(job, "for-each-ref", "refs/heads/" + revision, what="git doesn't answer"):
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
    used = os.path.realpath(job["release_link"]) + "/django/static"
    words = ("python3", "-c", SHARE, new + "/django/static", used, DONE)
    as_user(job["user"], *words, what="its static files can't be completed")


def put_in_place(job):
    """A folder with the release's files, links to what all releases share, and its static files collected."""
    folder, revision = job["folder"], job["revision"]
    make_folder(folder, job["owner"])
    commit = fetch(job)
    new = "%s/.%s.new" % (folder, revision)
    shutil.rmtree(new, ignore_errors=True)
    make_folder(new, job["owner"])
    try:
        unpack = 'git --git-dir "$1" archive --format=tar "$2" | tar -x -C "$3"'
        mirror = folder + "/repository.git"
        as_user(job["owner"], "sh", "-c", unpack, "sh", mirror, commit, new, what="%s can't be unpacked" % revision)
        for path in job["shared"]:
            place = os.path.join(new, path)
            if os.path.lexists(place):
                os.unlink(place)
            as_user(job["owner"], "ln", "-s", "%s/shared/%s" % (folder, path), place, what="%s can't be linked" % path)
        python, projects = job["virtualenv"] + "/bin/python", new + "/django/projects"
        as_user(job["owner"], python, "-m", "compileall", "-q", new + "/django", what="the code isn't Python")
        say("collecting its static files")
        for path in (new + "/django/static", job["files_folder"]):
            make_folder(path, job["user"])
        words = [
            "sh",
            "-c",
            'cd "$1" && exec "$2" manage.py collectstatic --noinput --verbosity 0',
            "sh",
            projects,
            python,
        ]
        path = "PATH=%s/bin:/usr/local/bin:/usr/bin:/bin" % job["virtualenv"]
        as_user(job["user"], "env", path, *words, what="its static files can't be collected")
        share_static(job, new)
        with open(os.path.join(new, DONE), "w") as file:
            file.write(commit + "\n")
        final = "%s/%s" % (folder, revision)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(new, final)
        current = "%s/%s" % (job["folder"], CURRENT)
        if not os.path.lexists(current):
            as_user(job["owner"], "ln", "-s", job["release_link"], current, what="%s can't be made" % current)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    say("put %s in place, commit %s" % (revision, commit[:12]))


def releases(folder):
    """The complete ones, the newest first."""
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        done = os.path.join(folder, name, DONE)
        if name != CURRENT and os.path.exists(done):
            found.append((os.path.getmtime(done), name))
    return [name for _, name in sorted(found, reverse=True)]


def remove_old(job):
    """What is beyond the number to keep, and that no slot of any program refers to."""
    used = ""
    for folder, _, names in os.walk("/etc/catmaid"):
        for name in names:
            if name == "environment.sh":
                with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                    used += file.read()
    for name in releases(job["folder"])[job["keep"] :]:
        path = "%s/%s" % (job["folder"], name)
        if path + "/" not in used:
            shutil.rmtree(path, ignore_errors=True)
            say("removed the release %s" % name)
