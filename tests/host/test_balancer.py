"""A load balancer or a proxy in front of nginx: what Django sees of its users, and what the limits count."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost, wait_for
from testbed.run import pyinfra
from tests.host.conftest import EACH_SUITE, boot_packed

INSTANCE: dict[str, Any] = {"workers": 2, "threads": 6, "celery": {"concurrency": 1}, "requests_per_address": 8}
PAGE = "https://tracing.test/catmaid/"
LIES = (
    "-H 'X-Forwarded-For: 192.0.2.66' -H 'X-Forwarded-Proto: gopher' "
    "-H 'X-Forwarded-Host: evil.test' -H 'X-Real-IP: 192.0.2.66'"
)

HAPROXY = """
global
  maxconn 1000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  option forwardfor
frontend users
  bind *:80
  bind *:443 ssl crt /etc/haproxy/site.pem alpn h2,http/1.1
  http-request set-header X-Forwarded-Proto https if { ssl_fc }
  http-request set-header X-Forwarded-Proto http if !{ ssl_fc }
  default_backend hosts
backend hosts
  option httpchk
  server web %s check inter 500ms fall 2 rise 1
"""

NGINX = """
server {
  listen 8443 ssl;
  server_name tracing.test;
  ssl_certificate /etc/haproxy/site.pem;
  ssl_certificate_key /etc/haproxy/site.pem;
  location / {
    proxy_pass http://%s;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection upgrade;
    proxy_set_header Host internal.tracing.test;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
  }
}
"""

CERTIFICATE = """
apt-get update -qq && apt-get install -y -qq haproxy nginx-light curl openssl >/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=tracing.test \
    -addext subjectAltName=DNS:tracing.test -keyout /tmp/key -out /tmp/crt 2>/dev/null
cat /tmp/crt /tmp/key > /etc/haproxy/site.pem; rm -f /etc/nginx/sites-enabled/default
"""


def address(host: BedHost) -> str:
    return host.run("hostname -I").split()[0]


@pytest.fixture(scope="module")
def front(bed: Bed) -> Iterator[BedHost]:
    host = bed.boot(images.site("bookworm"), "front", hostname="front")
    host.run(CERTIFICATE, timeout=300)
    yield host
    host.remove()


@pytest.fixture(scope="module", params=EACH_SUITE)
def web(bed: Bed, front: BedHost, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    host = boot_packed(bed, request.param, f"behind-{request.param}")
    deploy(host, front, {"certificate": "none"})
    yield host
    host.remove()


def deploy(web: BedHost, front: BedHost, tls: dict[str, Any], **more: Any) -> None:
    """With what stands in front: HAProxy by HTTP, or by this host's own HTTPS, and nginx."""
    balancer = {"addresses": [address(front)]}
    site = {"server_name": "tracing.test", "aliases": ["internal.tracing.test"], "tls": tls, "balancer": balancer}
    run = pyinfra(web, {"site": site | {"instances": [INSTANCE]} | more}, "-y")
    assert run.code == 0, run.text
    plain = tls["certificate"] == "none"
    to = f"{address(web)}:80" if plain else f"{address(web)}:443 ssl verify none"
    front.put("/etc/haproxy/haproxy.cfg", (HAPROXY % to).encode())
    front.put("/etc/nginx/conf.d/front.conf", (NGINX % address(web)).encode())
    # Its unit wants mount namespaces, which a container hasn't.
    front.run("""
        systemctl restart nginx; mkdir -p /run/haproxy
        haproxy -D -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid -sf $(cat /run/haproxy.pid 2>/dev/null)
    """)
    is_up = f"curl -sk -o /dev/null -w '%{{http_code}}' {PAGE}whoami --resolve tracing.test:443:127.0.0.1"
    wait_for("the balancer to find the host well", lambda: front.run(is_up) == "200", 20)


def ask(client: BedHost, front: BedHost, path: str, options: str = "", port: int = 443, scheme: str = "https") -> str:
    where = f"--resolve tracing.test:{port}:{address(front)}"
    suffix = "" if port in (80, 443) else f":{port}"
    words = f"curl -sk --max-time 30 {where} {options} {scheme}://tracing.test{suffix}/catmaid/{path}"
    # A WebSocket has no end, and curl then says that it took too long.
    return client.run(f"{words} || [ $? = 28 ]")


@pytest.mark.row_34
@pytest.mark.parametrize("port", [443, pytest.param(8443, marks=pytest.mark.long)], ids=["haproxy", "nginx"])
def test_what_django_sees(web: BedHost, front: BedHost, port: int) -> None:
    """Scheme, host and client as its users have them, whatever a user says of himself."""
    suffix = "" if port == 443 else ":8443"
    for lies in ("", LIES):
        seen = json.loads(ask(web, front, "whoami", lies, port))
        assert seen["scheme"] == "https"
        assert seen["client"] == seen["forwarded_for"] == address(web)
        # nginx in front said the name without a port.
        assert seen["absolute"] in (f"https://tracing.test{suffix}/catmaid/", "https://tracing.test/catmaid/")
    sent = json.loads(ask(web, front, "sent", LIES, port))
    assert sent["HTTP_X_REAL_IP"] == address(web)
    assert (sent["HTTP_X_FORWARDED_PROTO"], sent["HTTPS"]) == ("https", "on")
    assert "evil" not in json.dumps(sent)


