"""What a run says last is so: runs on a deployed host whose services were harmed, or that are interrupted.

Also: a dry run foretells migrations (`test_releases`), Ctrl-C at each moment (`test_run` of the unit tests), a renewal
that fails or is off (`test_acme`), faults and their fixes one by one (`test_health`).
"""

from __future__ import annotations

import copy
import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.images import ROOT
from testbed.run import CHECKOUT, PYINFRA, Run, pyinfra
from tests.host.conftest import SITE, boot_packed, boot_ready, everything_runs, place, processes, serves
from tests.host.test_health import findings, typed

pytestmark = pytest.mark.xdist_group("last words")
NOTHING = "nothing to do: everything is and runs as described"
SETTINGS = f"{CHECKOUT}/django/projects/mysite/settings.py"
PROJECTS = str(Path(SETTINGS).parent.parent)
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


def all_serve(host: BedHost) -> None:
    """Supervisor calls a program RUNNING after three seconds, and a deploy knows before that it serves."""
    wait_for("all programs and pages", lambda: serves(host), 30)


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
    all_serve(host)
    assert NOTHING in deploy(host).text


@dataclass(frozen=True)
class Fault:
    """What a deploy doesn't change: how it comes, what a run and `status` say of it, and how it goes again.

    + harm: a script for the host
    + says: what the line of the fault has in it
    + undo: a script; empty where the fix is a command, which is typed
    + privileged: whether the scripts need rights that the host itself hasn't
    """

    harm: str
    says: str
    undo: str = ""
    privileged: bool = False


