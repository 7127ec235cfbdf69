"""What the runbooks ask, how they judge it, and what they print."""

from __future__ import annotations

import ast
import json
import os
import shlex
import socket
import ssl
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.answers import health as answers_of_health
from catmaid_deploy.facts import survey as facts
from catmaid_deploy.facts.survey import Logs, Survey, Verify
from catmaid_deploy.finding import Command, fault, warning
from catmaid_deploy.plan import causes
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.look import Look
from catmaid_deploy.tasks import last_word as asking
from catmaid_deploy.tasks import needs, system
from catmaid_deploy.tasks.certificates import served
from catmaid_deploy.tasks.nginx import pages as pages_of_site
from catmaid_deploy.tasks.programs import state as programs
from catmaid_deploy.upkeep import health, logs, output
from testbed.order import TASKS
from tests import answers

SITE: dict[str, Any] = {
    "server_name": "catmaid.example.org",
    "instances": [
        {"name": "catmaid", "cors": {"origins": ["https://*.lab.example.org"]}},
        {"name": "catmaid-closed", "prefix": "/closed", "passwords": {"ada": "$6$abcdefgh$" + "a" * 86}},
    ],
    "tiles": [{"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb", "fallback": "none"}],
}


def of(found: dict[str, Any] | None = None, **survey: Any) -> Health:
    """A host of this site with an answer to what its tasks look at, and what else it was found to be."""
    look = Look(schema.load(SITE), answers.survey(**survey))
    return Health("host", look, answers.part(answers_of_health.Health, found or {}))


def pages(**more: Any) -> dict[tuple[str, str], pages_of_site.Page]:
    return {(page.kind, page.whose): page for page in pages_of_site.pages(schema.load(SITE | more))}


def test_all_that_users_ask_for_is_asked() -> None:
    found = pages()
    kinds = {"page", "static file", "WebSocket"}
    assert {kind for kind, name in found if name == "catmaid"} == kinds
    assert {kind for kind, name in found if name == "fafb"} == {"tile", "missing tile"}
    assert found["HTTP", "catmaid.example.org"].expected == (301,)
    assert found["missing tile", "fafb"].expected == (404,)
    # What asks for a password is well when it asks.
    assert {found[kind, "catmaid-closed"].expected for kind in kinds} == {(401,)}
    assert found["page", "catmaid"].cors == found["page", "catmaid"].question["headers"]["Origin"]
    assert found["page", "catmaid"].cors == "https://page.lab.example.org"
    assert found["page", "catmaid-closed"].cors == ""


def test_without_https_nothing_is_asked_by_it() -> None:
    found = pages(tls={"certificate": "none"})
    assert not any(kind == "HTTP" for kind, _ in found)
    assert {page.question["site"]["port"] for page in found.values()} == {80}


@pytest.mark.parametrize(
    ("free", "size", "level"),
    [
        (60, 100, None),
        (2, 100, "fault"),
        (0.5, 100, "fault"),
        (12, 100, "warning"),
        (60, 2000, None),
        (0.01, 0.02, None),
    ],
)
def test_a_file_system_that_fills_is_told(free: float, size: float, level: str | None) -> None:
    space = {"mount": "/", "free": int(free * system.GIB), "size": int(size * system.GIB), "files_free": 1.0}
    one = of({"spaces": [space], "security_updates": [], "reboot": False}, manifest={})
    system.health(one)
    assert [finding.level for finding in one.findings] == ([level] if level else [])


@pytest.mark.parametrize(("seconds", "level"), [(-86400, "fault"), (86400, "warning"), (90 * 86400, None)])
def test_a_certificate_that_ends_is_told(seconds: float, level: str | None) -> None:
    shown = {"catmaid.example.org": {"problem": None, "seconds_left": seconds, "version": "TLSv1.3"}}
    files = {"catmaid.example.org served": {"problem": "", "seconds_left": seconds}}
    one = of({"served": shown}, certificates=files)
    served._certificates(one, one.deployment.sites[0])
    assert [finding.level for finding in one.findings] == ([level] if level else [])
    assert len(one.checks) == (level is None)


