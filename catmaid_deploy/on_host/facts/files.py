"""Files and folders of a host: what they are, whose, and who gets at them. A part of a script, see `survey`."""

import hashlib
import os
import pwd
import stat
from functools import lru_cache

from catmaid_deploy.on_host.facts.places import (
    first_blocked,
)
from catmaid_deploy.on_host.facts.web import (
    group_name,
)
from catmaid_deploy.on_host.trust import (
    NOBODY,
    ROOT,
    owner,
)

LARGEST_FILE = 1 << 18


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


def ask_owners(question, places):
    """Who may change where a certificate or a key lies, by path; its disk may hang."""
    paths = {one[key] for one in question["certificates"] for key in ("certificate", "key")}
    return {path: places.ask(ROOT, path, lambda at, path=path: owner(path), NOBODY) for path in sorted(paths)}


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