RELOAD = "systemctl reload nginx; sleep 1"
THEIRS = "/etc/nginx/conf.d/theirs.conf"
LAB = "/etc/supervisor/conf.d/lab.conf"
DROP_IN = "/etc/systemd/system/nginx.service.d/zz.conf"
OTHER_COMMAND = "/usr/sbin/nginx -c /etc/nginx/lab.conf"
FIREWALL = """
    nft add table inet lab; nft add chain inet lab input '{ type filter hook input priority 0; }'
    nft add rule inet lab input iif lo tcp dport 443 drop
"""
FAULTS = {
    "a broken file of somebody's": Fault(
        "echo 'nonsense;' > /etc/nginx/conf.d/broken.conf",
        "nginx's file /etc/nginx/conf.d/broken.conf: it would not start with its files as they are: [emerg] "
        'unknown directive "nonsense"',
        "rm /etc/nginx/conf.d/broken.conf",
    ),
    "a broken file of Supervisor's": Fault(
        "echo 'nonsense' > /etc/supervisor/conf.d/broken.conf",
        "supervisor's file /etc/supervisor/conf.d/broken.conf: it would not start with its files as they are: "
        "Error: File contains no section headers.",
        "rm /etc/supervisor/conf.d/broken.conf",
    ),
    "another web server at boot": Fault(
        "ln -s /lib/systemd/system/apache2.service /etc/systemd/system/multi-user.target.wants/apache2.service",
        "boot: apache2.service starts at boot, and may take nginx's ports before nginx does",
        "rm /etc/systemd/system/multi-user.target.wants/apache2.service",
    ),
    "another site with the name": Fault(
        f"printf 'server {{ listen 80; listen 443 ssl; server_name wiki.test tracing.test;\\n"
        f"ssl_certificate /etc/catmaid/tls/self-signed/localhost/fullchain.pem;\\n"
        f"ssl_certificate_key /etc/catmaid/tls/self-signed/localhost/privkey.pem; return 200; }}' > {THEIRS}; {RELOAD}",
        f"nginx's files: {THEIRS}:1 answers for tracing.test in the place of its site",
        f"rm {THEIRS}; {RELOAD}",
    ),
    "another site on this host's own address": Fault(
        f'echo "server {{ listen $(hostname -i):443; return 444; }}" > {THEIRS}',
        ":443, where nginx then asks no other site",
        f"rm {THEIRS}",
    ),
    "another command": Fault(
        f"printf '[Service]\\nExecStart=\\nExecStart={OTHER_COMMAND}\\n' > {DROP_IN}; systemctl daemon-reload",
        f"boot: nginx.service starts another command than its own, by {DROP_IN}: {OTHER_COMMAND}",
        f"rm {DROP_IN}; systemctl daemon-reload",
    ),
    "nginx is masked": Fault("systemctl mask nginx 2>/dev/null", "boot: nginx.service is masked: nothing starts it"),
    "Supervisor is masked": Fault(
        "systemctl mask supervisor 2>/dev/null", "boot: supervisor.service is masked: nothing starts it"
    ),
    "nginx's workers are stopped by a signal": Fault(
        "pkill -STOP -f 'nginx: worker'", "nginx: it is stopped by a signal"
    ),
    "Supervisor is stopped by a signal": Fault(
        "kill -STOP $(cat /run/supervisord.pid)", "supervisor: it is stopped by a signal"
    ),
    "nginx was started by hand": Fault(
        "systemctl stop nginx; nginx",
        "nginx: it runs, and systemd has not started it (process ",
        "nginx -s stop; sleep 1; systemctl start nginx",
    ),
    "Supervisor is ending": Fault(
        "printf '[program:lab]\\ncommand=sh -c \"trap : TERM; while :; do sleep 1; done\"\\nstopwaitsecs=600\\n'"
        f" > {LAB}; supervisorctl update; sleep 2; systemctl stop --no-block supervisor; sleep 3",
        "supervisor: it is ending, and waits for what is still in hand",
        f"rm {LAB}; pkill -KILL -f '^sh -c trap : TERM';"
        "while systemctl is-active supervisor | grep -q deact; do sleep 1; done; systemctl start supervisor",
    ),
    "Supervisor asks for another password": Fault(
        rf"cp -p {SUPERVISORD} /root/supervisord.conf; sed -i 's/^\[unix_http_server\]/&\nusername=a\npassword=b/' "
        f"{SUPERVISORD}; systemctl restart supervisor; "
        "until supervisorctl status 2>&1 | grep -q uthentic; do sleep 1; done; "
        f"sed -i 's/^password=b/password=c/' {SUPERVISORD}; sleep 12",
        f"supervisor: it runs with another username or password than {SUPERVISORD} has",
        f"cp -p /root/supervisord.conf {SUPERVISORD}; systemctl restart supervisor",
    ),
    "a firewall between the host and itself": Fault(
        FIREWALL,
        "port 443: the host itself gets no connection to it",
        "nft delete table inet lab",
        privileged=True,
    ),
}
FAST = ("a broken file of somebody's", "Supervisor is stopped by a signal")


@pytest.mark.row_33
@pytest.mark.parametrize(
    "kind", [kind if kind in FAST else pytest.param(kind, marks=pytest.mark.long) for kind in FAULTS]
)
def test_what_a_deploy_cannot_change_is_no_success(host: BedHost, kind: str) -> None:
    """The run, a dry one and `status` say it in one line, also where there is something else to do."""
    fault = FAULTS[kind]
    script = host.run_privileged if fault.privileged else host.run
    if "nft" in fault.harm:
        host.run("apt-get -qq update; apt-get -qq install -y --no-install-recommends nftables >/dev/null 2>&1")
    script(fault.harm)
    mended = False
    try:
        for options in (("-y",), ("--dry",)):
            run = deploy(host, 1, None, *options)
            assert fault.says in run.text
            assert NOTHING not in run.text
            assert "done" not in last_lines(run)
        dry = deploy(host, 1, changed(threads=3), "--dry")
        assert fault.says in dry.text
        found = findings(status(host))
        (one,) = [one for one in found if fault.says in f"{one['place']}: {one['what']}"]
        assert one["fix"]
        if not fault.undo:
            typed(host, one, {})
            mended = True
    finally:
        if not mended:
            script(fault.undo)
    wait_for("the programs", lambda: everything_runs(host), 120)
    assert NOTHING in deploy(host).text


