"""Runs on the host, as root, with its own python3 (3.9 or later) and nothing else.

Reads one job as JSON from standard input (see `operations.configuration`) and does it whole or not at all:
``lock`` takes the host for one run, ``apply`` puts one service's files in place, ``record`` ends the run.
Prints what it did, a line each; ends with 1 and the reason on standard error when it did nothing.

It comes as one text with the files that it imports from: the host has none of them.
"""

import fcntl
import hashlib
import http.client
import json
import os
import shutil
import signal
import sys
import time

from operations.common_on_host import RUN, STATE, Failed, is_active, read, run, say, start_unit, write_whole
from operations.files_on_host import Files, data
from operations.programs_on_host import Supervisor
from operations.release_on_host import put_in_place, remove_old

LOG = "/var/log/catmaid-deploy.log"
STAGE = STATE + "/stage"
LOCK_SECONDS = 2 * 3600
LARGEST_COPY = 1 << 20


def read_json(path):
    try:
        found = json.loads(read(path) or "{}")
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


# ---- the lock and the record ----


def hold():
    """One job at a time: waits a while for another, which may be the end of a run that broke off."""
    os.makedirs(RUN, 0o755, exist_ok=True)
    handle = os.open(RUN + "/job", os.O_RDWR | os.O_CREAT, 0o600)
    end = time.time() + 60
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.time() > end:
                raise Failed("another job of a deploy runs on this host for over a minute: wait for its end") from None
            time.sleep(0.2)


def session():
    """The SSH session that this runs in, as process and its start: it ends with the admin's connection."""
    pid = os.getppid()
    while pid > 1:
        line = read("/proc/%d/stat" % pid)
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
    line = read("/proc/%d/stat" % pid)
    return bool(line) and line.rpartition(")")[2].split()[19] == start


def take_lock(job):
    found = read_json(RUN + "/lock.json")
    if found and found.get("run") != job["run"] and alive(found):
        raise Failed("%s deploys to this host since %s: nothing was changed" % (found["admin"], found["since"]))
    last = read_json(STATE + "/last-run.json")
    if last.get("run") != job["last_run"]:
        raise Failed(
            "%s changed this host at %s, after it was looked at: nothing was changed; run again"
            % (last.get("admin"), last.get("since"))
        )
    os.makedirs(STATE, 0o755, exist_ok=True)
    mine = {"run": job["run"], "admin": job["admin"], "revision": job["revision"], "since": job["since"]}
    if last and not last.get("ended"):
        note(last, "broke off before its end")
    write_whole(STATE + "/last-run.json", json.dumps(mine).encode())
    mine.update(session=session(), time=time.time())
    write_whole(RUN + "/lock.json", json.dumps(mine).encode())
    say("locked for %s" % job["admin"])


def check_lock(job):
    found = read_json(RUN + "/lock.json")
    if found.get("run") != job["run"]:
        raise Failed("the lock of this run is gone (now: %s): nothing was changed; run again" % found.get("admin"))
    write_whole(RUN + "/lock.json", json.dumps(dict(found, time=time.time())).encode())


def note(who, what):
    """A line in the record: time, admin, revision of the inventory's repository, what changed."""
    line = "%s\t%s\t%s\t%s\n" % (who["since"], who["admin"], who["revision"], what)
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(line)


def record(job):
    check_lock(job)
    mine = read_json(STATE + "/last-run.json")
    what = "; ".join(job["changed"])
    note(mine, what)
    write_whole(STATE + "/last-run.json", json.dumps(dict(mine, ended=True, changed=what)).encode())
    os.unlink(RUN + "/lock.json")
    say("recorded in " + LOG)


# ---- files ----


def stage(job):
    """A copy of the service's own tree with the new files in it, for its own test."""
    shutil.rmtree(STAGE, ignore_errors=True)
    os.makedirs(STAGE, 0o700)
    try:
        for tree in job["trees"]:
            for folder, _, names in os.walk(tree):
                os.makedirs(STAGE + folder, exist_ok=True)
                for name in names:
                    path = os.path.join(folder, name)
                    if os.path.isfile(path) and os.path.getsize(path) < LARGEST_COPY:
                        with open(path, "rb") as file:
                            staged(path, file.read(), job["trees"])
        for path in job["gone"]:
            if os.path.lexists(STAGE + path) and not os.path.isdir(STAGE + path):
                os.unlink(STAGE + path)
        texts = {item["path"]: data(item) for item in job["all"] if item["kind"] == "file"}
        for path, text in texts.items():
            staged(path, text, job["trees"])
        for item in job["all"]:
            if item["kind"] == "link" and item["target"] in texts:
                staged(item["path"], texts[item["target"]], job["trees"])
    except OSError as error:
        shutil.rmtree(STAGE, ignore_errors=True)
        raise Failed("can't stage the files: %s: nothing was changed" % error) from None


