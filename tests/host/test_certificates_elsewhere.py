"""Certificates where Let's Encrypt doesn't reach: servers that know their users, a proof by the DNS, requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.run import Run, pyinfra
from tests.host import acme
from tests.host.conftest import SITE, boot_packed
from tests.host.test_acme import whoami

pytestmark = [pytest.mark.xdist_group("acme"), pytest.mark.slow, pytest.mark.long, pytest.mark.row_34]

KID, KEY = "lab-42", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
ZONE, NAME, PORT = "lab.internal", "catmaid.lab.internal", 14443
TSIG = "c2VjcmV0IG9mIHRoZSBsYWIsIHZlcnkgbG9uZyBpbmRlZWQ="
BIND = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update; apt-get -qq install -y --no-install-recommends bind9 >/dev/null 2>&1
cat > /etc/bind/named.conf.local <<'X'
key "deploy" {{ algorithm hmac-sha256; secret "{TSIG}"; }};
zone "{ZONE}" {{ type master; file "/var/lib/bind/lab.zone"; update-policy {{ grant deploy zonesub TXT; }}; }};
X
cat > /var/lib/bind/lab.zone <<'X'
$TTL 5
@ IN SOA ns.{ZONE}. root.{ZONE}. 1 60 60 60 5
@ IN NS ns.{ZONE}.
ns IN A 127.0.0.1
X
chown bind: /var/lib/bind/lab.zone
systemctl restart named
"""
CREDENTIALS = """
dns_rfc2136_server = {address}
dns_rfc2136_name = deploy
dns_rfc2136_secret = {secret}
dns_rfc2136_algorithm = HMAC-SHA256
"""


@dataclass
class Lab:
    """A host that nobody can ask, an authority that knows its users, and the DNS between them."""

    host: BedHost
    server: acme.Server

    @property
    def directory(self) -> str:
        return f"https://{acme.NAMES[0]}:{PORT}/dir"

    def site(self, **tls: Any) -> dict[str, Any]:
        one = {"certificate": "acme", "acme_server": self.directory} | tls
        return SITE | {"server_name": NAME, "aliases": [], "instances": SITE["instances"][:1], "tls": one}

    def run(self, *options: str, eab: bool = True, dns: bool = True, **tls: Any) -> Run:
        if dns:
            tls["dns"] = {"plugin": "rfc2136", "credentials": "/etc/lab.ini", "wait_seconds": 1}
        if eab:
            tls["eab"] = {"kid": KID, "key": Read()}
        run = pyinfra(self.host, {"site": self.site(**tls)}, *(options or ("-y",)), env={"EAB_KEY": KEY})
        assert KEY not in run.text + str(run.report)
        return run

    @property
    def root(self) -> str:
        return self.server.host.run(f"curl -sk https://localhost:{PORT + 1}/roots/0 || true")


class Read:
    """How an inventory reads the key."""

    def __repr__(self) -> str:
        return "__import__('catmaid_deploy.secret').secret.from_environment('EAB_KEY')"


@pytest.fixture(scope="module", params=images.SUITES)
def lab(bed: Bed, server: acme.Server, request: pytest.FixtureRequest) -> Iterator[Lab]:
    host = boot_packed(bed, request.param, f"elsewhere-{request.param}")
    server.introduce(host)
    it = server.host
    it.run(BIND + "apt-get -qq install -y --no-install-recommends curl >/dev/null 2>&1", timeout=600)
    more: dict[str, Any] = {"listenAddress": f"0.0.0.0:{PORT}", "managementListenAddress": f"0.0.0.0:{PORT + 1}"}
    more |= {"externalAccountBindingRequired": True, "externalAccountMACKeys": {KID: KEY}}
    it.put("/etc/pebble/known.json", json.dumps({"pebble": acme.CONFIGURATION["pebble"] | more}).encode())
    command = "/usr/bin/pebble -config /etc/pebble/known.json -dnsserver 127.0.0.1:53"
    unit = acme.UNIT.replace("/usr/bin/pebble -config /etc/pebble/configuration.json", command)
    it.put("/etc/systemd/system/known.service", unit.encode())
    it.run("systemctl daemon-reload; systemctl restart known")
    one = Lab(host, server)
    wait_for("the authority", lambda: "BEGIN CERTIFICATE" in one.root, 30)
    address = it.run("hostname -i").split()[0]
    host.put("/etc/lab.ini", CREDENTIALS.format(address=address, secret=TSIG).encode(), mode="600")
    yield one
    it.run("systemctl stop known")
    host.remove()


def test_who_is_unknown_there_is_told_so_before_anything_changes(lab: Lab) -> None:
    run = lab.run(eab=False)
    assert (run.code, run.changed) == (1, []), run.text
    (line,) = run.refusals
    assert f"site[{NAME}].tls.eab: {lab.directory} gives certificates to accounts alone that it knows befo" in line


@pytest.mark.parametrize(
    ("harm", "says", "mends"),
    [
        ("chmod 644 /etc/lab.ini", "tls.dns.credentials: /etc/lab.ini can be read by others, who co", "chmod 600"),
        ("mv /etc/lab.ini /root/", "tls.dns.credentials: /etc/lab.ini isn't there: put it there", "mv /root/lab.ini"),
    ],
)
def test_credentials_that_others_read_or_that_are_not_there(lab: Lab, harm: str, says: str, mends: str) -> None:
    lab.host.run(harm)
    run = lab.run()
    lab.host.run(f"{mends} /etc/lab.ini")
    assert (run.code, run.changed) == (1, []), run.text
    assert any(says in line for line in run.refusals)


