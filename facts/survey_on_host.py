"""Runs on the host, as root, with its own python3 (3.9 or later) and nothing else; prints JSON.

Reads only. The argument is JSON, made by `tasks.preflight.question`. What takes a process of its own is
started first and read last, so that the host works on it meanwhile.
"""

import fcntl
import grp
import hashlib
import json
import os
import pwd
import re
import resource
import socket
import ssl
import stat
import struct
import subprocess
import sys
import time
from datetime import datetime, timezone
from functools import lru_cache

from facts.web_on_host import accounts, neighbours, password_lines, rights

STATE = "/var/lib/catmaid-deploy"
RUN = "/run/catmaid-deploy"
LARGEST = 1 << 18
LOCK_SECONDS = 2 * 3600

# Asked of a virtualenv's Python: its version and program, whether its packages are there, whether uWSGI can be compiled
# against it, and what its folders have. Only what loads at once: json and re take as long as all of this. The first and
# the last line are there since a virtualenv's own start can print some too, or the process can end too early.
PYTHON = """
import os, sys, sysconfig
print("catmaid-deploy asks")
print("%d.%d.%d" % sys.version_info[:3])
print(os.path.realpath(sys.executable))
print(os.path.isdir(sysconfig.get_path("purelib")))
print(os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
more = os.environ.get("PYTHONPATH", "").split(":")
for folder in sys.path:
    if os.path.isdir(folder) and folder not in more:
        print("\\n".join(name for name in os.listdir(folder) if name.endswith("-info")))
print("catmaid-deploy asked")
"""
PACKAGES = ("django", "daphne", "celery", "uwsgi", "gunicorn", "gevent", "psycogreen")


def start(words, **options):
    try:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        )
    except OSError as error:
        return str(error)


