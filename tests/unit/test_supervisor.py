"""What is started and restarted, decided from what runs."""

from __future__ import annotations

from typing import Any

from catmaid_deploy import schema
from catmaid_deploy.file_sets import Change, ConfigurationSet, File
from catmaid_deploy.tasks.programs.slots import Program
from catmaid_deploy.tasks.programs.supervisor import decide, judge_memory
from tests import answers

FILES = {short: (File(f"/etc/catmaid/catmaid/{short}/run.sh", short),) for short in ("wsgi", "celery", "celery-beat")}
INSTANCE = schema.load({"server_name": "a.test", "instances": [{}]}).instances[0]
MEMBERS = [
    Program(INSTANCE, "wsgi", "INT", 60, FILES["wsgi"]),
    Program(INSTANCE, "celery", "TERM", 600, FILES["celery"]),
    Program(INSTANCE, "celery-beat", "TERM", 20, FILES["celery-beat"]),
]
DIGESTS = {member.short: member.digest for member in MEMBERS}
PLACES = {"wsgi": "wsgi-b", "celery": "celery-a", "celery-beat": "celery-beat-a"}


def program(state: str = "RUNNING", digest: str | None = DIGESTS["celery"], **more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "pid": 11,
        "digest": digest,
        "group_digest": "g",
        "code": "c",
        "replaced": False,
        "config": {},
    }
    return known | {"state": state} | more


def found(**changes: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    programs = {
        "wsgi-a": program("EXITED", None),
        "wsgi-b": program(digest=DIGESTS["wsgi"]),
        "celery-a": program(),
        "celery-b": program("STOPPED", None),
        "celery-beat-a": program(digest=DIGESTS["celery-beat"]),
        "celery-beat-b": program("EXITED", None),
    } | {name.replace("_", "-"): one for name, one in changes.items()}
    return {f"catmaid:catmaid-{name}": one for name, one in programs.items() if one}


def calls(found: dict[str, dict[str, Any]] | None, group_digest: str = "g", code: str = "c", **more: Any) -> Any:
    known = answers.survey(supervisor=found)["supervisor"]
    every = decide("catmaid", MEMBERS, PLACES, group_digest, code, known, **more)
    return [(call, name) for call, name, why in every if why]


UPDATE = ("update", "catmaid")


def test_nothing_to_do() -> None:
    assert calls(found()) == []


def test_a_bare_host() -> None:
    assert calls({}) == [UPDATE]
    assert calls(None) == [UPDATE]


def test_only_the_stale_program_is_handed_over() -> None:
    assert calls(found(celery_a=program(digest="old"))) == [("hand over", "celery")]


def test_where_two_have_no_room_it_is_restarted() -> None:
    stale = found(wsgi_b=program(digest="old"), celery_a=program(digest="old"))
    assert calls(stale, update="restart") == [("restart", "wsgi"), ("hand over", "celery")]
    assert calls(stale, update="chain") == [("restart", "wsgi"), ("hand over", "celery")]
    assert calls(found(), code="newer", update="chain")[0] == ("chain", "wsgi")


def test_the_slot_in_use_counts() -> None:
    """wsgi runs in b: what is in a is a program that was replaced, and has its last requests."""
    assert calls(found(wsgi_a=program(digest="old", code="old"))) == []


def test_other_code_is_taken_by_all() -> None:
    assert calls(found(), code="newer") == [
        ("hand over", "wsgi"),
        ("hand over", "celery"),
        ("hand over", "celery-beat"),
    ]


def test_a_process_without_a_record_is_stale() -> None:
    assert calls(found(celery_a=program(digest=None, group_digest=None))) == [("hand over", "celery")]


def test_a_stopped_program_is_started() -> None:
    for state in ("STOPPED", "FATAL", "EXITED", "BACKOFF"):
        assert calls(found(celery_a=program(state))) == [("start", "celery")]


def test_a_changed_group_file_updates_the_group() -> None:
    assert calls(found(), "g2") == [UPDATE]


def test_a_program_that_supervisor_does_not_know_updates_the_group() -> None:
    assert calls(found(celery_a=None)) == [UPDATE]


def test_a_program_that_left_the_file_updates_the_group() -> None:
    assert calls(found(old=program())) == [UPDATE]


def test_another_release_of_uwsgi_takes_over() -> None:
    assert calls(found(), replaced=["uwsgi"], server=["uwsgi"]) == [("hand over", "wsgi")]
    # That of another instance with the same virtualenv.
    assert calls(found(), replaced=["gunicorn"], server=["uwsgi"]) == []
    assert calls(found(celery_a=program(replaced=True))) == [("hand over", "celery")]


def test_other_groups_do_not_count() -> None:
    others = {"catmaid-b:catmaid-b-uwsgi": program("FATAL"), "printer": program()}
    assert calls(found() | others) == []


def test_two_releases_have_to_fit_into_the_memory() -> None:
    (instance,) = schema.load({"server_name": "a.org", "instances": [{}]}).instances
    running = {"memory": 3 << 30, "processes": instance.workers + 1}
    programs = {"catmaid:catmaid-wsgi-a": running}
    survey = answers.survey(files={}, supervisor=programs, memory_available=3 << 30, memory_elsewhere=0)
    service = {"calls": [("hand over", "wsgi")]}
    change = Change(ConfigurationSet("programs of catmaid", service=service), ())
    judged = judge_memory(instance, change, survey)
    assert judged
    assert judged.line() == (
        "update: two releases at once need 3072 MiB more, and 3072 MiB are free: lower workers, or use 'chain' or "
        "'restart' for this update"
    )
    assert judge_memory(instance, change, {**survey, "memory_available": 4 << 30}) is None
    # Swap, and what ZFS has of it.
    assert judge_memory(instance, change, {**survey, "memory_elsewhere": 1 << 30}) is None
    # A worker as large as those that run, as often as it is asked for now.
    running["processes"] = instance.workers // 2 + 1
    judged = judge_memory(instance, change, survey)
    assert judged
    assert "two releases at once need 6144 MiB more" in judged.line()
    running["processes"] = instance.workers + 1
    alone = Change(ConfigurationSet("programs of catmaid", service={"calls": [("chain", "wsgi")]}), ())
    assert judge_memory(instance, alone, survey) is None
