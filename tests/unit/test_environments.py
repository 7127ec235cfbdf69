"""Environments that the deploy makes, and the compiler that is there for them: what comes, what stays and what goes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.plan.look import Look
from catmaid_deploy.tasks.python import compiler, environments, here, owner

trust: Any = importlib.import_module("catmaid_deploy.on_host.trust")
made: Any = importlib.import_module("catmaid_deploy.on_host.operations.environments")
brought: Any = importlib.import_module("catmaid_deploy.on_host.operations.compiler")
packages: Any = importlib.import_module("catmaid_deploy.on_host.operations.packages")


def deployment(**more: Any) -> schema.Deployment:
    releases = {"repository": "/srv/c.git", "revision": "1.0"}
    return schema.load({"server_name": "a.org", "instances": [{"releases": releases, "install": {}} | more]})


def survey(**more: Any) -> Any:
    """A bare host's."""
    environment = {"there": False, "built": False, "python": "3.11", "header": True, "problem": ""}
    return {
        "os": {"id": "debian", "version": "12", "name": "Debian"},
        "environments": {"catmaid": environment | more.pop("environment", {})},
        "instances": {"catmaid": {"python": {"missing": "/env"}}},
        "accounts": {"catmaid": None},
        "directory": {"groups": [], "is_asked": False},
        "packages": {},
        "compiler": [],
    } | more


def test_a_bare_host_needs_what_compiles_and_what_is_loaded() -> None:
    look = Look(deployment(), survey())
    assert {"libgdal32", "libpython3.11", "python3-pip-whl"} == set(environments.packages(look))
    assert "gcc" in compiler.packages(look)


def test_a_host_with_a_wheel_needs_no_compiler() -> None:
    assert compiler.packages(Look(deployment(), survey(environment={"built": True}))) == []


def test_one_with_the_environment_needs_neither_compiler_nor_pip() -> None:
    look = Look(deployment(), survey(environment={"there": True, "built": True}))
    assert set(environments.packages(look)) == {"libgdal32", "libpython3.11"}
    assert compiler.packages(look) == []
    assert environments.missing(look.deployment, look.survey) == []


def test_gunicorn_is_not_compiled() -> None:
    look = Look(deployment(wsgi_server="gunicorn"), survey())
    assert environments.compiled(look.deployment.instances[0]) == {}
    assert "libpython3.11" not in environments.packages(look)


def test_the_owner_is_made_where_no_directory_may_have_it() -> None:
    assert list(owner.missing(deployment(), survey())) == ["catmaid"]
    assert owner.missing(deployment(), survey(accounts={"catmaid": {"uid": 5, "groups": []}})) == {}
    assert owner.missing(deployment(), survey(directory={"groups": [], "is_asked": True})) == {}
    assert owner.missing(deployment(install=None), survey()) == {}


def test_a_path_of_the_host_is_not_asked_from_here() -> None:
    release: Any = {"repository": "/srv/c.git", "revision": "1.0", "requirements": [], "overrides": {}}
    assert here.fit_of(release | {"python": "3.11"}) is None


class User:
    """Whoever runs this test, in the place of an owner."""

    def __init__(self, _: str) -> None:
        pass

    def do(self, act: Any, *_: Any) -> Any:
        return act(trust.Here())


def test_environments_go_with_their_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "As", User)
    folder = tmp_path / "environments"
    for name in ("1.0-aa", "1.1-aa", "1.2-aa", "1.3-aa"):
        (folder / name / "bin").mkdir(parents=True)
    # 1.1 is a release that is there, a program starts with 1.2, and 1.3 is what this run has made.
    (tmp_path / "1.1").mkdir()
    job = {"folder": str(tmp_path), "owner": "x", "environments": str(folder), "virtualenv": f"{folder}/1.3-aa"}
    made.remove_environments(job | {"uv_version": "1", "fetching": {}}, f"export VIRTUAL_ENV={folder}/1.2-aa\n")
    assert sorted(path.name for path in folder.iterdir()) == ["1.1-aa", "1.2-aa", "1.3-aa"]


