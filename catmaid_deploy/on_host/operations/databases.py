"""A database with the role that owns it: made, or brought to what the inventory says. A part of the job's script, see
`apply`.

Nothing here drops anything. What belongs to somebody else was refused before.
"""

import secrets

from catmaid_deploy.on_host.facts.postgresql import (
    EXTENSIONS,
    KEEPS,
    begin_about,
    end_about,
    kept_password,
    newest_psql,
    password_word,
    scram_verifier,
)
from catmaid_deploy.on_host.operations.common import ending, say
from catmaid_deploy.on_host.operations.postgresql import run_sql
from catmaid_deploy.on_host.trust import As, Failed

# A role's own settings, as PostgreSQL writes them down.
ROLE_SETTINGS = {
    "client_encoding": "UTF8",
    "default_transaction_isolation": "read committed",
    "TimeZone": "UTC",
}


def role_statements(wanted, role, password):
    """What a role lacks, as SQL; its password goes as a verifier. ``role`` is what is there, None for nothing."""
    name, found = wanted["user"], []
    verifier = scram_verifier(password, secrets.token_bytes(16))
    settings = dict(line.split("=", 1) for line in role["settings"]) if role else {}
    if role is None:
        found.append("CREATE ROLE \"%s\" LOGIN PASSWORD '%s';" % (name, verifier))
    else:
        word = password_word(role["verifier"], password, name)
        if word == "other" and role["note"] != KEEPS + wanted["instance"]:
            raise Failed("the role %s has another password than the deploy's, and isn't the deploy's" % name)
        if word != "same":
            found.append("ALTER ROLE \"%s\" PASSWORD '%s';" % (name, verifier))
        if not role["login"]:
            found.append('ALTER ROLE "%s" LOGIN;' % name)
    if role is None or not role["note"]:
        found.append("COMMENT ON ROLE \"%s\" IS '%s%s';" % (name, KEEPS, wanted["instance"]))
    found += [
        "ALTER ROLE \"%s\" SET %s TO '%s';" % (name, key, value)
        for key, value in ROLE_SETTINGS.items()
        if settings.get(key) != value
    ]
    return found


def database_statements(wanted, database):
    """What a database lacks, and then what lacks in it, as SQL."""
    name, found = wanted["name"], []
    if database is None:
        text = "CREATE DATABASE \"%s\" OWNER \"%s\" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8';"
        found.append(text % (name, wanted["user"]))
    if database is None or database["open"]:
        found.append('REVOKE CONNECT ON DATABASE "%s" FROM PUBLIC;' % name)
    if database is None or not database["note"]:
        found.append("COMMENT ON DATABASE \"%s\" IS '%s%s';" % (name, KEEPS, wanted["instance"]))
    there = database["extensions"] if database else []
    return found, ["CREATE EXTENSION IF NOT EXISTS %s;" % one for one in EXTENSIONS if one not in there]


def keep_database(job):
    """Make role and database, as far as they are missing, and see whether the role gets in."""
    port, name = job["port"], job["name"]
    server, problem = end_about(begin_about(port, [job]))
    if server is None:
        raise Failed("PostgreSQL doesn't answer at port %d: %s" % (port, problem))
    password = kept_password(job["secrets"])
    if not password:
        raise Failed("%s has no password for the database: run again" % job["secrets"])
    database = server["databases"].get(name)
    if database and (database["owner"], database["encoding"]) != (job["user"], "UTF8"):
        raise Failed("the database %s is %s's, and %s" % (name, database["owner"], database["encoding"]))
    of_role = role_statements(job, server["roles"].get(job["user"]), password)
    of_database, within = database_statements(job, database)
    # By itself each: a database isn't made within a transaction.
    for text in (*of_role, *of_database):
        run_sql(text, port)
    for text in within:
        run_sql(text, port, name)
    signs_in(job, password)
    say("the database %s is as described" % name)


def signs_in(job, password):
    """Whether the role gets in by its password, as the application will: as the application's user."""
    words = [newest_psql(), "-X", "-A", "-t", "-q", "-w", "-h", "localhost", "-p", str(job["port"])]
    words += ["-U", job["user"], "-d", job["name"], "-c", "SELECT 1"]
    code, output = As(job["as"]).run(words, 60, PGPASSWORD=password, PGCONNECT_TIMEOUT="20", PGAPPNAME="catmaid-deploy")
    if code:
        raise Failed(
            "PostgreSQL doesn't let the role %s into %s at localhost: %s: see pg_hba.conf and listen_addresses"
            % (job["user"], job["name"], ending(output, 2))
        )
