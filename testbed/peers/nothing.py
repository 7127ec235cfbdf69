"""From a bare host to CATMAID: what an admin with the finished files at hand would type, over ssh."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from catmaid_deploy import schema
from catmaid_deploy.on_host.facts.postgresql import EXTENSIONS
from catmaid_deploy.on_host.facts.rabbitmq import NODE, NODES_FILE
from testbed.bare import ten_lines, timed, with_port
from testbed.hosts import BedHost
from testbed.peers import ansible, script
from testbed.podman import BedError

# What a deploy has made beside its sets of files.
MORE = "/etc/catmaid /etc/postgresql-common/createcluster.d /etc/systemd/system/*.d {environment}/requirements.lock"

# Each package, file and row of the deploy's, in the order in which they need each other; nothing is asked or checked.
_PLAIN = """
set -e
useradd --system --user-group --no-create-home --shell /usr/sbin/nologin --groups www-data {nginx}
useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {owner}
mkdir /tmp/files
tar -C /tmp/files -x
cp -a /tmp/files/etc/postgresql-common /tmp/files/etc/systemd /etc/
mkdir /etc/catmaid
cp -a /tmp/files/etc/catmaid/. /etc/catmaid
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends {packages}

cluster=$(echo /etc/postgresql/*/main)
mkdir -p "$cluster/conf.d"
ln -s /etc/catmaid/postgresql.conf "$cluster/conf.d/catmaid.conf"
systemctl restart postgresql
secret() {{ python3 -c "import json; print(json.load(open('{secrets}'))['$1'])"; }}
cd /
runuser -u postgres -- psql -q -c "create role {name} login password '$(secret database_password)'"
runuser -u postgres -- createdb --owner {name} {name}
for one in {extensions}; do runuser -u postgres -- psql -q -c "create extension $one" {name}; done
echo NODENAME={node} > {nodes_file}
rabbitmqctl -q add_vhost {name}
rabbitmqctl -q add_user {name} "$(secret broker_password)"
rabbitmqctl -q set_permissions -p {name} {name} '.*' '.*' '.*'
rabbitmqctl -q delete_user guest

as_owner() {{ runuser -u {owner} -- "$@"; }}
mkdir -p {folder}
chown {owner}: {folder}
cd {folder}
export UV_NATIVE_TLS=true
pip=$(echo /usr/share/python-wheels/pip-*.whl)/pip
as_owner python3 "$pip" install -q --no-deps --target uv uv=={uv}
as_owner uv/bin/uv venv -q --cache-dir cache {environment}
as_owner cp /tmp/files{environment}/requirements.lock .
as_owner uv/bin/uv pip install -q --cache-dir cache --python {environment}/bin/python --compile-bytecode \
    --default-index "$(as_owner python3 "$pip" config get global.index-url 2>/dev/null \
        || echo https://pypi.org/simple)" -r requirements.lock
apt-get -qq purge -y {compiler}
as_owner git clone -q -c advice.detachedHead=false --branch {revision} {repository} {revision}
cp -a /tmp/files/. /
ln -s {settings} {revision}/django/projects/mysite/settings.py
mkdir -p shared/files {revision}/django/static
chown {user}: shared/files
cd {revision}/django/projects
manage() {{ DJANGO_SETTINGS_MODULE=mysite.settings {environment}/bin/python manage.py "$@"; }}
manage migrate --noinput --verbosity 0
manage collectstatic --noinput --verbosity 0
DJANGO_SUPERUSER_PASSWORD="$(cat {password})" manage createsuperuser --noinput --username alice --email a@example.org
chown {owner}: {folder} {folder}/shared
chown -R {owner}: {folder}/{revision}

rm {absent}
systemd-tmpfiles --create /etc/tmpfiles.d/catmaid.conf
systemctl daemon-reload
systemctl restart supervisor
systemctl restart nginx
end=$(($(date +%s) + 120))
until [ "$(supervisorctl status | grep -c RUNNING)" = {programs} ]; do
    [ $(date +%s) -lt $end ] || {{ supervisorctl status >&2; exit 1; }}
    sleep 0.2
done
"""


def described(host: BedHost) -> dict[str, Any]:
    return with_port(ten_lines("1.0"), host.ports[443])


def deploy(host: BedHost) -> list[tuple[str, float]]:
    """Deploy to a bare host; returns the operations with their seconds. Raises BedError when it fails."""
    with tempfile.TemporaryDirectory(prefix="catmaid-deploy-") as folder:
        run, operations = timed(host, described(host), Path(folder) / "times")
    if run.code:
        raise BedError(f"the deploy to a bare host failed:\n{run.text[-2000:]}")
    return operations


def plain(host: BedHost) -> tuple[str, bytes]:
    """The script that does the same to another host, and what it takes: the files of one that is deployed."""
    site = schema.load(described(host)["site"])
    (instance,) = site.instances
    made, releases = instance.made_python, instance.releases
    if made is None or releases is None:
        raise BedError("the bench's own description has neither a Python nor releases that are made")
    log = host.run("cat /var/log/apt/history.log")
    (installed,) = re.findall(r"^Commandline: apt-get .* install .*Timeout=300 (.*)$", log, re.MULTILINE)
    (purged,) = re.findall(r"^Commandline: .* purge (.*)$", log, re.MULTILINE)
    text = _PLAIN.format(
        nginx=schema.NGINX_USER,
        owner=releases.owner,
        user=instance.user,
        name=instance.name,
        packages=installed,
        compiler=purged,
        settings=instance.made_settings_file,
        secrets=instance.secrets_file,
        password=instance.first_password_file,
        extensions=" ".join(EXTENSIONS),
        node=NODE,
        nodes_file=NODES_FILE,
        folder=releases.folder,
        uv=made.uv_version,
        environment=instance.virtualenv,
        revision=releases.revision,
        repository=releases.repository,
        absent=" ".join(ansible.absent()),
        programs=len(instance.kinds),
    )
    more = script.ssh(host, f"find {MORE.format(environment=instance.virtualenv)} -type f -o -type l -o -type d")
    return text, script.archive(host, site, ansible.Work.of(host, site).items, more.decode().split())
