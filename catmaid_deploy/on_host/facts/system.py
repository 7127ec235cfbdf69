"""The host as a whole: its system, packages, room and memory. A part of a script, see `survey`."""

import grp
import os
import platform
import pwd
import re
import time

from catmaid_deploy.on_host.facts.places import (
    mount_of,
    mounts,
    space,
)
from catmaid_deploy.on_host.paths import BUNDLE
from catmaid_deploy.on_host.trust import (
    ROOT,
    plain,
    proc,
    proc_target,
    processes,
)


def os_release():
    found = {}
    for line in ROOT.read("/etc/os-release").splitlines():
        key, _, value = line.strip().partition("=")
        found[key] = value.strip('"')
    return {"id": found.get("ID", ""), "version": found.get("VERSION_ID", ""), "name": found.get("PRETTY_NAME", "?")}


def bundle():
    """Which bundle the host has, by its digest, and which machine it is, of which a bundle has to be."""
    found = ROOT.json(BUNDLE + "/bundle.json").get("id")
    return {"id": found if isinstance(found, str) else "", "machine": platform.machine()}


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


def ask_free(question, places, nginx):
    users = {one["virtualenv"]: one["user"] for one in question["instances"]}
    mounted = mounts()
    asked = [
        places.ask(users.get(path, nginx), path, lambda at, path=path: space(at, path)) for path in question["space"]
    ]
    return lambda: [
        dict(free(one.value, mounted), path=path) for path, one in zip(question["space"], asked) if one.value
    ]
