"""Certificates that certbot got before there was a deploy: taken over so that their renewal works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost
from testbed.run import Run, pyinfra
from tests.host import acme
from tests.host.conftest import boot_packed
from tests.host.test_acme import names, site
from tests.host.test_health import findings

pytestmark = [pytest.mark.xdist_group("acme"), pytest.mark.slow]

CERTBOT = "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; apt-get -qq install -y certbot >/dev/null 2>&1"
# As an admin of a small server gets one: the web server is away meanwhile.
STANDALONE = (
    "systemctl stop nginx; certbot certonly --non-interactive --agree-tos --register-unsafely-without-email "
    "--standalone --pre-hook 'systemctl stop nginx' --post-hook 'systemctl start nginx' "
    "--deploy-hook 'touch /root/deployed' --cert-name {lineage} --server {server} {domains} 2>&1; systemctl start nginx"
)


@dataclass
class Host:
    host: BedHost
    server: acme.Server
    label: str

    @property
    def lineage(self) -> str:
        return f"{names(self.label)[0]}-0001"

    @property
    def renewal(self) -> str:
        return f"/etc/letsencrypt/renewal/{self.lineage}.conf"

    def site(self) -> dict[str, Any]:
        return site(self.server, self.label)

    def deploy(self, *options: str) -> Run:
        run = pyinfra(self.host, {"site": self.site()}, *(options or ("-y",)))
        assert run.code == 0, run.text
        return run

    def is_renewed(self) -> bool:
        """Whether the next certificate comes by itself, and is served."""
        serial = self.serial
        with acme.due(self.host, self.lineage):
            return acme.renew(self.host) and self.serial != serial

    @property
    def serial(self) -> str:
        return self.host.run(f"openssl x509 -in /etc/letsencrypt/live/{self.lineage}/cert.pem -noout -serial")

    @property
    def names(self) -> set[str]:
        return acme.names_of(acme.served(self.host, names(self.label)[0], self.server.root))


@pytest.fixture(scope="module", params=images.SUITES)
def taken(bed: Bed, server: acme.Server, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host whose certificate has another name than its site, three names, and was got without nginx."""
    label = f"before-{request.param}"
    host = boot_packed(bed, request.param, label, aliases=names(label))
    server.introduce(host)
    host.run(CERTBOT, timeout=600)
    one = Host(host, server, label)
    domains = " ".join(f"-d {name}" for name in names(label))
    said = host.run(STANDALONE.format(lineage=one.lineage, server=server.directory, domains=domains))
    assert "Successfully received certificate" in said, said
    yield one
    host.remove()


def is_ours(host: BedHost, path: str) -> bool:
    text = host.run(f"cat {path}")
    folder = "webroot_path = /var/lib/catmaid-deploy/acme,"
    ours = "authenticator = webroot" in text and folder in text
    return ours and not any(word in text for word in ("pre_hook", "post_hook", "installer"))


@pytest.mark.row_31
@pytest.mark.row_34
@pytest.mark.long
def test_one_that_was_got_without_nginx(taken: Host) -> None:
    dry = taken.deploy("--dry")
    assert f"take over certbot's {taken.lineage}, which standalone renews now" in dry.text
    run = taken.deploy()
    assert f"certbot's certificate {taken.lineage} is taken over from standalone: nginx answers for its r" in run.text
    assert is_ours(taken.host, taken.renewal)
    assert "renew_hook = touch /root/deployed" in taken.host.run(f"cat {taken.renewal}")
    assert taken.names == set(names(taken.label))
    assert taken.deploy().changed == []
    taken.host.run("rm -f /root/deployed")
    assert taken.is_renewed()
    assert taken.host.run("ls /root/deployed") == "/root/deployed"
    assert taken.deploy().changed == []
    assert taken.host.run("ls /etc/letsencrypt/live") == f"README\n{taken.lineage}"


# What an admin's certbot notes otherwise.
WAYS = {
    "nginx": "s/^authenticator = .*/authenticator = nginx\\ninstaller = nginx/",
    "apache": "s/^authenticator = .*/authenticator = apache\\ninstaller = apache/",
    "manual": "s/^authenticator = .*/authenticator = manual\\nmanual_auth_hook = \\/root\\/hook/",
    "webroot": "s#/var/lib/catmaid-deploy/acme#/var/www/html#",
    "dns-rfc2136": "s#^authenticator = .*#authenticator = dns-rfc2136\\ndns_rfc2136_credentials = /root/none.ini#",
}


@pytest.mark.row_31
@pytest.mark.row_34
@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_any_other_way(taken: Host, way: str) -> None:
    taken.deploy()
    if way.startswith("dns"):
        # It isn't known yet whether that way works.
        taken.host.run(f"ln -sfn /etc/catmaid/tls/self-signed/{names(taken.label)[0]} /etc/catmaid/tls/x; "
                       f"mv -T /etc/catmaid/tls/x /etc/catmaid/tls/{names(taken.label)[0]}")  # fmt: skip
    taken.host.run(f"sed -i '{WAYS[way]}' {taken.renewal}")
    run = taken.deploy()
    assert f"is taken over from {way}" in run.text
    assert is_ours(taken.host, taken.renewal)
    assert taken.is_renewed()
    assert taken.deploy().changed == []


@pytest.mark.row_31
@pytest.mark.row_34
@pytest.mark.long
def test_one_of_others_is_named_with_what_ends_it(taken: Host) -> None:
    """It is for a name that leads here and that no site has."""
    name = names(taken.label)[2]
    taken.deploy()
    taken.host.run(STANDALONE.format(lineage="mail", server=taken.server.directory, domains=f"-d {name}"))
    run = taken.deploy()
    (line,) = [one for one in run.text.splitlines() if "WARNING certificates: certbot renews mail by standalone" in one]
    taken.host.run(line[line.index("certbot certonly") :] + " --non-interactive")
    assert is_ours(taken.host, "/etc/letsencrypt/renewal/mail.conf")
    assert "certbot renews mail" not in taken.deploy().text


@pytest.mark.row_31
@pytest.mark.row_33
@pytest.mark.long
def test_a_failed_renewal_is_named_with_its_reason(taken: Host) -> None:
    taken.deploy()
    with acme.due(taken.host, taken.lineage):
        with acme.unreachable(taken.host):
            assert not acme.renew(taken.host)
            status = pyinfra(taken.host, {"site": taken.site()}, deploy="runbooks/status.py")
            assert status.code == 1
            (found,) = findings(status)
            assert f"their last renewal failed: {taken.lineage}: " in found["what"]
        assert acme.renew(taken.host)
