"""What the survey tells of nginx's user, and of the sites of others that it serves. Joined with survey_on_host.py."""

import grp
import hashlib
import os
import pwd
import re
import stat

from facts.survey_on_host import blocked, group_name, read

NOBODY = 65534
# What nginx's workers reach themselves: all else that its files name is opened by its master, as root.
NEEDS = re.compile(
    r"(?:^|[;{}\s])(?:root|alias|auth_basic_user_file|(?:uwsgi|proxy|fastcgi|scgi|grpc)_pass|server)\s+([^\s;]+)"
)
INCLUDES = re.compile(r"(?:^|[;{}\s])include\s+([^\s;]+)")


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


def password_lines(folder):
    """The digest of each line of the password files, which tells whether a line is new; the lines stay on the host."""
    texts = [read(os.path.join(folder, name)) for name in os.listdir(folder)] if os.path.isdir(folder) else []
    return [hashlib.sha256(line.encode()).hexdigest() for text in texts for line in text.splitlines()]


def number_of(group):
    try:
        return [grp.getgrnam(group).gr_gid]
    except KeyError:
        return []


def rights(user, nginx):
    """Number, group and all groups of a user. nginx's gets those of the user that it follows, before it is there."""
    try:
        account = pwd.getpwnam(user)
        uid, gid, groups = account.pw_uid, account.pw_gid, os.getgrouplist(user, account.pw_gid)
    except KeyError:
        if user != nginx["user"]:
            return None
        uid, gid, groups = NOBODY, NOBODY, number_of(user)
        if rights(nginx["like"], nginx):
            groups += rights(nginx["like"], nginx)[2]
    if user == nginx["user"]:
        groups = groups + [number for group in nginx["groups"] for number in number_of(group)]
    return uid, gid, groups


def texts_of_others(paths, seen):
    """nginx's files that aren't ours, with those that they include."""
    for path in paths:
        text = read(path)
        if path in seen or "Made by catmaid-deploy" in text[:400]:
            continue
        seen.add(path)
        text = re.sub(r"(?m)(?:^|\s)#.*", "", text)
        yield path, text
        included = [os.path.join("/etc/nginx", name.strip("\"'")) for name in INCLUDES.findall(text)]
        if included:
            from glob import glob

            for pattern in included:
                yield from texts_of_others(sorted(glob(pattern)), seen)


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


def neighbours(nginx):
    """What others' sites reach as the user that nginx's own follows, and not as that: file, path and missing right."""
    folders = ("/etc/nginx/sites-enabled", "/etc/nginx/conf.d")
    files = [os.path.join(one, name) for one in folders if os.path.isdir(one) for name in sorted(os.listdir(one))]
    wanted = [(file, path) for file, text in texts_of_others(files, set()) for path in needs(text)]
    if not wanted:
        return []
    users = (nginx["like"], nginx["user"])
    answers = blocked([(user, path) for user in users for _, path in wanted], nginx)
    found = {}
    for (file, _), before, now in zip(wanted, answers, answers[len(wanted) :]):
        if now and not before:
            part, who = now
            kind = os.stat(part).st_mode
            right = "x" if stat.S_ISDIR(kind) else "rw" if stat.S_ISSOCK(kind) else "r"
            found.setdefault((file, part), {"file": file, "path": part, "in_group": who == "g", "right": right})
    return list(found.values())
