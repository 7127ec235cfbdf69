"""Bad inventories and unfit hosts: one clear line with host, key and fix, and nothing changed (row 31)."""

from __future__ import annotations

import copy
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trustme

from catmaid_deploy import schema
from testbed.hosts import BedHost
from testbed.podman import command
from testbed.run import CHECKOUT, VIRTUALENV, pyinfra
from tests.host.conftest import SITE, STATE


@dataclass(frozen=True)
class Case:
    """What is wrong, and what the line has to say. ``before`` and ``after`` make the host unfit and fit again."""

    key: str
    says: str
    instance: dict[str, Any] | None = None
    site: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    before: str = ""
    after: str = ""
    user: str = "root"


def _certificate(*names: str, days: int = 90) -> tuple[str, str]:
    """A certificate for so many days from now, and its key."""
    # So many whole days, also when it is asked some minutes later.
    end = datetime.now(UTC) + timedelta(days=days, minutes=5 if days > 0 else -5)
    made = trustme.CA().issue_cert(*names, not_before=end - timedelta(days=90), not_after=end)
    return made.cert_chain_pems[0].bytes().decode(), made.private_key_pem.bytes().decode()


CERTIFICATE, KEY = _certificate("localhost", "*.test")
CERTIFICATE_FILE, KEY_FILE = "/etc/ssl/lab.pem", "/etc/ssl/private/lab.key"
OWN = {"tls": {"certificate": CERTIFICATE_FILE, "key": KEY_FILE}}


def _own(says: str, key: str, certificate: str = CERTIFICATE, its_key: str = KEY) -> Case:
    """A site with a certificate of its own, which lies on the host."""
    before = (
        f"cat > {CERTIFICATE_FILE} <<'E'\n{certificate}E\ncat > {KEY_FILE} <<'E'\n{its_key}E\nchmod 600 {KEY_FILE}\n"
    )
    return Case(f"site[localhost].tls.{key}", says, site=OWN, before=before, after=f"rm {CERTIFICATE_FILE} {KEY_FILE}")


def _with_passphrase(key: str) -> str:
    words = ["openssl", "pkey", "-aes256", "-passout", "pass:x"]
    return subprocess.run(words, input=key, capture_output=True, text=True, check=True).stdout


TILES = {"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb"}
SETTINGS = f"{CHECKOUT}/django/projects/mysite/settings.py"
OTHER = SITE["instances"][1]
# Before a fix by an access list, on a host that has no tool for these.
INSTALL = "apt-get update && apt-get install -y acl && "

