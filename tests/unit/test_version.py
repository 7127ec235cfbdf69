"""The version: one number in the project, the changelog and the book, and a note of it on each host."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from catmaid_deploy import version
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan
from catmaid_deploy.plan.report import Report
from catmaid_deploy.run import version as of_run
from testbed.images import ROOT
from tests import answers
from tests.unit.test_preflight import SITE

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
HEADING = re.compile(r"^## (\d+\.\d+\.\d+), (\d{4}-\d{2}-\d{2})\n(?:\nCommit: `([0-9a-f]{12})`\n)?", re.MULTILINE)
RELEASES = HEADING.findall(CHANGELOG)
PINNED = re.findall(r"catmaid-deploy\.git@(\S+)", (ROOT / "docs/lab.md").read_text())


def version_of(commit: str) -> str:
    """The version that a commit of this repository's history has."""
    shown = ["git", "-C", str(ROOT), "show", f"{commit}:pyproject.toml"]
    text = subprocess.run(shown, check=True, capture_output=True, text=True).stdout
    return str(tomllib.loads(text)["project"]["version"])


# ---- one number ----


def test_the_changelog_begins_with_the_version_of_the_project() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == RELEASES[0][0]
    assert RELEASES[0][0] == version.VERSION


def test_every_version_has_a_heading_of_this_form_and_says_what_to_type() -> None:
    assert len(RELEASES) == len(re.findall("^## ", CHANGELOG, re.MULTILINE))
    numbers = [version.numbers(number) for number, _, _ in RELEASES]
    assert numbers == sorted(numbers, reverse=True)
    for part in CHANGELOG.split("\n## ")[1:]:
        kinds = re.findall(r"^### (.+)$", part, re.MULTILINE)
        assert kinds[0] == "Upgrade", part[:20]
        assert kinds[1:] == [kind for kind in version.KINDS if kind in kinds], part[:20]


def test_the_book_pins_the_newest_version_that_has_a_commit() -> None:
    """Only the one that is being worked on has none."""
    assert [number for number, _, commit in RELEASES[1:] if not commit] == []
    assert [next(commit for _, _, commit in RELEASES if commit)] == PINNED


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this copy has no history")
@pytest.mark.parametrize(("number", "commit"), [(number, commit) for number, _, commit in RELEASES if commit])
def test_a_commit_is_the_version_that_it_is_called(number: str, commit: str) -> None:
    assert version_of(commit) == number


# ---- what versions change ----

SAMPLE = """# Changelog
Words.

## 0.3.0, 2027-01-02

### Upgrade

Type `this`.

### Added

- A **third** thing, in [the book](docs/index.md),
  on two lines. And more of it.

## 0.2.10, 2027-01-01

### Breaking

- `site` is called otherwise.
- Another.

### Fixed

- A fault, e.g. one. `status` says so.

## 0.2.9, 2026-12-01

### Added

- What was there.
"""


@pytest.mark.parametrize(
    ("before", "until", "lines"),
    [
        (
            "0.2.9",
            "0.3.0",
            [
                "Breaking: `site` is called otherwise.",
                "Breaking: Another.",
                "Added: A third thing, in the book, on two lines.",
                "Fixed: A fault, e.g. one.",
            ],
        ),
        ("0.2.10", "0.3.0", ["Added: A third thing, in the book, on two lines."]),
        (
            "0.2.9",
            "0.2.10",
            ["Breaking: `site` is called otherwise.", "Breaking: Another.", "Fixed: A fault, e.g. one."],
        ),
        ("0.3.0", "0.3.0", []),
    ],
)
def test_what_lies_between_two_versions(before: str, until: str, lines: list[str]) -> None:
    assert version.changes(before, until, SAMPLE) == lines


def test_entries_of_the_changelog_are_brief() -> None:
    lines = version.changes("0", version.VERSION, CHANGELOG)
    assert len(lines) > 20
    assert [line for line in lines if len(line) > 400 or "](" in line or not line.endswith((".", ":", ")"))] == []
    assert version.changes(version.UNNOTED, version.VERSION, CHANGELOG)


# ---- what a host has noted ----


def survey(noted: str | None = None, deployed: bool = True) -> Survey:
    last = {} if noted is None else {"host_version": noted}
    return answers.survey(manifest={"system": {}} if deployed else {}, last_run=last)


def plan(noted: Any = None, deployed: bool = True) -> Plan:
    return Plan(Look(SITE, survey(noted, deployed)), Report("web1"))


