"""Runs on the host, as root, with its own python3 (3.9 or later) and nothing else; prints JSON.

Reads only. The argument is JSON, made by `tasks.preflight.question`. What takes a process of its own is
started first and read last, so that the host works on it meanwhile. What isn't root's own is asked by `Places`.
"""

import grp
import hashlib
import json
import os
import pwd
import re
import resource
import signal
import socket
import ssl
import stat
import struct
import sys
import time
from datetime import datetime, timezone
from functools import lru_cache

from catmaid_deploy.on_host.facts.asking import UNIT_PROPERTIES, begin_asking, end_asking, units
from catmaid_deploy.on_host.facts.certbot import lineages
from catmaid_deploy.on_host.facts.nginx import HERE, ask_nginx, default_servers
from catmaid_deploy.on_host.facts.places import (
    SERVED_NAMES,
    SERVED_TOGETHER,
    Places,
    application,
    first_blocked,
    is_below,
    mount_of,
    mounts,
    records,
    release,
    resolved,
    served,
    space,
    start_as,
    there,
    tiles,
    whole,
)
from catmaid_deploy.on_host.facts.probe import (
    LOADING_SECONDS,
    SAYING_SECONDS,
    begin_python,
    begin_settings,
    end_python,
    last_object,
    last_said,
)
from catmaid_deploy.on_host.facts.supervisor import supervisors_file, supervisors_own
from catmaid_deploy.on_host.facts.web import (
    accounts,
    ask_neighbours,
    directory,
    group_name,
    hung,
    nginxs_user,
    own_locations,
    password_lines,
)
from catmaid_deploy.on_host.own import LOCK_SECONDS, RUN, STATE
from catmaid_deploy.on_host.trust import (
    NOBODY,
    ROOT,
    As,
    Failed,
    changeable,
    handles,
    owner,
    plain,
    proc,
    proc_target,
    processes,
    start,
)

LARGEST_FILE = 1 << 18
# What is known of an application whose user isn't there, and of releases.
NOTHING = {
    "paths": {"checkout": False, "wsgi_file": False, "settings_file": False},
    "missing": None,
    "reaches": True,
    "owner": 0,
    "checkout_owner": 0,
    "requirements": [],
    "literals": {"script_name": None, "static_url": None, "static_root": None},
    "media_root": None,
    "foreign_packages": None,
    "settings": None,
}
NO_RELEASE = {"there": False, "all": []}


def os_release():
    found = {}
    for line in ROOT.read("/etc/os-release").splitlines():
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


@lru_cache(None)
def owner_name(number):
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def look(at, path, secret):
    """What is at a path: kind, owner, mode, and of a file its digest; its text only where everybody may read it."""
    status = at.status(path)
    if status is None:
        return None
    found = {
        "user": owner_name(status.st_uid),
        "group": group_name(status.st_gid),
        "mode": "%o" % stat.S_IMODE(status.st_mode),
        "time": status.st_mtime,
    }
    if stat.S_ISLNK(status.st_mode):
        return dict(found, kind="link", target=at.target(path))
    if stat.S_ISDIR(status.st_mode):
        return dict(found, kind="folder")
    if not stat.S_ISREG(status.st_mode):
        return dict(found, kind="other")
    data = at.bytes(path)
    found.update(kind="file", sha256=hashlib.sha256(data).hexdigest(), md5=hashlib.md5(data).hexdigest())
    if status.st_mode & stat.S_IROTH and not secret:
        # Of a large one, as hundreds of tile sets make, the beginning tells whose it is.
        found["large"] = len(data) > LARGEST_FILE
        found["text"] = data[: 500 if found["large"] else None].decode("utf-8", "replace")
    return found


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
        for line in ROOT.read(table).splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                yield int(words[1].rpartition(":")[2], 16), int(words[9])


def listeners(ports):
    """For each TCP port the processes that listen on it, by name: number, and the service that starts it."""
    try:
        found = list(listening())
    except OSError:  # a kernel without that module
        found = listening_by_table()
    inodes = {"socket:[%d]" % inode: port for port, inode in found if port in ports}
    found = {port: {} for port in ports}
    if inodes:
        for pid in processes():
            for port in {inodes[handle] for handle in handles(pid) if handle in inodes}:
                name = plain(proc(pid, "comm").strip())
                if name not in found[port]:
                    found[port][name] = {"pid": pid, "unit": None if name == "nginx" else service_of(pid)}
    return found


