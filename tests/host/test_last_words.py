"""What a run says last is so: runs on a deployed host whose services were harmed, or that are interrupted."""

from __future__ import annotations

import copy
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.images import ROOT
from testbed.run import CHECKOUT, PYINFRA, Run, pyinfra
from tests.host.conftest import SITE, boot_packed, boot_ready, everything_runs, serves

pytestmark = pytest.mark.xdist_group("last words")
NOTHING = "nothing to do: everything is and runs as described"
SETTINGS = f"{CHECKOUT}/django/projects/mysite/settings.py"
SUPERVISORD = "/etc/supervisor/supervisord.conf"
LOG = "/var/log/catmaid-deploy.log"
LAST = "cat /var/lib/catmaid-deploy/last-run.json"


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_ready(bed, "bookworm", "words")
    yield host
    host.remove()


def changed(**values: Any) -> dict[str, Any]:
    """SITE with other values for its first instance."""
    site = copy.deepcopy(SITE)
    site["instances"][0].update(values)
    return site


def deploy(host: BedHost, code: int = 0, site: dict[str, Any] | None = None, *options: str) -> Run:
    run = pyinfra(host, {"site": site or SITE}, *(options or ("-y",)))
    assert run.code == code, run.text
    return run


def send(host: BedHost, name: str, pattern: str) -> None:
    """Send a signal to all processes whose command line is as the shell's pattern says."""
    host.run(f"""
        for process in /proc/[0-9]*; do
            case $(tr '\\0' ' ' < $process/cmdline 2>/dev/null) in
                sh*) ;;
                {pattern}) kill -{name} ${{process#/proc/}} ;;
            esac
        done
    """)


# ---- what doesn't serve isn't called well ----


STOPPED = {
    "wsgi": '*"bin/uwsgi --ini /etc/catmaid/catmaid/wsgi-"*',
    "daphne": '*"/etc/catmaid/catmaid/daphne-"*',
    "celery": '*"--hostname catmaid-"[ab]@*',
    "celery-beat": '*"/etc/catmaid/catmaid/celery-beat-"*',
}


@pytest.mark.row_33
@pytest.mark.parametrize(
    "short", ["wsgi", *(pytest.param(one, marks=pytest.mark.long) for one in ("daphne", "celery", "celery-beat"))]
)
def test_what_a_signal_has_stopped_goes_on(host: BedHost, short: str) -> None:
    send(host, "STOP", STOPPED[short])
    run = deploy(host)
    assert f"continue {short}: a signal has stopped it" in run.text
    assert "done" in run.text
    assert serves(host)
    assert NOTHING in deploy(host).text


# What a deploy doesn't change: how it comes, how it goes again, and what the run says of it.
FAULTS = {
    "a broken file of somebody's": (
        "echo 'nonsense;' > /etc/nginx/conf.d/broken.conf",
        "rm /etc/nginx/conf.d/broken.conf",
        "FAULT nginx's file /etc/nginx/conf.d/broken.conf: it would not start with its files as they are: [emerg] "
        'unknown directive "nonsense"',
    ),
    "a second default server": (
        "printf 'server {\\n listen 80 default_server;\\n}\\n' > /etc/nginx/sites-enabled/theirs",
        "rm /etc/nginx/sites-enabled/theirs",
        "a duplicate default server for 0.0.0.0:80",
    ),
    "a broken file of Supervisor's": (
        "echo 'nonsense' > /etc/supervisor/conf.d/broken.conf",
        "rm /etc/supervisor/conf.d/broken.conf",
        "FAULT supervisor's file /etc/supervisor/conf.d/broken.conf: it would not start with its files as they are: "
        "Error: File contains no section headers.",
    ),
    "another web server at boot": (
        "ln -s /lib/systemd/system/apache2.service /etc/systemd/system/multi-user.target.wants/apache2.service",
        "rm /etc/systemd/system/multi-user.target.wants/apache2.service",
        "FAULT boot: apache2.service starts at boot, and may take nginx's ports before nginx does: "
        "systemctl disable apache2.service",
    ),
}


@pytest.mark.row_33
@pytest.mark.parametrize(
    "kind", [one if n == 0 else pytest.param(one, marks=pytest.mark.long) for n, one in enumerate(FAULTS)]
)
def test_what_a_deploy_cannot_change_is_no_success(host: BedHost, kind: str) -> None:
    harm, undo, words = FAULTS[kind]
    host.run(harm)
    try:
        for options in ((), ("--dry",)):
            run = deploy(host, 1, None, *options)
            assert words in run.text
            assert NOTHING not in run.text
    finally:
        host.run(undo)
    assert NOTHING in deploy(host).text


