"""How a host and what it serves are, for the runbooks: asked beside the survey, in the same command.

Runs on the host like `survey_on_host`, which it imports from: the two are joined to one script. Reads only, but for
what a user would ask: pages, a WebSocket, a task that returns its arguments.
"""

import glob
import http.client
import json
import os
import re
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

from facts.survey_on_host import STATE, answer, file_system, finish, read, read_json, start, started, survey

# Asked of the application's own Python, as its user. At a glance its settings are enough: is the database there, how
# many tasks wait. To verify, it is loaded as the programs load it, and a task goes to a worker.
PROBE = r"""
import json, sys, time
verify, queues = sys.argv[1] == "verify", sys.argv[2:]
found = {"queues": {}, "broker": None, "database": None, "task": None}

def first(error):
    lines = str(error).strip().splitlines()
    return "%s: %s" % (type(error).__name__, lines[0] if lines else "no message")

try:
    from django.conf import settings
    if verify:
        import django
        django.setup()
        from django.urls import get_resolver
        get_resolver().url_patterns
        from mysite.celery import app
    database = settings.DATABASES.get("default", {}).get("ENGINE", "")
except Exception as error:
    print(json.dumps(dict(found, broken=first(error))))
    sys.exit()
try:
    if database and not database.endswith(".dummy"):
        from django.core.exceptions import AppRegistryNotReady
        try:
            from django.db import connection
            connection.ensure_connection()
        except AppRegistryNotReady:
            # CATMAID's own database backend wants the models, which take seconds to load; Django's asks the same.
            from django.db.backends.postgresql.base import DatabaseWrapper
            plain = {"HOST": "", "PORT": "", "USER": "", "PASSWORD": "", "OPTIONS": {}, "TIME_ZONE": None, "TEST": {},
                     "AUTOCOMMIT": True, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False}
            DatabaseWrapper(dict(plain, **settings.DATABASES["default"]), "default").ensure_connection()
except Exception as error:
    found["database"] = first(error)
try:
    from kombu import Connection
    queues = queues or [getattr(settings, "CELERY_TASK_DEFAULT_QUEUE", "celery")]
    with Connection(getattr(settings, "CELERY_BROKER_URL", "amqp://")) as link:
        link.ensure_connection(max_retries=1, timeout=5)
        for name in queues:
            with link.channel() as channel:
                found["queues"][name] = channel.queue_declare(name, passive=True).message_count
    if verify:
        # Celery's own task, which returns what it gets. It needs no result backend to be counted.
        task = "celery.accumulate"

        def done():
            answers = app.control.inspect(timeout=1.5).stats() or {}
            return sum((one.get("total") or {}).get(task, 0) for one in answers.values())

        before, begin = done(), time.time()
        app.send_task(task, args=(1,), queue=queues[0], expires=60, ignore_result=True)
        while done() <= before and time.time() < begin + 15:
            pass
        found["task"] = time.time() - begin if time.time() < begin + 15 else None
except Exception as error:
    found["broker"] = first(error)
print(json.dumps(found))
"""
# Not in /run, which is empty after a reboot until the next deploy.
UPDATES = STATE + "/security-updates.json"
HOUR = 3600
MOST_FOLDERS = 200


def space(path):
    """Of the file system that holds a path: where it is mounted, its size, what is free, and the files that fit."""
    mount, found = file_system(path)
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    files = 1.0 if not found.f_files else found.f_favail / float(found.f_files)
    return {"mount": mount, "size": size, "free": free, "files_free": files}


def ends():
    """When each program ended in the last hour without being told, by Supervisor's log."""
    found = {}
    for path in ("/var/log/supervisor/supervisord.log.1", "/var/log/supervisor/supervisord.log"):
        try:
            with open(path, "rb") as file:
                file.seek(max(0, os.path.getsize(path) - (1 << 20)))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            continue
        for line in lines:
            end = re.match(r"(\S+ \S+?),\d+ \w+ exited: (\S+) \(.*; not expected\)", line)
            try:
                when = time.mktime(time.strptime(end.group(1), "%Y-%m-%d %H:%M:%S")) if end else 0
            except ValueError:
                continue
            if when > time.time() - HOUR:
                found.setdefault(end.group(2), []).append(when)
    return found


def last_line(path):
    """In a folder that is another user's a link could lead to anything."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 16384))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return ([""] + [line[:300] for line in lines if line.strip()])[-1]


def statistics(path):
    """What uWSGI tells of its workers; None where it doesn't."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(path)
            told = json.loads(connection.makefile("rb").read().decode("utf-8", "replace"))
    except (OSError, ValueError):
        return None
    cores = [core for worker in told["workers"] for core in worker["cores"]]
    return {
        "requests": sum(worker["requests"] for worker in told["workers"]),
        "busy": sum(bool(core["in_request"]) for core in cores),
        "threads": len(cores),
        "waiting": told.get("listen_queue", 0),
    }


