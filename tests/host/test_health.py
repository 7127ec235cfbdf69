"""The runbooks that look: no fault, no complaint; and each fault is named with its cause and its fix."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import ssl
import subprocess
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from catmaid_deploy import schema
from catmaid_deploy.answers import health as answers
from catmaid_deploy.facts import survey as facts
from catmaid_deploy.finding import HERE
from catmaid_deploy.run import preflight
from catmaid_deploy.upkeep import health
from testbed import images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.images import ROOT
from testbed.order import TASKS
from testbed.peers import script
from testbed.podman import BedError
from testbed.run import PYINFRA, VIRTUALENV, Run, pyinfra
from testbed.updates import SITE as ONE
from testbed.updates import release
from testbed.websocket import connect
from tests.answers import mistakes
from tests.host.conftest import boot_ready, running
from tests.host.faults import FAULTS, FILES, MOUNT, PUT_TILES, SAMPLE, SELF_SIGNED, SETTINGS, TILES, Fault
from tests.host.web import HASH

pytestmark = pytest.mark.xdist_group("health")

CONNECT = f"""
grep -q sqlite3 {SETTINGS} || echo '
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "/srv/database/db.sqlite3"}}}}' >> {SETTINGS}
install -d -o www-data /srv/database
"""


def site(host: BedHost, **more: Any) -> dict[str, Any]:
    """One instance and a tile set on a disk, at the port that leads here."""
    one = copy.deepcopy(ONE)
    one["tls"] = {"certificate": "self-signed", "port": host.ports[443]}
    one["instances"][0]["migrate"] = "before"
    one["instances"][0]["programs"] = [{"name": "large", "celery": {"concurrency": 1, "queues": ["large"]}}]
    one["instances"][0]["database"] = {"host": "127.0.0.1", "port": 22}
    one["tiles"] = [
        {
            "name": "fafb",
            "url": "/tiles/fafb",
            "folder": TILES,
            "mount": "/data/disk",
            "marker": "/data/disk/.there",
            "fallback": "/srv/grey.jpg",
        }
    ]
    return one | more


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_ready(bed, "bookworm", "health")
    host.run(f"mkdir -p /data/disk; echo grey > /srv/grey.jpg; chmod 644 /srv/grey.jpg\n{CONNECT}")
    host.run_privileged(MOUNT)
    host.run(PUT_TILES)
    deploy(host)
    yield host
    host.remove()


def deploy(host: BedHost) -> None:
    run = pyinfra(host, {"site": site(host)}, "-y")
    assert run.code == 0, run.text
    wait_for("all programs", lambda: running(host) == 5, 30)


def runbook(host: BedHost, name: str, *options: str, **more: Any) -> Run:
    return pyinfra(host, {"site": site(host)}, *options, deploy=f"runbooks/{name}.py", **more)


def findings(run: Run, level: str = "fault") -> list[dict[str, str]]:
    (host,) = run.report["hosts"]
    return [one for one in host["findings"] if one["level"] == level]


def change(host: BedHost, script: str, privileged: bool) -> None:
    """Run a fault's script, whose end may be RELEASE, BREAK or DEPLOY."""
    script, what, _ = re.split(r"(RELEASE|BREAK|DEPLOY|$)", script, maxsplit=1)
    (host.run_privileged if privileged else host.run)(script)
    if what:
        release(host, "other", broken="import" if what == "BREAK" else "", seconds=0.5)
    if what == "DEPLOY":
        deploy(host)


def test_no_fault_no_complaint(host: BedHost) -> None:
    """Beside what is true of every trial: its certificate, and what Debian has new."""
    for name in ("verify", "status"):
        run = runbook(host, name)
        assert findings(run) == []
        assert run.code == 0, run.text
        places = {one["place"] for one in findings(run, "warning")}
        assert places <= {"site[localhost].tls.certificate", "packages", "nginx"}, findings(run, "warning")
    checks = run_checks(host)
    for kind in ("page", "static file", "WebSocket", "task", "notice"):
        assert f"{kind} of catmaid" in checks
    assert {"tile of fafb", "missing tile of fafb", "TLS of localhost", "from here to localhost"} <= set(checks)