@pytest.mark.row_33
def test_a_release_that_refuses_users_is_refused(host: BedHost, request: pytest.FixtureRequest) -> None:
    """For each of the site's names, and whatever it answers that isn't below 400."""
    ways = {"ALLOWED_HOSTS = ['localhost']": "answers /catmaid/ as tracing.test with 400"}
    if request.config.getoption("long"):
        ways["ALLOWED_HOSTS = ['other.example']"] = "answers /catmaid/ as localhost with 400"
        ways["ROOT_URLCONF = 'empty_urls'"] = "answers /catmaid/ as localhost with 404"
    host.run(
        f"cp -p {SETTINGS} /root/settings.py; echo 'urlpatterns = []' > {Path(SETTINGS).parent.parent}/empty_urls.py"
    )
    for line, words in ways.items():
        host.run(f'cp -p /root/settings.py {SETTINGS}; echo "{line}" >> {SETTINGS}')
        run = deploy(host, 1)
        assert words in run.text
        assert "failed: what ran before still runs; fix the cause and run again" in run.text
        assert "serves https://localhost/catmaid/" in run.text
        assert host.run(f"tail -n 1 {LOG}").endswith("failed: Configuration: programs of catmaid")
        assert serves(host)
    host.run(f"cp -p /root/settings.py {SETTINGS}")
    run = deploy(host)
    # What failed has written that down by itself, and nothing is said of it for ever.
    assert "was cut" not in run.text
    assert NOTHING in deploy(host).text


# ---- what Supervisor never reads ----


@pytest.mark.row_33
def test_a_supervisor_that_reads_other_files(host: BedHost) -> None:
    """Nothing is touched, neither on a deployed host nor by a dry run."""
    host.run(f"cp -p {SUPERVISORD} /root/supervisord.conf; sed -i 's#^files = .*#files = conf.d/*.ini#' {SUPERVISORD}")
    try:
        for options in (("-y",), ("--dry",)):
            run = deploy(host, 1, changed(celery={"concurrency": 1, "stop_seconds": 77}), *options)
            assert "supervisor: it reads /etc/supervisor/conf.d/*.ini, and so no program of a deploy" in run.text
            assert run.changed == []
    finally:
        host.run(f"cp -p /root/supervisord.conf {SUPERVISORD}")
    assert serves(host)


@pytest.mark.row_33
@pytest.mark.long
def test_a_first_deploy_that_fails_says_that_nothing_serves(bed: Bed) -> None:
    fresh = boot_packed(bed, "bookworm", "first")
    fresh.run("echo 'raise SystemExit(\"not today\")' >> " + SETTINGS)
    run = deploy(fresh, 1)
    assert "failed: nothing serves; fix the cause and run again" in run.text
    assert "serves https" not in run.text
    fresh.remove()


# ---- runs that are interrupted ----


def begin(host: BedHost, folder: Path, site: dict[str, Any], *options: str) -> subprocess.Popen[str]:
    inventory = folder / "inventory.py"
    inventory.write_text(f"hosts = {[('host', host.ssh_data('root') | {'site': site})]!r}\n")
    words = [PYINFRA, *options, str(inventory), "deploy.py"]
    return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def interrupt(run: subprocess.Popen[str], at: str) -> str:
    """Press Ctrl-C when a line says this; returns what is said after it."""
    assert run.stderr
    for line in run.stderr:
        if at in line:
            break
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130, error
    return error


@pytest.mark.row_33
def test_ctrl_c_while_it_looks(host: BedHost, tmp_path: Path) -> None:
    error = interrupt(begin(host, tmp_path, SITE), "Preparing operation files")
    assert "interrupted: nothing was changed on any host" in error
    assert "serves" not in error
    assert NOTHING in deploy(host).text


@pytest.mark.row_33
def test_ctrl_c_in_a_hand_over(host: BedHost, tmp_path: Path) -> None:
    """The job on the host goes on to its end. That is in the log at the latest when the next run has looked."""
    site = changed(celery={"concurrency": 1, "log_level": "warning"})
    error = interrupt(begin(host, tmp_path, site, "-y"), "beside celery-")
    assert f"interrupted: what was under way goes on to its end there, and {LOG} says what came of it" in error
    assert "serves" not in error
    wait_for("the end of the job", lambda: '"did"' in host.run(LAST) or '"cut"' in host.run(LAST), 120)
    wait_for("the programs", lambda: everything_runs(host), 60)
    run = deploy(host, 0, site)
    assert NOTHING in run.text
    assert "was cut before its end; it had done: programs of catmaid" in host.run(f"tail -n 1 {LOG}")
    # Once.
    assert "was cut" not in deploy(host, 0, site).text
    deploy(host)


# ---- what is told in the wrong words ----


@pytest.mark.row_33
@pytest.mark.long
def test_a_way_back_is_kept_for_each_program(host: BedHost) -> None:
    """A hand-over of Celery alone doesn't take the web server's way back."""
    deploy(host, 0, changed(threads=3))
    deploy(host, 0, changed(threads=3, celery={"concurrency": 2}))
    run = pyinfra(host, {"site": SITE}, "--dry", deploy="runbooks/rollback.py")
    assert "wsgi-b to wsgi-a" in run.text or "wsgi-a to wsgi-b" in run.text
    assert "celery-b to celery-a" in run.text or "celery-a to celery-b" in run.text
    deploy(host)
