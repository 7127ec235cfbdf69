"""Certificates from an ACME server: the first, the next without a deploy, and what goes wrong on the way."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from testbed import images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.run import Run, pyinfra
from tests.host import acme
from tests.host.conftest import SITE, STATE, boot, boot_packed
from tests.host.test_health import findings, typed

BROKEN = "/etc/nginx/conf.d/broken.conf"
EMAIL = "a@example.org"

each_suite = pytest.mark.parametrize("suite", images.SUITES)
# All on one worker: they share the ACME server.
pytestmark = [pytest.mark.xdist_group("acme"), pytest.mark.slow]


def names(host: str) -> tuple[str, str, str]:
    """The names of a host on the bed: its site's name, the alias, and one for later."""
    return f"{host}.test", f"www.{host}.test", f"later.{host}.test"


def site(server: acme.Server, host: str, *more: str, directory: str = "") -> dict[str, Any]:
    """A site with one instance and a certificate from the server; ``more`` are further names."""
    name, alias, _ = names(host)
    tls = {"certificate": "acme", "email": EMAIL, "acme_server": directory or server.directory}
    return SITE | {"server_name": name, "aliases": [alias, *more], "instances": SITE["instances"][:1], "tls": tls}


@dataclass
class Secured:
    """A host with a site and its certificate from ACME, and how its runs went."""

    suite: str
    host: BedHost
    server: acme.Server
    root: str
    state_before: str
    dry: Run
    state_after_dry: str
    first: Run

    @property
    def label(self) -> str:
        return f"acme-{self.suite}"

    @property
    def name(self) -> str:
        return names(self.label)[0]

    def site(self, *more: str, directory: str = "") -> dict[str, Any]:
        return site(self.server, self.label, *more, directory=directory)

    def run(self, *more: str, directory: str = "") -> Run:
        return pyinfra(self.host, {"site": self.site(*more, directory=directory)}, "-y")

    def deploy(self, *more: str, directory: str = "") -> Run:
        run = self.run(*more, directory=directory)
        assert run.code == 0, run.text
        return run

    def served(self, name: str = "") -> dict[str, Any]:
        return acme.served(self.host, name or self.name, self.root)

    @property
    def serial(self) -> str:
        return str(self.served()["serialNumber"])

    @property
    def serial_on_disk(self) -> str:
        path = f"/etc/letsencrypt/live/{self.name}/fullchain.pem"
        return self.host.run(f"openssl x509 -in {path} -noout -serial").removeprefix("serial=")

    @property
    def workers(self) -> set[str]:
        """nginx's worker processes, without those on their way out."""
        return set(self.host.run("pgrep -f 'nginx: worker process$'").split())

    def journal(self, since: str) -> str:
        return self.host.run(f"journalctl --no-pager --after-cursor '{since}'")

    @property
    def now(self) -> str:
        """A place in the journal."""
        return self.host.run("journalctl -q -n 1 --show-cursor | sed -n 's/^-- cursor: //p'")


def whoami(host: BedHost, name: str, authority: str) -> int:
    """What the application answers by HTTPS."""
    with httpx.Client(verify=ssl.create_default_context(cadata=authority), trust_env=False, timeout=30) as client:
        return client.get(
            f"https://127.0.0.1:{host.ports[443]}/catmaid/whoami",
            headers={"Host": name},
            extensions={"sni_hostname": name},
        ).status_code


def placeholder(host: BedHost, name: str) -> str:
    return host.run(f"cat /etc/catmaid/tls/self-signed/{name}/fullchain.pem")


@pytest.fixture(scope="session", params=images.SUITES)
def secured(bed: Bed, server: acme.Server, request: pytest.FixtureRequest) -> Iterator[Secured]:
    """A host without a certificate, after a dry run and a first deploy with one from ACME."""
    suite = request.param
    label = f"acme-{suite}"
    host = boot_packed(bed, suite, label, aliases=names(label))
    server.introduce(host)
    data = {"site": site(server, label)}
    before = host.run(STATE)
    dry = pyinfra(host, data, "--dry", "--diff")
    after = host.run(STATE)
    first = pyinfra(host, data, "-y")
    assert first.code == 0, first.text
    root = server.root
    acme.wait_until_served(host, names(label)[0], root)
    yield Secured(suite, host, server, root, before, dry, after, first)
    host.remove()


