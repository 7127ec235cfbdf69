"""The first deploy's peer: what an admin with the finished files at hand would type, over ssh."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from catmaid_deploy import schema
from catmaid_deploy.file_sets import Item
from testbed import images
from testbed.hosts import BedHost
from testbed.podman import BedError

# No question asked, nothing checked. The files come on standard input before the packages, which bring
# some of the same paths.
_PLAIN = """
set -e
useradd --system --user-group --no-create-home --shell /usr/sbin/nologin --groups {group} {user}
mkdir /tmp/files
tar -C /tmp/files -x
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends {packages}
{uwsgi}
cp -a /tmp/files/. /
rm {absent}
systemd-tmpfiles --create /etc/tmpfiles.d/catmaid.conf
systemctl daemon-reload
supervisorctl update
systemctl reload nginx || {{ journalctl -n 20 --no-pager -u nginx.service >&2; exit 1; }}
end=$(($(date +%s) + 120))
until [ "$(supervisorctl status | grep -c RUNNING)" = {programs} ]; do
    [ $(date +%s) -lt $end ] || {{ supervisorctl status >&2; exit 1; }}
    sleep 0.2
done
"""

# The links to the slots in use, and these slots' folders, below an instance's own folder.
_SLOTS = r"""
for folder in {folders}; do
    find "$folder" -mindepth 1 -maxdepth 1 -type l | while read -r link; do
        echo "$link"; find "${{folder}}/$(readlink "$link")"
    done
done
"""


def ssh(host: BedHost, script: str, data: bytes = b"") -> bytes:
    """Run a script on the host as OpenSSH does it; returns its standard output.

    Raises BedError with its last error lines when it fails.
    """
    words = ["ssh", "-q", "-i", str(images.ssh_key()), "-p", str(host.ssh_port), "-o", "StrictHostKeyChecking=no"]
    words += ["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "root@127.0.0.1", script]
    done = subprocess.run(words, input=data, capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-10:]
        raise BedError(f"{host.name}: " + "\n".join(said))
    return done.stdout


def archive(host: BedHost, deployment: schema.Deployment, items: list[Item], more: Sequence[str] = ()) -> bytes:
    """All that the deploy wrote on a host, with owners and modes; not what programs wrote into its folders. There may
    be more paths.
    """
    slots = ssh(host, _SLOTS.format(folders=" ".join(i.config_dir for i in deployment.instances))).decode().split()
    by_links = tuple(f"{path}/" for path in slots)
    # systemd-tmpfiles makes those below /run, and what is named by a slot's link lies in its folder.
    paths = [one.path for one in items if not one.path.startswith(("/run/", *by_links))] + slots
    names = "".join(f"{path[1:]}\n" for path in dict.fromkeys((*paths, *more)))
    return ssh(host, "tar -C / -c --no-recursion -T -", names.encode())


def plain(deployment: schema.Deployment, packages: list[str], absent: list[str]) -> str:
    """The script for all that a host serves."""
    versions = {i.virtualenv: i.uwsgi_version for i in deployment.instances}
    uwsgi = [f"su -s /bin/sh catmaid -c '{env}/bin/pip install -q uwsgi=={v}'" for env, v in versions.items()]
    return _PLAIN.format(
        packages=" ".join(packages),
        uwsgi="\n".join(uwsgi),
        absent=" ".join(absent),
        programs=sum(len(instance.kinds) for instance in deployment.instances),
        user=schema.NGINX_USER,
        group=schema.SOCKET_GROUP,
    )
