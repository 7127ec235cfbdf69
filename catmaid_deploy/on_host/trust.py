"""The only module through which root touches what others may write; the first part of each script for the host.

A path is root's own if root alone can change where each of its folders leads. `ROOT` acts there, by descriptors of
folders, and follows a link only where nobody but root could have made it; anywhere else it raises `NotRoots`. What
somebody else may write is the matter of ``As(user)``: a child process, which has that user's rights and no others,
answers within limits of time and size. `owner` tells which of the two a path needs.

    ROOT.read("/etc/nginx/nginx.conf")
    As("www-data").do(lambda at: at.read("/run/catmaid/wsgi-a/started"))
    As("www-data").run(["/etc/catmaid/catmaid/start.sh", "code", "wsgi-a"])

No other module of these scripts opens, lists, changes or runs anything: `tests/unit/test_trust.py` sees to it, and so
all of it is in one file.
"""

import errno
import fcntl
import grp
import json
import os
import pwd
import re
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

# What a text that root reads may have, and what somebody else's process may answer.
LARGEST = 4 << 20
# Of one that somebody else may have made deep or endless on purpose.
MOST_NAMES = 20000
DEEPEST = 40
SECONDS = 20
EMPTY_SECONDS = 300
NOBODY = 65534
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Failed(Exception):
    """The job can't be done; the text says why, in a few lines."""


class NotRoots(OSError):
    """Somebody else can change what a path leads to; ``uid`` is who, or nobody where that is a group."""

    def __init__(self, path, folder, uid):
        super().__init__(errno.EPERM, "not only root may write in %s" % folder, path)
        self.uid = uid


def _roots(status):
    """Whether root alone may change a folder's names, or what a file says. Access lists show in the group's bits."""
    if status.st_uid or status.st_mode & stat.S_IWOTH:
        return False
    return not status.st_mode & stat.S_IWGRP or not status.st_gid or status.st_gid == _syslogs()


def _syslogs():
    """On Ubuntu /var/log is this group's as well. Nobody is in it but the system's own rsyslogd."""
    try:
        group = grp.getgrnam("syslog")
    except KeyError:
        return None
    return None if group.gr_mem else group.gr_gid


def _parts(path):
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _walk(path, follow, whose=0):
    """A descriptor of the folder that a path's last part is in, and the name of that part: '.' for '/'.

    ``follow`` resolves a link in that place as well. Raises NotRoots where somebody else could have made a part, but
    for ``whose``, of whom no link is followed.
    """
    todo, links, passed, others = _parts(path), 0, "", False
    here = os.open("/", _FOLDER)
    try:
        while True:
            status = os.fstat(here)
            if not _roots(status):
                others = whose and status.st_uid == whose
                if not others:
                    raise NotRoots(path, passed or "/", status.st_uid or NOBODY)
            if not todo:
                return here, "."
            name = todo.pop()
            if (todo or follow) and not others:
                try:
                    target = os.readlink(name, dir_fd=here) if name != ".." else None
                except OSError as error:
                    if error.errno != errno.EINVAL and (todo or error.errno != errno.ENOENT):
                        raise
                    target = None
                if target is not None:
                    links += 1
                    if links > DEEPEST:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                    todo += _parts(target)
                    if target.startswith("/"):
                        os.close(here)
                        here, passed = os.open("/", _FOLDER), ""
                    continue
            if not todo and name != "..":
                return here, name
            there = os.open(name, _FOLDER, dir_fd=here)
            os.close(here)
            here, passed = there, "%s/%s" % (passed, name)
    except BaseException:
        os.close(here)
        raise


def owner(path):
    """The number of the user who can change what a path leads to, root included; nobody's where a group can."""
    try:
        here, name = _walk(path, True)
    except NotRoots as error:
        return error.uid
    except OSError:
        return 0  # nothing is there, and only root could put it there
    try:
        status = os.stat(name, dir_fd=here, follow_symlinks=False)
    except OSError:
        return 0
    finally:
        os.close(here)
    if stat.S_ISDIR(status.st_mode) and not _roots(status):
        return status.st_uid or NOBODY
    return 0