ON_HOST: dict[str, Any] = {}
exec(Survey.script.removesuffix("\nanswer(survey)\n"), ON_HOST)  # noqa: S102


@pytest.mark.parametrize("text", ["Jan  5 09:34:43 2018 GMT", "Feb 29 00:00:00 2028 GMT", "Dec 31 23:59:59 2049 GMT"])
def test_a_certificate_s_time_is_what_ssl_says(text: str) -> None:
    assert ON_HOST["certificates_time"](text) == ssl.cert_time_to_seconds(text)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_who_listens_is_found_as_in_the_kernel_s_table(family: socket.AddressFamily) -> None:
    """Only what listens, and of both families; by the table too, which is asked where the kernel has nothing else."""
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as listens, socket.socket(family) as connected:
        listens.bind((address, 0))
        listens.listen()
        connected.connect(listens.getsockname()[:2])
        port, inode = listens.getsockname()[1], os.fstat(listens.fileno()).st_ino
        by_kernel, by_table = set(ON_HOST["listening"]()), set(ON_HOST["listening_by_table"]())
        assert (port, inode, os.getuid(), address) in by_kernel & by_table
        other = connected.getsockname()[1]
        assert other not in {port for port, *_ in by_kernel | by_table}
        holders = ON_HOST["listeners"]([port, other])[port]
        assert {name: one["pid"] for name, one in holders.items()} == {
            Path("/proc/self/comm").read_text().strip(): os.getpid()
        }


def test_tables_fit_the_terminal() -> None:
    rows = [("a", "b"), ("long name", "x" * 200)]
    lines = output.table(rows)
    assert max(map(len, lines)) == output.WIDTH
    assert lines[0].split() == ["a", "b"]


def test_a_finding_fits_and_its_command_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    command = "systemctl restart " + "x" * 120
    output.finding(fault("nginx", "word " * 60, Command(command)))
    *lines, last = capsys.readouterr().out.splitlines()
    assert all(len(line) <= output.WIDTH for line in lines)
    assert last.strip() == f"fix: {command}"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (2048, "2.0 KiB"), (300 << 20, "300 MiB"), (3 << 40, "3.0 TiB"), (5 << 30, "5.0 GiB")],
)
def test_sizes_are_read_by_people(number: int, text: str) -> None:
    assert output.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (5, "5 s"), (65, "1 min 5 s"), (7300, "2 h 1 min"), (100000, "1 d 3 h")]
)
def test_ages_are_read_by_people(seconds: float | None, text: str) -> None:
    assert output.age(seconds) == text


SECRETS = [
    "connecting to amqp://tracer:hunter2@broker:5672//",
    "Authorization: Token hunter2",
    "'Cookie': 'sessionid=hunter2; csrftoken=hunter2'",
    "GET /catmaid/?api_key=hunter2&page=2 HTTP/1.1",
    'body {"password": "hunter2", "user": "ada"}',
    "SECRET_KEY = 'hunter2'",
    "env DB_PASSWORD=hunter2 python",
    "ada:$6$salt$hunter2",
    "token: hunter2",
]
HARMLESS = [
    "GET /catmaid/tokens?page=2",
    "task passed after 3 s",
    "12 secretaries",
    "http://catmaid.example.org:8000/a@b",
]


OF_LOGS: dict[str, Any] = {}
exec(Logs.script.removesuffix("\nanswer(logs_and_files)\n"), OF_LOGS)  # noqa: S102


def log_lines(path: Path, most: int = 100) -> list[str]:
    lines: list[str] = OF_LOGS["lines_of"](OF_LOGS["Here"](), str(path), most)
    return lines


