"""Hosts that reach nothing but by a proxy: a real squid with a password, and no other way out."""

from __future__ import annotations

import copy
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.run import CHECKOUT, VIRTUALENV, Run, pyinfra
from tests.host import acme
from tests.host.test_releases import FOLDER, SHARED

pytestmark = [pytest.mark.xdist_group("acme"), pytest.mark.slow, pytest.mark.long, pytest.mark.row_34]

PROXY, GIT, PORT = "proxy.test", "git.test", 3128
USER, PASSWORD = "lab", "Tr0ub4dor-3"
ADDRESS = f"http://{USER}:{PASSWORD}@{PROXY}:{PORT}"
SQUID = f"""
auth_param basic program /usr/lib/squid/basic_ncsa_auth /etc/squid/passwords
acl known proxy_auth REQUIRED
acl away dstdomain .refused.example
http_access deny away
http_access allow known
http_access deny all
http_port {PORT}
access_log stdio:/var/log/squid/access.log
cache deny all
"""
# Packages, code by dumb HTTP, and nobody else's way.
OUTSIDE = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends squid git openssl >/dev/null 2>&1
echo "{USER}:$(openssl passwd -apr1 '{PASSWORD}')" > /etc/squid/passwords
systemctl restart squid
git config --system user.email test@example.org; git config --system user.name test
git config --system safe.directory '*'
git init -q -b main /srv/source; tar -C /srv/source -x -f /srv/code.tar
cd /srv/source; git add -A; git commit -q -m 1; git tag 1.0
git clone -q --bare /srv/source /srv/web/catmaid.git; cd /srv/web/catmaid.git; git update-server-info
systemd-run -q --unit=web python3 -m http.server -d /srv/web 8000
"""
# Answers pass, as by any host's firewall; nothing begins but to the proxy, the names' server and itself.
CUT = """
nft add table inet cut; nft add chain inet cut out '{{ type filter hook output priority 0; }}'
nft add rule inet cut out oif lo accept
nft add rule inet cut out ct state established,related accept
nft add rule inet cut out udp dport 53 accept
nft add rule inet cut out ip daddr {proxy} tcp dport 3128 accept
nft add rule inet cut out counter reject
"""
PACKED = "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; apt-get -qq install -y nftables >/dev/null 2>&1"
# Somebody who looks at what runs, all the time: arguments, and what he may read of environments.
LOOKS = r"""
import os, sys, time
while True:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                text = open("/proc/%s/%s" % (pid, name), "rb").read()
            except OSError:
                continue
            if b"Tr0ub4" + b"dor" in text and int(pid) != os.getpid():
                print(name, text[:300], flush=True)
    time.sleep(0.02)