def test_what_a_host_answers_is_as_its_type_says(host: BedHost) -> None:
    """Of one that serves: with programs, an nginx, a probe that loads the application, pages that answer."""
    deployment = schema.load(site(host))
    question = health.question(TASKS, deployment, preflight.wanted_sets(TASKS, deployment), verify=True)
    command = facts.Verify().command(json.dumps(question)).get_raw_value()
    answer = json.loads(script.ssh(host, command).splitlines()[-1])
    assert [*mistakes(answer, answers.Health)] == []
    assert {one["state"] for one in answer["survey"]["supervisor"].values()} >= {"RUNNING"}
    assert answer["instances"]["catmaid"]["probe"]["broken"] is None
    assert answer["instances"]["catmaid"]["statistics"]
    assert {one["status"] for one in answer["pages"]} >= {200, 301}


def run_checks(host: BedHost) -> dict[str, str]:
    (one,) = runbook(host, "verify").report["hosts"]
    checks: dict[str, str] = one["checks"]
    return checks


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SAMPLE else pytest.mark.long) for name in FAULTS]
)
def test_each_fault_is_named(host: BedHost, request: pytest.FixtureRequest, tmp_path: Path, name: str) -> None:
    """In one line; and what it says to do ends it. A command is typed as it was printed."""
    fault = FAULTS[name]
    look = Look(fault, host, tmp_path)
    change(host, fault.breaks, fault.privileged)
    try:
        if fault.level == "warning" and "restart supervisor" in fault.breaks:
            # A program that has just begun is a fault of its own.
            well(host)
        names = ("status", "verify") if request.config.getoption("long") else ("verify",)
        with ThreadPoolExecutor() as pool:
            runs = dict(zip(names, pool.map(look.asked, names), strict=True))
        # The host is well again, whatever comes of the rest.
        commands = [one for one in named(fault, runs["verify"]) if one["on"] and not fault.privileged]
        for finding in commands:
            typed(host, finding, look.env)
        if not commands:
            change(host, fault.mends, fault.privileged)
        if fault.then:
            (finding,) = findings(look.asked("verify"))
            assert finding["place"] == fault.then
            typed(host, finding, look.env)
        well(host, fault)
    finally:
        change(host, fault.cleans, fault.privileged)
        if "restart supervisor" in fault.cleans:
            # All programs begin anew, and the next test asks how they are.
            well(host)
    for name, run in runs.items():
        says = fault.says if name == "verify" or fault.glance is None else fault.glance
        found = named(fault, run)
        assert [says in one["what"] for one in found] == [True] * bool(says), found
        assert all(one["fix"] for one in found)
        assert run.code == int(fault.level == "fault" and bool(says)), run.text
        if says == fault.says:
            assert found[0]["place"] == fault.place


def named(fault: Fault, run: Run) -> list[dict[str, Any]]:
    """What a run says of a fault; beside a warning there are some that are true of every host of the tests."""
    if fault.level == "fault":
        return findings(run)
    assert findings(run) == []
    return [one for one in findings(run, "warning") if fault.says in one["what"]]


class Look:
    """Asks about a fault, by an inventory that stays for its fix."""

    def __init__(self, fault: Fault, host: BedHost, folder: Path) -> None:
        data = site(host)
        if fault.described:
            fault.described(data)
        self.inventory = folder / "inventory.py"
        self.inventory.write_text(f"hosts = {[('host', host.ssh_data() | {'site': data})]!r}\n")
        self.env = {}
        if fault.ahead:
            clock = f"import time\nreal = time.time\ntime.time = lambda: real() + {fault.ahead}\n"
            (folder / "sitecustomize.py").write_text(clock)
            self.env = {"PYTHONPATH": str(folder)}

    def asked(self, name: str) -> Run:
        """What a runbook prints for machines."""
        words = [PYINFRA, "--json", str(self.inventory), f"runbooks/{name}.py"]
        env = {**os.environ, **self.env}
        done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
        return Run(done.returncode, json.loads(done.stdout or "{}"), done.stderr)


def well(host: BedHost, fault: Fault | None = None) -> None:
    """No fault is left within a minute, nor what a warning said."""
    left: list[dict[str, Any]] = []

    def no_fault() -> bool:
        run = runbook(host, "verify")
        warned = findings(run, "warning") if fault and fault.level == "warning" else []
        left[:] = findings(run) + [one for one in warned if fault and fault.says in one["what"]]
        return not left

    try:
        wait_for("no fault", no_fault, 60, every=2)
    except BedError:
        raise AssertionError(left) from None


