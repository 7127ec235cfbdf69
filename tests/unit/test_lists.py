"""Lists that stand once: the whole of each fits what is said elsewhere, and an entry that is left out is named."""

from __future__ import annotations

import ast
import importlib
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import pytest

from catmaid_deploy import render, schema
from catmaid_deploy.on_host.facts import units
from catmaid_deploy.on_host.facts.units import RENEWED
from catmaid_deploy.plan.task import Task
from catmaid_deploy.run import preflight
from catmaid_deploy.schema import paths as instances
from catmaid_deploy.tasks import distributions
from catmaid_deploy.tasks.nginx import headers
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.nginx.capabilities import Server
from catmaid_deploy.tasks.nginx.passwords import KEY
from catmaid_deploy.tasks.postgresql import settings as postgresql
from catmaid_deploy.tasks.programs import supervisor
from catmaid_deploy.tasks.rabbitmq import server as rabbitmq
from testbed import order
from testbed.images import ROOT
from testbed.order import TASKS
from testbed.peers import sites
from tests import answers, semantics
from tests import headers as headers_of_the_book


@dataclass(frozen=True)
class List:
    """A list of a module, by its name, and the check that says in sentences what doesn't fit it."""

    home: ModuleType
    name: str
    missing: Callable[[], Iterable[str]]

    @property
    def entries(self) -> Collection[Any]:
        found: Collection[Any] = getattr(self.home, self.name)
        return found

    def called(self, entry: Any) -> set[str]:
        """What a sentence may call an entry: the text that it is, its key and value, or its name."""
        if isinstance(self.entries, dict):
            return {entry, str(self.entries[entry])}
        return {entry if isinstance(entry, str) else entry.name}

    def without(self, left_out: Any) -> Collection[Any]:
        if isinstance(self.entries, dict):
            return {key: value for key, value in self.entries.items() if key != left_out}
        return tuple(entry for entry in self.entries if entry != left_out)


def undescribed_distributions() -> Iterator[str]:
    """What the pages for newcomers say of distributions and the list doesn't have, or reversed."""
    known = {one.name for one in distributions.DISTRIBUTIONS}
    for page in ("README.md", "docs/tutorial.md"):
        found = re.findall(r"(Debian|Ubuntu) (\d[\d.]*(?: (?:or|and) \d[\d.]*)*)", (ROOT / page).read_text())
        named = {f"{family} {version}" for family, versions in found for version in re.split(" or | and ", versions)}
        for name in sorted(named - known):
            yield f"{page} names {name}: DISTRIBUTIONS in tasks/distributions.py doesn't have it"
        for name in sorted(known - named):
            yield f"{page} doesn't name {name}"


def undescribed_folders() -> Iterator[str]:
    """What the book's page of a host says of an instance's folders and the list doesn't have, or reversed."""
    known = {*instances.FOLDERS.values()}
    named = {*re.findall(r"`(/[a-z/]+)/catmaid/", (ROOT / "docs/host.md").read_text())}
    for place in sorted(known - named):
        yield f"docs/host.md doesn't have {place}/catmaid"
    # The deploy's own, with those of the instances in it.
    for place in sorted(named - known - {str(Path(place).parent) for place in known}):
        yield f"docs/host.md has {place}/catmaid: FOLDERS in catmaid_deploy/schema/paths.py has no {place}"


def undescribed_links() -> Iterator[str]:
    page = (ROOT / "docs/host.md").read_text()
    named = re.findall(r"`/run/catmaid/([\w.-]+\.\w+)`", page)
    for name in sorted({*named} ^ {*instances.LINKS}):
        yield f"{name} stands either in docs/host.md or in LINKS of catmaid_deploy/schema/paths.py, not in both"


def undescribed_units() -> Iterator[str]:
    """The services whose units have a drop-in, and those that the list has."""
    folder = ROOT / "templates/etc/systemd/system"
    # certbot's runs by its timer, and has a drop-in for its proxy alone; databases' and brokers' own tasks ask them.
    others = {RENEWED, *rabbitmq.DROP_INS, postgresql.DROP_IN.split("/")[-2].removesuffix(".d")}
    drop_ins = {path.name.removesuffix(".d") for path in folder.glob("*.d")} - others
    for name in sorted(drop_ins ^ {*units.COMMANDS}):
        where = "has a drop-in in templates/etc/systemd/system" if name in drop_ins else "has no drop-in"
        yield f"{name} {where}: it belongs in both, or in neither of that and COMMANDS in on_host/facts/units.py"


