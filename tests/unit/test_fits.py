"""Which Python fits a release, and which pins are moved for it."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.tasks.python import environments, fits
from catmaid_deploy.tasks.python.fits import rules

host: Any = importlib.import_module("catmaid_deploy.on_host.facts.fits")
read: Any = importlib.import_module("catmaid_deploy.on_host.operations.requirements")

# What newer releases and older ones pin of the packages that matter.
NEWER = """
Django==3.2.18
django-pipeline==2.0.8
celery==5.1.2
numpy==1.24.3
scipy==1.8.1; platform_python_implementation != 'PyPy'
scipy==1.5.4; platform_python_implementation == 'PyPy'
PyYAML==6.0.0
msgpack==1.0.4; platform_python_implementation != 'PyPy'
msgpack_python==0.5.6
psycopg2-binary==2.9.3
"""
OLDER = "Django==3.0.14\ncelery==4.4.7\ndjango-allauth==0.41.0\naggdraw==1.3.11\n"


def fitted(text: str, python: str, **given: str) -> Any:
    return host.fitted(text, rules(), python, {name.replace("_", "-"): version for name, version in given.items()})


def moved(found: Any) -> dict[str, str]:
    return {name: new for name, _, new in found["moved"]}


def test_a_newer_release_gets_moved_pins_on_python_3_11() -> None:
    found = fitted(NEWER, "3.11")
    expected = {"scipy": "1.10.1", "PyYAML": "6.0.1", "msgpack": "1.0.5", "psycopg2-binary": "2.9.9"}
    assert moved(found) == expected
    assert found["wrong"] == []
    assert ["scipy", "1.8.1", "1.10.1"] in found["moved"]
    assert "scipy==1.10.1" in found["overrides"]
    assert found["beside"] == ["setuptools<81"]


def test_on_the_python_that_it_was_made_for_nothing_is_moved() -> None:
    assert moved(fitted(NEWER, "3.9")) == {}
    assert fitted(NEWER, "3.9")["wrong"] == []


@pytest.mark.parametrize(
    ("text", "python", "packages"),
    [
        (NEWER, "3.12", ["Django"]),
        (NEWER, "3.13", ["Django"]),
        (OLDER, "3.11", ["celery", "Django"]),
        (OLDER, "3.10", ["Django"]),
        (OLDER, "3.9", []),
        ("Django==5.2\n", "3.13", []),
    ],
)
def test_what_runs_with_no_such_python_is_refused(text: str, python: str, packages: list[str]) -> None:
    assert [package for package, _, _ in fitted(text, python)["wrong"]] == packages


def test_what_an_inventory_says_counts_more() -> None:
    found = fitted(NEWER, "3.11", scipy="1.11.4", psycopg2_binary="2.9.10")
    assert "scipy" not in moved(found)
    assert {"scipy==1.11.4", "psycopg2-binary==2.9.10"} <= set(found["overrides"])
    assert fitted(NEWER, "3.13", Django="4.2.16")["wrong"] == []


def test_of_two_packages_with_one_folder_one_is_left_out() -> None:
    assert "msgpack-python ; sys_platform == 'none'" in fitted(NEWER, "3.11")["overrides"]
    both = fitted("psycopg2==2.9.3\npsycopg2-binary==2.9.3\n", "3.9")
    assert both["overrides"] == ["psycopg2 ; sys_platform == 'none'"]
    assert fitted("psycopg2==2.9.3\n", "3.9")["overrides"] == []


def test_old_sources_are_built_as_then() -> None:
    assert fitted(OLDER, "3.9")["build"] == ["setuptools<60"]
    assert fitted(NEWER, "3.11")["build"] == []


def test_requirements_are_read_as_pip_reads_them() -> None:
    text = """
    # a comment
    Zope.Interface == 5.4   # another
    celery[redis]==5.1.2 --hash=sha256:00
    requests>=2
    old==1; python_version < '3.9'
    new==2 ; python_version >= "3.11"
    -e .
    --extra-index-url https://example.org
    git+https://example.org/x.git
    """
    found = host.required(text, "3.11")
    assert found["zope-interface"] == "5.4"
    assert found["celery"] == "5.1.2"
    assert found["requests"] == ""
    assert found["new"] == "2"
    assert "old" not in found
    assert host.required(text, "3.8")["old"] == "1"


def test_versions_are_compared_as_numbers() -> None:
    assert host.numbers("3.9") < host.numbers("3.11")
    assert host.numbers("6.0.0") == host.numbers("6")
    assert host.numbers("5") > host.numbers("4.4.7")


def test_every_rule_says_all_that_it_has_to() -> None:
    keys = {"move": {"below", "since", "to", "why"}, "refuse": {"below", "since", "why"}, "beside": {"needs", "why"}}
    keys |= {"build": {"below", "needs", "why"}, "apart": {"by"}}
    for kind, found in rules().items():
        assert found
        for rule in found:
            assert rule.keys() == {"package", *keys[kind]}
            if kind == "move":
                # It would move its own again.
                assert host.numbers(rule["to"]) >= host.numbers(rule["below"])


def test_a_release_that_fits_not_is_told_with_the_ways_out() -> None:
    site = {"server_name": "a.org", "instances": [{"releases": {"revision": "1.0"}, "install": {}}]}
    (instance,) = schema.load(site).instances
    wrong = fits.judge(instance, "3.11", {"moved": [], "wrong": [("celery", "4.4.7", "it is old")]})
    (line,) = [one.line() for one in wrong]
    assert (
        "install.python.executable: 1.0 requires celery 4.4.7, which doesn't run with Python 3.11 (it is old)" in line
    )
    assert "install.python.overrides" in line
    (line,) = [one.line() for one in fits.judge(instance, "3.11", {"missing": "django/requirements.txt"})]
    assert "requirements: 1.0 has no django/requirements.txt" in line
    assert list(fits.judge(instance, "3.11", None)) == []


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ({"problem": "it isn't there"}, "doesn't run: it isn't there"),
        ({"python": "3.6"}, "is Python 3.6"),
        ({"header": False}, "has no C headers"),
        ({}, None),
    ],
)
def test_the_python_that_is_given_is_judged(python: dict[str, Any], words: str | None) -> None:
    said = {"python": {"executable": "/opt/py/bin/python3"}}
    site = {"server_name": "a.org", "instances": [{"releases": {"revision": "1.0"}, "install": said}]}
    (instance,) = schema.load(site).instances
    known = {"there": False, "built": False, "python": "3.11", "header": True, "problem": ""}
    found = [one.line() for one in environments.judge(instance, known | python)]  # type: ignore[arg-type]
    assert len(found) == (words is not None)
    if words:
        assert f"install.python.executable: /opt/py/bin/python3 {words}" in found[0]


def test_a_wheel_is_one_for_this_python() -> None:
    wheels = ["uwsgi-2.0.31-cp311-cp311-linux_x86_64.whl"]
    assert host.is_built(wheels, {"uwsgi": "2.0.31"}, "3.11")
    assert not host.is_built(wheels, {"uwsgi": "2.0.31"}, "3.1")
    assert not host.is_built(wheels, {"uwsgi": "2.0.30"}, "3.11")
    assert host.is_built([], {}, "3.11")


class Repository:
    """A user who reads a release's files."""

    def __init__(self, **files: str) -> None:
        self.files = {f"1.0:django/{name}.txt": text for name, text in files.items()}

    def run(self, words: list[str], *_: Any, **__: Any) -> tuple[int, str]:
        return (
            (0, self.files[words[-1]]) if words[-1] in self.files else (128, "fatal: path 'x' does not exist in '1.0'")
        )


def test_files_that_name_others_are_read_with_them() -> None:
    user = Repository(all="-r base.txt\nb==2", base="a==1\n-r all.txt")
    assert read.requirements_of(user, "/srv/c.git", "1.0", ["django/all.txt"]).split() == ["b==2", "a==1"]
    with pytest.raises(read.NotInRelease, match=re.escape("the release has no django/other.txt")):
        read.requirements_of(user, "/srv/c.git", "1.0", ["django/all.txt", "django/other.txt"])
