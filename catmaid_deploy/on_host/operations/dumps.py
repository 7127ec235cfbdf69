"""A dump of an instance's database before its migrations: the way back from them. A part of the job's script, see
`apply`.
"""

import re
import time

from catmaid_deploy.on_host.facts.dumps import (
    command_back,
    database_of,
    last_words_of,
    newest_pg_dump,
    readable,
    what_refuses,
)
from catmaid_deploy.on_host.facts.places import start_python
from catmaid_deploy.on_host.facts.postgresql import SERVER, SOCKETS
from catmaid_deploy.on_host.operations.common import has_migrations, make_folders, say, tell
from catmaid_deploy.on_host.trust import ROOT, As, Failed

KEPT_DUMPS = 3
# With its migrations the job takes no longer than the run's lock lasts.
DUMP_SECONDS = 3600
DUMP_NAME = r"[A-Za-z0-9._-]+-before-(\d{8}T\d{6})\.dump"
# What pg_dump's own format begins with.
MAGIC = b"PGDMP"
OPTIONS_OF_DUMP = ["--format=custom", "--no-password", "--lock-wait-timeout=60000"]
# The process that has read the settings becomes pg_dump, and nobody else gets the password. What they print is no part
# of the dump.
DUMPING = r"""
import os, sys, django
shown = os.dup(1)
os.dup2(2, 1)
django.setup()
from django.db import connection
one = connection.settings_dict
given = {"PG" + key: one.get(name) for key, name in
         (("HOST", "HOST"), ("PORT", "PORT"), ("USER", "USER"), ("PASSWORD", "PASSWORD"), ("DATABASE", "NAME"))}
known = ("service", "passfile", "sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding")
given.update({"PG" + key.replace("_", "").upper(): one.get("OPTIONS", {}).get(key) for key in known})
os.dup2(shown, 1)
os.execve(sys.argv[1], sys.argv[1:], dict(os.environ, **{key: str(value) for key, value in given.items() if value}))
"""


def dump_before(one, plan):
    """What makes the dump that is due before migrations, or None where none is; raises Failed where it can't be made.

    ``plan`` is Django's of its migrations: in a database that has had none there is nothing to lose.
    """
    if one is None or not has_migrations(plan):
        return None
    database = database_of(one)
    if database is None:
        tell("no dump is made before the migrations: the database is no PostgreSQL")
        return None
    refused = what_refuses(one, database)
    if refused:
        words = "%(key)s: %(what)s: " % refused + (refused["command"] or refused["todo"])
        raise Failed("the new release is refused, the one before serves: %s" % words)
    return lambda: make_dump(one, database)


def make_dump(one, database):
    """Dump a database into a file of root's alone, and say how it comes back."""
    folder, moment = one["folder"], time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    make_folders(folder, 0o700)
    # Of a dump that was cut.
    for name in ROOT.names(folder):
        if name.startswith(".") and name.endswith(".catmaid-deploy"):
            ROOT.unlink("%s/%s" % (folder, name))
    path = "%s/%s-before-%s.dump" % (folder, one["revision"], moment)
    say("dumping the database %s, %s" % (database["name"], readable(database["size"])))

    def dump_into(file):
        code, error, _ = start_dump(one, file).end(DUMP_SECONDS)
        if code:
            words = "no end within %d s" % DUMP_SECONDS if code == -9 else last_words_of(error)
            raise Failed("the new release is refused, the one before serves: its database can't be dumped: %s" % words)

    ROOT.fill(path, dump_into)
    if ROOT.bytes(path, len(MAGIC)) != MAGIC:
        ROOT.unlink(path)
        raise Failed("the new release is refused, the one before serves: pg_dump ended well and has dumped nothing")
    size = readable(ROOT.status(path).st_size)
    beside = "%s_%s" % (re.sub(r"[^a-z0-9_]", "_", database["name"].lower())[:40], moment.lower())
    back = command_back(one, database, path, beside)
    tell("the database %s as it was is in %s (%s); beside the live one: %s" % (database["name"], path, size, back))
    remove_old_dumps(folder)


def start_dump(one, file):
    pg_dump = newest_pg_dump()[1]
    if not one["local"]:
        return start_python(one["user"], one["environment"], DUMPING, pg_dump, *OPTIONS_OF_DUMP, stdout=file)
    server = ["-h", SOCKETS, "-p", str(one["local"]["port"]), "-d", one["local"]["name"]]
    return As(SERVER).start([pg_dump, *OPTIONS_OF_DUMP, *server], stdout=file)


def remove_old_dumps(folder):
    """Keep the newest dumps of an instance; say which go."""
    there = [
        (found.group(1), name) for name in ROOT.names(folder) for found in [re.fullmatch(DUMP_NAME, name)] if found
    ]
    old = [name for _, name in sorted(there, reverse=True)[KEPT_DUMPS:]]
    for name in old:
        ROOT.unlink("%s/%s" % (folder, name))
    if old:
        tell("of the dumps in %s %d stay; removed %s" % (folder, KEPT_DUMPS, ", ".join(old)))
