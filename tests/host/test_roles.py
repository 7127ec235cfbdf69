"""No host is a web host by nature: what it gets follows from what its description has, and goes with that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from testbed import images
from testbed.hosts import Bed, BedHost
from testbed.run import BOOKKEEPING, Run, pyinfra
from tests.host.conftest import STATE, boot

pytestmark = [pytest.mark.xdist_group("roles"), pytest.mark.slow]

NOTHING: dict[str, Any] = {"sites": []}
HASH = "$2y$05$abcdefghijklmnopqrstuuIY3wnXlz0pYzJ1Jb0vEyA1MqQ1SgO5K"
TILES = {"name": "em", "url": "/em", "folder": "/data/em"}
# What the deploy brings, as far as a host has it.
HAS = r"""
dpkg-query -W -f '${Package} ${db:Status-Status}\n' nginx supervisor 2>/dev/null | sed -n 's/ installed$//p'
systemctl list-unit-files --no-legend 'supervisor*' 'nginx*' 'catmaid-disks*' | awk '{ print $1 }'
ls -d /etc/supervisor /etc/tmpfiles.d/catmaid.conf /etc/logrotate.d/catmaid /etc/catmaid/end.sh /etc/catmaid/disks \
    /etc/nginx/conf.d/catmaid.conf /etc/systemd/system/*.service.d 2>/dev/null || true
"""
OF_TILES = {
    *("nginx", "nginx.service", "catmaid-disks.service", "catmaid-disks.path", "catmaid-disks-reload.service"),
    *("/etc/catmaid/end.sh", "/etc/catmaid/disks", "/etc/nginx/conf.d/catmaid.conf"),
    "/etc/systemd/system/nginx.service.d",
}


def tiles_alone(host: BedHost) -> dict[str, Any]:
    tls = {"certificate": "self-signed", "port": host.ports[443]}
    return {"site": {"server_name": "localhost", "tls": tls, "tiles": [TILES]}}


def has(host: BedHost) -> set[str]:
    return set(host.run(HAS).split())


def runbook(host: BedHost, name: str, data: dict[str, Any], *options: str) -> Run:
    run = pyinfra(host, data, *options, deploy=f"runbooks/{name}.py", json_output=False)
    assert run.code == 0, run.text
    return run


def deploy(host: BedHost, data: dict[str, Any], is_at_work: bool = False) -> list[str]:
    """What a dry run shows is what is done, and a second run changes nothing. One that is at work changes by itself."""
    before = host.run(STATE)
    dry = pyinfra(host, data, "--dry")
    assert dry.code == 0, dry.text
    assert is_at_work or host.run(STATE) == before
    run = pyinfra(host, data, "-y")
    assert run.code == 0, run.text
    assert run.changed == dry.planned
    again = pyinfra(host, data, "-y")
    assert (again.code, again.changed) == (0, []), again.text
    assert "nothing to do: everything is and runs as described" in again.text
    return [name for name in run.changed if name not in BOOKKEEPING]


@pytest.fixture(scope="module", params=images.SUITES)
def host(bed: Bed, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    """A bare Debian, without an application."""
    with images.lock(request.param):
        image = images.host(request.param)
    host = bed.boot(image, f"roles-{request.param}")
    host.run("mkdir -p /data/em/0; echo a tile > /data/em/0/0_0_0.jpg")
    yield host
    host.remove()


def test_a_host_without_sites(host: BedHost) -> None:
    assert deploy(host, NOTHING) == ["Configuration: system"]
    assert has(host) == set()
    for name in ("status", "verify"):
        assert "host: all is well" in runbook(host, name, NOTHING).text.replace("\n  all", ": all")
    assert "host: there are no logs of it yet" in runbook(host, "logs", NOTHING).text
    closed = runbook(host, "maintenance", NOTHING, "-y", "--data", "maintenance=on")
    assert "nothing to do: this host has no site" in closed.text
    assert "nothing to do: there is no release to go back to" in runbook(host, "rollback", NOTHING, "-y").text
    assert host.run("ls /etc/catmaid") == ""


def test_a_host_with_tiles_alone(host: BedHost) -> None:
    site = tiles_alone(host)
    assert "Install packages" in deploy(host, site)
    assert has(host) == OF_TILES
    assert httpx.get(f"{host.url}/em/0/0_0_0.jpg", verify=host.trust(), trust_env=False).text == "a tile\n"
    assert "host: all is well" in runbook(host, "status", site).text
    verified = runbook(host, "verify", site).text
    assert "tile of em" in verified
    assert "all is well" in verified
    for word in ("upervisor", "celery", "wsgi"):
        assert word not in verified
    assert "/var/log/nginx/error.log" in runbook(host, "logs", site).text
    for state in ("on", "off"):
        words = f"{'close' if state == 'on' else 'open'} the host for users"
        assert words in runbook(host, "maintenance", site, "-y", "--data", f"maintenance={state}").text
    # A whole boot starts what is there, and misses nothing.
    host.reboot()
    assert runbook(host, "verify", site).code == 0


@pytest.mark.long
def test_pages_of_another_host_read_tiles_with_a_password(host: BedHost) -> None:
    """Also of one that this run leaves out. Where that is described wrong, nobody knows who may read them."""
    data, limit = tiles_alone(host), ("-y", "--limit", "host")
    data["site"]["tiles"] = [TILES | {"passwords": {"ada": HASH}}]
    other: dict[str, Any] = {"server_name": "catmaid.test", "instances": [{}]}
    run = pyinfra(host, data, *limit, more={"web": {"site": other}})
    assert run.code == 0, run.text
    asks = {"Access-Control-Request-Method": "GET", "Origin": "https://catmaid.test"}
    answer = httpx.options(f"{host.url}/em/0/0_0_0.jpg", verify=host.trust(), trust_env=False, headers=asks)
    assert answer.headers["access-control-allow-origin"] == "https://catmaid.test"
    again = pyinfra(host, data, *limit, more={"web": {"site": other}})
    assert (again.code, again.changed) == (0, []), again.text
    wrong = pyinfra(host, data, *limit, more={"web": {"site": other | {"instance": []}}})
    assert (wrong.code, wrong.changed) == (1, []), wrong.text
    assert wrong.refusals == ["host: web: site.instance: unknown key; did you mean 'instances'?"]
    # Who doesn't need to know of it isn't kept by it.
    run = pyinfra(host, tiles_alone(host), *limit, more={"web": {"site": other | {"instance": []}}})
    assert run.code == 0, run.text


@pytest.mark.long
def test_a_site_that_is_another_s_stays_when_the_last_one_goes(host: BedHost) -> None:
    """What the deploy wrote is gone, and nginx serves on what somebody else has there."""
    other = "server { listen 8080; location / { return 200 other; } }"
    host.run(f"echo '{other}' > /etc/nginx/sites-enabled/other; systemctl reload nginx")
    # nginx's old workers are still about to end.
    done = deploy(host, NOTHING, is_at_work=True)
    assert done == ["Configuration: system", "Configuration: nginx", "Configuration: disks"]
    assert has(host) == {"nginx", "nginx.service"}
    kept = "/etc/nginx/nginx.conf"
    assert host.run("grep -rl 'Made by catmaid-deploy' /etc /run 2>/dev/null || true") == kept
    assert host.run("ls -A /etc/systemd/system/multi-user.target.wants | grep catmaid || true") == ""
    assert host.run("pgrep -f watch.py || true") == ""
    ask = "import urllib.request as u; print(u.urlopen('http://localhost:8080/').read().decode())"
    assert host.run(f'python3 -c "{ask}"') == "other"
    assert runbook(host, "status", NOTHING).code == 0
    # And back, over what was left.
    deploy(host, tiles_alone(host))
    assert runbook(host, "verify", tiles_alone(host)).code == 0


@pytest.mark.long
@pytest.mark.parametrize("suite", images.SUITES)
def test_the_last_instance_goes_with_what_was_for_supervisor(bed: Bed, suite: str) -> None:
    """Its programs end, and what the deploy wrote for Supervisor goes; a program of another's runs on."""
    host = boot(bed, suite, f"last-instance-{suite}")
    host.run("mkdir -p /data/em/0; echo a tile > /data/em/0/0_0_0.jpg")
    instance = {"workers": 1, "wsgi_server": "gunicorn", "celery": {"concurrency": 1}}
    run = pyinfra(host, {"site": tiles_alone(host)["site"] | {"instances": [instance]}}, "-y")
    assert run.code == 0, run.text
    host.run("printf '[program:other]\\ncommand=sleep 9999\\n' > /etc/supervisor/conf.d/other.conf")
    host.run("supervisorctl update other")
    process = host.run("supervisorctl pid other")
    done = deploy(host, tiles_alone(host), is_at_work=True)
    assert done[-1] == "Configuration: programs of catmaid"
    assert host.run("supervisorctl pid other") == process
    assert host.run("ls /etc/supervisor/conf.d /run | grep -E '^catmaid|conf$' | sort") == "catmaid-deploy\nother.conf"
    assert has(host) == OF_TILES | {"supervisor", "supervisor.service", "/etc/supervisor"}
    for name in ("status", "verify"):
        assert "all is well" in runbook(host, name, tiles_alone(host)).text
    host.remove()
