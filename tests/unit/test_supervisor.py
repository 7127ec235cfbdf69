"""What is restarted, decided from what runs."""

from facts.supervisor import Program, SupervisorPrograms
from operations.supervisor import decide

WANTED = {"catmaid-uwsgi": "d1", "catmaid-celery": "d2"}
UPDATE = [["reread"], ["update", "catmaid"], ["start", "catmaid:*"]]


def found(**changes: Program | None) -> dict[str, Program]:
    programs: dict[str, Program | None] = {
        "uwsgi": Program("RUNNING", 10, "d1", "g"),
        "celery": Program("RUNNING", 11, "d2", "g"),
        **changes,
    }
    return {f"catmaid:catmaid-{name}": program for name, program in programs.items() if program}


def test_nothing_to_do() -> None:
    assert decide("catmaid", WANTED, "g", found()) == []


def test_a_bare_host() -> None:
    assert decide("catmaid", WANTED, "g", {}) == UPDATE


def test_only_the_stale_program_is_restarted() -> None:
    stale = found(celery=Program("RUNNING", 11, "old", "g"))
    assert decide("catmaid", WANTED, "g", stale) == [["restart", "catmaid:catmaid-celery"]]


def test_a_process_without_a_record_is_stale() -> None:
    assert decide("catmaid", WANTED, "g", found(celery=Program("RUNNING", 11))) == [
        ["restart", "catmaid:catmaid-celery"]
    ]


def test_a_stopped_program_is_started() -> None:
    for state in ("STOPPED", "FATAL", "EXITED", "BACKOFF"):
        assert decide("catmaid", WANTED, "g", found(celery=Program(state))) == [["start", "catmaid:catmaid-celery"]]


def test_a_changed_group_file_updates_the_group() -> None:
    assert decide("catmaid", WANTED, "g2", found()) == UPDATE


def test_a_program_that_supervisor_does_not_know_updates_the_group() -> None:
    assert decide("catmaid", WANTED, "g", found(celery=None)) == UPDATE


def test_a_program_that_left_the_file_updates_the_group() -> None:
    assert decide("catmaid", WANTED, "g", found(old=Program("RUNNING", 12, "d3", "g"))) == UPDATE


def test_other_groups_do_not_count() -> None:
    others = found() | {"catmaid-b:catmaid-b-uwsgi": Program("FATAL"), "printer": Program("RUNNING", 5)}
    assert decide("catmaid", WANTED, "g", others) == []


def test_the_fact_reads_supervisorctl_and_the_records() -> None:
    output = [
        "catmaid:catmaid-celery           RUNNING   pid 1204, uptime 0:00:10",
        "catmaid:catmaid-uwsgi            RUNNING   pid 1203, uptime 1 day, 0:00:10",
        "catmaid:catmaid-daphne           STOPPED   Nov 24 02:43 AM",
        "catmaid-b:catmaid-b-uwsgi        FATAL     Exited too quickly (process log may have details)",
        "1204 5000 abc def",
        "99 4000 old old",
    ]
    assert SupervisorPrograms().process(output) == {
        "catmaid:catmaid-celery": Program("RUNNING", 1204, "abc", "def"),
        "catmaid:catmaid-uwsgi": Program("RUNNING", 1203),
        "catmaid:catmaid-daphne": Program("STOPPED"),
        "catmaid-b:catmaid-b-uwsgi": Program("FATAL"),
    }


def test_the_fact_copes_with_a_daemon_that_is_down() -> None:
    assert SupervisorPrograms().process(["unix:///var/run/supervisor.sock no such file"]) == {}
    assert (
        SupervisorPrograms().process(["error: <class 'FileNotFoundError'>, [Errno 2] No such file or directory: file"])
        == {}
    )