CASES = {
    "no site": Case("site", "missing: describe the site", data={"site": None}),
    "unknown key": Case("site.instances[0].worker", "unknown key; did you mean 'workers'?", {"worker": 2}),
    "unknown key of the site": Case("site.servername", "did you mean 'server_name'?", site={"servername": "x"}),
    "wrong type": Case("site.instances[0].workers", "a whole number is needed, not 'eight'", {"workers": "eight"}),
    "garbage after a prefix": Case("site.instances[0].prefix", "more than a path", {"prefix": "/catmaid;"}),
    "address as a prefix": Case("site.instances[0].prefix", "whole address", {"prefix": "http://a.org/catmaid/"}),
    "address as a host name": Case(
        "site.server_name", "give the host name alone, 'a.org'", site={"server_name": "http://a.org/"}
    ),
    "two instances with one prefix": Case("site.instances", "two have the prefix", {"prefix": OTHER["prefix"]}),
    "two instances with one name": Case("site.instances", "two have the name", {"name": OTHER["name"]}),
    "a secret in the environment": Case(
        "site.instances[0].environment", "looks like a secret", {"environment": {"DB_PASSWORD": "hunter2"}}
    ),
    "a control character in the environment": Case(
        "site.instances[0].environment", "has a control character", {"environment": {"GREETING": "a\nb"}}
    ),
    "a variable of the deploy's own": Case(
        "site.instances[0].environment", "PATH is for the deploy", {"environment": {"PATH": "/bin"}}
    ),
    "root as the service user": Case("site.instances[0].user", "may do what is root's alone", {"user": "root"}),
    "a socket folder that nginx can't enter": Case(
        "site.instances[0].runtime_mode", "no setgid bit", {"user": "catmaid", "runtime_mode": "0750"}
    ),
    "a mode that keeps its owner out": Case(
        "site.instances[0].runtime_mode", "keeps www-data out", {"runtime_mode": "0055"}
    ),
    "a body limit in words": Case("site.instances[0].body_limit", "write it as '20m'", {"body_limit": "20 MB"}),
    "an old uWSGI": Case("site.instances[0].uwsgi_version", "give 2.0.31 or later", {"uwsgi_version": "2.0.30"}),
    "a queue with a space": Case(
        "site.instances[0].celery.queues[0]", "is not allowed", {"celery": {"queues": ["a b"]}}
    ),
    "no worker for tasks": Case(
        "site.instances[0].celery.concurrency", "0 is not allowed", {"celery": {"concurrency": 0}}
    ),
    "no such port": Case("site.instances[0].broker.port", "70000 is not allowed", {"broker": {"port": 70000}}),
    "a relative path": Case("site.instances[0].checkout", "give an absolute path", {"checkout": "catmaid"}),
    "an alias for all": Case("site.aliases[0]", "is not a host name", site={"aliases": ["*.example.org"]}),
    "somebody else's file": Case(
        "/etc/supervisor/conf.d/catmaid.conf",
        "somebody else's file is in the way",
        before="mkdir -p /etc/supervisor/conf.d; echo '[program:x]' > /etc/supervisor/conf.d/catmaid.conf",
        after="rm -r /etc/supervisor",
    ),
    "somebody's nginx.conf": Case(
        "/etc/nginx/nginx.conf",
        "mv /etc/nginx/nginx.conf /root/etc-nginx-nginx.conf.before",
        before="mkdir -p /etc/nginx; echo '# mine' > /etc/nginx/nginx.conf",
        after="rm -r /etc/nginx",
    ),
    "static files that nginx can't reach": Case(
        "site.instances[catmaid].static_folder",
        f"catmaid-nginx can't enter {CHECKOUT}/django/static: {INSTALL}setfacl -m g:www-data:x",
        before=f"chmod 700 {CHECKOUT}/django/static",
        after=f"chmod 755 {CHECKOUT}/django/static",
    ),
    "no checkout": Case("site.instances[catmaid].checkout", "/opt/none isn't there", {"checkout": "/opt/none"}),
    "no virtualenv": Case("site.instances[catmaid].virtualenv", "/opt/none isn't there", {"virtualenv": "/opt/none"}),
    "a virtualenv of another Python": Case(
        "site.instances[catmaid].virtualenv",
        "made for another Python",
        {"virtualenv": "/opt/upgraded"},
        before="python3 -m venv --without-pip /opt/upgraded; cd /opt/upgraded/lib; mv python3.* python3.7",
        after="rm -r /opt/upgraded",
    ),
    "a virtualenv whose Python is gone": Case(
        "site.instances[catmaid].virtualenv",
        "bin/python isn't there",
        {"virtualenv": "/opt/broken"},
        before="python3 -m venv --without-pip /opt/broken; ln -sfn /usr/bin/python3.7 /opt/broken/bin/python3",
        after="rm -r /opt/broken",
    ),
    "a virtualenv without CATMAID's requirements": Case(
        "site.instances[catmaid].virtualenv",
        f"isn't installed in it: /opt/empty/bin/pip install -r {CHECKOUT}/django/requirements.txt",
        {"virtualenv": "/opt/empty"},
        before="python3 -m venv --without-pip /opt/empty",
        after="rm -r /opt/empty",
    ),
    "no settings": Case(
        "site.instances[catmaid].checkout",
        "settings.py isn't there: have django/create_configuration.py make it",
        before=f"mv {SETTINGS} /tmp/settings.py",
        after=f"mv /tmp/settings.py {SETTINGS}",
    ),
    "settings for another prefix": Case(
        "site.instances[catmaid].prefix", "doesn't fit FORCE_SCRIPT_NAME = '/catmaid'", {"prefix": "/neurons"}
    ),
    "no wsgi file": Case(
        "site.instances[catmaid].wsgi_file", "/opt/none.wsgi isn't there", {"wsgi_file": "/opt/none.wsgi"}
    ),
    "no static files": Case(
        "site.instances[catmaid].static_folder",
        "collectstatic",
        before=f"mv {CHECKOUT}/django/static /opt/",
        after=f"mv /opt/static {CHECKOUT}/django/",
    ),
    "no folder for files": Case(
        "site.instances[catmaid].files_folder",
        "install -d -o www-data",
        before=f"mv {CHECKOUT}/django/files /opt/",
        after=f"mv /opt/files {CHECKOUT}/django/",
    ),
    "another folder of static files": Case(
        "site.instances[catmaid].static_folder", "isn't Django's STATIC_ROOT", {"static_folder": "/opt/none"}
    ),
    "another folder of users' files": Case(
        "site.instances[catmaid].files_folder", "isn't Django's MEDIA_ROOT", {"files_folder": "/opt/none"}
    ),
    "no such user": Case("site.instances[catmaid].user", "there is no user 'tracer'", {"user": "tracer"}),
    "no such group": Case(
        "site.instances[catmaid].runtime_group", "there is no group 'tracers'", {"runtime_group": "tracers"}
    ),
    "settings that the user can't read": Case(
        "site.instances[catmaid].user",
        f"www-data can't read {SETTINGS}",
        before=f"chmod 600 {SETTINGS}",
        after=f"chmod 640 {SETTINGS}",
    ),
    "a folder that the user can't enter": Case(
        "site.instances[catmaid].user",
        f"www-data can't enter /home/catmaid: {INSTALL}setfacl -m g:www-data:x /home/catmaid",
        before="chmod 700 /home/catmaid",
        after="chmod 755 /home/catmaid",
    ),
    "an unsupported system": Case(
        "system",
        "Debian_9 isn't supported",
        before="cp /etc/os-release /tmp/; echo 'ID=debian\nVERSION_ID=9\nPRETTY_NAME=Debian_9' > /usr/lib/os-release",
        after="cp /tmp/os-release /usr/lib/os-release",
    ),
    "no certificate": Case("site[localhost].tls.certificate", "/etc/ssl/lab.pem isn't there: put it there", site=OWN),
    "no key": Case(
        "site[localhost].tls.key",
        "/etc/ssl/private/lab.key isn't there",
        site=OWN,
        before=f"echo x > {CERTIFICATE_FILE}",
        after=f"rm {CERTIFICATE_FILE}",
    ),
    "the key of another certificate": _own(
        f"{KEY_FILE} doesn't belong to the certificate {CERTIFICATE_FILE}", "key", its_key=_certificate("localhost")[1]
    ),
    "a key with a passphrase": _own(
        "isn't a key in PEM form without a passphrase", "key", its_key=_with_passphrase(KEY)
    ),
    "no certificate in it": _own("isn't a certificate in PEM form", "certificate", "nonsense\n"),
    "a certificate for other names": _own(
        "is for lab.org, and not for localhost, tracing.test", "certificate", *_certificate("lab.org")
    ),
    "a certificate that ended": _own(
        "ended 3 days ago: renew it", "certificate", *_certificate("localhost", "*.test", days=-3)
    ),
    "a key without a certificate": Case(
        "site.tls.key", "'acme' brings its own key", site={"tls": {"certificate": "acme", "key": "/etc/ssl/a.key"}}
    ),
    "a certificate's relative path": Case(
        "site.tls.certificate",
        "give 'self-signed', 'acme', 'request', 'none', or the path",
        site={"tls": {"certificate": "lab.pem"}},
    ),
    "an origin with a slash": Case(
        "site.instances[0].cors.origins[0]", "write 'https://lab.org'", {"cors": {"origins": ["https://lab.org/"]}}
    ),
    "all origins with credentials": Case(
        "site.instances[0].cors.origins", "name the origins", {"cors": {"origins": ["*"], "credentials": True}}
    ),
    "a password in the open": Case(
        "site.instances[0].passwords",
        "the hash of alice is neither bcrypt nor SHA-512",
        {"passwords": {"alice": "hunter2"}},
    ),
    "a password among the sites' keys": Case(
        "site.tiles", "a list is needed, not a dictionary", site={"tiles": TILES | {"passwords": {"alice": "hunter2"}}}
    ),
    "an end without a time zone": Case(
        "site.maintenance.end", "has no time zone", site={"maintenance": {"end": "2026-12-01T18:00"}}
    ),
    "a policy that breaks out": Case(
        "site.headers.content_security_policy",
        "can't be a header's value",
        site={"headers": {"content_security_policy": "default-src 'self'\"; evil on"}},
    ),
    "no tiles": Case(
        "site.tiles[fafb].folder",
        "/data/fafb isn't there: correct the path, or have its disk mounted",
        site={"tiles": [TILES]},
    ),
    "tiles that nginx can't enter": Case(
        "site.tiles[fafb].folder",
        f"catmaid-nginx can't enter /data: {INSTALL}setfacl -m g:www-data:x /data",
        site={"tiles": [TILES]},
        before="mkdir -p /data/fafb; chmod 700 /data",
        after="rm -r /data",
    ),
    "no fallback": Case(
        "site.tiles[fafb].fallback",
        "/srv/none.jpg isn't there",
        site={"tiles": [TILES | {"fallback": "/srv/none.jpg"}]},
        before="mkdir -p /data/fafb",
        after="rm -r /data",
    ),
    "no marker": Case(
        "site.tiles[fafb].marker",
        "/data/fafb/here isn't there",
        site={"tiles": [TILES | {"marker": "/data/fafb/here"}]},
        before="mkdir -p /data/fafb",
        after="rm -r /data",
    ),
    "a mount point without a marker": Case(
        "site.tiles[0].marker", "name a file that lies on the disk", site={"tiles": [TILES | {"mount": "/data/fafb"}]}
    ),
    "tiles among static files": Case(
        "site.tiles",
        "lies in /catmaid/static/, which belongs to catmaid",
        site={"tiles": [TILES | {"url": "/catmaid/static/t"}]},
    ),
    "no root": Case("_sudo", "the login user isn't root", user="plain"),
    "no sudo rights": Case("_sudo", "sudo refuses", data={"_sudo": True, "sudo_password": "guess"}, user="plain"),
    "sudo without its password": Case(
        "sudo_password", "sudo asks for a password", data={"_sudo": True}, user="careful"
    ),
    "a wrong sudo password": Case(
        "sudo_password", "sudo refuses it", data={"_sudo": True, "sudo_password": "wrong"}, user="careful"
    ),
    "a sudo password where all can see it": Case(
        "_sudo_password",
        "give it as sudo_password instead",
        data={"_sudo": True, "_sudo_password": "x"},
        user="careful",
    ),
}