def start_as(user, words):
    """The same as another user, with all groups that it has."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return "there is no user %s" % user

    own = dict(os.environ, HOME=account.pw_dir, USER=user, LOGNAME=user)
    groups = os.getgrouplist(user, account.pw_gid)
    return start(words, user=account.pw_uid, group=account.pw_gid, extra_groups=groups, env=own)


def finish(process):
    """Exit code, output and errors of what ``start`` began, however often they are asked for."""
    if isinstance(process, str):
        return 127, "", process
    if not hasattr(process, "told"):
        try:
            process.told = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.told = process.communicate()
    out, error = process.told
    return process.returncode, out.decode("utf-8", "replace"), error.decode("utf-8", "replace")


def read(path, default=""):
    try:
        with open(path, encoding="utf-8", errors="replace") as text:
            return text.read()
    except OSError:
        return default


def read_json(path):
    try:
        found = json.loads(read(path, "{}"))
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def os_release():
    found = {}
    for line in read("/etc/os-release").splitlines():
        key, _, value = line.strip().partition("=")
        found[key] = value.strip('"')
    return {"id": found.get("ID", ""), "version": found.get("VERSION_ID", ""), "name": found.get("PRETTY_NAME", "?")}


def packages(output):
    """The installed packages with their versions, and the digests of their configuration files as they came."""
    installed, as_it_came = {}, {}
    for line in output.splitlines():
        words = line.split()
        if line.startswith("=") and words[1:2] == ["installed"]:
            installed[words[0][1:]] = words[2]
        elif line.startswith(" /") and len(words) >= 2:
            as_it_came[words[0]] = words[1]
    return installed, as_it_came


def units(output):
    found = {}
    for block in output.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        found[values.get("Id", "?")] = {
            "active": values.get("ActiveState") == "active",
            "enabled": values.get("UnitFileState") == "enabled",
            "needs_daemon_reload": values.get("NeedDaemonReload") == "yes",
        }
    return found


@lru_cache(None)
def owner_name(number):
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@lru_cache(None)
def group_name(number):
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def look(path, secret):
    """What is at a path: kind, owner, mode, and of a file its digest; its text only where everybody may read it."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    found = {
        "user": owner_name(status.st_uid),
        "group": group_name(status.st_gid),
        "mode": "%o" % stat.S_IMODE(status.st_mode),
        "time": status.st_mtime,
    }
    if stat.S_ISLNK(status.st_mode):
        return dict(found, kind="link", target=os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return dict(found, kind="folder")
    if not stat.S_ISREG(status.st_mode):
        return dict(found, kind="other")
    with open(path, "rb") as file:
        data = file.read(LARGEST)
    found.update(kind="file", sha256=hashlib.sha256(data).hexdigest(), md5=hashlib.md5(data).hexdigest())
    if status.st_mode & stat.S_IROTH and not secret:
        found["text"] = data.decode("utf-8", "replace")
    return found


def literal(settings, name):
    """The text that settings.py gives a name at the start of a line; the file's secrets stay on the host."""
    found = re.findall(r"^%s\s*=\s*(['\"])(.*?)\1\s*(?:#.*)?$" % name, settings, re.MULTILINE)
    return found[-1][1] if found else None


def blocked(questions, nginx):
    """For each [user, path] the first part of the path that the user can't enter or read, and by which letter of
    chmod it would be opened; None when all is open.

    Asked of the kernel, by a child that is that user: groups and access lists count as they do in earnest.
    """
    answers = [None] * len(questions)
    for user in sorted({user for user, _ in questions}):
        account = rights(user, nginx)
        if not account:
            continue
        uid, gid, groups = account
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups(groups)
                os.setgid(gid)
                os.setuid(uid)
                found = [first_blocked(path, uid, groups) if one == user else None for one, path in questions]
                os.write(writer, json.dumps(found).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        for number, part in enumerate(json.loads(text or "[]")):
            answers[number] = answers[number] or part
    return answers


def first_blocked(path, uid, groups):
    parts = path.strip("/").split("/")
    for n in range(1, len(parts) + 1):
        part = "/" + "/".join(parts[:n])
        if not os.path.lexists(part) and os.access(os.path.dirname(part), os.X_OK):
            return None  # what isn't there has a line of its own
        try:
            status = os.stat(part)
        except OSError:  # a link that leads nowhere
            return None
        kind = status.st_mode
        if not os.access(part, os.X_OK if stat.S_ISDIR(kind) else os.W_OK if stat.S_ISSOCK(kind) else os.R_OK):
            return part, "u" if status.st_uid == uid else "g" if status.st_gid in groups else "o"
    return None


# Of Linux's headers, which Python's socket doesn't have.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP = 4, 20, 0x301
NLMSG_ERROR, NLMSG_DONE, TCP_LISTEN = 2, 3, 10


def listening():
    """Port and inode of all TCP sockets that listen, as `ss` asks the kernel: /proc/net/tcp has all connections too,
    and takes longer than all else here.
    """
    # sock_diag(7): a dump of the TCP sockets in the state LISTEN, and of each inet_diag_msg the port and the inode.
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as link:
            link.settimeout(5)
            head = (72, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0)
            link.send(struct.pack("=IHHIIBBBBI48x", *head, family, socket.IPPROTO_TCP, 0, 0, 1 << TCP_LISTEN))
            kind = None
            while kind != NLMSG_DONE:
                data = link.recv(1 << 20)
                while data:
                    length, kind = struct.unpack_from("=IH", data)
                    if kind == NLMSG_ERROR:
                        raise OSError("the kernel doesn't tell")
                    if kind == SOCK_DIAG_BY_FAMILY:
                        yield struct.unpack_from("!H", data, 20)[0], struct.unpack_from("=I", data, 84)[0]
                    data = data[(length + 3) & ~3 :]


def listening_by_table():
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in read(table).splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                yield int(words[1].rpartition(":")[2], 16), int(words[9])


def handles(pid):
    """What a process has open. What it closes meanwhile is left out."""
    try:
        names = os.listdir("/proc/%s/fd" % pid)
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink("/proc/%s/fd/%s" % (pid, name))
        except OSError:
            pass


def listeners(ports):
    """For each TCP port the names and numbers of the processes that listen on it."""
    try:
        found = list(listening())
    except OSError:  # a kernel without that module
        found = listening_by_table()
    inodes = {"socket:[%d]" % inode: port for port, inode in found if port in ports}
    found = {port: {} for port in ports}
    if inodes:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for port in {inodes[handle] for handle in handles(pid) if handle in inodes}:
                found[port].setdefault(read("/proc/%s/comm" % pid).strip(), int(pid))
    return found


def file_system(path):
    """Where the file system is mounted that holds a path, or would, and its figures."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    mount = os.path.realpath(path)
    while not os.path.ismount(mount):
        mount = os.path.dirname(mount)
    return mount, os.statvfs(path)


def free(path):
    """Free bytes of the file system that holds a path, and where it is mounted."""
    mount, status = file_system(path)
    return {"mount": mount, "bytes": status.f_bavail * status.f_frsize}


def memory(name):
    found = re.search(r"^%s:\s+(\d+) kB" % name, read("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) << 10 if found else None


def covers(name, wanted):
    """Whether a certificate's name is for a host name: '*.' stands for one part of it."""
    return name == wanted or (name.startswith("*.") and wanted.partition(".")[2] == name[2:])


def certificates_time(text):
    """Seconds since the epoch of 'Jun  1 12:00:00 2030 GMT'. What ssl has for it loads calendars and locales first."""
    month, day, clock, year, _ = text.split()
    month = "JanFebMarAprMayJunJulAugSepOctNovDec".index(month) // 3 + 1
    hour, minute, second = map(int, clock.split(":"))
    return datetime(int(year), month, int(day), hour, minute, second, tzinfo=timezone.utc).timestamp()


def certificate(asked):
    """What a certificate is for and until when, or the problem with it and whether that is one of its key."""
    found = {
        "problem": "",
        "of_key": False,
        "names": [],
        "missing_names": [],
        "seconds_left": 0,
        "lifetime": 0,
        "time": 0,
    }
    path, key = asked["certificate"], asked["key"]
    for one in (path, key):
        if not os.path.exists(one):
            return dict(found, problem="isn't there: put it there, or correct the path", of_key=one == key)
    found["time"] = max(os.stat(path).st_mtime, os.stat(key).st_mtime)
    try:
        decoded = ssl._ssl._test_decode_cert(path)
    except (ssl.SSLError, OSError):
        return dict(found, problem="isn't a certificate in PEM form (-----BEGIN CERTIFICATE-----): convert it")
    try:
        # An empty passphrase, so that nothing is asked for at a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            return dict(found, problem="doesn't belong to the certificate %s: give the key of it" % path, of_key=True)
        return dict(found, problem="isn't a key in PEM form without a passphrase: convert it", of_key=True)
    end, begin = (certificates_time(decoded[which]) for which in ("notAfter", "notBefore"))
    names = [name for _, name in decoded.get("subjectAltName", ())]
    missing = [wanted for wanted in asked["names"] if not any(covers(name, wanted) for name in names)]
    found.update(names=names, missing_names=missing, seconds_left=end - time.time(), lifetime=end - begin)
    return found


def acme_servers():
    """Which server each of certbot's certificates is from."""
    found = {}
    folder = "/etc/letsencrypt/renewal"
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        server = re.search(r"^server\s*=\s*(\S+)", read(os.path.join(folder, name)), re.MULTILINE)
        if server and name.endswith(".conf"):
            found[name[: -len(".conf")]] = server.group(1)
    return found


def default_servers():
    """Files of others in which an nginx server answers host names that nobody has."""
    found = []
    for folder in ("/etc/nginx/sites-enabled", "/etc/nginx/conf.d"):
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            text = read(os.path.join(folder, name))
            ours = "Made by catmaid-deploy" in text[:400]
            if not ours and re.search(r"^\s*listen\s[^;#]*\bdefault_server\b", text, re.MULTILINE):
                found.append(os.path.join(folder, name))
    return found


def tiles(asked):
    """Whether a tile set's folder, disk and fallback image are there."""
    return {
        "folder": os.path.isdir(asked["folder"]),
        "proof": os.path.exists(asked["proof"]),
        "fallback": not asked["fallback"] or os.path.isfile(asked["fallback"]),
        "mounted": bool(asked["mount"]) and os.path.ismount(asked["mount"]),
        "is_mount": os.path.ismount(asked["folder"]),
    }


def work_mem():
    """PostgreSQL's work_mem on this host in kB, from its files; None where it isn't installed here."""
    found = None
    for root in ("/etc/postgresql", "/var/lib/postgresql"):
        for folder, names, files in os.walk(root):
            names[:] = [n for n in names if n not in ("base", "pg_wal", "global")]
            for name in files:
                if name in ("postgresql.conf", "postgresql.auto.conf"):
                    found = found or 4096
                    text = read(os.path.join(folder, name))
                    given = re.findall(r"^\s*work_mem\s*=?\s*'?(\d+)\s*([kMG]?B)?", text, re.MULTILINE)
                    for number, unit in given:
                        found = int(number) * {"": 1, "kB": 1, "MB": 1 << 10, "GB": 1 << 20}[unit]
    return found


def to_this_host(port, seconds):
    """A connection by TCP. A host as text, not bytes, would load the tables of international names (IDNA) first."""
    return socket.create_connection((b"127.0.0.1", port), timeout=seconds)


def answers(address):
    try:
        socket.create_connection((address["host"].encode(), address["port"]), timeout=3).close()
        return True
    except OSError:
        return False


def known(kind, name):
    """Whether there is such a user or group."""
    try:
        (pwd.getpwnam if kind == "user" else grp.getgrnam)(name)
        return True
    except KeyError:
        return False


def started(stat_line):
    """When a process started, in seconds since the epoch, from its line in /proc."""
    ticks = int(stat_line.rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def nginx(host):
    """The digest of the configuration in the running nginx's memory, and since when its workers run."""
    master = read("/run/nginx.pid").strip()
    since = []
    for pid in filter(str.isdigit, os.listdir("/proc")) if master.isdigit() else ():
        line = read("/proc/%s/stat" % pid)
        of_master = line and line.rpartition(")")[2].split()[1] == master
        if of_master and "shutting down" not in read("/proc/%s/cmdline" % pid):
            since.append(started(line))
    digest = None
    if since:
        try:
            with to_this_host(80, 5) as connection:
                connection.sendall(("GET / HTTP/1.0\r\nHost: %s\r\n\r\n" % host).encode())
                answer = connection.makefile("rb").read(4096).decode("ascii", "replace")
            head, _, body = answer.partition("\r\n\r\n")
            if " 200 " in head.splitlines()[0] and re.fullmatch(r"[0-9a-f]{8,64}\n?", body):
                digest = body.strip()
        except (OSError, IndexError):
            pass
    return {"digest": digest, "since": min(since) if since else None, "workers": len(since)}


# What Supervisor has in memory of a program, by the names that its file uses.
REMEMBERED = (
    "command", "directory", "autostart", "startsecs", "startretries", "stopsignal", "stopwaitsecs", "killasgroup",
    "redirect_stderr", "stdout_logfile", "stdout_logfile_maxbytes",
)  # fmt: skip


def plain(value):
    """Text as it was before Python's XML-RPC wrote it; the module html takes longer to load than all else here."""
    return value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def ask_supervisor(method):
    """The structs that a method of Supervisor's returns, with their values as text."""
    body = "<methodCall><methodName>supervisor.%s</methodName><params/></methodCall>" % method
    request = "POST /RPC2 HTTP/1.0\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect("/run/supervisor.sock")
        connection.sendall((request % (len(body), body)).encode())
        answer = connection.makefile("rb").read().decode("utf-8", "replace")
    member = r"<name>(\w+)</name>\s*<value>\s*<\w+>(.*?)</\w+>\s*</value>"
    for one in re.findall(r"<struct>(.*?)</struct>", answer, re.DOTALL):
        yield {name: plain(value) for name, value in re.findall(member, one, re.DOTALL)}


def supervisor():
    """Supervisor's programs with their state and number, asked over its own socket; None where it doesn't run."""
    found = {}
    try:
        for values in ask_supervisor("getAllProcessInfo"):
            pid = int(values.get("pid") or 0)
            found["%s:%s" % (values.get("group"), values.get("name"))] = {
                "state": values.get("statename", "UNKNOWN"),
                "pid": pid or None,
                "replaced": bool(pid) and executable_is_gone(pid),
                "config": {},
            }
        for values in ask_supervisor("getAllConfigInfo"):
            name = "%s:%s" % (values.get("group"), values.get("name"))
            if name in found:
                found[name]["config"] = {key: values.get(key, "") for key in REMEMBERED}
    except OSError:
        return None
    records = {}
    for folder in filter(lambda name: name.startswith("catmaid"), os.listdir("/run")):
        try:
            names = os.listdir("/run/" + folder)
        except OSError:
            continue
        for name in names:
            words = read("/run/%s/%s/started" % (folder, name)).split()
            if len(words) == 5 and words[0].isdigit():
                records[int(words[0])] = words[2:]
    sizes = memory_of_groups()
    for program in found.values():
        program["digest"], program["group_digest"], program["code"] = records.get(program["pid"], (None,) * 3)
        program["memory"] = sizes.get(program["pid"], 0)
    return found


def memory_of_groups():
    """The memory of each process group, in bytes. What its processes share counts for each: an estimate from above."""
    found = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        line, sizes = read("/proc/%s/stat" % pid), read("/proc/%s/statm" % pid).split()
        if line and len(sizes) > 2:
            group = int(line.rpartition(")")[2].split()[2])
            # Shared pages are the files' that all have open.
            found[group] = found.get(group, 0) + (int(sizes[1]) - int(sizes[2])) * page
    return found


def executable_is_gone(pid):
    """Whether the file that a process runs was replaced since, as by an installation of another release."""
    try:
        return os.readlink("/proc/%d/exe" % pid).endswith(" (deleted)")
    except OSError:
        return False


def holds(path):
    """The process that holds a lock of the package manager, as the kernel answers; None when it is free."""
    try:
        with open(path, "rb") as file:
            asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack("hhqqi", fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError:
        return None
    if kind == fcntl.F_UNLCK:
        return None
    return {"pid": pid, "name": read("/proc/%d/comm" % pid).strip() or "a process"}


def package_manager():
    for path in ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"):
        found = holds(path)
        if found:
            return found
    return None


def lock():
    """Who holds the lock of a deploy; ``alive`` is false when the session it was taken in has ended."""
    found = read_json(RUN + "/lock.json")
    if not found:
        return None
    session = found.get("session")
    if session:
        line = read("/proc/%d/stat" % session[0])
        alive = bool(line) and line.rpartition(")")[2].split()[19] == session[1]
    else:
        alive = True
    return dict(found, alive=alive and time.time() - found.get("time", 0) < LOCK_SECONDS)


def begin_code(instance):
    """What names the code and the Python environment: asked as the user whose programs note the same."""
    return start_as(instance["user"], ["sh", "-c", instance["code"]])


def release(asked):
    """Whether a release is there, which others are, and what all of them share."""
    folder = asked["folder"]
    names = os.listdir(folder) if os.path.isdir(folder) else ()
    return {
        "there": os.path.exists(asked["proof"]),
        "all": [n for n in names if n != "current" and os.path.exists("%s/%s/.catmaid-deploy" % (folder, n))],
        "owner": known("user", asked["owner"]),
        "shared": {path: os.path.exists("%s/shared/%s" % (folder, path)) for path in asked["shared"]},
    }


def survey_instance(instance, python, code):
    settings = read(instance["settings_file"])
    return {
        "code": code.strip(),
        "release": release(instance["release"]) if instance["release"] else None,
        "before": read_json("%s/before/%s.json" % (STATE, instance["name"])),
        "user": known("user", instance["user"]),
        "group": known("group", instance["runtime_group"]),
        "paths": {key: os.path.exists(instance[key]) for key in ("checkout", "wsgi_file", "settings_file")},
        "folders": {key: os.path.isdir(instance[key]) for key in ("static_folder", "files_folder")},
        "python": python,
        "script_name": literal(settings, "FORCE_SCRIPT_NAME"),
        "static_url": literal(settings, "STATIC_URL"),
        "static_root": literal(settings, "STATIC_ROOT"),
        "silent": {
            key: instance[key] for key in ("database", "broker") if instance[key] and not answers(instance[key])
        },
    }


def begin_python(virtualenv):
    binary = os.path.join(virtualenv, "bin/python")
    if not os.path.isdir(virtualenv):
        return {"missing": virtualenv}
    if not os.path.exists(binary):
        return {"missing": binary}
    # As whoever may write there: what a virtualenv has is run by each start of its Python.
    owner = os.stat(virtualenv)
    return start([binary, "-I", "-c", PYTHON], user=owner.st_uid, group=owner.st_gid, extra_groups=[])


def between(process):
    """What PYTHON printed; None where that isn't whole."""
    begun = finish(process)[1].partition("catmaid-deploy asks\n")[2]
    found, ended, _ = begun.partition("catmaid-deploy asked\n")
    return found.splitlines() if ended else None


def end_python(virtualenv, process, answered=None):
    """What a virtualenv's Python is like. ``answered`` was asked for more as well, and may have failed by that."""
    lines = between(answered) if answered is not None else None
    if lines is None:
        process = process or begin_python(virtualenv)
        if isinstance(process, dict):
            return process
        lines = between(process)
    if lines is None:
        return {"broken": (finish(process)[2].strip().splitlines() or ["no message"])[-1]}
    version, base, packages_exist, header, *names = lines
    have = {}
    for name in names:
        # With an old pip, or without wheel, '-py3.11' stands behind the version.
        package = re.match(r"([A-Za-z0-9_.]+?)-([0-9][^-]*?)(?:-py[0-9.]+)?\.(?:dist|egg)-info", name)
        if package:
            have.setdefault(package.group(1).lower(), package.group(2))
    return {
        "version": list(map(int, version.split("."))),
        "base": base,
        "packages_exist": packages_exist == "True",
        "header": header == "True",
        "have": {name: have.get(name) for name in PACKAGES},
        "owner": owner_name(os.stat(virtualenv).st_uid),
    }


def survey(question, answered=None):
    """``answered`` has processes, by virtualenv, that tell of its Python what begin_python's would."""
    answered = answered or {}
    status = "=${Package} ${db:Status-Status} ${Version}\n${Conffiles}\n"
    asked_packages = start(["dpkg-query", "-W", "-f", status] + question["packages"])
    properties = "--property=Id,ActiveState,UnitFileState,NeedDaemonReload"
    asked_units = start(["systemctl", "show", properties] + question["units"])
    pythons = {i["virtualenv"]: None for i in question["instances"]}
    for virtualenv in pythons:
        if virtualenv not in answered:
            pythons[virtualenv] = begin_python(virtualenv)
    codes = {i["name"]: begin_code(i) for i in question["instances"]}

    manifest = read_json(STATE + "/manifest.json")
    secret = set(question["secret"])
    paths = set(question["paths"]) | {path for paths in manifest.values() for path in paths}
    found = {
        "os": os_release(),
        "systemd": os.path.isdir("/run/systemd/system"),
        "ipv6": os.path.exists("/proc/net/if_inet6"),
        "memory": memory("MemTotal"),
        "memory_available": memory("MemAvailable"),
        "work_mem": work_mem(),
        "ports": listeners(question["ports"]),
        "descriptors": most if (most := resource.getrlimit(resource.RLIMIT_NOFILE)[1]) > 0 else 1 << 20,
        "openssl": ssl.OPENSSL_VERSION_INFO[:2],
        "certificates": {"%s %s" % (one["site"], one["kind"]): certificate(one) for one in question["certificates"]},
        "acme_servers": acme_servers(),
        "default_servers": default_servers(),
        "tiles": {one["name"]: tiles(one) for one in question["tiles"]},
        "closed": {path: read(path) for path in question["flags"] if os.path.exists(path)},
        "free": [free(path) for path in question["space"]],
        "package_manager": package_manager(),
        "files": {path: look(path, path in secret or os.path.dirname(path) in secret) for path in sorted(paths)},
        "manifest": manifest,
        "lock": lock(),
        "last_run": read_json(STATE + "/last-run.json"),
        "nginx": nginx(question["state_host"]),
        "supervisor": supervisor(),
        "blocked": blocked(question["access"], question["nginx"]),
        "accounts": accounts(question["accounts"]),
        "password_lines": password_lines(question["passwords"]),
        "neighbours": neighbours(question["nginx"]),
    }
    pythons = {one: end_python(one, process, answered.get(one)) for one, process in pythons.items()}
    found["instances"] = {
        i["name"]: survey_instance(i, pythons[i["virtualenv"]], finish(codes[i["name"]])[1])
        for i in question["instances"]
    }
    found["packages"], found["as_it_came"] = packages(finish(asked_packages)[1])
    found["units"] = units(finish(asked_units)[1])
    return found


def answer(work):
    """Print what a script has found, as root, of its question."""
    begin = time.time()
    found = {} if os.geteuid() else work(json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(dict(found, uid=os.geteuid(), time=begin)))
    sys.stdout.flush()
    os._exit(0)  # Python's own end would take as long as a tenth of the work


answer(survey)
