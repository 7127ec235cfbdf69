"""A host that an admin has set up by hand as CATMAID's page says, with its mistakes mended just enough to run.

Mended: a location inside a location, an upstream that is named and not there, tiles without a root. The rest is the
page's: FIFOs, a socket that all may write to, headers, names, logs, /etc/rc.local.
"""

from __future__ import annotations

from testbed.hosts import BedHost, wait_for
from testbed.run import CHECKOUT, VIRTUALENV

DJANGO = f"{CHECKOUT}/django"
CERTIFICATE = "/etc/ssl/lab/catmaid.pem"
KEY = "/etc/ssl/lab/catmaid.key"

_CORS = """\
# Allow any origin (be more restrictive if wanted)
add_header 'Access-Control-Allow-Origin' '*' always;
add_header 'Access-Control-Allow-Credentials' 'true' always;
add_header 'Access-Control-Allow-Methods' 'GET, POST, PATCH, PUT, DELETE, OPTIONS' always;
"""

_NGINX = f"""\
upstream catmaid-asgi {{
  server unix:/var/run/catmaid/daphne.sock;
}}

server {{
  listen 443 ssl http2;

  server_name localhost;

  ssl_certificate {CERTIFICATE};
  ssl_certificate_key {KEY};

  # Force browsers to keep using https instead of http
  add_header Strict-Transport-Security "max-age=604800";

  location ~ /tiles/dataset/(.*)$ {{
    root /;
    # Try to open path to tile, fallback to black.jpg for non-existent tiles.
    try_files /data/dataset/tiles/$1 /data/dataset/tiles/black.jpg =404;

    expires max;
    add_header Cache-Control public;
    add_header Access-Control-Allow-Origin *;
    access_log off;
  }}

  location /catmaid/static/ {{
    alias {DJANGO}/static/;
  }}
  location /catmaid/files/ {{
    alias {DJANGO}/files/;
  }}
  location /catmaid/channels/ {{
    proxy_pass http://catmaid-asgi/channels/;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";

    proxy_redirect     off;
    proxy_set_header   Host $host;
    proxy_set_header   X-Real-IP $remote_addr;
    proxy_set_header   X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header   X-Forwarded-Host $server_name;
  }}
  location /catmaid/ {{
    error_page 502 503 504 @maintenance;

    include uwsgi_params;
    uwsgi_pass unix:///var/run/catmaid/uwsgi.socket;

    expires 0;
    add_header Cache-Control no-cache;

    client_max_body_size 20m;

    include snippets/cors.conf;
  }}

  location @maintenance {{
    root /home/catmaid/public_html;
    rewrite ^(.*)$ /502.html break;
  }}
}}
"""

_UWSGI = f"""\
;uWSGI instance configuration for CATMAID
[uwsgi]
chdir = {DJANGO}/
virtualenv = {VIRTUALENV}
pythonpath = {DJANGO}/projects
env = DJANGO_SETTINGS_MODULE=mysite.settings
pidfile = /var/run/catmaid/uwsgi.pid
chmod-socket = 666
socket = /var/run/catmaid/uwsgi.socket
mount = /catmaid={DJANGO}/projects/mysite/django.wsgi
manage-script-name = true
uid = www-data
gid = www-data
workers = 2
threads = 2
disable-logging = true
master = true
post-buffering = 8192
stats = /var/run/catmaid/uwsgi-stats.socket
memory-report = true
vacuum = false
lazy-apps = true
hook-accepting1-once = write:/var/run/catmaid/catmaid.ready ok
hook-as-user-atexit = unlink:/var/run/catmaid/catmaid.ready
master-fifo = /var/run/catmaid/new_instance.fifo
master-fifo = /var/run/catmaid/running_instance.fifo
if-exists = /var/run/catmaid/running_instance.fifo
  hook-accepting1-once = writefifo:/var/run/catmaid/running_instance.fifo q
endif =
hook-accepting1-once = writefifo:/var/run/catmaid/new_instance.fifo 1P
"""


def _program(name: str, command: str, log: str, more: str = "") -> str:
    return f"""
[program:catmaid-server-{name}]
directory = {DJANGO}/projects/
command = {VIRTUALENV}/bin/{command}
user = www-data
stdout_logfile = /var/log/catmaid/{log}.log
redirect_stderr = true
{more}"""


