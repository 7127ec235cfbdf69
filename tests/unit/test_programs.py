"""Programs beside the four of an instance: which are described, and what a run makes of what is there."""

from __future__ import annotations

from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.tasks.programs import slots, supervisor
from tests import answers

LARGE = {"name": "large", "celery": {"queues": ["large"], "concurrency": 3}}
SPATIAL = {"name": "spatial-update", "manage": "catmaid_spatial_update_worker --delay 2"}


def instance(*programs: dict[str, Any], **more: Any) -> schema.Instance:
    site = {"server_name": "a.test", "instances": [{"programs": list(programs), **more}]}
    return schema.load(site).instances[0]


@pytest.mark.parametrize(
    ("programs", "line"),
    [
        ([{"name": "large"}], "celery: a program is a worker or a command: give either celery or manage"),
        ([LARGE | {"manage": "work"}], "celery: a program is a worker or a command: give either celery or manage"),
        ([{"name": "large", "celery": {}}], "celery.queues: another worker has queues of its own: name them"),
        (
            [{"name": "large", "celery": {"queues": ["large"], "shutdown_seconds": 5}}],
            "celery.shutdown_seconds: the whole host has one: give it to the instance's own celery",
        ),
        ([LARGE, LARGE], "programs: 'large' stands twice: give one of them another name"),
        ([LARGE | {"name": "wsgi"}], "'wsgi' is the deploy's own: give another name"),
        ([LARGE | {"name": "maintenance"}], "'maintenance' is the deploy's own: give another name"),
        ([LARGE | {"name": "large-b"}], "'large-b' ends as the slots of programs do: give another name"),
        ([SPATIAL | {"manage": "work; rm -r /"}], "write it as 'catmaid_spatial_update_worker --delay 2'"),
    ],
)
def test_what_is_wrong_is_one_line(programs: list[dict[str, Any]], line: str) -> None:
    with pytest.raises(schema.InvalidSite) as error:
        instance(*programs)
    (said,) = error.value.lines
    assert line in said


def test_each_is_a_group_of_its_own_that_no_other_instance_can_have() -> None:
    i = instance(LARGE, SPATIAL)
    assert list(supervisor.groups(supervisor.programs(i))) == ["catmaid", "catmaid.large", "catmaid.spatial-update"]
    assert slots.full_name(i, "wsgi-a") == "catmaid:catmaid-wsgi-a"
    assert slots.full_name(i, "large-b") == "catmaid.large:catmaid.large-b"
    with pytest.raises(schema.InvalidSite):
        instance(name="catmaid.large")


def test_their_processes_count_for_the_memory() -> None:
    assert instance(workers=2, celery={"concurrency": 1}).processes(8) == 3
    assert instance(LARGE, SPATIAL, workers=2).processes(8) == 2 + 8 + 3 + 1


def test_what_is_no_longer_described_is_known_by_what_was_written_for_it() -> None:
    """Not the four, nor an instance that is called alike, nor a group that an admin has made."""
    i = instance()
    files = ["/etc/catmaid/catmaid/start.sh", "/etc/catmaid/catmaid/wsgi/run.sh", "/etc/catmaid/catmaid/wsgi/release"]
    other = {"programs of catmaid-more": {"/etc/catmaid/catmaid-more/large/run.sh": ""}}
    survey = answers.survey(
        manifest={"programs of catmaid": dict.fromkeys(files, ""), **other},
        supervisor={"catmaid:catmaid-wsgi-a": {}, "catmaid.mine:catmaid.mine": {}},
    )
    assert supervisor.departed(i, survey) == []
    survey["manifest"]["programs of catmaid"]["/etc/catmaid/catmaid/large/run.sh"] = ""
    assert supervisor.departed(i, survey) == ["large"]
    assert supervisor.departed(instance(LARGE), survey) == []


def test_an_instance_goes_with_all_its_groups() -> None:
    paths = [f"/etc/supervisor/conf.d/{name}.conf" for name in ("catmaid", "catmaid.large", "catmaid.spatial-update")]
    survey = answers.survey(manifest={"programs of catmaid": dict.fromkeys(paths, "")}, files={})
    (change,) = supervisor.removals((), survey)
    groups = ["catmaid.spatial-update", "catmaid.large", "catmaid"]
    assert change.set.service["calls"] == [("remove", group) for group in groups]
