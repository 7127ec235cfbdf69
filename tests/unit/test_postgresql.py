"""PostgreSQL on the host: its sizes, its passwords, and what is made of what a host says of it."""

from __future__ import annotations

import base64
import hashlib
import importlib
from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.finding import Command
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan
from catmaid_deploy.plan.report import Report
from catmaid_deploy.secret import Secret
from catmaid_deploy.tasks.postgresql import cluster, databases, settings
from tests import answers

facts: Any = importlib.import_module("catmaid_deploy.on_host.facts.postgresql")
statements: Any = importlib.import_module("catmaid_deploy.on_host.operations.databases")

KEPT = f"{facts.KEEPS}catmaid"
ROLE: dict[str, Any] = {
    "login": True,
    "superuser": False,
    "password": "same",
    "settings": ["client_encoding=UTF8", "default_transaction_isolation=read committed", "TimeZone=UTC"],
    "note": KEPT,
}
DATABASE: dict[str, Any] = {
    "owner": "catmaid",
    "encoding": "UTF8",
    "open": False,
    "size": 1 << 23,
    "note": KEPT,
    "extensions": ["pg_trgm", "plpgsql", "postgis"],
}
SERVER: dict[str, Any] = {
    "version": "15.20",
    "number": 150020,
    "config": "/etc/postgresql/15/main/postgresql.conf",
    "data": "/var/lib/postgresql/15/main",
    "checksums": True,
    "connections": 100,
    "standby": False,
    "settings": "",
    "in_file": "",
    "pending": [],
    "available": ["pg_trgm", "postgis"],
    "used": True,
    "sessions": 0,
    "databases": {"catmaid": DATABASE},
    "roles": {"catmaid": ROLE},
}
DATA = "/var/lib/postgresql/15/main"
MAIN = {"version": "15", "name": "main", "data": DATA, "port": 5432, "whole": True, "ran": True}
GIB = 1 << 30


def deployment(database: dict[str, Any] | None = None, **more: Any) -> schema.Deployment:
    instance = {
        "workers": 8,
        "releases": {"repository": "https://example.org/c.git", "revision": "1.0"},
        "install": {"database": database or {}, "broker": "found"},
    }
    return schema.load({"server_name": "a.test", "tls": {"certificate": "none"}, "instances": [instance]}, **more)


def look(
    server: dict[str, Any] | None = SERVER, described: schema.Deployment | None = None, made: bool = True, **more: Any
) -> Look:
    found: dict[str, Any] = {
        "postgresql": {"server": server, "problem": "", "clusters": [], "holder": None},
        "os": {"id": "debian", "version": "12", "name": "Debian 12"},
        "packages": {"postgresql-15": "15.20"},
        "units": {},
        "files": {},
        "memory": 16 * GIB,
        "processors": 4,
        "secrets": {"catmaid": {"lacks": [], "differs": [], "open": False}},
        "manifest": {cluster.SET: {}} if made else {},
    }
    return Look(described or deployment(), answers.survey(**found | more))


def silent(*clusters: dict[str, Any], holder: str | None = None, **more: Any) -> Look:
    said = {"server": None, "problem": "no answer", "clusters": [*clusters], "holder": holder}
    return look(postgresql=said, **more)


# ---- passwords ----


