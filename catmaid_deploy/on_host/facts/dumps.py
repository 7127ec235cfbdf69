"""What a dump of an instance's database takes, and what keeps it from being made. A part of scripts, see `survey`.

A database that the deploy made on this host is asked and dumped by PostgreSQL's own user. Any other one is a matter of
the application's own process, which alone has its password.
"""

import json
import re
import shlex

from catmaid_deploy.on_host.facts.clean import clean
from catmaid_deploy.on_host.facts.places import mount_of, mounts, space, start_python
from catmaid_deploy.on_host.facts.postgresql import ASK_SECONDS, DATA, PROGRAMS, SERVER, start_sql
from catmaid_deploy.on_host.trust import ROOT, As, Failed, plain

# How much of a database's size has to be free: a migration may write a table anew, and a dump is compressed.
ROOM = 1.25
ELSEWHERE = "give way_back 'elsewhere', if a snapshot of the file system or point-in-time recovery is the way back"
LOADS_SECONDS = 120
HERE_NAMES = ("", "localhost", "127.0.0.1", "::1")

OF_SERVER = """
SELECT json_build_object('name', current_database(), 'size', pg_database_size(current_database()),
    'number', current_setting('server_version_num')::int, 'data', current_setting('data_directory'));
"""
# What the settings print goes to the errors.
OF_SETTINGS = r"""
import json, os, sys, django
shown = os.dup(1)
os.dup2(2, 1)
django.setup()
from django.db import connection
found = {"vendor": connection.vendor}
if connection.vendor == "postgresql":
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_database(), pg_database_size(current_database()),"
            " current_setting('server_version_num')::int, current_user"
        )
        found["name"], found["size"], found["number"], found["user"] = cursor.fetchone()
    found.update(host=str(connection.settings_dict["HOST"]), port=str(connection.settings_dict["PORT"]))
os.write(shown, b"\n" + json.dumps(found).encode())
os._exit(0)
"""


def last_words_of(text):
    """The error in what a program says, for an admin: pg_dump has its query in further lines. Else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = next((line for line in lines if "error: " in line.lower()), lines[-1] if lines else "no answer")
    return plain(clean(line))[:300]


def database_of(one):
    """An instance's database: ``name``, ``size`` in bytes, the server's ``number``, and how it is reached. None for one
    that is no PostgreSQL; raises Failed where it can't be asked.
    """
    local = one["local"]
    if local:
        process, seconds = start_sql(OF_SERVER, local["port"], local["name"]), ASK_SECONDS
    else:
        process, seconds = start_python(one["user"], one["environment"], OF_SETTINGS), LOADS_SECONDS
    code, output, error = process.end(seconds)
    try:
        found = json.loads(output.strip().splitlines()[-1])
        if found.get("vendor", "postgresql") != "postgresql":
            return None
        name, size, number = str(found["name"]), int(found["size"]), int(found["number"])
    except (ValueError, IndexError, KeyError, AttributeError, TypeError):
        raise Failed(last_words_of(error or output) if code != -9 else "no answer within %d s" % seconds) from None
    reached = {key: str(found.get(key, "")) for key in ("host", "port", "user", "data")}
    return dict(reached, name=name, size=size, number=number)


def newest_pg_dump():
    """pg_dump with its version: the newest, since none reads a later server. None where there is none."""
    versions = sorted((name for name in ROOT.names(PROGRAMS) if re.fullmatch(r"\d{1,3}", name)), key=int, reverse=True)
    found = [(int(name), "%s/%s/bin/pg_dump" % (PROGRAMS, name)) for name in versions]
    return next(((version, path) for version, path in found if ROOT.is_file(path)), None)


def readable(size):
    """Bytes as one reads them."""
    return "%.1f GiB" % (size / 2**30) if size >= 1 << 30 else "%d MiB" % max(1, size >> 20)


def refused_by(key, what, todo, command=""):
    return {"key": key, "what": what, "todo": todo, "command": command}


def what_refuses(one, database):
    """Why a database can't be dumped, or has no room for a migration: the instance's key with what is wrong and what
    ends it; None where nothing is wrong.
    """
    name, size = database["name"], database["size"]
    if size > one["limit"] << 30:
        what = "the database %s has %s, and a dump before migrations is made of up to %d GiB"
        return refused_by("dump_limit", what % (name, readable(size), one["limit"]), "raise it, or " + ELSEWHERE)
    program, server = newest_pg_dump(), database["number"] // 10000
    if program is None:
        what = "pg_dump is missing, by which the database %s is dumped before migrations" % name
        return refused_by("way_back", what, "", "apt-get install postgresql-client")
    if program[0] < server:
        what = "the database %s is PostgreSQL %d's, and the newest pg_dump here is %d, which can't read it"
        fix = "install postgresql-client-%d, or %s" % (server, ELSEWHERE)
        return refused_by("way_back", what % (name, server, program[0]), fix)
    for purpose, found in places_of(one, database):
        real, (block, _, free, _, _) = found
        if block * free < ROOM * size:
            mount = mount_of(real, mounts())
            what = "%s the database %s needs %s, and %s are free on %s"
            words = (purpose, name, readable(int(ROOM * size)), readable(block * free), mount)
            return refused_by("way_back", what % words, "free some there, or " + ELSEWHERE)
    return None


def places_of(one, database):
    """The file systems that a dump and a migration fill, each with what it is for."""
    yield "a dump of", space(ROOT, one["folder"])
    data = database["data"] or (DATA if database["host"] in HERE_NAMES or database["host"].startswith("/") else "")
    if data and ROOT.exists(DATA):
        try:
            yield "a migration of", As(SERVER).do(lambda at: space(at, data))
        except (Failed, OSError):
            pass  # of a folder that gives no answer nothing is known


def look_at_dump(one):
    """What a run would find: a dump of so many bytes, what refuses it, or why there is none."""
    try:
        database = database_of(one)
    except (Failed, OSError) as error:
        return {"problem": str(error)}
    if database is None:
        return {"other": True}
    refused = what_refuses(one, database)
    return {"refused": refused} if refused else {"name": database["name"], "size": database["size"]}


def command_back(one, database, path, name):
    """What brings a dump into a new database beside the live one, typed by root."""
    words = shlex.quote(path)
    if one["local"]:
        server = "-p %d" % one["local"]["port"]
        made = "createdb %s -T template0 -O %s %s" % (server, one["local"]["owner"], name)
        back = "pg_restore %s --exit-on-error -d %s < %s" % (server, name, words)
        return "cd / && runuser -u postgres -- %s && runuser -u postgres -- %s" % (made, back)
    pairs = (("-h", database["host"]), ("-p", database["port"]), ("-U", database["user"]))
    server = " ".join("%s %s" % (option, shlex.quote(plain(value))) for option, value in pairs if value)
    made = "createdb %s -T template0 %s" % (server, name)
    return "%s && pg_restore %s --no-owner --exit-on-error -d %s %s" % (made, server, name, words)
