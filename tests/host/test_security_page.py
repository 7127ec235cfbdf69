"""What the book's page on security says of a host: who listens, and who reads what."""

from __future__ import annotations

import re

import pytest

from catmaid_deploy.schema import NGINX_USER
from tests.host.web import Web

pytestmark = pytest.mark.row_32

SECRET = r"""
find /etc/nginx/catmaid-passwords /etc/catmaid/tls -type f \( -path '*passwords*' -o -name privkey.pem \)
ls /etc/nginx/conf.d/catmaid-passwords.conf /etc/nginx/conf.d/catmaid-key.conf
ls /var/lib/catmaid-deploy/*.json
"""
OPEN = r"""
find /etc/catmaid /etc/nginx -type f -not -name privkey.pem -not -path '*passwords*' -not -name catmaid-key.conf
ls /var/log/catmaid/*.log
"""


def readable(web: Web, user: str, find: str) -> set[str]:
    """Which of the files that a script finds a user can read."""
    files = web.host.run(find).split()
    assert files
    script = f"for file in {' '.join(files)}; do head -c 1 $file >/dev/null 2>&1 && echo $file; done; true"
    return set(web.host.run(f"runuser -u {user} -- sh -c '{script}'").split())


def test_nothing_but_nginx_listens(web: Web) -> None:
    """Beside sshd, and what isn't the deploy's: the broker of the tests."""
    found = re.findall(r':(\d+)\s.*?users:\(\("([^"]+)"', web.host.run("ss -ltnpH"))
    ours = {(port, name) for port, name in found if name not in ("sshd", "systemd", "beam.smp", "epmd")}
    assert ours
    assert {name for _, name in ours} == {"nginx"}
    assert {port for port, _ in ours} == {"80", "443"}


def test_no_program_runs_as_root(web: Web) -> None:
    """What serves has the service users' rights alone; nginx's and Supervisor's own main processes are Debian's."""
    lines = web.host.run("ps -eo user:20,args --no-headers").splitlines()
    programs = [line.split() for line in lines if re.search(r"/env/bin/|/start\.sh ", line)]
    assert len(programs) > 8
    assert {words[0] for words in programs} == {"www-data", "catmaid"}
    workers = [line.split()[0] for line in lines if "nginx: worker" in line]
    assert set(workers) == {NGINX_USER}


def test_who_reads_what(web: Web) -> None:
    secret, everything = set(web.host.run(SECRET).split()), set(web.host.run(OPEN).split())
    for user in ("www-data", "catmaid", "nobody"):
        assert readable(web, user, SECRET) & secret <= {path for path in secret if "/catmaid-deploy/" in path}
    passwords = {path for path in secret if path.startswith("/etc/nginx/catmaid-passwords/")}
    assert passwords
    assert {path for path in readable(web, NGINX_USER, SECRET) if "/catmaid-deploy/" not in path} == passwords
    assert readable(web, "nobody", OPEN) == everything
    kept = web.host.run("find /run/catmaid-nginx -maxdepth 0 -printf '%U %m'")
    assert kept == web.host.run(f"echo $(id -u {NGINX_USER}) 700")
    settings = "/home/catmaid/catmaid-server/django/projects/mysite/settings.py"
    assert readable(web, "www-data", f"ls {settings}")
    assert not readable(web, "nobody", f"ls {settings}")