@pytest.mark.row_34
def test_nobody_elses_word_counts(web: BedHost, front: BedHost) -> None:
    """Who comes past the balancer is what nginx sees, and nothing of what he says."""
    direct = f"--resolve tracing.test:80:{address(web)}"
    lies = LIES.replace("gopher", "https")
    seen = json.loads(web.run(f"curl -s {direct} {lies} http://tracing.test/catmaid/whoami"))
    assert (seen["scheme"], seen["client"]) == ("http", address(web))
    assert seen["host"] == "tracing.test"


@pytest.mark.row_34
@pytest.mark.long
def test_redirects_cookies_and_forms(web: BedHost, front: BedHost) -> None:
    assert "location: /catmaid/" in ask(web, front, "redirect", "-D - -o /dev/null").lower()
    whole = ask(web, front, "form", "-D - -c /tmp/jar")
    assert "Secure" in whole
    assert "strict-transport-security: max-age=" in whole.lower()
    token = json.loads(whole.splitlines()[-1])["token"]
    posted = f"-b /tmp/jar -d '' -H 'X-CSRFToken: {token}' -H 'Referer: https://tracing.test/catmaid/'"
    for origin, status in (
        ("https://tracing.test", "200"),
        ("https://evil.test", "403"),
        ("http://tracing.test", "403"),
    ):
        options = f"{posted} -H 'Origin: {origin}' -o /dev/null -w '%{{http_code}}'"
        assert ask(web, front, "form", options) == status, origin
    # Who came to the balancer by HTTP is sent to HTTPS, and insists on nothing yet.
    plain = ask(web, front, "whoami?a=b", "-D -", 80, "http").lower()
    assert "301" in plain.splitlines()[0]
    assert "location: https://tracing.test/catmaid/whoami?a=b" in plain
    assert "strict-transport-security" not in plain


@pytest.mark.row_34
@pytest.mark.row_21
@pytest.mark.long
@pytest.mark.parametrize("port", [443, 8443], ids=["haproxy", "nginx"])
def test_websockets(web: BedHost, front: BedHost, port: int) -> None:
    handshake = (
        "--http1.1 -o /dev/null -w '%{http_code}' -H 'Upgrade: websocket' -H 'Connection: Upgrade' --max-time 2 "
        "-H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: Y2F0bWFpZC1kZXBsb3kgIQ==' -H 'Origin: https://tracing.test'"
    )
    assert ask(web, front, "channels/echo/", handshake, port).startswith("101")


@pytest.mark.row_34
@pytest.mark.long
def test_limits_count_the_true_client(web: BedHost, front: BedHost) -> None:
    """One has as many requests open as he may, and says each time that he is somebody else."""
    asked = [
        f"curl -sk -o /dev/null -w '%{{http_code}} ' -H 'X-Forwarded-For: 192.0.2.{n}' "
        f"--resolve tracing.test:443:{address(front)} '{PAGE}slow?seconds=4' &"
        for n in range(12)
    ]
    with ThreadPoolExecutor() as threads:
        answers = threads.submit(web.run, "\n".join([*asked, "wait"]))
        time.sleep(2)
        other = ask(front, front, "whoami", "-o /dev/null -w '%{http_code}'")
        found = answers.result().split()
    # Without a session fewer than with several.
    assert set(found) == {"200", "429"}
    assert found.count("200") <= INSTANCE["requests_per_address"]
    assert other == "200"


@pytest.mark.row_34
def test_health_checks(web: BedHost, front: BedHost) -> None:
    """By the host's address, and by HTTP/1.0 without a name: from the balancer, and from nobody else."""
    where = address(web)
    for request in (
        f"GET / HTTP/1.1\\r\\nHost: {where}\\r\\nConnection: close\\r\\n\\r\\n",
        "OPTIONS / HTTP/1.0\\r\\n\\r\\n",
    ):
        asked = f"printf '{request}' | timeout 5 bash -c 'exec 3<>/dev/tcp/{where}/80; cat >&3; head -n 1 <&3' || true"
        assert front.run(asked).startswith("HTTP/1.1 204")
        assert web.run(asked) == ""
    unknown = f"curl -s -o /dev/null -w '%{{http_code}}' -H 'Host: unknown.test' http://{where}/ || true"
    assert front.run(unknown) == "000"


@pytest.mark.row_34
@pytest.mark.long
def test_a_balancer_that_speaks_https_to_this_host(web: BedHost, front: BedHost) -> None:
    """HAProxy names nobody in the handshake."""
    deploy(web, front, {"certificate": "self-signed"})
    try:
        seen = json.loads(ask(web, front, "whoami", LIES))
        assert (seen["scheme"], seen["host"], seen["client"]) == ("https", "tracing.test", address(web))
        plain = ask(web, front, "whoami", "-D -", 80, "http").lower()
        assert "location: https://tracing.test/catmaid/whoami" in plain
    finally:
        deploy(web, front, {"certificate": "none"})


@pytest.mark.row_34
@pytest.mark.long
def test_the_second_run_and_the_states(web: BedHost, front: BedHost) -> None:
    site = {
        "server_name": "tracing.test",
        "aliases": ["internal.tracing.test"],
        "tls": {"certificate": "none"},
        "balancer": {"addresses": [address(front)]},
        "instances": [INSTANCE],
    }
    again = pyinfra(web, {"site": site}, "-y")
    assert (again.code, again.changed) == (0, []), again.text
    assert "https://tracing.test/catmaid/" in again.text
    status = pyinfra(web, {"site": site}, deploy="runbooks/status.py")
    assert status.code == 0, status.text
