"""How a host is, for the runbooks: asked beside the survey, in the same command.

Runs on the host like `survey_on_host`, which it imports from: the two are joined to one script. Reads only, but for
what it notes to be quicker the next time: many hosts may be asked at once, from one small machine.
"""

import glob
import json
import os
import re
import socket
import ssl
import time

from facts.survey_on_host import (
    PYTHON,
    STATE,
    answer,
    certificates_time,
    file_system,
    finish,
    read,
    read_json,
    start,
    start_as,
    started,
    survey,
    to_this_host,
)

# Asked of the application's own Python, as its user: is the database there, how many tasks wait. To load the settings
# takes most of the time for that, since Django and Celery come with them. What they say of the database and the broker
# is noted in a file that only this user reads, with the files that they were read from: as long as those are the same,
# the drivers alone are asked at a glance. Where they don't get an answer, the settings are loaded to find out why.
PROBE = r"""
import json, os, sys, time
how, notes, environment, *queues = sys.argv[1:]
os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
begin = time.time()

def state(paths):
    files = {path: os.stat(path) for path in paths}
    return [os.getcwd(), queues, {path: [one.st_ctime, one.st_size] for path, one in files.items()}]

def count(channel, names):
    return {name: channel.queue_declare(name, passive=True).message_count for name in names}
"""
BY_NOTES = r"""
import signal
from importlib import import_module
signal.alarm(10)
with open(notes) as file:
    status = os.fstat(file.fileno())
    kept = json.load(file)
lasts = status.st_uid == os.geteuid() and begin - 86400 < status.st_mtime <= begin
if lasts and kept["state"] == state(kept["state"][2]):
    if kept["database"]:
        driver, options = kept["database"]
        import_module(driver).connect(**options).close()
    import amqp
    with amqp.Connection(**kept["broker"]) as link:
        found = {"queues": count(link.channel(), kept["queues"]), "broker": None, "database": None}
    print(json.dumps(found), flush=True)
    os._exit(0)
"""
# To verify, the application is loaded as its programs load it, and a task goes to a worker.
BY_SETTINGS = r"""
found = {"queues": {}, "broker": None, "database": None, "task": None}

def first(error):
    lines = str(error).strip().splitlines()
    return "%s: %s" % (type(error).__name__, lines[0] if lines else "no message")

def note(database, broker, queues):
    import sysconfig
    own = (sys.prefix + "/", sys.base_prefix + "/lib")
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    paths = {path for path in files if path and not path.startswith(own)}
    # A folder changes with what is installed there, or is put there for the settings to read.
    paths |= {environment, sysconfig.get_path("purelib"), *map(os.path.dirname, paths)}
    kept = {"state": state(paths), "database": database, "broker": broker, "queues": queues}
    if max(changed for changed, _ in kept["state"][2].values()) > begin - 2:
        return  # they may be newer than what was loaded
    text = json.dumps(kept)
    whole = "%s.%d" % (notes, os.getpid())
    with open(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    os.rename(whole, notes)

try:
    from django.conf import settings
    if how == "verify":
        import django
        django.setup()
        from django.urls import get_resolver
        get_resolver().url_patterns
        from mysite.celery import app
    database = settings.DATABASES.get("default", {}).get("ENGINE", "")
except Exception as error:
    print(json.dumps(dict(found, broken=first(error))))
    sys.exit()
keep_database, keep_broker = None, None
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
            connection = DatabaseWrapper(dict(plain, **settings.DATABASES["default"]), "default")
            connection.ensure_connection()
        options = connection.get_connection_params()
        options = {key: os.fspath(one) if isinstance(one, os.PathLike) else one for key, one in options.items()}
        options = {key: one for key, one in options.items() if isinstance(one, (str, int))}
        keep_database = [connection.Database.__name__, options]
except Exception as error:
    found["database"] = first(error)
try:
    from kombu import Connection
    queues_there = queues or [getattr(settings, "CELERY_TASK_DEFAULT_QUEUE", "celery")]
    with Connection(getattr(settings, "CELERY_BROKER_URL", "amqp://")) as link:
        link.ensure_connection(max_retries=1, timeout=5)
        found["queues"] = count(link.channel(), queues_there)
        if type(link.transport).__module__ == "kombu.transport.pyamqp":
            names = ("userid", "password", "virtual_host", "login_method", "ssl")
            options = {name: getattr(link, name) for name in names if getattr(link, name)}
            keep_broker = dict(options, host=link.host, connect_timeout=5)
    if how == "verify":
        # Celery's own task, which returns what it gets. It needs no result backend to be counted.
        task = "celery.accumulate"

        def done():
            answers = app.control.inspect(timeout=1.5).stats() or {}
            return sum((one.get("total") or {}).get(task, 0) for one in answers.values())

        before, begin = done(), time.time()
        app.send_task(task, args=(1,), queue=queues_there[0], expires=60, ignore_result=True)
        while done() <= before and time.time() < begin + 15:
            pass
        found["task"] = time.time() - begin if time.time() < begin + 15 else None
except Exception as error:
    found["broker"] = first(error)
print(json.dumps(found))
if how == "status" and keep_broker and not found["database"]:
    try:
        note(keep_database, keep_broker, queues_there)
    except Exception:
        pass  # the next look loads the settings again
"""
# Not in /run, which is empty after a reboot until the next deploy.
UPDATES = STATE + "/security-updates.json"
HOUR = 3600


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
            end = re.match(r"(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+),\d+ \w+ exited: (\S+) \(.*; not expected\)", line)
            when = time.mktime((*map(int, end.groups()[:6]), 0, 0, -1)) if end else 0
            if when > time.time() - HOUR:
                found.setdefault(end.group(7), []).append(when)
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
    # Flags, type, state 03 for connected, inode, path: the program's end has the name of its socket.
    path = os.path.realpath(path)
    return len(re.findall(r" 0001 03 +\d+ %s$" % re.escape(path), read("/proc/net/unix"), re.MULTILINE))


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