def last_lines(run: Run) -> list[str]:
    """What a run says, without the host before it."""
    return [line.strip().removeprefix("[host] ") for line in run.text.splitlines()]


def status(host: BedHost, site: dict[str, Any] | None = None) -> Run:
    return pyinfra(host, {"site": site or SITE}, deploy="runbooks/status.py")


REFUSING = """
from django.http import HttpResponseForbidden
from django.urls import re_path

urlpatterns = [re_path("", lambda request: HttpResponseForbidden())]
"""


@pytest.mark.row_33
def test_a_release_that_refuses_users_is_refused(host: BedHost, request: pytest.FixtureRequest) -> None:
    """For each of the site's names, and whatever it answers that isn't below 400."""
    ways = {"ALLOWED_HOSTS = ['localhost']": "answers /catmaid/ as tracing.test with 400"}
    if request.config.getoption("long"):
        ways["ALLOWED_HOSTS = ['other.example']"] = "answers /catmaid/ as localhost with 400"
        ways["ROOT_URLCONF = 'empty_urls'"] = "answers /catmaid/ as localhost with 404"
        ways["ROOT_URLCONF = 'refusing_urls'"] = "answers /catmaid/ as localhost with 403"
    host.run(f"cp -p {SETTINGS} /root/settings.py; echo 'urlpatterns = []' > {PROJECTS}/empty_urls.py")
    host.put(f"{PROJECTS}/refusing_urls.py", REFUSING.encode())
    for line, words in ways.items():
        host.run(f'cp -p /root/settings.py {SETTINGS}; echo "{line}" >> {SETTINGS}')
        run = deploy(host, 1)
        assert words in run.text
        assert "failed: what ran before still runs; fix the cause and run again" in run.text
        assert "serves https://localhost/catmaid/" in run.text
        assert host.run(f"tail -n 1 {LOG}").endswith("failed: Configuration: programs of catmaid")
        all_serve(host)
    host.run(f"cp -p /root/settings.py {SETTINGS}")
    run = deploy(host)
    # What failed has written that down by itself, and nothing is said of it for ever.
    assert "was cut" not in run.text
    assert NOTHING in deploy(host).text


@pytest.mark.row_33
@pytest.mark.long
def test_an_alias_that_the_application_refuses(host: BedHost) -> None:
    """Also of what runs, which somebody has restarted with other settings."""
    host.run(f"cp -p {SETTINGS} /root/settings.py; echo \"ALLOWED_HOSTS = ['localhost']\" >> {SETTINGS}")
    host.run(f"supervisorctl restart {place('wsgi')} {place('daphne')} {place('celery')} {place('celery-beat')}")
    try:
        wait_for("the programs", lambda: everything_runs(host), 60)
        says = "https://tracing.test/catmaid/ answers 400"
        run = deploy(host, 1)
        assert f"FAULT page of catmaid: {says}" in run.text
        assert NOTHING not in run.text
        for name in ("verify", "status"):
            found = findings(pyinfra(host, {"site": SITE}, deploy=f"runbooks/{name}.py"))
            assert [one["place"] for one in found if says in one["what"]] == ["page of catmaid"], found
    finally:
        host.run(f"cp -p /root/settings.py {SETTINGS}")
    deploy(host)


@pytest.mark.row_33
@pytest.mark.long
def test_a_page_that_refuses_by_design_is_said_in_the_inventory(host: BedHost) -> None:
    host.run(f"cp -p {SETTINGS} /root/settings.py; echo \"ROOT_URLCONF = 'refusing_urls'\" >> {SETTINGS}")
    host.put(f"{PROJECTS}/refusing_urls.py", REFUSING.encode())
    try:
        run = deploy(host, 0, changed(ready_status=403))
        assert "done" in run.text
        assert "serves https://localhost/catmaid/" in run.text
        assert NOTHING in deploy(host, 0, changed(ready_status=403)).text
    finally:
        host.run(f"cp -p /root/settings.py {SETTINGS}")
    deploy(host)