@pytest.fixture(scope="module")
def unfit(bare: BedHost) -> BedHost:
    """The bare host with two more users: one without rights, one whose sudo asks for a password."""
    add_users(bare)
    return bare


def add_users(host: BedHost) -> None:
    host.run(
        """
        for user in plain careful free; do
            useradd --create-home --shell /bin/bash $user
            install -d -o $user -m 700 /home/$user/.ssh
            install -o $user -m 600 /root/.ssh/authorized_keys /home/$user/.ssh/
        done
        echo 'careful:correct horse $battery "staple"' | chpasswd
        echo 'plain:guess' | chpasswd
        echo 'careful ALL=(ALL) ALL' > /etc/sudoers.d/careful
        echo 'free ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/free
        """
    )


def data_of(case: Case) -> dict[str, Any]:
    """SITE with the case's fault in its first instance; the others are there only where two collide."""
    site = copy.deepcopy(SITE)
    if case.key != "site.instances":
        del site["instances"][1:]
    site["instances"][0].update(case.instance or {})
    site.update(case.site or {})
    return {"site": site} | (case.data or {})


SAMPLE = ("no site", "unknown key", "two instances with one prefix", "a secret in the environment")


@cache
def of_the_inventory() -> dict[str, list[str]]:
    """The cases that need no host, each with what the inventory's own check says."""
    found = {}
    for name, case in CASES.items():
        try:
            data = data_of(case)
            schema.load(data.get("site"), data.get("sites"))
        except schema.InvalidSite as error:
            found[name] = error.lines
    return found


