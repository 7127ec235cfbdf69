"""Runs on the host, as root, with its own python3 (3.9 or later) and nothing else.

Reads one job as JSON from standard input (see `operations.configuration`) and does it whole or not at all:
``lock`` takes the host for one run, ``apply`` puts one service's files in place, ``record`` ends the run.
Prints what it did, a line each; ends with 1 and the reason on standard error when it did nothing.

It comes as one text with the files that it imports from: the host has none of them.
"""

import hashlib
import http.client
import json
import os
import re
import signal
import stat
import sys
import time

from catmaid_deploy.on_host.facts.asking import (
    PARSED,
    RENEWED,
    UNIT_PROPERTIES,
    begin_asking,
    end_asking,
    parsed,
    supervisor_files,
    units,
)
from catmaid_deploy.on_host.facts.nginx import HERE, LOCATIONS, NGINX_READ, ask_nginx, read_by_nginx
from catmaid_deploy.on_host.operations.certbot import bring_certificate
from catmaid_deploy.on_host.operations.common import ending, is_active, lines_of, make_folders, say, tell
from catmaid_deploy.on_host.operations.files import Files, data
from catmaid_deploy.on_host.operations.packages import install, update_lists
from catmaid_deploy.on_host.operations.programs import Supervisor, supervisors
from catmaid_deploy.on_host.operations.release import put_in_place, remove_old
from catmaid_deploy.on_host.own import LOCK_SECONDS, LOG, RUN, STATE
from catmaid_deploy.on_host.trust import ROOT, As, Failed, NotRoots, changeable, proc, run

STAGE = STATE + "/stage"
ERROR_LOG = "/var/log/nginx/error.log"
LARGEST_COPY = 1 << 20
LEFT_OUT = "the test leaves out %s, which root reads and others may change"
# A parser that takes longer hangs.
CHECK_SECONDS = 60


# ---- the lock and the record ----


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
                raise Failed("another job of a deploy runs on this host for over a minute: wait for its end") from None
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


def end_run(what, how=True):
    """The run's line in the record, and the host is free. ``how`` is True, 'failed' or 'cut'."""
    mine = ROOT.json(STATE + "/last-run.json")
    note(mine, what)
    mine.pop("did", None)
    ROOT.write(STATE + "/last-run.json", json.dumps(dict(mine, ended=how, changed=what)).encode())
    ROOT.unlink(RUN + "/lock.json")


def did(what):
    """Note what a job has done, for a run that doesn't come to its end; if it has lost its admin this was its end."""
    mine = ROOT.json(STATE + "/last-run.json")
    mine["did"] = [*mine.get("did", []), what]
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


def ask_host(asking, seconds=20):
    """What users don't see as they should now, a line each. What has just begun gets some seconds."""
    end, pause = time.monotonic() + seconds, 0.2
    while True:
        found = end_asking(begin_asking(asking), supervisors(), units_of(asking))
        wrong = found["blocked"] + found["standing"] + found["wrong"]
        if not wrong or time.monotonic() >= end:
            say_all("asked: ", found["served"])
            say_all("away: ", sorted(name for name, word in found["programs"].items() if word == "away"))
            return [": ".join(one[key] for key in ("place", "what", "command", "todo") if one[key]) for one in wrong]
        # The beat of a hand-over has begun a moment ago.
        time.sleep(pause)
        pause = min(1, 2 * pause)


def say_all(word, texts):
    """A few on each line, since none may be longer than a screen takes."""
    for first in range(0, max(1, len(texts)), 4):
        say(word + json.dumps(texts[first : first + 4]))


def units_of(asking):
    """The state of each unit that the host is asked about."""
    names = [*asking["units"], *([RENEWED] if asking["renewal"] else [])]
    return units(run(["systemctl", "show", "--property=" + UNIT_PROPERTIES, *names])[1])


def remember_parsed():
    """Supervisor's parser and nginx have taken their files as they are: the next look need not ask them."""
    ROOT.write(PARSED, json.dumps({"files": supervisor_files()}).encode())
    if not ask_nginx()["refuses"]:
        ROOT.write(NGINX_READ, json.dumps(ask_nginx()).encode())