def test_what_leaves_a_host_has_no_secrets(tmp_path: Path) -> None:
    """The script as it runs there, on logs and files of its own."""
    (tmp_path / "wsgi-a.log").write_text("\n".join(SECRETS + HARMLESS) + "\n")
    (tmp_path / "environment.sh").write_text(
        "export PATH=/usr/bin\nexport GREETING='hunter2\nexport of hunter2'\nexport OTHER=hunter2\ncd /home\n"
    )
    at, pattern = OF_LOGS["Here"](), f"{tmp_path}/*.sh"
    lines = log_lines(tmp_path / "wsgi-a.log")
    files = OF_LOGS["read_all"](at, pattern, OF_LOGS["text_of"])
    assert "hunter2" not in json.dumps([lines, files])
    assert lines[-len(HARMLESS) :] == HARMLESS
    assert "connecting to amqp://tracer:REMOVED@broker:5672//" in lines
    assert "GET /catmaid/?api_key=REMOVED&page=2 HTTP/1.1" in lines
    assert "export PATH=/usr/bin\n" in files[f"{tmp_path}/environment.sh"]
    assert "cd /home\n" in files[f"{tmp_path}/environment.sh"]


def test_a_line_of_a_log_stays_one(tmp_path: Path) -> None:
    """What an application logs of a visitor's address can neither steer a terminal nor look like another line."""
    log = tmp_path / "wsgi-a.log"
    log.write_bytes(b"GET /\x1b]0;title\x07\x1b[2J\rforged\x85more\xe2\x80\xa8other\nsecond\n\nlast without end")
    assert log_lines(log) == [
        r"GET /\x1b]0;title\x07\x1b[2J\x0dforged�more\x2028other",
        "second",
        "",
        "last without end",
    ]
    assert log_lines(log, 1) == ["last without end"]


def test_a_line_without_end_costs_no_time(tmp_path: Path) -> None:
    log = tmp_path / "wsgi-a.log"
    log.write_text("a.b-" * 200_000 + "\n" + "_" * 500_000)
    begin = time.monotonic()
    assert all(len(line) <= 4000 for line in log_lines(log))
    assert time.monotonic() - begin < 5


def test_logs_of_both_slots_and_of_what_all_share_are_asked() -> None:
    deployment = schema.load(SITE)
    asked = logs.question(TASKS, deployment, deployment.instances[0], 15, False)
    assert "/var/log/catmaid/*.log" in asked["logs"]
    assert asked["files"] == []


@pytest.mark.parametrize("fact", [Survey, facts.Health, Verify, Logs])
def test_what_is_joined_has_each_name_once(fact: type[Survey]) -> None:
    """A part of the script that has a name of another's would take its place there as well."""
    names = []
    for node in ast.parse(fact.script).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    assert [name for name, times in Counter(names).items() if times > 1] == []
    assert fact.script.count("\nanswer(") == 1


@pytest.mark.parametrize("fact", [Survey, facts.Health, Verify, Logs])
def test_a_command_is_short_enough_for_the_kernel(fact: type[Survey]) -> None:
    """It is one argument of a shell's, which has at most 128 KiB; this leaves most of that to the question."""
    assert len(shlex.quote(str(fact().command("")))) < 64 << 10


# ---- one cause, one line ----

NEEDS = needs.needs(schema.load(SITE))
THEIRS = "nginx's file /etc/nginx/conf.d/theirs.conf"
PARTS = (
    "page of catmaid",
    "WebSocket of catmaid",
    "task of catmaid",
    "tile of fafb",
    "from here to catmaid.example.org",
)


def folded(*places: str) -> dict[str, tuple[str, ...]]:
    """The causes that are left of faults at these places, each with what follows."""
    return {one.place: one.so for one in causes.folded([fault(place, "wrong") for place in places], NEEDS)}


