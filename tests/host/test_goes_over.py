"""A CATMAID that somebody has installed by hand goes over to the deploy's care, and its users stay signed in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from testbed import images, repository
from testbed.hosts import Bed, BedHost
from testbed.run import Run
from tests.host.conftest import EACH_SUITE, wait_until_all_run
from tests.host.nothing import SERVICES, FromEnvironment, run_on

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("goes-over"), pytest.mark.row_35]

KEY, DATABASES_PASSWORD, BROKERS_PASSWORD = "a-key-of-before-" * 3, "of the database alone", "of-the-broker-alone"
SHARED = "/home/catmaid/releases/shared"
FILES = f"{SHARED}/files"
SETTINGS = f"""
from mysite.settings_base import *
SECRET_KEY = {KEY!r}
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
MEDIA_ROOT = {FILES!r}
MEDIA_URL, STATIC_URL = "/catmaid/files/", "/catmaid/static/"
STATIC_ROOT = str(DJANGO_DIR / "static")
FORCE_SCRIPT_NAME, CATMAID_URL = "/catmaid", "/catmaid/"
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "sessionid", "csrftoken"
CELERY_BROKER_URL = "amqp://lab:{BROKERS_PASSWORD}@localhost:5672/lab"
_LAYER = "channels_rabbitmq.core.RabbitmqChannelLayer"
CHANNEL_LAYERS = {{"default": {{"BACKEND": _LAYER, "CONFIG": {{"host": CELERY_BROKER_URL}}}}}}
DATABASES = {{
    "default": {{
        "ENGINE": "custom_postgresql_psycopg2", "ATOMIC_REQUESTS": True, "NAME": "tracing", "USER": "tracer",
        "PASSWORD": {DATABASES_PASSWORD!r}, "HOST": "localhost", "PORT": 5432,
    }}
}}
"""
BY_HAND = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends postgresql postgresql-postgis rabbitmq-server >/dev/null 2>&1
systemctl start postgresql rabbitmq-server
sql() {{ runuser -u postgres -- psql -q -d "$1" -c "$2"; }}
sql postgres "CREATE ROLE tracer LOGIN PASSWORD '{DATABASES_PASSWORD}'"
sql postgres "CREATE DATABASE tracing OWNER tracer TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
sql tracing "CREATE EXTENSION postgis; CREATE EXTENSION pg_trgm"
rabbitmqctl -q add_vhost lab
rabbitmqctl -q add_user lab {BROKERS_PASSWORD}
rabbitmqctl -q set_permissions -p lab lab '.*' '.*' '.*'
useradd --create-home --shell /bin/bash catmaid
install -d -o catmaid -g catmaid /home/catmaid/releases {SHARED} {SHARED}/django {SHARED}/django/projects \\
    {SHARED}/django/projects/mysite
chmod a+rx /home/catmaid
install -d -o www-data -g www-data {FILES}
"""


FOUND: dict[str, Any] = {"database": "found", "broker": "found", "settings": "found"}
# As docs/howto/install.md says.
MADE: dict[str, Any] = {
    "database": {"name": "tracing", "user": "tracer", "password": FromEnvironment("DATABASES_PASSWORD")},
    "broker": {"vhost": "lab", "user": "lab", "password": FromEnvironment("BROKERS_PASSWORD")},
    "settings": {
        "secret_key": FromEnvironment("SECRET_KEY"),
        "fragment": 'SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "sessionid", "csrftoken"\n',
    },
}
SECRETS = {"DATABASES_PASSWORD": DATABASES_PASSWORD, "BROKERS_PASSWORD": BROKERS_PASSWORD, "SECRET_KEY": KEY}
# With who owns the tables, and PostgreSQL's own files.
OWNERS = "select tablename, tableowner from pg_tables order by 1"
ALL = f"""{SERVICES}
runuser -u postgres -- psql -At -d tracing -c '{OWNERS}'
sha256sum /etc/postgresql/*/main/*.conf
"""


def described(parts: dict[str, Any]) -> dict[str, Any]:
    install = {"administrator": {"name": "alice", "email": "alice@example.org"}, **parts}
    releases: dict[str, Any] = {"repository": repository.PLACE, "revision": "1.0"}
    if parts is FOUND:
        releases["shared"] = ["django/projects/mysite/settings.py"]
    instance = {"releases": releases, "install": install, "migrate": "before", "workers": 2, "files_folder": FILES}
    return {"site": {"server_name": "localhost", "tls": {"certificate": "self-signed"}, "instances": [instance]}}


def deploy(host: BedHost, parts: dict[str, Any], *options: str, **more: Any) -> Run:
    run = run_on(host, described(parts), *(options or ("-y",)), env=SECRETS, **more)
    assert run.code == 0, run.text
    return run


@pytest.fixture(params=EACH_SUITE)
def host(bed: Bed, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    suite = str(request.param)
    with images.lock(suite):
        image = images.host(suite)
    host = bed.boot(image, f"goes-over-{suite}")
    repository.put(host, {"1.0": {}})
    host.run(BY_HAND, timeout=600)
    host.put(f"{SHARED}/django/projects/mysite/settings.py", SETTINGS.encode(), "640")
    host.run(f"chown catmaid:www-data {SHARED}/django/projects/mysite/settings.py")
    yield host
    host.remove()


def test_each_part_that_was_found_is_made_with_its_data(host: BedHost) -> None:
    deploy(host, FOUND)
    wait_until_all_run(host)
    assert deploy(host, FOUND).changed == []
    password = host.run("cat /etc/catmaid/secrets/catmaid.administrator")
    with httpx.Client(base_url=f"{host.url}/catmaid/", verify=host.trust(), trust_env=False, timeout=60) as browser:
        browser.headers["Referer"] = host.url
        browser.get("")
        form = {"name": "alice", "pwd": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        assert browser.post("accounts/login", data=form).status_code == 302
        note = {"text": "before", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        assert browser.post("notes", data=note).json() == {"notes": ["before"]}
        services = host.run(ALL)
        deploy(host, MADE)
        wait_until_all_run(host)
        # The same session, the same data, and nothing of the services is another than before.
        assert "Signed in as <strong>alice<" in browser.get("").text
        assert browser.post("notes", data=note | {"text": "after"}).json() == {"notes": ["before", "after"]}
    assert host.run(ALL) == services
    assert deploy(host, MADE).changed == []
    deploy(host, MADE, deploy="runbooks/verify.py")
