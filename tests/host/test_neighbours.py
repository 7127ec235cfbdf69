"""Other sites in the same nginx, in any spelling, and an nginx that isn't the distribution's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost
from testbed.peers.sites import SMALL as SITE
from testbed.run import Run, pyinfra
from testbed.updates import release
from tests.host.conftest import EACH_SUITE, boot_packed
from tests.host.test_health import findings

SIGNED = "/etc/catmaid/tls/self-signed/localhost"
THEIRS = "/etc/nginx/conf.d/theirs.conf"
UNKNOWN = "curl -s -o /dev/null -w '%{http_code}' -H 'Host: nobody.test' http://127.0.0.1 || true"
UNKNOWN_TLS = "curl -sk -o /dev/null -w '%{http_code}' https://nobody.test --resolve nobody.test:443:127.0.0.1 || true"


def deploy(host: BedHost, *options: str, **changes: Any) -> Run:
    return pyinfra(host, {"site": SITE | changes}, *(options or ("-y",)))


@pytest.fixture(scope="module", params=EACH_SUITE)
def host(bed: Bed, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    host = boot_packed(bed, request.param, f"neighbours-{request.param}")
    first = deploy(host)
    assert first.code == 0, first.text
    yield host
    host.remove()


def is_served_beside(host: BedHost, text: str, path: str = THEIRS, **changes: Any) -> Run:
    """A new release and another setting of nginx's go live beside somebody's file, and the next run changes nothing."""
    host.run(f"nginx -t -q && cat > {path} <<'END'\n{text}\nEND\nnginx -t -q && systemctl reload nginx")
    release(host, f"beside {hash(text)}", seconds=0.2)
    run = deploy(host, headers={"frame_options": "DENY"}, **changes)
    assert run.code == 0, run.text
    again = deploy(host, headers={"frame_options": "DENY"}, **changes)
    assert (again.code, again.changed) == (0, []), again.text
    status = pyinfra(
        host, {"site": SITE | {"headers": {"frame_options": "DENY"}} | changes}, deploy="runbooks/status.py"
    )
    assert status.code == 0, status.text
    return run


@pytest.fixture(autouse=True)
def _as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "host" in request.fixturenames:
        host = request.getfixturevalue("host")
        host.run(f"rm -f {THEIRS}* /etc/nginx/sites-enabled/theirs; systemctl reload nginx")
        assert deploy(host).code == 0


@pytest.mark.row_34
def test_a_server_on_the_loopback_address(host: BedHost) -> None:
    """As monitoring has it. What the host asks itself goes to the site all the same."""
    tls = f"ssl_certificate {SIGNED}/fullchain.pem; ssl_certificate_key {SIGNED}/privkey.pem;"
    is_served_beside(
        host,
        f"server {{ listen 127.0.0.1:80; listen 127.0.0.1:443 ssl; {tls} location / {{ return 418; }} }}",
        passwords={
            "alice": "$6$catmaid$A1jfmGmxYrBpImRg9MuPZYjW5K1SahXgnQDc2Vcl3Boq70OEuoLK32CUmQOJyQTZQVJSfvNW0ioD9wRKeEUFO1"
        },
    )
    # A password is looked at by nginx itself, and goes to nobody else.
    assert host.run("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1/") == "418"
    page = "https://localhost/catmaid/ --resolve localhost:443:127.67.77.68"
    assert host.run(f"curl -sk -o /dev/null -w '%{{http_code}}' {page}") == "401"
    assert host.run(f"curl -sk -o /dev/null -w '%{{http_code}}' -u 'alice:correct horse' {page}") == "200"


@pytest.mark.row_34
@pytest.mark.parametrize(
    "text",
    [
        "server { listen 80 default_server; return 418; }",
        pytest.param("server {\n  listen\n    *:80\n    default_server;\n  return 418;\n}", marks=pytest.mark.long),
        pytest.param("server { listen 80 default; return 418; }", marks=pytest.mark.long),
        pytest.param("include /srv/theirs/*.conf;", marks=pytest.mark.long),
    ],
)
def test_a_default_server_in_any_spelling(host: BedHost, text: str) -> None:
    """Theirs answers unknown names where it listens, and the deploy's everywhere else."""
    host.run(
        "mkdir -p /srv/theirs; echo 'server { listen 0.0.0.0:80 default_server; return 418; }' > /srv/theirs/a.conf"
    )
    host.put(THEIRS, text.encode())
    run = deploy(host)
    assert run.code == 0, run.text
    assert "answers host names that no site has, on 80; without its default_server nobody would" in run.text
    assert deploy(host).changed == []
    assert host.run(UNKNOWN) == "418"
    assert host.run(UNKNOWN_TLS) == "000"


@pytest.mark.row_34
@pytest.mark.long
def test_what_nginx_does_not_read(host: BedHost) -> None:
    text = "server { listen 80 default_server; listen 443 default_server; server_name localhost; return 418; }"
    for name in ("conf.d/theirs.conf.bak", "conf.d/theirs.conf.dpkg-old", "sites-available/theirs"):
        host.put(f"/etc/nginx/{name}", text.encode())
    run = deploy(host)
    assert (run.code, run.changed) == (0, []), run.text
    assert "answers" not in run.text
    assert host.run(UNKNOWN) == "000"
    host.run("rm /etc/nginx/sites-available/theirs")


