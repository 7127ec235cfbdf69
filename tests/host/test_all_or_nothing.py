"""A run that fails, is cut or meets another leaves what ran before, and the next run mends it."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.podman import command
from testbed.run import Run, pyinfra
from tests.host.conftest import SITE, boot_packed, boot_ready, copy_project, differences, serves, settled

pytestmark = pytest.mark.xdist_group("all-or-nothing")


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_ready(bed, "bookworm", "whole")
    yield host
    host.remove()


def other_site() -> dict[str, Any]:
    """SITE with a change in each of its sets."""
    site = copy.deepcopy(SITE)
    site["instances"][0].update(body_limit="30m", workers=3, celery={"concurrency": 1, "log_level": "warning"})
    site["instances"][1]["threads"] = 2
    site["instances"][2]["runtime_mode"] = "0750"
    return site


def deploy(host: BedHost, site: dict[str, Any] | None = None, **options: Any) -> Run:
    run = pyinfra(host, {"site": site or SITE}, "-y", **options)
    assert run.code == 0, run.text
    return run


# ---- what a parser or a service refuses ----


def with_template(tmp_path: Path, template: str, change: Callable[[str], str]) -> Path:
    """A copy of the project in which one template is another."""
    copy_project(tmp_path)
    file = tmp_path / "templates" / f"{template}.j2"
    text = change(file.read_text())
    assert text != file.read_text()
    file.write_text(text)
    return tmp_path


REFUSED = {
    "nginx": ("etc/nginx/sites-available/site.conf", "nonsense;\n", 'unknown directive "nonsense"'),
    "uwsgi": ("etc/catmaid/instance/wsgi/uwsgi.ini", "nonsense = 1\n", "unknown config directive: nonsense"),
    "supervisor": ("etc/supervisor/conf.d/instance.conf", "\n[program:nonsense]\n", "does not specify a command"),
    "sh": ("etc/catmaid/instance/daphne/run.sh", "if nonsense; fi\n", "Syntax error"),
    "logrotate": ("etc/logrotate.d/catmaid", "/tmp/none {\n nonsense\n}\n", "nonsense"),
    "systemd-analyze": ("etc/systemd/system/nginx.service.d/catmaid.conf", "Nonsense=1\n", "Unknown key"),
    "systemd-tmpfiles": ("etc/tmpfiles.d/catmaid.conf", "nonsense\n", "Syntax error"),
}
SAMPLE = ("nginx", "uwsgi", "supervisor")


@pytest.mark.parametrize("who", [pytest.param(w, marks=[] if w in SAMPLE else [pytest.mark.long]) for w in REFUSED])
def test_files_that_a_parser_refuses_reach_nothing(host: BedHost, tmp_path: Path, who: str) -> None:
    template, nonsense, says = REFUSED[who]
    before = settled(host)
    cwd = with_template(tmp_path, template, lambda text: text + nonsense)
    run = pyinfra(host, {"site": SITE}, "-y", cwd=cwd)
    assert run.code != 0
    assert f"{who} refuses the new files: nothing was changed" in run.text
    assert says in run.text
    assert "/var/lib/catmaid-deploy/stage" not in run.text
    assert differences(before, settled(host)) == []
    assert serves(host)
    assert deploy(host).changed == []


def test_a_program_that_does_not_start_is_put_back(host: BedHost, tmp_path: Path) -> None:
    before = settled(host)
    script = "etc/catmaid/instance/wsgi/run.sh"
    cwd = with_template(tmp_path, script, lambda text: text.replace("exec ", "echo no luck today; exit 3; exec "))
    run = pyinfra(host, {"site": SITE}, "-y", cwd=cwd)
    assert run.code != 0
    assert "the new release is refused, the one before serves" in run.text
    assert "no luck today" in run.text
    assert "the files of before are back" in run.text
    wait_for("what ran before", lambda: serves(host), 60)
    assert differences(before, settled(host)) == []
    assert deploy(host).changed == []


def test_an_nginx_that_can_not_load_its_files_is_put_back(host: BedHost, tmp_path: Path) -> None:
    """A port that another process holds passes nginx's test of the files, and fails its reload."""
    before = settled(host)
    held = subprocess.Popen([*command(), "exec", host.name, "timeout", "120", "python3", "-m", "http.server", "8123"])
    try:
        wait_for("the port", lambda: "8123" in host.run("ss -ltn"), 20)
        shared = "etc/nginx/conf.d/catmaid.conf"
        cwd = with_template(
            tmp_path, shared, lambda text: text.replace("    listen 80;", "    listen 80; listen 8123;", 1)
        )
        run = pyinfra(host, {"site": SITE}, "-y", cwd=cwd)
        assert run.code != 0
        assert "doesn't take the new configuration" in run.text
        assert "Address already in use" in run.text
        assert differences(before, settled(host)) == []
        assert serves(host)
    finally:
        host.run("pkill -f '^python3 -m http.server 8123' || true")
        held.wait(timeout=20)
    assert deploy(host).changed == []


