"""What grows on a host: the bytes in folders, and those that were written lately. A part of a script, see `health`.

Each folder is read by whoever may write there, and none for long: some have millions of files.
"""

import stat
import time

from catmaid_deploy.on_host.facts.places import Places, mount_of, mounts, reader_of, space
from catmaid_deploy.on_host.facts.postgresql import CLUSTERS, clusters_there
from catmaid_deploy.on_host.facts.web import hung

WEEK = 7 * 86400
# How many files and folders of one are looked at, and for how long; and for how long of all of one user's. After that
# each has a moment.
MOST_FILES = 200000
WALK_SECONDS, WALKS_SECONDS, MOMENT = 2.0, 4.0, 0.2


def usage(at, path, apart, since, until):
    """Bytes on the disk below a folder, those of files that were written after ``since``, and whether that is all.

    Links aren't followed, and other file systems aren't entered. A file with several names counts for each in part:
    environments share theirs with uv's cache.
    """
    top, left_out = at.status(path, follow=True), set(apart)
    size, recent, count = top.st_blocks * 512, 0, 0
    for below, status in at.tree(path, into=lambda folder: folder not in left_out, most=MOST_FILES):
        count += 1
        if count >= MOST_FILES or time.monotonic() > until:
            return size, recent, False
        if status.st_dev != top.st_dev:
            left_out.add(below)
        if below in left_out:
            continue
        taken = status.st_blocks * 512 // max(1, 1 if stat.S_ISDIR(status.st_mode) else status.st_nlink)
        size += taken
        if status.st_mtime > since and not stat.S_ISDIR(status.st_mode):
            recent += taken
    return size, recent, True


def usages(at, one, since, last):
    """The same of each folder that is there, with its path, the one without links, and its file system's bytes."""
    folders = [one["path"]]
    if one["clusters"]:
        folders = [(cluster["data"] + "/" + one["path"]).rstrip("/") for cluster in clusters_there(at)]
    found = []
    for path in filter(at.is_folder, folders):
        now = time.monotonic()
        until = max(min(now + WALK_SECONDS, last), now + MOMENT)
        told = usage(at, path, ["%s/%s" % (path, name) for name in one["apart"]], since, until)
        real, (block, blocks, available, _, _) = space(at, path)
        found.append([path, real, *told, block * blocks, block * available])
    return found


def begin_growth(question):
    """Begin to look at what may grow: each user's places in a process beside the others; see `end_growth`."""
    places, asked = Places(), []
    since, last = time.time() - WEEK, time.monotonic() + WALKS_SECONDS
    for one in question["growth"]:
        path = CLUSTERS if one["clusters"] else one["path"]
        user = one["user"] or reader_of(path)
        asked.append((one, places.ask(user, path, lambda at, one=one: usages(at, one, since, last))))
    places.begin(hung(question["survey"]))
    return places, asked


def end_growth(places, asked):
    """What each folder has that is there. Of one that gives no answer only where it is."""
    places.end()
    late, mounted = {path: mount for _, path, mount in places.hanging}, mounts()
    found = []
    for one, answer in asked:
        for path, real, size, recent, whole, total, free in answer.value or []:
            numbers = {"size": size, "recent": recent, "whole": whole, "total": total, "free": free}
            found.append(dict(numbers, name=one["name"], path=path, mount=mount_of(real, mounted)))
        if answer.value is None and answer.path in late:
            numbers = {"size": None, "recent": 0, "whole": False, "total": 0, "free": 0}
            found.append(dict(numbers, name=one["name"], path=answer.path, mount=late[answer.path]))
    return found
