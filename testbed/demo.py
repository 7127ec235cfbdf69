"""``make demo``: a host, a deploy over SSH, and the proof that it works."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from testbed import hosts, images, verify
from testbed.images import ROOT, say
from testbed.podman import BedError, podman

# Another name gives a second demo beside the first: the tests' own.
NAME = os.environ.get("CATMAID_DEMO", "demo")
BED = f"catmaid-{NAME}"
FIRST_PORT = 8080


def _state() -> Path:
    return images.cache_dir() / f"{NAME}.json"


def connection() -> dict[str, object]:
    """How inventories/demo.py reaches the demo host.

    Ends the run with one line when there is none.
    """
    try:
        found: dict[str, object] = json.loads(_state().read_text())["ssh"]
    except (OSError, ValueError, KeyError):
        sys.exit("--> demo: there is no demo host on this machine: boot one with 'make demo'")
    return found


def _boot(bed: hosts.Bed, image: str) -> hosts.BedHost:
    """Boot the demo host at the first free port: the one that looked free may be taken a moment later."""
    for port in range(FIRST_PORT, FIRST_PORT + 50):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        try:
            return bed.boot(image, "host", http_port=port)
        except BedError as error:
            if "address already in use" not in str(error):
                raise
            bed.hosts.pop().remove()
    raise BedError(f"no port from {FIRST_PORT} to {FIRST_PORT + 49} is free here: stop one of the programs there")


def _running() -> hosts.BedHost | None:
    """The demo host of an earlier call, if it still runs."""
    try:
        ports = json.loads(_state().read_text())["ports"]
    except (OSError, ValueError, KeyError):
        return None
    host = hosts.BedHost(f"{BED}-host", {int(k): v for k, v in ports.items()})
    status = podman("inspect", "--format", "{{.State.Status}}", host.name, check=False)
    return host if status == "running" and host.answers_ssh() else None


def _deploy() -> int:
    """Run pyinfra as a user would, with a sign of life where one operation takes long."""
    words = [str(Path(sys.executable).parent / "pyinfra"), "-y", "inventories/demo.py", "deploy.py"]
    process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    start = time.monotonic()
    try:
        while True:
            try:
                return process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                say(f"    deploying for {time.monotonic() - start:.0f} s")
    except BaseException:
        process.terminate()
        process.wait()
        raise


def up() -> None:
    """Boot, deploy, verify, print the URL. What was begun is removed when it fails or is interrupted."""
    host = _running()
    try:
        if host is None:
            with images.lock():
                image = images.site("bookworm")
            hosts.remove_bed(BED)
            bed = hosts.Bed(NAME, keep=True)
            with images.progress("booting a Debian 12 host with systemd and sshd"):
                bed.open()
                host = _boot(bed, image)
            _state().write_text(json.dumps({"ssh": host.ssh_data(), "ports": host.ports}))
        else:
            say("the demo host runs already: deploying to it again")
        say("pyinfra inventories/demo.py deploy.py")
        if _deploy():
            raise BedError("the deploy to the demo host failed: its last lines above tell why")
        say("verifying, from this machine, as a browser would")
        for what, detail in verify.checks(host.url, "/catmaid/"):
            say(f"    {what}: {detail}")
    except BaseException:
        say("removing the demo host")
        down()
        raise
    print(f"\nThe demo is ready: {host.url}/catmaid/\n'make demo-down' removes it.", flush=True)


def down() -> None:
    """Remove the demo host, its network and its firewall rules."""
    with hosts.uninterrupted():
        found = hosts.remove_bed(BED)
        hosts.tidy()
        _state().unlink(missing_ok=True)
    say("the demo is gone" if found else "there is no demo host")
