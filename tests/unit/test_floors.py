"""The house's floors, drawn from the code: who imports whom, and what the engine knows of what is deployed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from catmaid_deploy import script
from testbed.images import ROOT

PACKAGE = "catmaid_deploy"
# From the ground up: a module imports from its own floor and from lower ones.
FLOORS = (
    ("answers", "bundles", "command_line", "escape", "finding", "questions", "secret", "version"),
    ("render", "schema", "script", "shell"),
    ("checks", "file_sets"),
    ("facts", "operations", "plan"),
    ("run",),
    ("upkeep",),
    ("job",),
    ("tasks",),
)
# Run where nothing of the rest is: on hosts, and by pip and Python before anything else.
APART = ("__init__", "__main__", "config", "on_host", "start")
# What is deployed. `on_host` has its other half there, and the inventory describes it.
SERVICES = r"nginx|uwsgi|gunicorn|daphne|celery|supervisor|certbot|broker|postgres|rabbit"
# An example, the name of a path, a fact or operation of one service alone; what hosts are asked of services and answer.
NAMED = {
    "answers/application.py",
    "answers/health.py",
    "answers/rabbitmq.py",
    "answers/postgresql.py",
    "answers/survey.py",
    "finding.py",
    "render.py",
    "script.py",
    "plan/task.py",
    "plan/report.py",
    "file_sets.py",
    "questions.py",
    "escape.py",
    "operations/nginx.py",
    "operations/certificates.py",
    "operations/rabbitmq.py",
    "operations/postgresql.py",
}


def modules() -> dict[str, Path]:
    """The deploy's modules, by the name below the package."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")) + sorted((ROOT / "tasks").rglob("*.py")):
        folder = ROOT / "tasks" if path.is_relative_to(ROOT / "tasks") else ROOT / PACKAGE
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(part for part in (*([] if folder.name == PACKAGE else ["tasks"]), *parts) if part != "__init__")
        if name and name.split(".")[0] not in APART and not path.is_symlink():
            found[name] = path
    return found


MODULES = modules()


def imported(path: Path) -> set[str]:
    """The modules of the deploy that a module imports, also within its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            below = (node.module or "").removeprefix(PACKAGE).lstrip(".")
            for alias in node.names:
                whole = f"{below}.{alias.name}".lstrip(".")
                found.add(whole if whole in MODULES else below)
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix(PACKAGE).lstrip(".") for a in node.names if a.name.split(".")[0] == PACKAGE}
    return {name for name in found if name in MODULES}


GRAPH = {name: imported(path) for name, path in MODULES.items()}


def floor(name: str) -> int:
    (number,) = [number for number, rooms in enumerate(FLOORS) if name.split(".")[0] in rooms]
    return number


@pytest.mark.parametrize("name", MODULES)
def test_nobody_imports_from_a_higher_floor(name: str) -> None:
    assert {other for other in GRAPH[name] if floor(other) > floor(name)} == set()


def test_there_is_no_circle() -> None:
    """Also none that Python bears, since it imports one half within a function."""
    left = {name: set(others) for name, others in GRAPH.items()}
    while free := {name for name, others in left.items() if not others}:
        left = {name: others - free for name, others in left.items() if name not in free}
    assert left == {}


def test_the_engine_names_no_service() -> None:
    engine = {name: path for name, path in MODULES.items() if not name.startswith("tasks")}
    naming = {
        str(path.relative_to(ROOT / PACKAGE))
        for path in engine.values()
        if path.parent.name != "schema" and re.search(SERVICES, path.read_text(), re.IGNORECASE)
    }
    assert naming == NAMED


def test_files_are_short_or_say_why_not() -> None:
    """A file of more than 400 lines has the reason in its first lines."""
    paths = [*MODULES.values(), *(ROOT / PACKAGE / "on_host").rglob("*.py"), ROOT / "deploy.py"]
    long = {str(path.relative_to(ROOT)) for path in paths if len(path.read_text().splitlines()) > 400}
    assert {path for path in long if "in one file" not in (ROOT / path).read_text()[:1500]} == set()


# ---- the parts of the scripts for hosts ----

PARTS = {
    ".".join(path.relative_to(script.FOLDER).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(script.FOLDER.rglob("*.py"))
}


def defined(tree: ast.Module) -> set[str]:
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return names | {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}


def of_parts(tree: ast.Module) -> dict[str, set[str]]:
    """What a part imports of others."""
    found: dict[str, set[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}.on_host."):
            names = {alias.name for alias in node.names}
            found.setdefault((node.module or "").removeprefix(f"{PACKAGE}.on_host."), set()).update(names)
    return found


@pytest.mark.parametrize("name", PARTS)
def test_a_part_imports_what_is_there(name: str) -> None:
    """Nobody runs these imports: they say what a script takes along."""
    for other, names in of_parts(PARTS[name]).items():
        assert names <= defined(PARTS[other])


def test_no_part_needs_itself() -> None:
    left = {name: set(of_parts(tree)) for name, tree in PARTS.items()}
    while free := {name for name, others in left.items() if not others}:
        left = {name: others - free for name, others in left.items() if name not in free}
    assert left == {}


def test_no_row_of_the_specification_is_named_outside_the_tests() -> None:
    """Its numbers say nothing to an admin; a test has them as its mark."""
    files = [path for room in ("catmaid_deploy", "tasks", "runbooks") for path in (ROOT / room).rglob("*.py")]
    assert [path.name for path in files if re.search(r"\brows? \d", path.read_text())] == []
