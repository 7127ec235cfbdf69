"""What is asked of an application by its own Python, as its own user. Joined with the survey; see there."""

import json
import re

from catmaid_deploy.on_host.facts.clean import clean
from catmaid_deploy.on_host.facts.mail import MAIL
from catmaid_deploy.on_host.facts.notice import NOTICE
from catmaid_deploy.on_host.facts.places import start_as, start_python
from catmaid_deploy.on_host.trust import plain

PACKAGES = ("django", "daphne", "celery", "uwsgi", "gunicorn", "gevent", "psycogreen", "pip")
# How long an application may take to load, and to say what it is.
LOADING_SECONDS, SAYING_SECONDS = 60, 30
# No message of a driver or of settings says more that helps.
LONGEST = 300

# Asked of a virtualenv's Python: its version and program, whether its packages are there, whether uWSGI can be compiled
# against it, and what its folders have. Only what loads at once: json and re take as long as all of this. The first and
# the last line are there since a virtualenv's own start can print some too, or the process can end too early.
PYTHON = """
import os, sys, sysconfig
print("catmaid-deploy asks")
print("%d.%d.%d" % sys.version_info[:3])
print(os.path.realpath(sys.executable))
print(os.path.isdir(sysconfig.get_path("purelib")))
print(os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
more = os.environ.get("PYTHONPATH", "").split(":")
for folder in sys.path:
    if os.path.isdir(folder) and folder not in more:
        print("\\n".join(name for name in os.listdir(folder) if name.endswith("-info")))
print("catmaid-deploy asked")
"""
# To load the settings takes most of the time for what is asked, since Django and Celery come with them. What they say
# is noted in a file that only their user reads, with the files that they were read from: for as long as those are the
# same, it is so.
NOTING = r"""
import json, os, sys, time
begin = time.time()

def state(said, paths):
    files = {path: os.stat(path) for path in paths}
    return [os.getcwd(), said, {path: [one.st_ctime, one.st_size] for path, one in files.items()}]

def note(notes, said, further, **kept):
    import sysconfig
    own = (sys.prefix + "/", sys.base_prefix + "/lib")
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    paths = {path for path in files if path and not path.startswith(own)}
    # A folder changes with what is installed there, or is put there for the settings to read.
    paths |= {*further, sysconfig.get_path("purelib"), *map(os.path.dirname, paths)}
    kept["state"] = state(said, paths)
    if max(changed for changed, _ in kept["state"][2].values()) > begin - 2:
        return  # they may be newer than what was loaded
    text = json.dumps(kept)
    whole = "%s.%d" % (notes, os.getpid())
    with open(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    os.rename(whole, notes)
"""
# CATMAID asks its broker while it is imported, and tries for ever where that doesn't answer: it is told once that it
# is late, says so in its log, and goes on.
LOADING = r"""
class Late(Exception):
    pass

def broker_of(settings):
    # Celery sends to the one for writing; without any it supposes a broker on this host.
    names = ("CELERY_BROKER_WRITE_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_URL")
    found = [getattr(settings, name, None) for name in names]
    return next((one for one in found if one), None)

def load_settings():
    import signal

    def late(_, frame):
        # What only takes long to load is let go on.
        while frame:
            module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
            if module.split(".")[0] in ("amqp", "kombu") and name != "<module>":
                raise Late("no answer within 10 s")
            frame = frame.f_back
        signal.alarm(2)

    signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    from django.conf import settings
    settings.DEBUG
    signal.alarm(0)
    return settings
"""
# The settings as Django has them. They may print, and go on with threads of their own. Of addresses only the host, the
# port and the virtual host are told.
SETTINGS = (
    NOTING
    + LOADING
    + r"""
notes, said = sys.argv[1:]
shown = os.dup(1)
os.dup2(2, 1)
settings = load_settings()
written = vars(sys.modules[settings.SETTINGS_MODULE])

def path(name):
    value = getattr(settings, name, None)
    return os.path.abspath(os.fspath(value)) if value else None

def leads(url):
    from kombu.utils.url import parse_url
    parts = parse_url(url)
    if not parts["transport"].startswith(("amqp", "pyamqp")):
        return None
    # As Celery and the channel layer have it: no path, and a single slash, are the vhost "/".
    where = "%s:%s" % (parts["hostname"] or "localhost", parts["port"] or 5672)
    return [where, parts["virtual_host"] or "/"]

def addresses():
    layer = (getattr(settings, "CHANNEL_LAYERS", None) or {}).get("default", {})
    host = layer.get("CONFIG", {}).get("host")
    broker = broker_of(settings)
    if "rabbitmq" in layer.get("BACKEND", "") and isinstance(host, str) and isinstance(broker, str):
        found = [leads(broker), leads(host)]
        if found[1] and host.endswith("//"):
            found[1][1] = "//"  # the layer doesn't take it for what it means to Celery, and never connects
        return found
    return None

found = {name: path(name) for name in ("STATIC_ROOT", "MEDIA_ROOT")}
found["ALLOWED_HOSTS"] = [str(one) for one in settings.ALLOWED_HOSTS]
# As they are written: Django puts the prefix before those that don't begin with a slash.
for name in ("MEDIA_URL", "STATIC_URL", "FORCE_SCRIPT_NAME"):
    value = written.get(name)
    found[name] = str(value) if value else None
for name in ("SESSION_COOKIE", "CSRF_COOKIE"):
    found[name] = [str(getattr(settings, name + "_NAME")), str(getattr(settings, name + "_PATH"))]
    found[name] += [str(getattr(settings, name + "_DOMAIN") or ""), bool(getattr(settings, name + "_SECURE"))]
try:
    found["brokers"] = addresses()
except Exception:
    found["brokers"] = None
os.write(shown, b"\n" + json.dumps(found).encode())
try:
    note(notes, said, (), settings=found)
except Exception:
    pass  # the next look loads them again
os._exit(0)
"""
)
# Is the database there, how many tasks wait? As long as the notes are good, the drivers alone are asked at a glance.
# Where they don't get an answer, the settings are loaded to find out why.
PROBE = (
    NOTING
    + LOADING
    + NOTICE
    + MAIL
    + r"""
how, notes, environment, channel, others, mail, *queues = sys.argv[1:]
mail, begun_mail = json.loads(mail), None
os.environ.setdefault("PGCONNECT_TIMEOUT", "5")

def count(channel, names):
    return {name: channel.queue_declare(name, passive=True).message_count for name in names}

def late(*_):
    raise TimeoutError

def by_notes():
    import signal
    from importlib import import_module
    with open(os.open(notes, os.O_RDONLY | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        kept = json.load(file)
    lasts = status.st_uid == os.geteuid() and begin - 86400 < status.st_mtime <= begin
    if not lasts or kept["state"] != state(queues, kept["state"][2]):
        return
    signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    if kept["database"]:
        driver, options = kept["database"]
        import_module(driver).connect(**options).close()
    import amqp
    with amqp.Connection(**kept["broker"]) as link:
        found = {"queues": count(link.channel(), kept["queues"]), "broker": None, "database": None}
    print("\n" + json.dumps(found), flush=True)
    os._exit(0)

if how == "status":
    try:
        by_notes()
    except Exception:
        pass

found = {"queues": {}, "broker": None, "database": None, "task": None, "tasks": {}, "notice": None}

def first(error):
    lines = str(error).strip().splitlines()
    return "%s: %s" % (type(error).__name__, lines[0] if lines else "no message")

try:
    settings = load_settings()
    # To verify, the application is loaded as its programs load it, and a task goes to a worker.
    if how == "verify":
        import django
        django.setup()
        from django.urls import get_resolver
        get_resolver().url_patterns
        from mysite.celery import app
        if mail:
            begun_mail, end_of_mail = begin_mail(settings, mail["to"], mail["sends"]), time.time() + 10
    database = settings.DATABASES.get("default", {}).get("ENGINE", "")
except Late as error:
    print("\n" + json.dumps(dict(found, broker=str(error))))
    sys.exit()
except Exception as error:
    print("\n" + json.dumps(dict(found, broken=first(error))))
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
    # Without a name it is the default one.
    queues_there = [one or getattr(settings, "CELERY_TASK_DEFAULT_QUEUE", "celery") for one in queues or [""]]
    with Connection(broker_of(settings) or "amqp://") as link:
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

        def seconds_of(queue):
            before, asked = done(), time.time()
            app.send_task(task, args=(1,), queue=queue, expires=60, ignore_result=True)
            while done() <= before and time.time() < asked + 15:
                pass
            return time.time() - asked if time.time() < asked + 15 else None

        found["task"] = seconds_of(queues_there[0])
        found["tasks"] = {name: seconds_of(queue) for name, queue in json.loads(others).items()}
except Exception as error:
    found["broker"] = first(error)
if how == "verify" and not found["broker"] and not found["database"]:
    try:
        found["notice"] = see_notice(app, settings, json.loads(channel))
    except Exception as error:
        found["notice"] = first(error)
if begun_mail:
    found["mail"] = end_mail(begun_mail, end_of_mail)
print("\n" + json.dumps(found))
if how == "status" and keep_broker and not found["database"]:
    try:
        note(notes, queues, [environment], database=keep_database, broker=keep_broker, queues=queues_there)
    except Exception:
        pass  # the next look loads the settings again
"""
)


