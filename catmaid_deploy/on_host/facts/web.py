"""What the survey tells of nginx's user, and of the sites of others that it serves. Joined with the survey."""

import grp
import hashlib
import os
import pwd
import re
from functools import lru_cache

from catmaid_deploy.on_host.facts.nginx import LOCATIONS, ask_nginx
from catmaid_deploy.on_host.facts.places import first_blocked
from catmaid_deploy.on_host.paths import DISKS
from catmaid_deploy.on_host.trust import NOBODY, ROOT, As, Failed

# What nginx's workers reach themselves: all else that its files name is opened by its master, as root.
NEEDS = re.compile(
    r"(?:^|[;{}\s])(?:root|alias|auth_basic_user_file|(?:uwsgi|proxy|fastcgi|scgi|grpc)_pass|server)\s+([^\s;]+)"
)


@lru_cache(None)
def group_name(number):
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def accounts(names):
    """The number of each user, and the names of all groups that it has; None where there is no such user."""
    found = {}
    for name in names:
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            found[name] = None
        else:
            groups = os.getgrouplist(name, account.pw_gid)
            found[name] = {"uid": account.pw_uid, "groups": [group_name(number) for number in groups]}
    return found


def directory():
    """The groups that are in the host's own file, and whether users may come from elsewhere, as from LDAP."""
    local = [line.partition(":")[0] for line in ROOT.read("/etc/group").splitlines()]
    sources = re.search(r"^passwd:(.*)", ROOT.read("/etc/nsswitch.conf"), re.MULTILINE)
    others = set(re.sub(r"\[.*?\]|#.*", "", sources.group(1)).split()) if sources else set()
    return {"groups": local, "is_asked": bool(others - {"files", "compat", "systemd", "db"})}


def password_lines(folder):
    """The digest of each line of the password files, which tells whether a line is new; the lines stay on the host."""
    texts = [ROOT.read("%s/%s" % (folder, name)) for name in ROOT.names(folder)]
    return [hashlib.sha256(line.encode()).hexdigest() for text in texts for line in text.splitlines()]


def number_of(group):
    try:
        return [grp.getgrnam(group).gr_gid]
    except KeyError:
        return []


def nginxs_user(nginx):
    """The user of nginx's workers. Before it is there, it is nobody with the groups of the user that it follows."""
    further = [number for group in nginx["groups"] for number in number_of(group)]
    try:
        return As(nginx["user"], further)
    except Failed:
        further += number_of(nginx["user"])
    try:
        further += As(nginx["like"]).groups
    except Failed:
        pass
    return As(NOBODY, further)


def hung(question):
    """The paths on disks of which the watcher says that they give no answer."""
    if not ROOT.is_folder(DISKS):
        return []
    try:
        names = nginxs_user(question["nginx"]).do(lambda at: at.names(DISKS))
    except (Failed, OSError):
        return []
    return [path for name in names for path in question["disks"].get("%s/%s" % (DISKS, name), ())]


def own_locations():
    """The digest of what an admin has put into each site's folder, by the site; what it says stays on the host."""
    found = {}
    for site in ROOT.names(LOCATIONS):
        # nginx's pattern leaves hidden names out.
        names = [name for name in ROOT.names("%s/%s" % (LOCATIONS, site)) if re.search(r"^[^.].*\.conf$", name)]
        texts = [[name, ROOT.read("%s/%s/%s" % (LOCATIONS, site, name))] for name in sorted(names)]
        if texts:
            found[site] = hashlib.sha256(repr(texts).encode()).hexdigest()[:16]
    return found


def texts_of_others():
    """nginx's files that aren't the deploy's, without their comments."""
    for path in ask_nginx()["others"]:
        yield path, re.sub(r"(?m)(?:^|\s)#.*", "", ROOT.read(path))


def needs(text):
    """The paths that nginx's workers reach by a file's text; of one with a variable in it the part before."""
    for word in NEEDS.findall(text):
        word = word.strip("\"'")
        if "unix:" in word:
            word = word.partition("unix:")[2].partition(":")[0]
        if "$" in word:
            word = os.path.dirname(word.partition("$")[0])
        if word.startswith("/") and word.strip("/"):
            yield word.rstrip("/")


def ask_neighbours(nginx, places, its_user):
    """What others' sites reach as the user that nginx's own follows, and not as that: file, path and missing right."""
    like = places.user(nginx["like"])
    asked = [
        (file, *(places.ask(user, path, lambda at, path=path, user=user: first_blocked(at, path, user))
                 for user in (like, its_user)))
        for file, text in texts_of_others()
        for path in needs(text)
    ]  # fmt: skip

    def answer():
        found = {}
        for file, before, now in asked:
            if now.value and not before.value:
                part, who, right = now.value
                found.setdefault((file, part), {"file": file, "path": part, "in_group": who == "g", "right": right})
        return list(found.values())

    return answer
