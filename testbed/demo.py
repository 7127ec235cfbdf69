"""``make demo``: a bare host, a deploy over SSH, and the proof that it works."""

from __future__ import annotations

import io
import json
import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image

from testbed import hosts, images, repository
from testbed.images import ROOT, say
from testbed.podman import BedError, podman

# Another name gives a second demo beside the first: the tests' own.
NAME = os.environ.get("CATMAID_DEMO", "demo")
BED = f"catmaid-{NAME}"
INVENTORY = "inventories/demo.py"
FIRST_PORTS = (8080, 8443)
TILES = "/data/demo"


def _state() -> Path:
    return images.cache_dir() / f"{NAME}.json"


def _known(key: str) -> Any:
    """What 'make demo' noted of its host. Ends the run with one line when there is none."""
    try:
        return json.loads(_state().read_text())[key]
    except (OSError, ValueError, KeyError):
        sys.exit("--> demo: there is no demo host on this machine: boot one with 'make demo'")


def connection() -> dict[str, object]:
    """How inventories/demo.py reaches the demo host."""
    found: dict[str, object] = _known("ssh")
    return found


def https_port() -> int:
    """The port of this machine that leads to the host's 443."""
    return int(_known("ports")["443"])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _boot(bed: hosts.Bed, image: str) -> hosts.BedHost:
    """Boot the demo host at the first free ports: those that looked free may be taken a moment later."""
    # Where nobody listens the rules of a host that was killed may still take what comes.
    forwarded = hosts.forwarded_ports()
    for number in range(50):
        http, https = (port + number for port in FIRST_PORTS)
        if {http, https} & forwarded or not (_is_free(http) and _is_free(https)):
            continue
        try:
            return bed.boot(image, "host", http_port=http, https_port=https)
        except BedError as error:
            if "address already in use" not in str(error):
                raise
            bed.hosts.pop().remove()
    raise BedError(
        f"no ports from {FIRST_PORTS[1]} to {FIRST_PORTS[1] + 49} are free here: stop one of the programs there"
    )


def _tile(row: int, column: int) -> bytes:
    """A piece of a picture that goes on in the next tile: rings around a middle, as in a slice of wood."""
    size, image = 256, Image.new("L", (256, 256))
    pixels = [
        int(140 + 60 * math.sin(math.hypot(column * size + x - 560, row * size + y - 330) / 9 + math.sin((x + y) / 40)))
        for y in range(size)
        for x in range(size)
    ]
    image.putdata(pixels)
    data = io.BytesIO()
    image.save(data, "JPEG")
    return data.getvalue()


def _prepare(host: hosts.BedHost) -> None:
    """What a lab would have on its server: the code's repository, and tiles, of which one is missing."""
    repository.put(host, {"1.0": {}})
    host.run(f"mkdir -p {TILES}/0")
    for row in range(3):
        for column in range(4):
            if (row, column) != (2, 3):
                host.put(f"{TILES}/0/{row}_{column}_0.jpg", _tile(row, column))


def _running() -> hosts.BedHost | None:
    """The demo host of an earlier call, if it still runs."""
    try:
        ports = json.loads(_state().read_text())["ports"]
    except (OSError, ValueError, KeyError):
        return None
    host = hosts.BedHost(f"{BED}-host", {int(k): v for k, v in ports.items()})
    status = podman("inspect", "--format", "{{.State.Status}}", host.name, check=False)
    return host if status == "running" and host.answers_ssh() else None


def pyinfra(inventory: str, file: str, *options: str, environment: dict[str, str] | None = None) -> int:
    """Run pyinfra as a user would, with a sign of life where one operation takes long; returns its exit code."""
    say(" ".join(["pyinfra", inventory, file, *options]))
    words = [str(Path(sys.executable).parent / "pyinfra"), *options, inventory, file]
    process = subprocess.Popen(words, cwd=ROOT, env={**(environment or os.environ), "PYTHONPATH": str(ROOT)})
    start = time.monotonic()
    try:
        while True:
            try:
                return process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                say(f"    it runs for {time.monotonic() - start:.0f} s")
    except BaseException:
        process.terminate()
        process.wait()
        raise


def up() -> None:
    """Boot, deploy, verify, print the URL. What was begun is removed when it fails or is interrupted."""
    host = _running()
    try:
        if host is None:
            with images.lock("bookworm"):
                image = images.host("bookworm")
            hosts.remove_bed(BED)
            bed = hosts.Bed(NAME, keep=True)
            with images.progress("booting a bare Debian 12 host with systemd and sshd"):
                bed.open()
                host = _boot(bed, image)
            with images.progress("a repository and a set of tiles"):
                _prepare(host)
            _state().write_text(json.dumps({"ssh": host.ssh_data(), "ports": host.ports}))
        else:
            say("the demo host runs already: deploying to it again")
        if pyinfra(INVENTORY, "deploy.py", "-y"):
            raise BedError("the deploy to the demo host failed: its last lines above tell why")
        if pyinfra(INVENTORY, "runbooks/verify.py"):
            raise BedError("the demo host isn't well: the faults above tell why")
    except BaseException:
        say("removing the demo host")
        down()
        raise
    ssh = f"ssh -p {host.ssh_port} -i {images.ssh_key()} root@127.0.0.1"
    print(
        f"""
The demo is ready: {host.url}/catmaid/
another instance:  {host.url}/tracing/fafb/v14/
Your browser warns of its certificate, which the host signed itself.
Sign in as alice; the host made her password:
    {ssh} cat /etc/catmaid/secrets/catmaid.administrator
How it is, and its maintenance page, on and off:
    .venv/bin/pyinfra inventories/demo.py runbooks/status.py
    .venv/bin/pyinfra inventories/demo.py runbooks/maintenance.py -y --data maintenance=on
'make demo-down' removes the demo.""",
        flush=True,
    )


def down() -> None:
    """Remove the demo host, its network and its firewall rules."""
    with hosts.uninterrupted():
        found = hosts.remove_bed(BED)
        hosts.tidy()
        _state().unlink(missing_ok=True)
    say("the demo is gone" if found else "there is no demo host")