# What another case shows in nearly the same way.
ALIKE = {
    *("a virtualenv whose Python is gone", "no wsgi file", "no folder for files", "no such group"),
    *("another folder of static files", "no virtualenv", "a folder that the user can't enter"),
    *("no key", "a key with a passphrase", "no certificate in it", "no fallback", "tiles that nginx can't enter"),
    *("a wrong sudo password", "somebody's nginx.conf"),
}
assert set(CASES) >= ALIKE


def _marks(name: str) -> list[pytest.MarkDecorator]:
    """What no host is asked for tests/unit tells as well; of these a sample is enough."""
    alike = name in ALIKE or (name in of_the_inventory() and name not in SAMPLE)
    return [pytest.mark.long] if alike else []


@pytest.mark.row_31
@pytest.mark.parametrize("name", [pytest.param(name, marks=_marks(name)) for name in CASES])
def test_one_line_with_host_key_and_fix(unfit: BedHost, name: str) -> None:
    case = CASES[name]
    if case.before:
        unfit.run(case.before)
    try:
        before = unfit.run(STATE)
        run = pyinfra(unfit, data_of(case), "-y", user=case.user)
        after = unfit.run(STATE)
    finally:
        if case.after:
            unfit.run(case.after)
    assert run.code != 0, run.text
    assert len(run.refusals) == 1, run.text
    (line,) = run.refusals
    assert line.startswith(f"host: {case.key}: "), line
    assert case.says in line
    assert "Traceback" not in run.text
    assert "hunter2" not in run.text
    assert after == before