@pytest.mark.parametrize(
    ("cause", "others"),
    [
        ("supervisor", ["wsgi of catmaid", "celery of catmaid", *PARTS[:3], PARTS[4]]),
        ("nginx", ["TLS of catmaid.example.org", "HTTP of catmaid.example.org", "tile of fafb", *PARTS[:2], PARTS[4]]),
        ("programs of catmaid", ["wsgi of catmaid", "celery of catmaid", *PARTS[:3], PARTS[4]]),
        ("wsgi of catmaid", ["page of catmaid", "from here to catmaid.example.org"]),
        ("site.instances[catmaid].database", ["database of catmaid", "page of catmaid"]),
        ("site.tiles[fafb].mount", ["tile of fafb", "missing tile of fafb"]),
        ("broker of catmaid", ["WebSocket of catmaid", "task of catmaid"]),
        ("site.instances[catmaid].virtualenv", ["application of catmaid", "wsgi of catmaid", "page of catmaid"]),
        ("port 80", ["nginx", "page of catmaid"]),
        (THEIRS, ["nginx", *PARTS[:2]]),
        ("supervisor's file /etc/supervisor/conf.d/theirs.conf", ["supervisor", "programs of catmaid", PARTS[0]]),
        ("user catmaid-nginx", ["configuration of nginx"]),
        ("sockets of catmaid", ["configuration of programs of catmaid", "celery of catmaid", *PARTS[:2]]),
        ("site[catmaid.example.org].tls.certificate", ["nginx's files", "TLS of catmaid.example.org"]),
    ],
)
def test_what_follows_from_a_fault_stands_below_it(cause: str, others: list[str]) -> None:
    for places in ([cause, *others], [*others, cause]):
        assert {name: set(so) for name, so in folded(*places).items()} == {cause: set(others)}


def test_what_has_a_cause_of_its_own_is_a_fault_of_its_own() -> None:
    assert folded("wsgi of catmaid", "tile of fafb", "page of catmaid-closed") == {
        "wsgi of catmaid": (),
        "tile of fafb": (),
        "page of catmaid-closed": (),
    }
    assert folded("space", "celery") == {"space": (), "celery": ()}
    # An nginx that runs needs that file at its next start alone.
    assert folded(THEIRS, PARTS[0]) == {THEIRS: (), PARTS[0]: ()}
    # A page that answers hands nothing on to who doesn't find the host's name.
    two = [fault("configuration of nginx", "differs"), fault("from here to catmaid.example.org", "no address")]
    assert [one.so for one in causes.folded(two, NEEDS, {"page of catmaid"})] == [(), ()]
    assert [one.so for one in causes.folded(two, NEEDS)] == [("from here to catmaid.example.org",)]
    # A certificate that no run takes: nginx goes on with another one, which is well by itself.
    key, here = "site[catmaid.example.org].tls.key", "from here to catmaid.example.org"
    own = [fault(key, "of another"), fault(here, "browsers don't trust its certificate")]
    assert [one.so for one in causes.folded(own, NEEDS, {"TLS of catmaid.example.org"})] == [(here,)]
    # A warning neither causes a fault nor follows from one.
    found = causes.folded([warning("nginx", "no brotli"), fault("page of catmaid", "502")], NEEDS)
    assert [(one.level, one.so) for one in found] == [("fault", ()), ("warning", ())]


def test_the_graph_has_no_circle_and_names_all_that_is_asked() -> None:
    for place in NEEDS:
        assert causes.cause(place, {place}, NEEDS) == place
    asked = {f"{page.kind} of {page.whose}" for page in pages_of_site.pages(schema.load(SITE))}
    assert asked <= set(NEEDS)


# ---- programs that end ----


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        ([], False),
        ([90, 95], False),
        ([85, 90, 95], True),
        # It has run for long enough since.
        ([50, 55, 60], False),
        # One every five minutes is expected to end again.
        ([-800, -500, -200], True),
        ([-2000, -1700, -1400], False),
    ],
)
def test_a_program_restarts_all_the_time_until_it_has_run_well(times: list[float], fault: bool) -> None:
    assert programs.restarts(times, 100) == fault


def test_ends_before_a_program_was_started_by_somebody_don_t_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code: dict[str, Any] = {}
    exec(facts.Health.script.removesuffix("\nanswer(health)\n"), code)  # noqa: S102
    log = tmp_path / "supervisord.log"
    read = code["ROOT"].read
    monkeypatch.setattr(
        code["ROOT"], "read", lambda path, **how: log.read_text() if path.endswith(".log") else read(path, **how)
    )
    now = time.strftime("%Y-%m-%d %H:%M:%S,000", time.localtime())
    end = f"{now} INFO exited: catmaid-wsgi-a (exit status 1; not expected)\n"
    stops = ["stopped: catmaid-wsgi-a (exit status 0)", "gave up: catmaid-wsgi-a entered FATAL state, too many start"]
    for stop in stops:
        log.write_text(f"{3 * end}{now} INFO {stop}\n{end}{now} INFO stopped: catmaid-wsgi-b (exit status 0)\n")
        assert [len(times) for times in code["ends"]().values()] == [1]