@pytest.mark.row_33
@pytest.mark.long
def test_a_message_has_no_password_and_is_no_screen_long(host: BedHost) -> None:
    """What an application says of its end."""
    host.run(f"cp -p {SETTINGS} /root/settings.py")
    words = "raise ValueError('postgres://ada:hunter2@db.test/catmaid ' + 'x' * 100000)"
    host.run(f'echo "{words}" >> {SETTINGS}')
    try:
        run = deploy(host, 1)
        assert "ValueError: postgres://ada:REMOVED@db.test/catmaid xxx" in run.text
        texts = [run.text]
        for name in ("verify", "status"):
            run = pyinfra(host, {"site": SITE}, deploy=f"runbooks/{name}.py", json_output=False)
            assert run.code == 1
            texts.append(run.text)
        assert "ValueError: postgres://ada:REMOVED@db.test/catmaid xxx" in " ".join(texts[1].split())
        for text in texts:
            assert "hunter2" not in text
            assert max(map(len, text.splitlines())) < 2500
            assert len(text) < 20_000
    finally:
        host.run(f"cp -p /root/settings.py {SETTINGS}")
    assert NOTHING in deploy(host).text


@pytest.mark.row_33
def test_an_inventory_that_is_too_long_fits_a_screen(host: BedHost) -> None:
    for value, says in (
        (changed(workers="x" * 100_000), "site.instances[0].workers: a whole number is needed, not 'xxx"),
    ):
        (line,) = deploy(host, 1, value, "--dry").refusals
        assert says in line
        assert len(line) < 600


# ---- what a run changes, and how it is by itself ----


def hands_over(host: BedHost, reason: str, harm: str, privileged: bool = False) -> None:
    """Do a harm for which a run does this, and well."""
    (host.run_privileged if privileged else host.run)(harm)
    run = deploy(host)
    assert reason in run.text, run.text
    assert "done" in last_lines(run)
    all_serve(host)
    assert NOTHING in deploy(host).text


@pytest.mark.row_33
@pytest.mark.long
def test_workers_that_a_signal_has_stopped_go_on(host: BedHost) -> None:
    """Their master answers Supervisor."""
    hands_over(host, "continue wsgi: a signal has stopped it", f"pkill -STOP -P $(supervisorctl pid {place('wsgi')})")


@pytest.mark.row_33
@pytest.mark.long
def test_the_default_site_goes_again(host: BedHost) -> None:
    hands_over(
        host,
        "remove /etc/nginx/sites-enabled/default",
        "ln -s /etc/nginx/sites-available/default /etc/nginx/sites-enabled/default",
    )


@pytest.mark.row_33
@pytest.mark.long
@pytest.mark.parametrize(
    "text", ["server {\n listen 80 default_server;\n}\n", "server { listen 80 default_server; }\n"]
)
def test_a_second_default_server(host: BedHost, text: str) -> None:
    """nginx would refuse two of them at its next start: the site of the deploy gives way, and comes back."""
    host.put("/etc/nginx/sites-enabled/theirs", text.encode())
    run = deploy(host)
    assert "WARNING nginx: /etc/nginx/sites-enabled/theirs answers host names that no site has" in run.text
    assert NOTHING in deploy(host).text
    hands_over(host, "change /etc/nginx/conf.d/catmaid.conf", "rm /etc/nginx/sites-enabled/theirs")


@pytest.mark.row_33
@pytest.mark.long
def test_a_key_of_another_certificate(host: BedHost) -> None:
    """nginx would go on until it reads it: at a reload, or at boot."""
    key = "/etc/catmaid/tls/self-signed/localhost/privkey.pem"
    hands_over(
        host,
        "Self-signed certificate of localhost",
        f"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key} 2>/dev/null",
    )


