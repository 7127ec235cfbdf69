"""Runs on the host, as root, with its own python3 (3.9 or later) and nothing else.

Reads one job as JSON from standard input (see `operations.configuration`) and does it whole or not at all:
``lock`` takes the host for one run, ``apply`` puts one service's files in place, ``record`` ends the run.
Prints what it did, a line each; ends with 1 and the reason on standard error when it did nothing.
"""

import fcntl
import grp
import hashlib
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import xmlrpc.client

STATE = "/var/lib/catmaid-deploy"
RUN = "/run/catmaid-deploy"
LOG = "/var/log/catmaid-deploy.log"
STAGE = STATE + "/stage"
LOCK_SECONDS = 2 * 3600
LARGEST_COPY = 1 << 20


class Failed(Exception):
    """The job can't be done; the text says why, in a few lines."""


def say(text, to=sys.stdout):
    # The admin's side may be gone: what was begun is ended all the same.
    try:
        print(text, file=to, flush=True)
    except OSError:
        pass


def run(words, seconds=120):
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds
        )
    except (OSError, subprocess.SubprocessError) as error:
        return 127, str(error)
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as text:
            return text.read()
    except OSError:
        return ""


def read_json(path):
    try:
        found = json.loads(read(path) or "{}")
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def write_whole(path, data, mode=0o644):
    """Write a file so that a reader, or a reboot, finds the old or the new one."""
    new = prepared(path)
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, path)
    except OSError:
        if os.path.lexists(new):
            os.unlink(new)
        raise


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


def account(item):
    try:
        return pwd.getpwnam(item["user"]).pw_uid, grp.getgrnam(item["group"]).gr_gid
    except KeyError as error:
        raise Failed("%s: %s" % (item["path"], error.args[0])) from None


def data(item):
    """The bytes of a file that is to be."""
    return item.get("text", "").encode(item.get("encoding", "utf-8"))


def remember(path):
    """What is at a path, so that it can be put back."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    kept = {"mode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid}
    if stat.S_ISLNK(status.st_mode):
        return dict(kept, kind="link", target=os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return dict(kept, kind="folder")
    if not stat.S_ISREG(status.st_mode):
        raise Failed("%s is neither a file nor a folder nor a link: move it away" % path)
    with open(path, "rb") as file:
        return dict(kept, kind="file", data=file.read())


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    elif os.path.lexists(path):
        os.unlink(path)


def prepared(path):
    return "%s/.%s.catmaid-deploy" % os.path.split(path)


def put_back(path, kept):
    if kept is None:
        remove(path)
    elif kept["kind"] == "link":
        link(path, kept["target"])
    else:
        if kept["kind"] == "file":
            write_whole(path, kept["data"], 0o600)
        elif not os.path.isdir(path):
            os.mkdir(path)
        os.chown(path, kept["uid"], kept["gid"])
        os.chmod(path, kept["mode"])


def link(path, target):
    new = prepared(path)
    if os.path.lexists(new):
        os.unlink(new)
    os.symlink(target, new)
    os.rename(new, path)


class Files:
    """The files of one set: made ready beside their places, then all moved at once, or put back."""

    def __init__(self, items, gone):
        self.items, self.gone = items, gone
        self.kept = []

    def swap(self):
        new = []
        try:
            for item in self.items:
                if item["kind"] == "folder":
                    self._keep(item["path"])
                    self._make_folder(item)
                elif item["kind"] == "file":
                    place = prepared(item["path"])
                    new.append(place)
                    self._prepare(item, place)
            for item in self.items:
                if item["kind"] == "folder":
                    continue
                self._keep(item["path"])
                if item["kind"] == "file":
                    os.rename(prepared(item["path"]), item["path"])
                else:
                    link(item["path"], item["target"])
            # The deepest first, so that a folder is empty when its turn comes.
            for path in sorted(self.gone, reverse=True):
                self._keep(path)
                try:
                    remove(path)
                except OSError:
                    say("kept %s: it isn't empty" % path)
        except (OSError, Failed) as error:
            for place in new:
                if os.path.lexists(place):
                    os.unlink(place)
            raise Failed("can't write: %s" % error) from None

    def _keep(self, path):
        self.kept.append((path, remember(path)))

    @staticmethod
    def _make_folder(item):
        if not os.path.isdir(item["path"]):
            os.mkdir(item["path"], 0o700)
        os.chown(item["path"], *account(item))
        os.chmod(item["path"], int(item["mode"], 8))

    @staticmethod
    def _prepare(item, place):
        with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data(item))
            os.fchown(file.fileno(), *account(item))
            os.fchmod(file.fileno(), int(item["mode"], 8))
            file.flush()
            os.fsync(file.fileno())

    def undo(self):
        for path, kept in reversed(self.kept):
            try:
                put_back(path, kept)
            except OSError as error:
                say("can't put back %s: %s" % (path, error), sys.stderr)


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


def start_unit(unit):
    code, output = run(["systemctl", "enable", "--now", unit])
    if code:
        raise Failed("%s doesn't start: %s" % (unit, output))


def is_active(unit):
    return run(["systemctl", "is-active", "--quiet", unit])[0] == 0


class Systemd:
    """Units' drop-in files, and what starts at boot."""

    def __init__(self, job):
        self.enable, self.reload = job["enable"], job["reload"]

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
        self.digest, self.host = job["digest"], job["state_host"]

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


