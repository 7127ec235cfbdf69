"""What a compromised application finds: nginx's secrets are in its memory and files, and nowhere for its user."""

from __future__ import annotations

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from testbed.run import CHECKOUT
from tests.host.web import HASH, PASSWORD, SITES, Web

SCRIPT = Path(__file__).parent / "search_on_host.py"
# The users of the instances of SITES: the default one, and one of its own.
SERVICE_USERS = ("www-data", "catmaid")
SHOWN = base64.b64encode(f"alice:{PASSWORD}".encode())


def number(web: Web) -> bytes:
    """A site's private key as a number."""
    key = f"/etc/catmaid/tls/self-signed/{SITES[0]['server_name']}/privkey.pem"
    found = re.search(r"priv:\s+((?:[0-9a-f]{2}:?\s*)+)", web.host.run(f"openssl pkey -in {key} -noout -text"))
    assert found
    return bytes.fromhex(re.sub(r"[:\s]", "", found.group(1)))[-32:]


def cookies_key(web: Web) -> bytes:
    """The host's half of the cookie that stands for a password."""
    found = re.search(r"default (\w{20,});", web.host.run("cat /etc/nginx/conf.d/catmaid-key.conf"))
    assert found
    return found.group(1).encode()


def search(web: Web, user: str, secrets: list[bytes], where: str = "/") -> dict[str, Any]:
    web.host.put(f"/tmp/search-{user}.py", SCRIPT.read_bytes(), "644")
    # The search's own words are no find.
    words = [bytes(byte ^ 0x5A for byte in secret).hex() for secret in secrets]
    command = f"python3 -I /tmp/search-{user}.py {where} {' '.join(words)}"
    found: dict[str, Any] = json.loads(web.host.run(command, user=user, timeout=300))
    return found


def visit(web: Web) -> None:
    """A page of each service user's, and a tile for who shows a password."""
    with web.client() as client:
        assert client.get("/catmaid/whoami").status_code == 200
        assert client.get("/tracing/fafb/v14/whoami").status_code == 200
        assert client.get("/tiles/fafb/sections/5/1.png", auth=("alice", PASSWORD)).status_code == 200


@pytest.mark.row_32
def test_the_application_finds_no_secret_of_nginx(web: Web) -> None:
    """As the service user, the default one and another: in no file, and in no process."""
    visit(web)
    secrets = [number(web), cookies_key(web), HASH.encode(), SHOWN]
    with ThreadPoolExecutor() as pool:
        for found in pool.map(lambda user: search(web, user, secrets), SERVICE_USERS):
            assert (found["files"], found["processes"]) == ([], {})
            # It really looked: at the distribution's files, and at the memory of the programs of this user.
            assert found["files read"] > 5000
            assert found["processes read"] > 3


@pytest.mark.row_32
def test_the_same_search_finds_the_key_in_nginx(web: Web) -> None:
    """As root in its master, and in its workers as their own user, which nobody else shares."""
    visit(web)
    master = web.host.run("cat /run/nginx.pid")
    assert search(web, "root", [number(web)], "memory")["processes"][master] == "nginx"
    workers = web.host.run(f"pgrep -P {master}").split()
    found = search(web, "catmaid-nginx", [number(web)], "memory")["processes"]
    assert set(workers) <= set(found)
    assert set(found.values()) == {"nginx"}
    owned = web.host.run("find / -xdev -user catmaid-nginx -not -path '/proc/*' 2>/dev/null || true").splitlines()
    assert [path for path in owned if not path.startswith(("/var/lib/nginx/", "/var/log/nginx/"))] == []


@pytest.mark.row_32
def test_the_same_search_finds_the_other_secrets_in_nginx_s_files(web: Web) -> None:
    """So that they are what it would have found."""
    visit(web)
    for secret, folder in (
        (cookies_key(web), "/etc/nginx/conf.d"),
        (HASH.encode(), "/etc/nginx/catmaid-passwords"),
        (SHOWN, "/run/catmaid-nginx"),
    ):
        assert search(web, "root", [secret], folder)["files"], folder


@pytest.mark.row_32
@pytest.mark.parametrize("user", SERVICE_USERS)
def test_nginx_isnt_to_be_opened_by_the_application(web: Web, user: str) -> None:
    """Neither traced, nor made to leave its memory in a file, nor by what it has open."""
    master = web.host.run("cat /run/nginx.pid")
    workers = web.host.run(f"pgrep -P {master}").split()
    web.host.put("/tmp/open-nginx.py", OPEN.encode())
    answer = web.host.run(f"python3 -I /tmp/open-nginx.py {master} {' '.join(workers)} $$", user=user)
    # Its own shell shows that each of the ways is one.
    assert json.loads(answer) == [[]] * (1 + len(workers)) + [["attach", "descriptors", "environ", "kill", "memory"]]


OPEN = """
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
answer = []
for pid in map(int, sys.argv[1:]):
    done = []
    # PTRACE_SEIZE, which stops nothing.
    if libc.ptrace(0x4206, pid, None, None) == 0:
        done.append("attach")
    for what, do in (
        ("descriptors", lambda: os.listdir("/proc/%d/fd" % pid)),
        ("environ", lambda: open("/proc/%d/environ" % pid, "rb").read()),
        ("kill", lambda: os.kill(pid, 0)),
        ("memory", lambda: open("/proc/%d/mem" % pid, "rb")),
    ):
        try:
            do()
            done.append(what)
        except OSError:
            pass
    answer.append(done)
print(json.dumps(answer))
"""


@pytest.mark.row_32
def test_nginx_reads_no_other_s_file_by_a_link(web: Web) -> None:
    """Whoever may write in a folder that is served could have nginx read all that nginx may."""
    hashes = web.host.run("ls /etc/nginx/catmaid-passwords/* | head -n 1")
    folders = {"files": (f"{CHECKOUT}/django/files", "www-data"), "static": (f"{CHECKOUT}/django/static", "catmaid")}
    with web.client() as client:
        for kind, (folder, user) in folders.items():
            web.host.run(
                f"""
                cd {folder}; echo own > own.js; ln -sf {folder}/own.js link.js; ln -sf {hashes} hashes.js
                ln -sfn /etc/nginx/catmaid-passwords all; ln -sf /etc/passwd passwd.js
                """,
                user=user,
            )
            try:
                name = hashes.rpartition("/")[2]
                for path in ("hashes.js", f"all/{name}", "passwd.js"):
                    assert client.get(f"/catmaid/{kind}/{path}").status_code == 403, (kind, path)
                assert client.get(f"/catmaid/{kind}/link.js").text == "own\n"
            finally:
                web.host.run(f"cd {folder}; rm -f own.js link.js hashes.js all passwd.js")