def test_an_account_and_the_dns(lab: Lab) -> None:
    """No port of the host is asked: its name leads nowhere."""
    watch = "while :; do ps -eo args; done > /tmp/seen"
    lab.host.run(f"systemd-run -q --unit=watch sh -c '{watch}'")
    run = lab.run("-y", "--diff", "-vvv")
    lab.host.run("systemctl stop watch")
    assert run.code == 0, run.text[-3000:]
    assert lab.host.run("grep -c certbot /tmp/seen") != "0"
    assert KEY not in lab.host.run("cat /tmp/seen")
    assert lab.host.run(f"grep -rls '{KEY}' /etc /run /var /root 2>/dev/null || true") == ""
    acme.wait_until_served(lab.host, NAME, lab.root)
    assert whoami(lab.host, NAME, lab.root) == 200
    again = lab.run()
    assert (again.code, again.changed) == (0, []), again.text


def test_its_renewal_needs_neither_key_nor_port(lab: Lab) -> None:
    before = acme.served(lab.host, NAME, lab.root)["serialNumber"]
    with acme.due(lab.host, NAME):
        assert acme.renew(lab.host)
    wait_for("nginx's reload", lambda: acme.served(lab.host, NAME, lab.root)["serialNumber"] != before, 30)
    # With an account there the key isn't needed any longer.
    again = lab.run(eab=False)
    assert (again.code, again.changed) == (0, []), again.text


# ---- a request for an institute's authority ----

AUTHORITY = """
mkdir -p /srv/ca; cd /srv/ca
[ -s ca.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \\
    -subj '/CN=Institute' -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem 2>/dev/null
"""
FOLDER = f"/etc/catmaid/tls/requested/{NAME}"


def signed(lab: Lab, days: int = 365) -> None:
    """What the institute's people do, elsewhere: they see the request alone."""
    request = lab.host.run(f"cat {FOLDER}/request.csr")
    lab.server.host.put("/tmp/request.csr", request.encode())
    sign = f"openssl x509 -req -in /tmp/request.csr -CA ca.pem -CAkey ca.key -days {days} -copy_extensions copy"
    certificate = lab.server.host.run(f"{AUTHORITY} {sign} 2>/dev/null; cat ca.pem")
    lab.host.put(f"{FOLDER}/fullchain.pem", certificate.encode())


def by_request(lab: Lab, *options: str, **tls: Any) -> Run:
    site = lab.site() | tls.pop("site", {})
    site["tls"] = {"certificate": "request", "subject": {"C": "DE", "O": "Lab & Söhne"}} | tls
    return pyinfra(lab.host, {"site": site}, *(options or ("-y",)))


def test_a_request_for_an_institute_s_authority(lab: Lab) -> None:
    """Last: what the site has from ACME is served until the signed one is there."""
    dry = by_request(lab, "--dry")
    assert dry.code == 0, dry.text
    run = by_request(lab)
    assert run.code == 0, run.text
    assert f"have {FOLDER}/request.csr signed" in run.text
    text = lab.host.run(f"openssl req -in {FOLDER}/request.csr -noout -text -nameopt utf8 -verify")
    assert "O = Lab & Söhne" in text or "O=Lab & Söhne" in text
    assert f"DNS:{NAME}" in text
    assert lab.host.run(f"stat -c '%a %U' {FOLDER}/privkey.pem") == "600 root"
    again = by_request(lab)
    assert (again.code, again.changed) == (0, []), again.text
    assert "its request waits for a signature" in again.text

    signed(lab)
    run = by_request(lab)
    assert run.code == 0, run.text
    root = lab.server.host.run("cat /srv/ca/ca.pem")
    acme.wait_until_served(lab.host, NAME, root)
    assert whoami(lab.host, NAME, root) == 200
    again = by_request(lab)
    assert (again.code, again.changed) == (0, []), again.text
    assert "its request waits" not in again.text


def test_its_end_other_names_and_what_is_not_its_own(lab: Lab) -> None:
    by_request(lab)
    key = lab.host.run(f"sha256sum {FOLDER}/privkey.pem")
    signed(lab, days=10)
    run = by_request(lab)
    assert run.code == 0, run.text
    assert "tls.certificate: it ends in 9 days: have" in run.text
    # Another name is another request, by the same key; what is there serves on.
    run = by_request(lab, site={"aliases": [f"www.{NAME}"]})
    assert run.code == 0, run.text
    assert f"it is for {NAME}, and not for www.{NAME}: have {FOLDER}/request.csr signed" in run.text
    assert lab.host.run(f"sha256sum {FOLDER}/privkey.pem") == key
    signed(lab)
    run = by_request(lab, site={"aliases": [f"www.{NAME}"]})
    assert run.code == 0, run.text
    root = lab.server.host.run("cat /srv/ca/ca.pem")
    wait = lambda: acme.names_of(acme.served(lab.host, NAME, root)) == {NAME, f"www.{NAME}"}  # noqa: E731
    wait_for("both names", wait, 30)
    lab.host.put(f"{FOLDER}/fullchain.pem", root.encode())
    for options in (("-y",), ("--dry",)):
        run = by_request(lab, *options, site={"aliases": [f"www.{NAME}"]})
        assert (run.code, run.changed) == (1, []), run.text
        assert any(f"{FOLDER}/fullchain.pem doesn't belong to the key of the request" in one for one in run.refusals)
    signed(lab)
    assert by_request(lab, site={"aliases": [f"www.{NAME}"]}).code == 0