def changeable(path):
    """The number of the user who can change what a file or folder says, root included; nobody's where a group can."""
    whose = owner(path)
    if whose:
        return whose
    status = ROOT.status(path, follow=True)
    return 0 if status is None or _roots(status) else status.st_uid or NOBODY


class Here:
    """Files and folders with the rights of this process. What is no plain file is never opened."""

    def _place(self, path, follow):
        """A descriptor of a folder, or None, and the path from there."""
        return None, path

    def _with(self, path, follow, act):
        place, name = self._place(path, follow)
        try:
            return act(place, name)
        finally:
            if place is not None:
                os.close(place)

    # ---- looking ----

    def status(self, path, follow=False):
        """What os.stat tells of a path; None where nothing is, or where it can't be reached."""
        try:
            return self._with(path, follow, lambda at, name: os.stat(name, dir_fd=at, follow_symlinks=follow))
        except (OSError, ValueError):
            return None

    def exists(self, path):
        return self.status(path, follow=True) is not None

    def is_folder(self, path):
        status = self.status(path, follow=True)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def is_file(self, path):
        status = self.status(path, follow=True)
        return status is not None and stat.S_ISREG(status.st_mode)

    def missing(self, path):
        """Whether nothing is at a path. What can't be reached may be there."""
        try:
            self._with(path, True, lambda at, name: os.stat(name, dir_fd=at))
            return False
        except OSError as error:
            return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

    def may(self, path, right):
        """Whether this user may 'read', 'write' or 'enter' what is at a path; access lists count."""
        return os.access(path, {"read": os.R_OK, "write": os.W_OK, "enter": os.X_OK}[right])

    def real(self, path):
        """The path without any link in it, as far as that can be known."""
        return os.path.realpath(path)

    def space(self, path):
        """What statvfs tells of the file system that holds a path; None where nothing is."""

        def ask(at, name):
            place = os.open(name, os.O_PATH | os.O_CLOEXEC | (0 if at is None else os.O_NOFOLLOW), dir_fd=at)
            try:
                return os.fstatvfs(place)
            finally:
                os.close(place)

        try:
            return self._with(path, True, ask)
        except OSError:
            return None

    def target(self, path):
        """Where a link leads; None where there is none."""
        try:
            return self._with(path, False, lambda at, name: os.readlink(name, dir_fd=at))
        except (OSError, ValueError):
            return None

    def names(self, path, most=MOST_NAMES):
        """The names in a folder, sorted, as far as they aren't too many."""
        try:
            folder = self._open(path, os.O_RDONLY | os.O_DIRECTORY, follow=True)
        except (OSError, ValueError):
            return []
        try:
            if not self._may_list(os.fstat(folder)):
                return []
            found = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    found.append(entry.name)
                    if len(found) >= most:
                        break
            return sorted(found)
        finally:
            os.close(folder)

    def _may_list(self, status):
        return True

    def tree(self, path, into=None, most=MOST_NAMES, deepest=DEEPEST):
        """Pairs of a path and its status below a folder, links unfollowed; ``into(path)`` says where to go on."""
        left, queue = most, [(path.rstrip("/"), 0)]
        while queue and left > 0:
            folder, depth = queue.pop()
            for name in self.names(folder, left):
                below = "%s/%s" % (folder, name)
                status = self.status(below)
                left -= 1
                if status is None or left < 0:
                    continue
                yield below, status
                if stat.S_ISDIR(status.st_mode) and depth < deepest and (into is None or into(below)):
                    queue.append((below, depth + 1))

    # ---- reading ----

    def _open(self, path, flags, follow=False, mode=0o600):
        # A link in the last place is followed by the walk alone, or with the rights of whoever made it.
        safely = _SAFELY & ~os.O_NOFOLLOW if follow and type(self) is Here else _SAFELY
        return self._with(path, follow, lambda at, name: os.open(name, flags | safely, mode, dir_fd=at))

    def open(self, path, follow=True):
        """A plain file's descriptor, to read; raises OSError for what is none."""
        file = self._open(path, os.O_RDONLY, follow)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(errno.EINVAL, "is no plain file", path)
        return file

    def file(self, path):
        """The same as a file."""
        return os.fdopen(self.open(path), "rb")

    def bytes(self, path, most=LARGEST, end=False, since=0):
        """The first bytes of a plain file, or its last; raises OSError where there is none to read.

        ``since`` is how many of them don't count.
        """
        with self.file(path) as opened:
            opened.seek(max(since, os.fstat(opened.fileno()).st_size - most if end else 0))
            return opened.read(most)

    def read(self, path, default="", most=LARGEST, end=False, since=0):
        """The same as text; ``default`` where there is no such file."""
        try:
            return self.bytes(path, most, end, since).decode("utf-8", "replace")
        except (OSError, ValueError):
            return default

    def json(self, path):
        """A JSON object; an empty one where there is none."""
        try:
            found = json.loads(self.read(path, "{}"))
        except (ValueError, RecursionError):
            found = {}
        return found if isinstance(found, dict) else {}

    def holder(self, path):
        """The number of the process that has locked a file against writing, as the kernel answers; None for none."""
        try:
            with self.file(path) as file:
                asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind, _, _, _, pid = struct.unpack("hhqqi", fcntl.fcntl(file, fcntl.F_GETLK, asked))
        except OSError:
            return None
        return None if kind == fcntl.F_UNLCK else pid

    # ---- changing ----

    def write(self, path, data, mode=0o644, uid=None, gid=None):
        """Write a file so that a reader, or a reboot, finds the old or the new one."""
        new = prepared(path)
        try:
            self.prepare(new, data, mode, uid, gid)
            self.rename(new, path)
        except OSError:
            self.unlink(new)
            raise

    def prepare(self, path, data, mode=0o644, uid=None, gid=None):
        """Write a file that nobody reads yet; one of that name goes, whatever it is."""
        self.unlink(path)
        with os.fdopen(self._open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(data)
            if uid is not None:
                os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())

    def fill(self, path, act, mode=0o600):
        """Write a file by ``act(descriptor)``, which may give that to a program: it has its name when all is in it."""
        new = prepared(path)
        self.unlink(new)
        file = self._open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=mode)
        try:
            act(file)
            os.fsync(file)
            self.rename(new, path)
        except BaseException:
            self.unlink(new)
            raise
        finally:
            os.close(file)

    def append(self, path, text, mode=0o644):
        """Add a text to a file, which is made if it is missing."""
        file = self._open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode=mode)
        with os.fdopen(file, "ab") as opened:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != os.geteuid():
                raise OSError(errno.EINVAL, "is no plain file of one's own", path)
            opened.write(text.encode("utf-8", "replace"))

    def rename(self, old, new):
        """Move what is at a path to another one of the same folder."""
        folder, name = os.path.split(old)
        if os.path.dirname(new) != folder:
            raise OSError(errno.EXDEV, "is in another folder", old)

        def move(at, last):
            os.rename(old if at is None else name, last, src_dir_fd=at, dst_dir_fd=at)

        self._with(new, False, move)

    def link(self, path, target):
        """Make a symbolic link, or have one lead elsewhere, in one step."""
        new = prepared(path)
        self.unlink(new)
        self._with(new, False, lambda at, name: os.symlink(target, name, dir_fd=at))
        self.rename(new, path)

    def unlink(self, path):
        """Remove a file, a link or a socket; returns whether one was there."""
        try:
            self._with(path, False, lambda at, name: os.unlink(name, dir_fd=at))
            return True
        except FileNotFoundError:
            return False

    def remove(self, path):
        """Remove what is at a path; a folder only if it is empty."""
        status = self.status(path)
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode):
            self._with(path, False, lambda at, name: os.rmdir(name, dir_fd=at))
        else:
            self.unlink(path)

    def remove_tree(self, path):
        """Remove a folder with all that is in it, by descriptors: no link is followed, whoever makes one meanwhile."""
        status = self.status(path)
        if status is None:
            return
        if not stat.S_ISDIR(status.st_mode):
            self.unlink(path)
            return
        self.empty(path)
        self._with(path, False, lambda at, name: os.rmdir(name, dir_fd=at))

    def empty(self, path):
        """Remove all that is in a folder, in the same way."""
        folder = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _empty(folder, time.monotonic() + EMPTY_SECONDS)
        finally:
            os.close(folder)

    def make_folder(self, path, mode=0o755, uid=None, gid=None):
        """Make a folder if it is missing, and give it owner and mode by its descriptor."""
        try:
            self._with(path, False, lambda at, name: os.mkdir(name, 0o700, dir_fd=at))
        except FileExistsError:
            pass
        folder = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if uid is not None:
                os.fchown(folder, uid, gid)
            os.fchmod(folder, mode)
        finally:
            os.close(folder)

    def set_owner(self, path, mode, uid, gid):
        """Give a plain file or a folder another owner and mode, by its descriptor."""
        thing = self._open(path, os.O_RDONLY)
        try:
            status = os.fstat(thing)
            if not stat.S_ISDIR(status.st_mode) and (not stat.S_ISREG(status.st_mode) or status.st_nlink != 1):
                raise OSError(errno.EINVAL, "is neither a folder nor a file of one name", path)
            os.fchown(thing, uid, gid)
            os.fchmod(thing, mode)
        finally:
            os.close(thing)

    def lock(self, path):
        """Hold a file until `unlock` gets what this returns, or this process ends; raises BlockingIOError where another
        process holds it.
        """
        file = self._open(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise
        return file

    def unlock(self, held):
        """Let a file go that was held by `lock`."""
        os.close(held)

    # ---- sockets ----

    def connect(self, path, seconds=5):
        """A connection to a socket."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(seconds)
        try:
            # By the descriptor of its folder: connect() follows links, and takes no folder of its own.
            self._with(path, False, lambda at, name: connection.connect(self._socket_path(at, name)))
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def _socket_path(place, name):
        if place is None:
            return name
        if not stat.S_ISSOCK(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), name)
        return "/proc/self/fd/%d/%s" % (place, name)


def _empty(folder, end):
    """Remove all that is in an open folder. Deep ones are gone through without recursion's limit."""
    device = os.fstat(folder).st_dev
    stack = [(os.dup(folder), None)]
    try:
        while stack:
            here, own = stack[-1]
            deeper = None
            with os.scandir(here) as entries:
                for entry in entries:
                    if time.monotonic() > end:
                        raise OSError(errno.ETIME, "has too much in it to be removed in time")
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.name, dir_fd=here)
                        continue
                    try:
                        os.rmdir(entry.name, dir_fd=here)
                    except OSError as error:
                        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                            raise
                        deeper = entry.name
                        break
            if deeper is not None:
                below = os.open(deeper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                stack.append((below, deeper))
                if os.fstat(below).st_dev != device:
                    raise OSError(errno.EXDEV, "has another file system in it", deeper)
                if len(stack) > 500:
                    raise OSError(errno.ELOOP, "is too deep", deeper)
                continue
            stack.pop()
            os.close(here)
            if stack:
                try:
                    os.rmdir(own, dir_fd=stack[-1][0])
                except FileNotFoundError:
                    pass
    finally:
        for here, _ in stack:
            os.close(here)


class Root(Here):
    """Files and folders that nobody but root can have put where they are."""

    def _place(self, path, follow):
        return _walk(path, follow)

    def _may_list(self, status):
        return self.owns(status)

    @staticmethod
    def owns(status):
        """Whether nobody else may change what has that status."""
        return _roots(status)

    def may(self, path, right):
        return True

    def real(self, path):
        try:
            here, name = _walk(path, True)
        except OSError:
            return path
        folder = os.readlink("/proc/self/fd/%d" % here)
        os.close(here)
        return os.path.normpath("%s/%s" % (folder, name))

    def hand_on(self, path, uid, gid):
        """Give the plain files of somebody's folder, which lies in one of root's, to somebody else, with the folder."""
        folder = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            whose = os.fstat(folder).st_uid
            with os.scandir(folder) as entries:
                names = [entry.name for _, entry in zip(range(MOST_NAMES), entries)]
            for name in names:
                try:
                    file = os.open(name, os.O_RDONLY | _SAFELY, dir_fd=folder)
                except OSError:
                    continue
                try:
                    status = os.fstat(file)
                    # Of two names one could be in a folder of somebody else's, and of another owner it is not theirs.
                    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid in (whose, uid):
                        os.fchown(file, uid, gid)
                finally:
                    os.close(file)
            os.fchown(folder, uid, gid)
        finally:
            os.close(folder)

    def give(self, path, whose, uid, gid):
        """Give a folder that ``whose`` made, in one of their own, to somebody else."""
        place, name = _walk(path, False, whose)
        try:
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
        finally:
            os.close(place)
        try:
            if os.fstat(folder).st_uid != whose:
                raise NotRoots(path, path, os.fstat(folder).st_uid or NOBODY)
            os.fchown(folder, uid, gid)
        finally:
            os.close(folder)


ROOT = Root()


def prepared(path):
    """The name under which a file is made ready beside its place."""
    return "%s/.%s.catmaid-deploy" % os.path.split(path)


# ---- programs ----


def _lead(words):
    """The program that words start, by a path that is root's own."""
    name = words[0]
    for path in [name] if name.startswith("/") else ["%s/%s" % (folder, name) for folder in PATH.split(":")]:
        try:
            here, last = _walk(path, True)
        except FileNotFoundError:
            continue
        try:
            status = os.stat(last, dir_fd=here, follow_symlinks=False)
        except OSError:
            continue
        finally:
            os.close(here)
        if not _roots(status):
            raise NotRoots(path, path, status.st_uid or NOBODY)
        return [path, *words[1:]]
    raise OSError(errno.ENOENT, "is not installed", name)


class Process:
    """A program that was started. Its output is read as far as ``most``, until ``seconds`` have passed.

    ``stdout`` is a descriptor for its output: then its errors are what is read, and stand in the output's place.
    """

    def __init__(self, words, env, cwd="/", most=LARGEST, stderr=subprocess.PIPE, stdout=subprocess.PIPE):
        self.most, self.told = most, None
        self.process, self.begun = None, time.monotonic()
        try:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                env=env, cwd=cwd, start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            self.told = 127, "", str(error)

    def end(self, seconds=60):
        """Exit code, output and errors, however often they are asked for; -9 when it took too long since its start."""
        if self.told is None:
            files = [file for file in (self.process.stdout, self.process.stderr) if file]
            # Of several that hang side by side each has used up its time, but for what it takes to read what it said.
            end = max(self.begun + seconds, time.monotonic() + 1)
            texts = _collect(self.process, files, end, self.most)
            texts = [text.decode("utf-8", "replace") for text in texts] + [""]
            code = -signal.SIGKILL if self.process.returncode is None else self.process.returncode
            if time.monotonic() >= end and code == -signal.SIGKILL:
                texts[0] += "\nno end within %d s" % seconds
            self.told = code, texts[0], texts[1]
        return self.told


def _collect(process, files, end, most):
    """What a process and its children write, until it ends. It and they are killed when that takes too long."""
    texts = {file.fileno(): b"" for file in files}
    watch = select.poll()
    for number in texts:
        os.set_blocking(number, False)
        watch.register(number, select.POLLIN | select.POLLHUP)
    opened = set(texts)
    while opened and time.monotonic() < end:
        for number, _ in watch.poll(50):
            try:
                data = os.read(number, 65536)
            except BlockingIOError:
                continue
            texts[number] += data
            if not data or len(texts[number]) > most:
                watch.unregister(number)
                opened.discard(number)
        if sum(map(len, texts.values())) > most:
            break
        # A child that was left behind may keep the other end open for ever.
        if opened and process.poll() is not None and not watch.poll(0):
            break
    else:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            pass
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            pass  # not even that ends one that a disk has made hang: it ends with the disk
    for file in files:
        file.close()
    return [text[:most] for text in texts.values()]


def start(words, most=LARGEST, stderr=subprocess.PIPE, **env):
    """Start a program of root's, which nobody else can have put where it is."""
    # The way from here to the program is root's own: its PATH as well.
    own = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **env}
    try:
        return Process(_lead(words), own, most=most, stderr=stderr)
    except OSError as error:
        return not_started("%s: %s" % (words[0], error.strerror))