def record(job):
    """The end of a run: it is done only if users see what they should."""
    check_lock(job)
    what = "; ".join(job["changed"])
    if job.get("failed"):
        ask_host(job["asking"], 0)
        end_run("failed: %s%s" % (job["failed"], "; done before: " + what if what else ""), "failed")
        return
    wrong = ask_host(job["asking"])
    if wrong:
        end_run("%s; then the host was asked: %s" % (what, "; ".join(map(one_line, wrong))), "failed")
        say("left: all was changed, and the host isn't as described")
        raise Failed("all is in place, but the host doesn't serve as described:\n" + "\n".join(wrong))
    remember_parsed()
    end_run(what)
    say("recorded in " + LOG)


# ---- files ----


def stage(job):
    """A copy of the service's own tree with the new files in it, for its own test."""
    ROOT.remove_tree(STAGE)
    try:
        # Entered by everybody, for a test by another user; only what everybody may read is open to it.
        make_folders(STAGE, 0o711)
        for tree in job["trees"]:
            for path, status in ROOT.tree(tree):
                copy(path, status, job)
        for path in job["gone"]:
            if not ROOT.is_folder(STAGE + path):
                ROOT.remove(STAGE + path)
        files = {item["path"]: item for item in job["all"] if item["kind"] == "file"}
        for path, item in files.items():
            staged(path, item, job["trees"])
        for item in job["all"]:
            if item["kind"] == "link" and item["target"] in files:
                staged(item["path"], files[item["target"]], job["trees"])
    except OSError as error:
        ROOT.remove_tree(STAGE)
        raise Failed("can't stage the files: %s: nothing was changed" % error) from None


def copy(path, status, job, deepest=2):
    """What is at a path goes into the stage, as far as it is root's own. What needn't be another there is a link."""
    if stat.S_ISLNK(status.st_mode):
        status = ROOT.status(path, follow=True)
        if status is not None and stat.S_ISDIR(status.st_mode):
            copy_linked(path, status, job, deepest)
            return
    if status is None:
        return  # a link that leads nowhere
    if stat.S_ISDIR(status.st_mode):
        make_folders(STAGE + path, 0o711)
        if not ROOT.owns(status):
            tell(LEFT_OUT % path)
        return
    try:
        if stat.S_ISREG(status.st_mode) and status.st_size >= LARGEST_COPY:
            link_to(path)
        elif stat.S_ISREG(status.st_mode):
            staged(path, {"text": ROOT.bytes(path).decode("latin-1"), "encoding": "latin-1"}, job["trees"])
    except NotRoots:
        tell(LEFT_OUT % path)


def copy_linked(path, status, job, deepest):
    """A link to a folder: what the job has below it is staged there, and so all that is in it."""
    if not ROOT.owns(status) or not deepest:
        tell(LEFT_OUT % path)
    elif not any(item["path"].startswith(path + "/") for item in job["all"]):
        link_to(path)
    else:
        make_folders(STAGE + path, 0o711)
        for below, found in ROOT.tree(path):
            copy(below, found, job, deepest - 1)


def link_to(path):
    """What the test may read where it is."""
    if changeable(path):
        tell(LEFT_OUT % path)
        return
    make_folders(os.path.dirname(STAGE + path), 0o711)
    ROOT.link(STAGE + path, ROOT.real(path))


def staged(path, item, trees):
    content = data(item)
    for tree in trees:
        content = content.replace(tree.encode() + b"/", (STAGE + tree).encode() + b"/")
    make_folders(os.path.dirname(STAGE + path), 0o711)
    open_to_all = int(item.get("mode", "600"), 8) & stat.S_IROTH
    ROOT.prepare(STAGE + path, content, 0o644 if open_to_all else 0o600)


def refusal(words, gone=()):
    """What a service's parser says against the staged files; None when it takes them."""
    if words[0] == "as user":
        code, output = As(words[1]).run(words[2:], CHECK_SECONDS)
        output = ending(output, 30)
    elif words[0] == "supervisor":
        code, output = parsed(words[1], CHECK_SECONDS)
    elif words[0] == "systemd-analyze":
        # It ends with 0 for a key that it doesn't know, and with 1 for what is wrong elsewhere.
        own = {"SYSTEMD_UNIT_PATH": STAGE + "/etc/systemd/system:"}
        _, output = run(["systemd-analyze", "verify", "--man=no", *words[1:]], CHECK_SECONDS, **own)
        output = "\n".join(line for line in output.splitlines() if STAGE in line)
        code = bool(output)
    elif words[0] == "nginx":
        output, files = read_by_nginx(words[1])
        code = bool(output)
        leaves_out = [path for path in ask_nginx()["paths"] if files and STAGE + path not in files and path not in gone]
        for path in leaves_out:
            if path.startswith("/etc/nginx/"):
                tell("nginx reads %s, and with the new files it doesn't" % path)
    else:
        code, output = run(words, CHECK_SECONDS)
    return output.replace(STAGE, "") or "exit code %s" % code if code else None


