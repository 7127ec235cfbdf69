"""What a dry run says of migrations, by what the host answers."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Mapping
from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.answers.sought import Lacking
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.facts.survey import Migrations
from catmaid_deploy.file_sets import Change, ConfigurationSet
from catmaid_deploy.plan import report as reports
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.tasks.application import migrations
from tests import answers

common: Any = importlib.import_module("catmaid_deploy.on_host.operations.common")
FOLDER = "/home/catmaid/releases"


def deployment(**values: Any) -> schema.Deployment:
    return schema.load({"server_name": "a.org", "instances": [values]})


RELEASES = {"repository": "/srv/catmaid.git", "revision": "2.0"}
NAMES = "mysite.0002_more, mysite.0003_most"


def survey(code: str = "new", release: dict[str, Any] | None = None) -> Survey:
    return answers.survey(
        files={"/etc/catmaid/catmaid/wsgi": {"target": "wsgi-b"}},
        supervisor={"catmaid:catmaid-wsgi-a": {"code": "new"}, "catmaid:catmaid-wsgi-b": {"code": "old"}},
        instances={"catmaid": {"code": code, "release": release}},
    )


def changes(*calls: tuple[str, str]) -> list[Change]:
    return [
        Change(ConfigurationSet("nginx", service={"kind": "nginx"}), ()),
        Change(ConfigurationSet("programs of catmaid", service={"instance": "catmaid", "calls": list(calls)}), ()),
    ]


@pytest.mark.row_33
@pytest.mark.parametrize(
    ("calls", "code", "asked"),
    [
        ([("hand over", "daphne"), ("hand over", "wsgi")], "new", True),
        ([("chain", "wsgi")], "new", True),
        ([("restart", "wsgi")], "new", True),
        # The slot in use runs with it already.
        ([("hand over", "wsgi")], "old", False),
        ([("hand over", "celery")], "new", False),
        ([("start", "wsgi")], "new", False),
        ([("update", "catmaid"), ("hand over", "wsgi")], "new", False),
        ([], "new", False),
    ],
)
def test_asked_where_a_run_would_ask(calls: list[tuple[str, str]], code: str, asked: bool) -> None:
    found = migrations.waiting(deployment(), changes(*calls), survey(code))
    assert [instance.name for instance in found] == ["catmaid"] * asked


@pytest.mark.row_33
def test_of_code_in_its_place_or_of_the_mirror() -> None:
    def asked(there: bool, **values: Any) -> dict[str, Any]:
        site = deployment(environment={"LAB": "a b"}, **values)
        release = {"there": there} if "releases" in values else None
        (one,) = migrations.question(site.instances, survey(release=release))["instances"]
        return dict(one)

    assert asked(False)["release"] is None
    assert asked(False)["projects"] == "/home/catmaid/catmaid-server/django/projects"
    assert asked(True, releases=RELEASES)["release"] is None
    assert asked(True, releases=RELEASES)["projects"] == f"{FOLDER}/2.0/django/projects"
    coming = asked(False, releases=RELEASES)["release"]
    assert (coming["folder"], coming["owner"], coming["revision"]) == (FOLDER, "catmaid", "2.0")
    assert asked(False)["environment"]["LAB"] == "a b"
    assert asked(False)["environment"]["DJANGO_SETTINGS_MODULE"] == "mysite.settings"


@pytest.mark.row_33
@pytest.mark.parametrize(
    ("migrate", "found", "refused", "noted"),
    [
        ("refuse", {"lacks": NAMES}, f"the database lacks its migrations {NAMES}", ""),
        ("before", {"lacks": NAMES}, "", f"migrations would run before users see the new release: {NAMES}"),
        ("closed", {"lacks": NAMES}, "", f"migrations would run behind the maintenance page: {NAMES}"),
        *((migrate, {"lacks": ""}, "", "") for migrate in ("refuse", "before", "closed")),
        ("refuse", {"away": True}, "", "its migrations are not known before the code is here"),
        ("refuse", {"problem": "refused"}, "", "are not known, since the database can't be asked: refused"),
        ("before", {"problem": "refused"}, "", "are not known, since the database can't be asked: refused"),
    ],
)
def test_what_is_said(migrate: str, found: Lacking, refused: str, noted: str) -> None:
    (instance,) = deployment(migrate=migrate).instances
    faults, notes = list(migrations.judge(instance, found)), list(migrations.notes(instance, found))
    assert (len(faults), len(notes)) == (bool(refused), bool(noted))
    assert all(refused in one.what and one.place == "site.instances[catmaid].migrate" for one in faults)
    assert all(note.startswith("catmaid: ") and note.endswith(noted) for note in notes)


@pytest.mark.row_33
def test_the_host_is_asked_once_and_only_where_other_code_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(fact: object, question: Mapping[str, Any]) -> Any:
        asked.append([one["name"] for one in question["instances"]])
        return {"migrations": {"catmaid": {"lacks": NAMES, "dump": dump}}}

    def foretell(migrate: str, *calls: tuple[str, str]) -> list[str]:
        report = reports.Report("host")
        steps = [Step("programs", [], object, change) for change in changes(*calls)]
        plan = Plan(Look(deployment(migrate=migrate), survey()), report, steps)
        faults = list(migrations.sought(plan, ask))
        return [*report.notes, *(fault.what for fault in faults)]

    refused = {"key": "way_back", "what": "no room", "todo": "free some", "command": ""}
    dump: dict[str, Any] = {"refused": refused}
    # A run asks as well where migrations may run, for the way back from them.
    assert foretell("before", ("hand over", "wsgi")) == ["no room"]
    assert foretell("before") == foretell("refuse", ("hand over", "wsgi")) == []
    dump = {"name": "catmaid", "size": 1}
    assert foretell("before", ("hand over", "wsgi")) == []
    assert asked == [["catmaid"], ["catmaid"]]
    asked.clear()
    monkeypatch.setattr(this_run, "DRY", True)
    assert foretell("refuse") == foretell("refuse", ("hand over", "celery")) == []
    assert asked == []
    assert len(foretell("before", ("hand over", "wsgi"), ("hand over", "daphne"))) == 2
    dump = {}
    (what,) = foretell("refuse", ("hand over", "wsgi"))
    assert "the database lacks its migrations mysite.0002_more" in what
    assert asked == [["catmaid"], ["catmaid"]]


@pytest.mark.row_27
def test_what_a_database_lacks() -> None:
    plan = "[X]  mysite.0001_initial\n" + "".join(f"[ ]  mysite.{n:04}_more\n" for n in range(2, 9))
    assert common.lacking_migrations(plan) == (
        "mysite.0002_more, mysite.0003_more, mysite.0004_more, mysite.0005_more, mysite.0006_more and 2 more"
    )
    assert common.lacking_migrations("[ ]  a.0001_one") == "a.0001_one"
    assert common.lacking_migrations("[X]  a.0001_one\n(no migrations)") == ""


def test_the_script_fits_into_one_argument() -> None:
    words = shlex.split(str(Migrations().command("{}").get_raw_value()))
    assert max(map(len, words)) < 120 << 10
    compile(Migrations.script, "script", "exec")