def unordered_tasks() -> Iterator[str]:
    """The tasks of tasks/ that deploy.py doesn't have: nobody would ask them anything."""
    for path in sorted((ROOT / "tasks").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for task in vars(importlib.import_module(f"catmaid_deploy.{name}")).values():
            if isinstance(task, Task) and not any(task is one for one in order.TASKS):
                yield f"{path.relative_to(ROOT)} has the task {task.name!r}: TASKS in deploy.py doesn't have it"


LISTS = (
    List(order, "TASKS", unordered_tasks),
    List(units, "COMMANDS", undescribed_units),
    List(sites, "SAMPLES", sites.left_out),
    List(headers, "SECURITY", headers_of_the_book.missing),
    List(instances, "FOLDERS", undescribed_folders),
    List(instances, "LINKS", undescribed_links),
    List(distributions, "DISTRIBUTIONS", undescribed_distributions),
)


@pytest.mark.parametrize("one", LISTS, ids=lambda one: one.name)
def test_a_list_fits_what_is_said_elsewhere(one: List) -> None:
    assert list(one.missing()) == []


@pytest.mark.parametrize(
    ("one", "entry"),
    [
        pytest.param(one, entry, id=f"{one.name}-{min(one.called(entry))}".replace(" ", "-"))
        for one in LISTS
        for entry in one.entries
    ],
)
def test_an_entry_that_is_left_out_is_named(one: List, entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, rest, names = one.entries, one.without(entry), one.called(entry)
    # Also where a module has the list by a name of its own.
    for module in [module for name, module in sys.modules.items() if name.startswith(("catmaid_deploy", "test"))]:
        for name in [name for name, value in vars(module).items() if value is whole]:
            monkeypatch.setattr(module, name, rest)
    assert [sentence for sentence in one.missing() if any(name in sentence for name in names)]


@pytest.mark.parametrize("sample", sites.SAMPLES)
def test_a_sample_s_files_are_right(sample: str) -> None:
    """All sets of files are there, and nginx's are what they have to be."""
    deployment = schema.load(**sites.SAMPLES[sample])
    assert all(one.everything for one in preflight.wanted_sets(TASKS, deployment))
    assert semantics.faults(semantics.read(nginx.rendered(deployment, Server())[0]), deployment) == []


def test_every_template_is_rendered_for_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody renders is forgotten in its task, or the task in deploy.py."""
    read: set[str] = set()
    get_source = jinja2.FileSystemLoader.get_source

    def noting(self: jinja2.FileSystemLoader, environment: jinja2.Environment, template: str) -> Any:
        read.add(template)
        return get_source(self, environment, template)

    monkeypatch.setattr(jinja2.FileSystemLoader, "get_source", noting)
    render._environment.cache_clear()
    for deployment in sites.deployments().values():
        preflight.wanted_sets(TASKS, deployment)
    folder = ROOT / "templates"
    # The key of password cookies is made on the host, once; what names the code is asked, and no file.
    apart = {f"{KEY[1:]}.j2", "etc/catmaid/instance/_code.sh.j2"}
    unread = {str(path.relative_to(folder)) for path in folder.rglob("*.j2")} - read - apart
    assert sorted(f"no sample renders {name}" for name in unread) == []


def test_the_book_has_the_headers() -> None:
    """What comes from a host stands below, and `tests/host/test_web.py` compares it."""
    page = headers_of_the_book.TABLE
    head, text = headers_of_the_book.head(), page.read_text()
    if os.environ.get("CATMAID_WRITE"):
        _, rule, answers = text.rpartition("---|\n")
        assert rule
        page.write_text(head + answers)
    assert page.read_text().startswith(head), f"docs/{page.name}: run CATMAID_WRITE=1 pytest {__file__}"


def test_what_runs_on_hosts_is_of_the_oldest_python_among_them() -> None:
    oldest = min(one.python for one in distributions.DISTRIBUTIONS)
    for path in (ROOT / "catmaid_deploy/on_host").rglob("*.py"):
        ast.parse(path.read_text(), feature_version=oldest)


def test_another_place_for_an_instance_s_folders_is_taken_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the host is asked, its files and the jobs follow; nothing names the place of before."""
    before = [f"{place}/catmaid-moved" for place in instances.FOLDERS.values()]
    elsewhere = {kind: f"/elsewhere/{kind}" for kind in instances.FOLDERS}
    monkeypatch.setattr(instances, "FOLDERS", elsewhere)
    site = {"server_name": "a.org", "instances": [{"name": "catmaid-moved"}], "tls": {"certificate": "none"}}
    deployment = schema.load(site)
    texts = {f"question of {task.name}": str(task.question(deployment)) for task in TASKS}
    texts |= {f"last word of {task.name}": str(task.last_word(deployment)) for task in TASKS}
    texts |= {f"glance of {task.name}": str(task.glance(deployment, True)) for task in TASKS}
    for one in preflight.wanted_sets(TASKS, deployment):
        texts |= {item.path: f"{item.path} {getattr(item, 'text', item)}" for item in one.everything}
        texts[one.name] = str((one.checks, one.sweep, one.service, one.of_programs))
    (instance,) = deployment.instances
    members = supervisor.programs(instance)
    texts["the job of the programs"] = str(supervisor.service(deployment.sites[0], instance, members, []))
    gone = answers.survey(manifest={f"{supervisor.SET}catmaid-moved": {}}, files={}, supervisor={})
    (left,) = supervisor.removals((), gone)
    texts["an instance that left"] = str(left.set)
    assert [(name, place) for name, text in texts.items() for place in before if place in text] == []
    assert sum("/elsewhere/runtime/catmaid-moved" in text for text in texts.values()) > 5


def test_a_path_stands_once() -> None:
    """A constant of two modules is a place that moves in one of them alone."""
    found: dict[str, list[str]] = {}
    for path in [*(ROOT / "catmaid_deploy").rglob("*.py"), *(ROOT / "tasks").rglob("*.py")]:
        if any(parent.is_symlink() for parent in path.parents):
            continue
        for node in ast.parse(path.read_text()).body:
            values = ast.walk(node.value) if isinstance(node, ast.Assign) else ()
            for value in {one.value for one in values if isinstance(one, ast.Constant)}:
                if isinstance(value, str) and re.fullmatch(r"/run(/[\w.-]+)+|(/[\w.-]+){3,}", value):
                    found.setdefault(value, []).append(str(path.relative_to(ROOT)))
    assert {value: paths for value, paths in found.items() if len(paths) > 1} == {}