def test_a_full_disk_while_staging(host: BedHost) -> None:
    place = "/var/lib/catmaid-deploy"
    before = settled(host)
    mount = [*command(), "exec", "--privileged", host.name]
    subprocess.run([*mount, "mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", place], check=True)
    try:
        site = copy.deepcopy(SITE)
        site["instances"][0]["body_limit"] = "30m"  # nginx's set alone
        run = pyinfra(host, {"site": site}, "-y")
        assert run.code != 0
        assert "No space left on device" in run.text
        assert "nothing was changed" in run.text
        assert serves(host)
    finally:
        subprocess.run([*mount, "umount", place], check=True)
    assert differences(before, settled(host)) == []
    assert deploy(host).changed == []


# ---- runs that break off ----


def cut(host: BedHost, site: dict[str, Any], after: int) -> None:
    """A run whose process is killed after so many operations."""
    run = pyinfra(host, {"site": site}, "-y", before="tests/host/cut.py", env={"CATMAID_CUT": str(after)})
    assert run.code == -9, run.text


def points(count: int, request: pytest.FixtureRequest, sample: tuple[int, ...]) -> list[int]:
    """After which operations to cut: all with --long, else a sample; none after the last, when the run has ended."""
    return list(range(1, count)) if request.config.getoption("long") else [n for n in sample if n < count]


def test_an_update_cut_after_each_operation(host: BedHost, request: pytest.FixtureRequest) -> None:
    """What ran before serves on, a reboot at that point works, and the next run ends as one without a cut."""
    whole = deploy(host, other_site())
    wanted = settled(host)
    assert len(whole.changed) == 7
    deploy(host)
    start = settled(host)
    for after in points(len(whole.changed), request, (3,)):
        cut(host, other_site(), after)
        wait_for(f"the pages after a cut at {after}", lambda: serves(host), 60)
        if request.config.getoption("long") or after == 3:
            host.reboot()
            wait_for(f"the pages after a reboot at {after}", lambda: serves(host), 120)
        healed = deploy(host, other_site())
        # Of one that was cut after its last change there is nothing left.
        assert "was cut before its end; " in healed.text
        assert (after, differences(wanted, settled(host))) == (after, [])
        assert deploy(host, other_site()).changed == []
        deploy(host)
        assert differences(start, settled(host)) == []


@pytest.mark.long
def test_a_first_deploy_cut_after_each_operation(bed: Bed, host: BedHost, request: pytest.FixtureRequest) -> None:
    """From a host without a file of a deploy: after any cut the next run ends where one without a cut does."""
    wanted = settled(host)
    for after in points(11, request, (3,)):
        fresh = boot_packed(bed, "bookworm", f"cut{after}")
        assert len(pyinfra(fresh, {"site": SITE}, "--dry").planned) == 11
        cut(fresh, SITE, after)
        fresh.reboot()
        deploy(fresh)
        assert serves(fresh)
        assert (after, differences(wanted, settled(fresh))) == (after, [])
        fresh.remove()


class Background(threading.Thread):
    """A run beside the test."""

    def __init__(self, host: BedHost, site: dict[str, Any]) -> None:
        super().__init__()
        self.host, self.site = host, site
        self.run_: Run | None = None
        self.start()

    def run(self) -> None:
        self.run_ = pyinfra(self.host, {"site": self.site}, "-y")

    def end(self) -> Run:
        self.join(timeout=300)
        assert self.run_ is not None
        return self.run_


def stopping(host: BedHost) -> bool:
    """Whether a job on the host is at work on the programs."""
    return "STOPPING" in host.run("supervisorctl status || true") or "STARTING" in host.run(
        "supervisorctl status || true"
    )


def at_its_turn(host: BedHost) -> Background:
    """A run that changes programs, at work on them."""
    # An earlier test's old worker may be ending yet, which isn't this run's turn.
    wait_for("the end of the old programs", lambda: not stopping(host), 60)
    run = Background(host, other_site())
    wait_for("the programs' turn", lambda: stopping(host), 60, every=0.05)
    return run


def test_the_connection_is_lost_in_the_middle(host: BedHost) -> None:
    """What the host has begun it ends; the next run finds that out and goes on."""
    run = at_its_turn(host)
    host.run("pkill -KILL -f '^sshd: root@notty'")
    assert run.end().code != 0
    deploy(host, other_site())
    wait_for("the pages", lambda: serves(host), 60)
    assert deploy(host, other_site()).changed == []
    deploy(host)


@pytest.mark.long
def test_the_host_is_rebooted_in_the_middle(host: BedHost) -> None:
    before = settled(host)
    run = at_its_turn(host)
    host.reboot()
    assert run.end().code != 0
    wait_for("the pages", lambda: serves(host), 120)
    deploy(host, other_site())
    assert deploy(host, other_site()).changed == []
    deploy(host)
    assert differences(before, settled(host)) == []


# ---- two runs, and the record ----


