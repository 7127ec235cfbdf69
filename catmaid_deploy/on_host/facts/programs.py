"""What runs on a host: Supervisor's programs and nginx's workers. A part of a script, see `survey`."""

import re
import signal
import stat

from catmaid_deploy.on_host.facts.places import (
    records,
    whole,
)
from catmaid_deploy.on_host.facts.ports import to_this_host
from catmaid_deploy.on_host.facts.supervisor import supervisors_own
from catmaid_deploy.on_host.facts.system import groups, started
from catmaid_deploy.on_host.trust import (
    ROOT,
    proc,
    processes,
)


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


def instance_of(name):
    """Whose program it is that Supervisor calls so: catmaid:catmaid-wsgi-a, or catmaid.large:catmaid.large-a."""
    return name.partition(":")[0].partition(".")[0]


def place_of(name):
    """The slot of a program that Supervisor calls so."""
    return name.partition(":")[2][len(instance_of(name)) + 1 :]


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
        # An instance's user may note anything, but of its own programs alone.
        pid, *words = (records.get(instance_of(name)) or {}).get(place_of(name)) or (None,) * 4
        program["digest"], program["group_digest"], program["code"] = words if pid == program["pid"] else (None,) * 3
        program["memory"], program["processes"], program["replaced"] = sizes.get(program["pid"], (0, 0, False))
    return found, False


def ask_records(folders, places):
    """What the programs of each instance noted at their start, in its folder among ``folders``."""
    asked = {}
    for name, folder in folders.items():
        status = ROOT.status(folder)
        if status and stat.S_ISDIR(status.st_mode) and status.st_uid:
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
