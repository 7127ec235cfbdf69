"""What pip installs into a virtualenv, by the user whose it is. Joined with the other files of a job."""

from operations.common_on_host import ending, say
from operations.trust_on_host import NOBODY, As, Failed, owner

# What has to be compiled takes minutes on a small host.
INSTALL_SECONDS = 1200


def installer(virtualenv):
    """The user who may change a virtualenv; raises Failed where that is root, or more than one."""
    uid = owner(virtualenv)
    if uid == NOBODY:
        # Each of them could put a link there to what another user owns.
        raise Failed("a group may change %s or the way to it" % virtualenv)
    if not uid:
        raise Failed("%s belongs to root, and root installs nothing from the network" % virtualenv)
    return As(uid)


def install(job):
    """Install packages into a virtualenv."""
    virtualenv, user = job["virtualenv"], installer(job["virtualenv"])
    pip = [virtualenv + "/bin/python", "-m", "pip", "install", "--no-input", *job["packages"]]
    code, output = user.run(pip, INSTALL_SECONDS)
    if code:
        names = ", ".join(job["packages"])
        raise Failed("%s can't be installed into %s:\n%s" % (names, virtualenv, ending(output, 12)))
    say("installed %s as %s" % (", ".join(job["packages"]), user.name))