def connections(path):
    """How many connections a socket's program has."""
    code, output, _ = finish(start(["ss", "-xH", "state", "established", "src", path]))
    return len(output.splitlines()) if code == 0 else None


def old_logs(folders):
    """Logs that are large and weren't rotated for longer than a week and a day: path and bytes."""
    rotated = read("/var/lib/logrotate/status")
    found = []
    for folder in folders:
        for path in glob.glob(folder + "/*.log"):
            size = os.path.getsize(path)
            last = re.search(r'^"%s" (\d+)-(\d+)-(\d+)' % re.escape(path), rotated, re.MULTILINE)
            then = time.mktime((*map(int, last.groups()), 0, 0, 0, 0, 0, -1)) if last else 0
            if size > 100 << 20 and then < time.time() - 8 * 24 * HOUR:
                found.append([path, size])
    return found


def served(name, port):
    """The certificate that nginx shows for a host name: seconds until its end, or the problem."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        plain = socket.create_connection(("127.0.0.1", port), timeout=5)
        with plain, context.wrap_socket(plain, server_hostname=name) as secure:
            text = ssl.DER_cert_to_PEM_cert(secure.getpeercert(True))
            version = secure.version()
    except (OSError, ValueError) as error:
        return {"problem": str(error)}
    path = "/run/catmaid-deploy-%d.pem" % os.getpid()
    try:
        with open(path, "w") as file:
            file.write(text)
        decoded = ssl._ssl._test_decode_cert(path)
    finally:
        os.unlink(path)
    left = ssl.cert_time_to_seconds(decoded["notAfter"]) - time.time()
    return {"problem": None, "seconds_left": left, "version": version}


class Local(http.client.HTTPConnection):
    """A connection to this host's nginx by a site's name, whatever DNS says."""

    def __init__(self, site):
        super().__init__("127.0.0.1", site["port"], timeout=30)
        self.site = site

    def connect(self):
        self.sock = socket.create_connection(("127.0.0.1", self.site["port"]), timeout=30)
        if self.site["https"]:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock, server_hostname=self.site["name"])


def asked(one):
    """What a page answers: status and headers."""
    connection = Local(one["site"])
    headers = dict({"Host": one["site"]["name"], "User-Agent": "catmaid-deploy verify"}, **one.get("headers", {}))
    begin = time.time()
    try:
        connection.request("GET", one["path"], headers=headers)
        if headers.get("Upgrade"):
            # The answer to a handshake has no end: the connection goes on.
            line = connection.sock.recv(4096).decode("latin-1").split("\r\n")[0]
            return {"status": int(line.split()[1]), "headers": {}, "seconds": time.time() - begin}
        told = connection.getresponse()
        told.read(1 << 20)
        return {
            "status": told.status,
            "headers": {name.lower(): value for name, value in told.getheaders()},
            "seconds": time.time() - begin,
        }
    except (OSError, http.client.HTTPException, ValueError, IndexError) as error:
        return {"status": 0, "headers": {}, "error": str(error) or type(error).__name__, "seconds": time.time() - begin}
    finally:
        connection.close()


def first_file(folder, suffix):
    """A file of a tile set or of static files; None where none is soon found, since tiles are many."""
    for number, (place, folders, names) in enumerate(os.walk(folder)):
        if number == MOST_FOLDERS:
            return None
        folders.sort()
        names = sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))
        if names:
            return os.path.relpath(os.path.join(place, names[0]), folder)
    return None


def begin_probe(one, verify):
    script = '. "$1" && shift && exec python -c "$@"'
    files = "%s/wsgi/environment.sh" % one["config_dir"]
    words = ["sh", "-c", script, "sh", files, PROBE, "verify" if verify else "status", *one["queues"]]
    return start(["runuser", "-u", one["user"], "--", *words])


def end_probe(process):
    code, output, error = finish(process)
    try:
        return json.loads(output.splitlines()[-1])
    except (ValueError, IndexError):
        return {"broken": (error.strip().splitlines() or ["exit code %s" % code])[-1]}


class SecurityUpdates:
    """The packages whose new version comes from a security archive. apt takes a second to find out: what it found is
    kept for as long as the lists and the installed packages are the same.
    """

    def __init__(self):
        paths = ["/var/lib/dpkg/status", "/var/lib/apt/lists", *sorted(glob.glob("/var/lib/apt/lists/*_InRelease"))]
        self.state = [os.stat(path).st_mtime for path in paths if os.path.exists(path)]
        kept = read_json(UPDATES)
        self.found = kept.get("names") if kept.get("state") == self.state else None
        if self.found is None:
            self.asked = start(["apt-get", "-s", "-o", "Debug::NoLocking=true", "upgrade"])

    def names(self):
        if self.found is None:
            code, output, _ = finish(self.asked)
            if code:
                return None
            lines = [line.split() for line in output.splitlines() if line.startswith("Inst ")]
            self.found = sorted(words[1] for words in lines if "ecurity" in " ".join(words))
            try:
                with open(UPDATES, "w") as file:
                    json.dump({"state": self.state, "names": self.found}, file)
            except OSError:
                pass
        return self.found


def age(pid):
    line = read("/proc/%s/stat" % pid)
    return time.time() - started(line) if line else None


def strangers(virtualenvs, own):
    """Celery's workers and beats that run with a virtualenv's Python and are in none of the deploy's process groups."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        words = read("/proc/%s/cmdline" % pid).split("\0")
        kinds = {"worker", "beat"}.intersection(words)
        virtualenv = next((one for one in virtualenvs if words[0].startswith(one + "/")), None)
        if kinds and virtualenv and any("celery" in word for word in words[1:4]):
            try:
                group = os.getpgid(int(pid))
            except OSError:
                continue  # it has ended meanwhile
            if group not in own:
                found[group] = {"process": group, "kind": kinds.pop(), "virtualenv": virtualenv}
    return [found[group] for group in sorted(found)]


