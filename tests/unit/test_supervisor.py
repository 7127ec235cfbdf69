"""What is started and restarted, decided from what runs."""

from __future__ import annotations

from typing import Any

from tasks.supervisor import decide

WANTED = {"catmaid-uwsgi": "d1", "catmaid-celery": "d2"}


def program(state: str = "RUNNING", digest: str | None = "d2", group: str | None = "g", **more: Any) -> dict[str, Any]:
    return {"state": state, "pid": 11, "digest": digest, "group_digest": group, "replaced": False} | more


def found(**changes: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    programs = {"uwsgi": program(digest="d1"), "celery": program(), **changes}
    return {f"catmaid:catmaid-{name}": one for name, one in programs.items() if one}


def calls(found: dict[str, dict[str, Any]] | None, group_digest: str = "g", **more: Any) -> list[tuple[str, str]]:
    return [(call, name) for call, name, why in decide("catmaid", WANTED, group_digest, found, **more) if why]


UPDATE = ("update", "catmaid")


def test_nothing_to_do() -> None:
    assert calls(found()) == []


def test_a_bare_host() -> None:
    assert calls({}) == [UPDATE]
    assert calls(None) == [UPDATE]


def test_only_the_stale_program_is_restarted() -> None:
    assert calls(found(celery=program(digest="old"))) == [("restart", "catmaid-celery")]


def test_a_process_without_a_record_is_stale() -> None:
    assert calls(found(celery=program(digest=None, group=None))) == [("restart", "catmaid-celery")]


def test_a_stopped_program_is_started() -> None:
    for state in ("STOPPED", "FATAL", "EXITED", "BACKOFF"):
        assert calls(found(celery=program(state))) == [("start", "catmaid-celery")]


def test_a_changed_group_file_updates_the_group() -> None:
    assert calls(found(), "g2") == [UPDATE]


def test_a_program_that_supervisor_does_not_know_updates_the_group() -> None:
    assert calls(found(celery=None)) == [UPDATE]


def test_a_program_that_left_the_file_updates_the_group() -> None:
    assert calls(found(old=program())) == [UPDATE]


def test_another_release_of_uwsgi_restarts_it() -> None:
    assert calls(found(), replaced=True) == [("restart", "catmaid-uwsgi")]
    assert calls(found(celery=program(replaced=True))) == [("restart", "catmaid-celery")]


def test_other_groups_do_not_count() -> None:
    others = {"catmaid-b:catmaid-b-uwsgi": program("FATAL"), "printer": program()}
    assert calls(found() | others) == []