def typed(host: BedHost, finding: dict[str, Any], env: dict[str, str]) -> None:
    """The fix, exactly as it is printed, typed into bash where it says."""
    if finding["on"] == "host":
        host.run(f"exec bash -ec {shlex.quote(finding['fix'])}")
        return
    assert finding["on"] == HERE
    words = ["bash", "-ec", finding["fix"]]
    done = subprocess.run(
        words,
        cwd=ROOT,
        env={**os.environ, **env},
        input="\n",
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr


def test_what_was_mended_is_well(host: BedHost) -> None:
    wait_for("all programs", lambda: running(host) == 5, 60)
    well(host)


@pytest.mark.row_20
@pytest.mark.row_21
def test_a_task_tells_pages_and_leaves_a_file(host: BedHost) -> None:
    """As CATMAID's exports do: the worker writes below MEDIA_ROOT, nginx hands it out, a notice says so."""
    trust = host.trust()
    url = f"wss://localhost:{host.ports[443]}/catmaid/channels/updates/"
    with (
        connect(url, trust) as page,
        httpx.Client(base_url=host.url, timeout=30, trust_env=False, verify=trust) as browser,
    ):
        file = browser.post("/catmaid/export?name=skeletons.txt&text=one").json()["url"]
        wait_for("the file", lambda: browser.get(file).status_code == 200, 20, every=0.2)
        assert browser.get(file).text == "one"
        assert browser.post("/catmaid/notice?text=skeletons").status_code == 200
        assert json.loads(page.recv(timeout=20)) == {"event": "notice", "payload": "skeletons"}
    host.run(f"rm {FILES}/skeletons.txt")


@pytest.mark.long
@pytest.mark.row_21
def test_pages_that_gave_up_on_the_broker_come_back_with_it(host: BedHost) -> None:
    """Each that ends while it waits for the broker once took the connection to it from all the others, for ever."""
    trust = host.trust()
    url = f"wss://localhost:{host.ports[443]}/catmaid/channels/updates/"
    host.run("systemctl stop rabbitmq-server")
    try:
        for _ in range(3):
            with pytest.raises(TimeoutError), connect(url, trust, open_timeout=2):
                pass
        # Daphne ends what has no page any more, 10 s later.
        time.sleep(20)
    finally:
        host.run("systemctl start rabbitmq-server")
    with connect(url, trust, open_timeout=30) as page, httpx.Client(verify=trust, trust_env=False) as browser:
        assert browser.post(f"{host.url}/catmaid/notice?text=back").status_code == 200
        assert json.loads(page.recv(timeout=20)) == {"event": "notice", "payload": "back"}
    well(host)


@pytest.mark.long
def test_a_notice_of_verify_is_seen_by_nobody_and_leaves_nothing(host: BedHost) -> None:
    left = "find /tmp /var/tmp -user www-data | wc -l; rabbitmqctl -q list_queues name | sed s/channels_.*// | sort"
    url = f"wss://localhost:{host.ports[443]}/catmaid/channels/updates/"
    assert "notice of catmaid" in run_checks(host)
    before = host.run(left)
    with connect(url, host.trust()) as page:
        assert "notice of catmaid" in run_checks(host)
        with pytest.raises(TimeoutError):
            page.recv(timeout=1)
    assert host.run(left) == before


@pytest.mark.long
def test_a_notice_is_seen_behind_a_password(host: BedHost) -> None:
    """nginx asks verify for one: Daphne's own socket is asked in its place."""
    data = site(host)
    data["instances"][0]["passwords"] = {"alice": HASH}
    run = pyinfra(host, {"site": data}, "-y")
    assert run.code == 0, run.text
    run = pyinfra(host, {"site": data}, deploy="runbooks/verify.py")
    deploy(host)
    (one,) = run.report["hosts"]
    assert "notice of catmaid" in one["checks"], run.text


def test_status_fits_a_terminal_and_tells_machines_the_same(host: BedHost) -> None:
    text = text_of(host, "status")
    assert all(len(line) <= 100 for line in text.splitlines()), text
    for word in ("wsgi", "RUNNING", "certificate:", "threads busy", "WebSockets", "tasks in celery", "for security"):
        assert word in text
    (one,) = runbook(host, "status").report["hosts"]
    assert [p["state"] for p in one["instances"]["catmaid"]["programs"]] == ["RUNNING"] * 5
    assert one["instances"]["catmaid"]["queues"] == {"celery": 0, "large": 0}
    assert one["last_run"]["ended"]
    assert one["tiles"]["fafb"]["mounted"]
    assert one["instances"]["catmaid"]["websockets"] == 0
    trust = ssl.create_default_context(cadata=host.run(f"cat {SELF_SIGNED}/fullchain.pem"))
    url = f"wss://localhost:{host.ports[443]}/catmaid/channels/echo/"
    with connect(url, trust), connect(url, trust):
        (one,) = runbook(host, "status").report["hosts"]
        assert one["instances"]["catmaid"]["websockets"] == 2


def text_of(host: BedHost, name: str, *options: str) -> str:
    """What a runbook prints for people."""
    run = pyinfra(host, {"site": site(host)}, *options, deploy=f"runbooks/{name}.py", json_output=False)
    assert run.code == 0, run.text
    return re.sub(r"\x1b\[[0-9;]*m", "", run.text)


def test_a_glance_goes_by_what_was_noted_of_the_settings(host: BedHost) -> None:
    """Only as long as they are the same, for their user alone, and never against what the broker says."""
    notes = "/run/catmaid/addresses"

    def queues() -> object:
        (one,) = runbook(host, "status").report["hosts"]
        return one["instances"]["catmaid"]["queues"]

    host.run(f"rm -f {notes}; sleep 2")
    assert queues() == {"celery": 0, "large": 0}
    assert host.run(f"stat -c '%U %a' {notes}") == "www-data 600"
    kept = json.loads(host.run(f"cat {notes}"))
    assert f"{SETTINGS}" in kept["state"][2]
    assert kept["database"][1]["database"] == "/srv/database/db.sqlite3"
    # A sign that it is these that are gone by.
    host.put(notes, json.dumps(kept | {"queues": []}).encode())
    assert queues() == {}
    host.run(f"touch {SETTINGS}")
    assert queues() == {"celery": 0, "large": 0}
    # What changed within the last two seconds may be newer than what was read.
    changed, noted = map(float, host.run(f"stat -c %.Z {SETTINGS}; stat -c %.Y {notes}").split())
    assert noted > changed + 2 or host.run(f"cat {notes}") == json.dumps(kept | {"queues": []})
    host.run("sleep 2")
    assert queues() == {"celery": 0, "large": 0}
    assert json.loads(host.run(f"cat {notes}"))["queues"] == ["celery", "large"]
    for breaks, mends, says in (
        ("mv /srv/database /srv/away", "mv /srv/away /srv/database", "it doesn't answer: OperationalError"),
        ("rabbitmqctl -q stop_app", "rabbitmqctl -q start_app", "it doesn't answer: "),
    ):
        host.run(breaks)
        try:
            found = findings(runbook(host, "status"))
        finally:
            host.run(mends)
        assert any(says in one["what"] for one in found), found
    deploy(host)
    wait_for("an empty queue", lambda: queues() == {"celery": 0, "large": 0}, 30, every=1)


def test_nothing_of_a_virtualenv_runs_as_root(host: BedHost) -> None:
    """What its owner puts there is run by each start of its Python: by its user, who runs that all the time."""
    folder = host.run(f"echo {VIRTUALENV}/lib/python3*/site-packages")
    line = "import os; os.write(os.open('/tmp/who', os.O_WRONLY | os.O_CREAT | os.O_APPEND), b'%d ' % os.geteuid())"
    host.put(f"{folder}/who.pth", f"{line}\n".encode())
    host.run(f"touch /tmp/who; chmod 666 /tmp/who; chown -R www-data {VIRTUALENV}")
    try:
        runbook(host, "status")
        runbook(host, "verify")
        pyinfra(host, {"site": site(host)}, "--dry")
        seen = host.run("cat /tmp/who").split()
    finally:
        host.run(f"rm {folder}/who.pth /tmp/who; chown -R catmaid: {VIRTUALENV}")
    assert seen
    assert set(seen) == {host.run("id -u www-data")}


def test_closed_and_opened(host: BedHost) -> None:
    words = ("--data", "maintenance=on", "--data", "text=A new disk.", "--data", "end=2031-12-01T18:00+01:00")
    dry = runbook(host, "maintenance", "--dry", *words)
    assert dry.planned
    assert "A new disk." not in notice(host)
    assert runbook(host, "maintenance", "-y", *words).changed == dry.planned
    assert "A new disk." in notice(host)
    assert runbook(host, "maintenance", "-y", *words).changed == []
    off = runbook(host, "maintenance", "-y", "--data", "maintenance=off")
    assert off.code == 0, off.text
    assert "Stand-in" in notice(host)
    assert pyinfra(host, {"site": site(host)}, "-y").changed == []
    one = ("--data", "maintenance=on", "--data", "instance=catmaid")
    assert runbook(host, "maintenance", "-y", *one).code == 0
    assert "Your saved work is safe" in notice(host)
    # A deploy leaves closed what is closed.
    assert pyinfra(host, {"site": site(host)}, "-y").changed == []
    assert runbook(host, "maintenance", "-y", "--data", "maintenance=off", "--data", "instance=catmaid").code == 0
    assert "Stand-in" in notice(host)


def notice(host: BedHost) -> str:
    return host.run("curl -sk --resolve localhost:443:127.0.0.1 https://localhost/catmaid/")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("maintenance=of",), "maintenance: say what to do"),
        (("maintenance=on", "end=soon"), "end: 'soon' is not a time"),
        (("maintenance=on", "instance=catmaid-x"), "instance: there is no 'catmaid-x'"),
        (("maintenance=on", "allow=home"), "allow: 'home'"),
    ],
)
def test_what_can_t_be_closed_is_told(host: BedHost, options: tuple[str, ...], says: str) -> None:
    run = runbook(host, "maintenance", "-y", *(word for one in options for word in ("--data", one)))
    assert run.code == 1
    (line,) = run.refusals
    assert says in line
    assert "Traceback" not in run.text


