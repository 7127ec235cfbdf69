"""PostgreSQL on this host: its cluster, and the databases and roles of instances. A part of a script, see `survey`.

It is asked as its own superuser by the socket, once for all instances. A password is compared with what PostgreSQL
keeps of it, here on the host, and neither leaves it.
"""

import base64
import hashlib
import hmac
import json
import re

from catmaid_deploy.on_host.facts.ports import listeners
from catmaid_deploy.on_host.trust import ROOT, As, Failed, not_started, plain

SERVER = "postgres"
PROGRAMS = "/usr/lib/postgresql"
CLUSTERS = "/etc/postgresql"
DATA = "/var/lib/postgresql"
# psql's own default is another one for each packager.
SOCKETS = "/run/postgresql"
# The deploy's settings, which a cluster reads by a link in its conf.d.
POSTGRESQL_CONF = "/etc/catmaid/postgresql.conf"
EXTENSIONS = ("postgis", "pg_trgm")
# What is in the comment of each database and role that the deploy made or took over, before the instance's name.
KEEPS = "catmaid-deploy keeps this for the instance "
# Whatever the server's own settings are: nothing of these statements gets into its log, also of one that fails.
WITHOUT_LOG = (
    "-c log_statement=none -c log_min_duration_statement=-1 -c log_min_duration_sample=-1 "
    "-c log_min_error_statement=panic -c statement_timeout=0 -c client_min_messages=warning"
)
ASK_SECONDS = 15
# More rounds than this are nobody's that is to sign in.
MOST_ROUNDS = 1 << 20

ABOUT = """
SELECT json_build_object('server', json_build_object(
    'version', split_part(current_setting('server_version'), ' ', 1),
    'number', current_setting('server_version_num')::int,
    'config', current_setting('config_file'),
    'data', current_setting('data_directory'),
    'checksums', current_setting('data_checksums') = 'on',
    'connections', current_setting('max_connections')::int,
    'standby', pg_is_in_recovery(),
    'settings', coalesce(current_setting('catmaid.settings', true), ''),
    'in_file', coalesce((SELECT setting FROM pg_file_settings WHERE name = 'catmaid.settings'
        ORDER BY seqno DESC LIMIT 1), ''),
    'pending', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_settings WHERE pending_restart),
    'available', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_available_extensions
        WHERE name IN (%(extensions)s)),
    'used', EXISTS (SELECT FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'),
    'sessions', (SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
    'databases', (SELECT coalesce(json_object_agg(datname, json_build_object(
            'owner', pg_get_userbyid(datdba), 'encoding', pg_encoding_to_char(encoding),
            'open', has_database_privilege('public', oid, 'CONNECT'), 'size', pg_database_size(oid),
            'note', coalesce(shobj_description(oid, 'pg_database'), ''))), '{}') FROM pg_database
        WHERE datname IN (%(databases)s) OR shobj_description(oid, 'pg_database') LIKE '%(keeps)s%%'),
    'roles', (SELECT coalesce(json_object_agg(rolname, json_build_object(
            'login', rolcanlogin, 'superuser', rolsuper, 'verifier', coalesce(rolpassword, ''),
            'settings', coalesce(to_json(setconfig), '[]'),
            'note', coalesce(shobj_description(oid, 'pg_authid'), ''))), '{}') FROM pg_authid
        LEFT JOIN pg_db_role_setting ON setrole = oid AND setdatabase = 0 WHERE rolname IN (%(roles)s))));
"""
# Extensions are known in their database alone.
ABOUT_ONE = r"""
SELECT EXISTS (SELECT FROM pg_database WHERE datname = '%(name)s' AND datallowconn) AS there \gset
\if :there
\connect %(name)s
SELECT json_build_object('extensions', json_build_object('%(name)s',
    (SELECT coalesce(json_agg(extname ORDER BY extname), '[]') FROM pg_extension)));
\connect postgres
\endif
"""


# ---- passwords ----


def scram_verifier(password, salt, rounds=4096):
    """What PostgreSQL keeps of a password (RFC 5802 and 7677); the password is plain ASCII."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.new(salted, b"Client Key", "sha256").digest()).digest()
    server = hmac.new(salted, b"Server Key", "sha256").digest()
    words = [base64.b64encode(one).decode() for one in (salt, stored, server)]
    return "SCRAM-SHA-256$%d:%s$%s:%s" % (rounds, *words)


def password_word(verifier, password, role):
    """How a verifier fits a role's password: 'same', 'old' for that in the form of before, 'other' or 'none'."""
    if not verifier:
        return "none"
    parts = re.fullmatch(r"SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$.*", verifier)
    if password and parts and 0 < int(parts.group(1)) <= MOST_ROUNDS:
        try:
            salt = base64.b64decode(parts.group(2))
        except ValueError:
            return "other"
        made = scram_verifier(password, salt, int(parts.group(1)))
        return "same" if hmac.compare_digest(made, verifier) else "other"
    md5 = "md5" + hashlib.new("md5", (password + role).encode()).hexdigest() if password else ""
    return "old" if md5 == verifier else "other"


