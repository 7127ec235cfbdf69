"""Ways to bring a new release of the application into use: ours, and those that it takes the place of."""

from __future__ import annotations

import time

from testbed.hosts import BedHost, wait_for
from testbed.peers import deploys
from testbed.run import VIRTUALENV
from testbed.updates import DJANGO, SITE, masters, release

# Where nginx finds the web server.
_SOCKET = "/run/catmaid/uwsgi.socket"
# What CATMAID's page says of uWSGI, with a socket of its own beside the deployed one's.
_PAGE = f"""[uwsgi]
chdir = {DJANGO}
virtualenv = {VIRTUALENV}
pythonpath = {DJANGO}/projects
env = DJANGO_SETTINGS_MODULE=mysite.settings
pidfile = /run/page/uwsgi.pid
chmod-socket = 666
socket = /run/page/uwsgi.socket
mount = /catmaid={DJANGO}/projects/mysite/django.wsgi
manage-script-name = true
workers = 2
threads = 2
listen = 1024
disable-logging = true
master = true
post-buffering = 8192
vacuum = false
lazy-apps = true
hook-accepting1-once = write:/run/page/catmaid.ready ok
hook-as-user-atexit = unlink:/run/page/catmaid.ready
master-fifo = /run/page/new_instance.fifo
master-fifo = /run/page/running_instance.fifo
if-exists = /run/page/running_instance.fifo
  hook-accepting1-once = writefifo:/run/page/running_instance.fifo q
endif =
hook-accepting1-once = writefifo:/run/page/new_instance.fifo 1P
"""


def _start_master(host: BedHost) -> None:
    host.run(
        f"""
        rm -f /run/page/catmaid.ready
        setsid {VIRTUALENV}/bin/uwsgi --ini /etc/page.ini </dev/null >>/run/page/log 2>&1 &
        """,
        user="www-data",
    )
    wait_for("the page's master", lambda: host.run("ls /run/page").count("catmaid.ready") == 1, 60, every=0.1)


def begin_page(host: BedHost) -> None:
    """The page's own master in place of the deployed one."""
    host.put("/etc/page.ini", _PAGE.encode())
    host.run("install -d -o www-data -g www-data /run/page")
    _start_master(host)
    host.run(f"mv {_SOCKET} /run/page/before; ln -sfn /run/page/uwsgi.socket {_SOCKET}")


def end_page(host: BedHost) -> None:
    host.run(f"mv -fT /run/page/before {_SOCKET}")
    host.run("pkill -KILL -f '/bin/uwsgi --ini /etc/page.ini' || true; rm -r /run/page")
    deploys.deploy([host], SITE)


def by_page(host: BedHost) -> None:
    """A second master, which ends the first one as soon as it accepts requests."""
    release(host, f"page-{time.time():.0f}")
    _start_master(host)
    time.sleep(2)


def by_restart(host: BedHost) -> None:
    """What Supervisor has for it."""
    release(host, f"restart-{time.time():.0f}")
    host.run("supervisorctl restart catmaid:catmaid-$(readlink /etc/catmaid/catmaid/wsgi)")


def by_deploy(host: BedHost) -> None:
    """Ours."""
    release(host, f"ours-{time.time():.0f}")
    deploys.deploy([host], SITE)
    wait_for("the end of the old master", lambda: masters(host) == 1, 60, every=0.1)
