"""What grows on a host: how large it is, and by how much a day. A part of a script, see `health`.

Each place is measured in a child of its own, within limits of names and time: one that is slow or hangs holds up no
other question, and is said to be unknown.
"""

import json
import time

from catmaid_deploy.on_host.facts.answer import is_hanging
from catmaid_deploy.on_host.facts.places import Answer, Places, child_of, mount_of, mounts, unanswered
from catmaid_deploy.on_host.paths import STATE
from catmaid_deploy.on_host.trust import ROOT

# Not in /run: a reboot would forget how large all was.
GROWTH = STATE + "/growth.json"
DAY = 86400
# Over how many days the bytes a day are taken, and so how many notes are kept.
GROWTH_DAYS = 7
NAMES_MEASURED, MEASURE_SECONDS = 200000, 2
# What the child may take beside: it waits for a disk that hangs, not for one that is slow.
HANG_SECONDS = 4


def folders_of(at, pattern):
    """The folders of a path, some of whose parts may be a star."""
    found = [""]
    for part in pattern.strip("/").split("/"):
        found = ["%s/%s" % (above, name) for above in found for name in (at.names(above) if part == "*" else [part])]
    return found


def measured(at, one, since):
    """Of each folder that fits a pattern: its path, where that leads to, bytes, those made since then, whether these
    are all, and of its file system the bytes and those that are free. A folder that isn't there isn't in it.
    """
    found, end = [], time.monotonic() + MEASURE_SECONDS
    for path in folders_of(at, one["path"]):
        if not at.is_folder(path):
            continue
        try:
            left = max(0.1, end - time.monotonic())
            size, made, whole = at.measure(path, since, NAMES_MEASURED, left, one["without"])
            space = at.space(path)
        except OSError:
            continue
        if space:
            room = space.f_frsize * space.f_blocks, space.f_frsize * space.f_bavail
            found.append([path, at.real(path), size, made, whole, *room])
    return found


def begin_growth(question, found):
    """Start to measure; nothing that has given no answer before."""
    places, begun, since = Places(), [], time.time() - GROWTH_DAYS * DAY
    for one in question["growing"]:
        pattern = one["path"]
        user = ROOT if one["user"] == "root" else places.user(one["user"])
        if user is None or is_hanging(found, pattern.partition("*")[0].rstrip("/")):
            continue
        answer = Answer(pattern, lambda at, one=one: measured(at, one, since), [])
        begun.append((one, (user, [answer], child_of(user, [answer], HANG_SECONDS))))
    return begun


def end_growth(begun):
    """What was measured, each with its bytes a day: None where they aren't known yet."""
    unanswered([asked for _, asked in begun])
    mounted, now, found = mounts(), time.time(), []
    notes = [note for note in ROOT.json(GROWTH).get("notes", []) if note["time"] <= now]
    for one, (_, (answer,), _) in begun:
        for path, real, size, made, whole, total, free in answer.value:
            if one["kept"]:
                daily = made / float(GROWTH_DAYS)
            else:
                daily = daily_by_notes(notes, path, size, now) if whole else None
            space = {"mount": mount_of(real, mounted), "total": total, "free": free}
            found.append(dict(space, what=one["what"], path=path, size=size, whole=whole, daily=daily))
    note_growth(notes, found, now)
    return found


def daily_by_notes(notes, path, size, now):
    """By how many bytes a day a folder has grown since it was noted: a week ago if it was, at least a day ago. What
    got smaller has not grown.
    """
    old = [note for note in notes if path in note["sizes"] and now - note["time"] >= DAY]
    week = [note for note in old if now - note["time"] >= GROWTH_DAYS * DAY]
    since = week[-1] if week else old[0] if old else None
    return max(0.0, (size - since["sizes"][path]) * DAY / (now - since["time"])) if since else None


def note_growth(notes, found, now):
    """Note how large all is, once a day."""
    sizes = {one["path"]: one["size"] for one in found if one["whole"]}
    if not sizes or (notes and now - notes[-1]["time"] < DAY):
        return
    kept = [*notes, {"time": now, "sizes": sizes}][-GROWTH_DAYS - 1 :]
    try:
        ROOT.write(GROWTH, json.dumps({"notes": kept}).encode())
    except OSError:
        pass  # nothing was deployed there yet
