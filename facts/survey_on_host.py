"""Runs on the host, as root, with its own python3 (3.9 or later) and nothing else; prints JSON.

Reads only. The argument is JSON: {"instances": [...], "packages": [...], "units": [...]}.
"""

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys

# Asked of a virtualenv's Python. The header tells whether uWSGI can be compiled against it.
PYTHON = """
import json, os, sys, sysconfig
try:
    from importlib.metadata import version
    def have(name):
        try:
            return version(name)
        except Exception:
            return None
except ImportError:
    def have(name):
        return None
print(json.dumps({
    "version": list(sys.version_info[:3]),
    "base": os.path.realpath(sys.executable),
    "packages_exist": os.path.isdir(sysconfig.get_path("purelib")),
    "header": os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")),
    "have": {name: have(name) for name in ("django", "daphne", "celery", "uwsgi")},
}))
"""


def run(words, **options):
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, **options)
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError) as error:
        return 127, "", str(error)


def os_release():
    found = {}
    try:
        with open("/etc/os-release") as lines:
            for line in lines:
                key, _, value = line.strip().partition("=")
                found[key] = value.strip('"')
    except OSError:
        pass
    return {"id": found.get("ID", ""), "version": found.get("VERSION_ID", ""), "name": found.get("PRETTY_NAME", "?")}


def packages(wanted):
    """Those of ``wanted`` that are installed."""
    _, out, _ = run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *wanted])
    return [line.split()[0] for line in out.splitlines() if line.endswith(" installed")]


def python(virtualenv):
    binary = os.path.join(virtualenv, "bin/python")
    if not os.path.isdir(virtualenv):
        return {"missing": virtualenv}
    if not os.path.exists(binary):
        return {"missing": binary}
    code, out, error = run([binary, "-c", PYTHON])
    if code:
        return {"broken": (error.strip().splitlines() or ["no message"])[-1]}
    found = json.loads(out)
    found["owner"] = pwd.getpwuid(os.stat(virtualenv).st_uid).pw_name
    return found


def literal(settings, name):
    """The text that settings.py gives a name at the start of a line; the file's secrets stay on the host."""
    try:
        with open(settings, encoding="utf-8", errors="replace") as text:
            found = re.findall(r"^%s\s*=\s*(['\"])(.*?)\1\s*(?:#.*)?$" % name, text.read(), re.MULTILINE)
    except OSError:
        return None
    return found[-1][1] if found else None


def blocked(path, user):
    """The first part of a path that ``user`` can't enter or read, asked of the kernel; None when all is open."""
    parts = path.strip("/").split("/")
    for n in range(1, len(parts) + 1):
        part = "/" + "/".join(parts[:n])
        test = "-r" if n == len(parts) and not os.path.isdir(part) else "-x"
        if run(["setpriv", "--reuid", user, "--regid", user_group(user), "--init-groups", "test", test, part])[0]:
            return part
    return None


def user_group(user):
    return str(pwd.getpwnam(user).pw_gid)


def listeners(port):
    """Names and numbers of the processes that listen on a TCP port."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as lines:
                for line in list(lines)[1:]:
                    words = line.split()
                    if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                        inodes.add("socket:[%s]" % words[9])
        except OSError:
            continue
    found = {}
    if inodes:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                for handle in os.listdir("/proc/%s/fd" % pid):
                    if os.readlink("/proc/%s/fd/%s" % (pid, handle)) in inodes:
                        with open("/proc/%s/comm" % pid) as name:
                            found.setdefault(name.read().strip(), int(pid))
            except OSError:
                continue
    return found


def free(path):
    """Free bytes of the file system that holds a path, and where it is mounted."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    mount = os.path.realpath(path)
    while not os.path.ismount(mount):
        mount = os.path.dirname(mount)
    return {"mount": mount, "bytes": shutil.disk_usage(path).free}


def answers(address):
    try:
        socket.create_connection((address["host"], address["port"]), timeout=3).close()
        return True
    except OSError:
        return False


def exists(kind, name):
    return run(["getent", kind, name])[0] == 0


def survey_instance(instance):
    user = instance["user"]
    found = {
        "user": exists("passwd", user),
        "group": exists("group", instance["runtime_group"]),
        "paths": {key: os.path.exists(instance[key]) for key in ("checkout", "wsgi_file", "settings_file")},
        "folders": {key: os.path.isdir(instance[key]) for key in ("static_folder", "files_folder")},
        "python": python(instance["virtualenv"]),
        "script_name": literal(instance["settings_file"], "FORCE_SCRIPT_NAME"),
        "static_url": literal(instance["settings_file"], "STATIC_URL"),
        "silent": {
            key: instance[key] for key in ("database", "broker") if instance[key] and not answers(instance[key])
        },
        "blocked": None,
    }
    if found["user"]:
        for path in (instance["settings_file"], instance["wsgi_file"], instance["virtualenv"] + "/bin/python"):
            # What isn't there has its own line.
            if os.path.exists(path):
                found["blocked"] = found["blocked"] or blocked(path, user)
    return found


def main():
    question = json.loads(sys.argv[1])
    units = run(["systemctl", "show", "--property=NeedDaemonReload", "--value"] + question["units"])[1]
    json.dump(
        {
            "os": os_release(),
            "systemd": os.path.isdir("/run/systemd/system"),
            "root": os.geteuid() == 0,
            "packages": packages(question["packages"]),
            "needs_daemon_reload": "yes" in units.split(),
            "ipv6": os.path.exists("/proc/net/if_inet6"),
            "port_80": listeners(80),
            "free": [free(path) for path in question["space"]],
            "instances": {i["name"]: survey_instance(i) for i in question["instances"]},
        },
        sys.stdout,
    )


main()