def group_of(pid):
    """The process group of a process, or None."""
    line = proc(pid, "stat")
    return int(line.rpartition(")")[2].split()[2]) if line else None


def service_of(pid):
    """The systemd service that a process is the main one of; None for a session's, a container's, or another part."""
    # systemd's own hierarchy: the only one, or one of several.
    found = re.search(r"^(?:0:|\d+:name=systemd):.*/([A-Za-z0-9@:._-]+\.service)$", proc(pid, "cgroup"), re.MULTILINE)
    if not found:
        return None
    unit = found.group(1)
    main = start(["systemctl", "show", "--property=MainPID", "--value", unit]).end()[1].strip()
    return unit if main.isdigit() and main != "0" and group_of(int(main)) == group_of(pid) else None


def free(figures, mounted):
    """Free bytes of the file system that holds a path, and where it is mounted."""
    real, (size, _, available, _, _) = figures
    return {"mount": mount_of(real, mounted), "bytes": available * size}


def memory(name):
    found = re.search(r"^%s:\s+(\d+) kB" % name, ROOT.read("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) << 10 if found else None


def zfs_cache():
    """What ZFS keeps in memory and gives back to who asks for it, in bytes: the kernel counts it as used."""
    text = ROOT.read("/proc/spl/kstat/zfs/arcstats")
    sizes = [int(size) for size in re.findall(r"^(?:size|c_min) +\d+ +(\d+)$", text, re.MULTILINE)]
    return abs(sizes[0] - sizes[1]) if len(sizes) == 2 else 0


def covers(name, wanted):
    """Whether a certificate's name is for a host name: '*.' stands for one part of it."""
    return name == wanted or (name.startswith("*.") and wanted.partition(".")[2] == name[2:])


def certificates_time(text):
    """Seconds since the epoch of 'Jun  1 12:00:00 2030 GMT'. What ssl has for it loads calendars and locales first."""
    month, day, clock, year, _ = text.split()
    month = "JanFebMarAprMayJunJulAugSepOctNovDec".index(month) // 3 + 1
    hour, minute, second = map(int, clock.split(":"))
    return datetime(int(year), month, int(day), hour, minute, second, tzinfo=timezone.utc).timestamp()


UNKNOWN = {
    "problem": "",
    "of_key": False,
    "names": [],
    "missing_names": [],
    "seconds_left": 0,
    "lifetime": 0,
    "time": 0,
    "digest": "",
}


def certificate(at, asked):
    """What a certificate is for and until when, or the kind of its problem and whether that is one of its key."""
    found = dict(UNKNOWN)
    path, key = asked["certificate"], asked["key"]
    for one in (path, key):
        if not at.exists(one):
            return dict(found, problem="missing", of_key=one == key)
    found["time"] = max(at.status(one, follow=True).st_mtime for one in (path, key))
    try:
        with at.file(path) as file:
            decoded = ssl._ssl._test_decode_cert(by_descriptor(file))
    except (ssl.SSLError, OSError):
        return dict(found, problem="no certificate")
    try:
        # An empty passphrase, so that nothing is asked for at a terminal.
        with at.file(path) as file, at.file(key) as of_key:
            pair = by_descriptor(file), by_descriptor(of_key)
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pair, password="")
    except PermissionError:
        # Root doesn't open it there itself, and nginx would open what they put in its place.
        return dict(found, problem="not root's", of_key=True)
    except (ssl.SSLError, OSError, ValueError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            return dict(found, problem="of another", of_key=True)
        return dict(found, problem="no key", of_key=True)
    # nginx shows the first of several.
    first = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", at.read(path), re.DOTALL)
    if first:
        found["digest"] = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first.group())).hexdigest()
    end, begin = (certificates_time(decoded[which]) for which in ("notAfter", "notBefore"))
    names = [name for _, name in decoded.get("subjectAltName", ())]
    missing = [wanted for wanted in asked["names"] if not any(covers(name, wanted) for name in names)]
    found.update(names=names, missing_names=missing, seconds_left=end - time.time(), lifetime=end - begin)
    return found


def by_descriptor(file):
    """A path for what wants to open a file by itself, which leads to the one that is open."""
    return "/proc/self/fd/%d" % file.fileno()


