"""The rows of the specification, each asked of a deployed host."""

from __future__ import annotations

import base64
import configparser
import gzip
import io
import json
import tarfile
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import crossplane
import httpx
import pytest
from websockets.exceptions import WebSocketException

from catmaid_deploy import schema
from catmaid_deploy.tasks.nginx.capabilities import Server
from catmaid_deploy.tasks.programs import wsgi
from testbed import websocket
from testbed.hosts import BedHost, wait_for
from tests.host.conftest import LARGE_HEADERS, SITE, Deployed, place, running

NAMES = [i["name"] for i in SITE["instances"]]
PLACES = ("wsgi-a", "wsgi-b", "daphne-a", "daphne-b", "celery-a", "celery-b", "celery-beat-a", "celery-beat-b")

each_instance = pytest.mark.parametrize("name", NAMES)


def nginx_files(host: BedHost, combine: bool = False) -> list[list[dict[str, Any]]]:
    """The configuration on the host as crossplane reads it: each file's directives."""
    archive = host.run("tar -C /etc -chf - nginx | base64 -w0")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive))) as tar:
            tar.extractall(folder, filter="data")
        main = Path(folder) / "nginx/nginx.conf"
        for file in (Path(folder) / "nginx").rglob("*"):
            if file.is_file():
                file.write_text(file.read_text(errors="replace").replace("/etc/nginx/", f"{folder}/nginx/"))
        parsed = crossplane.parse(str(main), combine=combine)
    assert parsed["status"] == "ok", parsed["errors"]
    # Its paths are the host's again.
    config = json.loads(json.dumps(parsed["config"]).replace(f"{folder}/nginx/", "/etc/nginx/"))
    return [file["parsed"] for file in config]


def nginx_tree(host: BedHost) -> list[dict[str, Any]]:
    """The configuration on the host, with the included files in their places."""
    (tree,) = nginx_files(host, combine=True)
    return tree