def not_started(why):
    """What stands for a program that can't be started."""
    failed = Process.__new__(Process)
    failed.told = 127, "", why
    return failed


def run(words, seconds=120, most=LARGEST, **env):
    """Exit code and output, errors among it, of a program of root's."""
    code, output, error = start(words, most, subprocess.STDOUT, **env).end(seconds)
    return code, (output + error).strip()


class As:
    """A user whose rights a child process takes on for good. Root's are never given.

    Raises Failed for a user who isn't there, and for root by whatever name. ``further`` are numbers of groups that the
    user has as well, or will have.
    """

    def __init__(self, user, further=()):
        try:
            account = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
        except KeyError:
            if not isinstance(user, int) or not user:
                raise Failed("there is no user %s" % user) from None
            account = pwd.struct_passwd((str(user), "x", user, user, "", "/", "/bin/sh"))
        if account.pw_uid == 0:
            raise Failed("%s is root: what others may write is never opened or run as root" % account.pw_name)
        self.name, self.uid, self.gid, self.home = account[0], account[2], account[3], account[5]
        self._groups, self._further = None, further

    @property
    def groups(self):
        if self._groups is None:
            # Nobody's groups could be somebody's.
            found = os.getgrouplist(self.name, self.gid) if self.uid != NOBODY else [self.gid]
            self._groups = [group for group in (*found, *self._further) if group] or [self.gid]
        return self._groups

    def start(self, words, cwd="/", most=LARGEST, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **env):
        """Start a program with the user's rights: no new ones by any program, and it ends with this process."""
        own = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": self.home, "USER": self.name, "LOGNAME": self.name}
        own.update({"LC_ALL": "C.UTF-8"}, **env)
        lead = ["setpriv", "--reuid=%d" % self.uid, "--regid=%d" % self.gid]
        lead += ["--groups=%s" % ",".join(map(str, self.groups)), "--inh-caps=-all", "--no-new-privs"]
        lead += ["--pdeathsig=KILL", "--"]
        # setpriv finds what it starts with root's capabilities, and so that is root's shell: it has none of them left.
        inside = ["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", cwd]
        return Process(_lead([*lead, *inside, *words]), own, most=most, stderr=stderr, stdout=stdout)

    def run(self, words, seconds=120, **options):
        """Exit code and output, errors among it."""
        code, output, error = self.start(words, stderr=subprocess.STDOUT, **options).end(seconds)
        return code, (output + error).strip()

    def begin(self, act, seconds=SECONDS):
        """Have ``act(Here())`` run in a child with the user's rights, beside what goes on here; see `Asked.end`."""
        return Asked(act, seconds, self)

    def do(self, act, seconds=SECONDS):
        """What ``act(Here())`` returns in a child with the user's rights, as JSON has it.

        Raises Failed where it takes too long, and OSError with what it raised.
        """
        return self.begin(act, seconds).end()