def key_of(at, path):
    """Whose a key is, and its mode; None where there is none."""
    status = at.status(path, follow=True)
    if status is None:
        return None
    who = owner_name(status.st_uid), group_name(status.st_gid)
    return {"user": who[0], "group": who[1], "mode": "%o" % stat.S_IMODE(status.st_mode)}


def work_mem(at):
    """PostgreSQL's work_mem on this host in kB, from its files; None where it has none."""
    found = None
    for root in ("/etc/postgresql", "/var/lib/postgresql"):
        for path, _ in at.tree(root, lambda below: not below.endswith(("/base", "/pg_wal", "/global"))):
            if path.endswith(("/postgresql.conf", "/postgresql.auto.conf")):
                found = found or 4096
                given = re.findall(r"^\s*work_mem\s*=?\s*'?(\d{1,9})\s*([kMG]?B)?", at.read(path), re.MULTILINE)
                for number, unit in given:
                    found = int(number) * {"": 1, "kB": 1, "MB": 1 << 10, "GB": 1 << 20}[unit]
    return found


def to_this_host(port, seconds):
    """A connection by TCP. A host as text, not bytes, would load the tables of international names (IDNA) first."""
    return socket.create_connection((HERE.encode(), port), timeout=seconds)


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


def supervisor_began():
    """Since when Supervisor runs; None where it doesn't."""
    own = supervisors_own()
    line = proc(ROOT.read(own.pid_file).strip(), "stat") if own else ""
    return started(line) if "(supervisord)" in line else None


def workers(master):
    """The processes that nginx's master has, each with since when it runs."""
    lines = {pid: proc(pid, "stat") for pid in processes()} if master.isdigit() else {}
    return {pid: started(line) for pid, line in lines.items() if line and line.rpartition(")")[2].split()[1] == master}


def is_killed(pid):
    """Whether a process has been killed, and waits for a disk before it can end."""
    pending = re.findall(r"^S(?:hd|ig)Pnd:\s*(\w+)$", proc(pid, "status"), re.MULTILINE)
    return any(int(signals, 16) >> (signal.SIGKILL - 1) & 1 for signals in pending)


def nginx(host, found):
    """The digest of the configuration in the running nginx's memory, and since when its workers run."""
    since = list(found.values())
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


def unescaped(value):
    """Text as it was before Python's XML-RPC wrote it; the module html takes longer to load than all else here."""
    return value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


class Locked(OSError):
    """Supervisor asks for another password than its file has."""


def ask_supervisor(own, method):
    """The structs that a method of Supervisor's returns, with their values as text."""
    body = "<methodCall><methodName>supervisor.%s</methodName><params/></methodCall>" % method
    lines = ["POST /RPC2 HTTP/1.0", "Host: localhost", "Content-Type: text/xml", "Content-Length: %d" % len(body)]
    lines += ["Authorization: " + own.authorization] if own.authorization else []
    with ROOT.connect(own.socket, 10) as connection:
        connection.sendall("\r\n".join([*lines, "", body]).encode())
        answer = whole(connection, 10).decode("utf-8", "replace")
    if " 200 " not in answer.partition("\r\n")[0]:
        raise Locked("it asks for another password")
    member = r"<name>(\w+)</name>\s*<value>\s*<\w+>(.*?)</\w+>\s*</value>"
    for one in re.findall(r"<struct>(.*?)</struct>", answer, re.DOTALL):
        yield {name: unescaped(value) for name, value in re.findall(member, one, re.DOTALL)}


def supervisor(records):
    """Supervisor's programs with their state and number, asked over its own socket; None where it doesn't run, and
    whether it asks for another password than its file has. ``records`` has what they noted at their start, by group
    and slot.
    """
    found, own = {}, supervisors_own()
    if own is None or own.problem:
        return None, False
    try:
        for values in ask_supervisor(own, "getAllProcessInfo"):
            pid = int(values.get("pid") or 0)
            found["%s:%s" % (values.get("group"), values.get("name"))] = {
                "state": values.get("statename", "UNKNOWN"),
                "pid": pid or None,
                "config": {},
            }
        for values in ask_supervisor(own, "getAllConfigInfo"):
            name = "%s:%s" % (values.get("group"), values.get("name"))
            if name in found:
                found[name]["config"] = {key: values.get(key, "") for key in REMEMBERED}
    except OSError as error:
        return None, isinstance(error, Locked)
    sizes = groups()
    for name, program in found.items():
        group, _, process = name.partition(":")
        # An instance's user may note anything, but of its own programs alone.
        pid, *words = (records.get(group) or {}).get(process[len(group) + 1 :]) or (None,) * 4
        program["digest"], program["group_digest"], program["code"] = words if pid == program["pid"] else (None,) * 3
        program["memory"], program["processes"], program["replaced"] = sizes.get(program["pid"], (0, 0, False))
    return found, False


