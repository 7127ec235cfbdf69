"""A compiler that is there for as long as something is compiled. A part of the job's script, see `apply`."""

import json
import re

from catmaid_deploy.on_host.operations.common import ending, make_folders, say, tell
from catmaid_deploy.on_host.operations.packages import complete_packages
from catmaid_deploy.on_host.paths import COMPILER, STATE
from catmaid_deploy.on_host.trust import ROOT, run

APT_SECONDS = 600


def installed_packages():
    """The names of all that is installed."""
    output = run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"])[1]
    return {line.split()[1] for line in output.splitlines() if line.startswith("installed ")}


def note_compiler(job):
    """Note which of these packages a run brings, and what is there before: by that they can go again, whatever happens
    to the run. What a run that was cut has noted stays.
    """
    noted, there = ROOT.json(COMPILER), installed_packages()
    names = {*noted.get("names", ()), *(name for name in job["names"] if name not in there)}
    before = sorted(noted.get("before") or there)
    make_folders(STATE)
    ROOT.write(COMPILER, json.dumps({"names": sorted(names), "before": before}).encode())


def would_go(*words):
    """The packages that apt would remove, and whether it would do nothing else; None where it can't."""
    code, output = run(["apt-get", "--simulate", *words], APT_SECONDS)
    if code or re.search(r"^Inst ", output, re.MULTILINE):
        return None
    return set(re.findall(r"^(?:Purg|Remv) (\S+)", output, re.MULTILINE))


def remove_compiler(job):
    """Remove what a run has brought to compile with, and nothing that was there before it or that others need."""
    complete_packages({})
    noted, there = ROOT.json(COMPILER), installed_packages()
    names = sorted(name for name in noted.get("names", ()) if name in there)
    before = set(noted.get("before", ()))
    auto = set(run(["apt-mark", "showauto"])[1].split())
    # With what needs one of them something would go that somebody has asked for.
    found = would_go("purge", *names) if names else set()
    if found is None or found - {*names, *auto}:
        tell("WARNING packages: %s stays, since other packages need it" % ", ".join(names))
        ROOT.unlink(COMPILER)
        return
    gone = sorted(((would_go("--auto-remove", "purge", *names) or set()) - before) & {*names, *auto}) if names else []
    if gone and would_go("purge", *gone) == set(gone):
        words = ["apt-get", "-y", "-o", "DPkg::Lock::Timeout=300", "purge", *gone]
        code, output = run(words, APT_SECONDS)
        if code:
            tell("WARNING packages: %s can't be removed: %s" % (", ".join(names), ending(output, 2)))
            return
        say("removed %s with what came along, %d packages" % (", ".join(names), len(gone)))
    ROOT.unlink(COMPILER)