def staged(path, content, trees):
    for tree in trees:
        content = content.replace(tree.encode() + b"/", (STAGE + tree).encode() + b"/")
    os.makedirs(os.path.dirname(STAGE + path), exist_ok=True)
    with open(STAGE + path, "wb") as file:
        file.write(content)


PARSE = "import sys; from supervisor.options import ServerOptions; ServerOptions().realize(['-c', sys.argv[1]])"


def refusal(words):
    """What a service's parser says against the staged files; None when it takes them."""
    if words[0] == "supervisor":
        code, output = run(["python3", "-c", PARSE, *words[1:]])
    elif words[0] == "systemd-analyze":
        # It ends with 0 for a key that it doesn't know, and with 1 for what is wrong elsewhere.
        os.environ["SYSTEMD_UNIT_PATH"] = STAGE + "/etc/systemd/system:"
        _, output = run(["systemd-analyze", "verify", "--man=no", *words[1:]])
        del os.environ["SYSTEMD_UNIT_PATH"]
        output = "\n".join(line for line in output.splitlines() if STAGE in line)
        code = bool(output)
    else:
        code, output = run(words)
    return output.replace(STAGE, "") or "exit code %s" % code if code else None


def check(job):
    for words in job["checks"]:
        output = refusal([word.replace("{stage}", STAGE) for word in words])
        if output is not None:
            raise Failed("%s refuses the new files: nothing was changed\n%s" % (os.path.basename(words[0]), output))


# ---- services ----


class Systemd:
    """Units' drop-in files, and what starts at boot."""

    def __init__(self, job):
        self.enable, self.reload = job["service"]["enable"], job["service"]["reload"]

    def owns(self, path):
        return False

    def bring(self):
        if self.reload:
            self.back()
            say("systemd has read its files")
        for unit in self.enable:
            code, output = run(["systemctl", "enable", unit])
            if code:
                raise Failed("%s can't be enabled: %s" % (unit, output))

    def back(self):
        code, output = run(["systemctl", "daemon-reload"]) if self.reload else (0, "")
        if code:
            raise Failed("systemd doesn't read its files: %s" % output)


class Nginx:
    """nginx runs with its files, or goes on with those it had."""

    unit = "nginx.service"

    def __init__(self, job):
        self.digest, self.host = job["service"]["digest"], job["service"]["state_host"]

    def owns(self, path):
        return False

    def bring(self):
        # What the parser passed can still fail in earnest: a port that is taken, a log that can't be opened.
        if not is_active(self.unit):
            start_unit(self.unit)
            say("started nginx")
        self._reload()
        end = time.time() + 10
        # A reload returns before the new workers listen, and a refused configuration shows in the log alone:
        # only nginx itself can tell that it has taken the new one.
        while self._asked() != self.digest:
            if time.time() > end:
                raise Failed(
                    "nginx doesn't take the new configuration within 10 s; its log says:\n"
                    + "\n".join(read("/var/log/nginx/error.log").splitlines()[-5:])
                )
            time.sleep(0.02)
        say("reloaded nginx")

    def back(self):
        if is_active(self.unit):
            self._reload()

    def _reload(self):
        code, output = run(["systemctl", "reload", self.unit])
        if code:
            raise Failed("nginx doesn't reload: %s" % output)

    def _asked(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=5)
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
            shutil.rmtree(STAGE, ignore_errors=True)
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
        if service:
            try:
                service.back()
            except Exception as other:
                say("--> %s" % other, sys.stderr)
        raise Failed("%s\nthe files of before are back" % error) from None
    for folder in job["sweep"]:
        shutil.rmtree(folder, ignore_errors=True)
    manifest = read_json(STATE + "/manifest.json")
    ours = [item for item in job["all"] if not item.get("data")]
    manifest[job["set"]] = {item["path"]: hashlib.sha256(data(item)).hexdigest() for item in ours}
    if not manifest[job["set"]]:
        del manifest[job["set"]]
    write_whole(STATE + "/manifest.json", json.dumps(manifest, indent=1, sort_keys=True).encode())


def roll_back(job):
    """Hand over to the slots that were in use before, with the files that they have: a whole run in one job."""
    take_lock(job)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    for one in job["services"]:
        service = Supervisor(dict(job, service=one))
        try:
            service.bring()
        except Exception as error:  # whatever it was, what ran goes on
            service.back()
            raise Failed("%s: %s\nwhat ran before the rollback serves" % (one["group"], error)) from None
    record(job)


def release(job):
    check_lock(job)
    put_in_place(job["release"])


def remove_releases(job):
    check_lock(job)
    remove_old(job["release"])


JOBS = {
    "lock": take_lock,
    "release": release,
    "apply": apply,
    "roll back": roll_back,
    "remove releases": remove_releases,
    "record": record,
}


def main():
    job = json.load(sys.stdin)
    try:
        hold()
        JOBS[job["do"]](job)
    except (Failed, OSError) as error:
        say("--> %s" % error, sys.stderr)
        return 1
    return 0


sys.exit(main())