_SUPERVISOR = (
    _program(
        "uwsgi", "uwsgi --ini /etc/uwsgi/apps-available/catmaid-server.ini", "catmaid-server", "stopsignal = INT\n"
    )
    + _program(
        "daphne",
        "daphne --unix-socket=/var/run/catmaid/daphne.sock --access-log - --proxy-headers mysite.asgi:application",
        "daphne-server",
    )
    + _program("celery", "celery -A mysite worker -l info --pidfile=/var/run/catmaid/celery.pid", "celery")
    + _program(
        "celery-beat",
        "celery -A mysite beat -l info --pidfile=/var/run/catmaid/celery-beat.pid "
        "--schedule=/var/run/catmaid/celery-beat-schedule-catmaid-server",
        "celery-beat",
    )
    + """
[group:catmaid-server]
programs=catmaid-server-uwsgi,catmaid-server-daphne,catmaid-server-celery,catmaid-server-celery-beat
"""
)

_RC_LOCAL = """\
#!/bin/sh
if [ ! -d /var/run/catmaid ]; then
  mkdir /var/run/catmaid/
  chown www-data:www-data /var/run/catmaid/
  chmod 755 /var/run/catmaid/
fi

# Make sure to exit rc.local with success code
exit 0
"""

# What the admin has beside CATMAID, or has made for it: it may not be lost.
OWN = {
    "/etc/nginx/sites-available/wiki": """\
server {
  listen 80;
  server_name wiki.test;
  root /srv/wiki;
}
""",
    "/srv/wiki/index.html": "the lab's wiki\n",
    "/etc/nginx/conf.d/lab.conf": "log_format lab '$remote_addr $request';\n",
    "/etc/supervisor/conf.d/backup.conf": "[program:backup]\ncommand = sleep 100000\n",
    "/etc/cron.d/lab": "5 4 * * * root true\n",
    "/home/catmaid/public_html/502.html": "<p>CATMAID is being worked on.</p>\n",
    f"{DJANGO}/files/alice/skeleton.swc": "1 1 0 0 0 1 -1\n",
    "/data/dataset/tiles/0/0_0_0.jpg": "a tile\n",
    "/data/dataset/tiles/black.jpg": "black\n",
    CERTIFICATE: "",
    KEY: "",
}

_FILES = {
    "/etc/nginx/snippets/cors.conf": _CORS,
    "/etc/nginx/sites-available/catmaid": _NGINX,
    "/etc/uwsgi/apps-available/catmaid-server.ini": _UWSGI,
    "/etc/supervisor/conf.d/catmaid-server.conf": _SUPERVISOR,
}


def set_up(host: BedHost) -> None:
    """Do all that the page says, on a host that has the application, the packages and uWSGI."""
    for path, text in {**OWN, **_FILES}.items():
        host.run(f"mkdir -p $(dirname {path})")
        if text:
            host.put(path, text.encode())
    host.put("/etc/rc.local", _RC_LOCAL.encode(), mode="755")
    host.run(
        f"""
        openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
            -out {CERTIFICATE} -keyout {KEY} 2>/dev/null
        chmod 600 {KEY}
        ln -s ../sites-available/catmaid ../sites-available/wiki /etc/nginx/sites-enabled/
        mkdir -p /var/log/catmaid; chown www-data:www-data /var/log/catmaid
        chown -R www-data:www-data {DJANGO}/files
        /etc/rc.local
        nginx -t 2>/dev/null; systemctl restart nginx
        supervisorctl reread >/dev/null; supervisorctl update >/dev/null
        """
    )
    wait_for("the programs of the page", lambda: serves(host), 60)


def serves(host: BedHost) -> bool:
    found = host.run("supervisorctl status || true; ls /run/catmaid")
    return found.count(" RUNNING ") == 5 and "catmaid.ready" in found and "daphne.sock" in found


def has_ended(host: BedHost) -> bool:
    return "RUNNING" not in host.run("supervisorctl status catmaid-server:* || true")


def kept(host: BedHost) -> str:
    """All that the admin has of their own, with owners, modes and digests; the release and its environment too."""
    paths = " ".join(OWN)
    return host.run(
        f"""
        sha256sum {paths}; stat -c '%n %U %G %a' {paths}
        cd {CHECKOUT}
        find . \\( -name __pycache__ -o -path ./django/env -o -path './django/files/*.txt' \\) -prune -o -type f \
            -print0 | sort -z | xargs -0 sha256sum
        supervisorctl status backup | cut -d, -f1
        """
    )
