"""What a compromised application finds: the TLS keys' numbers are in nginx's memory, and nowhere for its user."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.host.web import SITES, Web

SCRIPT = Path(__file__).parent / "search_on_host.py"


def number(web: Web) -> str:
    """A site's private key as a number in hex, disguised as the search wants it."""
    key = f"/etc/catmaid/tls/self-signed/{SITES[0]['server_name']}/privkey.pem"
    found = re.search(r"priv:\s+((?:[0-9a-f]{2}:?\s*)+)", web.host.run(f"openssl pkey -in {key} -noout -text"))
    assert found
    plain = bytes.fromhex(re.sub(r"[:\s]", "", found.group(1)))[-32:]
    return bytes(byte ^ 0x5A for byte in plain).hex()


def search(web: Web, user: str, where: str = "everywhere") -> dict[str, Any]:
    web.host.put(f"/tmp/search-{user}.py", SCRIPT.read_bytes(), "644")
    command = f"python3 -I /tmp/search-{user}.py {where} {number(web)}"
    found: dict[str, Any] = json.loads(web.host.run(command, user=user, timeout=300))
    return found


@pytest.mark.row_32
def test_the_application_finds_no_key(web: Web) -> None:
    """As the service user, the default one and another: in no file, and in no process."""
    with web.client() as client:
        assert client.get("/catmaid/whoami").status_code == 200
    with ThreadPoolExecutor() as pool:
        for found in pool.map(lambda user: search(web, user), ("www-data", "catmaid")):
            assert (found["files"], found["processes"]) == ([], {})
            # It really looked: at the distribution's files, and at the memory of the programs of this user.
            assert found["files read"] > 5000
            assert found["processes read"] > 3


@pytest.mark.row_32
def test_the_same_search_finds_the_key_in_nginx(web: Web) -> None:
    """As root in its master, and in its workers as their own user, which nobody else shares."""
    with web.client() as client:
        assert client.get("/catmaid/whoami").status_code == 200
    master = web.host.run("cat /run/nginx.pid")
    assert search(web, "root", "memory")["processes"][master] == "nginx"
    workers = web.host.run(f"pgrep -P {master}").split()
    found = search(web, "catmaid-nginx", "memory")["processes"]
    assert set(workers) <= set(found)
    assert set(found.values()) == {"nginx"}
    owned = web.host.run("find / -xdev -user catmaid-nginx -not -path '/proc/*' 2>/dev/null || true").splitlines()
    assert [path for path in owned if not path.startswith(("/var/lib/nginx/", "/var/log/nginx/"))] == []