class LocalConnection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(900)
        self.sock.connect("/run/supervisor.sock")


class Local(xmlrpc.client.Transport):
    """One connection for all calls. Supervisor 4.2 goes on polling the number of one that was closed; a program
    that it starts at that moment gets this number for a pipe, and supervisord is busy with it for good.
    """

    def make_connection(self, host):
        if self._connection[1] is None:
            self._connection = host, LocalConnection(host)
        return self._connection[1]


class Supervisor:
    """One group of programs. ``calls`` are those of `tasks.supervisor.decide`."""

    unit = "supervisor.service"

    def __init__(self, job):
        self.group, self.calls = job["group"], job["calls"]
        self.log_dir, self.seconds = job["log_dir"], job["seconds"]
        self.removed = job["removed"]
        self.fresh = False  # the whole group was started by this job
        self.proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=Local())

    def _ask(self, method, *words):
        return getattr(self.proxy.supervisor, method)(*words)

    def bring(self):
        if not is_active(self.unit):
            start_unit(self.unit)
            say("started Supervisor")
        end = time.time() + 20
        while True:
            try:
                self._ask("getState")
                break
            except (OSError, http.client.HTTPException) as error:
                if time.time() > end:
                    raise Failed("Supervisor doesn't answer: %s" % error) from None
                time.sleep(0.1)
        try:
            for call, program in self.calls:
                getattr(self, "_" + call)(program)
        except xmlrpc.client.Fault as error:
            raise Failed("Supervisor refuses: %s" % error.faultString) from None
        if not self.removed:
            self._wait()

    def back(self):
        """What ran before runs again: the group as its file says now, and each of its programs."""
        try:
            self.fresh = False
            self._update(self.group)
            for program in self._programs():
                if program["statename"] not in ("RUNNING", "STARTING"):
                    self._start(program["name"])
            touched = [program for call, program in self.calls if call == "restart"]
            for name in touched:
                self._restart(name)
        except (OSError, xmlrpc.client.Error, http.client.HTTPException) as error:
            say("the programs of before don't start: %s" % error, sys.stderr)

    def _programs(self):
        return [p for p in self._ask("getAllProcessInfo") if p["group"] == self.group]

    def _update(self, group):
        """What supervisorctl calls reread and update, of one group: others keep running as they are."""
        ((added, changed, removed),) = self._ask("reloadConfig")
        if group in changed or group in removed:
            self._ask("stopProcessGroup", group)
            self._ask("removeProcessGroup", group)
            if group in removed:
                say("stopped and removed the programs of %s" % group)
        if group in changed or group in added:
            self._ask("addProcessGroup", group)
            self.fresh = True
            say("started the programs of %s" % group)

    def _start(self, program):
        try:
            self._ask("startProcess", "%s:%s" % (self.group, program), False)
            say("started %s" % program)
        except xmlrpc.client.Fault as error:
            # Started by an update a moment ago, or between two tries: the wait tells.
            if error.faultCode != 60:
                raise

    def _restart(self, program):
        if self.fresh:
            return
        try:
            self._ask("stopProcess", "%s:%s" % (self.group, program))
        except xmlrpc.client.Fault as error:
            if error.faultCode != 70:  # it doesn't run
                raise
        self._ask("startProcess", "%s:%s" % (self.group, program), False)
        say("restarted %s" % program)

    def _wait(self):
        """Until each program has shown that it stays up. One that exits at once gets three tries, not Supervisor's
        eleven: meanwhile nobody is served.
        """
        end = time.time() + self.seconds
        exits = {}
        while True:
            late = [p for p in self._programs() if p["statename"] != "RUNNING"]
            if not late:
                return
            for program in late:
                if program["statename"] == "BACKOFF":
                    exits.setdefault(program["name"], set()).add(program["stop"])
            given_up = any(p["statename"] == "FATAL" or len(exits.get(p["name"], ())) >= 3 for p in late)
            if given_up or time.time() > end:
                break
            time.sleep(0.1)
        lines = []
        for program in late:
            log = "%s/%s.log" % (self.log_dir, program["name"][len(self.group) + 1 :])
            lines.append("%s is %s; the last lines of %s:" % (program["name"], program["statename"], log))
            lines += read(log).splitlines()[-15:]
        raise Failed("\n".join(lines))


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
    files = Files(job["items"], job["gone"])
    service = SERVICES[job["service"]["kind"]](job["service"]) if job["service"] else None
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
    for item in job["items"]:
        say("wrote %s" % item["path"])
    for path in job["gone"]:
        say("removed %s" % path)
    manifest = read_json(STATE + "/manifest.json")
    ours = [item for item in job["all"] if not item.get("data")]
    manifest[job["set"]] = {item["path"]: hashlib.sha256(data(item)).hexdigest() for item in ours}
    if not manifest[job["set"]]:
        del manifest[job["set"]]
    write_whole(STATE + "/manifest.json", json.dumps(manifest, indent=1, sort_keys=True).encode())


def main():
    job = json.load(sys.stdin)
    try:
        hold()
        {"lock": take_lock, "apply": apply, "record": record}[job["do"]](job)
    except (Failed, OSError) as error:
        say("--> %s" % error, sys.stderr)
        return 1
    return 0


sys.exit(main())