def trusting():
    """For what nginx shows on this host, whoever signed it. Only a context that checks loads the system's certificates,
    which takes longer than all else.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def changed(path):
    """When what is at a path, or what a link there leads to, was last changed; now, where that is nothing."""
    try:
        return max(os.lstat(path).st_ctime, os.stat(path).st_ctime)
    except OSError:
        return time.time()


OUTSIDE = re.compile(r'^\s*(?:ssl_\w+|include)\s+"?(/[^\s;"*]+)', re.MULTILINE)


def nginx_has_read(paths, running):
    """Whether the running nginx has read its files as they are. A worker that ended is followed by one that knows no
    newer ones: of a single one the age doesn't tell.
    """
    return running["workers"] > 1 and max(map(changed, paths)) < running["since"]


def nginx_refuses(how, running):
    """What nginx says of its files; at a glance only where it hasn't read them yet."""
    if how == "status" and running["since"]:
        paths = {"/etc/nginx"}
        for folder, folders, files in os.walk("/etc/nginx", followlinks=True):
            names = [os.path.join(folder, name) for name in files]
            paths.update(names, (os.path.join(folder, name) for name in folders))
            # Debian's snippets name files that nobody has; what has a site's own is in one of these.
            if folder.endswith(("/sites-enabled", "/conf.d")):
                paths.update(*(OUTSIDE.findall(read(name)) for name in names))
        if nginx_has_read(paths, running):
            return []
    code, _, error = finish(start(["nginx", "-t", "-q"]))
    return error.strip().splitlines()[:2] if code else []


def served(name, port):
    """The certificate that nginx shows for a host name: seconds until its end, or the problem."""
    try:
        plain, context = to_this_host(port, 5), trusting()
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
    left = certificates_time(decoded["notAfter"]) - time.time()
    return {"problem": None, "seconds_left": left, "version": version}


def environment(one):
    """What an instance's programs run with."""
    return "%s/wsgi/environment.sh" % one["config_dir"]


def begin_probe(one, how, code):
    script = '. "$1" && shift && exec "$VIRTUAL_ENV/bin/python" -c "$@"'
    files = environment(one)
    return start_as(one["user"], ["sh", "-c", script, "sh", files, code, how, one["notes"], files, *one["queues"]])


def answer_of(process):
    """What a probe found, or None."""
    try:
        found = json.loads(finish(process)[1].splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return found if isinstance(found, dict) else None


def end_probe(process):
    found = answer_of(process)
    if found is None:
        code, _, error = finish(process)
        lines = error.strip().splitlines() or ["exit code %s" % code]
        found = {"broken": "no answer within a minute" if code == -9 else lines[-1]}
    return found


def certificate_of(site, survey, how):
    """The certificate that nginx shows. At a glance it is the file's, if nginx has read that."""
    file = survey["certificates"]["%s served" % site["name"]]
    paths = [*site["files"], *map(os.path.dirname, site["files"])]
    if how == "status" and not file["problem"] and nginx_has_read(paths, survey["nginx"]):
        return {"problem": None, "seconds_left": file["seconds_left"]}
    return served(site["name"], site["port"])


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


def health(question, how="status", meanwhile=None):
    # Slow ones first: they work meanwhile.
    updates = SecurityUpdates()
    glances = [one for one in question["instances"] if how == "status" and os.path.exists(one["notes"])]
    codes = {one["name"]: PROBE + BY_SETTINGS for one in question["instances"]}
    codes.update({one["name"]: PYTHON + PROBE + BY_NOTES for one in glances})
    probes = {one["name"]: begin_probe(one, how, codes[one["name"]]) for one in question["instances"]}
    begin = time.time()
    first = {one["name"]: statistics(one["statistics"]) for one in question["instances"]}
    pythons = {
        one["virtualenv"]: probes[one["name"]]
        for one in glances
        if "export VIRTUAL_ENV=%s\n" % one["virtualenv"] in read(environment(one))
    }
    found = {"survey": survey(question["survey"], pythons)}
    for one in glances:
        if answer_of(probes[one["name"]]) is None:
            probes[one["name"]] = begin_probe(one, how, PROBE + BY_SETTINGS)
    if meanwhile:
        found.update(meanwhile(question))
    secure = [site for site in question["sites"] if site["https"]]
    found["served"] = {site["name"]: certificate_of(site, found["survey"], how) for site in secure}
    found["spaces"] = list({one["mount"]: one for one in map(space, question["space"])}.values())
    found["uptime"] = time.clock_gettime(time.CLOCK_BOOTTIME)
    found["load"] = os.getloadavg()[0]
    found["processors"] = os.cpu_count()
    found["ends"] = ends()
    found["old_logs"] = old_logs(question["logs"])
    found["reboot"] = os.path.exists("/run/reboot-required") or os.path.exists("/var/run/reboot-required")
    found["nginx_refuses"] = nginx_refuses(how, found["survey"]["nginx"])
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