# ---- programs that have just begun ----


@pytest.mark.parametrize(
    ("fault", "age", "so"),
    [
        (("page of catmaid", "/ answers 502: nginx doesn't reach the program behind it"), 5, ["wsgi of catmaid"]),
        (("page of catmaid", "https://x/ answers nothing: no answer within 10 s"), 5, ["wsgi of catmaid"]),
        (("WebSocket of catmaid", "/channels/updates/ answers 502: x"), 5, ["daphne of catmaid"]),
        (("task of catmaid", "no worker takes it within 15 s"), 5, ["celery of catmaid"]),
        # It has had its time, it answers, or there is another reason.
        (("page of catmaid", "/ answers 502: nginx doesn't reach the program behind it"), 500, []),
        (("page of catmaid", "/ answers 404: the application has no such page"), 5, []),
        (("page of catmaid-closed", "/closed/ answers 502: x"), 5, []),
        (("nginx", "it doesn't run"), 5, []),
    ],
)
def test_what_has_just_begun_is_waited_for(fault: tuple[str, str], age: float, so: list[str]) -> None:
    names = [f"catmaid:catmaid-{short}-a" for short in ("wsgi", "daphne", "celery")]
    supervisor: dict[str, dict[str, Any]] = {name: {"state": "RUNNING", "digest": "x"} for name in names}
    one = of({"ages": dict.fromkeys(names, age)}, supervisor=supervisor, files={})
    one.fault(*fault, "")
    if fault[0] == "nginx":
        one.fault("page of catmaid", "/ answers nothing: nginx doesn't answer", "")
    assert health.begun(TASKS, one) == so
    supervisor[names[1]] = {"state": "RUNNING", "digest": None}
    assert ("daphne of catmaid" in health.begun(TASKS, one)) == (age == 5)


# ---- what is the deploy's own ----


def test_nothing_of_the_deploy_s_own_is_to_be_killed() -> None:
    stranger = {"process": 77, "kind": "worker", "virtualenv": "/env", "unit": None}
    one = of({"strangers": [stranger]}, supervisor=None)
    programs._strangers(one)
    assert one.findings == []
    for known, unit, command in (
        ({}, None, "kill -- -77"),
        ({}, "old-celery.service", "systemctl disable --now old-celery.service"),
        ({"old:worker": {"pid": 77}}, None, "supervisorctl stop old:worker"),
    ):
        one = of({"strangers": [stranger | {"unit": unit}]}, supervisor=known)
        programs._strangers(one)
        assert [finding.fix for finding in one.findings] == [Command(command)]