def groups():
    """For each process group its memory in bytes, the number of its processes, and whether the file was replaced that
    its program runs. Memory that these share counts for each of them: an estimate from above.
    """
    found = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for pid in processes():
        line, sizes = proc(pid, "stat"), proc(pid, "statm").split()
        if line and len(sizes) > 2:
            parent, group = map(int, line.rpartition(")")[2].split()[1:3])
            size, number, gone = found.get(group, (0, 0, False))
            # Celery runs below its start script, which is none of its processes.
            own = "(start.sh)" not in line
            gone = gone or (own and group in (pid, parent) and executable_is_gone(pid))
            # Shared pages are the files' that all have open.
            found[group] = size + (int(sizes[1]) - int(sizes[2])) * page, number + own, gone
    return found


def executable_is_gone(pid):
    """Whether the file that a process runs was replaced since, as by an installation of another release."""
    return proc_target(pid, "exe").endswith(" (deleted)")


def holds(path):
    """The process that holds a lock of the package manager, as the kernel answers; None when it is free."""
    pid = ROOT.holder(path)
    return pid and {"pid": pid, "name": plain(proc(pid, "comm").strip()) or "a process"}


def package_manager():
    for path in ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"):
        found = holds(path)
        if found:
            return found
    return None


def lock():
    """Who holds the lock of a deploy; ``alive`` is false when the session it was taken in has ended."""
    found = ROOT.json(RUN + "/lock.json")
    if not found:
        return None
    session = found.get("session")
    if session:
        line = proc(session[0], "stat")
        alive = bool(line) and line.rpartition(")")[2].split()[19] == session[1]
    else:
        alive = True
    return dict(found, alive=alive and time.time() - found.get("time", 0) < LOCK_SECONDS)


# ---- what isn't root's own, or may hang: asked first, answered when all have been asked ----


def ask_owners(question, places):
    """Who may change where a certificate or a key lies, by path; its disk may hang."""
    paths = {one[key] for one in question["certificates"] for key in ("certificate", "key")}
    return {path: places.ask(ROOT, path, lambda at, path=path: owner(path), NOBODY) for path in sorted(paths)}


def ask_applications(question, places):
    """Of each instance what is in its checkout, virtualenv and folder of releases."""
    found = {}
    for one in question["instances"]:
        asked = one["release"]
        told = found[one["name"]] = {"release": None}
        told["application"] = places.ask(
            one["user"], one["checkout"], lambda at, one=one: application(at, one), NOTHING
        )
        if asked:
            user = ROOT if asked["owner"] == "root" else asked["owner"]
            told["release"] = places.ask(user, asked["folder"], lambda at, asked=asked: release(at, asked))
    return found


