"""A bundle: what it says of itself, how a deploy judges it, and how Debian's and Python's parts of it are made."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catmaid_deploy import bundles, schema, shell
from catmaid_deploy.bundles import Contents
from catmaid_deploy.finding import Refused
from catmaid_deploy.on_host import trust
from catmaid_deploy.on_host.operations import bundle as on_host
from catmaid_deploy.on_host.trust import Failed
from catmaid_deploy.operations.bundles import Sent
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan
from catmaid_deploy.plan.report import Report
from catmaid_deploy.schema.bundle import fetching, repository_file
from catmaid_deploy.tasks import bundle, distributions
from catmaid_deploy.tasks.bundle import __main__ as making
from catmaid_deploy.tasks.bundle import debian, python
from testbed.order import TASKS
from tests.unit.test_answers import of_script

ADDRESS = "https://git.example.org/lab/catmaid.git"
DEBIAN_12 = {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12 (bookworm)"}


def deployment(path: Path | str = "lab.tar", **instance: Any) -> schema.Deployment:
    releases = {"repository": ADDRESS, "revision": "1.0"}
    site = {"server_name": "a.org", "instances": [{"releases": releases, "install": {}} | instance]}
    return schema.load(site, offline=str(path))


def look(path: Path, missing: tuple[str, ...] = (), **more: Any) -> Look:
    survey: Any = {
        "os": DEBIAN_12,
        "bundle": {"id": "", "machine": "x86_64"},
        "environments": {"catmaid": {"there": False, "built": False}},
        "instances": {"catmaid": {"release": {"there": False, "all": []}}},
        "free": [{"path": "/var/lib", "mount": "/", "bytes": 1 << 30}],
        **more,
    }
    return Look(deployment(path), survey, missing=list(missing))


def contents(**more: Any) -> dict[str, Any]:
    name = deployment().instances[0].virtualenv.rpartition("/")[2]
    uv = deployment().instances[0].made_python
    assert uv
    return {
        "made": "0.2.0",
        "system": ("debian", "12"),
        "machine": "x86_64",
        "revisions": {ADDRESS: {"1.0": "c" * 40}},
        "environments": {ADDRESS: [name]},
        "wheels": {"uv": (uv.uv_version,)},
        "packages": {"nginx": "1.22.1-9"},
        **more,
    }


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A bundle with one file."""
    return write(tmp_path)


def write(folder: Path, **more: Any) -> Path:
    content = folder / "content/debs"
    content.mkdir(parents=True, exist_ok=True)
    (content / "Packages").write_text("Package: nginx\n")
    making.write(folder / "lab.tar", folder / "content", contents(**more))
    return folder / "lab.tar"


def fix(path: Path) -> str:
    """What makes another one."""
    words = f"{sys.executable} -m catmaid_deploy.tasks.bundle lab.py bookworm --output {path}"
    return f"on this machine: {words}"


@pytest.fixture(autouse=True)
def _inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(this_run, "inventory_file", lambda: "lab.py")


def lines(one: Look) -> list[str]:
    try:
        return [found.line() for found in bundle.faults(one)]
    except Refused as refused:
        return [found.line() for found in refused.findings]


def test_it_tells_what_it_has(written: Path) -> None:
    found = bundles.read(str(written))
    assert found == replace(Contents(id=found.id, **contents()), size=written.stat().st_size)
    with tarfile.open(written) as archive:
        assert archive.getnames() == ["bundle.json", "SHA256SUMS", "debs", "debs/Packages"]
        assert {(one.uid, one.uname) for one in archive} == {(0, "root")} | {(0, "")}