def test_a_worker_that_was_told_to_end_is_named_when_it_should_have(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    exec(facts.Health.script.removesuffix("\nanswer(health)\n"), found)  # noqa: S102
    ending = tmp_path / "celery-a/ending"
    ending.mkdir(parents=True)
    (tmp_path / "celery-b").mkdir()
    (tmp_path / "celery-b/started").write_text("7 1 a b c")
    for group, ago in ((8, 30), (9, 700)):
        (ending / str(group)).write_text(f"{group} 1")
        os.utime(ending / str(group), (time.time() - ago,) * 2)
    at = SimpleNamespace(
        read=lambda path, most: Path(path).read_text() if Path(path).exists() else "",
        names=lambda path, most: os.listdir(path) if Path(path).is_dir() else [],
        status=os.stat,
    )
    # As its child answers.
    told = SimpleNamespace(
        value=json.loads(
            json.dumps(found["noted"](at, {"runtime_dir": str(tmp_path), "places": ["celery-a", "celery-b"]}))
        )
    )
    instance = {"name": "catmaid", "user": "tracer", "stop_seconds": 600}

    def late(group: int) -> Any:
        return found["is_late"](group, [(instance, told)])

    assert (late(6), late(7), late(8), late(9)) == (None, "", "", instance)
    stranger = {"process": 9, "kind": "worker", "virtualenv": "/env", "unit": None, "late": "catmaid", "user": "tracer"}
    one = of({"strangers": [stranger]}, supervisor={})
    programs._strangers(one)
    (finding,) = one.findings
    assert (finding.place, finding.fix) == ("celery of catmaid", Command("pkill -KILL -U tracer -g 9"))


def test_a_supervisor_that_asks_for_a_password_is_one_fault() -> None:
    units = {name: {"active": True} for name in ("supervisor.service", "nginx.service")}
    survey: dict[str, Any] = {
        "supervisor": None,
        "asks_password": True,
        "units": units,
        "files": {},
        "manifest": {"programs of catmaid": {}},
    }
    survey |= {"supervisor_file": {"problem": None, "patterns": []}, "instances": {}}
    survey["asked"] = {"blocked": [], "standing": [], "wrong": []}
    one = of({"strangers": []}, **survey)
    programs.health(one)
    one.findings += asking.judge(one.survey)
    assert [finding.place for finding in one.findings] == ["supervisor"]


def test_a_supervisor_whose_own_file_is_gone_is_a_fault_with_its_fix() -> None:
    deployed: dict[str, Any] = {"manifest": {"programs of catmaid": {}}, "instances": {}, "files": {}}
    units = {"supervisor.service": {"active": True}}
    asked: dict[str, Any] = {"blocked": [], "standing": [], "wrong": []}
    one = of({"strangers": []}, supervisor=None, supervisor_file=None, units=units, asked=asked, **deployed)
    programs.health(one)
    (finding,) = one.findings
    assert (finding.place, finding.what) == ("supervisor", "it runs, and gives no answer")
    assert finding.fix == "put /etc/supervisor/supervisord.conf back, and restart it"


def test_a_group_that_supervisor_does_not_have_is_one_fault() -> None:
    one = of(supervisor={}, files={})
    programs._programs(one, one.deployment.instances[0])
    assert [finding.place for finding in one.findings] == ["programs of catmaid"]


@pytest.mark.parametrize(
    ("file", "place"),
    [
        # Of these a deploy is the fix, and its difference has the line.
        ("/etc/nginx/nginx.conf", f"nginx{causes.FILES}"),
        ("/etc/nginx/sites-enabled/default", f"nginx{causes.FILES}"),
        ("/etc/nginx/conf.d/theirs.conf", "nginx's file /etc/nginx/conf.d/theirs.conf"),
    ],
)
def test_a_file_that_nginx_refuses_is_whose_it_is(file: str, place: str) -> None:
    words = f"it would not start with its files as they are: [emerg] a duplicate default server in {file}:22"
    survey = answers.survey(
        manifest={"nginx": {"/etc/nginx/nginx.conf": ""}},
        default_servers=[["/etc/nginx/sites-enabled/default", "80"]],
        asked={"standing": [], "wrong": [ON_HOST["fault"](f"nginx{causes.FILES}", words)]},
    )
    assert [finding.place for finding in asking.findings(survey)] == [place]


def test_own_locations_that_nginx_refuses_stop_a_run_before_it_begins() -> None:
    file = "/etc/nginx/catmaid-locations/a.org/own.conf"
    words = f'it would not start with its files as they are: [emerg] duplicate location "/catmaid/" in {file}:3'
    wrong = [ON_HOST["fault"](f"nginx{causes.FILES}", words)]
    survey: dict[str, Any] = {"manifest": {}, "default_servers": [], "asks_password": True, "instances": {}}
    survey |= {"asked": {"blocked": [], "standing": [], "wrong": wrong}}
    survey |= {"supervisor_file": {"problem": None, "patterns": []}}
    (finding,) = [found for found in asking.judge(answers.survey(**survey)) if found.place.startswith("nginx")]
    assert finding.line() == f"nginx's file {file}: {words}: correct it, or move it away"
