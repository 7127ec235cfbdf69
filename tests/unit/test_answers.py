"""The types of what hosts answer are those of what the scripts for hosts really say."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, get_type_hints, is_typeddict

import pytest

from catmaid_deploy import answers as all_answers
from catmaid_deploy import questions, schema
from catmaid_deploy.answers import application, health, installed, postgresql, rabbitmq, sought
from catmaid_deploy.answers import survey as looked
from catmaid_deploy.facts import survey as facts
from catmaid_deploy.run import preflight
from catmaid_deploy.script import FOLDER, joined
from catmaid_deploy.tasks.python import fits
from catmaid_deploy.upkeep import health as upkeep
from testbed.order import TASKS
from tests import answers

MODULES = (all_answers, application, health, installed, looked, postgresql, rabbitmq, sought)
# apt takes seconds to say what it would do, and what it said is kept for the next time.
WITHOUT_APT = "SecurityUpdates = type('SecurityUpdates', (), {'names': lambda self: ['bash']})"


def answer_of(script: str, question: Any) -> Any:
    """What a script says of this machine, also to who isn't root."""
    code = f"import json, os, sys\n{script}".replace("if os.geteuid() else work", "if False else work")
    text, call, work = code.rpartition("\nanswer(")
    words = [sys.executable, "-I", "-", json.dumps(question)]
    text = f"{text}\n{WITHOUT_APT}{call}{work}"
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def of_script(part: str) -> Any:
    """The functions of a script; what they ask is replaced in the ``__globals__`` that all have in common."""
    found: dict[str, Any] = {}
    exec(joined(part).rpartition("\nanswer(")[0], found)  # noqa: S102
    return SimpleNamespace(**found)


def saying(*lines: str, code: int = 0) -> Any:
    """A program that ends with this on its standard output, for those who start it and for those who run it."""
    text = "\n".join(lines)
    return SimpleNamespace(end=lambda *_: (code, text, text), run=lambda *_, **__: (code, text))


Said = Iterator[tuple[Any, Any]]


# ---- this machine ----


def verified(folder: Path, virtualenv: str) -> Any:
    """A look at it, with all that `verify` asks beside."""
    (folder / "tiles").mkdir()
    common = {"user": "nobody", "virtualenv": virtualenv}
    releases = {"repository": "/srv/c.git", "revision": "1", "owner": "nobody", "folder": str(folder / "releases")}
    second = {"name": "catmaid-b", "releases": releases, "install": {"python": "found"}}
    ours = releases | {"folder": str(folder / "ours")}
    first = common | {"checkout": str(folder), "database": {"host": "127.0.0.1", "port": 1}}
    sites = [
        {
            "server_name": "a.org",
            # Files that are there, and root's.
            "tls": {"certificate": "/etc/passwd", "key": "/etc/group"},
            "instances": [first],
            "tiles": [{"name": "t", "url": "/t", "folder": str(folder / "tiles")}],
        },
        {
            "server_name": "b.org",
            "instances": [
                common | second,
                {"name": "catmaid-c", "prefix": "/c", "user": "nobody", "releases": ours, "install": {}},
            ],
        },
    ]
    deployment = schema.load(sites=sites)
    question = upkeep.question(TASKS, deployment, preflight.wanted_sets(TASKS, deployment), verify=True)
    # A file, a link and a folder, whatever else is here.
    question["survey"]["paths"] += ["/etc/passwd", "/proc/self/cwd", "/"]
    return answer_of(facts.Verify.script, question)