def short(text):
    """A line of a program's, for an admin: without secrets, and no longer than helps."""
    return plain(clean(text[: 4 * LONGEST])).replace("\n", " ")[:LONGEST]


def last_said(process, seconds):
    """The last line of what a program says of its errors."""
    code, _, error = process.end(seconds)
    if code == -9:
        return "no answer within %d s" % seconds
    return short((error.strip().splitlines() or ["exit code %s" % code])[-1])


def last_object(process, seconds):
    """The JSON object in the last line that a program prints; None where there is none."""
    try:
        found = json.loads(process.end(seconds)[1].splitlines()[-1])
    except (ValueError, IndexError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


# ---- a virtualenv's Python ----


def begin_python(user, virtualenv):
    return start_as(user, [virtualenv + "/bin/python", "-I", "-c", PYTHON])


def end_python(process, seconds=SAYING_SECONDS):
    """What a virtualenv's Python is like, of what PYTHON printed."""
    begun = process.end(seconds)[1].partition("catmaid-deploy asks\n")[2]
    lines, ended, _ = begun.partition("catmaid-deploy asked\n")
    try:
        version, base, packages_exist, header, *names = lines.splitlines()
        numbers = [int(number) for number in version.split(".")]
    except ValueError:
        ended = ""
    if not ended:
        return {"broken": last_said(process, seconds)}
    have = {}
    for name in names:
        # With an old pip, or without wheel, '-py3.11' stands behind the version.
        package = re.match(r"([A-Za-z0-9_.]+?)-([0-9][^-]*?)(?:-py[0-9.]+)?\.(?:dist|egg)-info", name)
        if package:
            have.setdefault(package.group(1).lower(), plain(package.group(2))[:100])
    return {
        "version": numbers,
        "base": plain(base),
        "packages_exist": packages_exist == "True",
        "header": header == "True",
        "have": {name: have.get(name) for name in PACKAGES},
    }


# ---- its settings, and what they lead to ----


def begin_settings(instance):
    """Have Django load the settings with the environment that the inventory describes."""
    asked = instance["settings"]
    env = ["%s=%s" % pair for pair in asked["environment"].items()]
    words = ["env", *env, instance["virtualenv"] + "/bin/python", "-c", SETTINGS, asked["notes"], asked["said"]]
    return start_as(instance["user"], words, cwd=asked["folder"])


def begin_probe(one, how, mail_to=""):
    files, mail = environment(one), one["mail"] and {"to": mail_to or one["mail"], "sends": bool(mail_to)}
    words = [json.dumps(part) for part in (one["channel"], one["other_workers"], mail)]
    return start_python(one["user"], files, PYTHON + PROBE, how, one["notes"], files, *words, *one["queues"])


def environment(one):
    """What an instance's programs run with."""
    return "%s/wsgi/environment.sh" % one["config_dir"]


def end_probe(process, seconds=LOADING_SECONDS):
    """What a probe found, or why it found nothing: an application's word, of the types that are expected."""
    found = last_object(process, seconds)
    if found is None:
        return {"broken": last_said(process, seconds)}
    queues = found.get("queues")
    lengths = queues.items() if isinstance(queues, dict) else ()
    task = found.get("task")
    answer = {
        "queues": {short(name): length for name, length in lengths if type(length) is int},
        "task": task if type(task) in (int, float) else None,
    }
    tasks = found.get("tasks")
    told = tasks.items() if isinstance(tasks, dict) else ()
    answer["tasks"] = {short(name): one if type(one) in (int, float) else None for name, one in told}
    notice = found.get("notice")
    answer["notice"] = notice if type(notice) in (int, float) else None
    answer["no_notice"] = short(str(notice)) if notice is not None and answer["notice"] is None else None
    mail = found.get("mail")
    parts = ("stage", "words", "sent")
    answer["mail"] = {key: short(str(mail.get(key))) for key in parts} if isinstance(mail, dict) else None
    for key in ("broker", "database", "broken"):
        answer[key] = None if found.get(key) is None else short(str(found[key]))
    return answer