def test_a_host_of_before_counts_as_the_first_version_and_a_bare_one_as_none() -> None:
    assert of_run.of_host(survey()) == "0.1.0"
    assert of_run.of_host(survey("0.2.0")) == "0.2.0"
    assert of_run.of_host(survey("0.2.0", deployed=False)) == ""


@pytest.mark.parametrize("noted", ["99.0.0", "0.100.0"])
def test_an_older_deploy_refuses_the_host_in_one_line(noted: str) -> None:
    (finding,) = of_run.judge(survey(noted))
    assert finding.line("web1") == (
        f"web1: version: the host was deployed by version {noted}, and this is {version.VERSION}, which doesn't know "
        f"all that is there: deploy by {noted} or a later one, as docs/lab.md says"
    )


@pytest.mark.parametrize("noted", [None, "0.1.0", "0.1.99", version.VERSION, "no number"])
def test_a_newer_one_does_not(noted: str | None) -> None:
    assert of_run.judge(survey(noted)) == []


def test_the_note_is_a_step_of_its_own_where_nothing_else_makes_it() -> None:
    (step,) = of_run.noted(plan())
    assert step.details == [f"0.1.0 becomes {version.VERSION}"]
    assert list(of_run.noted(plan(version.VERSION))) == []
    assert list(of_run.noted(plan(deployed=False))) == []
    busy = plan()
    busy.steps.append(step)
    assert list(of_run.noted(busy)) == []


def test_a_run_begins_with_what_changes_once_for_all_hosts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "CHANGELOG.md"
    file.write_text(f"## {version.VERSION}, 2026-11-27\n### Breaking\n- `site` is called otherwise. Read on.\n")
    monkeypatch.setattr(of_run, "CHANGELOG", file)
    of_run.say({"web2": plan(), "web1": plan("0.1.0"), "web3": plan(version.VERSION), "new": plan(deployed=False)})
    assert capsys.readouterr().err.splitlines() == [
        f"--> web1, web2: deployed by 0.1.0; this is {version.VERSION}:",
        "    Breaking: `site` is called otherwise.",
        f"    {file} has all of it, and what to type",
    ]


# ---- how a host notes it ----

lock: Any = importlib.import_module("catmaid_deploy.on_host.operations.lock")
common: Any = importlib.import_module("catmaid_deploy.on_host.operations.common")
trust: Any = importlib.import_module("catmaid_deploy.on_host.trust")


class Noted:
    """The notes of a host in a folder, and runs that make them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "state/last-run.json"

    @property
    def version(self) -> Any:
        return json.loads(self.file.read_text()).get("host_version")

    def begin(self, run: str, version: str | None = "0.2.0") -> None:
        last = json.loads(self.file.read_text())["run"] if self.file.exists() else None
        claim = {"admin": "ada@lab", "revision": "1", "since": "now", "last_run": last}
        lock.take_lock({"run": run, **claim} | ({"version": version} if version else {}))


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Noted:
    for module in (lock, common):
        monkeypatch.setattr(module, "ROOT", trust.Here())
    monkeypatch.setattr(lock, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(lock, "RUN", str(tmp_path / "run"))
    monkeypatch.setattr(lock, "LOG", str(tmp_path / "log"))
    monkeypatch.setattr(lock, "session", lambda: None)
    (tmp_path / "run").mkdir()
    return Noted(tmp_path)


def test_a_host_has_a_version_from_the_first_change_on(notes: Noted) -> None:
    notes.begin("one")
    assert notes.version is None
    lock.did("system")
    assert notes.version == "0.2.0"
    lock.end_run("system", "failed")
    assert notes.version == "0.2.0"


@pytest.mark.parametrize("how", ["failed", "cut"])
def test_a_run_that_changed_nothing_leaves_the_version_of_before(notes: Noted, how: str) -> None:
    notes.begin("one", "0.1.5")
    lock.end_run("all")
    notes.begin("two")
    lock.end_run("nothing", how)
    assert notes.version == "0.1.5"
    notes.begin("three")
    lock.end_run("by others' programs alone")
    assert notes.version == "0.2.0"


def test_a_rollback_leaves_the_version(notes: Noted) -> None:
    notes.begin("one")
    lock.end_run("all")
    notes.begin("back", None)
    lock.end_run("rollback of catmaid")
    assert notes.version == "0.2.0"