class Apt:
    """A host's packages: each with what needs it; what nobody has asked for is ``auto``."""

    def __init__(self, there: list[str], auto: list[str], needs: dict[str, list[str]]) -> None:
        self.there, self.auto, self.needs = set(there), auto, needs
        self.purged: list[str] = []

    def run(self, words: list[str], *_: Any, **__: Any) -> tuple[int, str]:
        if words[0] == "dpkg-query":
            return 0, "\n".join(f"installed {name}" for name in sorted(self.there))
        if words[0] == "apt-mark":
            return 0, "\n".join(self.auto)
        gone = {name for name in words if name in self.there}
        gone |= {name for name, needed in self.needs.items() if name in self.there and gone & set(needed)}
        if "--auto-remove" in words:
            left = self.there - gone
            still = {one for name in left if name not in self.auto for one in self.needs.get(name, [])}
            gone |= {name for name in self.auto if name in left and name not in still}
        if "--simulate" in words:
            return 0, "\n".join(f"Purg {name} [1]" for name in sorted(gone))
        self.there -= gone
        self.purged += sorted(gone)
        return 0, ""


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(brought, "ROOT", trust.Here())
    monkeypatch.setattr(brought, "COMPILER", str(tmp_path / "compiler.json"))
    monkeypatch.setattr(brought, "make_folders", lambda _: None)
    monkeypatch.setattr(brought, "complete_packages", lambda _: None)
    return tmp_path / "compiler.json"


BEFORE = ["bash", "old-library"]
NEEDS = {"gcc": ["cpp"], "python3-dev": ["zlib-dev"]}


def test_what_a_run_brought_goes_again_and_nothing_else(noted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Apt(BEFORE, [], NEEDS)
    monkeypatch.setattr(brought, "run", host.run)
    brought.note_compiler({"names": ["gcc", "python3-dev"]})
    # What was there before is left also where nobody needs it; so is what this run has installed for itself.
    host.there |= {"gcc", "cpp", "python3-dev", "zlib-dev", "nginx"}
    host.auto = ["cpp", "zlib-dev", "old-library"]
    # A run that begins again finds the compiler there, and keeps the first one's note.
    brought.note_compiler({"names": []})
    assert json.loads(noted.read_text()) == {"names": ["gcc", "python3-dev"], "before": BEFORE}
    brought.remove_compiler({})
    assert host.there == {*BEFORE, "nginx"}
    assert not noted.exists()


def test_what_others_need_by_then_stays(noted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(brought, "tell", said.append)
    host = Apt(BEFORE, [], NEEDS | {"dkms": ["gcc"]})
    monkeypatch.setattr(brought, "run", host.run)
    brought.note_compiler({"names": ["gcc"]})
    host.there |= {"gcc", "cpp", "dkms"}
    host.auto = ["cpp"]
    brought.remove_compiler({})
    assert host.purged == []
    assert said == ["WARNING packages: gcc stays, since other packages need it"]
    assert not noted.exists()


@pytest.mark.row_35
def test_what_a_cut_dpkg_has_half_unpacked_is_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, typed = ["libjbig0:amd64"], []

    def run(words: list[str], *_: Any, **__: Any) -> tuple[int, str]:
        if words[0] == "dpkg-query":
            return 0, "".join(
                f"{flag} {name}\n" for name, flag in (("bash", "ok"), *((one, "reinstreq") for one in broken))
            )
        typed.append(words)
        if words[0] == "apt-get":
            broken.clear()
        return int(bool(broken)), ""

    for name, value in (("ROOT", trust.Here()), ("DPKG_NOTES", str(tmp_path)), ("run", run), ("say", lambda _: None)):
        monkeypatch.setattr(packages, name, value)
    packages.complete_packages({})
    assert [words[0] for words in typed] == ["dpkg", "apt-get", "dpkg"]
    assert typed[1][-3:] == ["--reinstall", "install", "libjbig0:amd64"]
    # A host where nothing is half done.
    packages.complete_packages({})
    assert len(typed) == 3