@each_suite
def test_a_dry_run_on_a_bare_host_goes_through_and_changes_nothing(bed: Bed, server: acme.Server, suite: str) -> None:
    """Neither nginx nor certbot is there."""
    label = f"acme-bare-{suite}"
    host = boot(bed, suite, label, aliases=names(label))
    try:
        before = host.run(STATE)
        dry = pyinfra(host, {"site": site(server, label)}, "--dry", "--diff")
        assert dry.code == 0, dry.text
        assert host.run(STATE) == before
    finally:
        host.remove()


@pytest.mark.row_19
def test_a_dry_run_names_the_certificate_and_changes_nothing(secured: Secured) -> None:
    assert secured.dry.code == 0, secured.dry.text
    assert any(secured.name in name and "ertificate" in name for name in secured.dry.planned)
    assert secured.state_after_dry == secured.state_before


@pytest.mark.row_19
def test_the_certificate_is_the_servers_and_for_all_names(secured: Secured) -> None:
    name, alias, _ = names(secured.label)
    for one in (name, alias):
        certificate = secured.served(one)
        assert acme.names_of(certificate) == {name, alias}
        assert "Pebble" in str(certificate["issuer"])
    assert whoami(secured.host, name, secured.root) == 200
    assert secured.host.run(f"readlink -f /etc/catmaid/tls/{name}") == f"/etc/letsencrypt/live/{name}", (
        "nginx's files point at the link, which certbot's renewals leave alone"
    )


@pytest.mark.row_19
def test_certbot_has_an_account_and_will_renew(secured: Secured) -> None:
    host, name = secured.host, secured.name
    account = host.run("cat /etc/letsencrypt/accounts/*/dir/*/regr.json")
    assert json.loads(account)["uri"].startswith(secured.server.directory.removesuffix("dir"))
    renewal = host.run(f"cat /etc/letsencrypt/renewal/{name}.conf")
    assert f"server = {secured.server.directory}\n" in renewal
    assert "authenticator = webroot\n" in renewal
    assert host.run("systemctl is-enabled certbot.timer") == "enabled"
    assert host.run("systemctl is-active certbot.timer") == "active"
    assert host.run("stat -c %a /etc/letsencrypt/renewal-hooks/deploy/catmaid-deploy") == "755"
    assert host.run(f"stat -L -c '%a %U' /etc/catmaid/tls/{name}/privkey.pem") == "600 root"


@pytest.mark.row_19
def test_a_second_run_changes_nothing(secured: Secured) -> None:
    serial, workers = secured.serial, secured.workers
    run = secured.deploy()
    assert run.changed == []
    assert run.planned == []
    assert (secured.serial, secured.workers) == (serial, workers)


@pytest.mark.row_19
def test_a_renewal_is_served_without_a_deploy(secured: Secured) -> None:
    host, serial, workers = secured.host, secured.serial, secured.workers
    master = host.run("cat /run/nginx.pid")
    with acme.due(host, secured.name):
        assert acme.renew(host)
    assert secured.serial_on_disk != serial
    wait_for("nginx's reload", lambda: secured.serial == secured.serial_on_disk, 30)
    wait_for("nginx's new workers", lambda: not secured.workers & workers, 30)
    assert host.run("cat /run/nginx.pid") == master
    assert whoami(host, secured.name, secured.root) == 200
    assert secured.deploy().changed == []


@pytest.mark.row_19
def test_a_renewal_that_fails_leaves_the_old_certificate(secured: Secured) -> None:
    host, serial, since = secured.host, secured.serial, secured.now
    with acme.unreachable(host), acme.due(host, secured.name):
        assert not acme.renew(host)
    assert "Connection refused" in secured.journal(since)
    host.run("systemctl reload nginx")
    assert secured.serial == secured.serial_on_disk == serial
    assert secured.deploy().changed == []


