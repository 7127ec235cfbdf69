"""What pip installs into a virtualenv, by the user whose it is. Joined with the other files of a job."""

from operations.common_on_host import ending, say
from operations.trust_on_host import NOBODY, ROOT, As, Failed, owner

# What has to be compiled takes minutes on a small host.
INSTALL_SECONDS = 1200
# Debian's pip for virtualenvs, as a wheel that Python runs as it is.
WHEELS = "/usr/share/python-wheels"


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


def install(job):
    """Install packages into a virtualenv."""
    virtualenv, user = job["virtualenv"], installer(job["virtualenv"])
    pip = [*pip_of(virtualenv, user), "install", "--no-input", *job["packages"]]
    code, output = user.run(pip, INSTALL_SECONDS, **job["fetching"])
    if code:
        names = ", ".join(job["packages"])
        raise Failed("%s can't be installed into %s:\n%s" % (names, virtualenv, ending(output, 12)))
    say("installed %s as %s" % (", ".join(job["packages"]), user.name))
