"""systemd's units, and the processes that it has started for them. A part of a script, see `asking`."""

import os
import time

from catmaid_deploy.on_host.facts.nginx import CONFIGURATION
from catmaid_deploy.on_host.facts.supervisor import (
    ITS_PID,
    SUPERVISORD,
    supervisors_own,
)
from catmaid_deploy.on_host.trust import ROOT, proc, processes

UNIT_PROPERTIES = (
    "Id,ActiveState,UnitFileState,NeedDaemonReload,ExecStart,FragmentPath,DropInPaths,ActiveEnterTimestampMonotonic"
)
# Where systemd has links to what starts at boot.
WANTED = "/etc/systemd/system/multi-user.target.wants"
# What Debian's units start.
NGINX, SUPERVISOR = "nginx.service", "supervisor.service"
COMMANDS = {NGINX: "/usr/sbin/nginx", SUPERVISOR: "/usr/bin/supervisord"}
# Renews what certbot got, twice a day.
RENEWAL, RENEWED = "certbot.timer", "certbot.service"
CONFIGURATIONS = (CONFIGURATION, SUPERVISORD)
PIDS = {NGINX: "/run/nginx.pid", SUPERVISOR: ITS_PID}


def _table():
    """Each process with its name, state, parent, group and start, in clock ticks since boot."""
    found = {}
    for pid in processes():
        line = proc(pid, "stat")
        name, _, rest = line.partition("(")[2].rpartition(")")
        words = rest.split()
        if len(words) > 19:
            found[pid] = name, words[0], int(words[1]), int(words[2]), int(words[19])
    return found


def _since(ticks):
    """When a process started, in seconds since the epoch."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def _main(table, unit):
    """The main process of a service by its own file, whoever has started it; None where it doesn't run."""
    it = supervisors_own() if unit == SUPERVISOR else None
    main = ROOT.read(it.pid_file if it else PIDS[unit]).strip()
    found = table.get(int(main)) if main.isdigit() else None
    return int(main) if found and found[0] == os.path.basename(COMMANDS[unit]) else None


def _begun(table, unit):
    """Since when a service runs: what it has read of its files is no older."""
    main = _main(table, unit)
    return _since(table[main][4]) if main else None


def units(output):
    """Each unit's state by what ``systemctl show`` says of UNIT_PROPERTIES."""
    found = {}
    for block in output.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        state, enabled = values.get("ActiveState"), values.get("UnitFileState", "")
        found[values.get("Id", "?")] = {
            "active": state in ("active", "reloading"),
            "enabled": enabled == "enabled",
            "failed": state == "failed",
            "since": time.time() - time.monotonic() + int(values.get("ActiveEnterTimestampMonotonic") or 0) / 1e6,
            "ending": state == "deactivating",
            # In which way: until the next boot alone, or for good.
            "masked": enabled if enabled.startswith("masked") else "",
            "needs_daemon_reload": values.get("NeedDaemonReload") == "yes",
            "command": values.get("ExecStart", ""),
            "files": [values.get("FragmentPath", ""), *values.get("DropInPaths", "").split()],
        }
    return found
