"""What a host asks itself: by the script as it runs there, on files and answers of a test's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import schema
from facts.survey import Health, Survey, Verify
from tasks import asking, plan, preflight

ON_HOST: dict[str, Any] = {}
exec(Survey.script.removesuffix("\nanswer(survey)\n"), ON_HOST)  # noqa: S102


@pytest.mark.parametrize(
    ("word", "where"),
    [
        ("443", ("", 443)),
        ("*:8080", ("", 8080)),
        ("0.0.0.0:80", ("", 80)),
        ("[::]:443", ("", 443)),
        ("127.0.0.1", ("127.0.0.1", 80)),
        ("192.0.2.7:443", ("192.0.2.7", 443)),
        ("[2001:db8::7]:443", ("[2001:db8::7]", 443)),
        ("localhost:8000", ("localhost", 8000)),
    ],
)
def test_where_a_server_listens(word: str, where: tuple[str, int]) -> None:
    assert ON_HOST["_address"](word) == where


def test_the_servers_of_a_file() -> None:
    text = """
        # server { listen 1; server_name comment; }
        upstream a { server 127.0.0.1:9; }
        server { server_name "quoted.test" .dot.test
            more.test; location ~ "^/\\d{3}/(a|b);" { return 200 "server { listen 2; }"; listen 3; } }
        http { server { listen 443 ssl; listen [::]:443; if ($host = "x") { return 301 https://$host; } } }
        server{listen 8080;server_name _;}
    """
    assert list(ON_HOST["_servers"](text)) == [
        ([("", 80)], ["quoted.test", ".dot.test", "more.test"]),
        ([("", 443), ("", 443)], []),
        ([("", 8080)], ["_"]),
    ]


SITES = [{"names": ["a.test", "b.test"], "file": "catmaid-a.test.conf", "ports": [443]}]


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("conf.d/x.conf", "listen 443; server_name b.test;", ["answers for b.test in the place of its site"]),
        ("conf.d/x.conf", "listen 443; server_name .b.test;", ["answers for b.test in the place of its site"]),
        ("conf.d/x.conf", "listen 443; server_name *.b.test c.test;", []),
        # What sends to HTTPS is welcome.
        ("conf.d/x.conf", "listen 80; server_name b.test;", []),
        ("conf.d/x.off", "listen 443; server_name b.test;", []),
        ("sites-enabled/.x", "listen 443; server_name b.test;", []),
        ("sites-enabled/a", "listen 443; server_name b.test;", ["answers for b.test in the place of its site"]),
        # nginx has the site by then.
        ("sites-enabled/old", "listen 443; server_name b.test;", []),
        ("conf.d/x.conf", "listen 127.0.0.1:443;", ["listens on 127.0.0.1:443, where nginx then asks no other site"]),
        ("conf.d/x.conf", "listen 127.0.0.1:8080; server_name b.test;", []),
        ("conf.d/x.conf", "listen 192.0.2.7:443;", ["listens on 192.0.2.7:443, where nginx then asks no other site"]),
        # Others reach the host by its other address.
        ("conf.d/x.conf", "listen 192.0.2.8:443;", []),
    ],
)
def test_a_server_that_takes_a_sites_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, text: str, words: list[str]
) -> None:
    for folder in ("conf.d", "sites-enabled"):
        (tmp_path / folder).mkdir()
    (tmp_path / path).write_text(f"server {{ {text} }}")
    (tmp_path / "conf.d/catmaid.conf").write_text(
        "# Made by catmaid-deploy\nserver { listen 443; server_name a.test; }"
    )
    folders = [(str(tmp_path / folder.rpartition("/")[2]), end) for folder, end in ON_HOST["SITES"]]
    own = {"192.0.2.7"} if "192.0.2.7" in text else {"192.0.2.7", "192.0.2.8"}
    monkeypatch.setitem(ON_HOST, "SITES", folders)
    monkeypatch.setitem(ON_HOST, "_own_addresses", lambda: own)
    monkeypatch.setattr(ON_HOST["ROOT"], "names", lambda path: [one.name for one in Path(path).iterdir()])
    monkeypatch.setattr(ON_HOST["ROOT"], "read", lambda path: Path(path).read_text())
    monkeypatch.setitem(ON_HOST, "ENABLED", f"{tmp_path}/sites-enabled")
    assert [one["what"] for one in ON_HOST["_rivals"](SITES)] == words


def test_this_hosts_own_addresses_are_none_of_the_loopbacks() -> None:
    found = ON_HOST["_own_addresses"]()
    assert found
    assert not any(address.startswith("127.") for address in found)


SUPERVISORD = "/usr/bin/supervisord"
EXEC = "ExecStart={ path=%s ; argv[]=%s ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; status=0/0 }"


@pytest.mark.parametrize(
    ("unit", "path", "words", "well"),
    [
        ("nginx.service", "/usr/sbin/nginx", "/usr/sbin/nginx -g daemon on; master_process on;", True),
        ("nginx.service", "/usr/sbin/nginx", "/usr/sbin/nginx -c /etc/nginx/nginx.conf", True),
        ("nginx.service", "/usr/sbin/nginx", "/usr/sbin/nginx -c /etc/nginx/lab.conf", False),
        ("nginx.service", "/bin/true", "/bin/true", False),
        ("supervisor.service", SUPERVISORD, f"{SUPERVISORD} -n -c /etc/supervisor/supervisord.conf", True),
        ("supervisor.service", SUPERVISORD, f"{SUPERVISORD} -n -c /root/mine.conf", False),
    ],
)
def test_a_unit_that_starts_something_else(unit: str, path: str, words: str, well: bool) -> None:
    shown = (
        f"Id={unit}\nActiveState=active\nUnitFileState=enabled\n{EXEC % (path, words)}\nFragmentPath=\nDropInPaths=\n"
    )
    state = ON_HOST["units"](shown)[unit]
    assert state["active"]
    assert state["enabled"]
    assert (ON_HOST["_other_command"](unit, state) is None) == well


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("server { ssl_certificate /x/a.pem; ssl_certificate_key /x/a.key; }", ["/x/a.pem", "/x/a.key"]),
        ("  include /srv/lab/*.conf;\n  # ssl_certificate /no;\n include relative;", ["/srv/lab/*.conf"]),
        ('ssl_trusted_certificate "/x/chain.pem";', ["/x/chain.pem"]),
        ("ssl_session_timeout 1d; set $a /x;", []),
    ],
)
def test_files_that_nginx_s_files_name(text: str, named: list[str]) -> None:
    assert ON_HOST["NAMED_FILES"].findall(text) == named


def test_a_pattern_stands_for_what_is_there_and_may_come() -> None:
    assert ON_HOST["_matching"]("/x/a.conf") == ["/x/a.conf"]
    assert ON_HOST["_matching"]("/etc/host[s]") == ["/etc", "/etc/hosts"]


@pytest.mark.parametrize(("workers", "since"), [(0, None), (1, None), (2, 5)])
def test_of_a_single_worker_the_age_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, workers: int, since: int | None
) -> None:
    table = {1: ("nginx", "S", 0, 1, 1), **{10 + n: ("nginx", "S", 1, 1, 5 + n) for n in range(workers)}}
    monkeypatch.setitem(ON_HOST, "_main", lambda *_: 1)
    monkeypatch.setitem(ON_HOST, "_since", lambda ticks: ticks)
    assert ON_HOST["_begun"](table, "nginx.service", True) == since
    assert ON_HOST["_begun"](table, "supervisor.service", False) == 1


def test_a_masked_unit_is_told_from_one_that_is_off() -> None:
    shown = (
        "Id=a.service\nUnitFileState=masked-runtime\n\nId=b.service\nUnitFileState=disabled\nActiveState=reloading\n"
    )
    states = ON_HOST["units"](shown)
    assert [states[unit]["masked"] for unit in ("a.service", "b.service")] == ["masked-runtime", ""]
    assert ON_HOST["_unmask"]("a.service", states) == "systemctl unmask --runtime a.service"
    assert states["b.service"]["active"]


def test_what_a_deploy_leaves_as_it_is_and_what_it_changes() -> None:
    said = ON_HOST["fault"]
    refused = "it would not start with its files as they are: "
    survey: dict[str, Any] = {
        "manifest": {"nginx": {"/etc/nginx/conf.d/catmaid.conf": ""}},
        "default_servers": [],
        "asked": {
            "standing": [said("boot", "caddy.service starts at boot", "systemctl disable caddy.service")],
            "wrong": [
                said("nginx", "it doesn't run: users reach nothing", "systemctl start nginx"),
                said("nginx's files", f"{refused}x in /etc/nginx/conf.d/catmaid.conf:1"),
                said("nginx's files", f"{refused}x in /etc/nginx/conf.d/theirs.conf:1"),
                said("supervisor's files", f"{refused}x"),
            ],
        },
    }
    assert len(asking.findings(survey)) == 5
    assert [one.place for one in asking.standing(survey)] == ["boot", "nginx's file /etc/nginx/conf.d/theirs.conf"]


@pytest.mark.parametrize("fact", [Survey, Health, Verify])
def test_the_look_at_a_host_with_many_instances_is_one_argument(fact: type[Survey]) -> None:
    """Linux takes 128 KiB, of which sudo's shell needs some for its own quotes."""
    many = [{"name": f"catmaid-{n}", "prefix": f"/lab/{n}", "checkout": f"/srv/catmaid/{n}"} for n in range(40)]
    deployment = schema.load({"server_name": "a.org", "instances": many})
    question = preflight.question(deployment, plan.wanted_sets(deployment))
    assert len(fact().command(json.dumps(question)).get_raw_value()) < 100 << 10


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("beat.py", 'open(RUN + "/alive", "w")', True),
        # A rollback may lead to files of a version that knew of no such sign.
        ("beat.py", "import celery", False),
        ("beat.py", "", True),
    ],
)
def test_whether_a_program_gives_signs_of_life(
    monkeypatch: pytest.MonkeyPatch, file: str, text: str, expected: bool
) -> None:
    files = {"/etc/catmaid/catmaid/celery-beat-b/beat.py": text}
    monkeypatch.setattr(ON_HOST["ROOT"], "read", lambda path: files[path])
    program = {"pointer": "/etc/catmaid/catmaid/celery-beat", "sign": file}
    assert ON_HOST["_gives_signs"](program, "celery-beat-b") == expected


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ({"active": True, "ending": False}, []),
        ({"active": False, "ending": True}, ["it is ending, and waits for what is still in hand"]),
        ({"active": False, "ending": False}, ["it runs, and systemd has not started it (process 7)"]),
    ],
)
def test_a_service_that_systemd_is_ending(state: dict[str, bool], what: list[str]) -> None:
    seen = {"main": {"supervisor.service": 7}, "stopped": {}, "rivals": []}
    found = ON_HOST["_blocked"]({"units": ["supervisor.service"]}, seen, {"supervisor.service": state})
    assert [one["what"] for one in found] == what