def test_the_same_files_have_the_same_digest(tmp_path: Path) -> None:
    found = [bundles.read(str(write(tmp_path / name))).id for name in ("a", "b")]
    assert found[0] == found[1]
    assert len(found[0]) == 64


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "can't be read (No such file or directory)"),
        (b"no archive", "is no bundle"),
        ({}, "is no bundle"),
        ({"format": 0}, "is no bundle of this version of the deploy"),
        ({"format": 1}, "is no bundle"),
        ({"format": 1, "wheels": [], "system": 3}, "is no bundle"),
    ],
)
def test_what_is_no_bundle_is_refused_in_one_line(tmp_path: Path, text: Any, why: str) -> None:
    path = tmp_path / "lab.tar"
    if isinstance(text, bytes):
        path.write_bytes(text)
    elif text is not None:
        data = str(text).replace("'", '"').encode()
        with tarfile.open(path, "w") as archive:
            member = tarfile.TarInfo("bundle.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    (line,) = lines(look(path))
    assert line == f"offline: {path} {why}: {fix(path)}"


def test_a_host_without_one_is_asked_nothing() -> None:
    one = look(Path("lab.tar"))
    one.deployment = one.deployment.model_copy(update={"offline": None})
    assert lines(one) == []
    assert [*bundle.steps(Plan(one, Report("web1")))] == []


def test_another_debian_and_another_machine_are_refused_in_one_line(tmp_path: Path) -> None:
    (line,) = lines(look(path := write(tmp_path, system=("debian", "13"), packages={})))
    what = f"offline: {path} was made for Debian 13, and the host has Debian GNU/Linux 12 (bookworm): "
    assert line == what + fix(path)
    (line,) = lines(look(path := write(tmp_path, machine="aarch64", packages={})))
    assert line.startswith(f"offline: {path} was made for a machine of aarch64, and the host is one of x86_64: have it")


@pytest.mark.parametrize(
    ("more", "missing", "what"),
    [
        ({}, (), ""),
        ({}, ("nginx", "git", "gcc"), "the package git, the package gcc"),
        ({"revisions": {}}, (), f"1.0 of {ADDRESS}"),
        ({"environments": {}}, (), "what the environment of catmaid is made of as the inventory has it"),
        ({"wheels": {"uv": ["0.1"]}}, (), "uv "),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    tmp_path: Path, more: dict[str, Any], missing: tuple[str, ...], what: str
) -> None:
    path = write(tmp_path, **more)
    found = lines(look(path, missing))
    assert [line.startswith(f"offline: {path} doesn't have {what}") for line in found] == ([True] if what else [])


def test_what_is_there_is_not_missed(tmp_path: Path) -> None:
    path = write(tmp_path, revisions={}, environments={}, wheels={})
    there = {"environments": {"catmaid": {"there": True}}, "instances": {"catmaid": {"release": {"there": True}}}}
    assert lines(look(path, (), **there)) == []


def test_a_web_server_for_a_virtualenv_of_somebody_elses(tmp_path: Path) -> None:
    one = look(write(tmp_path))
    python = {"python": {"have": {"uwsgi": None, "pip": "23"}}, "release": None}
    one.deployment = deployment(tmp_path / "lab.tar", releases=None, install=None)
    one.survey["instances"] = {"catmaid": python}  # type: ignore[dict-item]
    (line,) = lines(one)
    assert " doesn't have uwsgi 2.0." in line


def test_it_needs_room(tmp_path: Path) -> None:
    (line,) = lines(look(write(tmp_path), free=[{"path": "/var/lib", "mount": "/var", "bytes": 4096}]))
    assert line.startswith("space: 4.0 KiB are free on /var, the bundle needs ")


def test_it_is_sent_once(written: Path) -> None:
    plan = Plan(look(written), Report("web1"))
    (step,) = bundle.steps(plan)
    assert step.title == "bring the bundle"
    here = {"id": bundles.read(str(written)).id, "machine": "x86_64"}
    assert [*bundle.steps(Plan(look(written, bundle=here), Report("web1")))] == []


def test_all_that_fetches_fetches_from_it() -> None:
    found = deployment().fetching
    folder = "/var/lib/catmaid-deploy/bundle"
    assert found["APT_CONFIG"] == f"{folder}/apt.conf"
    assert found["PIP_FIND_LINKS"] == found["UV_FIND_LINKS"] == f"{folder}/wheels"
    assert found["GIT_CONFIG_KEY_0"] == f"url.{folder}/{repository_file(ADDRESS)}.insteadOf"
    assert found["GIT_CONFIG_VALUE_0"] == ADDRESS
    assert fetching([ADDRESS, ADDRESS])["GIT_CONFIG_COUNT"] == "1"
    assert "GIT_CONFIG_COUNT" not in fetching([])


def test_it_goes_with_no_proxy() -> None:
    with pytest.raises(schema.InvalidSite) as caught:
        schema.load({"server_name": "a.org", "instances": [{}]}, offline="a.tar", proxy="http://p:1")
    assert caught.value.lines == ["offline: with a proxy the host fetches by itself: remove one of both"]
    with pytest.raises(schema.InvalidSite) as caught:
        schema.load({"server_name": "a.org", "instances": [{}]}, offline="a b.tar")
    assert caught.value.lines == ["offline: 'a b.tar' is not allowed: write it as 'bundles/catmaid-bookworm.tar'"]


# ---- on the host ----


def placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: Path) -> Path:
    target = tmp_path / "host/bundle"
    target.mkdir(parents=True)
    (target / "old").touch()
    shutil.copy(archive, f"{target}.tar")

    def run(words: list[str], *_: Any) -> tuple[int, str]:
        done = subprocess.run(words, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    monkeypatch.setattr(on_host, "BUNDLE", str(target))
    monkeypatch.setattr(on_host, "ROOT", trust.Here())
    monkeypatch.setattr(on_host, "run", run)
    return target


def test_it_is_unpacked_in_the_place_of_another(written: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = placed(tmp_path, monkeypatch, written)
    on_host.unpack_bundle({"id": bundles.read(str(written)).id})
    assert {one.name for one in target.iterdir()} == {
        *("SHA256SUMS", "apt.conf", "bundle.json", "debs", "lists", "sources.list")
    }
    assert (target / "sources.list").read_text() == f"deb [trusted=yes] file:{target}/debs ./\n"
    assert [one.name for one in target.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("how", ["cut", "another"])
def test_what_came_in_part_is_not_taken(
    written: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    if how == "cut":
        written.write_bytes(written.read_bytes()[:1700])
    target = placed(tmp_path, monkeypatch, written)
    with pytest.raises(Failed, match="isn't whole on the host, run again"):
        on_host.unpack_bundle({"id": "0" * 64})
    # What was there is there, and nothing else.
    assert [one.name for one in target.iterdir()] == ["old"]
    assert [one.name for one in target.parent.iterdir()] == ["bundle"]


def test_dd_is_plain_words_for_every_shell() -> None:
    command = Sent(Path("lab.tar"), "/var/lib/catmaid-deploy/bundle.tar").get_raw_value()
    assert shell.line(True, False, command).endswith(
        " /usr/bin/dd of=/var/lib/catmaid-deploy/bundle.tar bs=1M status=none"
    )


# ---- whether its packages go with the host's ----

INDEX = """Package: catmaid-test-base
Version: 2
Architecture: all
Filename: ./base.deb
Size: 1

Package: catmaid-test-top
Version: 2
Architecture: all
Depends: catmaid-test-base (= 3)
Filename: ./top.deb
Size: 1
"""


class User:
    """Whoever runs this test, in nobody's place."""

    def run(self, words: list[str], _: int, **variables: str) -> tuple[int, str]:
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **variables})
        return done.returncode, done.stdout + done.stderr

    def do(self, act: Any) -> Any:
        return act(trust.Here())


@pytest.mark.skipif(not shutil.which("apt-get"), reason="asks apt")
def test_apt_is_asked_and_changes_nothing(tmp_path: Path) -> None:
    def said(*names: str) -> str:
        folder = tmp_path / "-".join(names)
        folder.mkdir()
        question = {"index": INDEX, "packages": [*names]}
        return str(of_script("facts.bundle").refusal_by_apt(asking.tried_by_apt(User(), str(folder), question)))

    asking = of_script("facts.bundle")
    assert said("catmaid-test-base") == ""
    assert said("catmaid-test-top").startswith("catmaid-test-top : Depends: catmaid-test-base (= 3)")
    # The machine's own sources don't count.
    assert said("bash-completion-of-nobody") == "E: Unable to locate package bash-completion-of-nobody"


def test_what_apt_says_is_a_line_of_the_run(tmp_path: Path) -> None:
    plan = Plan(look(path := write(tmp_path), ("nginx",)), Report("web1"))
    asked: list[Any] = []

    def ask(_: Any, question: Any) -> Any:
        asked.append(question)
        return {"apt": "nginx : Depends: libc6 (= 2)"}

    (line,) = [found.line() for found in bundle.sought(plan, ask)]
    assert (
        line == f"offline: the packages of {path} don't go with the host's (nginx : Depends: libc6 (= 2)): {fix(path)}"
    )
    assert asked == [{"index": "Package: nginx\n", "packages": ["nginx"]}]
    assert [*bundle.sought(Plan(look(path), Report("web1")), ask)] == []
    with pytest.raises(bundles.Unreadable):
        bundles.index(str(tmp_path / "nowhere.tar"))


# ---- how it is made ----


def test_a_bare_host_s_packages_are_those_of_its_description() -> None:
    bookworm = distributions.DISTRIBUTIONS[0]
    found = debian.names(TASKS, deployment(), bookworm)
    assert {"nginx", "supervisor", "git", "postgresql-15", "rabbitmq-server", "gcc", "libgdal32"} <= set(found)
    assert "certbot" not in found
    assert "postgresql-17" in debian.names(TASKS, deployment(), distributions.DISTRIBUTIONS[1])


def test_what_a_source_is_built_by(tmp_path: Path) -> None:
    def source(name: str, text: str | None) -> Path:
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            for file, data in (("pyproject.toml", text), ("setup.py", "")):
                if data is not None:
                    member = tarfile.TarInfo(f"{name.removesuffix('.tar.gz')}/{file}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data.encode()))
        return tmp_path / name

    old = source("uwsgi-2.0.31.tar.gz", None)
    new = source("numpy-1.22.4.tar.gz", '[build-system]\nrequires = ["Cython>=0.29"]\n')
    assert python.builders(old) == ["setuptools", "wheel"]
    assert python.builders(new) == ["Cython>=0.29", "setuptools", "wheel"]
    (tmp_path / "Django-5.2.19-py3-none-any.whl").touch()
    assert python.sources(tmp_path) == [new, old]
    wheels = python.Wheels(tmp_path, tmp_path, "3.11", "x86_64")
    assert wheels.versions() == {"django": ("5.2.19",), "numpy": ("1.22.4",), "uwsgi": ("2.0.31",)}


def test_what_has_no_wheel_comes_as_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(words: list[str], what: str, **_: str) -> str:
        names = [word for word in words if "==" in word]
        asked.append(f"{'source' if any('--no-binary' in word for word in words) else 'wheel'} {' '.join(names)}")
        if "--only-binary=:all:" in words and "old==1" in names:
            raise debian.NotMade(what)
        return ""

    monkeypatch.setattr(python, "run", run)
    python.Wheels(tmp_path, tmp_path, "3.11", "x86_64").fetch(["uwsgi==2.0.31", "django==5", "old==1"])
    assert asked == [
        "source uwsgi==2.0.31",
        "wheel django==5 old==1",
        "wheel django==5",
        "wheel old==1",
        "source old==1",
    ]


def test_what_cannot_be_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(debian.NotMade, match="it can't be made: /nowhere can't be run"):
        debian.run(["/nowhere"], "it can't be made")
    with pytest.raises(debian.NotMade, match="it can't be made:\nwhy"):
        debian.run(["sh", "-c", "echo why; false"], "it can't be made")


def test_repositories_are_one_file_each(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path / "lab"), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "init", "-q", str(tmp_path / "lab")], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    subprocess.run([*git, "tag", "1.0"], check=True)
    address = f"file://{tmp_path}/lab"
    (instance,) = deployment(releases={"repository": address, "revision": "1.0"}).instances
    for folder in ("work", "target"):
        (tmp_path / folder / "repositories").mkdir(parents=True)
    found = making.fetch_repositories([instance, instance], tmp_path / "work", tmp_path / "target")
    assert len(found[address]["1.0"]) == 40
    words = ["git", "ls-remote", "--tags", str(tmp_path / "target" / repository_file(address))]
    assert "refs/tags/1.0" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
    (other,) = deployment(releases={"repository": address, "revision": "9"}).instances
    shutil.rmtree(tmp_path / "work/repositories")
    with pytest.raises(debian.NotMade, match=f"{address} has no 9"):
        making.fetch_repositories([other], tmp_path / "work", tmp_path / "target")


def test_an_inventory_that_is_wrong_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"web1": schema.load({"server_name": "a.org", "instances": [{}]})}
    monkeypatch.setattr(schema, "load_all", lambda _: found)
    monkeypatch.setattr(making, "inventory_of", lambda _: [])
    assert making.described("lab.py", "") == [*found.values()]
    with pytest.raises(debian.NotMade, match=r"lab\.py has no host web2: it has web1"):
        making.described("lab.py", "web2")


def test_a_host_that_has_all_needs_no_file(tmp_path: Path) -> None:
    there = {"environments": {"catmaid": {"there": True}}, "instances": {"catmaid": {"release": {"there": True}}}}
    one = look(tmp_path / "nowhere.tar", (), **there)
    assert lines(one) == []
    assert [*bundle.steps(Plan(one, Report("web1")))] == []
    one.missing = ["nginx"]
    (line,) = lines(one)
    assert "can't be read" in line