@pytest.mark.row_33
@pytest.mark.long
def test_a_worker_that_waits_for_its_broker_is_named(host: BedHost) -> None:
    """It fails no run, and no run calls all well; once the broker is back nobody waits any more."""
    assert NOTHING in deploy(host).text
    host.run("systemctl stop rabbitmq-server; sleep 45", timeout=120)
    try:
        (line,) = [line for line in deploy(host).text.splitlines() if NOTHING in line]
        # Daphne as well: it opens no WebSocket where notices have no way.
        assert "; but daphne of catmaid, celery of catmaid, celery-beat of catmaid, daphne of " in line
        assert line.endswith(" wait for the broker")
    finally:
        host.run("systemctl start rabbitmq-server", timeout=120)
    wait_for("the workers", lambda: "for the broker" not in deploy(host).text, 60)
    assert f"{NOTHING}\n" in deploy(host).text


@pytest.mark.row_33
@pytest.mark.long
def test_a_sign_of_life_from_before_the_clock_was_set_back(host: BedHost) -> None:
    """A worker that hangs must not look alive until the clock is there again."""
    alive = "/run/catmaid/$(readlink /etc/catmaid/catmaid/celery)/alive"
    hands_over(
        host,
        "hand over celery: it doesn't respond",
        f"""
        while [ $(ps -o etimes= -p $(supervisorctl pid {place("celery")})) -lt 65 ]; do sleep 1; done
        chown root {alive}; chmod 444 {alive}; touch -d tomorrow {alive}; sleep 12
        """,
    )


@pytest.mark.row_33
@pytest.mark.long
def test_another_instances_sockets_in_the_place_of_its_own(host: BedHost) -> None:
    """Its page is asked, and is another's."""
    own, other = (
        "/run/catmaid/$(readlink /etc/catmaid/catmaid/wsgi)",
        "/run/catmaid-root/$(readlink /etc/catmaid/catmaid-root/wsgi)",
    )
    host.run_privileged(f"mount --bind {other} {own}")
    try:
        run = deploy(host, 0, None, "--dry")
        assert "hand over wsgi: " in run.text
        assert NOTHING not in run.text
        assert "serves https://localhost/" in last_lines(run)
        assert "serves https://localhost/catmaid/" not in last_lines(run)
    finally:
        host.run_privileged(f"umount {own}")
    assert NOTHING in deploy(host).text


@pytest.mark.row_33
@pytest.mark.long
def test_another_web_server_of_an_instance_hands_over_that_one_alone(host: BedHost) -> None:
    """The virtualenv is shared: what is installed into it isn't the other instances'."""
    all_serve(host)
    before = processes(host)
    run = deploy(host, 0, changed(wsgi_server="gunicorn"))
    assert "since another release" not in run.text
    all_serve(host)
    after = processes(host)
    assert {name for name in before if before[name] != after[name]} == {"catmaid-wsgi"}
    deploy(host)


# ---- what goes wrong while a run works ----


@pytest.mark.row_33
@pytest.mark.long
def test_nginxs_own_words_of_now(host: BedHost) -> None:
    """A port that another program has passes the test of the files and fails the reload. Its log has older words."""
    host.run(
        f"""
        echo '2020/01/01 00:00:00 [emerg] 1#1: words of long ago' >> /var/log/nginx/error.log
        setsid timeout 120 python3 -m http.server 8123 </dev/null >/dev/null 2>&1 &
        while ! ss -ltn | grep -q 8123; do sleep 0.1; done
        echo 'server {{ listen 8123; }}' > {THEIRS}
        """
    )
    try:
        run = deploy(host, 1, changed(body_limit="31m"))
        assert "bind() to 0.0.0.0:8123 failed (98: Address already in use)" in run.text
        assert "words of long ago" not in run.text
        assert "failed: what ran before still runs" in run.text
        all_serve(host)
    finally:
        host.run(f"rm {THEIRS}; pkill -f '^python3 -m http.server 8123' || true")
    # While that file was there nginx couldn't go back to the files of before: the next run has it read them.
    deploy(host)
    assert NOTHING in deploy(host).text