def kept_password(path):
    """The database's password in a file with secrets; '' where there is none yet."""
    found = ROOT.json(path).get("database_password")
    return found if isinstance(found, str) else ""


# ---- psql ----


def newest_psql():
    """psql itself: the one on the PATH is a program that looks for it, and takes as long as all the rest."""
    versions = [name for name in ROOT.names(PROGRAMS) if re.fullmatch(r"\d{1,3}", name)]
    found = ["%s/%s/bin/psql" % (PROGRAMS, name) for name in sorted(versions, key=int, reverse=True)]
    return next((path for path in found if ROOT.is_file(path)), None)


def start_sql(text, port, database="postgres"):
    """Start psql as PostgreSQL's own user. The statements travel in its environment: a process list has none."""
    psql = newest_psql()
    if psql is None:
        return not_started("PostgreSQL isn't installed")
    words = [psql, "-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-h", SOCKETS, "-p", str(port)]
    words += ["-d", database]
    env = {"SQL": text, "PGOPTIONS": WITHOUT_LOG, "PGCONNECT_TIMEOUT": "5", "PGAPPNAME": "catmaid-deploy"}
    try:
        return As(SERVER).start(["sh", "-c", 'printf %s "$SQL" | env -u SQL "$0" "$@"', *words], **env)
    except (Failed, OSError) as error:
        return not_started(str(error))


def quoted(names):
    """Names for SQL. The inventory takes none that needs more than this."""
    return ", ".join("'%s'" % name for name in names) or "''"


def begin_about(port, databases):
    """Begin to ask a server about itself and ``databases``, each with its ``name`` and ``user``."""
    names = sorted(one["name"] for one in databases)
    whole = ABOUT % {
        "extensions": quoted(EXTENSIONS),
        "databases": quoted(names),
        "roles": quoted(sorted({one["user"] for one in databases})),
        "keeps": KEEPS,
    }
    return start_sql(whole + "".join(ABOUT_ONE % {"name": name} for name in names), port)


def end_about(process, seconds=ASK_SECONDS):
    """What the server says of itself, or None and why it says nothing. Verifiers are in it."""
    code, output, error = process.end(seconds)
    found, extensions = None, {}
    for line in output.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        found = said.get("server", found)
        extensions.update(said.get("extensions", {}))
    if found is None or code:
        lines = [line for line in (error or output).splitlines() if line.strip()]
        return None, plain(lines[-1].strip())[:300] if lines else "no answer"
    for name, database in found["databases"].items():
        # One that takes no connections has an empty list.
        database["extensions"] = extensions.get(name, [])
    return found, ""


# ---- clusters ----


def clusters_there(at):
    """The clusters of Debian's tools, each with its port, whether it ever ran and whether its files are whole."""
    found = []
    for version in at.names(CLUSTERS, 100):
        for name in at.names("%s/%s" % (CLUSTERS, version), 100):
            if not re.fullmatch(r"[0-9.]{1,8} [A-Za-z0-9][A-Za-z0-9_.-]{0,60}", "%s %s" % (version, name)):
                continue
            folder, said = "%s/%s/%s" % (CLUSTERS, version, name), {}
            for key, value in re.findall(
                r"^[ \t]*(port|data_directory)[ \t]*=?[ \t]*'?([^'\s#]+)",
                at.read(folder + "/postgresql.conf"),
                re.MULTILINE,
            ):
                said[key] = value
            whole = "data_directory" in said and at.exists(folder + "/pg_hba.conf")
            data = said.get("data_directory", "%s/%s/%s" % (DATA, version, name))
            port = said.get("port", "5432")
            found.append(
                {
                    "version": version,
                    "name": name,
                    "data": data,
                    "port": int(port) if re.fullmatch(r"\d{1,5}", port) else 0,
                    "whole": whole,
                    # The server itself leaves that at its first start.
                    "ran": at.exists(data + "/postmaster.opts"),
                }
            )
    return found


def known_clusters():
    """The same as a child with the rights of PostgreSQL's user says it; none where there is no such user."""
    if not ROOT.exists(CLUSTERS):
        return []
    try:
        return As(SERVER).do(clusters_there)
    except (Failed, OSError):
        return []


# ---- the survey's part ----


def begin_postgresql(asked, manifest):
    """Begin to ask PostgreSQL, where the deploy has or had databases there; `end_postgresql` takes the answer."""
    if not asked["databases"] and "postgresql" not in manifest:
        return None
    return begin_about(asked["port"], asked["databases"].values()) if newest_psql() else not_started("")


def end_postgresql(asked, process):
    """What the survey says of PostgreSQL; None where the deploy has nothing to do with it."""
    if process is None:
        return None
    server, problem = end_about(process)
    found = {"server": server, "problem": problem, "clusters": [], "holder": None}
    if server is None:
        found["clusters"] = known_clusters()
        found["holder"] = next(iter(listeners([asked["port"]])[asked["port"]]), None)
        return found
    kept = {one["user"]: kept_password(one["secrets"]) for one in asked["databases"].values()}
    for name, role in server["roles"].items():
        role["password"] = password_word(role.pop("verifier"), kept.get(name, ""), name)
    return found