def check(job):
    for words in job["checks"]:
        output = refusal([word.replace("{stage}", STAGE) for word in words], job["gone"])
        if output is not None:
            # Of a virtualenv's, which one.
            own = re.search(r"\[emerg\] (.+) in (%s/[^\s:]+):(\d+)" % LOCATIONS, output)
            if own:
                what, path, line = own.groups()
                raise Failed("%s: nginx refuses line %s, %s: correct it; nothing was changed" % (path, line, what))
            program = next((word for word in words if word.startswith("/")), words[0])
            name = program if words[0] == "as user" else words[0]
            raise Failed("%s refuses the new files: nothing was changed\n%s" % (name, output))


# ---- services ----


class Systemd:
    """Units' drop-in files, and what starts at boot."""

    def __init__(self, job):
        self.enable, self.reload = job["service"]["enable"], job["service"]["reload"]
        self.restart = job["service"].get("restart", ())

    def owns(self, path):
        return False

    def bring(self):
        if self.reload:
            self.back()
            say("systemd has read its files")
        for unit in self.enable:
            now = ["--now"] if unit.endswith(".timer") else []
            code, output = run(["systemctl", "enable", *now, unit])
            if code:
                raise Failed("%s can't be enabled: %s" % (unit, output))
        for unit in self.restart:
            code, output = run(["systemctl", "restart", unit])
            if code:
                raise Failed("%s doesn't start: %s" % (unit, output))
            say("started %s" % unit)

    def back(self):
        code, output = run(["systemctl", "daemon-reload"]) if self.reload else (0, "")
        if code:
            raise Failed("systemd doesn't read its files: %s" % output)


class Nginx:
    """nginx runs with its files, or goes on with those it had."""

    unit = "nginx.service"

    def __init__(self, job):
        self.digest, self.host = job["service"]["digest"], job["service"]["state_host"]
        self.begin, self.read_so_far = time.time(), 0

    def owns(self, path):
        return False

    def bring(self):
        # What the parser passed can still fail in earnest: a port that is taken, a log that can't be opened.
        self.begin, self.read_so_far = time.time(), self._log_size()
        if not is_active(self.unit):
            code, output = run(["systemctl", "enable", "--now", self.unit])
            if code:
                raise Failed("nginx doesn't start:\n" + self._own_words(output))
            say("started nginx")
        self._reload()
        end = time.time() + 10
        # A reload returns before the new workers listen, and a refused configuration shows in the log alone:
        # only nginx itself can tell that it has taken the new one.
        while self._asked() != self.digest:
            if time.time() > end:
                raise Failed(
                    "nginx doesn't take the new configuration within 10 s:\n"
                    + self._own_words("it says nothing; another program may have one of its ports: ss -ltnp")
                )
            time.sleep(0.02)
        say("reloaded nginx")

    def back(self):
        if is_active(self.unit):
            self._reload()

    def _reload(self):
        code, output = run(["systemctl", "reload", self.unit])
        if code:
            raise Failed("nginx doesn't reload:\n" + self._own_words(output))

    @staticmethod
    def _log_size():
        status = ROOT.status(ERROR_LOG)
        return status.st_size if status else 0

    def _own_words(self, otherwise):
        """What nginx says now of its files, or has said since this job began: systemctl doesn't know."""
        code, output = run(["nginx", "-t", "-q"])
        if code:
            return ending(output, 5)
        new = self._log_size() - self.read_so_far
        lines = ROOT.read(ERROR_LOG, most=min(new, 1 << 16), end=True).splitlines() if new > 0 else []
        lines = [line for line in lines if re.search(r"\[(?:emerg|alert|crit)\]", line)]
        # The words of one that didn't start are systemd's alone: it had no log yet.
        journal = ["journalctl", "-u", self.unit, "--since", "@%d" % self.begin, "-o", "cat"]
        lines = lines or [line for line in run(journal)[1].splitlines() if line.startswith("nginx:")]
        return "\n".join(lines[-5:]) or otherwise

    def _asked(self):
        try:
            connection = http.client.HTTPConnection(HERE, 80, timeout=5)
            connection.request("GET", "/", headers={"Host": self.host})
            answer = connection.getresponse()
            return answer.read(100).decode("ascii", "replace").strip() if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None