"""


@dataclass
class Cut:
    """A host that reaches the proxy alone."""

    host: BedHost
    outside: BedHost
    server: acme.Server
    runs: list[Run] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "cut.test"

    def site(self) -> dict[str, Any]:
        instance = {"workers": 1, "celery": {"concurrency": 1}, "virtualenv": VIRTUALENV, "user": "www-data"}
        instance["releases"] = {"repository": f"http://{GIT}:8000/catmaid.git", "revision": "1.0"}
        tls = {"certificate": "acme", "acme_server": self.server.directory}
        return {"server_name": self.name, "instances": [instance], "tls": tls}

    def run(self, *options: str, site: dict[str, Any] | None = None, address: str = ADDRESS, **more: Any) -> Run:
        """The address is in the environment, where the inventory reads it."""
        data = {"site": site or self.site(), "proxy": "SECRET"} | more
        run = _run(self.host, data, address, *options)
        assert PASSWORD not in run.text + str(run.report)
        return run

    def requests(self) -> str:
        return self.outside.run("cat /var/log/squid/access.log")


def _run(host: BedHost, data: dict[str, Any], address: str, *options: str) -> Run:
    """As `pyinfra`, with the proxy read by the inventory as the book says."""

    class Read:
        def __repr__(self) -> str:
            return "__import__('catmaid_deploy.secret').secret.from_environment('PROXY')"

    return pyinfra(host, data | {"proxy": Read()}, *options, env={"PROXY": address})


def address_of(host: BedHost) -> str:
    return host.run("hostname -i").split()[0]


@pytest.fixture(scope="module", params=images.SUITES)
def cut(bed: Bed, server: acme.Server, request: pytest.FixtureRequest) -> Iterator[Cut]:
    suite = request.param
    with images.lock(suite):
        image = images.site(suite)
    with images.lock("bookworm"):
        base = images.host("bookworm")
    host = bed.boot(image, f"cut-{suite}", hostname="host", aliases=("cut.test",))
    outside = bed.boot(base, f"outside-{suite}", aliases=(PROXY, GIT))
    # The code without what a lab adds to it.
    left_out = [f"--exclude={name}" for name in ("./django/env", "./django/files", "./django/static", "settings.py")]
    words = ["tar", "-C", CHECKOUT, *left_out, "--exclude=django.wsgi", "--exclude=__pycache__", "-c", "."]
    code = subprocess.run([*host.inside(), *words], capture_output=True, check=True).stdout
    outside.put("/srv/code.tar", code)
    outside.run("mkdir -p /etc/squid")
    outside.put("/etc/squid/squid.conf", SQUID.encode())
    outside.run("echo 'Dpkg::Options { \"--force-confold\"; };' > /etc/apt/apt.conf.d/99keep; " + OUTSIDE, timeout=600)
    server.introduce(host)
    host.run(PACKED, timeout=600)
    host.run(
        f"""
        install -d -o catmaid -g catmaid {FOLDER} {FOLDER}/shared; install -d {SHARED}
        install -d -o www-data -g www-data {FOLDER}/shared/files
        cp {CHECKOUT}/django/projects/mysite/django.wsgi {SHARED}/
        sed -e 's#^STATIC_ROOT.*#STATIC_ROOT = os.path.join(os.path.dirname(__file__), "../../static")#' \
            -e '1i import os' -e 's#^MEDIA_ROOT.*#MEDIA_ROOT = "{FOLDER}/shared/files"#' \
            {CHECKOUT}/django/projects/mysite/settings.py > {SHARED}/settings.py
        chown -R catmaid:catmaid {FOLDER}/shared/django; chown www-data {SHARED}/settings.py
        chmod 640 {SHARED}/settings.py; rm -f /etc/apt/sources.list.d/*; rm -rf /var/lib/apt/lists/*
        """
    )
    host.run_privileged(CUT.format(proxy=address_of(outside)))
    yield Cut(host, outside, server)
    host.remove()
    outside.remove()


def test_all_that_is_fetched_goes_by_the_proxy(cut: Cut) -> None:
    """Each kind shows in the proxy's log; the password shows nowhere, and in no program's environment."""
    host = cut.host
    uris = host.run("apt-get --print-uris -o Debug::NoLocking=true update").split()
    sources = {urlsplit(uri.strip("'")).hostname for uri in uris if uri.startswith("'http")}
    index = host.run(f"{VIRTUALENV}/bin/pip config get global.index-url 2>/dev/null || echo https://pypi.org/simple")
    its_name = urlsplit(index).hostname
    connects = f'import socket; socket.create_connection(("{its_name}", 443), 5)'
    assert "refused" in host.run(f"python3 -c '{connects}' 2>&1 || true")
    host.put("/tmp/looks.py", LOOKS.encode())
    host.run("systemd-run -q --unit=looks -p User=nobody -p StandardOutput=file:/tmp/seen python3 /tmp/looks.py")
    run = cut.run("-y", "--diff", "-vvv")
    assert run.code == 0, run.text[-3000:]
    log = cut.requests()
    tunnels = [f"CONNECT {name}" for name in (f"{its_name}:443", f"{acme.NAMES[0]}:{acme.PORT}")]
    for target in (*(f"http://{name}/" for name in sources), *tunnels, f"{GIT}:8000/catmaid.git"):
        assert target in log, log[-3000:]
    again = cut.run("-y")
    assert (again.code, again.changed) == (0, []), again.text
    host.run("systemctl stop looks")
    assert host.run("cat /tmp/seen") == ""
    found = host.run(f"grep -rls '{PASSWORD}' /etc /run /var /home /root /tmp 2>/dev/null || true").split()
    assert found == ["/etc/catmaid/proxy.env"]
    assert host.run("stat -c '%a %U' /etc/catmaid/proxy.env") == "600 root"
    for pid in host.run("pgrep -f 'uwsgi|daphne|celery|supervisord|nginx'").split():
        assert "proxy" not in host.run(f"tr '\\0' '\\n' < /proc/{pid}/environ || true")


def test_a_renewal_goes_by_it_too(cut: Cut) -> None:
    before = cut.requests().count(acme.NAMES[0])
    with acme.due(cut.host, cut.name):
        assert acme.renew(cut.host)
    assert cut.requests().count(acme.NAMES[0]) > before
    # Without it none would be.
    run = pyinfra(cut.host, {"site": cut.site()}, "-y")
    assert run.code == 0, run.text
    assert cut.host.run("ls -d /etc/catmaid/proxy.env /etc/systemd/system/certbot.service.d 2>/dev/null || true") == ""
    with acme.due(cut.host, cut.name):
        assert not acme.renew(cut.host)
    assert cut.run("-y").code == 0
    with acme.due(cut.host, cut.name):
        assert acme.renew(cut.host)


REFUSALS = {
    "nobody there": ({"address": f"http://{PROXY}:3129"}, f"proxy: http://{PROXY}:3129 gives the host no answer ("),
    "no password": ({"address": f"http://{PROXY}:{PORT}"}, "wants a user name and a password, or others than it was"),
    "a wrong one": ({"address": ADDRESS.replace("Tr0ub", "none")}, "wants a user name and a password, or others than"),
    "no proxy": ({"address": f"http://{GIT}:8000"}, "proxy: http://git.test:8000 "),
    "not to there": (
        {"site": "https://acme.refused.example/directory"},
        "doesn't take the host to acme.refused.example:443 (HTTP/1.1 403 Forbidden)",
    ),
}


@pytest.mark.bookworm
@pytest.mark.parametrize("kind", REFUSALS)
def test_a_proxy_that_does_not_do_is_one_line(cut: Cut, kind: str) -> None:
    """Before anything changes, and only where something is to be fetched."""
    more, says = copy.deepcopy(REFUSALS[kind])
    site = cut.site()
    site["instances"][0] |= {"uwsgi_version": "2.0.32"}
    if "site" in more:
        site["tls"]["acme_server"] = more.pop("site")
    if kind == "no proxy":
        cut.host.run_privileged("nft insert rule inet cut out tcp dport 8000 accept")
    begun = time.monotonic()
    for options in (("-y",), ("--dry",)):
        run = cut.run(*options, site=site, **more)
        assert (run.code, run.changed) == (1, []), run.text
        (line,) = run.refusals
        assert says in line
    assert time.monotonic() - begun < 60


def test_a_proxy_that_is_away_stops_no_run_with_nothing_to_fetch(cut: Cut) -> None:
    cut.outside.run("systemctl stop squid")
    try:
        again = cut.run("-y")
        assert (again.code, again.changed) == (0, []), again.text
    finally:
        cut.outside.run("systemctl start squid")
        wait_for("squid", lambda: ":3128" in cut.outside.run("ss -ltn"), 30)