@pytest.mark.row_34
@pytest.mark.long
def test_linked_folders_and_large_files(host: BedHost) -> None:
    """What nginx takes is taken: a linked folder with keys, one with a format that others use, a map of 2 MB."""
    host.run(f"""
        mkdir -p /srv/keys /srv/conf /srv/more; cp {SIGNED}/*.pem /srv/keys/; chmod 600 /srv/keys/*
        ln -s /srv/keys /etc/nginx/ssl; ln -s /srv/more /etc/nginx/more
        cp -a /etc/nginx/conf.d/. /srv/conf/; rm -r /etc/nginx/conf.d; ln -s /srv/conf /etc/nginx/conf.d
        echo "log_format theirs '\\$remote_addr';" > /srv/conf/a-format.conf
        seq 100000 | sed 's/.*/name-&.example.org value-&;/' > /etc/nginx/names.map
        echo 'gzip off;' > /srv/more/a.conf
    """)
    try:
        is_served_beside(
            host,
            "map $host $theirs { include /etc/nginx/names.map; default x; }\n"
            "server { listen 8443 ssl; ssl_certificate /etc/nginx/ssl/fullchain.pem; include more/*.conf;\n"
            "ssl_certificate_key /etc/nginx/ssl/privkey.pem; access_log /var/log/nginx/x theirs; return 200 $theirs; }",
            "/etc/nginx/sites-enabled/theirs",
        )
    finally:
        host.run("""
            rm /etc/nginx/sites-enabled/theirs /etc/nginx/conf.d /etc/nginx/ssl /etc/nginx/more /etc/nginx/names.map
            rm /srv/conf/a-format.conf; mkdir /etc/nginx/conf.d; cp -a /srv/conf/. /etc/nginx/conf.d/; rm -r /srv/conf
            systemctl reload nginx
        """)


@pytest.mark.row_34
@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listen [::]:443 ssl ipv6only=off;", "takes port 443 for itself (ipv6only=off)"),
        ("listen 443; server_name localhost;", "answers for localhost in the place of its site"),
    ],
)
def test_what_takes_the_sites_place_is_named(host: BedHost, text: str, words: str) -> None:
    host.put(THEIRS, f"server {{ {text} }}\n".encode())
    run = deploy(host, "--dry")
    assert f"{THEIRS}:1 {words}" in run.text


# ---- an nginx of another packager's ----

# As nginx.org's package has it: none of Debian's folders, and a configuration of its own.
ANOTHERS = r"""
cd /tmp; apt-get update -qq
mkdir -p own/DEBIAN own/usr/sbin own/etc/nginx/conf.d own/lib/systemd/system own/var/log/nginx own/var/cache/nginx
apt-get install -y -qq nginx curl >/dev/null
cp /usr/sbin/nginx own/usr/sbin/; cp /etc/nginx/mime.types /etc/nginx/uwsgi_params own/etc/nginx/
cp /lib/systemd/system/nginx.service own/lib/systemd/system/
version=$(dpkg-query -W -f '${Version}' nginx | sed 's/-.*//')
needs=$(dpkg-query -W -f '${Depends}' nginx | tr ',' '\n' | grep -v -E 'nginx|iproute' | paste -sd,)
cat > own/etc/nginx/nginx.conf <<'END'
user nginx;
worker_processes auto;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;
events { worker_connections 1024; }
http { include /etc/nginx/mime.types; client_body_temp_path /var/cache/nginx/a; proxy_temp_path /var/cache/nginx/b;
fastcgi_temp_path /var/cache/nginx/c; uwsgi_temp_path /var/cache/nginx/d; scgi_temp_path /var/cache/nginx/e;
include /etc/nginx/conf.d/*.conf; }
END
echo 'server { listen 80; server_name localhost; root /usr/share/nginx/html; }' > own/etc/nginx/conf.d/default.conf
printf '/etc/nginx/nginx.conf\n/etc/nginx/conf.d/default.conf\n/etc/nginx/mime.types\n' > own/DEBIAN/conffiles
printf 'Package: nginx\nVersion: %s-1~bookworm\nArchitecture: amd64\nMaintainer: another\nDepends: %s, adduser\n' \
    "$version" "$needs" > own/DEBIAN/control
printf 'Description: nginx\nConflicts: nginx-common\n' >> own/DEBIAN/control
apt-get purge -y -qq nginx nginx-common 'libnginx-mod-*' >/dev/null; rm -rf /etc/nginx /var/lib/nginx /var/log/nginx
adduser --system --group --no-create-home nginx >/dev/null
dpkg-deb -b own nginx.deb >/dev/null; dpkg -i --force-confnew nginx.deb >/dev/null
systemctl daemon-reload; systemctl enable --now nginx; systemctl is-active nginx; ls /etc/nginx
"""


@pytest.mark.row_34
@pytest.mark.long
@pytest.mark.parametrize("suite", images.SUITES)
def test_an_nginx_of_another_packager(bed: Bed, suite: str) -> None:
    host = bed.boot(images.site(suite), f"another-nginx-{suite}", hostname="host")
    try:
        said = host.run(ANOTHERS, timeout=300)
        assert "active" in said
        assert "sites-enabled" not in said
        dry = deploy(host, "--dry", "--diff", server_name="tracing.test")
        assert dry.code == 0, dry.text
        run = deploy(host, server_name="tracing.test")
        assert run.code == 0, run.text
        again = deploy(host, server_name="tracing.test")
        assert (again.code, again.changed) == (0, []), again.text
        page = "https://tracing.test/catmaid/whoami --resolve tracing.test:443:127.0.0.1"
        assert '"release"' in host.run(f"curl -sk {page}")
        verify = pyinfra(host, {"site": SITE | {"server_name": "tracing.test"}}, deploy="runbooks/verify.py")
        # This machine knows no such name.
        assert {one["place"] for one in findings(verify)} == {"from here to tracing.test"}
    finally:
        host.remove()