class Asked:
    """A child of this process that works for it with somebody's rights.

    ``more`` seconds are for one that computes when its own have passed: what waits for a disk doesn't.
    """

    def __init__(self, act, seconds, user=None, more=0):
        self.seconds, self.user, self.more, self.ticks = seconds, user, more, None
        self.limit = time.monotonic() + seconds
        self.reader, writer = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                pass  # the admin's side may be gone: what was begun is ended all the same
        self.pid = os.fork()
        if self.pid:
            os.close(writer)
            return
        try:
            answer = self._answer(act, writer)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(json.dumps(answer).encode())
        finally:
            os._exit(0)

    def _answer(self, act, writer):
        try:
            # The child outlives no limit, also when this process is killed; its group is its own.
            os.setsid()
            for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.alarm(int(self.seconds + self.more) + 1)
            for number in map(int, os.listdir("/proc/self/fd")):
                if number != writer:
                    try:
                        os.close(number)
                    except OSError:
                        pass
            # Where this process began may be a folder that the user can't enter, or is on a disk that hangs.
            os.chdir("/")
            if self.user:
                os.setgroups(self.user.groups)
                os.setresgid(self.user.gid, self.user.gid, self.user.gid)
                os.setresuid(self.user.uid, self.user.uid, self.user.uid)
                if 0 in os.getresuid() or 0 in os.getresgid():
                    return {"failed": "root's rights aren't dropped"}
            return {"answer": act(Here() if self.user else ROOT)}
        except OSError as error:
            return {"errno": error.errno, "error": error.strerror or str(error), "path": str(error.filename or "")}
        except Exception as error:
            return {"failed": "%s: %s" % (type(error).__name__, error)}

    def _computes(self):
        """Whether it has had the processor since this was last asked."""
        words = proc(self.pid, "stat").rpartition(")")[2].split()
        before, self.ticks = self.ticks, words[11:13]
        return self.ticks != before

    def due(self):
        """When it is to be looked at: a second before its time is over, and then."""
        return self.limit - (1 if self.more and self.ticks is None else 0)

    def is_over(self):
        """Whether it gets no more time, asked when it is due."""
        if not self.more:
            return True
        first, computes = self.ticks is None, self._computes()
        if first:
            self.limit = max(self.limit, time.monotonic() + 1)
        elif computes:
            self.more, self.limit = self.more - 1, time.monotonic() + 1
        else:
            self.more = 0
        return not (first or computes)

    def end(self):
        """What it answers. Raises Failed where that takes too long or is none, and OSError for its own."""
        settle([self])
        text, late, watch = b"", False, select.poll()
        watch.register(self.reader, select.POLLIN | select.POLLHUP)
        while len(text) <= LARGEST:
            # What it has answered counts also where nobody has listened in time.
            left = self.limit - time.monotonic()
            if not watch.poll(int(1000 * left) + 1 if left > 0 else 0):
                late = True
                break
            data = os.read(self.reader, 1 << 20)
            if not data:
                break
            text += data
            # The rest of a long answer comes as it is read.
            self.limit = max(self.limit, time.monotonic() + 1)
        os.close(self.reader)
        try:
            os.kill(self.pid, signal.SIGKILL)
        except OSError:
            pass
        # One that hangs on a disk can't be killed: it isn't waited for.
        os.waitpid(self.pid, os.WNOHANG if late else 0)
        try:
            found = json.loads(text)
        except ValueError:
            found = {"failed": "no answer within %d s" % self.seconds if late else "it ended without an answer"}
        if "answer" in found:
            return found["answer"]
        if "errno" in found:
            raise OSError(found["errno"], found["error"], found["path"])
        raise Failed("%s: %s" % (self.user.name if self.user else "root", found["failed"]))


