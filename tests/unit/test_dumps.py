"""The dump before migrations: when there can be one, how it comes into its file, and how long it stays."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from catmaid_deploy import schema
from catmaid_deploy.answers.sought import Dump
from catmaid_deploy.finding import Command
from catmaid_deploy.tasks.application import dumps as task
from catmaid_deploy.tasks.programs import supervisor

trust: Any = importlib.import_module("catmaid_deploy.on_host.trust")
looked: Any = importlib.import_module("catmaid_deploy.on_host.facts.dumps")
dumps: Any = importlib.import_module("catmaid_deploy.on_host.operations.dumps")

pytestmark = pytest.mark.row_27

GIB = 1 << 30
ONE = {
    "folder": "/var/backups/catmaid/catmaid",
    "revision": "1.1",
    "user": "www-data",
    "environment": "/etc/catmaid/catmaid/wsgi/environment.sh",
    "limit": 20,
    "local": {"name": "catmaid", "owner": "catmaid", "port": 5432},
}
DATABASE = {"name": "catmaid", "size": 4 * GIB, "number": 150004, "data": "/data", "host": "", "port": "", "user": ""}
APPLIED, EMPTY = "[X]  a.0001_one\n[ ]  a.0002_two", "[ ]  a.0001_one"
DJANGO = """
import sys, types
print("printed by the settings")
OPTIONS = {"sslmode": "verify-full", "channel_binding": "require"}
SETTINGS = {"HOST": "db", "PORT": 5433, "USER": "u", "PASSWORD": "a secret", "NAME": "tracing", "OPTIONS": OPTIONS}
db = types.ModuleType("django.db")
db.connection = types.SimpleNamespace(vendor="sqlite", settings_dict=SETTINGS)
sys.modules["django.db"] = db
setup = lambda: print("printed by an application")
"""
PG_DUMP = """#!/bin/sh
echo "argv: $*"
env | grep ^PG | sort
"""


def instance(**values: Any) -> schema.Instance:
    (found,) = schema.load({"server_name": "a.org", "instances": [values]}).instances
    return found


# ---- when one is due ----


def test_one_is_due_where_migrations_may_run_and_nothing_else_is_the_way_back() -> None:
    assert task.asked(instance()) is None
    assert task.asked(instance(migrate="before", way_back="elsewhere")) is None
    found = task.asked(instance(migrate="closed", dump_limit=3))
    assert found
    assert (found["limit"], found["local"], found["revision"]) == (3, None, "checkout")
    installed = {"migrate": "before", "releases": {"revision": "1.1"}}
    found = task.asked(instance(**installed, install={}))
    assert found == ONE | {"local": {"name": "catmaid", "owner": "catmaid", "port": 5432}}
    elsewhere = {"database": {"host": "db", "password": SecretStr("p" * 20)}}
    found = task.asked(instance(**installed, install=elsewhere))
    assert found
    assert found["local"] is None


def test_the_job_knows_of_it() -> None:
    site = schema.load({"server_name": "a.org", "instances": [{"migrate": "before"}]}).sites[0]
    (one,) = site.instances
    assert supervisor.service(site, one, [], [])["dump"] == task.asked(one)


# ---- what keeps it from being made ----


def refuses(monkeypatch: pytest.MonkeyPatch, free: tuple[int, int], program: Any = (15, "/x"), **more: Any) -> Any:
    monkeypatch.setattr(looked, "newest_pg_dump", lambda: program)
    places = [("a dump of", ["/a", [1, 0, free[0], 0, 0]]), ("a migration of", ["/b", [1, 0, free[1], 0, 0]])]
    monkeypatch.setattr(looked, "places_of", lambda *_: places)
    monkeypatch.setattr(looked, "mounts", lambda: {"/a", "/b"})
    return looked.what_refuses(ONE, DATABASE | more)


def test_what_has_room_and_a_program_is_dumped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refuses(monkeypatch, (5 * GIB, 5 * GIB)) is None
    assert refuses(monkeypatch, (5 * GIB, 5 * GIB), (17, "/x")) is None


@pytest.mark.parametrize(
    ("free", "more", "key", "what"),
    [
        (
            (5, 5),
            {"size": 21 * GIB},
            "dump_limit",
            "the database catmaid has 21.0 GiB, and a dump before migrations is",
        ),
        ((4, 9), {}, "way_back", "a dump of the database catmaid needs 5.0 GiB, and 4.0 GiB are free on /a"),
        ((9, 4), {}, "way_back", "a migration of the database catmaid needs 5.0 GiB, and 4.0 GiB are free on /b"),
        ((9, 9), {"program": None}, "way_back", "pg_dump is missing, by which the database catmaid is dumped"),
        ((9, 9), {"number": 170002}, "way_back", "is PostgreSQL 17's, and the newest pg_dump here is 15, which can't"),
    ],
)
def test_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, free: tuple[int, int], more: dict[str, Any], key: str, what: str
) -> None:
    found = refuses(monkeypatch, (free[0] * GIB, free[1] * GIB), **more)
    assert what in found["what"]
    one = instance(migrate="before")
    finding = task.judge(one, {"refused": found})
    assert finding
    assert finding.place == f"site.instances[catmaid].{key}"
    assert finding.fix
    assert isinstance(finding.fix, Command) == (found["todo"] == "")


def test_the_host_s_answer_is_one_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: Any) -> None:
        raise trust.Failed("refused")

    one, said = instance(migrate="before"), []
    for answer in (lambda _: None, failing, lambda _: DATABASE):
        monkeypatch.setattr(looked, "database_of", answer)
        monkeypatch.setattr(looked, "what_refuses", lambda *_: None)
        found: Dump = looked.look_at_dump(ONE)
        assert task.judge(one, found) is None
        said.append(task.note(one, found))
    assert said == [
        "catmaid: no dump would be made before them: the database is no PostgreSQL",
        "catmaid: whether its database can be dumped before them is not known: refused",
        "catmaid: its database catmaid (4.0 GiB) would be dumped before that to /var/backups/catmaid/catmaid",
    ]
    monkeypatch.setattr(looked, "what_refuses", lambda *_: looked.refused_by("way_back", "no", "x"))
    assert looked.look_at_dump(ONE) == {"refused": looked.refused_by("way_back", "no", "x")}
    assert task.note(one, {}) is None


class Said:
    """A program that ends with this."""

    def __init__(self, output: str, error: str = "", code: int = 0, into: bytes = b"") -> None:
        self.answer, self.into = (code, output, error), into

    def end(self, _: int) -> tuple[int, str, str]:
        return self.answer


@pytest.mark.parametrize("local", [True, False])
def test_what_a_server_and_an_application_say(monkeypatch: pytest.MonkeyPatch, local: bool) -> None:
    one = ONE if local else ONE | {"local": None}
    asked = "start_sql" if local else "start_python"

    def answer(text: str, error: str = "", code: int = 0) -> Any:
        monkeypatch.setattr(looked, asked, lambda *_: Said(text, error, code))
        return looked.database_of(one)

    found = answer('noise\n{"name": "catmaid", "size": 5, "number": 150004, "host": "db", "port": "5433"}\n')
    assert (found["name"], found["size"], found["number"], found["host"]) == ("catmaid", 5, 150004, "db")
    assert answer('{"vendor": "sqlite"}') is None
    for text, error, code, words in (
        ("", "Traceback\nOperationalError: refused\n", 1, "OperationalError: refused"),
        ("[]", "", 0, r"\[\]"),
        ('{"name": 1}', "", 0, "name"),
        ("", "", -9, "no answer within"),
    ):
        with pytest.raises(trust.Failed, match=words):
            answer(text, error, code)


def test_the_newest_pg_dump_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    there: dict[str, Any] = {"names": ["9", "15", "13", "lib"], "files": {"/usr/lib/postgresql/13/bin/pg_dump"}}
    root = SimpleNamespace(names=lambda _: there["names"], is_file=lambda path: path in there["files"])
    monkeypatch.setattr(looked, "ROOT", root)
    assert looked.newest_pg_dump() == (13, "/usr/lib/postgresql/13/bin/pg_dump")
    there["files"].add("/usr/lib/postgresql/15/bin/pg_dump")
    assert looked.newest_pg_dump()[0] == 15
    there["files"].clear()
    assert looked.newest_pg_dump() is None


# ---- how it is made ----


def test_nothing_is_dumped_where_nothing_can_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumps, "database_of", lambda _: None)
    monkeypatch.setattr(dumps, "tell", lambda _: None)
    assert dumps.dump_before(None, APPLIED) is None
    assert dumps.dump_before(ONE, EMPTY) is None
    assert dumps.dump_before(ONE, APPLIED) is None


def test_what_can_t_be_dumped_is_refused_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumps, "database_of", lambda _: DATABASE)
    refused = looked.refused_by("way_back", "pg_dump is missing", "", "apt-get install x")
    monkeypatch.setattr(dumps, "what_refuses", lambda *_: refused)
    words = "one before serves: way_back: pg_dump is missing: apt-get install x"
    with pytest.raises(trust.Failed, match=words):
        dumps.dump_before(ONE, APPLIED)


def make(folder: Path, monkeypatch: pytest.MonkeyPatch, said: Said, moment: str = "20261128T060000") -> list[str]:
    """Make a dump in a folder of the test's own; returns what is told."""
    told: list[str] = []
    clock = SimpleNamespace(strftime=lambda *_: moment, gmtime=lambda: None)

    def start(_: Any, file: int) -> Said:
        os.write(file, said.into)
        return said

    for name, value in (
        ("ROOT", trust.Here()),
        ("time", clock),
        ("start_dump", start),
        ("tell", told.append),
        ("make_folders", lambda path, mode: Path(path).mkdir(mode, parents=True, exist_ok=True)),
    ):
        monkeypatch.setattr(dumps, name, value)
    dumps.make_dump(ONE | {"folder": str(folder / "catmaid")}, DATABASE)
    return told


