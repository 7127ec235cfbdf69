"""What a release requires, read in a repository as a user. A part of a script, see `apply` and `facts.requirements`."""

import posixpath
import re

from catmaid_deploy.on_host.operations.common import ending
from catmaid_deploy.on_host.trust import Failed, plain

READING_SECONDS = 120
WHOLE_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
# Files that name each other.
MOST_FILES = 20
# A line that stands for another file's.
INCLUDES = re.compile(r"(?:-r|--requirement)[\s=]+(\S+)")


class NotInRelease(Failed):
    """A file that isn't in the release; ``path`` is which."""

    def __init__(self, path):
        super().__init__("the release has no %s" % path)
        self.path = path


def text_of(user, mirror, commit, path, options):
    words = ["git", "--git-dir", mirror, "show", "%s:%s" % (commit, path)]
    code, output = user.run(words, READING_SECONDS, GIT_TERMINAL_PROMPT="0", **options)
    if code and re.search(r"does not exist in|but not in", output):
        raise NotInRelease(plain(path))
    if code:
        raise Failed("%s can't be read in the repository: %s" % (path, ending(output, 2)))
    return output


def requirements_of(user, mirror, commit, paths, options=None):
    """The lines of these files, and of those that they name, as one text."""
    lines, queue, seen = [], list(paths), set()
    while queue:
        path = queue.pop(0)
        if path in seen:
            continue
        seen.add(path)
        if len(seen) > MOST_FILES:
            raise Failed("its files of requirements name more than %d others" % MOST_FILES)
        for line in text_of(user, mirror, commit, path, options or {}).splitlines():
            other = INCLUDES.match(line.strip())
            if other:
                queue.append(posixpath.normpath(posixpath.join(posixpath.dirname(path), other.group(1))))
            else:
                lines.append(line)
    return "".join(line + "\n" for line in lines)


def fetched_requirements(user, folder, release, options):
    """The requirements of a release by the least of its repository that tells them, which is put into a folder; None
    where nobody can tell before all is fetched. ``options`` are variables for git.
    """
    revision, mirror = release["revision"], folder + "/git"

    def git(*words):
        words = ["git", "--git-dir", mirror, *words]
        return user.run(words, READING_SECONDS, GIT_TERMINAL_PROMPT="0", **options)[0] == 0

    named = revision if WHOLE_COMMIT.fullmatch(revision) else "refs/tags/" + revision
    there = (
        git("init", "--quiet", "--bare")
        and git("remote", "add", "origin", release["repository"])
        and git("fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", named)
    )
    return requirements_of(user, mirror, "FETCH_HEAD", release["requirements"], options) if there else None
