"""An ACME server on a bed: Debian's pebble on a host of its own, and how the other hosts come to trust it."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from testbed import images
from testbed.hosts import Bed, BedHost, wait_for

# One server under two names, which are two servers for certbot.
NAMES = ("pebble.test", "other-pebble.test")
PORT, MANAGEMENT = 14000, 15000
# What the server doesn't give a certificate for.
REFUSED = "refused.test"
CONFIGURATION = {
    "pebble": {
        "listenAddress": f"0.0.0.0:{PORT}",
        "managementListenAddress": f"0.0.0.0:{MANAGEMENT}",
        "certificate": "/etc/pebble/certificate.pem",
        "privateKey": "/etc/pebble/key.pem",
        "httpPort": 80,
        "tlsPort": 443,
        # As Let's Encrypt's: of one with less than 30 days certbot thinks at once that it is late.
        "certificateValidityPeriod": 90 * 24 * 3600,
        "domainBlocklist": [REFUSED],
    }
}
# It asks for every proof, at once, and rejects no good request by chance.
UNIT = """
[Service]
Environment=PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 PEBBLE_AUTHZREUSE=0
ExecStart=/usr/bin/pebble -config /etc/pebble/configuration.json
"""
INSTALL = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends pebble openssl >/dev/null 2>&1
"""
# Its own HTTPS has nothing to do with the certificates that it gives.
KEYS = f"""
mkdir -p /etc/pebble; cd /etc/pebble
new="openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650"
$new -subj '/CN=Test bed' -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem 2>/dev/null
$new -subj '/CN={NAMES[0]}' -addext basicConstraints=critical,CA:FALSE \\
    -addext subjectAltName={",".join(f"DNS:{name}" for name in NAMES)},IP:127.0.0.1 \\
    -CA ca.pem -CAkey ca.key -keyout key.pem -out certificate.pem 2>/dev/null
"""


@dataclass(frozen=True)
class Server:
    """A running ACME server. Its accounts and its root are gone when it stops."""

    host: BedHost
    authority: str

    @property
    def directory(self) -> str:
        return f"https://{NAMES[0]}:{PORT}/dir"

    @property
    def other_directory(self) -> str:
        return f"https://{NAMES[1]}:{PORT}/dir"

    @property
    def root(self) -> str:
        """The root of the certificates that it gives."""
        trust = ssl.create_default_context(cadata=self.authority)
        url = f"https://127.0.0.1:{self.host.ports[MANAGEMENT]}/roots/0"
        return httpx.get(url, verify=trust, trust_env=False).raise_for_status().text

    def runs(self) -> bool:
        try:
            return "BEGIN CERTIFICATE" in self.root
        except httpx.HTTPError:
            return False

    def introduce(self, host: BedHost) -> None:
        """Let the programs of a host trust the server's own HTTPS."""
        host.put("/usr/local/share/ca-certificates/test-bed.crt", self.authority.encode())
        host.run("update-ca-certificates >/dev/null 2>&1")


def start(bed: Bed) -> Server:
    """Boot a host with pebble on it, which knows the other hosts by the names they have on the bed."""

    def make(parent: str) -> str:
        host = bed.boot(parent, "pebble-image")
        host.run(INSTALL, timeout=600)
        return host.name

    with images.lock("pebble"):
        with images.lock("bookworm"):
            parent = images.host("bookworm")
        image = images.committed("pebble", "bookworm", parent, make, INSTALL)
    host = bed.boot(image, "pebble", aliases=NAMES, extra=("--publish", f"127.0.0.1::{MANAGEMENT}"))
    host.run(KEYS)
    host.put("/etc/pebble/configuration.json", json.dumps(CONFIGURATION).encode())
    host.put("/etc/systemd/system/pebble.service", UNIT.encode())
    host.run("systemctl daemon-reload && systemctl start pebble")
    server = Server(host, host.run("cat /etc/pebble/ca.pem"))
    wait_for("pebble", server.runs, 30)
    return server


@contextmanager
def unreachable(host: BedHost) -> Iterator[None]:
    """The server is down, for one host. A real stop would lose the accounts, and be one for all hosts."""
    host.run(f"echo '127.0.0.9 {' '.join(NAMES)}' >> /etc/hosts")
    try:
        yield
    finally:
        # podman mounts the file: it can be written, and not replaced.
        host.run("grep -v '^127.0.0.9 ' /etc/hosts > /tmp/hosts && cat /tmp/hosts > /etc/hosts && rm /tmp/hosts")


@contextmanager
def due(host: BedHost, name: str) -> Iterator[None]:
    """certbot finds that a certificate is to be renewed, and does it as it does by itself.

    With its --force-renewal it wouldn't be by certbot.service, and without a terminal it first sleeps for minutes.
    """
    path = f"/etc/letsencrypt/renewal/{name}.conf"
    host.run(f"sed -i '1i renew_before_expiry = 100 days' {path}")
    try:
        yield
    finally:
        host.run(f"sed -i '/^renew_before_expiry/d' {path}; systemctl reset-failed certbot.service || true")


def renew(host: BedHost) -> bool:
    """What certbot.timer starts twice a day; says whether it went well."""
    return host.run("systemctl start certbot.service 2>/dev/null && echo well || true") == "well"


def served(host: BedHost, name: str, authority: str) -> dict[str, Any]:
    """The certificate that a host serves to those who ask for ``name``.

    Raises SSLError when it isn't for this name, or not from this authority.
    """
    trust = ssl.create_default_context(cadata=authority)
    with (
        socket.create_connection(("127.0.0.1", host.ports[443]), timeout=10) as connection,
        trust.wrap_socket(connection, server_hostname=name) as secured,
    ):
        return dict(secured.getpeercert() or {})


def wait_until_served(host: BedHost, name: str, authority: str) -> None:
    """nginx is told to reload, and for a moment its old worker processes still answer."""

    def answers() -> bool:
        try:
            return bool(served(host, name, authority))
        except OSError:
            return False

    wait_for(f"a certificate of {name} from the right authority", answers, 30)


def names_of(certificate: dict[str, Any]) -> set[str]:
    return {name for kind, name in certificate["subjectAltName"] if kind == "DNS"}
