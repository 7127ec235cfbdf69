"""What is made before a first start and never again: tables, an administrator, projects, secrets."""

from __future__ import annotations

import contextlib
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

trust: Any = importlib.import_module("catmaid_deploy.on_host.trust")
first: Any = importlib.import_module("catmaid_deploy.on_host.operations.first")
kept: Any = importlib.import_module("catmaid_deploy.on_host.operations.secrets")
asked: Any = importlib.import_module("catmaid_deploy.on_host.facts.secrets")

EMPTY, NEW, OLD = (
    "[ ]  catmaid.0001_initial\n",
    "made alice\nmade the projects",
    "[X]  catmaid.0001_initial\n[ ]  catmaid.0002_more\n",
)


class Application:
    """What an application's Python says: of its migrations, and of its administrator."""

    def __init__(self, plan: str, administrator: str = NEW, fails_at: str = "") -> None:
        self.plan, self.administrator, self.fails_at = plan, administrator, fails_at
        self.calls: list[str] = []
        self.seen: list[dict[str, str]] = []

    def __call__(self, job: Any, what: str, words: list[str], seconds: int, **environment: str) -> str:
        others = {first.ADMINISTRATOR: "administrator", first.PROJECTS: "projects"}
        word = words[1] if words[0] == "manage.py" else others[words[1]]
        self.calls.append(word)
        self.seen.append(environment)
        if word == self.fails_at:
            raise trust.Failed("it was cut")
        return self.plan if word == "showmigrations" else self.administrator


def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, application: Application, password: str = "", **more: Any
) -> list[str]:
    """What a run calls; a failure is for the next one."""
    monkeypatch.setattr(first, "in_application", application)
    monkeypatch.setattr(first, "ROOT", trust.Here())
    monkeypatch.setattr(first, "make_folders", lambda path: Path(path).mkdir(parents=True, exist_ok=True))
    monkeypatch.setattr(first, "INSTALLED", str(tmp_path / "installed"))
    one = {"name": "alice", "email": "a@a.org", "token": False, "password": password}
    job: dict[str, Any] = {"instance": "catmaid", "settings": None, "administrator": one}
    job |= {"first_projects": [], **more}
    with contextlib.suppress(trust.Failed):
        first.first_start(job | {"password_file": str(tmp_path / "password")})
    return application.calls


def test_an_empty_database_gets_tables_and_an_administrator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    application = Application(EMPTY)
    assert run(tmp_path, monkeypatch, application) == ["showmigrations", "migrate", "administrator"]
    assert json.loads((tmp_path / "installed/catmaid.json").read_text()) == {"tables": True, "administrator": True}
    assert application.seen[-1]["FIRST_PASSWORD"] + "\n" == (tmp_path / "password").read_text()
    assert (tmp_path / "password").stat().st_mode & 0o777 == 0o600
    assert run(tmp_path, monkeypatch, Application(EMPTY)) == []


TWO = [{"title": "FAFB", "comment": ""}, {"title": "Larva", "comment": "The small one"}]


def test_projects_are_made_once_after_the_administrator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    application = Application(EMPTY)
    calls = ["showmigrations", "migrate", "administrator", "projects"]
    assert run(tmp_path, monkeypatch, application, first_projects=TWO) == calls
    seen = application.seen[-1]
    assert seen["FIRST_NAME"] == "alice"
    assert json.loads(seen["FIRST_PROJECTS"]) == [["FAFB", ""], ["Larva", "The small one"]]
    assert json.loads((tmp_path / "installed/catmaid.json").read_text())["projects"] is True
    assert run(tmp_path, monkeypatch, Application(EMPTY), first_projects=TWO) == []


def test_projects_that_were_cut_are_made_by_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, monkeypatch, Application(EMPTY, fails_at="projects"), first_projects=TWO)
    assert run(tmp_path, monkeypatch, Application(OLD), first_projects=TWO) == ["projects"]


def test_a_database_with_tables_keeps_them_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its migrations are a matter of the inventory, since there are data in it."""
    assert run(tmp_path, monkeypatch, Application(OLD)) == ["showmigrations", "administrator"]


def test_what_was_cut_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path, monkeypatch, Application(EMPTY, fails_at="migrate"))[-1] == "migrate"
    assert run(tmp_path, monkeypatch, Application(OLD)) == ["showmigrations", "migrate", "administrator"]
    assert run(tmp_path, monkeypatch, Application(OLD)) == []


def test_a_password_that_was_made_is_the_next_runs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = Application(EMPTY, fails_at="administrator")
    run(tmp_path, monkeypatch, cut)
    then = Application(OLD)
    assert run(tmp_path, monkeypatch, then) == ["administrator"]
    assert then.seen[-1]["FIRST_PASSWORD"] == cut.seen[-1]["FIRST_PASSWORD"]


def test_who_administers_already_stays_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, monkeypatch, Application(OLD, administrator=""))
    assert not (tmp_path / "password").exists()


def test_a_given_password_is_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    application = Application(EMPTY)
    run(tmp_path, monkeypatch, application, "a given one")
    assert application.seen[-1]["FIRST_PASSWORD"] == "a given one"
    assert not (tmp_path / "password").exists()


class User:
    gid = 4711

    def __init__(self, _: str) -> None:
        pass


class Files(trust.Here):  # type: ignore[misc]
    """What lies there, without the right to give it to anybody."""

    given: tuple[int, int] | None = None

    def write(self, path: str, data: bytes, mode: int, uid: int, gid: int) -> None:
        self.given = uid, gid
        super().write(path, data, mode)


def keep(path: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> dict[str, str]:
    files = Files()
    monkeypatch.setattr(kept, "ROOT", files)
    monkeypatch.setattr(kept, "As", User)
    monkeypatch.setattr(kept, "make_folders", lambda _: None)
    kept.keep_secrets({"path": str(path), "user": "x", "names": ["secret_key", "own_ldap"], "given": {}} | more)
    assert files.given == (0, User.gid)
    found: dict[str, str] = json.loads(path.read_text())
    return found


def test_a_secret_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secrets.json"
    before = keep(path, monkeypatch)
    assert sorted(before) == ["own_ldap", "secret_key"]
    assert len(before["secret_key"]) == 50
    after = keep(path, monkeypatch, given={"own_ldap": "from outside"})
    assert after == before | {"own_ldap": "from outside"}
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_new_secrets_are_not_made_over_a_file_that_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(text)
    monkeypatch.setattr(asked, "ROOT", trust.Here())
    said = asked.kept({"path": str(path), "user": "root", "names": ["secret_key"], "given": {}})
    assert said["broken"] is True
    with pytest.raises(trust.Failed, match="put it back from a copy"):
        keep(path, monkeypatch)
    assert path.read_text() == text