@pytest.mark.row_33
@pytest.mark.long
def test_a_host_that_hides_processes(host: BedHost) -> None:
    """/proc shows a user no other's processes: a start script sees by a lock alone that a deploy wants it."""
    host.run_privileged("mount -o remount,hidepid=2 /proc")
    try:
        assert "handed over from wsgi-" in deploy(host, 0, changed(threads=3)).text
        all_serve(host)
        assert "handed over from wsgi-" in deploy(host).text
        assert NOTHING in deploy(host).text
    finally:
        host.run_privileged("mount -o remount,hidepid=0 /proc")


@pytest.mark.row_33
@pytest.mark.long
def test_logs_for_which_there_is_no_room(host: BedHost) -> None:
    """The disk of the logs fills while a release is handed over."""
    host.run_privileged(
        "mount -t tmpfs -o size=80m,mode=755 tmpfs /mnt; cp -a /var/log/. /mnt/; mount --move /mnt /var/log"
    )
    try:
        host.run(
            f"""
            # What is left of a page of memory would take the run's line.
            truncate -s %4096 {LOG}
            setsid sh -c 'for _ in $(seq 600); do
                ls /run/catmaid-deploy/catmaid-wsgi-? && {{ head -c 100m /dev/zero > /var/log/full; exit; }}; sleep 0.1
            done' </dev/null >/dev/null 2>&1 &
            """
        )
        run = deploy(host, 1, changed(threads=3))
        assert "No space left on device" in run.text
        assert "done" not in last_lines(run)
        all_serve(host)
        again = deploy(host, 1)
        assert "space: 0 MiB are free on /var/log" in again.text
    finally:
        host.run_privileged("umount -l /var/log")
    deploy(host)
    assert NOTHING in deploy(host).text


@pytest.mark.row_33
@pytest.mark.long
def test_a_rotation_that_fails_is_said(host: BedHost) -> None:
    """Its timer is on, and each night another file with the same logs keeps all logs of the host from being rotated."""
    host.run("cp /etc/logrotate.d/catmaid /etc/logrotate.d/another; systemctl start logrotate 2>/dev/null || true")
    try:
        run = status(host)
        assert run.code == 1
        (found,) = findings(run)
        assert found["what"] == "their last rotation failed"
    finally:
        host.run("rm /etc/logrotate.d/another; systemctl start logrotate")
    assert findings(status(host)) == []


@pytest.mark.row_33
@pytest.mark.long
def test_run_is_full(host: BedHost) -> None:
    """/run, where a run notes that it works, and the programs what they are."""
    host.run_privileged("mount -o remount,size=$(df --output=used -k /run | tail -1 | tr -d ' ')k /run")
    try:
        for site in (None, changed(threads=3)):
            run = deploy(host, 1, site)
            assert "space: 0 MiB are free on /run" in run.text
            assert NOTHING not in run.text
        assert any("/run has 0 B of" in one["what"] for one in findings(status(host)))
        all_serve(host)
    finally:
        host.run_privileged("mount -o remount,size=200m /run")
    assert NOTHING in deploy(host).text


# ---- what Supervisor never reads ----


@pytest.mark.row_33
def test_a_supervisor_that_reads_other_files(host: BedHost) -> None:
    """Nothing is touched, neither on a deployed host nor by a dry run."""
    host.run(f"cp -p {SUPERVISORD} /root/supervisord.conf; sed -i 's#^files = .*#files = conf.d/*.ini#' {SUPERVISORD}")
    try:
        for options in (("-y",), ("--dry",)):
            run = deploy(host, 1, changed(celery={"concurrency": 1, "stop_seconds": 77}), *options)
            assert "supervisor: it reads /etc/supervisor/conf.d/*.ini, and so no program of catmaid" in run.text
            assert run.changed == []
    finally:
        host.run(f"cp -p /root/supervisord.conf {SUPERVISORD}")
    all_serve(host)


