"""What lies in places that others than root may change, each asked with the rights of whoever uses it.

Runs on the host, joined with the survey. One child a user answers all questions about that user's places, side by
side with the others; what it answers is that user's word, and is taken for no more.
"""

import grp
import json
import os.path
import re
import stat
import time
from fnmatch import fnmatch

from catmaid_deploy.on_host.trust import NOBODY, ROOT, As, Asked, Failed, not_started, owner, plain, settle

# For all questions about one user's places, and for those of one disk where that wasn't enough, or for each of them.
TOGETHER, ALONE = 5, 2
# How much longer one may take that has much to do, on a host that has other things to do.
BUSY = 60
STATIC_AND_FILES = ("STATIC_ROOT", "MEDIA_ROOT")
# How much of a folder is looked through for what nobody wants to be served, and of all of them together.
SERVED_NAMES, SERVED_DEPTH, SERVED_TOGETHER = 300, 2, 20000
MOST_WORKERS = 4096
MOST_ALONE = 20


def start_as(user, words, **options):
    """Start a program as a user; one that can't be started ends with 127."""
    try:
        return As(user).start(words, **options)
    except (Failed, OSError) as error:
        return not_started(str(error))


def start_python(user, environment, code, *words, **options):
    """Start the Python of an instance's programs, with the file of variables that these of a slot run with."""
    script = '. "$1" && shift && exec "$VIRTUAL_ENV/bin/python" -c "$@"'
    return start_as(user, ["sh", "-c", script, "sh", environment, code, *words], **options)


def reader_of(folder):
    """Who reads what is in a folder: its owner; of one of root's the user of the group's name who may write there."""
    user = owner(folder) or ROOT
    status = ROOT.status(folder)
    if user == NOBODY and status is not None and not status.st_uid:
        try:
            return grp.getgrgid(status.st_gid).gr_name
        except KeyError:
            return user
    return user


class Answer:
    """A question about a path; ``value`` is the answer, or what was given for want of one."""

    def __init__(self, path, act, value):
        self.path, self.act, self.value = path, act, value


class Places:
    """Questions about places, each asked as its user; ``hanging`` are those that got no answer in time: the user, the
    path, and where its disk is mounted.
    """

    def __init__(self):
        self._users, self._asked, self._begun = {}, {}, []
        self.hanging = []

    def user(self, name):
        """A user by name or number; None for one who isn't there."""
        if name not in self._users:
            try:
                self._users[name] = As(name)
            except Failed:
                self._users[name] = None
        return self._users[name]

    def ask(self, user, path, act, value=None):
        """Have ``act(at)`` answer as a user, or as root's child where that is ROOT and may hang.

        Of a user who isn't there nothing is known: the answer is ``value``, as for one that hangs.
        """
        answer = Answer(path, act, value)
        user = self.user(user) if isinstance(user, (str, int)) else user
        if user is not None:
            self._asked.setdefault(0 if user is ROOT else user.uid, (user, []))[1].append(answer)
        return answer

    def begin(self, hung=()):
        """``hung`` are paths known to give no answer: what is there, or below, isn't asked."""
        for user, answers in self._asked.values():
            late = [answer for answer in answers if any(is_below(answer.path, path) for path in hung)]
            self._hang(user, late)
            asked = [answer for answer in answers if answer not in late]
            if asked:
                self._begun.append((user, asked, child_of(user, asked, TOGETHER)))

    def end(self):
        late = unanswered(self._begun)
        # A disk that doesn't answer, or a child that was killed, costs no more than the questions about it. Each child
        # that hangs stays until the disk is back: there are as few of them as can be.
        mounted = mounts() if late else set()
        by_disk = [
            (user, [answer for answer in answers if mount_of(answer.path, mounted) == mount])
            for user, answers in late
            for mount in dict.fromkeys(mount_of(answer.path, mounted) for answer in answers)
        ]
        late = unanswered([(user, answers, child_of(user, answers, ALONE)) for user, answers in by_disk])
        # Links may lead from there to another disk.
        alone = [(user, [answer]) for user, answers in late for answer in answers[:MOST_ALONE] if len(answers) > 1]
        left = [(user, answers[MOST_ALONE:] if len(answers) > 1 else answers) for user, answers in late]
        late = unanswered([(user, answers, child_of(user, answers, ALONE)) for user, answers in alone])
        for user, answers in (*late, *left):
            self._hang(user, answers)

    def _hang(self, user, answers):
        mounted = mounts() if answers else set()
        name = "root" if user is ROOT else user.name
        self.hanging += [[name, answer.path, mount_of(answer.path, mounted)] for answer in answers]


