"""Supervisor's own file, read as Supervisor reads it: by which socket it takes orders, with which password, and which
files it includes. Joined with the survey and with the jobs; the password never leaves the host.
"""

import base64
import configparser
import hashlib
import os
import platform
import pwd
import re
from fnmatch import fnmatchcase
from functools import lru_cache

from catmaid_deploy.on_host.trust import NOBODY, ROOT, changeable, owner, plain, proc

SUPERVISORD = "/etc/supervisor/supervisord.conf"
# As Debian's package has them.
ORDERS, ITS_PID, ITS_LOG = "/run/supervisor.sock", "/run/supervisord.pid", "/var/log/supervisor/supervisord.log"
BY_SOCKET, BY_TCP, ITSELF = "unix_http_server", "inet_http_server", "supervisord"
SAY_SOCKET = "say file = %s below [%s] in %s, and have it read: systemctl restart supervisor"
SAY_SOCKET %= (ORDERS, BY_SOCKET, SUPERVISORD)


class SupervisorsOwn:
    """What Supervisor's file says. ``problem`` is what a deploy can't live with, and what ends that; ``authorization``
    goes with each question.
    """

    def __init__(self, text, environment=None):
        self.text, self.environment = text, environment or {}
        self.socket, self.pid_file, self.log, self.authorization = ORDERS, ITS_PID, ITS_LOG, None
        self.patterns = []
        self.problem = None
        # Whether supervisorctl finds it by the same file.
        self.is_controlled = True
        self.parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
        try:
            self.parser.read_string(text)
            self._read()
        except configparser.Error as error:
            # Without the line itself, which may have the password.
            what = plain(str(error)).partition("\n")[0]
            self.problem = "it can't be read (%s)" % re.sub(r"'.*", "", what).strip(), "correct it"
        except (KeyError, TypeError, ValueError):
            self.problem = "it has a %(name)s in it that only Supervisor could replace", "write what it stands for"

    def _read(self):
        words = self._get("include", "files").split()
        self.patterns = [straight(os.path.join(os.path.dirname(SUPERVISORD), word)) for word in words]
        self.pid_file = self._path(ITSELF, "pidfile", ITS_PID)
        self.log = self._path(ITSELF, "logfile", ITS_LOG)
        section = next((name for name in self.parser.sections() if name.startswith(BY_SOCKET)), None)
        if section is None:
            tcp = any(name.startswith(BY_TCP) for name in self.parser.sections())
            what = "it takes orders by TCP alone, where any user may answer in its place" if tcp else "it has no socket"
            self.problem = what, SAY_SOCKET
            return
        self.socket = self._path(section, "file", ORDERS)
        user = self._get(ITSELF, "user", "root")
        if user not in ("root", "0"):
            fix = "take user = %s out of [%s], and restart Supervisor" % (plain(user), ITSELF)
            self.problem = "it runs as %s, and can't start programs of others" % plain(user), fix
        elif "rpcinterface:supervisor" not in self.parser.sections():
            self.problem = (
                "it has no [rpcinterface:supervisor], without which it takes no orders",
                "put that section back as Debian's package has it, and restart Supervisor",
            )
        else:
            self._authorize(section)

    def _authorize(self, section):
        user, password = self._get(section, "username"), self._get(section, "password")
        if password.startswith("{SHA}"):
            # What supervisorctl needs anyway.
            same, known = self._get("supervisorctl", "username") == user, self._get("supervisorctl", "password")
            if not same or hashlib.sha1(known.encode()).hexdigest() != password[len("{SHA}") :]:
                what = "it has a password's hash alone, and root needs the password"
                fix = "give username and password below [supervisorctl] as well, which needs them too"
                self.problem = what, fix
                return
            password = known
        control = [self._get("supervisorctl", key) for key in ("serverurl", "username", "password")]
        same_socket = at_run(control[0].partition("unix://")[2].strip()) == at_run(self.socket)
        self.is_controlled = same_socket and control[1:] == [user, password]
        if user or password:
            self.authorization = "Basic " + base64.b64encode(("%s:%s" % (user, password)).encode()).decode()

    def _get(self, section, key, otherwise=""):
        value = self.parser.get(section, key, fallback=None)
        if value is None:
            return otherwise
        names = {"here": os.path.dirname(SUPERVISORD), "host_node_name": platform.node()}
        return value % dict(names, **{"ENV_" + name: text for name, text in self.environment.items()})

    def _path(self, section, key, otherwise):
        value = self._get(section, key, otherwise).strip()
        return straight(value)