@pytest.mark.row_31
def test_apache_on_the_port(unfit: BedHost) -> None:
    unfit.run(
        "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update;"
        "apt-get -qq install --no-install-recommends apache2 >/dev/null 2>&1; systemctl start apache2"
    )
    try:
        before = unfit.run(STATE)
        run = pyinfra(unfit, {"site": SITE}, "-y")
        assert run.code != 0
        (line,) = run.refusals
        assert line.startswith("host: port 80: held by apache2 (process ")
        assert "systemctl disable --now apache2.service" in line
        assert unfit.run(STATE) == before
    finally:
        unfit.run("systemctl disable --now apache2; apt-get -qq purge -y apache2 >/dev/null 2>&1")


@pytest.mark.row_31
def test_no_space_left(unfit: BedHost) -> None:
    where = "/var/cache/apt/archives"
    mount = [*command(), "exec", "--privileged", unfit.name]
    subprocess.run([*mount, "mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", where], check=True)
    try:
        before = unfit.run(STATE)
        run = pyinfra(unfit, {"site": SITE}, "-y")
        assert run.code != 0
        (line,) = run.refusals
        assert line.startswith(
            f"host: space: 10 MiB are free on {where}, 180 MiB are needed: remove what isn't needed below {where}"
        )
        assert unfit.run(STATE) == before
    finally:
        subprocess.run([*mount, "umount", where], check=True)