def unanswered(begun):
    """Take what children answer; each user with those of his questions that got no answer."""
    late = []
    settle([child for _, _, child in begun])
    for user, answers, child in begun:
        try:
            take(answers, child.end())
        except (Failed, OSError):
            late.append((user, answers))
    return late


def is_below(path, folder):
    """Whether a path is a folder, or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def child_of(user, answers, seconds):
    """A process with a user's rights that answers questions; see `take`."""
    return Asked(lambda at: [value_of(at, answer) for answer in answers], seconds, None if user is ROOT else user, BUSY)


def value_of(at, answer):
    """The value in a list, which is empty where there is none."""
    try:
        return [answer.act(at)]
    except Exception:
        return []


def take(answers, values):
    for answer, value in zip(answers, values):
        if value:
            answer.value = value[0]


# ---- what is where ----


def there(at, path, is_kind=None):
    """Whether something is at a path. What can't be reached counts: another line says who can't reach it."""
    status = at.status(path, follow=True)
    if status is None:
        return not at.missing(path)
    return is_kind is None or bool(is_kind(status.st_mode))


def matching(at, pattern):
    """The paths that fit a pattern, whose last two parts may have wildcards."""
    folder, name = os.path.split(pattern)
    above, middle = os.path.split(folder)
    folders = [folder]
    if "*" in middle:
        folders = ["%s/%s" % (above, one) for one in at.names(above) if fnmatch(one, middle)]
    return ["%s/%s" % (place, one) for place in folders for one in at.names(place) if fnmatch(one, name)]


def first_missing(at, paths):
    return next((path for path in paths if not there(at, path)), None)


def first_blocked(at, path, user, want="read"):
    """The first part of a path that the user can't enter, or read or connect to; whose right is missing, by chmod's
    letter, and which. None when all is open. Groups and access lists count as they do in earnest. With "write" the
    path is a folder to write in.
    """
    parts = path.strip("/").split("/")
    for n in range(1, len(parts) + 1):
        part = "/" + "/".join(parts[:n])
        status = at.status(part, follow=True)
        if status is None:
            return None  # what isn't there has a line of its own
        right, letters = "read", "r"
        if stat.S_ISDIR(status.st_mode):
            right, letters = "enter", "x"
        elif stat.S_ISSOCK(status.st_mode):
            right, letters = "write", "rw"
        blocks = not at.may(part, right)
        if n == len(parts) and want == "write":
            blocks, letters = blocks or not (at.may(part, "read") and at.may(part, "write")), "rwx"
        if blocks:
            return part, "u" if status.st_uid == user.uid else "g" if status.st_gid in user.groups else "o", letters
    return None


def space(at, path):
    """Of the file system that holds a path, or would: the path without links, and figures of its blocks and files."""
    while True:
        found = at.space(path)
        if found is not None or path == "/":
            break
        path = os.path.dirname(path)
    figures = found and [found.f_frsize, found.f_blocks, found.f_bavail, found.f_files, found.f_favail]
    return [at.real(path), figures or [1, 0, 0, 0, 0]]


def mounts():
    """Where file systems are mounted."""
    paths = [line.split()[4] for line in ROOT.read("/proc/self/mountinfo").splitlines()]
    # A space in a path is written as an octal number.
    return {re.sub(r"\\(\d{3})", lambda code: chr(int(code.group(1), 8)), path) for path in paths}


def mount_of(path, mounted):
    """The mount point that a path without links is below."""
    while path not in mounted and path != "/":
        path = os.path.dirname(path)
    return path


