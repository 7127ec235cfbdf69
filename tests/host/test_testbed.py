"""The testbed cleans up: after a demo, and after Ctrl-C at any moment of one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import hosts, images
from testbed.podman import command, podman, root_words

DEMO = f"demo-{os.getpid()}"


def _lines(*words: str) -> set[str]:
    return set(subprocess.run([*root_words(), *words], capture_output=True, text=True).stdout.splitlines())


class Traces:
    """What the demo of this test has on the machine; others may run beside it."""

    def __init__(self) -> None:
        self.before = self._all()

    def _all(self) -> set[str]:
        found = {f"folder {p}" for where in ("/tmp", "/var/tmp") for p in Path(where).glob("catmaid-deploy-*/root")}
        found |= {
            f"rule {line}" for tool in ("iptables-save", "ip6tables-save") for line in _lines(tool) if DEMO in line
        }
        found |= {
            f"container {line}" for line in _lines(*command(), "ps", "-a", "--format", "{{.Names}}") if DEMO in line
        }
        listed = _lines(*command(), "ps", "-a", "--external", "--format", "{{.Names}} {{.Status}}")
        found |= {f"build container {line}" for line in listed if line.lower().endswith("storage")}
        found |= {f"network {line}" for line in _lines(*command(), "network", "ls", "-q") if DEMO in line}
        found |= {f"mount {line}" for line in Path("/proc/mounts").read_text().splitlines() if "catmaid-deploy" in line}
        return found | {f"process {line}" for line in self._processes()}

    @staticmethod
    def _processes() -> Iterator[str]:
        """Those that have the demo's name in their environment, as all that it started have."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"CATMAID_DEMO={DEMO}".encode() in (folder / "environ").read_bytes() and folder.name != str(
                    os.getpid()
                ):
                    yield f"{folder.name} {(folder / 'cmdline').read_bytes().replace(bytes(1), b' ').decode()}"
            except OSError:
                continue

    def left(self) -> set[str]:
        return self._all() - self.before


def _environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "PYTEST"))}
    return kept | {"CATMAID_DEMO": DEMO} | more


def _interrupt_demo(tmp_path: Path, moment: str, seconds: float, **environment: str) -> str:
    """Run 'make demo', press Ctrl-C when its output has ``moment`` (plus some seconds), return the output."""
    log = tmp_path / "demo.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["make", "demo"],
            cwd=images.ROOT,
            env=_environment(**environment),
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            # Ignored in what a shell runs in the background, and handed on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            end = time.monotonic() + 300
            while not re.search(moment, log.read_text(errors="replace")):
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < end, log.read_text(errors="replace")
                time.sleep(0.1)
            time.sleep(seconds)
            assert process.poll() is None, log.read_text(errors="replace")
            # The terminal sends Ctrl-C to all of them.
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=120)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
    return log.read_text(errors="replace")


@pytest.mark.long
def test_ctrl_c_during_the_deploy(tmp_path: Path) -> None:
    traces = Traces()
    with images.lock("bookworm"):
        images.host("bookworm")
    text = _interrupt_demo(tmp_path, "Starting operation: Install packages", 3)
    assert "removing the demo host" in text
    assert "Traceback" not in text
    assert traces.left() == set()


@pytest.fixture
def empty_store(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A podman storage without any image, so that a demo builds them all."""
    root = Path("/var/tmp") / f"catmaid-store-{os.getpid()}"
    config = tmp_path / "storage.conf"
    driver = podman("info", "--format", "{{.Store.GraphDriverName}}")
    config.write_text(f'[storage]\ndriver = "{driver}"\ngraphroot = "{root}/graph"\nrunroot = "{root}/run"\n')
    yield {"CONTAINERS_STORAGE_CONF": str(config), "XDG_CACHE_HOME": str(tmp_path)}
    left = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if str(root) in line]
    for mount in sorted(left, reverse=True):
        subprocess.run([*root_words(), "umount", mount], check=True)
    subprocess.run([*root_words(), "rm", "-rf", "--one-file-system", str(root)], check=True)
    # Its own driver's mount of itself is no trace of a demo.
    assert [m for m in left if not m.endswith(("/overlay", "/graph"))] == []


@pytest.mark.long
def test_ctrl_c_during_debootstrap(tmp_path: Path, empty_store: dict[str, str]) -> None:
    traces = Traces()
    text = _interrupt_demo(tmp_path, "base system by debootstrap", 6, **empty_store)
    assert "interrupted" in text
    assert "Traceback" not in text
    assert traces.left() == set()


@pytest.mark.long
def test_ctrl_c_during_an_image_build(tmp_path: Path, empty_store: dict[str, str]) -> None:
    with images.lock("bookworm"):
        base = images.base("bookworm")
    words = [sys.executable, "-c", "import sys; from testbed.podman import command; print(*command())"]
    prefix = subprocess.run(words, cwd=images.ROOT, capture_output=True, text=True, check=True).stdout.split()
    save = subprocess.Popen([*command(), "save", base], stdout=subprocess.PIPE)
    load = subprocess.run(
        [*prefix, "load", "-q"], stdin=save.stdout, env=_environment(**empty_store), capture_output=True
    )
    assert (save.wait(), load.returncode) == (0, 0), load.stderr
    traces = Traces()
    text = _interrupt_demo(tmp_path, "image 'host'", 1, **empty_store)
    assert "interrupted" in text
    assert "Traceback" not in text
    assert traces.left() == set()
    containers = subprocess.run(
        [*prefix, "ps", "-a", "--external", "-q"], env=_environment(**empty_store), capture_output=True, text=True
    )
    assert containers.stdout == ""


def test_a_demo_and_its_end(tmp_path: Path) -> None:
    """The newcomer's two commands; the page answers in between, and nothing is left after them."""
    traces = Traces()
    try:
        up = subprocess.run(["make", "demo"], cwd=images.ROOT, env=_environment(), capture_output=True, text=True)
        assert up.returncode == 0, up.stdout + up.stderr
        for check in ("WebSocket of catmaid ", "task of catmaid ", "missing tile of demo ", "from here to localhost "):
            assert re.search(rf"ok +{check}", up.stdout), up.stdout
        assert "all is well" in up.stdout
        ready = re.search(r"The demo is ready: https://localhost:(\d+)/catmaid/\n", up.stdout)
        assert ready
        # Another demo takes other ports, also while nothing listens at these.
        assert int(ready[1]) in hosts.forwarded_ports()
        # Its container at least, or the look for traces sees nothing.
        assert any(line.startswith("container ") for line in traces.left())
        again = subprocess.run(["make", "demo"], cwd=images.ROOT, env=_environment(), capture_output=True, text=True)
        assert again.returncode == 0, again.stdout + again.stderr
        assert "runs already" in again.stderr
    finally:
        # Also where one of these is wrong: a demo outlives its process.
        down = subprocess.run(
            ["make", "demo-down"], cwd=images.ROOT, env=_environment(), capture_output=True, text=True
        )
    assert down.returncode == 0
    assert traces.left() == set()


def test_a_machine_that_cannot_boot_hosts_is_told_so(tmp_path: Path) -> None:
    broken = tmp_path / "podman"
    broken.write_text("#!/bin/sh\necho 'Error: cannot clone: Operation not permitted' >&2\nexit 125\n")
    broken.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    run = subprocess.run(["make", "demo"], cwd=images.ROOT, env=_environment(PATH=path), capture_output=True, text=True)
    assert run.returncode != 0
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("-->")]
    assert "Operation not permitted" in line
    assert "Vagrant" in line