SERVICES = {"systemd": Systemd, "nginx": Nginx, "supervisor": Supervisor}


def apply(job):
    check_lock(job)
    if job["items"] or job["gone"]:
        stage(job)
        try:
            check(job)
        finally:
            ROOT.remove_tree(STAGE)
    # From here on all or nothing, also when the admin's connection or machine is gone.
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    service = SERVICES[job["service"]["kind"]](job) if job["service"] else None
    # A program's slots are its service's: it writes into the one that isn't in use.
    elsewhere = service.owns if service else lambda path: False
    plain = [item for item in job["items"] if not elsewhere(item["path"])]
    files = Files(plain, [path for path in job["gone"] if not elsewhere(path)])
    try:
        files.swap()
        if service:
            service.bring()
    except Exception as error:  # whatever it was, what ran before comes back
        files.undo()
        stays = as_before(service)
        if stays:
            say("left: not all of it is as it was before")
        raise Failed("\n".join([str(error), *(stays or ["the files of before are back"])])) from None
    for folder in job["sweep"]:
        try:
            ROOT.remove_tree(folder)
        except OSError as error:
            say("kept %s: %s" % (folder, error))
    manifest = ROOT.json(STATE + "/manifest.json")
    ours = [item for item in job["all"] if not item.get("data")]
    manifest[job["set"]] = {item["path"]: hashlib.sha256(data(item)).hexdigest() for item in ours}
    if not manifest[job["set"]]:
        del manifest[job["set"]]
    ROOT.write(STATE + "/manifest.json", json.dumps(manifest, indent=1, sort_keys=True).encode())
    did(job["set"])


def as_before(service):
    """Have a service go on as it was; a line for what can't."""
    try:
        return (service and service.back()) or []
    except Exception as error:  # whatever it was, the run's end is still written down
        return ["not all that ran before is back: %s" % error]


def roll_back(job):
    """Hand over to the slots that were in use before, with the files that they have: a whole run in one job."""
    take_lock(job)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    back = []
    for one in job["services"]:
        service = Supervisor(dict(job, service=one))
        try:
            service.bring()
            back.append(one)
        except Exception as error:  # whatever it was, what ran goes on
            stays = as_before(service)
            for other in reversed(back):
                stays += forward(job, other)
            ask_host(job["asking"], 0)
            words = "\n".join([str(error), *(stays or ["what ran before the rollback runs on"])])
            end_run("failed: %s; %s" % (one["group"], one_line(words)), "failed")
            if stays:
                say("left: not all of it is as it was before")
            raise Failed("%s: %s" % (one["group"], words)) from None
    record(job)


def forward(job, one):
    """Undo the rollback of a group: of several all go back, or none. A line where that can't be."""
    try:
        Supervisor(dict(job, service=one)).bring()
        return []
    except Exception as error:  # the others still go
        return ["%s stays at the release before: %s" % (one["group"], error)]


def set_flag(job):
    """Put a file there with a text, or take it away."""
    if job["text"] is None:
        ROOT.unlink(job["path"])
    else:
        ROOT.write(job["path"], job["text"].encode())


def install_packages(job):
    check_lock(job)
    install(job["install"])
    did("installed " + ", ".join(job["install"]["packages"]))


def update_package_lists(job):
    check_lock(job)
    update_lists(job)


def release(job):
    check_lock(job)
    put_in_place(job["release"])
    did("the release %s" % job["release"]["revision"])


def get_certificate(job):
    check_lock(job)
    bring_certificate(job["certificate"])
    did("the certificate %s" % job["certificate"]["lineage"])


def remove_releases(job):
    check_lock(job)
    remove_old(job["release"])


JOBS = {
    "lock": take_lock,
    "flag": set_flag,
    "install": install_packages,
    "update lists": update_package_lists,
    "release": release,
    "certificate": get_certificate,
    "apply": apply,
    "roll back": roll_back,
    "remove releases": remove_releases,
    "record": record,
    "clear": clear,
}


def main():
    job = json.loads(sys.argv[1])
    try:
        hold()
        JOBS[job["do"]](job)
    except (Failed, OSError) as error:
        say("--> %s" % error, sys.stderr)
        failed_alone(job, error)
        return 1
    return 0


sys.exit(main())