def test_a_dump_is_root_s_alone_and_says_how_it_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = make(tmp_path, monkeypatch, Said("", into=b"PGDMP and more"))
    path = tmp_path / "catmaid/1.1-before-20261128T060000.dump"
    assert path.stat().st_mode & 0o777 == 0o600
    (line,) = told
    made = "runuser -u postgres -- createdb -p 5432 -T template0 -O catmaid catmaid_20261128t060000"
    back = f"runuser -u postgres -- pg_restore -p 5432 --exit-on-error -d catmaid_20261128t060000 < {path}"
    assert line.endswith(f"; beside the live one: cd / && {made} && {back}")
    one = instance(releases={"revision": "1"}, install={"database": {"name": "catmaid_20261128t060000"}})
    assert one.made_database


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Said("", "", 1, b"PGD"), "its database can't be dumped: "),
        (
            Said("pg_dump: error: aborting\npg_dump: detail: Query was\n", "", 1),
            "its database can't be dumped: pg_dump: error: ",
        ),
        (Said("", "", -9), "no end within 3600 s"),
        (Said("", "", 0), "has dumped nothing"),
    ],
)
def test_a_dump_that_fails_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said, words: str
) -> None:
    with pytest.raises(trust.Failed, match=words):
        make(tmp_path, monkeypatch, said)
    assert list((tmp_path / "catmaid").iterdir()) == []