def is_said(secured: Secured, says: str) -> dict[str, Any]:
    """A run with nothing to do, and both runbooks that look, end with 1 and this line; returns it."""
    run = secured.run()
    assert (run.code, run.changed) == (1, []), run.text
    assert f"FAULT certificates: {says}" in run.text
    assert "everything is and runs as described" not in run.text
    for name in ("verify", "status"):
        run = pyinfra(secured.host, {"site": secured.site()}, deploy=f"runbooks/{name}.py")
        assert run.code == 1
        (finding,) = [one for one in findings(run) if one["place"] == "certificates"]
        assert says in finding["what"]
    return finding


@pytest.mark.row_19
@pytest.mark.row_33
def test_a_renewal_that_failed_is_said(secured: Secured) -> None:
    """Until the next one goes well: the certificate that is there ends in weeks."""
    with acme.due(secured.host, secured.name):
        with acme.unreachable(secured.host):
            assert not acme.renew(secured.host)
            is_said(secured, "their last renewal failed")
        assert acme.renew(secured.host)
    assert secured.deploy().changed == []


@pytest.mark.row_19
@pytest.mark.row_33
@pytest.mark.long
@pytest.mark.bookworm
@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (
            # What certbot's timer does twice a day ends well, and does nothing.
            "sed -i 's/^\\[renewalparams\\]/&\\nautorenew = False/' /etc/letsencrypt/renewal/{name}.conf; "
            "systemctl start certbot.service",
            "certbot leaves that of {name} as it is: autorenew = False in /etc/letsencrypt/renewal/{name}.conf",
        ),
        # The timer is on, and nobody would see before its next turn that nothing comes of it.
        ("systemctl mask certbot.service 2>/dev/null", "nobody renews them: certbot.service is masked"),
    ],
)
def test_a_renewal_that_is_off_is_said(secured: Secured, harm: str, says: str) -> None:
    secured.host.run(harm.format(name=secured.name))
    typed(secured.host, is_said(secured, says.format(name=secured.name)), {})
    assert secured.deploy().changed == []


@pytest.mark.row_19
@pytest.mark.row_33
@pytest.mark.long
@pytest.mark.bookworm
def test_a_timer_that_nobody_may_start(secured: Secured) -> None:
    """A deploy starts one that is off. One that is masked it names, with what ends that."""
    secured.host.run("systemctl disable --now certbot.timer 2>/dev/null")
    assert secured.deploy().changed_services == ["system"]
    assert secured.host.run("systemctl is-active certbot.timer") == "active"
    secured.host.run("systemctl mask --now certbot.timer 2>/dev/null")
    run = secured.run()
    assert (run.code, run.changed) == (1, [])
    assert run.refusals == ["host: boot: certbot.timer is masked: nothing starts it: systemctl unmask certbot.timer"]
    secured.host.run("systemctl unmask certbot.timer 2>/dev/null")
    secured.deploy()
    assert secured.host.run("systemctl is-active certbot.timer") == "active"
    assert secured.deploy().changed == []


@pytest.mark.row_19
@pytest.mark.row_33
@pytest.mark.long
@pytest.mark.bookworm
def test_a_certificate_that_certbot_has_forgotten(secured: Secured) -> None:
    """It is served for weeks, and nobody renews it: a run gets the next one."""
    serial = secured.serial
    secured.host.run(f"mv /etc/letsencrypt/renewal/{secured.name}.conf /root/")
    run = secured.run()
    assert "everything is and runs as described" not in run.text
    assert run.code == 0, run.text
    wait_for("nginx's reload", lambda: secured.serial not in ("", serial), 30)
    with acme.due(secured.host, secured.name):
        assert acme.renew(secured.host)
    assert secured.deploy().changed == []