def find_and_ask(page):
    """What a page answers; where it lies in a folder, a file is looked for there, and named."""
    if "folder" not in page:
        return asked(page)
    name = first_file(page["folder"], page["suffix"])
    return dict(asked(dict(page, path=page["path"] + (name or ""))), found=name)


def health(question):
    verify = question["verify"]
    # Slow ones first: they work meanwhile.
    updates = SecurityUpdates()
    probes = {one["name"]: begin_probe(one, verify) for one in question["instances"]}
    begin = time.time()
    first = {one["name"]: statistics(one["statistics"]) for one in question["instances"]}
    found = {"survey": survey(question["survey"])}
    with ThreadPoolExecutor(4) as pool:
        found["pages"] = list(pool.map(find_and_ask, question["pages"]))
    found["served"] = {one["name"]: served(one["name"], one["port"]) for one in question["sites"] if one["https"]}
    found["spaces"] = list({one["mount"]: one for one in map(space, question["space"])}.values())
    found["uptime"] = time.clock_gettime(time.CLOCK_BOOTTIME)
    found["load"] = os.getloadavg()[0]
    found["processors"] = os.cpu_count()
    found["ends"] = ends()
    found["old_logs"] = old_logs(question["logs"])
    found["reboot"] = os.path.exists("/run/reboot-required") or os.path.exists("/var/run/reboot-required")
    code, output, _ = finish(start(["systemctl", "is-active", "logrotate.timer", "nginx", "supervisor"]))
    found["active"] = dict(zip(("logrotate.timer", "nginx", "supervisor"), output.split()))
    code, output, error = finish(start(["nginx", "-t", "-q"]))
    found["nginx_refuses"] = error.strip().splitlines()[:2] if code else []
    programs = found["survey"]["supervisor"] or {}
    found["ages"] = {name: age(one["pid"]) for name, one in programs.items() if one["pid"]}
    found["logs"] = {
        name: last_line("%s/%s.log" % (one["log_dir"], name.partition(":")[2][len(one["name"]) + 1 :]))
        for one in question["instances"]
        for name, program in programs.items()
        if name.startswith(one["name"] + ":") and program["state"] in ("FATAL", "BACKOFF", "EXITED", "UNKNOWN")
    }
    groups = {one["name"] for one in question["instances"]}
    own = [program["pid"] for name, program in programs.items() if name.partition(":")[0] in groups]
    found["strangers"] = strangers({one["virtualenv"] for one in question["instances"]}, own)
    found["instances"] = {}
    for one in question["instances"]:
        now = statistics(one["statistics"])
        before = first[one["name"]]
        seconds = time.time() - begin
        rate = (now["requests"] - before["requests"]) / seconds if now and before and seconds > 0 else None
        found["instances"][one["name"]] = {
            "statistics": now,
            "rate": max(0, rate) if rate is not None else None,
            "websockets": connections(one["daphne"]),
            "probe": end_probe(probes[one["name"]]),
        }
    found["security_updates"] = updates.names()
    return found


answer(health)