def test_a_verifier_is_that_of_the_standard() -> None:
    """RFC 7677 has the example: its proof and the server's signature follow from the two keys."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    made = facts.scram_verifier("pencil", salt)
    head, keys = made.rsplit("$", 1)
    assert head == "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
    stored, server = map(base64.b64decode, keys.split(":"))
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    signature = facts.hmac.new(server, message, "sha256").digest()
    assert base64.b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    mask = facts.hmac.new(stored, message, "sha256").digest()
    client = bytes(a ^ b for a, b in zip(proof, mask, strict=True))
    assert hashlib.sha256(client).digest() == stored


def test_a_verifier_tells_whether_a_password_is_the_one() -> None:
    verifier = facts.scram_verifier("right-password", b"0123456789abcdef", 1000)
    assert facts.password_word(verifier, "right-password", "catmaid") == "same"
    assert facts.password_word(verifier, "wrong-password", "catmaid") == "other"
    assert facts.password_word(verifier, "", "catmaid") == "other"
    assert facts.password_word("", "right-password", "catmaid") == "none"
    md5 = "md5" + hashlib.md5(b"right-passwordcatmaid").hexdigest()  # noqa: S324
    assert facts.password_word(md5, "right-password", "catmaid") == "old"
    assert facts.password_word(md5, "right-password", "other") == "other"
    assert facts.password_word(md5, "", "catmaid") == "other"
    assert facts.password_word("SCRAM-SHA-256$999999999:AAAA$x:y", "right-password", "catmaid") == "other"


# ---- sizes ----


def test_the_sizes_follow_from_the_memory() -> None:
    sizes = settings.Sizes(memory=4096, connections=100)
    assert (sizes.shared_buffers, sizes.effective_cache_size) == (1024, 3072)
    assert (sizes.work_mem, sizes.maintenance_work_mem) == (3072 * 1024 // 300, 256)
    assert settings.Sizes(1 << 20, 100).maintenance_work_mem == 2048


def test_there_is_a_connection_for_each_thread_twice_and_a_reserve() -> None:
    # 8 x 2 threads, 4 of Celery, beat, 5 of Daphne: 26, twice, and 20.
    assert settings.connections(deployment(), 4) == 100
    assert settings.connections(deployment(), 60) == 200
    elsewhere = deployment({"host": "db.example.org", "password": Secret("x" * 20)})
    assert settings.connections(elsewhere, 60) == settings.LEAST_CONNECTIONS


@pytest.mark.parametrize(
    ("has", "mib"),
    [
        (2 * GIB, 256),
        # 12 processes of 200 MiB, and 512 MiB of the system's.
        (8 * GIB, 8192 - 512 - 2400 - (8192 - 512 - 2400) % 64),
        # No more than three quarters.
        (64 * GIB, 48 * 1024),
        (512 << 20, 128),
    ],
)
def test_what_the_programs_leave_is_its_memory(has: int, mib: int) -> None:
    assert settings.memory(deployment(), look(memory=has).survey) == mib


def test_given_memory_counts_and_nearly_the_same_is_the_same() -> None:
    assert settings.memory(deployment(postgresql={"memory": "3g"}), look().survey) == 3072
    assert settings.given_bytes("123") == 123
    mib = settings.memory(deployment(), look().survey)
    for before, now in ((mib + 64, mib + 64), (mib * 2, mib)):
        text = f"\n# It counts on {before} MiB: given\n"
        file = {"kind": "file", "user": "root", "group": "root", "mode": "644", "time": 1.0, "text": text}
        assert settings.memory(deployment(), look(files={facts.POSTGRESQL_CONF: file}).survey) == now


def test_more_memory_than_there_is_is_refused() -> None:
    (finding,) = settings.faults(look(described=deployment(postgresql={"memory": "17g"})))
    assert finding.line() == "postgresql.memory: 17g is more than the host has, 16384 MiB: give less"
    assert list(settings.faults(look())) == []


# ---- which server ----


def test_the_server_is_the_one_at_the_port_or_the_distribution_s() -> None:
    assert cluster.names(deployment(), look().survey) == ("15", "main")
    assert cluster.names(deployment(), look(SERVER | {"config": "/etc/postgresql/16/lab/postgresql.conf"}).survey) == (
        "16",
        "lab",
    )
    assert cluster.names(deployment(), look(SERVER | {"config": "/srv/pg/postgresql.conf"}).survey) == ("15", "main")
    trixie = {"id": "debian", "version": "13", "name": "Debian 13"}
    assert cluster.packages(silent(os=trixie)) == ["postgresql-17", "postgresql-17-postgis-3"]
    assert cluster.packages(silent(MAIN, os=trixie)) == ["postgresql-15", "postgresql-15-postgis-3"]
    elsewhere = deployment({"host": "db.example.org", "password": Secret("x" * 20)})
    assert cluster.packages(look(described=elsewhere)) == []
    assert cluster.question(elsewhere) == {"postgresql": {"port": 5432, "databases": {}}}


def test_a_server_that_can_t_serve_is_one_line() -> None:
    def said(one: Look) -> list[str]:
        return [finding.line() for finding in cluster.faults(one)]

    assert said(look()) == said(silent()) == said(silent(packages={})) == []
    assert said(silent(MAIN)) == [
        "postgresql: the cluster 15/main doesn't answer (no answer): systemctl start postgresql@15-main"
    ]
    for problem, fix in (
        ("FATAL:  the database system is starting up", "run again when it has started"),
        ("fe_sendauth: no password supplied", "let its superuser in: put 'local all postgres peer'"),
    ):
        one = {"server": None, "problem": problem, "clusters": [MAIN], "holder": "postgres"}
        (line,) = said(look(postgresql=one))
        assert fix in line
    # Never started, or cut while it was made: a run does that.
    assert said(silent(MAIN | {"ran": False})) == said(silent(MAIN | {"whole": False})) == []
    assert said(silent(MAIN | {"port": 5433})) == [
        "install.database.port: no cluster of the host is at port 5432: there is 15/main at 5433: "
        "give the port of one of them"
    ]
    (line,) = said(silent(holder="docker-proxy"))
    assert line.startswith("port 5432: docker-proxy has it")
    (line,) = said(silent(described=deployment({"port": 5433})))
    assert line == "install.database.port: PostgreSQL isn't there yet, and will be at 5432, not at 5433: remove it"
    (line,) = said(look(SERVER | {"number": 120022, "version": "12.22"}))
    assert "12.22 is at port 5432, and CATMAID needs 13 or later" in line
    (line,) = said(look(SERVER | {"standby": True}))
    assert "is a standby" in line


def test_somebody_else_s_cluster_stays_as_it_is() -> None:
    theirs = look(SERVER | {"checksums": False, "connections": 50}, made=False)
    plan = Plan(theirs, Report("host"))
    assert [*cluster.steps(plan), *settings.steps(plan)] == []
    lines = [finding.line() for finding in (*cluster.warnings(theirs), *settings.warnings(theirs))]
    assert [line.partition(":")[2][:32] for line in lines] == [
        " its data have no checksums: nob",
        " it doesn't start at boot: syste",
        " it takes 50 connections, and th",
    ]
    assert not cluster.is_adopted(silent().survey)


def test_a_setting_that_waits_is_said_unless_the_run_restarts() -> None:
    waiting = SERVER | {"pending": ["shared_buffers"]}
    (finding,) = cluster.warnings(look(waiting))
    assert finding.fix == Command("systemctl restart postgresql@15-main")
    allowed = deployment(postgresql={"restart": True})
    assert list(cluster.warnings(look(waiting, allowed))) == []
    assert list(cluster.warnings(look(waiting | {"used": False}))) == []


def test_what_runs_is_told_when_its_files_are_as_described() -> None:
    def reasons(unread: bool = False, **keys: Any) -> list[str]:
        units = {cluster.UNIT: ENABLED, "postgresql@15-main.service": ENABLED | {"needs_daemon_reload": unread}}
        one = look(SERVER | keys, allowed, units=units)
        wanted = settings.wanted(allowed, one.survey)
        files = {item.path: as_file(item) for item in wanted.items}
        one.survey["files"].update(files)
        found = settings.change(allowed, one.survey)
        assert found.differences == ()
        return [str(reason) for reason in found.reasons]

    allowed = deployment(postgresql={"restart": True, "memory": "1g"})
    digest = settings.wanted(allowed, look().survey).service["digest"]
    assert reasons(settings=digest) == []
    assert reasons(unread=True, settings=digest) == ["reload systemd: PostgreSQL's files there are newer"]
    assert reasons() == ["reload PostgreSQL: it doesn't run with its settings"]
    assert reasons(settings=digest, pending=["max_connections"]) == [
        "restart PostgreSQL: max_connections waits for that"
    ]


ENABLED = {
    "active": True,
    "enabled": True,
    "failed": False,
    "since": 0.0,
    "ending": False,
    "masked": "",
    "needs_daemon_reload": False,
    "command": "",
    "files": [],
}


def as_file(item: Any) -> Any:
    """What the survey says of an item that is as described."""
    entry = {"user": item.user, "group": item.group, "mode": item.mode, "time": 1.0}
    if not hasattr(item, "text"):
        return entry | {"kind": "folder"}
    return entry | {"kind": "file", "sha256": item.sha256, "md5": "", "text": item.text}


# ---- databases ----


def todo(**server: Any) -> list[str]:
    one = look(SERVER | server)
    instance = one.deployment.instances[0]
    return databases.lacking(instance, one.deployment.local_databases["catmaid"], one.survey)


def test_what_is_as_described_is_left() -> None:
    assert todo() == []


@pytest.mark.parametrize(
    ("role", "database", "words"),
    [
        ({"password": "none"}, {}, "give catmaid its password"),
        ({"password": "old"}, {}, "give catmaid its password"),
        ({"login": False}, {}, "let catmaid sign in"),
        ({"settings": ROLE["settings"][:2]}, {}, "set TimeZone of catmaid"),
        ({"note": ""}, {}, "note in PostgreSQL that the deploy keeps the role catmaid"),
        ({}, {"extensions": ["plpgsql"]}, "add postgis and pg_trgm to catmaid"),
        ({}, {"open": True}, "let no other role into catmaid"),
        ({}, {"note": ""}, "note in PostgreSQL that the deploy keeps the database catmaid"),
    ],
)
def test_what_differs_is_named_and_has_its_statement(role: Any, database: Any, words: str) -> None:
    assert todo(roles={"catmaid": ROLE | role}, databases={"catmaid": DATABASE | database}) == [words]
    wanted = {"name": "catmaid", "user": "catmaid", "instance": "catmaid"}
    verifier = {"same": facts.scram_verifier("p" * 20, b"salt"), "none": "", "old": "md5x"}
    of_host = ROLE | role
    of_host["verifier"] = verifier[of_host.pop("password")]
    if of_host["verifier"] == "md5x":
        of_host["verifier"] = "md5" + hashlib.md5(("p" * 20 + "catmaid").encode()).hexdigest()  # noqa: S324
    made = statements.role_statements(wanted, of_host, "p" * 20)
    of_database, within = statements.database_statements(wanted, DATABASE | database)
    number = 2 if "extensions" in database else 1
    assert len([*made, *of_database, *within]) == number
    assert "p" * 20 not in "".join((*made, *of_database, *within))


def test_nothing_drops_anything() -> None:
    wanted = {"name": "catmaid", "user": "catmaid", "instance": "catmaid"}
    made = statements.role_statements(wanted, None, "p" * 20)
    of_database, within = statements.database_statements(wanted, None)
    assert "DROP" not in "".join((*made, *of_database, *within))
    assert made[0].startswith('CREATE ROLE "catmaid" LOGIN PASSWORD \'SCRAM-SHA-256$4096:')
    assert len(within) == 2


def test_a_role_that_isn_t_the_deploy_s_keeps_its_password() -> None:
    """Also if it got one between looking and doing."""
    wanted = {"name": "catmaid", "user": "catmaid", "instance": "catmaid"}
    role = ROLE | {"verifier": facts.scram_verifier("theirs-alone", b"salt"), "note": ""}
    with pytest.raises(statements.Failed, match="another password"):
        statements.role_statements(wanted, role, "p" * 20)
    made = statements.role_statements(wanted, role | {"note": KEPT}, "p" * 20)
    assert [line[:28] for line in made] == ['ALTER ROLE "catmaid" PASSWOR']


def faults(described: schema.Deployment | None = None, missing: tuple[str, ...] = (), **server: Any) -> list[str]:
    one = look(SERVER | server, described)
    one.missing = [*missing]
    return [finding.line() for finding in databases.faults(one)]


def test_what_is_somebody_else_s_is_one_line() -> None:
    place = "site.instances[catmaid].install.database"
    assert faults() == faults(databases={}, roles={}) == []
    assert faults(databases={"catmaid": DATABASE | {"owner": "lab"}}) == [
        f"{place}.name: the database catmaid belongs to lab, not to catmaid: give another name, or lab as user"
    ]
    (line,) = faults(databases={"catmaid": DATABASE | {"encoding": "LATIN1"}})
    assert "has the encoding LATIN1" in line
    theirs = {"catmaid": ROLE | {"password": "other", "note": ""}}
    (line,) = faults(roles=theirs)
    assert line.startswith(f"{place}.password: the role catmaid is there and has another password than the deploy's")
    assert line.endswith('runuser -u postgres -- psql -p 5432 -c "ALTER ROLE catmaid PASSWORD NULL"')
    # That of the deploy's own is given again; one of the inventory is tried first.
    assert faults(roles={"catmaid": ROLE | {"password": "other"}}) == []
    assert faults(deployment({"password": Secret("given-password")}), roles=theirs) == []
    (line,) = faults(available=["pg_trgm"], databases={})
    assert "the extension postgis isn't available" in line
    assert faults(available=["pg_trgm"], databases={}, missing=("postgresql-15-postgis-3",)) == []


def test_a_given_password_is_tried_before_anything_changes() -> None:
    described = deployment({"password": Secret("given-password")})
    theirs = {"catmaid": ROLE | {"password": "other", "note": ""}}
    asked: list[Any] = []

    def ask(word: str) -> Any:
        def answer(_: Any, question: Any) -> Any:
            asked.append(question)
            return {"passwords": {"catmaid": word}}

        return answer

    plan = Plan(look(SERVER | {"roles": theirs}, described), Report("host"))
    assert list(databases.sought(plan, ask("same"))) == []
    (finding,) = databases.sought(plan, ask("other"))
    assert "another password than the inventory gives" in finding.what
    assert asked[0] == {"port": 5432, "given": {"catmaid": {"user": "catmaid", "password": "given-password"}}}
    asked.clear()
    assert list(databases.sought(Plan(look(described=described), Report("host")), ask("other"))) == []
    assert asked == []


def test_what_the_inventory_no_longer_has_is_named_once() -> None:
    stays = {
        "catmaid": DATABASE,
        "old": DATABASE | {"note": f"{facts.KEEPS}catmaid-old"},
        "lab": DATABASE | {"note": ""},
    }
    with_programs: dict[str, dict[str, str]] = {cluster.SET: {}, "programs of catmaid-old": {}}
    (finding,) = databases.remarks(look(SERVER | {"databases": stays}, manifest=with_programs))
    assert finding.line() == "database old: it stays, with its role: catmaid-old no longer has it"
    assert list(databases.remarks(look(SERVER | {"databases": stays}))) == []


def test_databases_of_a_host_share_a_server() -> None:
    def site(*parts: dict[str, Any]) -> dict[str, Any]:
        instances = [
            {
                "name": f"catmaid-{number}",
                "prefix": f"/{number}",
                "releases": {"repository": "https://a.test/c.git", "revision": "1", "folder": f"/home/{number}"},
                "install": {"database": part, "broker": "found"},
            }
            for number, part in enumerate(parts)
        ]
        return {"server_name": "a.test", "tls": {"certificate": "none"}, "instances": instances}

    for parts, words in (
        (({"port": 5432}, {"port": 5433}), "install.database.port: databases on this host share one server"),
        (({"user": "lab"}, {"user": "lab"}), "install.database.user: two have the name 'lab at this host'"),
    ):
        with pytest.raises(schema.InvalidSite, match=words):
            schema.load(site(*parts))