@pytest.mark.row_34
@pytest.mark.parametrize(
    ("name", "option", "says"),
    [
        ("rollback", "instanc=catmaid", "--data instanc: this runbook doesn't know it: did you mean instance?"),
        ("rollback", "instance=fafb", "host: instance: there is no 'fafb': give one of catmaid, or none for all of"),
        ("maintenance", "ends=tomorrow", "--data ends: this runbook doesn't know it: did you mean end?"),
        ("logs", "tail=5", "--data tail: this runbook doesn't know it: it takes instance, lines, bundle"),
        ("status", "instance=catmaid", "--data instance: this runbook doesn't know it: it takes none"),
        ("verify", "page=/catmaid/", "--data page: this runbook doesn't know it: it takes mail"),
    ],
)
def test_a_name_that_a_runbook_does_not_know_is_refused(host: BedHost, name: str, option: str, says: str) -> None:
    run = runbook(host, name, "-y", "--data", option)
    assert run.code == 1
    assert f"--> {says}" in run.text
    assert "Traceback" not in run.text


SECRETS = (
    "amqp://tracer:hunter2@broker/",
    "Cookie: sessionid=hunter2",
    "GET /x?api_key=hunter2&y=1",
    "password='hunter2'",
)


def test_a_bundle_has_no_secrets(host: BedHost, tmp_path: Path) -> None:
    log = "/var/log/catmaid/wsgi-a.log"
    host.put("/tmp/secrets", "".join(f"{line}\n" for line in SECRETS).encode())
    host.run(f"cat /tmp/secrets >> {log}; cat /tmp/secrets >> /var/log/nginx/error.log")
    run = runbook(host, "logs", "--data", "lines=20")
    assert run.code == 0, run.text
    assert "GET /x?api_key=REMOVED&y=1" in run.report["host"][log]
    runbook(host, "logs", "--data", f"bundle={tmp_path}/report")
    with tarfile.open(tmp_path / "report.tar.gz") as bundle:
        texts = {entry.name: bundle.extractfile(entry).read().decode() for entry in bundle if entry.isfile()}  # type: ignore[union-attr]
    assert len([name for name in texts if "/etc/catmaid/" in name]) > 8
    assert any(name.endswith("sites-available/catmaid-localhost.conf") for name in texts)
    for name, text in texts.items():
        assert "hunter2" not in text, name


