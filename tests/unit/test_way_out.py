"""The way out of a host: a proxy that refuses, and package sources that are stale."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.answers.sought import Refusal
from catmaid_deploy.finding import fault
from catmaid_deploy.secret import Secret
from catmaid_deploy.tasks import proxy, system

on_host: Any = importlib.import_module("catmaid_deploy.on_host.operations.packages")
SITE = {"server_name": "a.org", "instances": [{}], "tls": {"certificate": "acme"}}
BEHIND = schema.load(SITE, proxy=Secret("http://lab:hunter2@proxy.org:3128"))


@pytest.mark.parametrize(
    ("refused", "line"),
    [
        (
            {"silent": "Connection refused"},
            "gives the host no answer (Connection refused): correct the address, or s",
        ),
        (
            {"there": "a:443", "status": 407, "words": ""},
            "wants a user name and a password, or others than it was gi",
        ),
        (
            {"there": "a:443", "status": 403, "words": "HTTP/1.1 403 Forbidden"},
            "doesn't take the host to a:443 (HTTP/1.1 403 Forbidden): have it allow that, or name it in no_proxy",
        ),
    ],
)
def test_what_a_proxy_refuses(refused: Refusal, line: str) -> None:
    (found,) = proxy.judge(BEHIND, refused)
    assert found.line().startswith(f"proxy: http://proxy.org:3128 {line}")
    assert list(proxy.judge(BEHIND, None)) == []


def test_what_pip_says_of_it_is_the_proxy_s_fault() -> None:
    said = "the package index gives the host no answer for uwsgi: ProxyError('Cannot connect to proxy.', 407)"
    found = proxy.blamed(fault("site.instances[catmaid].uwsgi_version", said, "see"), BEHIND)
    assert found.place == "proxy"
    assert "hunter2" not in found.line()
    other = fault("site.instances[catmaid].uwsgi_version", "there is no uwsgi 9", "give another")
    assert proxy.blamed(other, BEHIND) == other


def test_what_certbot_s_timer_reads_is_roots_alone() -> None:
    one, _, unit = proxy.items(BEHIND)
    assert (one.path, one.mode, one.secret) == ("/etc/catmaid/proxy.env", "600", True)  # type: ignore[union-attr]
    assert "hunter2" not in unit.text  # type: ignore[union-attr]
    assert list(proxy.items(schema.load(SITE))) == []
    without = schema.load(SITE | {"tls": {"certificate": "self-signed"}}, proxy="http://proxy.org:3128")
    assert list(proxy.items(without)) == []
    assert {item.path for item in proxy.items(BEHIND)} <= {item.path for item in system.wanted(BEHIND).items}


APT = """\
Hit:1 http://deb.example.org/debian bookworm InRelease
Err:2 http://127.0.0.1:9/gone stable InRelease
  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)
Ign:3 file:/srv/unsigned ./ InRelease
Err:5 https://deb.example.com/node nodistro InRelease
  The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 23
Reading package lists...
W: Failed to fetch http://127.0.0.1:9/gone/dists/stable/InRelease  Could not connect to 127.0.0.1:9
E: Release file for http://deb.example.net/old/dists/x/InRelease is expired (invalid since 9d). Updates for this
E: The repository 'file:/srv/unsigned ./ Release' does not have a Release file.
"""


def test_what_apt_says_of_stale_sources() -> None:
    found = on_host.stale(APT)
    assert found["http://127.0.0.1:9/gone stable"].startswith("Could not connect")
    assert "NO_PUBKEY" in found["https://deb.example.com/node nodistro"]
    assert found["http://deb.example.net/old x"] == "is expired"
    assert found["file:/srv/unsigned ."] == "does not have a Release file."
    assert len(found) == 4
