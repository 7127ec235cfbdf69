"""nginx as it comes from Debian: a second one on the deployed host, with the files of the package and a plain site."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from catmaid_deploy import schema
from testbed.hosts import BedHost, wait_for
from testbed.peers.sites import SITE, TILES

HTTP, HTTPS = 8081, 8444
_SITE = schema.load(SITE).sites[0]
_INSTANCE = _SITE.instances[0]

# Its tiles are those of the deployed site, and so are its static files and its certificate.
_PLAIN = f"""
server {{
    listen {HTTP};
    listen {HTTPS} ssl http2;
    ssl_certificate {_SITE.certificate};
    ssl_certificate_key {_SITE.certificate_key};
    location /tiles/ {{
        root {TILES.removesuffix("/tiles/fafb")};
        try_files $uri =404;
    }}
    location {_INSTANCE.location}static/ {{
        alias {_INSTANCE.static_folder}/;
    }}
}}
"""
_START = f"""
mkdir /opt/stock && cd /opt/stock && chmod 777 .
apt-get -qq update && apt-get -qq download nginx-common
dpkg-deb -x nginx-common_*.deb .
sed -i 's#/etc/nginx/#/opt/stock/etc/nginx/#; s#/run/nginx.pid#/run/stock.pid#; s#/var/log/nginx/#/opt/stock/#
    s#^worker_processes auto#worker_processes 1#' etc/nginx/nginx.conf
rm -f etc/nginx/sites-enabled/*
cat > etc/nginx/sites-enabled/plain <<'END'
{_PLAIN}
END
nginx -c /opt/stock/etc/nginx/nginx.conf
"""
_STOP = """
[ ! -e /run/stock.pid ] || kill "$(cat /run/stock.pid)"
rm -rf /opt/stock
"""
_WORKERS = """
master=$(cat {pid})
for worker in $(cat /proc/$master/task/$master/children); do
    grep -q 'shutting down' /proc/$worker/cmdline || echo $worker
done
"""


@contextmanager
def beside(host: BedHost) -> Iterator[None]:
    """Debian's nginx beside the deployed one, which gets one worker too; the next deploy gives it all back."""
    host.run("sed -i 's/^worker_processes auto/worker_processes 1/' /etc/nginx/nginx.conf && nginx -s reload")
    try:
        host.run(_START)
        wait_for("one worker", lambda: len(workers(host, "nginx")) == 1, 30, every=0.1)
        yield
    finally:
        host.run(_STOP, check=False)


def workers(host: BedHost, name: str) -> list[str]:
    """The workers of ``nginx`` or of ``stock``."""
    return host.run(_WORKERS.format(pid=f"/run/{name}.pid")).split()


def seconds(host: BedHost, name: str) -> float:
    """How long its workers have computed, which a busy machine tells better than what they got done."""
    found = "".join(host.run(f"cat /proc/{pid}/task/*/schedstat") + "\n" for pid in workers(host, name))
    return sum(int(line.split()[0]) for line in found.splitlines()) / 1e9


def renew(host: BedHost) -> None:
    """New workers for both, which have nothing in memory."""
    before = {name: workers(host, name) for name in ("nginx", "stock")}
    host.run("nginx -s reload; nginx -c /opt/stock/etc/nginx/nginx.conf -s reload")
    for name, old in before.items():
        wait_for(f"new workers of {name}", lambda name=name, old=old: _are_new(workers(host, name), old), 30, every=0.1)  # type: ignore[misc]


def _are_new(found: list[str], old: list[str]) -> bool:
    return len(found) == 1 and found != old
