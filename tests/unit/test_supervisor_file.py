"""What a deploy reads in Supervisor's own file, and what it can't live with there."""

from __future__ import annotations

import base64
import importlib
from typing import Any

import pytest

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.tasks.programs import supervisor_file
from tests import answers

on_host: Any = importlib.import_module("catmaid_deploy.on_host.facts.supervisor")

DEBIAN = """
; supervisor config file
[unix_http_server]
file=/var/run/supervisor.sock   ; (the path to the socket file)
chmod=0700                       ; sockef file mode (default 0700)

[supervisord]
logfile=/var/log/supervisor/supervisord.log ; (main log file;default $CWD/supervisord.log)
pidfile=/var/run/supervisord.pid ; (supervisord pidfile;default supervisord.pid)

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix:///var/run/supervisor.sock ; use a unix:// URL  for a unix socket

[include]
files = /etc/supervisor/conf.d/*.conf
"""
SERVER = "[unix_http_server]\n"


def read(text: str, **environment: str) -> Any:
    return on_host.SupervisorsOwn(text, environment)


def login(own: Any) -> str:
    return base64.b64decode(own.authorization.removeprefix("Basic ")).decode()


def test_debian_s_own_file() -> None:
    own = read(DEBIAN)
    assert (own.socket, own.authorization, own.problem) == ("/var/run/supervisor.sock", None, None)
    assert own.pid_file == "/var/run/supervisord.pid"
    assert own.patterns == ["/etc/supervisor/conf.d/*.conf"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("username = a\npassword = b ; secret\n", "a:b"),
        ("username=lab\npassword=p%%q: #x\n", "lab:p%q:"),
        ("username=lab\npassword=%(ENV_WORD)s\n", "lab:from systemd"),
        ("password=  späť  \nusername=lab\n", "lab:späť"),
    ],
)
def test_the_password_of_its_socket(lines: str, expected: str) -> None:
    assert login(read(DEBIAN.replace(SERVER, SERVER + lines), WORD="from systemd")) == expected


def test_a_password_s_hash_alone() -> None:
    """Supervisor takes one; who asks it needs the password, and so does supervisorctl."""
    hashed = "{SHA}" + "e9d71f5ee7c92d6dc9e92ffdad17b8bd49418f98"
    text = DEBIAN.replace(SERVER, f"{SERVER}username=a\npassword={hashed}\n")
    assert read(text).problem[0] == "it has a password's hash alone, and root needs the password"
    assert login(read(text.replace("[supervisorctl]", "[supervisorctl]\nusername=a\npassword=b"))) == "a:b"
    assert read(text.replace("[supervisorctl]", "[supervisorctl]\nusername=a\npassword=c")).problem


@pytest.mark.parametrize(
    ("files", "patterns"),
    [
        ("conf.d/*.ini", ["/etc/supervisor/conf.d/*.ini"]),
        ("%(here)s/conf.d/*.conf", ["/etc/supervisor/conf.d/*.conf"]),
        ("conf.d/*.conf\n  /srv/*/x.conf ; theirs", ["/etc/supervisor/conf.d/*.conf", "/srv/*/x.conf"]),
        ("../supervisor/./conf.d/*.conf", ["/etc/supervisor/conf.d/*.conf"]),
    ],
)
def test_what_it_includes(files: str, patterns: list[str]) -> None:
    own = read(DEBIAN.replace("/etc/supervisor/conf.d/*.conf", files))
    assert (own.patterns, own.problem) == (patterns, None)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("[unix_http_server]\nfile=/var/run/supervisor.sock", "[inet_http_server]\nport=9001"), "by TCP alone, where"),
        (("[unix_http_server]", "[other]"), "it has no socket"),
        (("[rpcinterface:supervisor]", "[other]"), "it has no [rpcinterface:supervisor]"),
        (("[supervisord]", "[supervisord]\nuser = www-data"), "it runs as www-data, and can't start programs of oth"),
        (("file=/var/run/supervisor.sock", "file=%(ENV_NOT_THERE)s/s.sock"), "that only Supervisor could replace"),
    ],
)
def test_what_a_deploy_cannot_live_with(change: tuple[str, str], problem: str) -> None:
    own = read(DEBIAN.replace(*change))
    assert problem in own.problem[0]
    assert own.problem[1]


@pytest.mark.parametrize(
    ("change", "is_controlled"),
    [
        (("", ""), True),
        (("unix:///var/run/supervisor.sock", "unix:///run/supervisor.sock"), True),
        (("unix:///var/run/supervisor.sock", "unix:///run/other.sock"), False),
        ((SERVER, f"{SERVER}username=a\npassword=b\n"), False),
        (("[supervisorctl]", "[other]"), False),
    ],
)
def test_whether_supervisorctl_finds_it(change: tuple[str, str], is_controlled: bool) -> None:
    own = read(DEBIAN.replace(*change) if change[0] else DEBIAN)
    assert (own.is_controlled, own.problem) == (is_controlled, None)


def test_a_line_that_is_broken_is_not_shown() -> None:
    own = read(DEBIAN.replace(SERVER, f"{SERVER}password hunter2\n"))
    assert own.problem
    assert "hunter2" not in own.problem[0]


def survey(**more: Any) -> Survey:
    file = {"problem": None, "patterns": ["/etc/supervisor/conf.d/*.conf"], "is_newer": False, "socket": "/run/x.sock"}
    return answers.survey(
        supervisor_file=file | {name: value for name, value in more.items() if name in file},
        instances={"catmaid": {}, "catmaid-fafb": {}},
        supervisor=more.get("supervisor", {}),
        asks_password=more.get("asks_password", False),
    )


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"asks_password": True}, "it runs with another username or password than"),
        ({"supervisor": None, "is_newer": True}, "it began before"),
        (
            {"patterns": []},
            "it reads no other files, and so no program of catmaid, catmaid-fafb: say files = /et",
        ),
        (
            {"patterns": ["/etc/supervisor/conf.d/catmaid.conf"]},
            "and so no program of catmaid-fafb: say files = /etc",
        ),
        ({"patterns": ["/etc/supervisor/*.conf"]}, "it reads /etc/supervisor/*.conf, and so no program of catmaid, ca"),
        ({"problem": ["it has no socket", "say so"]}, "by /etc/supervisor/supervisord.conf it has no socket: say so"),
    ],
)
def test_one_line_each(more: dict[str, Any], line: str) -> None:
    (finding,) = supervisor_file.judge(survey(**more))
    assert line in finding.line()


def test_what_is_served() -> None:
    assert list(supervisor_file.judge(survey())) == []
    assert list(supervisor_file.judge(survey(supervisor=None))) == []
    assert list(supervisor_file.judge(survey(patterns=["/etc/supervisor/*/catmaid*.conf"]))) == []
    assert list(supervisor_file.judge({**survey(), "supervisor_file": None})) == []