@pytest.mark.row_33
@pytest.mark.long
def test_a_first_deploy_that_fails_says_that_nothing_serves(bed: Bed) -> None:
    fresh = boot_packed(bed, "bookworm", "first")
    fresh.run(f"cp -p {SUPERVISORD} /root/; sed -i 's#^files = .*#files = conf.d/*.ini#' {SUPERVISORD}")
    for options in (("--dry",), ("-y",)):
        run = deploy(fresh, 1, None, *options)
        assert "supervisor: it reads /etc/supervisor/conf.d/*.ini, and so no program of catmaid" in run.text
        assert "done" not in last_lines(run)
        assert "serves https" not in run.text
    fresh.run(f"cp -p /root/supervisord.conf {SUPERVISORD}")
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


@pytest.mark.row_33
@pytest.mark.long
def test_a_run_that_was_cut_with_nothing_left_to_do(host: BedHost) -> None:
    """The next one says that there is nothing left, and writes it down."""
    host.run(
        """python3 - <<'E'
import json
path = "/var/lib/catmaid-deploy/last-run.json"
run = json.load(open(path))
del run["ended"]
json.dump(run, open(path, "w"))
E"""
    )
    for options in (("--dry",), ("-y",)):
        run = deploy(host, 0, None, *options)
        assert "was cut before its end; nothing is left to do of it" in run.text
        assert "does what is left" not in run.text
        assert NOTHING in run.text
    assert host.run(f"tail -n 1 {LOG}").endswith("there was nothing left to do")
    assert "was cut" not in deploy(host).text


@pytest.mark.row_33
@pytest.mark.long
def test_a_rollback_with_a_supervisor_that_takes_no_orders(host: BedHost) -> None:
    deploy(host, 0, changed(threads=3))
    host.run("kill -STOP $(cat /run/supervisord.pid)")
    try:
        run = pyinfra(host, {"site": changed(threads=3)}, "-y", deploy="runbooks/rollback.py")
        assert run.code == 1
        assert "host: supervisor: it is stopped by a signal: kill -CONT -- -" in run.text
    finally:
        host.run("kill -CONT $(cat /run/supervisord.pid)")
    deploy(host)


@pytest.mark.row_33
@pytest.mark.long
def test_a_rollback_that_fails(host: BedHost) -> None:
    """What serves is asked for then as well."""
    deploy(host, 0, changed(threads=3))
    (before,) = {"a", "b"} - {host.run("readlink /etc/catmaid/catmaid/wsgi")[-1]}
    host.run(f"mv /etc/catmaid/catmaid/wsgi-{before}/run.sh /root/")
    run = pyinfra(host, {"site": changed(threads=3)}, "-y", deploy="runbooks/rollback.py")
    assert run.code == 1
    assert f"there is no release before this one in wsgi-{before}" in run.text
    assert "failed: what ran before still runs; fix the cause and run again" in run.text
    assert "serves https://localhost/catmaid/" in run.text
    all_serve(host)
    deploy(host)


@pytest.mark.row_33
@pytest.mark.long
def test_a_rollback_of_several_goes_back_whole_or_not_at_all(host: BedHost) -> None:
    """The first has gone back when the second can't: it comes forward again."""
    newer = changed(threads=3)
    newer["instances"][1]["threads"] = 3
    deploy(host, 0, newer)
    in_use = "readlink /etc/catmaid/*/wsgi; sed -n '/^threads/p' /etc/catmaid/catmaid/wsgi/uwsgi.ini"
    before, second = host.run(in_use), newer["instances"][1]["name"]
    (other,) = {"a", "b"} - {host.run(f"readlink /etc/catmaid/{second}/wsgi")[-1]}
    host.run(f"echo exit 1 > /etc/catmaid/{second}/wsgi-{other}/run.sh")
    run = pyinfra(host, {"site": newer}, "-y", deploy="runbooks/rollback.py")
    assert run.code == 1
    assert "what ran before the rollback runs on" in run.text
    assert host.run("sed -n '/^threads/p' /etc/catmaid/catmaid/wsgi/uwsgi.ini") == before.splitlines()[-1]
    all_serve(host)
    deploy(host)


