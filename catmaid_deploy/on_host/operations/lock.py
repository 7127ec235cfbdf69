"""One run at a time on a host, and the note of what each one did. A part of the job's script, see `apply`."""

import json
import os
import time

from catmaid_deploy.on_host.operations.common import lines_of, make_folders, say
from catmaid_deploy.on_host.paths import LOCK_SECONDS, LOG, RUN, STATE
from catmaid_deploy.on_host.trust import ROOT, Failed, proc


def hold():
    """One job at a time: waits a while for another, which may be the end of a run that broke off."""
    make_folders(RUN)
    end = time.time() + 60
    while True:
        try:
            ROOT.lock(RUN + "/job")
            return
        except BlockingIOError:
            if time.time() > end:
                raise Failed("another run has kept this host busy for over a minute: wait for its end") from None
            time.sleep(0.2)


def session():
    """The SSH session that this runs in, as process and its start: it ends with the admin's connection."""
    pid = os.getppid()
    while pid > 1:
        line = proc(pid, "stat")
        if not line:
            return None
        if line[line.index("(") + 1 :].startswith("sshd"):
            return [pid, line.rpartition(")")[2].split()[19]]
        pid = int(line.rpartition(")")[2].split()[1])
    return None


def alive(lock):
    if time.time() - lock.get("time", 0) > LOCK_SECONDS:
        return False
    if not lock.get("session"):
        return True
    pid, start = lock["session"]
    line = proc(pid, "stat")
    return bool(line) and line.rpartition(")")[2].split()[19] == start


def take_lock(job):
    found = ROOT.json(RUN + "/lock.json")
    if found and found.get("run") != job["run"] and alive(found):
        say("left: nothing was changed")
        raise Failed("%s deploys to this host since %s" % (found["admin"], found["since"]))
    last = ROOT.json(STATE + "/last-run.json")
    if last.get("run") != job["last_run"]:
        say("left: nothing was changed; run again")
        raise Failed("%s changed this host at %s, after it was looked at" % (last.get("admin"), last.get("since")))
    make_folders(STATE)
    mine = {"run": job["run"], "admin": job["admin"], "revision": job["revision"], "since": job["since"]}
    # The version of this run's deploy, and the one that the host has until something was changed.
    mine.update(version=job.get("version"), host_version=last.get("host_version"))
    if last and not last.get("ended"):
        note(last, cut_words(last))
    ROOT.write(STATE + "/last-run.json", json.dumps(mine).encode())
    mine.update(session=session(), time=time.time())
    ROOT.write(RUN + "/lock.json", json.dumps(mine).encode())
    say("locked for %s" % job["admin"])


def check_lock(job):
    found = ROOT.json(RUN + "/lock.json")
    if found.get("run") != job["run"]:
        raise Failed("the lock of this run is gone (now: %s): nothing was changed; run again" % found.get("admin"))
    ROOT.write(RUN + "/lock.json", json.dumps(dict(found, time=time.time())).encode())


def one_line(text):
    return "; ".join(lines_of(text))


def note(who, what):
    """A line in the record: time, admin, revision of the inventory's repository, what changed."""
    line = "%s\t%s\t%s\t%s\n" % (who["since"], who["admin"], who["revision"], what)
    ROOT.append(LOG, line)


def cut_words(last):
    """What the record says of a run that didn't come to its end."""
    did = last.get("did")
    return "was cut before its end" + ("; it had done: " + "; ".join(did) if did else ", before it had done anything")


def deployed(mine):
    """The host has what this run's version brings. A rollback has none: it goes back to what is there."""
    return dict(mine, host_version=mine["version"]) if mine.get("version") else mine


def end_run(what, how=True):
    """The run's line in the record, and the host is free. ``how`` is True, 'failed' or 'cut'."""
    mine = ROOT.json(STATE + "/last-run.json")
    note(mine, what)
    mine.pop("did", None)
    if how is True:
        mine = deployed(mine)
    ROOT.write(STATE + "/last-run.json", json.dumps(dict(mine, ended=how, changed=what)).encode())
    ROOT.unlink(RUN + "/lock.json")


def did(what):
    """Note what a job has done, for a run that doesn't come to its end; if it has lost its admin this was its end."""
    mine = ROOT.json(STATE + "/last-run.json")
    mine = dict(deployed(mine), did=[*mine.get("did", []), what])
    ROOT.write(STATE + "/last-run.json", json.dumps(mine).encode())
    if not alive(ROOT.json(RUN + "/lock.json")):
        end_run(cut_words(mine), "cut")


def failed_alone(job, error):
    """Note how a job failed that has lost its admin: nobody else can."""
    found = ROOT.json(RUN + "/lock.json")
    if found and found.get("run") == job.get("run") and not alive(found):
        mine = ROOT.json(STATE + "/last-run.json")
        end_run("%s; then this failed: %s" % (cut_words(mine), one_line(str(error))), "cut")


def clear(job):
    """Write down the end of a run that was cut, when there is nothing left of it to do."""
    last, found = ROOT.json(STATE + "/last-run.json"), ROOT.json(RUN + "/lock.json")
    if last.get("run") != job["last_run"] or last.get("ended") or (found and alive(found)):
        return
    end_run(cut_words(last) + "; there was nothing left to do", "cut")
    say("recorded in " + LOG)
