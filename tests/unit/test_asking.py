"""What a host asks itself: by the script as it runs there, on files and answers of a test's own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.facts.survey import Health, Survey, Verify
from catmaid_deploy.run import preflight
from catmaid_deploy.tasks import last_word as asking
from testbed.order import TASKS
from tests import answers

ON_HOST: dict[str, Any] = {}
exec(Survey.script.removesuffix("\nanswer(survey)\n"), ON_HOST)  # noqa: S102


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


def test_whose_drop_in_has_another_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what sets it: the deploy's own file has a key that begins with the same word."""
    own, theirs = "/etc/systemd/system/nginx.service.d/catmaid.conf", "/etc/systemd/system/nginx.service.d/zz.conf"
    files = {own: "[Service]\nExecStartPre=-/bin/sh x\n", theirs: "[Service]\n ExecStart =\nExecStart=/bin/true\n"}
    monkeypatch.setattr(ON_HOST["ROOT"], "read", lambda path: files[path])
    state = {"command": EXEC % ("/bin/true", "/bin/true"), "files": ["/lib/systemd/system/nginx.service", own, theirs]}
    said = ON_HOST["_other_command"]("nginx.service", state)
    assert said == f"nginx.service starts another command than its own, by {theirs}: /bin/true"


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
    survey = answers.survey(
        manifest={"nginx": {"/etc/nginx/conf.d/catmaid.conf": ""}},
        default_servers=[],
        asked={
            "standing": [said("boot", "caddy.service starts at boot", "systemctl disable caddy.service")],
            "wrong": [
                said("nginx", "it doesn't run: users reach nothing", "systemctl start nginx"),
                said("nginx's files", f"{refused}x in /etc/nginx/conf.d/catmaid.conf:1"),
                said("nginx's files", f"{refused}x in /etc/nginx/conf.d/theirs.conf:1"),
                said("supervisor's files", f"{refused}x"),
            ],
        },
    )
    assert len(asking.findings(survey)) == 5
    assert [one.place for one in asking.standing(survey)] == ["boot", "nginx's file /etc/nginx/conf.d/theirs.conf"]


@pytest.mark.parametrize("fact", [Survey, Health, Verify])
def test_the_look_at_a_host_with_many_instances_is_small(fact: type[Survey]) -> None:
    """It travels with each look, on standard input: on a slow line of 10 Mbit/s a tenth of a second."""
    many = [{"name": f"catmaid-{n}", "prefix": f"/lab/{n}", "checkout": f"/srv/catmaid/{n}"} for n in range(40)]
    deployment = schema.load({"server_name": "a.org", "instances": many})
    question = preflight.question(TASKS, deployment, preflight.wanted_sets(TASKS, deployment))
    assert len(fact().command(json.dumps(question)).get_raw_value()) < 120 << 10


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


@pytest.mark.parametrize(
    ("digest", "age", "word"), [(None, 1, "starting"), (None, 30, "well"), ("a1", 1, "well"), ("", 1, "well")]
)
def test_a_program_that_has_noted_nothing_yet_has_just_begun(digest: str | None, age: int, word: str) -> None:
    """As in the seconds after a restart of Supervisor; later a note that isn't there is somebody's work."""
    info = {"state": "RUNNING", "pid": 7} | ({"digest": digest} if digest != "" else {})
    seen = {"stopped": [], "ages": {"7": age}}
    assert ON_HOST["_word"]({"sign": None, "seconds": 120}, info, seen, None, "/none") == word