def ask_folders(question, places, nginx):
    """What nginx's workers find in the folders that they serve."""
    static_and_files = [one[key] for one in question["instances"] for key in ("static_folder", "files_folder")]
    there_is = {
        path: places.ask(nginx, path, lambda at, path=path: there(at, path, stat.S_ISDIR), False)
        for path in static_and_files
    }
    most = min(SERVED_NAMES, SERVED_TOGETHER // max(1, len(question["served"])))
    holds = {
        path: places.ask(
            nginx, path, lambda at, path=path: served(at, path, most), {"real": path, "holds": [], "links": []}
        )
        for path in question["served"]
    }
    return there_is, holds


def ask_tiles(question, places, nginx):
    mounted = mounts()
    known_mounts = [line.split()[1] for line in ROOT.read("/etc/fstab").splitlines() if len(line.split()) > 1]
    nothing = {"folder": False, "proof": False, "fallback": False}
    asked = [
        (
            one,
            places.ask(
                nginx, one["folder"], lambda at, one=one: tiles(at, one), dict(nothing, real="", mount=one["mount"])
            ),
        )
        for one in question["tiles"]
    ]
    users = sorted({one["user"] for one in question["instances"]})
    writers = {
        (path, user): places.ask(user, path, lambda at, path=path: at.may(path, "write"), False)
        for path in {one["folder"] for one in question["tiles"]}
        for user in users
    }

    def answer():
        for one, told in asked:
            state = {"writers": [user for user in users if writers[one["folder"], user].value]}
            real, mount = told.value.pop("real"), told.value.pop("mount")
            state.update(mounted=bool(mount) and mount in mounted, is_mount=real in mounted)
            yield one["name"], dict(told.value, **state, in_fstab=one["mount"] in known_mounts)

    return lambda: dict(answer())


def ask_free(question, places, nginx):
    users = {one["virtualenv"]: one["user"] for one in question["instances"]}
    mounted = mounts()
    asked = [
        places.ask(users.get(path, nginx), path, lambda at, path=path: space(at, path)) for path in question["space"]
    ]
    return lambda: [
        dict(free(one.value, mounted), path=path) for path, one in zip(question["space"], asked) if one.value
    ]


def by_owner(number, places, path, act, value):
    """Ask whoever may change where something lies. What is root's own is asked last, by root itself."""
    asked = places.ask(number, path, act, value) if number else None
    return lambda: asked.value if asked else act(ROOT)


def ask_certificates(question, places, owners):
    late = dict(UNKNOWN, problem="no answer")
    asked = {}
    for one in question["certificates"]:
        user = owners[one["certificate"]].value or owners[one["key"]].value
        name = "%s %s" % (one["site"], one["kind"])
        asked[name] = by_owner(user, places, one["certificate"], lambda at, one=one: certificate(at, one), late)
    return lambda: {name: answer() for name, answer in asked.items()}


def ask_keys(question, places, owners, nginx):
    """Of each key that is there whose it is, and which of the users that serve the web can read it."""
    users = {one["user"]: one["user"] for one in question["instances"]}
    users[question["nginx"]["user"]] = nginx
    asked = {}
    for path in {one["key"] for one in question["certificates"]}:
        key = by_owner(owners[path].value, places, path, lambda at, path=path: key_of(at, path), None)
        may = {name: places.ask(user, path, lambda at, path=path: at.may(path, "read")) for name, user in users.items()}
        asked[path] = key, may

    def answer():
        for path, (key, may) in asked.items():
            whose = key()
            if whose:
                yield path, dict(whose, readers=sorted(name for name, reads in may.items() if reads.value))

    return lambda: dict(answer())


def ask_access(question, places, nginx):
    """For each [user, path, want] the first part of the path that keeps the user out, and whose right that is."""
    asked = []
    for user, path, want in question["access"]:
        who = nginx if user == question["nginx"]["user"] else places.user(user)
        asked.append(
            places.ask(who, path, lambda at, path=path, who=who, want=want: first_blocked(at, path, who, want))
        )
    return lambda: [one.value and one.value[:2] for one in asked]


def ask_files(question, places, manifest):
    """What is at each path that the deploy has something to do with: root's own at once."""
    found, asked, owners = {}, {}, {}
    secret = set(question["secret"])
    for path in sorted({*question["paths"], *(path for paths in manifest.values() for path in paths)}):
        folder = os.path.dirname(path)
        hidden = path in secret or folder in secret
        if folder not in owners:
            owners[folder] = owner(folder)
        if owners[folder]:
            asked[path] = places.ask(owners[folder], path, lambda at, path=path, hidden=hidden: look(at, path, hidden))
        else:
            found[path] = look(ROOT, path, hidden)
    return lambda: {**found, **{path: one.value for path, one in asked.items()}}


def ask_records(places):
    """What the programs of each instance noted at their start."""
    asked = {}
    for name in ROOT.names("/run"):
        status = ROOT.status("/run/" + name) if name.startswith("catmaid") else None
        if status and stat.S_ISDIR(status.st_mode) and status.st_uid:
            folder = "/run/" + name
            asked[name] = places.ask(status.st_uid, folder, lambda at, folder=folder: records(at, folder), {})
    return lambda: {name: one.value for name, one in asked.items()}


def ask_workers(places):
    """nginx's workers that aren't about to end, each with since when it runs. A process's memory may hang."""
    asked = {
        pid: (since, places.ask(ROOT, "/proc/%d/cmdline" % pid, lambda at, pid=pid: proc(pid, "cmdline"), ""))
        for pid, since in workers(ROOT.read("/run/nginx.pid").strip()).items()
    }
    return lambda: {
        pid: since for pid, (since, words) in asked.items() if "shutting down" not in words.value and not is_killed(pid)
    }


def ask_work_mem(places):
    if not (ROOT.exists("/etc/postgresql") or ROOT.exists("/var/lib/postgresql")):
        return lambda: None
    # Its package gives both folders to that user.
    user = places.user("postgres")
    return by_owner(user and user.uid, places, "/etc/postgresql", work_mem, None)


# ---- all of it ----


def settings_to_load(instance, told):
    """Whether the settings can be loaded, and must be, since nothing that lasts was noted of them."""
    known_code = told["release"] is None or (told["release"].value or {}).get("there")
    application = told["application"].value
    return (
        known_code and application["paths"]["settings_file"] and not (application["missing"] or application["settings"])
    )


def settings_of(instance, told, loading):
    """The settings as Django has them, or None and why."""
    if loading is None:
        return told["application"].value["settings"], None
    found = last_object(loading, SAYING_SECONDS)
    if found is None:
        return None, last_said(loading, SAYING_SECONDS)
    try:
        found = As(instance["user"]).do(lambda at: resolved(at, found))
    except (Failed, OSError) as error:
        return None, plain(str(error))
    return found, None if found else "one of its folders, addresses, cookies or hosts isn't what Django takes"


def python_of(application, python):
    """What a virtualenv's Python is like, where its user finds and reaches it."""
    if application["missing"]:
        return {"missing": application["missing"]}
    return {"unreachable": True} if "broken" in python and not application["reaches"] else python


def survey_instance(instance, told, python, code, settings):
    asked, application = instance["release"], told["application"].value
    release = asked and (told["release"].value or dict(NO_RELEASE, shared=dict.fromkeys(asked["shared"], False)))
    return {
        "code": code.strip() if re.fullmatch(r"[0-9a-f]{16}\n?", code) else "",
        "release": release and dict(release, owner=known("user", asked["owner"])),
        "before": ROOT.json("%s/before/%s.json" % (STATE, instance["name"])),
        "user": known("user", instance["user"]),
        "group": known("group", instance["runtime_group"]),
        "paths": application["paths"],
        "owner": owner_name(application["checkout_owner"]),
        "requirements": application["requirements"],
        "python": python_of(application, python),
        **application["literals"],
        "media_root": application["media_root"],
        "foreign_packages": application["foreign_packages"],
        "settings": settings[0],
        "settings_problem": settings[1],
        "silent": {
            key: instance[key] for key in ("database", "broker") if instance[key] and not answers(instance[key])
        },
    }


def is_hanging(found, path):
    """Whether a path, or what lies there, has given no answer: nothing there is waited for."""
    return any(is_below(path, late) or is_below(late, path) for _, late, _ in found["hanging"])


def survey(question, places=None, answered=None):
    """``places`` has further questions, and ``answered`` processes, by virtualenv, that tell of its Python as well."""
    places, answered = places or Places(), answered or {}
    # Once for all that works beside this.
    ask_nginx()
    asking = begin_asking(question["asking"])
    first = Places()
    owners, its_workers = ask_owners(question, first), ask_workers(first)
    first.begin()
    codes = {one["name"]: start_as(one["user"], ["sh", "-c", one["code"]]) for one in question["instances"]}
    pythons = dict(answered)
    for one in question["instances"]:
        if one["virtualenv"] not in pythons:
            # By who runs its code all the time. With another's rights it would get those as well.
            pythons[one["virtualenv"]] = begin_python(one["user"], one["virtualenv"])
    status = "=${Package} ${db:Status-Status} ${Version}\n${Conffiles}\n"
    asked_packages = start(["dpkg-query", "-W", "-f", status] + question["packages"])
    asked_units = start(["systemctl", "show", "--property=" + UNIT_PROPERTIES] + question["units"])
    first.end()

    manifest = ROOT.json(STATE + "/manifest.json")
    nginx_user = nginxs_user(question["nginx"])
    told = ask_applications(question, places)
    there_is, holds = ask_folders(question, places, nginx_user)
    noted = ask_records(places)
    later = {
        "work_mem": ask_work_mem(places),
        "certificates": ask_certificates(question, places, owners),
        "keys": ask_keys(question, places, owners, nginx_user),
        "tiles": ask_tiles(question, places, nginx_user),
        "free": ask_free(question, places, nginx_user),
        "files": ask_files(question, places, manifest),
        "blocked": ask_access(question, places, nginx_user),
        "neighbours": ask_neighbours(question["nginx"], places, nginx_user),
    }
    places.begin(hung(question))
    found = {
        "os": os_release(),
        "systemd": ROOT.is_folder("/run/systemd/system"),
        "ipv6": ROOT.exists("/proc/net/if_inet6"),
        "memory": memory("MemTotal"),
        "memory_available": memory("MemAvailable"),
        "swap": memory("SwapTotal") or 0,
        # Beside what the kernel calls available.
        "memory_elsewhere": (memory("SwapFree") or 0) + zfs_cache(),
        "processors": os.cpu_count() or 1,
        "somaxconn": int(ROOT.read("/proc/sys/net/core/somaxconn", "", 20) or 4096),
        "ports": listeners(question["ports"]),
        "descriptors": most if (most := resource.getrlimit(resource.RLIMIT_NOFILE)[1]) > 0 else 1 << 20,
        "openssl": ssl.OPENSSL_VERSION_INFO[:2],
        "lineages": lineages() if question["certbot"] else {},
        "default_servers": default_servers(),
        "own_locations": own_locations(),
        # Read by nginx as root: whoever may write one of these has root's rights.
        "nginx_files_of_others": [
            [path, owner_name(who)] for path in ask_nginx()["paths"] if (who := changeable(path))
        ],
        "closed": {path: ROOT.read(path) for path in question["flags"] if ROOT.exists(path)},
        "package_manager": package_manager(),
        "manifest": manifest,
        "lock": lock(),
        "accounts": accounts(question["accounts"]),
        "directory": directory(),
        "password_lines": password_lines(question["passwords"]),
        "last_run": ROOT.json(STATE + "/last-run.json"),
    }
    places.end()
    found.update({key: answer() for key, answer in later.items()})
    found["hanging"] = first.hanging + places.hanging
    to_load = question["instances"] if question["load_settings"] else []
    loading = {one["name"]: begin_settings(one) for one in to_load if settings_to_load(one, told[one["name"]])}
    found["served_folders"] = {path: one.value for path, one in holds.items()}
    found["nginx"] = nginx(question["state_host"], its_workers())
    found["supervisor"], found["asks_password"] = supervisor(noted())
    ended = {}
    for virtualenv, process in pythons.items():
        # One that loads the application as well may take as long as that.
        seconds = LOADING_SECONDS if virtualenv in answered else SAYING_SECONDS
        ended[virtualenv] = end_python(process, 0 if is_hanging(found, virtualenv) else seconds)
    found["instances"] = {}
    for one in question["instances"]:
        name, told_of = one["name"], told[one["name"]]
        python = dict(ended[one["virtualenv"]])
        python["owner"] = owner_name(told_of["application"].value["owner"])
        python["of_a_group"] = owner(one["virtualenv"]) == NOBODY
        settings = settings_of(one, told_of, loading.get(name))
        code = codes[name].end(0 if is_hanging(found, one["checkout"]) else SAYING_SECONDS)[1]
        found["instances"][name] = survey_instance(one, told_of, python, code, settings)
        folders = {key: there_is[one[key]].value for key in ("static_folder", "files_folder")}
        found["instances"][name]["folders"] = folders
    found["packages"], found["as_it_came"] = packages(asked_packages.end()[1])
    found["units"] = units(asked_units.end()[1])
    found["supervisor_file"] = supervisors_file(supervisor_began())
    found["asked"] = end_asking(asking, found["supervisor"], found["units"])
    return found


def answer(work):
    """Print what a script has found, as root, of its question."""
    begin = time.time()
    found = {} if os.geteuid() else work(json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(dict(found, uid=os.geteuid(), time=begin)))
    sys.stdout.flush()
    os._exit(0)  # Python's own end would take as long as a tenth of the work


answer(survey)
