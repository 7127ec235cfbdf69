"""``make bench``: the deploy against what could be had without it, as ratios of one run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from tasks.packages import NEEDED
from testbed import hosts, images
from testbed.hosts import Bed, BedHost
from testbed.images import say
from testbed.podman import BedError
from testbed.run import VIRTUALENV, pyinfra

FIRST_ROUNDS = 3
SECOND_ROUNDS = 9
SITE = {"server_name": "localhost", "instances": [{"workers": 2, "celery": {"concurrency": 1}}]}

# All that the deploy writes, from a host that has it to one that hasn't.
FILES = (
    "etc/catmaid etc/tmpfiles.d/catmaid.conf etc/logrotate.d/catmaid etc/supervisor/conf.d/catmaid.conf "
    "etc/systemd/system/nginx.service.d etc/systemd/system/supervisor.service.d etc/nginx/nginx.conf "
    "etc/nginx/conf.d/catmaid.conf etc/nginx/snippets/catmaid-uwsgi.conf etc/nginx/sites-available/catmaid.conf "
    "etc/nginx/sites-enabled/catmaid.conf"
)

# What an admin with the finished files at hand would type: no question asked, nothing checked.
PLAIN = f"""
set -e
mkdir /tmp/files
tar -C /tmp/files -x
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends {" ".join(NEEDED)}
su -s /bin/sh catmaid -c '{VIRTUALENV}/bin/pip install -q uwsgi==2.0.31'
cp -a /tmp/files/. /
rm /etc/nginx/sites-enabled/default
systemd-tmpfiles --create /etc/tmpfiles.d/catmaid.conf
install -d /var/log/catmaid
install -d -o www-data -g www-data /var/lib/catmaid
systemctl daemon-reload
supervisorctl update
systemctl reload nginx
until [ "$(supervisorctl status | grep -c RUNNING)" = 4 ]; do sleep 0.2; done
"""


def _timed(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def _ssh(host: BedHost, script: str, data: bytes = b"") -> bytes:
    words = ["ssh", "-q", "-i", str(images.ssh_key()), "-p", str(host.ssh_port), "-o", "StrictHostKeyChecking=no"]
    words += ["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "root@127.0.0.1", script]
    done = subprocess.run(words, input=data, capture_output=True)
    if done.returncode:
        raise BedError(f"{host.name}: {(done.stderr.decode(errors='replace').strip().splitlines() or ['?'])[-1]}")
    return done.stdout


def _deploy(host: BedHost) -> None:
    run = pyinfra(host, {"site": SITE}, "-y")
    if run.code:
        raise BedError(f"{host.name}: the deploy failed: {run.text.strip().splitlines()[-1]}")


def _spread(values: list[float]) -> str:
    return f"{median(values):6.2f}   ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Print medians and ratios; every round takes its figures side by side, since machines are noisy."""
    with images.lock():
        image = images.site("bookworm")
    deploys: list[float] = []
    scripts: list[float] = []
    seconds: list[float] = []
    logins: list[float] = []
    imports: list[float] = []
    with Bed("bench") as bed:
        for number in range(FIRST_ROUNDS):
            say(f"first deploy and plain script, round {number + 1} of {FIRST_ROUNDS}")
            ours, plain = bed.boot(image, f"deploy{number}"), bed.boot(image, f"plain{number}")
            deploys.append(_timed(lambda host=ours: _deploy(host)))  # type: ignore[misc]
            archive = _ssh(ours, f"tar -C / -c {FILES}")
            scripts.append(_timed(lambda host=plain, data=archive: _ssh(host, PLAIN, data)))  # type: ignore[misc]
            plain.remove()
            if number < FIRST_ROUNDS - 1:
                ours.remove()
        say(f"second run, {SECOND_ROUNDS} rounds")
        for _ in range(SECOND_ROUNDS):
            seconds.append(_timed(lambda: _deploy(ours)))
            logins.append(_timed(lambda: _ssh(ours, "true")))
            imports.append(
                _timed(lambda: subprocess.run([sys.executable, "-c", "import pyinfra_cli.main"], check=True))
            )
    hosts.tidy()
    print("                                        median s  (least to most)")
    print(f"first deploy                            {_spread(deploys)}")
    print(f"plain shell script, same end            {_spread(scripts)}")
    print(f"    first deploy / plain script         {_spread([a / b for a, b in zip(deploys, scripts, strict=True)])}")
    print(f"second run                              {_spread(seconds)}")
    print(f"ssh host true                           {_spread(logins)}")
    print(f"import pyinfra_cli.main                 {_spread(imports)}")
    floor = [a + b for a, b in zip(logins, imports, strict=True)]
    print(f"    second run / (ssh true + import)    {_spread([a / b for a, b in zip(seconds, floor, strict=True)])}")