def test_a_certificate_that_soon_ends_is_a_warning(unfit: BedHost) -> None:
    case = _own("", "", *_certificate("localhost", "tracing.test", days=10))
    unfit.run(case.before)
    try:
        run = pyinfra(unfit, {"site": SITE | OWN}, "--dry")
    finally:
        unfit.run(case.after)
    assert run.code == 0, run.text
    assert "WARNING site[localhost].tls.certificate: /etc/ssl/lab.pem ends in 10 days: renew it" in run.text


def test_several_faults_come_together(unfit: BedHost) -> None:
    site = copy.deepcopy(SITE)
    site["instances"][0].update(checkout="/opt/none", virtualenv=VIRTUALENV)
    site["instances"][1].update(user="tracer")
    run = pyinfra(unfit, {"site": site}, "-y")
    assert [line.split(": ")[1] for line in run.refusals] == [
        "site.instances[catmaid].checkout",
        "site.instances[catmaid-fafb].user",
    ]


def test_faults_of_all_hosts_come_together(unfit: BedHost) -> None:
    """Also of hosts whose inventory is right; none of them is changed."""
    before = unfit.run(STATE)
    site = copy.deepcopy(SITE)
    site["instances"][0].update(checkout="/opt/none")
    other = unfit.ssh_data() | {"site": site}
    run = pyinfra(unfit, {"site": SITE | {"instances": [{"user": "tracer"}]}}, "-y", more={"second": other})
    assert run.code != 0
    lines = [line.removeprefix("--> ") for line in run.text.splitlines() if ": site." in line]
    assert [line.split(": ")[:2] for line in lines] == [
        ["host", "site.instances[catmaid].user"],
        ["second", "site.instances[catmaid].checkout"],
    ]
    assert unfit.run(STATE) == before


