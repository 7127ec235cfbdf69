"""Booted hosts: one bed a run, with a network of its own, and nothing left when it closes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType

from testbed import images
from testbed.podman import BedError, command, limits, podman, root_words

LABEL = "io.catmaid-deploy.bed"
OWNER = "io.catmaid-deploy.owner"


def wait_for(what: str, condition: Callable[[], bool], seconds: float, every: float = 0.5) -> None:
    """Wait until ``condition`` holds, asked with pauses of ``every`` seconds; raises BedError after ``seconds``.

    To ask a host is work for its processors: short pauses hold up what is waited for.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise BedError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)


def _begun(number: str) -> str:
    """When a process of this machine began, in ticks since the machine's start; nothing where it has ended."""
    try:
        words = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return words[19] if words[0] not in ("Z", "X") else ""


@dataclass
class BedHost:
    """A booted host. ``name`` is its name on the bed's network and podman's name of it."""

    name: str
    ports: dict[int, int] = field(default_factory=dict)
    # Its first process, by the number that this machine has for it, and when that began.
    _first: tuple[str, str] = ("", "")

    @property
    def ssh_port(self) -> int:
        return self.ports[22]

    @property
    def url(self) -> str:
        """By its name: TLS has none for an address."""
        return f"https://localhost:{self.ports[443]}"

    @property
    def http_url(self) -> str:
        return f"http://localhost:{self.ports[80]}"

    def trust(self, server_name: str = "localhost") -> ssl.SSLContext:
        """A client's context that trusts the certificate which the host signed for a site, and no other."""
        pem = self.run(f"cat /etc/catmaid/tls/self-signed/{server_name}/fullchain.pem")
        return ssl.create_default_context(cadata=pem)

    def ssh_data(self, user: str = "root") -> dict[str, object]:
        """The connection part of a pyinfra inventory for this host."""
        return {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": self.ssh_port,
            "ssh_user": user,
            "ssh_key": str(images.ssh_key()),
            # Every test host has another key at a port used before: the admin's own file stays clean.
            "ssh_known_hosts_file": "/dev/null",
            "ssh_strict_host_key_checking": "off",
        }

    def inside(self, user: str = "root") -> list[str]:
        """What stands before a command that is to run on the host, past SSH, with no more rights than the host has.

        It is what 'podman exec' does, which takes a quarter of a second of the processors for each command.
        """
        number, begun = self._first
        if not begun or _begun(number) != begun:
            number = podman("inspect", "--format", "{{.State.Pid}}", self.name)
            self._first = number, _begun(number)
        if not self._first[1]:
            return [*command(), "exec", "--interactive", "--user", user, self.name]
        status = Path(f"/proc/{number}/status").read_text()
        mask = int(re.findall(r"^CapBnd:\s*(\w+)", status, re.MULTILINE)[0], 16)
        group = user if user == "root" else self.run(f"id -g {user}")
        rights = ",".join(["-all", *(f"+cap_{bit}" for bit in range(mask.bit_length()) if mask >> bit & 1)])
        return [
            *(*root_words(), "nsenter", "--target", number, "--all", "setpriv", f"--bounding-set={rights}"),
            *("--inh-caps=-all", f"--reuid={user}", f"--regid={group}", "--init-groups", "--reset-env"),
            *("env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ]

    def run(self, script: str, check: bool = True, user: str = "root", timeout: float = 120) -> str:
        """Run a shell script on the host, past SSH; returns its standard output.

        Raises BedError with its last error line when it fails and ``check`` is set.
        """
        result = subprocess.run(
            [*self.inside(user), "sh", "-eu"],
            input=script.encode(),
            capture_output=True,
            timeout=timeout,
        )
        output = result.stdout.decode(errors="replace").strip()
        if check and result.returncode:
            error = result.stderr.decode(errors="replace").strip()
            raise BedError(f"{self.name}: {error or output or result.returncode}")
        return output

    def run_privileged(self, script: str) -> None:
        """Run a shell script with rights that the host itself hasn't: to mount."""
        podman("exec", "--privileged", self.name, "sh", "-euc", script)

    def put(self, path: str, data: bytes, mode: str = "644") -> None:
        """Write a file on the host, past SSH."""
        subprocess.run(
            [*self.inside(), "sh", "-c", f'cat > "{path}" && chmod {mode} "{path}"'],
            input=data,
            check=True,
        )

    def is_booted(self) -> bool:
        state = self.run("systemctl is-system-running || true", check=False)
        return state in ("running", "degraded")

    def answers_ssh(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.ssh_port), timeout=2) as connection:
                connection.settimeout(2)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def wait_until_up(self, seconds: float = 180) -> None:
        wait_for(f"{self.name}: boot", self.is_booted, seconds, every=0.2)
        wait_for(f"{self.name}: sshd", self.answers_ssh, 20)

    def reboot(self) -> None:
        """A real reboot by systemd: every process ends, /run is emptied, systemd starts anew."""
        self.shut_down()
        self.start()

    def start(self) -> None:
        podman("start", self.name)
        self.wait_until_up()

    def shut_down(self) -> None:
        # What 'systemctl reboot' does by way of logind, which the images have masked.
        self.run("systemctl start reboot.target --job-mode=replace-irreversibly --no-block")
        wait_for(
            f"{self.name}: shutdown",
            lambda: podman("inspect", "--format", "{{.State.Status}}", self.name) == "exited",
            300,
        )

    def remove(self) -> None:
        podman("rm", "--force", "--time", "0", "--volumes", self.name, check=False)


class Bed:
    """A network and its hosts. A context manager: what it booted is gone when it closes.

    One that is to be kept outlives the process that made it.
    """

    def __init__(self, name: str, keep: bool = False) -> None:
        self.name = f"catmaid-{name}"
        self.hosts: list[BedHost] = []
        self._labels = ["--label", f"{LABEL}={self.name}"]
        if not keep:
            self._labels += ["--label", f"{OWNER}={os.getpid()}"]

    def __enter__(self) -> Bed:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def open(self) -> None:
        podman("network", "create", *self._labels, self.name)

    def boot(
        self,
        image: str,
        name: str,
        http_port: int | None = None,
        extra: tuple[str, ...] = (),
        wait: bool = True,
        hostname: str | None = None,
        https_port: int | None = None,
        aliases: tuple[str, ...] = (),
    ) -> BedHost:
        """Boot a host from an image; ``http_port`` is the port on this machine, any free one by default.

        The other hosts of the bed reach it as ``name`` and as each of ``aliases``, such as tracing.test.
        RabbitMQ knows its data by the host's name: an image taken of a host needs the ``hostname`` of that.
        """
        host = BedHost(f"{self.name}-{name}")
        self.hosts.append(host)
        words = [
            "run",
            "--detach",
            "--systemd=always",
            "--pull=never",
            "--name",
            host.name,
            "--hostname",
            hostname or name,
        ]
        words += ["--network", self.name, *self._labels]
        words += [word for alias in (name, *aliases) for word in ("--network-alias", alias)]
        for outer, inner in (("", 22), (http_port or "", 80), (https_port or "", 443)):
            words += ["--publish", f"127.0.0.1:{outer}:{inner}"]
        podman(*words, *limits(), *extra, image)
        published = json.loads(podman("inspect", "--format", "{{json .NetworkSettings.Ports}}", host.name))
        host.ports = {int(k.split("/")[0]): int(v[0]["HostPort"]) for k, v in published.items() if v}
        if wait:
            host.wait_until_up()
        return host

    def close(self) -> None:
        remove_bed(self.name)
        self.hosts.clear()


def remove_bed(name: str) -> bool:
    """Remove the hosts and the network of one bed; says whether there was anything."""
    with uninterrupted():
        found = podman("ps", "--all", "--quiet", "--filter", f"label={LABEL}={name}").split()
        if found:
            podman("rm", "--force", "--time", "0", "--volumes", *found, check=False)
        networks = podman("network", "ls", "--quiet", "--filter", f"label={LABEL}={name}").split()
        if networks:
            podman("network", "rm", "--force", *networks, check=False)
        return bool(found or networks)


def remove_orphans() -> None:
    """Remove the beds of runs that died without a chance to clean up (SIGKILL, power)."""
    for line in podman(
        "network", "ls", "--filter", f"label={LABEL}", "--format", "{{.Name}} {{.Labels}}", check=False
    ).splitlines():
        name, _, labels = line.partition(" ")
        owner = next((p.split("=", 1)[1] for p in labels.split(",") if p.startswith(f"{OWNER}=")), "")
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            remove_bed(name)


def remove_beds(prefix: str) -> None:
    """Remove all beds whose name starts so: those of a test run's workers."""
    for name in podman("network", "ls", "--filter", f"label={LABEL}", "--format", "{{.Name}}").split():
        if name.startswith(prefix):
            remove_bed(name)


def tidy() -> None:
    """Take out what podman leaves on this machine after its last container, of any owner, is gone."""
    namespaces = Path("/run/netns")
    # The second look is for containers of another storage, which podman doesn't list.
    if podman("ps", "--all", "--quiet", check=False) or (namespaces.exists() and any(namespaces.iterdir())):
        return
    _forget_firewall()
    if f" {namespaces} " in Path("/proc/mounts").read_text():
        subprocess.run([*root_words(), "umount", str(namespaces)], capture_output=True)


def _forget_firewall() -> None:
    """netavark leaves its empty chains behind when the last container goes; take them out."""
    for tool in ("iptables", "ip6tables"):
        for table in ("filter", "nat"):
            saved = subprocess.run([*root_words(), f"{tool}-save", "-t", table], capture_output=True, text=True)
            if saved.returncode:
                continue
            lines = saved.stdout.splitlines()
            ours = [line.split()[0][1:] for line in lines if line.startswith((":NETAVARK", ":CNI"))]
            rules = [line for line in lines if line.startswith("-A ")]
            jumps = [r for r in rules if any(f"-j {chain}" in r for chain in ours)]
            for rule in jumps:
                subprocess.run([*root_words(), tool, "-t", table, "-D", *shlex.split(rule)[1:]], capture_output=True)
            for action in ("-F", "-X"):
                for chain in ours:
                    subprocess.run([*root_words(), tool, "-t", table, action, chain], capture_output=True)


def forwarded_ports() -> set[int]:
    """Ports of this machine that its firewall hands on: also for a host that died without podman's clean-up."""
    saved = subprocess.run([*root_words(), "iptables-save", "-t", "nat"], capture_output=True, text=True)
    return {int(port) for port in re.findall(r"--dport (\d+) .*-j DNAT", saved.stdout)}


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A second Ctrl-C must not cut the clean-up that the first one began."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def exit_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into an exit that runs the clean-up, as Ctrl-C does."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