def blocks(tree: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    found = []
    for one in tree:
        if one["directive"] == name:
            found.append(one)
        found += blocks(one.get("block", []), name)
    return found


def values(block: dict[str, Any], name: str) -> list[list[str]]:
    return [one["args"] for one in block["block"] if one["directive"] == name]


def locations(deployed: Deployed) -> dict[str, dict[str, Any]]:
    """The site's locations by their path."""
    (server,) = [
        s
        for s in blocks(nginx_tree(deployed.host), "server")
        if "block" in s and values(s, "server_name") == [["localhost", "tracing.test"]] and values(s, "ssl_certificate")
    ]
    return {one["args"][-1]: one for one in blocks(server["block"], "location")}


def ini(deployed: Deployed, name: str) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(deployed.host.run(f"cat /etc/catmaid/{name}/wsgi/uwsgi.ini"))
    return dict(parser["uwsgi"])


def app_log(deployed: Deployed, name: str) -> str:
    return deployed.host.run(f"cat /var/log/{name}/wsgi-?.log")


def stat(deployed: Deployed, path: str) -> str:
    return deployed.host.run(f"stat -L -c '%U:%G %a' {path}")


def census(deployed: Deployed) -> Counter[str]:
    """How many processes of each program run; a worker beside its successor would show."""
    lines = deployed.host.run("ps -eo user:20,args --no-headers").splitlines()
    return Counter(
        line for line in lines if any(p in line for p in ("uwsgi", "daphne", "celery", "nginx:", "supervisord"))
    )


def all_running(deployed: Deployed) -> bool:
    return running(deployed.host) == len(NAMES) * 4


def page_answers(deployed: Deployed, instance: schema.Instance) -> bool:
    try:
        with deployed.client() as client:
            return client.get(f"{instance.location}whoami", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.row_1
def test_nginx_is_debians_tested_enabled_and_without_its_default_site(deployed: Deployed) -> None:
    host = deployed.host
    assert "/usr/sbin/nginx" in host.run("dpkg -L nginx nginx-common 2>/dev/null; dpkg -S /usr/sbin/nginx")
    host.run("nginx -t -q")
    assert host.run("systemctl is-enabled nginx") == "enabled"
    assert host.run("test -e /etc/nginx/sites-enabled/default || echo gone") == "gone"
    with deployed.client() as client:
        assert "Welcome to nginx" not in client.get("/").text


@pytest.mark.row_1
def test_nginx_has_room_for_connections(deployed: Deployed) -> None:
    tree = nginx_tree(deployed.host)
    (files,) = [int(one["args"][0]) for one in tree if one["directive"] == "worker_rlimit_nofile"]
    (events,) = blocks(tree, "events")
    ((connections,),) = values(events, "worker_connections")
    allowed = int(deployed.host.run("ulimit -Hn").replace("unlimited", str(1 << 20)))
    assert files == Server(descriptors=allowed).used(len(deployed.site.tiles))
    assert 2 * int(connections) < files
    worker = deployed.host.run("pgrep -f 'nginx: worker' | head -n 1")
    assert str(files) in deployed.host.run(f"grep 'open files' /proc/{worker}/limits")


@pytest.mark.row_2
@each_instance
def test_uwsgi_is_in_the_virtualenv_at_the_pinned_version(deployed: Deployed, name: str) -> None:
    instance = deployed.instance(name)
    assert deployed.host.run(f"{instance.virtualenv}/bin/uwsgi --version") == "2.0.31"
    assert f"{instance.virtualenv}/bin/uwsgi" in deployed.host.run(
        f"tr '\\0' ' ' < /proc/$(cat /run/{name}/uwsgi.pid)/cmdline"
    )


@pytest.mark.row_3
@each_instance
def test_uwsgi_simple_form(deployed: Deployed, name: str) -> None:
    instance, found = deployed.instance(name), ini(deployed, name)
    assert found["virtualenv"] == instance.virtualenv
    assert found["chdir"] == f"{instance.checkout}/django"
    assert found["socket"] == "$(CATMAID_RUN)/socket"
    assert deployed.host.run(f"readlink -f /run/{name}/uwsgi.socket") == deployed.host.run(
        f"echo /run/{name}/$(readlink /etc/catmaid/{name}/wsgi)/socket"
    )
    assert found["mount"] == f"{instance.mount}={instance.wsgi_file}"
    assert found["manage-script-name"] == "true"
    assert found["disable-logging"] == "true"
    assert (int(found["workers"]), int(found["threads"])) == (instance.workers, instance.threads)
    with deployed.client() as client:
        seen = client.get(f"{instance.location}whoami").json()
    assert seen["script_name"] == instance.prefix
    assert seen["host"] == deployed.host.url.removeprefix("https://")
    assert seen["absolute"] == f"{deployed.host.url}{instance.location}"
    # uWSGI's own request log is off: what the log has of a request is the application's line.
    assert "generated" not in app_log(deployed, name)


@pytest.mark.row_4
@each_instance
def test_mount_and_location_are_one_value(deployed: Deployed, name: str) -> None:
    instance = deployed.instance(name)
    mount = ini(deployed, name)["mount"].partition("=")[0]
    assert mount == "/" or not mount.endswith("/")
    location = locations(deployed)[mount.rstrip("/") + "/"]
    assert values(location, "uwsgi_pass") == [[f"{name}-uwsgi"]]
    with deployed.client() as client:
        assert client.get(f"{instance.location}whoami").json()["path"] == f"{instance.location}whoami"


@pytest.mark.row_6
@each_instance
def test_socket_folder(deployed: Deployed, name: str) -> None:
    wanted = "catmaid:www-data 2750" if deployed.instance(name).user == "catmaid" else "www-data:www-data 755"
    assert stat(deployed, f"/run/{name}") == wanted
    assert stat(deployed, f"/var/run/{name}") == wanted


@pytest.mark.row_7
@each_instance
def test_nginx_opens_sockets_that_others_can_not(deployed: Deployed, name: str) -> None:
    user = deployed.instance(name).user
    for socket in ("uwsgi.socket", "daphne.sock"):
        assert stat(deployed, f"/run/{name}/{socket}") == f"{user}:www-data 660"
    assert deployed.host.run(f"ps -o user:20= -p $(cat /run/{name}/uwsgi.pid)") == user
    assert page_answers(deployed, deployed.instance(name))
    script = f"import socket; socket.socket(socket.AF_UNIX).connect('/run/{name}/uwsgi.socket')"
    refused = deployed.host.run(f'python3 -c "{script}" 2>&1 | tail -n 1', user="nobody")
    assert refused.startswith("PermissionError")


@pytest.mark.row_8
@each_instance
def test_static_files_come_from_nginx_compressed_and_cached(deployed: Deployed, name: str) -> None:
    instance = deployed.instance(name)
    path = f"{instance.location}static/standin.js"
    with deployed.client() as client:
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["vary"] == "Accept-Encoding"
        assert "max-age=3600" in answer.headers["cache-control"]
        assert answer.text == Path("tests/app/django/assets/standin.js").read_text()
        again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        assert client.get(f"{instance.location}static/none.js").status_code == 404
    assert "/static/" not in app_log(deployed, name)
    assert values(locations(deployed)[f"{instance.location}static/"], "alias") == [[f"{instance.static_folder}/"]]


@pytest.mark.row_8
def test_precompressed_static_files_are_used(deployed: Deployed) -> None:
    folder = deployed.instance("catmaid").static_folder
    deployed.host.run(f"echo plain > {folder}/made.txt")
    deployed.host.put(f"{folder}/made.txt.gz", gzip.compress(b"made before"))
    with deployed.client() as client:
        assert client.get("/catmaid/static/made.txt").text == "made before"


@pytest.mark.row_14
@each_instance
def test_supervisor_has_a_file_and_a_group_an_instance(deployed: Deployed, name: str) -> None:
    assert deployed.host.run("dpkg -S /usr/bin/supervisord").startswith("supervisor:")
    assert deployed.host.run("systemctl is-enabled supervisor") == "enabled"
    parser = configparser.RawConfigParser()
    parser.read_string(deployed.host.run(f"cat /etc/supervisor/conf.d/{name}.conf"))
    assert parser[f"group:{name}"]["programs"].split(",") == [f"{name}-{short}" for short in PLACES]
    status = deployed.host.run(f"supervisorctl status '{name}:*' || true").splitlines()
    assert sorted(line.split()[0] for line in status) == sorted(f"{name}:{name}-{short}" for short in PLACES)


@pytest.mark.row_14
def test_supervisord_rests_after_a_deploy(deployed: Deployed) -> None:
    """It polled a closed connection's number for good, which a program's pipe had by then."""
    pid = deployed.host.run("cat /run/supervisord.pid")
    ticks = f"cut -d' ' -f14,15 /proc/{pid}/stat"
    before = sum(map(int, deployed.host.run(ticks).split()))
    time.sleep(3)
    # Hundredths of a second: it would take all that it gets.
    assert sum(map(int, deployed.host.run(ticks).split())) - before < 60


@pytest.mark.slow
@pytest.mark.row_16
@each_instance
def test_a_stop_ends_the_whole_uwsgi_tree(deployed: Deployed, name: str) -> None:
    host = deployed.host
    assert "stopsignal=INT" in host.run(f"cat /etc/supervisor/conf.d/{name}.conf")
    instance = deployed.instance(name)
    tree = f"pgrep -fc '^{instance.virtualenv}/bin/uwsgi --ini /etc/catmaid/{name}/' || true"
    program = place("wsgi", name)
    assert int(host.run(tree)) == instance.workers + 1
    host.run(f"supervisorctl stop {program}")
    try:
        assert host.run(tree) == "0"
        assert "STOPPED" in host.run(f"supervisorctl status {program} || true")
    finally:
        host.run(f"supervisorctl start {program}")
        wait_for("uWSGI", lambda: page_answers(deployed, instance), 20)


@pytest.mark.row_17
@each_instance
def test_the_celery_worker_returns_a_result(deployed: Deployed, name: str) -> None:
    assert "celery -A mysite worker -l info" in deployed.host.run(f"cat /etc/catmaid/{name}/celery/run.sh")
    with deployed.client() as client:
        assert client.post(f"{deployed.instance(name).location}task?x=19&y=23").json()["result"] == 42
    assert "succeeded" in deployed.host.run(f"cat /var/log/{name}/celery-?.log")


@pytest.mark.row_20
@each_instance
def test_files_are_sent_never_listed_never_executed(deployed: Deployed, name: str) -> None:
    instance = deployed.instance(name)
    with deployed.client() as client:
        for file in ("hello.php", "hello.py", "hello.cgi", "hello.wsgi", "müller 1.txt"):
            source = f"#!/usr/bin/env python3\nprint('{file}')\n".encode()
            sent = client.post(f"{instance.location}upload", files={"file": (file, source)}).json()
            assert sent["url"].startswith(f"{instance.location}files/")
            back = client.get(sent["url"])
            assert (back.status_code, back.content) == (200, source)
        assert client.get(f"{instance.location}files/").status_code in (403, 404)
        assert client.post(f"{instance.location}files/hello.php").status_code == 405
        deployed.host.run(f"mkdir -p {instance.files_folder}/sub")
        assert client.get(f"{instance.location}files/sub/").status_code in (403, 404)
        assert client.get(f"{instance.location}files/%2e%2e/projects/mysite/settings.py").status_code in (400, 404)
        assert client.get(f"{instance.location}files../projects/mysite/settings.py").status_code == 404
    assert "/files/hello" not in app_log(deployed, name)


@pytest.mark.row_21
@each_instance
def test_websockets_reach_daphne(deployed: Deployed, name: str) -> None:
    location = deployed.instance(name).location
    url = websocket.websocket_url(f"{deployed.host.url}{location}channels/echo/")
    with websocket.connect(url, deployed.trust) as socket:
        assert socket.response is not None
        assert socket.response.status_code == 101
        socket.send("hällo")
        assert socket.recv(timeout=5) == "hällo"
        socket.send(b"\x00\xff")
        assert socket.recv(timeout=5) == b"\x00\xff"
        socket.send("whoami")
        seen = json.loads(socket.recv(timeout=5))
    assert seen["path"] == "/channels/echo/"
    assert seen["host"] == deployed.host.url.removeprefix("https://")
    assert seen["client"] == seen["forwarded_for"] != ""
    servers = {one["args"][0] for one in blocks(nginx_tree(deployed.host), "upstream")}
    assert f"{name}-daphne" in servers
    # A silent one ends after an hour; nginx's default is a minute.
    assert ["3600s"] in values(locations(deployed)[f"{location}channels/"], "proxy_read_timeout")


@pytest.mark.long
@pytest.mark.row_21
def test_an_idle_websocket_outlives_a_minute(deployed: Deployed) -> None:
    """nginx's default ends a silent connection after 60 s; no ping may be what keeps it."""
    url = websocket.websocket_url(f"{deployed.host.url}/catmaid/channels/echo/")
    with websocket.connect(url, deployed.trust, ping_interval=None, open_timeout=60) as socket:
        time.sleep(65)
        socket.send("still here")
        assert socket.recv(timeout=5) == "still here"


@pytest.mark.row_22
@each_instance
def test_a_body_over_the_limit_gets_413_and_reaches_nothing(deployed: Deployed, name: str) -> None:
    location = deployed.instance(name).location
    marker = f"over-{time.monotonic_ns()}"
    limit = 20 << 20
    with deployed.client() as client:
        inside = client.post(f"{location}body", content=b"x" * limit)
        assert inside.json()["size"] == limit
        over = client.post(f"{location}body?{marker}", content=b"x" * (limit + 1))
        assert over.status_code == 413
        # A page for browsers, JSON for programs, as with every other notice.
        assert over.json()["error"] == "the request is too large"
        page = client.post(f"{location}body?{marker}", content=b"x" * (limit + 1), headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["content-type"]) == (413, "text/html")

        def chunks() -> Any:
            for _ in range(21):
                yield b"x" * (1 << 20)

        try:
            chunked = client.post(f"{location}body?{marker}", content=chunks())
            assert chunked.status_code == 413
        except httpx.WriteError:
            pass  # nginx answered and closed while the rest was still being sent
    log = app_log(deployed, name)
    assert f"request POST {location}body" in log
    assert marker not in log


@pytest.mark.row_22
@each_instance
def test_answers_of_the_application_are_not_cached(deployed: Deployed, name: str) -> None:
    location = deployed.instance(name).location
    with deployed.client() as client:
        assert "no-cache" in client.get(f"{location}whoami").headers["cache-control"]
        assert client.get(f"{location}none-such").headers["cache-control"] == "no-store"
    assert values(locations(deployed)[location], "expires") == [["0"]]


@pytest.mark.row_24
@each_instance
def test_uwsgi_production_form(deployed: Deployed, name: str) -> None:
    instance, found = deployed.instance(name), ini(deployed, name)
    for key, value in {
        "pidfile": "$(CATMAID_RUN)/pid",
        "uid": instance.user,
        "master": "true",
        "lazy-apps": "true",
        "post-buffering": "8192",
        "vacuum": "false",
        "memory-report": "true",
        "chmod-socket": "660",
    }.items():
        assert found[key] == value
    pid = deployed.host.run(f"cat /run/{name}/uwsgi.pid")
    assert f"pid {pid}," in deployed.host.run(f"supervisorctl status {place('wsgi', name)}")
    queue = deployed.host.run(f"ss -xlH src /run/{name}/$(readlink /etc/catmaid/{name}/wsgi)/socket").split()[3]
    assert queue == str(wsgi.BACKLOG)
    # What uWSGI itself took from it.
    log = app_log(deployed, name)
    assert "unknown config directive" not in log
    with deployed.client() as client:
        assert client.get(f"{instance.location}whoami", headers=LARGE_HEADERS).status_code == 200


@pytest.mark.row_25
@each_instance
def test_the_statistics_socket_is_private(deployed: Deployed, name: str) -> None:
    instance = deployed.instance(name)
    path = f"/run/{name}/uwsgi-stats.socket"
    lines = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect('{path}'); print(s.makefile().read())"
    ask = f'python3 -c "{lines}"'
    for user in (instance.user, "root"):
        stats = json.loads(deployed.host.run(ask, user=user))
        assert stats["version"] == "2.0.31"
        assert len(stats["workers"]) == instance.workers
    other = {"www-data": "catmaid", "catmaid": "www-data"}[instance.user]
    for user in (other, "nobody"):
        assert "PermissionError" in deployed.host.run(f"{ask} 2>&1 || true", user=user)


@pytest.mark.row_28
def test_four_programs_an_instance_run(deployed: Deployed) -> None:
    assert all_running(deployed)
    with deployed.client() as client:
        wait_for("beat", lambda: bool(client.get("/catmaid/heartbeats").json()["times"]), 20)
    for name in NAMES:
        state = deployed.host.run(f"ls /var/lib/{name}")
        assert "celery-beat-schedule" in state
        assert "schedule" not in deployed.host.run(f"ls /run/{name}")
        for file in (
            f"/etc/catmaid/{name}/celery/run/pid",
            f"/etc/catmaid/{name}/celery-beat/run/pid",
            f"/run/{name}/uwsgi.pid",
        ):
            assert deployed.host.run(f"cat {file}").isdigit()
        for short in ("wsgi", "celery", "celery-beat"):
            deployed.host.run(f"test -s /var/log/{name}/$(readlink /etc/catmaid/{name}/{short}).log")


@pytest.mark.row_28
def test_logs_are_rotated_and_written_on(deployed: Deployed) -> None:
    host = deployed.host
    host.run("logrotate --force /etc/logrotate.d/catmaid")
    assert host.run("ls /var/log/catmaid/wsgi-?.log.1")

    def arrives() -> bool:
        # supervisord takes up to a second to open the new file; what comes before is in the old one.
        with deployed.client() as client:
            client.get("/catmaid/whoami?after-rotation")
        return "after-rotation" in app_log(deployed, "catmaid")

    wait_for("the new log", arrives, 20)
    assert all_running(deployed)


# The file of the schedule, without what its database keeps beside it while it is open.
SCHEDULE = "stat -c '%i %n' /var/lib/catmaid/celery-beat-schedule* | grep -v -e -shm -e -wal"

KILLS = {
    "uWSGI master": "cat /run/catmaid/uwsgi.pid",
    "uWSGI workers": "pgrep -P $(cat /run/catmaid/uwsgi.pid)",
    "Daphne": f"supervisorctl pid {place('daphne')}",
    "Celery worker": "cat /etc/catmaid/catmaid/celery/run/pid",
    "Celery pool process": "pgrep -P $(cat /etc/catmaid/catmaid/celery/run/pid)",
    "Celery beat": "cat /etc/catmaid/catmaid/celery-beat/run/pid",
    "nginx master": "cat /run/nginx.pid",
    "supervisord": "cat /run/supervisord.pid",
    "uWSGI master of the other user": "cat /run/catmaid-fafb/uwsgi.pid",
}


@pytest.mark.slow
@pytest.mark.row_28
@pytest.mark.parametrize("what", KILLS)
def test_what_is_killed_is_back_once(deployed: Deployed, what: str) -> None:
    """Back by itself, exactly once, and the page answers; `make bench` tells in which time."""
    host = deployed.host
    wait_for("all programs", lambda: all_running(deployed), 30)
    before = census(deployed)
    instance = deployed.instance("catmaid-fafb" if "other user" in what else "catmaid")
    for pid in host.run(KILLS[what]).split():
        host.run(f"kill -9 {pid}")
        wait_for(f"the end of {pid}", lambda pid=pid: not host.run(f"ps -o stat= -p {pid} | grep -v Z || true"), 5)  # type: ignore[misc]

        def back() -> bool:
            return all_running(deployed) and page_answers(deployed, instance) and census(deployed) == before

        try:
            wait_for(what, back, 60)
        except Exception as error:
            raise AssertionError(
                f"{error}: {census(deployed) - before} more, {before - census(deployed)} fewer"
            ) from None
    with deployed.client() as client:
        assert client.post("/catmaid/task?x=1&y=1", timeout=30).json()["result"] == 2

    def echoes() -> bool:
        try:
            return websocket.echo(f"{deployed.host.url}/catmaid/channels/echo/", "back", deployed.trust) == "back"
        except (OSError, WebSocketException):
            return False

    # Daphne is RUNNING before it listens.
    wait_for("a WebSocket", echoes, 30)


@pytest.mark.row_28
def test_there_is_one_beat(deployed: Deployed) -> None:
    """After all those kills the schedule is kept by one: no heartbeat comes twice."""
    with deployed.client() as client:
        start = time.time()
        time.sleep(12)
        times = [t for t in client.get("/catmaid/heartbeats").json()["times"] if t > start]
    assert 2 <= len(times) <= 3


@pytest.mark.slow
@pytest.mark.row_23
@pytest.mark.row_28
def test_after_a_reboot_everything_is_there(deployed: Deployed) -> None:
    host = deployed.host
    schedule = host.run(SCHEDULE)
    first_boot = host.run("cat /proc/1/stat | cut -d' ' -f22")
    host.reboot()
    assert host.run("cat /proc/1/stat | cut -d' ' -f22") != first_boot
    wait_for("all programs", lambda: all_running(deployed), 30)
    for instance in deployed.site.instances:
        wait_for(instance.name, lambda i=instance: page_answers(deployed, i), 20)  # type: ignore[misc]
    test_socket_folder(deployed, "catmaid")
    test_socket_folder(deployed, "catmaid-fafb")
    assert host.run(SCHEDULE) == schedule
    order = host.run("systemctl show -p After --value supervisor.service")
    assert "sysinit.target" in order.split()
    tmpfiles = host.run("systemctl show -p Before --value systemd-tmpfiles-setup.service")
    assert "sysinit.target" in tmpfiles.split()
    assert deployed.deploy().changed == []


# Paths below the prefix, as a browser may send them.
PATHS = [
    "path/plain",
    "path/with%20space",
    "path/%C3%BC%C3%A9",
    "path/a%2Fb",
    "path/a//b",
    "path/a+b",
    "path/percent%25sign",
    "path/semi;colon=1",
    "path/q?a=b&c=%20d",
    "path/%3Fquestion",
    "path/%23hash",
    "path/trailing/",
    "path/colon:at@x",
    "path/(brackets)[1]",
    "path/star*'quote",
    "needs-slash",
    "no-such-page",
]


@each_instance
def test_paths_arrive_as_from_djangos_own_server(deployed: Deployed, name: str) -> None:
    """Every path is asked of Django's own server on the same host and of the deployed one."""
    instance, host = deployed.instance(name), deployed.host
    script = f"""
import http.client, json, subprocess, sys, time
words = ["{instance.virtualenv}/bin/python", "manage.py", "runserver", "--noreload", "127.0.0.1:8999"]
server = subprocess.Popen(words, cwd="{instance.projects_dir}", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
def ask(path):
    connection = http.client.HTTPConnection("127.0.0.1", 8999)
    connection.request("GET", path)
    answer = connection.getresponse()
    return [answer.status, answer.read().decode() if answer.status == 200 else answer.getheader("Location")]
try:
    for i in range(100):
        try:
            ask("/whoami")
            break
        except OSError:
            time.sleep(0.1)
    print(json.dumps([ask("/" + path) for path in json.loads(sys.argv[1])]))
finally:
    server.terminate()
    server.wait()
"""
    host.put("/tmp/ask.py", script.encode())
    wanted = json.loads(
        host.run(f"python3 /tmp/ask.py '{json.dumps(PATHS).replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'")
    )
    with deployed.client() as client:
        for path, (status, text) in zip(PATHS, wanted, strict=True):
            url = httpx.URL(f"{deployed.host.url}{instance.location}", raw_path=f"{instance.location}{path}".encode())
            answer = client.get(url)
            assert answer.status_code == status, path
            if status == 200:
                assert answer.json() == json.loads(text), path
            elif text:
                assert answer.headers["location"].removeprefix(instance.prefix) == text.removeprefix(instance.prefix), (
                    path
                )


@each_instance
def test_links_uploads_and_redirects_stay_below_the_prefix(deployed: Deployed, name: str) -> None:
    instance = deployed.instance(name)
    with deployed.client() as client:
        page = client.get(instance.location)
        assert f'href="{instance.location}static/standin.css"' in page.text
        assert f'data-channels="{instance.location}channels/echo/"' in page.text
        assert client.get(f"{instance.location}redirect").headers["location"] == instance.location
        sent = client.post(f"{instance.location}upload", files={"file": ("a.txt", b"a")}).json()
        assert sent["url"] == f"{instance.location}files/a.txt"
        assert client.get(sent["url"]).content == b"a"
        if instance.prefix:
            short = client.get(f"{instance.prefix}?a=1")
            assert (short.status_code, short.headers["location"]) == (301, f"{instance.location}?a=1")
            beside = client.get(f"{instance.prefix}x/whoami")
            assert beside.status_code == 404


def test_clients_can_not_pretend(deployed: Deployed) -> None:
    """Forwarded headers that a client sends are replaced by what nginx sees."""
    headers = {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example.org"}
    with deployed.client(headers=headers) as client:
        seen = client.get("/catmaid/whoami").json()
        assert seen["scheme"] == "https"
        assert "1.2.3.4" not in (seen["client"], seen["forwarded_for"])
        assert "evil" not in seen["absolute"]


def test_environment_arrives_as_it_is(deployed: Deployed) -> None:
    with deployed.client() as client:
        assert (
            client.get("/catmaid/whoami").json()["environment"]
            == SITE["instances"][0]["environment"]["STANDIN_GREETING"]
        )


def test_slow_and_large_answers(deployed: Deployed) -> None:
    with deployed.client() as client:
        large = client.get("/catmaid/large?bytes=30000000")
        assert len(large.content) == 30_000_000
    answers: list[int] = []

    def slow() -> None:
        with deployed.client() as client:
            answers.append(client.get("/catmaid/slow?seconds=3").status_code)

    threads = [threading.Thread(target=slow) for _ in range(8)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    # Four at a time: two workers with two threads each.
    assert time.monotonic() - start < 12