def this_machine(folder: Path) -> Said:
    with TemporaryDirectory() as virtualenv:
        # One that doesn't run, where every user finds it.
        Path(virtualenv).chmod(0o755)
        (Path(virtualenv) / "bin").mkdir()
        (Path(virtualenv) / "bin/python").write_text("#!/bin/false\n")
        (Path(virtualenv) / "bin/python").chmod(0o755)
        answer = verified(folder, virtualenv)
    assert len(answer["survey"]["instances"]) == 3
    yield answer, health.Health
    yield answer["survey"] | {"uid": answer["uid"], "time": answer["time"]}, looked.Surveyed
    # That a status alone asks.
    growth = of_script("facts.health")
    place = {"name": "x", "path": "/etc/apt", "user": "", "apart": [], "clusters": False}
    asked = {"growth": [place], "survey": {"nginx": {"user": "nobody"}, "disks": {}}}
    yield growth.end_growth(*growth.begin_growth(asked)), list[health.Grown]
    (folder / "a.log").write_text("line\n")
    patterns = [str(folder / "*.log")]
    yield answer_of(facts.Logs.script, {"logs": patterns, "files": patterns, "lines": 1}), sought.Logs
    acme = {"servers": ["http://127.0.0.1:1/directory"], "fetching": {"no_proxy": "127.0.0.1"}}
    yield answer_of(facts.Acme.script, acme), sought.Acme
    for words in ("403 Forbidden", ""):
        with proxy_that_says(words) as port:
            fetching = {"http_proxy": f"http://127.0.0.1:{port}", "no_proxy": ""}
            question = {"fetching": fetching, "packages": False, "targets": ["https://a.org/"]}
            yield answer_of(facts.Proxied.script, question), sought.Proxied


class proxy_that_says:
    """A proxy on a port of this machine, which answers to two who ask."""

    def __init__(self, words: str) -> None:
        self.line = f"HTTP/1.1 {words}\r\n\r\n".encode() if words else b"\r\n"
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self) -> int:
        self.thread.start()
        return int(self.socket.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _answer(self) -> None:
        for _ in range(2):
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 12)
                connection.sendall(self.line)


# ---- what this machine doesn't have ----


def supervisor(_: Path) -> Said:
    row = {"group": "catmaid", "name": "catmaid-wsgi-a", "statename": "RUNNING", "pid": "7", "command": "x"}
    own = SimpleNamespace(problem=None)
    asked = {"supervisors_own": lambda: own, "ask_supervisor": lambda _, method: [row]}
    script = of_script("facts.survey")
    script.supervisor.__globals__.update(asked)
    for noted in ({}, {"catmaid": {"wsgi-a": [7, "d", "g", "c"]}}):
        yield script.supervisor(noted)[0], dict[str, looked.Program]
    text = "[unix_http_server]\nfile=/run/x.sock\n[rpcinterface:supervisor]\n[supervisorctl]\n"
    for one in (text, "[inet_http_server]\n"):
        script.supervisors_file.__globals__.update(
            supervisors_own=lambda one=one: script.SupervisorsOwn(one), changeable=lambda path: 1
        )
        yield script.supervisors_file(1.0), looked.SupervisorFile


def database_server(folder: Path) -> Said:
    """Of one that answers, one that doesn't, and what Debian's tools know of its clusters."""
    script = of_script("facts.survey")
    database = {"owner": "a", "encoding": "UTF8", "open": False, "size": 8, "note": ""}
    role = {"login": True, "superuser": False, "verifier": "", "settings": [], "note": ""}
    said = {
        "version": "15.20", "number": 150020, "config": "/etc/x", "data": "/var/x", "checksums": True,
        "connections": 100, "standby": False, "settings": "", "in_file": "", "pending": [], "available": ["postgis"],
        "used": True, "sessions": 0, "databases": {"a": database}, "roles": {"a": role},
    }  # fmt: skip
    lines = [json.dumps({"server": said}), json.dumps({"extensions": {"a": ["postgis"]}})]
    asked = {"port": 5432, "databases": {"a": {"name": "a", "user": "a", "secrets": str(folder / "none.json")}}}
    yield script.end_postgresql(asked, saying(*lines)), postgresql.Postgresql
    main = folder / "clusters/15/main"
    main.mkdir(parents=True)
    (main / "postgresql.conf").write_text("data_directory = '/var/x'\nport = 5433\n")
    script.clusters_there.__globals__["CLUSTERS"] = str(folder / "clusters")
    there = script.clusters_there(importlib.import_module("catmaid_deploy.on_host.trust").Here())
    assert there[0]["port"] == 5433
    script.end_postgresql.__globals__["known_clusters"] = lambda: there
    yield script.end_postgresql(asked, saying("no", code=2)), postgresql.Postgresql


