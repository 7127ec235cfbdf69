"""What a lab installs has everything that the deploy is run from."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

from testbed.images import ROOT

WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
# Beside the package itself: what Python reads as it starts.
START = {"catmaid_deploy/start.pth": "catmaid-deploy.pth"}
PLACES: dict[str, str] = {place: name for place, name in WHEEL["force-include"].items() if place not in START}


def imported(file: Path) -> set[str]:
    """The first words of what a file imports."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def test_each_place_keeps_its_name() -> None:
    assert WHEEL["packages"] == ["catmaid_deploy"]
    assert {place: f"catmaid_deploy/{place}" for place in PLACES} == PLACES


def test_what_is_installed_imports_one_package_alone() -> None:
    """A lab may have a module of any other name."""
    places = [*PLACES, "catmaid_deploy"]
    files = [file for place in places for file in (ROOT / place, *(ROOT / place).rglob("*.py")) if file.suffix == ".py"]
    ours = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {name for file in files for name in imported(file)} & ours == {"catmaid_deploy"}


def test_the_checks_are_installed_with_it() -> None:
    assert WHEEL["force-include"].items() >= START.items()
    hook = ast.parse((ROOT / "hatch_build.py").read_text())
    assert START in [ast.literal_eval(node) for node in ast.walk(hook) if isinstance(node, ast.Dict)]


def test_runbooks_tasks_and_templates_are_there() -> None:
    assert {"deploy.py", "runbooks"} <= set(PLACES)
    for name in ("tasks", "templates", "config.py"):
        # By which a checkout has them where an installed deploy has them, too.
        link = ROOT / "catmaid_deploy" / name
        assert (link.is_symlink(), link.resolve()) == (True, ROOT / name)


def test_the_folder_that_is_printed_has_the_deploy() -> None:
    words = [sys.executable, "-m", "catmaid_deploy"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (Path(done.stdout.removesuffix("\n")) / "deploy.py").is_file()
