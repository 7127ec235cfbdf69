"""Warnings and judgements that need no host."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.answers.survey import Account, Survey
from catmaid_deploy.finding import Finding
from catmaid_deploy.plan.look import Look
from catmaid_deploy.run import preflight
from catmaid_deploy.tasks import access, system
from catmaid_deploy.tasks.application import installed as application
from catmaid_deploy.tasks.application import settings as settings_of_django
from testbed.order import TASKS
from tests import answers

TLS = {"certificate": "/etc/ssl/a.org.pem", "key": "/etc/ssl/a.org.key"}
SITE = schema.load({"server_name": "a.org", "tls": TLS, "instances": [{"workers": 8, "threads": 2}]})


def survey(**more: Any) -> Survey:
    found: dict[str, Any] = {"memory": 1 << 30, "work_mem": None, "lock": None, "last_run": {}}
    found |= {"os": {"id": "debian", "version": "12"}, "packages": {}, "ipv6": True, "openssl": [3, 0]}
    found |= {"closed": {}, "default_servers": [], "neighbours": [], "password_lines": [], "descriptors": 65536}
    found |= {"own_locations": {}, "nginx_files_of_others": [], "supervisor_file": None}
    found |= {"somaxconn": 4096, "swap": 0, "processors": 2}
    found["hanging"] = []
    found["served_folders"] = {path: {"links": []} for _, path in access.served(SITE)}
    found |= {"certificates": {"a.org served": {"problem": "", "missing_names": [], "seconds_left": 1e7}}}
    found |= {"instances": {"catmaid": {"silent": {}, "settings_problem": None}}, "rabbitmq": {"made": {}}}
    return answers.survey(**found | more)


def warned(found: Survey, ahead: float = 0, to_do: bool = True) -> list[Finding]:
    look = Look(SITE, found, ahead=ahead)
    return [*preflight.standing(TASKS, look), *preflight.of_this_run(TASKS, look, to_do)]


def only(findings: list[Finding]) -> str:
    (finding,) = findings
    return finding.line()


@pytest.mark.row_5
def test_work_mem_that_does_not_fit_is_told_with_the_three_figures() -> None:
    line = only(warned(survey(work_mem=128 << 10), 0))
    assert line.startswith(
        "workers: 16 (workers x threads of all instances) x 128 MiB (PostgreSQL's work_mem) = 2048 MiB"
    )
    assert "the host has 1024 MiB: lower workers, threads or work_mem" in line
    assert warned(survey(work_mem=4 << 10), 0) == []
    assert warned(survey(), 0) == []


@pytest.mark.row_34
def test_a_queue_that_the_kernel_cuts() -> None:
    line = only(warned(survey(somaxconn=128), 0))
    assert line.startswith(
        "kernel: net.core.somaxconn is 128: so few requests may wait for uWSGI, further ones get 502"
    )


@pytest.mark.row_34
@pytest.mark.parametrize(
    ("memory", "swap", "workers", "fits"),
    [(8, 0, 8, True), (8, 0, 512, False), (8, 24, 512, True), (2, 0, 72, False), (64, 0, 512, True)],
)
def test_what_is_asked_for_has_to_fit_whatever_runs(memory: int, swap: int, workers: int, fits: bool) -> None:
    site = schema.load({"server_name": "a.org", "instances": [{"workers": workers}]})
    found = survey(memory=memory << 30, swap=swap << 30, systemd=True, free=[], ports={})
    found["os"]["name"] = "Debian"
    said = [finding.line() for finding in system.judge_system(Look(site, found))]
    assert (said == []) == fits
    if not fits:
        assert said[0].startswith(f"workers: {workers + 2} workers (workers and celery.concurrency of all instances) ")
        assert f"the host has {(memory + swap) << 10} MiB with its swap: lower workers or celery.c" in said[0]


@pytest.mark.row_34
@pytest.mark.parametrize(
    ("mounts", "has_packages", "says"),
    [
        ({"/": 710}, False, []),
        ({"/": 690}, False, ["space: 690 MiB are free on /, 710 MiB are needed"]),
        ({"/": 650, "/tmp": 60}, False, []),
        ({"/": 1000, "/tmp": 40}, False, ["space: 40 MiB are free on /tmp, 60 MiB are needed"]),
        ({"/": 60, "/tmp": 60}, True, []),
        ({"/": 60, "/var": 40}, True, ["space: 40 MiB are free on /var, 50 MiB are needed"]),
        ({"/": 1000, "/run": 0}, False, ["space: 0 MiB are free on /run, 1 MiB are needed"]),
    ],
)
def test_a_file_system_is_judged_by_what_is_written_to_it(
    mounts: dict[str, int], has_packages: bool, says: list[str]
) -> None:
    found = survey(systemd=True, ports={}, memory=64 << 30)
    found["os"]["name"] = "Debian"
    missing = [] if has_packages else ["nginx"]
    # systemd always has one of its own for /run.
    mounts = {system.RUN: 1} | mounts
    paths = [*system.SPACE, system.RUN, SITE.instances[0].virtualenv]
    found["free"] = []
    for path in paths:
        mount = max((one for one in mounts if f"{path}/".startswith(f"{one.rstrip('/')}/")), key=len)
        found["free"].append({"path": path, "mount": mount, "bytes": mounts[mount] << 20})
    said = [finding.line() for finding in system.judge_system(Look(SITE, found, missing=missing))]
    assert [line.partition(" needed")[0] + " needed" for line in said] == says


def test_links_that_nginx_does_not_follow() -> None:
    found = survey()
    folder = SITE.instances[0].files_folder
    found["served_folders"][folder]["links"] = ["old files"]
    line = only(warned(found, 0))
    assert line.startswith(f"site.instances[catmaid].files_folder: {folder}/old files is a link to what another user")


def test_a_clock_that_is_off() -> None:
    line = only(warned(survey(), -95.0))
    assert line.startswith("clock: the host's is 95 s behind this machine's: correct the one that is wrong")
    assert warned(survey(), 5.0) == []


def test_a_run_that_broke_off() -> None:
    last = {"admin": "jane@lab", "since": "2026-11-24T10:00:00+0000"}
    line = only(warned(survey(last_run=last), 0))
    assert line == (
        "deploy: the run of jane@lab at 2026-11-24T10:00:00+0000 was cut before its end; this one does what is left"
    )
    line = only(warned(survey(last_run=last), 0, False))
    assert line.endswith("was cut before its end; nothing is left to do of it")
    assert warned(survey(last_run=last | {"ended": True}), 0) == []
    holder = last | {"alive": True}
    assert warned(survey(last_run=last, lock=holder), 0) == []


@pytest.mark.row_9
def test_the_first_folder_that_blocks_is_named_once() -> None:
    asked = access.accesses(SITE)
    blocked = [("/home/catmaid", "o") if user == schema.NGINX_USER else None for _, user, _, _ in asked]
    line = only(access.judge_access(SITE, answers.survey(blocked=blocked, packages={"acl": "2"})))
    assert line.endswith("can't enter /home/catmaid: setfacl -m g:www-data:x /home/catmaid")


@pytest.mark.parametrize(
    ("account", "said"),
    [
        (None, ""),
        ({"uid": 33, "groups": ["www-data", "sudo"]}, ""),
        ({"uid": 0, "groups": ["web"]}, "has the rights of 'root'"),
        ({"uid": 33, "groups": ["www-data", "docker"]}, "has the rights of 'docker'"),
    ],
)
def test_a_service_user_who_is_root_by_another_name(account: Account | None, said: str) -> None:
    found = list(application.judge_user(SITE.instances[0], account))
    assert bool(found) == bool(said)
    assert all(said in finding.what for finding in found)


@pytest.mark.row_9
def test_a_folder_of_files_is_to_be_written_to() -> None:
    asked = access.accesses(SITE)
    blocked = [(path, "o") if want == access.WRITE else None for _, _, path, want in asked]
    line = only(access.judge_access(SITE, answers.survey(blocked=blocked, packages={})))
    files = SITE.instances[0].files_folder
    install = "apt-get update && apt-get install -y acl && "
    assert line.endswith(
        f"www-data can't write in {files}: {install}setfacl -R -m g:www-data:rwX,d:g:www-data:rwX {files}"
    )


@pytest.mark.parametrize("part", ["/etc", "/etc/shadow", "/root"])
def test_no_fix_opens_what_is_the_system_s(part: str) -> None:
    asked = access.accesses(SITE)
    blocked = [(part, "o") if number == 0 else None for number in range(len(asked))]
    (finding,) = access.judge_access(SITE, answers.survey(blocked=blocked, packages={}))
    assert isinstance(finding.fix, str)


def test_an_environment_that_was_closed_and_is_open_is_no_reason_to_go_on() -> None:
    """Of what is in it nothing is known."""
    closed: dict[str, Any] = {"unreachable": True}
    (finding,) = access._unsteady(SITE, answers.survey(instances={"catmaid": {"python": closed}}))
    assert finding.place == "site.instances[catmaid].virtualenv"
    assert list(access._unsteady(SITE, answers.survey(instances={"catmaid": {"python": {"have": {}}}}))) == []


FOLDER = "/home/catmaid/catmaid-server/django/static"


@pytest.mark.parametrize(
    ("static", "real", "holds", "said"),
    [
        (FOLDER, FOLDER, [], ""),
        ("/srv/static", "/srv/static", [["settings", "mysite/settings.py"]], "has a file of settings in it"),
        ("/srv/static", "/srv/static", [["key", "a.pem"]], "has a private key in it, a.pem"),
        ("/srv/static", "/etc", [], "is the system's"),
        ("/home", "/home", [], "is the system's"),
        ("/home/catmaid", "/home/catmaid", [], "django/projects in it"),
        ("/home/catmaid/catmaid-server/django", "/x", [], "django/projects in it"),
        ("/var/log/catmaid", "/var/log/catmaid", [], "is the system's"),
    ],
)
def test_what_is_served_is_what_is_meant(static: str, real: str, holds: list[list[str]], said: str) -> None:
    site = schema.load({"server_name": "a.org", "instances": [{"static_folder": static}]})
    served = {static: {"real": real, "holds": holds}}
    for _, path in access.served(site):
        served.setdefault(path, {"real": path, "holds": []})
    found = list(access.judge_served(site, answers.survey(served_folders=served)))
    assert len(found) == bool(said)
    assert all(said in finding.what and finding.place.endswith(".static_folder") for finding in found)


def test_a_fallback_is_no_file_of_the_system_s() -> None:
    tiles = {"name": "t", "url": "/t", "folder": "/d/t", "fallback": "/etc/shadow"}
    site = schema.load({"server_name": "a.org", "tiles": [tiles]})
    survey = answers.survey(served_folders={"/d/t": {"real": "/d/t", "holds": []}})
    (finding,) = access.judge_served(site, survey)
    assert finding.place == "site.tiles[t].fallback"


@pytest.mark.parametrize(
    ("root", "real", "said"),
    [
        (FOLDER, FOLDER, False),
        # By a link.
        ("/srv/static", FOLDER, False),
        ("/srv/static", "/srv/static", True),
        (None, None, False),
    ],
)
def test_folders_are_those_of_django(root: str | None, real: str | None, said: bool) -> None:
    files = SITE.instances[0].files_folder
    settings = {"STATIC_ROOT": root, "MEDIA_ROOT": files, "real": {"STATIC_ROOT": real, "MEDIA_ROOT": files}}
    served = {path: {"real": path, "holds": []} for path in (FOLDER, files)}
    survey = answers.survey(instances={"catmaid": {"settings": settings}}, served_folders=served)
    found = list(settings_of_django.judge_roots(SITE.instances[0], survey))
    assert [finding.place for finding in found] == (["static_folder"] if said else [])


def test_a_disk_that_does_not_answer_is_all_that_is_said() -> None:
    hanging = [["www-data", "/home/lab", "/home"], ["www-data", "/home/more", "/home"], ["root", "/x", "/"]]
    home, other = preflight.judge(TASKS, Look(SITE, answers.survey(hanging=hanging)))
    assert home.what == "/home/lab gives www-data no answer in time, and 1 more about /home"
    assert other.what == "/x gives root no answer in time"


def test_settings_that_can_t_be_loaded_and_files_that_root_reads_are_named() -> None:
    broken = {"catmaid": {"silent": {}, "settings_problem": "NameError: x"}}
    others = [["/etc/nginx/conf.d/lab.conf", "alice"]]
    first, second = warned(survey(instances=broken, nginx_files_of_others=others), 0)
    assert "can be changed by alice, and nginx reads it as root" in first.what
    assert second.what.endswith("NameError: x")


@pytest.mark.parametrize(
    ("dry", "begins", "asked"),
    [(False, 4, 3), (True, 4, 3), (False, 1000, SITE.instances[0].start_seconds // 2 + 1), (True, 1000, 11)],
)
def test_what_has_just_begun_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, dry: bool, begins: float, asked: int
) -> None:
    """By a dry run as well, for some seconds: what it plans is what the run does."""
    clock, asks = SimpleNamespace(now=0.0), []
    said: list[str] = []

    def ask(*_: Any) -> tuple[dict[str, Any], float]:
        asks.append(clock.now)
        word = "starting" if clock.now < begins else "well"
        return {"package_manager": None, "asked": {"programs": {"celery-beat of catmaid": word}}}, 0.0

    monkeypatch.setattr(preflight, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr("gevent.sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    monkeypatch.setattr(preflight, "ask", ask)
    monkeypatch.setattr(preflight, "host", SimpleNamespace(print_prefix=""))
    monkeypatch.setattr("catmaid_deploy.run.ask.host", SimpleNamespace(print_prefix=""))
    monkeypatch.setattr("catmaid_deploy.run.ask.logger", SimpleNamespace(info=said.append))
    monkeypatch.setattr("catmaid_deploy.plan.this_run.DRY", dry)
    preflight.survey((), SITE)
    assert len(asks) == asked
    assert said == ["waiting for celery-beat of catmaid, which has just begun"]