@pytest.mark.row_34
def test_a_rollback_of_one_of_several(host: BedHost) -> None:
    newer = changed(threads=3)
    newer["instances"][1]["threads"] = 3
    deploy(host, 0, newer)
    first, second = (one["name"] for one in newer["instances"][:2])
    slots = [host.run(f"readlink /etc/catmaid/{name}/wsgi") for name in (first, second)]
    run = pyinfra(host, {"site": newer}, "-y", "--data", f"instance={second}", deploy="runbooks/rollback.py")
    assert run.code == 0, run.text
    assert f"rollback of {second}" in run.text
    assert f"rollback of {first}:" not in run.text
    now = [host.run(f"readlink /etc/catmaid/{name}/wsgi") for name in (first, second)]
    assert (now[0] == slots[0], now[1] == slots[1]) == (True, False)
    all_serve(host)
    deploy(host)


@pytest.mark.row_18
@pytest.mark.row_33
def test_a_runbook_with_nothing_to_do_says_what_it_has_asked(host: BedHost) -> None:
    words = ("-y", "--data", "maintenance=off")
    run = pyinfra(host, {"site": SITE}, *words, deploy="runbooks/maintenance.py")
    assert run.code == 0, run.text
    assert "nothing to do: it is open already" in run.text
    assert "serves https://localhost/catmaid/" in run.text
    host.run("systemctl stop nginx")
    try:
        run = pyinfra(host, {"site": SITE}, *words, deploy="runbooks/maintenance.py")
        assert NOTHING not in run.text
        assert "serves https" not in run.text
    finally:
        host.run("systemctl start nginx")


@pytest.mark.row_18
def test_a_runbooks_operations_have_names_alone(host: BedHost) -> None:
    """pyinfra would put the files before them that a runbook is made of."""
    for word, does in (("on", "Close"), ("off", "Open")):
        run = pyinfra(host, {"site": SITE}, "-y", "--data", f"maintenance={word}", deploy="runbooks/maintenance.py")
        assert run.changed == ["Take the host for this run", f"{does} the host for users", "Record what changed"]


@pytest.mark.row_33
@pytest.mark.long
@pytest.mark.parametrize(
    ("values", "ended"),
    [
        pytest.param({"threads": 3}, "was cut before its end; it had done: programs of catmaid", id="to its end"),
        pytest.param(
            {"threads": 4, "ready_page": "/slow?seconds=5", "ready_status": 404},
            "was cut before its end, before it had done anything; then this failed: ",
            id="refused",
        ),
    ],
)
def test_a_connection_that_is_lost(host: BedHost, tmp_path: Path, values: dict[str, Any], ended: str) -> None:
    """Nobody knows then what serves, and the run says so; what the host makes of it is in the record."""
    run = begin(host, tmp_path, changed(**values), "-y")
    assert run.stderr
    for line in run.stderr:
        if "beside wsgi-" in line:
            break
    host.run("pkill -KILL -f '^sshd: root@notty'")
    _, error = run.communicate(timeout=300)
    assert run.returncode == 1
    assert "failed: whether it serves isn't known, since the host couldn't be asked" in error
    assert "serves https" not in error
    wait_for("the end of the job", lambda: "ended" in json.loads(host.run(LAST)), 120)
    assert json.loads(host.run(LAST))["changed"].startswith(ended)
    assert ended in host.run(f"tail -1 {LOG}")
    all_serve(host)
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