def settle(children):
    """Wait until each child begins to answer or has no time left: for all at once, since many may hang on one disk."""
    watch, left = select.poll(), {child.reader: child for child in children}
    for reader in left:
        watch.register(reader, select.POLLIN | select.POLLHUP)
    while left:
        wait = min(child.due() for child in left.values()) - time.monotonic()
        done = [reader for reader, _ in watch.poll(int(1000 * wait) + 1 if wait > 0 else 0)]
        now = time.monotonic()
        done += [one for one, child in left.items() if one not in done and child.due() <= now and child.is_over()]
        for reader in done:
            watch.unregister(reader)
            del left[reader]


def within(seconds, act):
    """What ``act(ROOT)`` returns in a child of root's, for what may hang: another process's memory, a disk."""
    return Asked(act, seconds).end()


# ---- the kernel's own files ----


def proc(pid, name, most=1 << 16):
    """A file of a process, as the kernel makes it; '' where it has ended."""
    try:
        file = os.open("/proc/%d/%s" % (int(pid), name), os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ""
    try:
        with os.fdopen(file, "rb") as opened:
            return opened.read(most).decode("utf-8", "replace")
    except OSError:
        return ""


def spare(pid, uid):
    """Have the kernel end a user's process no sooner than others where memory gets short; nothing if it has ended."""
    try:
        folder = os.open("/proc/%d" % int(pid), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return
    try:
        if os.fstat(folder).st_uid == uid:
            file = os.open("oom_score_adj", os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
            with os.fdopen(file, "w") as opened:
                opened.write("0")
    except OSError:
        pass
    finally:
        os.close(folder)


def proc_target(pid, name):
    """Where a link of the kernel's leads, such as a process's program; '' where it has ended."""
    try:
        return os.readlink("/proc/%d/%s" % (int(pid), name))
    except (OSError, ValueError):
        return ""


def handles(pid):
    """What a process has open, as the kernel calls it. What it closes meanwhile is left out."""
    try:
        names = os.listdir("/proc/%d/fd" % int(pid))
    except OSError:
        return []
    return [proc_target(pid, "fd/" + name) for name in names]


def processes():
    """The numbers of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def plain(text):
    """A text for a screen: a line stays a line, and nothing in it steers a terminal."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]",
                  lambda found: "\\x%02x" % ord(found.group()), text.replace("\t", "    "))  # fmt: skip