def test_two_runs_at_once(host: BedHost, request: pytest.FixtureRequest) -> None:
    """One works, the other stops with a line that says who deploys since when."""
    rounds = 20 if request.config.getoption("long") else 2
    for number in range(rounds):
        site = copy.deepcopy(SITE)
        site["instances"][0]["environment"] = {"ROUND": str(number)}
        both = [Background(host, site) for _ in range(2)]
        first, second = sorted((one.end() for one in both), key=lambda run: run.code)
        assert (first.code, second.code) == (0, 1), (first.text, second.text)
        assert first.changed_services == ["programs of catmaid"]
        assert second.changed_services == []
        assert re.search(r"\S+@\S+ (deploys (to this host|there) since|changed this host at) 20\d\d-", second.text), (
            second.text
        )
        assert "Traceback" not in second.text
        # Refused before it began, or by the host's own lock.
        assert "failed: nothing was changed" in second.text or second.refusals, second.text
        assert pyinfra(host, {"site": site}, "-y").changed == []
    deploy(host)


def test_a_dry_run_beside_a_run_says_so(host: BedHost) -> None:
    run = at_its_turn(host)
    dry = pyinfra(host, {"site": SITE}, "--dry")
    end = run.end()
    assert (dry.code, end.code) == (0, 0), (dry.text, end.text)
    assert re.search(r"deploys there since \S+, which may change what is shown", dry.text), dry.text
    deploy(host)


def test_a_run_leaves_a_line(host: BedHost) -> None:
    host.run("echo '# by hand' >> /etc/nginx/conf.d/catmaid.conf")
    lines = host.run("wc -l < /var/log/catmaid-deploy.log")
    deploy(host)
    last = host.run("tail -n 1 /var/log/catmaid-deploy.log").split("\t")
    assert int(host.run("wc -l < /var/log/catmaid-deploy.log")) == int(lines) + 1
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", last[0])
    assert last[1].endswith(f"@{os.uname().nodename}")
    assert last[3] == "nginx (change /etc/nginx/conf.d/catmaid.conf, reload nginx: its files change)"
    again = deploy(host)
    assert f"last changed {last[0]} by {last[1]}" in again.text
    assert host.run("tail -n 1 /var/log/catmaid-deploy.log").split("\t") == last


# fcntl's locks, as dpkg takes them; for some seconds.
HOLD = "import fcntl, time; f = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep({})"


def test_another_installation_is_waited_for(host: BedHost) -> None:
    host.run("DEBIAN_FRONTEND=noninteractive apt-get -qq -y remove logrotate >/dev/null 2>&1")
    held = subprocess.Popen([*command(), "exec", host.name, "python3", "-c", HOLD.format(20)])
    wait_for("the lock", lambda: bool(host.run("pgrep -f lock-frontend || true")), 10)
    run = deploy(host)
    held.wait(timeout=40)
    assert "waiting for python3 (process " in run.text
    assert host.run("dpkg-query -W -f '${db:Status-Status}' logrotate") == "installed"


# ---- what left the inventory, and what others put there ----


def test_an_instance_that_left_is_removed_with_its_programs(host: BedHost) -> None:
    before = settled(host)
    host.run("cp /etc/supervisor/conf.d/catmaid-root.conf /etc/supervisor/conf.d/catmaid-mine.conf.off")
    smaller = copy.deepcopy(SITE)
    del smaller["instances"][2]
    dry = pyinfra(host, {"site": smaller}, "--dry", "--diff")
    assert "remove /etc/supervisor/conf.d/catmaid-root.conf" in dry.text
    run = deploy(host, smaller)
    assert run.changed == dry.planned
    assert "catmaid-root" not in host.run("supervisorctl status || true")
    # Its worker ends in its own time.
    wait_for("the worker's end", lambda: host.run("pgrep -fc catmaid-root || true") == "0", 30)
    left = (
        "ls -d /etc/catmaid/catmaid-root /etc/supervisor/conf.d/catmaid-root.conf /run/catmaid-root 2>/dev/null || true"
    )
    assert host.run(left) == ""
    assert host.run("ls -d /var/log/catmaid-root /var/lib/catmaid-root").split() != []
    assert host.run("ls /etc/supervisor/conf.d/") == "catmaid-fafb.conf\ncatmaid-mine.conf.off\ncatmaid.conf"
    assert deploy(host, smaller).changed == []
    host.run("rm /etc/supervisor/conf.d/catmaid-mine.conf.off")
    deploy(host)
    assert differences(before, settled(host)) == []


def test_a_changed_default_site_stays(host: BedHost) -> None:
    host.run(
        "cd /etc/nginx; cp sites-available/default /tmp/; echo '# mine' >> sites-available/default;"
        "ln -s /etc/nginx/sites-available/default sites-enabled/default"
    )
    try:
        run = deploy(host)
        # Theirs answers unknown names, and ours gives way: nginx takes one of two.
        assert run.changed_services == ["nginx"]
        assert "nginx: /etc/nginx/sites-enabled/default stays, since its site was changed by somebody" in run.text
        assert "nginx: /etc/nginx/sites-enabled/default answers host names that no site has" in run.text
        host.run("nginx -t -q")
        assert deploy(host).changed == []
    finally:
        host.run("rm /etc/nginx/sites-enabled/default; cp /tmp/default /etc/nginx/sites-available/default")
    assert deploy(host).changed_services == ["nginx"]
    assert deploy(host).changed == []