def tiles(at, asked):
    """Whether a tile set's folder and fallback image are there, and where it and its disk lead to."""
    return {
        "folder": there(at, asked["folder"], stat.S_ISDIR),
        "proof": there(at, asked["proof"]),
        "fallback": not asked["fallback"] or there(at, asked["fallback"], stat.S_ISREG),
        "real": at.real(asked["folder"]),
        "mount": asked["mount"] and at.real(asked["mount"]),
    }


def release(at, asked):
    """Whether a release is there, which others are, and what all of them share."""
    folder = asked["folder"]
    # Other names than these are no release's.
    names = [name for name in at.names(folder) if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name)]
    return {
        "there": at.exists(asked["proof"]),
        "all": [n for n in names if n != "current" and at.exists("%s/%s/.catmaid-deploy" % (folder, n))],
        "shared": {path: at.exists("%s/shared/%s" % (folder, path)) for path in asked["shared"]},
    }


def served(at, folder, most=SERVED_NAMES):
    """Where a folder that nginx serves leads to, what in its upper levels nobody wants to be served, and the names
    of links there that nginx doesn't follow.
    """
    found, links = [], []
    named = ["%s/%s" % (folder, name) for name in ("settings.py", "mysite/settings.py", ".git", "HEAD", "pyvenv.cfg")]
    below = []
    for path, status in at.tree(folder, most=most, deepest=SERVED_DEPTH - 1):
        below.append(path)
        target = at.status(path, follow=True) if stat.S_ISLNK(status.st_mode) and len(links) < 5 else None
        if target and target.st_uid != status.st_uid:
            links.append(plain(path[len(folder) + 1 :]))
    for path in dict.fromkeys(path for path in (*named, *below) if path in below or at.exists(path)):
        kind = suspect(at, path)
        if kind and len(found) < 5:
            found.append([kind, plain(path[len(folder) + 1 :])])
    return {"real": at.real(folder), "holds": found, "links": links}


def suspect(at, path):
    """What a file or folder is that isn't for everybody; None for others."""
    folder, name = os.path.split(path)
    if name == "settings.py":
        return "settings"
    if name == ".git" or (name == "HEAD" and at.is_folder(folder + "/objects") and at.is_folder(folder + "/refs")):
        return "repository"
    if name == "pyvenv.cfg":
        return "environment"
    if name.endswith((".pem", ".key")) or name.startswith("id_"):
        return "key" if "PRIVATE KEY-----" in at.read(path, most=4096) else None
    return None


# ---- an application ----


def records(at, folder):
    """What the programs in an instance's slots have noted at their start: process, files, group and code."""
    found = {}
    for name in at.names(folder, 100):
        text = at.read("%s/%s/started" % (folder, name), most=500)
        note = re.fullmatch(r"([0-9]{1,9}) [0-9]+ ([0-9a-z]{1,64}) ([0-9a-z]{1,64}) ([0-9a-z]{1,64})\n?", text)
        if note:
            found[name] = [int(note.group(1)), *note.groups()[1:]]
    return found


def statistics(at, path):
    """What uWSGI tells of its workers; None where it doesn't, or tells what can't be. It tells at once, unless it is
    stopped.
    """
    try:
        with at.connect(path, 1) as connection:
            told = json.loads(whole(connection, 1).decode("utf-8", "replace"))
        cores = [core for worker in told["workers"] for core in worker["cores"]]
        requests = [worker["requests"] for worker in told["workers"]]
        waiting = told.get("listen_queue", 0)
        if not all(isinstance(one, int) and 0 <= one < 1 << 53 for one in (*requests, waiting)):
            return None
        busy = sum(bool(core["in_request"]) for core in cores)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not 0 < len(cores) <= MOST_WORKERS:
        return None
    return {"requests": sum(requests), "busy": busy, "threads": len(cores), "waiting": waiting}


def whole(connection, seconds, most=4 << 20):
    """What a program says until it ends the connection; raises OSError where that takes too long or is too much."""
    end, text = time.monotonic() + seconds, b""
    while True:
        connection.settimeout(max(0.01, end - time.monotonic()))
        data = connection.recv(1 << 16)
        if not data:
            return text
        text += data
        if len(text) > most or time.monotonic() > end:
            raise OSError("its answer is too long or too slow")
