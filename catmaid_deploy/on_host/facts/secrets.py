"""Which secrets the host keeps for its applications, and never what they are. A part of a script, see `survey`."""

import hashlib
import stat

from catmaid_deploy.on_host.paths import INSTALLED
from catmaid_deploy.on_host.trust import ROOT, As, Failed


def users_group(user):
    """The number of a user's group; None where there is no such user."""
    try:
        return As(user).gid
    except Failed:
        return None


def digest(value):
    return hashlib.sha256(value.encode()).hexdigest()


def kept(asked):
    """
    Of a file with secrets whether it says none, which of the wanted ones it lacks, which differ from what an inventory
    gives, and whether somebody else than root and its user's group can read or change it.
    """
    status, found = ROOT.status(asked["path"]), ROOT.json(asked["path"])
    found = {name: value for name, value in found.items() if isinstance(value, str)}
    given = asked["given"]
    return {
        "broken": bool(status) and not found,
        "lacks": [name for name in asked["names"] if name not in found and name not in given],
        "differs": [name for name, wanted in given.items() if name not in found or digest(found[name]) != wanted],
        "open": bool(status)
        and (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) != (0o640, 0, users_group(asked["user"])),
    }


def first_made(name):
    """What was noted of an instance before its first start."""
    noted = ROOT.json("%s/%s.json" % (INSTALLED, name))
    return {key: noted.get(key) is True for key in ("tables", "administrator", "projects")}


def secrets_kept(question):
    return {name: kept(asked) for name, asked in question["secrets"].items()}