def certificates(_: Path) -> Said:
    script = of_script("facts.verify")
    root = SimpleNamespace(
        names=lambda path: ["a.org.conf"],
        json=lambda path: {},
        read=lambda path: "server = x\nauthenticator = webroot\n",
    )
    script.lineages.__globals__.update(ROOT=root, names_of=lambda path: ["a.org"])
    yield script.lineages(), dict[str, looked.Lineage]
    secure = SimpleNamespace(getpeercert=lambda _: b"", version=lambda: "TLSv1.3")
    context = SimpleNamespace(wrap_socket=lambda *_, **__: nullcontext(secure))
    script.shown.__globals__.update(
        to_this_host=lambda *_: nullcontext(), trusting=lambda: context, ends_at=lambda _: 2e9
    )
    yield script.shown("a.org", 443), health.Shown


def processes(_: Path) -> Said:
    script = of_script("facts.verify")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        yield json.loads(json.dumps(script.listeners([port]))), dict[str, dict[str, looked.Listener]]
    told = {os.getpid(): SimpleNamespace(value="/env/bin/python\0-m\0celery\0worker")}
    ending = [({"name": "a", "user": "b", "stop_seconds": 1}, SimpleNamespace(value={str(os.getpgrp()): 1.0}))]
    for late in ((), ending):
        yield script.strangers(told, ["/env"], [], late), list[health.Stranger]
    script.holds.__globals__["ROOT"] = SimpleNamespace(holder=lambda path: os.getpid())
    yield script.holds("/var/lib/dpkg/lock"), looked.Holder
    account = SimpleNamespace(value=("/srv", "g", "x"))
    places = SimpleNamespace(user=str, ask=lambda user, *_: account if user == "own" else SimpleNamespace(value=None))
    script.ask_neighbours.__globals__["texts_of_others"] = lambda: [("/etc/nginx/x", "root /srv/x;")]
    yield script.ask_neighbours({"like": "www-data"}, places, "own")(), list[looked.Neighbour]


def applications(_: Path) -> Said:
    script = of_script("facts.verify")
    said = ("catmaid-deploy asks", "3.11.2", "/usr/bin/python3", "True", "True", "Django-2.2.dist-info")
    for python in (script.end_python(saying(*said, "catmaid-deploy asked", "")), script.end_python(saying("no"))):
        yield python, application.Python
        yield script.python_of({"missing": None, "reaches": False}, python), application.Python
    yield script.python_of({"missing": "/env", "reaches": True}, {}), application.Python
    cookies = {"SESSION_COOKIE": ["a", "/", "", True], "CSRF_COOKIE": ["b", "/", "", False]}
    told = {"ALLOWED_HOSTS": ["*"], "MEDIA_ROOT": "/srv", "brokers": [["a:1", "/"], ["a:1", "/"]], **cookies}
    urls = {"MEDIA_URL": "/files/", "STATIC_URL": "/static/", "FORCE_SCRIPT_NAME": None}
    yield script.resolved(SimpleNamespace(real=str), told | urls), application.Settings
    found = {
        "queues": {"celery": 3},
        "task": 0.1,
        "tasks": {"gpu": None},
        "notice": 0.1,
        "broker": "x",
        "database": "y",
        "mail": {"stage": "sender", "words": "550", "sent": ""},
    }
    for one in (json.dumps(found), '{"notice": "late", "broken": "x"}', "no object"):
        yield script.end_probe(saying(one)), health.Probe
    workers = {"workers": [{"requests": 3, "cores": [{"in_request": 1}]}], "listen_queue": 0}
    script.statistics.__globals__["whole"] = lambda *_: json.dumps(workers).encode()
    at = SimpleNamespace(connect=lambda *_: nullcontext())
    yield script.statistics(at, "/run/x"), health.Statistics
    at = SimpleNamespace(
        read=lambda _: "MEDIA_ROOT = '/srv'\n", real=str, json=lambda _: {}, status=lambda *_, **__: None,
        missing=lambda _: True, may=lambda *_: True, exists=lambda _: False,
    )  # fmt: skip
    keys = ("settings_file", "virtualenv", "checkout", "wsgi_file", "lasting_wsgi_file")
    asked = dict.fromkeys(keys, "/x") | {"requirements": [], "settings": {"notes": "/x", "folder": "/x", "said": ""}}
    yield script.application(at, asked)["media_root"], tuple[str, str]