def test_three_stay_and_what_was_cut_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "catmaid"
    folder.mkdir()
    (folder / ".1.0-before-20200101T000000.dump.catmaid-deploy").touch()
    (folder / "my-own.dump").touch()
    # By their times, whatever the releases are called.
    for revision, moment in (("9.0", "20250101T000000"), ("1.0", "20260101T000000"), ("2.0", "20260201T000000")):
        (folder / f"{revision}-before-{moment}.dump").touch()
    told = make(tmp_path, monkeypatch, Said("", into=b"PGDMP"))
    assert sorted(path.name for path in folder.iterdir()) == [
        "1.0-before-20260101T000000.dump",
        "1.1-before-20261128T060000.dump",
        "2.0-before-20260201T000000.dump",
        "my-own.dump",
    ]
    assert told[-1] == f"of the dumps in {folder} 3 stay; removed 9.0-before-20250101T000000.dump"


def test_elsewhere_it_comes_back_by_who_may_make_a_database() -> None:
    database = DATABASE | {"host": "db.example.org", "port": "5433", "user": "o'hara"}
    back = looked.command_back(ONE | {"local": None}, database, "/x.dump", "new")
    server = "-h db.example.org -p 5433 -U 'o'\"'\"'hara'"
    made = f"createdb {server} -T template0 new"
    assert back == f"{made} && pg_restore {server} --no-owner --exit-on-error -d new /x.dump"


# ---- in the application's own process ----


def by_application(folder: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run what an application's Python is to run, with settings that print."""
    (folder / "django").mkdir()
    (folder / "django/__init__.py").write_text(DJANGO)
    environment = {"PYTHONPATH": str(folder), "PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, env=environment
    )


def test_the_password_is_in_pg_dump_s_environment_alone(tmp_path: Path) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(PG_DUMP)
    program.chmod(0o755)
    done = by_application(tmp_path, dumps.DUMPING, str(program), *dumps.OPTIONS_OF_DUMP)
    first, *given = done.stdout.splitlines()
    assert first == "argv: --format=custom --no-password --lock-wait-timeout=60000"
    assert given == [
        "PGCHANNELBINDING=require",
        "PGDATABASE=tracing",
        "PGHOST=db",
        "PGPASSWORD=a secret",
        "PGPORT=5433",
        "PGSSLMODE=verify-full",
        "PGUSER=u",
    ]


def test_what_the_settings_print_is_no_answer(tmp_path: Path) -> None:
    done = by_application(tmp_path, looked.OF_SETTINGS)
    assert json.loads(done.stdout) == {"vendor": "sqlite"}


def test_a_file_that_is_filled_has_its_name_at_the_end(tmp_path: Path) -> None:
    path, here = tmp_path / "file", trust.Here()
    path.write_text("old")

    def fail(file: int) -> None:
        os.write(file, b"half")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        here.fill(str(path), fail)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
    here.fill(str(path), lambda file: os.write(file, b"new"))
    assert path.read_text() == "new"


def test_a_program_writes_into_a_file_and_says_its_errors(tmp_path: Path) -> None:
    words = ["sh", "-c", "echo out; echo err >&2; exit 3"]

    def into(file: int) -> None:
        code, error, nothing = trust.Process(words, {"PATH": trust.PATH}, stdout=file).end(10)
        assert (code, error.strip(), nothing) == (3, "err", "")

    trust.Here().fill(str(tmp_path / "file"), into)
    assert re.fullmatch("out\n", (tmp_path / "file").read_text())
