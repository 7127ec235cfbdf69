"""What apt reads of its sources, and what pip installs into a virtualenv, as whoever owns that. Joined with the others
of a job.
"""

import re
import time

from catmaid_deploy.on_host.operations.common import ending, say, tell
from catmaid_deploy.on_host.trust import NOBODY, ROOT, As, Failed, owner, plain, run

# What has to be compiled takes minutes on a small host.
INSTALL_SECONDS = 1200
# Debian's pip for virtualenvs, as a wheel that Python runs as it is.
WHEELS = "/usr/share/python-wheels"
# Files that an admin has changed stay as they are.
KEEP = ("--force-confdef", "--force-confold")
# dpkg's own notes while it works: by these apt knows that one was cut.
DPKG_NOTES = "/var/lib/dpkg/updates"
# What apt says of a source, its address and why; the first that fits.
STALE = (
    r"^E: Release file for (\S+) (is expired|is not valid yet)",
    r"^Err:\d+ (\S+ \S+).*\n +(.*)",
    r"^W: Failed to fetch (\S+) +(.*)",
    r"^E: The repository '(\S+ \S+)[^']*' (.*)",
)


def installer(virtualenv):
    """The user who may change a virtualenv; raises Failed where that is root, or more than one."""
    uid = owner(virtualenv)
    if uid == NOBODY:
        # Each of them could put a link there to what another user owns.
        raise Failed("a group may change %s or the way to it" % virtualenv)
    if not uid:
        raise Failed("%s belongs to root, and root installs nothing from the network" % virtualenv)
    return As(uid)


def pip_of(virtualenv, user):
    """The command that is pip for a virtualenv: its own, or Debian's where it was made without, as by uv."""
    python = virtualenv + "/bin/python"
    if not user.run([python, "-m", "pip", "--version"], 60)[0]:
        return [python, "-m", "pip"]
    found = [name for name in ROOT.names(WHEELS) if name.startswith("pip-") and name.endswith(".whl")]
    if not found:
        raise Failed("%s has no pip, and %s has none for it" % (virtualenv, WHEELS))
    return [python, "%s/%s/pip" % (WHEELS, found[-1])]


def stale(output):
    """The sources that apt complains of, each with the first that it says."""
    found = {}
    for pattern in STALE:
        for source, why in re.findall(pattern, output, re.MULTILINE):
            found.setdefault(re.sub(r"/dists/(.+)/(?:In)?Release$", r" \1", source).rstrip("/"), why)
    return found


def half_unpacked():
    """The packages of which a dpkg that was cut has files of two versions, or not all."""
    output = run(["dpkg-query", "-W", "-f", "${db:Status-Eflag} ${binary:Package}\\n"])[1]
    return re.findall(r"^reinstreq (\S+)", output, re.MULTILINE)


def complete_packages(fetching):
    """Complete what a dpkg that was cut has left: apt installs nothing before that. One that is at work goes on."""
    if not any(name.isdigit() for name in ROOT.names(DPKG_NOTES)) and not half_unpacked():
        return
    environment = dict(fetching, DEBIAN_FRONTEND="noninteractive")
    configure = ["dpkg", *KEEP, "--configure", "-a"]
    words = configure
    code, output = run(words, INSTALL_SECONDS, **environment)
    if code and (again := half_unpacked()):
        options = [word for option in KEEP for word in ("-o", "Dpkg::Options::=" + option)]
        words = ["apt-get", "-y", "--no-install-recommends", *options, "--fix-broken", "--reinstall", "install", *again]
        code, output = run(words, INSTALL_SECONDS, **environment)
        if not code:
            words = configure
            code, output = run(words, INSTALL_SECONDS, **environment)
    if not code:
        say("completed the packages that a run which was cut had begun")
    elif "lock" not in output:
        raise Failed("a run of dpkg was cut, and '%s' can't complete it:\n%s" % (" ".join(words), ending(output, 8)))


def update_lists(job):
    """Have apt read its sources. One that can't be read is told of, and the others do."""
    complete_packages(job["fetching"])
    for _ in range(60):
        code, output = run(["apt-get", "update"], INSTALL_SECONDS, **job["fetching"])
        if "Could not get lock" not in output:
            break
        time.sleep(5)
    found = stale(output)
    for source, why in sorted(found.items()):
        tell(
            "WARNING packages: the package source %s is stale (%s), the others are used: correct or remove it in "
            "/etc/apt" % (source, plain(why)[:200])
        )
    if code and not found:
        raise Failed("apt can't read its sources:\n" + ending(output, 8))


def install(job):
    """Install packages into a virtualenv."""
    virtualenv, user = job["virtualenv"], installer(job["virtualenv"])
    pip = [*pip_of(virtualenv, user), "install", "--no-input", *job["packages"]]
    code, output = user.run(pip, INSTALL_SECONDS, **job["fetching"])
    if code:
        names = ", ".join(job["packages"])
        raise Failed("%s can't be installed into %s:\n%s" % (names, virtualenv, ending(output, 12)))
    say("installed %s as %s" % (", ".join(job["packages"]), user.name))