def at_run(path):
    """A path by the one of two names that /run has."""
    return straight(path[len("/var") :] if path.startswith("/var/run/") else path)


def straight(path):
    """A path from the root, without parts that lead nowhere or back."""
    parts = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def environment_of(pid):
    """The variables that a process was started with."""
    pairs = (one.partition("=") for one in proc(pid, "environ").split("\0"))
    return {name: value for name, _, value in pairs if name}


def its_variables(texts):
    """What Supervisor's files refer to of its environment, as it has them."""
    names = set(re.findall(r"%\(ENV_(\w+)\)s", "".join(texts)))
    has = environment_of(ROOT.read(ITS_PID).strip()) if names else {}
    return {name: has[name] for name in names if name in has}


def supervisors_own():
    """What Supervisor's file says; None where it isn't installed."""
    text = ROOT.read(SUPERVISORD)
    return understood(text) if text else None


@lru_cache(None)
def understood(text):
    return SupervisorsOwn(text, its_variables([text]))


def fits(path, pattern):
    """Whether a path is one that a pattern stands for: no wildcard stands for a slash."""
    parts = path.split("/"), pattern.split("/")
    return len(parts[0]) == len(parts[1]) and all(map(fnmatchcase, *parts))


def fitting(pattern):
    """The paths that a pattern stands for, and the folders where one may come or go; each part may have wildcards."""
    folders, found = [], [""]
    for part in pattern.strip("/").split("/"):
        if not set("*?[") & set(part):
            found = ["%s/%s" % (folder, part) for folder in found]
            continue
        folders += found
        found = [
            "%s/%s" % (folder, name)
            for folder in found
            for name in sorted(ROOT.names(folder or "/"))
            if fnmatchcase(name, part) and (not name.startswith(".") or part.startswith("."))
        ]
    return folders, found


def supervisor_reads():
    """The paths that Supervisor reads, its own first, with the folders where one may come or go."""
    found = [SUPERVISORD, "/etc/supervisor/conf.d"]
    for pattern in it.patterns if (it := supervisors_own()) else ():
        found += [path for paths in fitting(pattern) for path in paths]
    return found


def parser_environment():
    """The variables that Supervisor's parser needs to read its files as Supervisor does."""
    return its_variables([ROOT.read(path) for path in supervisor_reads()])


def whose_name(uid):
    try:
        return "a group" if uid == NOBODY else pwd.getpwuid(uid).pw_name
    except KeyError:
        return "the user %d" % uid


def supervisors_file(began):
    """What a look at the host says of Supervisor's file, None where it isn't installed; ``began`` is since when
    Supervisor runs, or None.
    """
    it = supervisors_own()
    if it is None:
        return None
    problem = it.problem
    whose = owner(it.socket)
    if not problem and whose:
        problem = "its socket %s lies where %s may put another" % (it.socket, whose_name(whose)), SAY_SOCKET
    status = ROOT.status(SUPERVISORD, follow=True)
    files = [path for path in supervisor_reads() if not ROOT.is_folder(path)]
    return {
        "socket": it.socket,
        "log": it.log,
        "patterns": it.patterns,
        "problem": problem and list(problem),
        "is_controlled": it.is_controlled,
        # What runs has read another one.
        "is_newer": bool(began and status and status.st_ctime > began),
        "of_others": [[path, whose_name(who)] for path in files if (who := changeable(path))],
    }