@pytest.mark.row_19
def test_a_renewal_doesnt_reload_a_broken_nginx_and_says_so(secured: Secured) -> None:
    """certbot.service keeps silent about a hook that fails, and ends well: the hook itself has to tell."""
    host, serial, workers, since = secured.host, secured.serial, secured.workers, secured.now
    host.run(f"echo 'nonsense;' > {BROKEN}")
    try:
        with acme.due(host, secured.name):
            acme.renew(host)
        assert "nonsense" in secured.journal(since)
        assert secured.serial == serial
        assert secured.workers == workers
    finally:
        host.run(f"rm {BROKEN}")
    # certbot runs the hook once a certificate: the next deploy is what makes up for it.
    assert secured.serial_on_disk != serial
    assert secured.deploy().changed_services == ["nginx"]
    wait_for("nginx's reload", lambda: secured.serial == secured.serial_on_disk, 30)
    assert secured.deploy().changed == []


@pytest.mark.row_19
def test_another_name_needs_another_certificate(secured: Secured) -> None:
    *_, later = everything = names(secured.label)
    secured.deploy(later)
    try:
        wait_for("nginx's reload", lambda: acme.names_of(secured.served()) == set(everything), 30)
        assert acme.names_of(secured.served(later)) == set(everything)
        assert secured.deploy(later).changed == []
    finally:
        secured.deploy()
    assert secured.deploy().changed == []


@pytest.mark.row_19
@pytest.mark.parametrize(
    ("name", "reason"),
    # certbot 2.1 hides the first reason in its log: what it prints is "AttributeError: can't set attribute".
    [(acme.REFUSED, "forbidden by policy"), ("nowhere.test", "lookup nowhere.test")],
)
def test_what_the_server_says_reaches_the_admin(secured: Secured, name: str, reason: str) -> None:
    serial = secured.serial
    try:
        run = secured.run(name)
        assert run.code != 0
        assert name in run.text
        assert reason in run.text
        assert "AttributeError" not in run.text
        assert secured.serial == serial
        assert whoami(secured.host, secured.name, secured.root) == 200
    finally:
        secured.deploy()
    assert secured.serial == serial


@pytest.mark.row_19
def test_another_server_gives_the_next_certificate(secured: Secured) -> None:
    """By itself certbot keeps a good certificate, whichever server it is from."""
    serial, other = secured.serial, secured.server.other_directory
    secured.deploy(directory=other)
    try:
        wait_for("nginx's reload", lambda: secured.serial != serial, 30)
        assert f"server = {other}\n" in secured.host.run(f"cat /etc/letsencrypt/renewal/{secured.name}.conf")
        assert secured.deploy(directory=other).changed == []
    finally:
        secured.deploy()


@pytest.mark.long
@pytest.mark.row_19
@each_suite
def test_a_first_deploy_while_the_server_is_down_is_mended_by_the_next(
    bed: Bed, server: acme.Server, suite: str
) -> None:
    label = f"acme-down-{suite}"
    name, alias, _ = names(label)
    host = boot_packed(bed, suite, label, aliases=names(label))
    try:
        server.introduce(host)
        data = {"site": site(server, label)}
        with acme.unreachable(host):
            run = pyinfra(host, data, "-y")
        assert run.code != 0
        assert "Connection refused" in run.text
        assert "Traceback" not in run.text
        acme.wait_until_served(host, name, placeholder(host, name))
        assert whoami(host, name, placeholder(host, name)) == 200
        plain = httpx.get(f"http://127.0.0.1:{host.ports[80]}/catmaid/", headers={"Host": name}, trust_env=False)
        assert plain.headers["location"] == f"https://{name}/catmaid/"

        run = pyinfra(host, data, "-y")
        assert run.code == 0, run.text
        acme.wait_until_served(host, name, server.root)
        assert acme.names_of(acme.served(host, name, server.root)) == {name, alias}
        assert whoami(host, name, server.root) == 200
        assert pyinfra(host, data, "-y").changed == []
    finally:
        host.remove()