def test_one_host_that_does_not_answer_stops_the_others(unfit: BedHost) -> None:
    before = unfit.run(STATE)
    gone = {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_user": "root", "site": SITE}
    run = pyinfra(unfit, {"site": SITE}, "-y", more={"gone": gone})
    assert run.code != 0
    assert "gone: ssh_hostname: not reached, see above: correct that, or leave it out with --exclude gone" in run.text
    assert unfit.run(STATE) == before


def test_a_host_that_does_not_answer() -> None:
    run = pyinfra(None, {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_user": "root", "site": SITE}, "-y")
    assert run.code != 0
    (line,) = [line.strip() for line in run.text.splitlines() if "[host]" in line]
    assert line.startswith("[host] Could not connect")
    assert line.endswith("correct ssh_hostname, ssh_port, ssh_user or ssh_key in the inventory")


def test_a_key_that_the_host_does_not_know(unfit: BedHost, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    run = pyinfra(unfit, {"ssh_key": str(key), "site": SITE}, "-y")
    assert run.code != 0
    assert "Traceback" not in run.text
    (line,) = [line.strip() for line in run.text.splitlines() if "[host]" in line]
    assert line.startswith("[host] Authentication error")
    assert line.endswith("correct ssh_hostname, ssh_port, ssh_user or ssh_key in the inventory")


@pytest.mark.row_9
@pytest.mark.parametrize("key", ["static_folder", "files_folder"])
def test_nginx_can_not_enter_a_folder(unfit: BedHost, key: str) -> None:
    """Below another folder that blocks: the message names the first one, and its command opens it."""
    folder = f"{CHECKOUT}/django/{key.removesuffix('_folder')}"
    unfit.run(f"chmod 700 {folder}; chown catmaid {folder}; chmod 700 {CHECKOUT}/django")
    try:
        site = {"server_name": "localhost", "instances": [{}]}
        first = pyinfra(unfit, {"site": site}, "--dry").refusals
        assert any(f"www-data can't enter {CHECKOUT}/django: " in line for line in first), first
        assert not any(f"can't enter {folder}" in line for line in first)
        unfit.run(first[0].rpartition(": ")[2])
        (line,) = pyinfra(unfit, {"site": site}, "--dry").refusals
        who = "www-data can't write in" if key == "files_folder" else "catmaid-nginx can't enter"
        assert line.startswith(f"host: site.instances[catmaid].{key}: {who} {folder}: ")
        unfit.run(line.rpartition(": ")[2])
        assert pyinfra(unfit, {"site": site}, "--dry").code == 0
    finally:
        unfit.run(
            f"setfacl -R -b {CHECKOUT}/django; chmod 755 {folder} {CHECKOUT}/django;"
            f"chown www-data {CHECKOUT}/django/files"
        )


@pytest.mark.row_34
def test_a_small_tmp_is_enough(unfit: BedHost) -> None:
    """Each folder is judged by what is written to it: a /tmp in memory is often small."""
    mount = [*command(), "exec", "--privileged", unfit.name]
    subprocess.run([*mount, "mount", "-t", "tmpfs", "-o", "size=100m,mode=1777", "tmpfs", "/tmp"], check=True)
    try:
        run = pyinfra(unfit, {"site": SITE}, "--dry")
        assert run.code == 0, run.text
    finally:
        subprocess.run([*mount, "umount", "/tmp"], check=True)


@pytest.mark.row_5
def test_work_mem_that_does_not_fit_the_memory_is_a_warning(unfit: BedHost) -> None:
    unfit.run("mkdir -p /etc/postgresql/15/main; echo 'work_mem = 512GB' > /etc/postgresql/15/main/postgresql.conf")
    try:
        run = pyinfra(unfit, {"site": {"server_name": "localhost", "instances": [{}]}}, "--dry")
    finally:
        unfit.run("rm -r /etc/postgresql")
    assert run.code == 0
    memory = int(unfit.run("awk '/MemTotal/ {print $2}' /proc/meminfo")) >> 10
    says = f"16 (workers x threads of all instances) x {512 << 10} MiB (PostgreSQL's work_mem) = {8192 << 10} MiB"
    assert f"WARNING workers: {says}, and the host has {memory} MiB" in run.text


@pytest.mark.row_34
def test_more_workers_than_any_memory_holds(unfit: BedHost) -> None:
    """Of a first deploy as well, when nothing runs yet. The host's 2 GiB are what its own kernel would say of them."""
    unfit.run("printf 'MemTotal: 2097152 kB\\nMemAvailable: 1900000 kB\\nSwapTotal: 1048576 kB\\n' > /root/meminfo")
    unfit.run_privileged("mount --bind /root/meminfo /proc/meminfo")
    try:
        instance = {"workers": 512, "celery": {"concurrency": 8}}
        site = {"server_name": "localhost", "instances": [instance]}
        run = pyinfra(unfit, {"site": site}, "--dry")
        instance["workers"] = 8
        fits = pyinfra(unfit, {"site": site}, "--dry")
    finally:
        unfit.run_privileged("umount /proc/meminfo")
    assert run.code == 1
    assert run.refusals == [
        "host: workers: 520 workers (workers and celery.concurrency of all instances) need 16640 MiB at the very "
        "least, and the host has 3072 MiB with its swap: lower workers or celery.concurrency"
    ]
    assert fits.code == 0, fits.text


def test_a_silent_broker_is_a_warning(unfit: BedHost) -> None:
    site = copy.deepcopy(SITE)
    site["instances"][0]["broker"] = {"host": "localhost", "port": 5699}
    run = pyinfra(unfit, {"site": site}, "--dry")
    assert run.code == 0
    assert "WARNING site.instances[catmaid].broker: nothing answers at localhost:5699" in run.text