def test_a_bare_host_is_told_what_it_lacks(bed: Bed) -> None:
    with images.lock("bookworm"):
        image = images.host("bookworm")
    bare = bed.boot(image, "health-bare", hostname="host")
    try:
        for name in ("verify", "status"):
            run = pyinfra(bare, {"site": ONE}, deploy=f"runbooks/{name}.py")
            assert run.code == 1
            assert "Traceback" not in run.text
            said = " ".join(one["what"] for one in findings(run))
            assert "/home/catmaid/catmaid-server isn't there" in said
            assert "nothing was deployed to this host yet" in said
        for name in ("maintenance", "logs", "rollback"):
            run = pyinfra(bare, {"site": ONE}, "--data", "maintenance=off", deploy=f"runbooks/{name}.py")
            assert "Traceback" not in run.text
    finally:
        bare.remove()


def test_eight_hosts_are_asked_side_by_side(host: BedHost) -> None:
    """How long that takes is for `make bench`."""
    more = {f"host{number}": host.ssh_data() | {"site": site(host)} for number in range(2, 9)}
    start = time.monotonic()
    run = pyinfra(host, {"site": site(host)}, deploy="runbooks/status.py", more=more)
    assert run.code == 0, run.text
    assert [one["host"] for one in run.report["hosts"]] == ["host", *sorted(more)]
    assert time.monotonic() - start < 120