def services(_: Path) -> Said:
    script = of_script("facts.survey")
    asked = {"path": "/nowhere/x.json", "user": "nobody", "names": ["secret_key"], "given": {}}
    yield script.kept(asked), installed.Secrets
    vhost = {"port": 5672, "vhost": "a", "user": "a", "secrets": "/nowhere/x.json", "secret": "broker_password"}
    yield script.take_of(vhost, []), rabbitmq.Vhost
    at = SimpleNamespace(names=lambda _: ["a@b", "a@b-plugins-expand"], is_folder=lambda _: True, read=lambda _: "")
    broker = script.look_at_broker({"catmaid": vhost}) | script.nodes(at) | {"made": {"a": "a"}}
    yield json.loads(json.dumps(broker)), rabbitmq.Rabbitmq


def notes(folder: Path) -> Said:
    """What the jobs note of themselves, and the survey reads."""
    lock, programs, trust = (
        importlib.import_module(f"catmaid_deploy.on_host.{name}")
        for name in ("operations.lock", "operations.programs", "trust")
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in (lock, programs, importlib.import_module("catmaid_deploy.on_host.operations.common")):
            patch.setattr(module, "ROOT", trust.Here())
        patch.setattr(lock, "STATE", str(folder / "state"))
        patch.setattr(lock, "RUN", str(folder / "run"))
        patch.setattr(lock, "LOG", str(folder / "log"))
        patch.setattr(lock, "session", lambda: [7, "8"])
        patch.setattr(lock, "alive", lambda _: True)
        patch.setattr(programs, "BEFORE", str(folder / "before"))
        (folder / "run").mkdir()
        claim = {"run": "a", "admin": "ada@lab", "revision": "1", "since": "now", "last_run": None}
        lock.take_lock(claim | {"version": "0.2.0"})
        script = of_script("facts.survey")
        script.lock.__globals__.update(ROOT=trust.Here(), RUN=str(folder / "run"))
        yield script.lock(), looked.Lock
        last = folder / "state/last-run.json"
        lock.did("nginx: reload")
        yield json.loads(last.read_text()), looked.Run
        lock.end_run("nginx: reload")
        yield json.loads(last.read_text()), looked.Run
        group = SimpleNamespace(instance="a", slots=[SimpleNamespace(short="wsgi", old="wsgi-a", new="wsgi-b")])
        programs.Supervisor._note(group)
        yield json.loads((folder / "before/a.json").read_text()), application.Before


def further(_: Path) -> Said:
    """What a run asks that has something to do."""
    available = of_script("facts.available").available
    for program in (saying("Available versions: 1.0, 0.9"), saying("ProxyError: no", code=1)):
        available.__globals__.update(installer=lambda _, it=program: it, pip_of=lambda *_: [])
        yield available("/env", "uwsgi", "2.0", {}), sought.Offer
    revision_of = of_script("facts.revisions").revision_of
    release = {"repository": "/srv/c.git", "revision": "dev", "owner": "nobody"}
    for program in (saying("x\trefs/heads/dev"), saying("x\trefs/tags/1.0"), saying("fatal: no", code=128)):
        revision_of.__globals__.update(commit_of=lambda _: None, As=lambda _, it=program: it)
        yield revision_of(release, {}), sought.Revision
    requirements = of_script("facts.requirements")
    further: dict[str, Any] = {"folder": "/srv", "requirements": [], "overrides": {}, "python": "3.11"}

    def none(*_: Any) -> Any:
        raise requirements.NotInRelease("django/requirements.txt")

    for text in ("scipy==1.8.1\ncelery==4.4.7", None):
        reading = (lambda *_, text=text: text) if text else none
        asked = {"commit_of": lambda _: "c", "As": lambda _: None, "requirements_of": reading}
        requirements.fit_of.__globals__.update(asked)
        yield json.loads(json.dumps(requirements.fit_of(release | further, fits.rules(), {}))), sought.Fit
    migrations = of_script("facts.migrations")
    instance = {"user": "nobody", "virtualenv": "/env", "environment": {}, "seconds": 1, "release": release}
    for database in ({"name": "a", "size": 1}, None, migrations.Failed("refused")):
        for refused in (None, migrations.refused_by("way_back", "no", "x")):
            yield dump_of(migrations, database, refused), sought.Lacking
    for program in (saying("[ ] a.1"), saying("no", code=1)):
        migrations.ask_manage.__globals__.update(commit_of=lambda _: None, As=lambda _, it=program: it)
        yield migrations.ask_manage(instance, "/x"), sought.Lacking
    yield migrations.ask_mirror(instance), sought.Lacking


def dump_of(migrations: Any, database: Any, refused: Any) -> Any:
    """What is said of a dump that is due before migrations that are lacking."""

    def database_of(_: Any) -> Any:
        if isinstance(database, Exception):
            raise database
        return database

    said = {"lacks": "a.1", "empty": False}
    replaced = {"database_of": database_of, "what_refuses": lambda *_: refused, "pending": lambda _: said}
    migrations.foreseen.__globals__.update(replaced)
    return migrations.foreseen({"dump": {"limit": 1}})


SOURCES: tuple[Callable[[Path], Said], ...]
SOURCES = (
    *(this_machine, supervisor, database_server, certificates, processes, applications, services, notes, further),
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_what_is_said_is_as_its_type_says(source: Callable[[Path], Said], tmp_path: Path) -> None:
    wrong = [line for value, kind in source(tmp_path) for line in answers.mistakes(value, kind)]
    assert wrong == []


def test_all_keys_are_said(tmp_path: Path) -> None:
    """A key of a type that no script says any longer is one too many."""
    seen: set[str] = set()
    for source in SOURCES:
        folder = tmp_path / source.__name__
        folder.mkdir()
        for value, kind in source(folder):
            list(answers.mistakes(value, kind, seen=seen))
    kinds = [kind for module in MODULES for kind in vars(module).values() if is_typeddict(kind)]
    # What all have in common; and of scripts that ask the world as a whole, of which the parts are above.
    others = (
        *(all_answers.Answer, sought.Migrations, sought.Available, sought.Revisions),
        *(sought.Passwords, sought.Requirements, sought.Bundled),
    )
    keys = {f"{kind.__name__}.{key}" for kind in kinds if kind not in others for key in get_type_hints(kind)}
    # Earlier versions noted that.
    assert keys - seen == {"Before.time"}


def test_what_is_asked_is_as_its_type_says() -> None:
    """With all keys, and none that no script reads."""
    site = {"server_name": "a.org", "instances": [{}], "tiles": [{"name": "t", "url": "/t", "folder": "/t"}]}
    deployment = schema.load(site)
    question = upkeep.question(TASKS, deployment, preflight.wanted_sets(TASKS, deployment), verify=True)
    assert [*answers.mistakes(question, questions.Health)] == []
    assert question["survey"].keys() == get_type_hints(questions.Survey).keys()
    assert question["survey"]["asking"].keys() == get_type_hints(questions.LastWord).keys()
    # These go with the survey's.
    assert question.keys() == get_type_hints(questions.Health).keys() - {"units"}
    kinds = [kind for kind in vars(questions).values() if is_typeddict(kind)]
    code = "".join(path.read_text() for path in FOLDER.rglob("*.py"))
    assert [key for kind in kinds for key in get_type_hints(kind) if f'"{key}"' not in code] == []


def test_a_mistake_is_found() -> None:
    unit = looked.NO_UNIT
    assert [*answers.mistakes(unit, looked.Unit)] == []
    without = {key: value for key, value in unit.items() if key != "masked"}
    wrong = {**without, "active": 1, "maskd": "", "files": [None]}
    assert [*answers.mistakes(wrong, looked.Unit)] == [
        ".active is 1, not <class 'bool'>",
        ".masked is missing",
        ".files[0] is None, not <class 'str'>",
        ".maskd isn't in Unit",
    ]
    assert len([*answers.mistakes(wrong, looked.Unit, whole=False)]) == 3
    assert [*answers.mistakes(["a"], tuple[str, str])] == [" has 1 parts, not 2"]
