"""How podman is called on this machine: with sudo or without, with which runtime and limits."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from functools import cache
from pathlib import Path

CAP_SYS_RESOURCE = 1 << 24


class BedError(Exception):
    """The testbed can't do its work; the text is one line with the fix."""


def root_words() -> list[str]:
    """What stands before a command that only root may run."""
    return [] if os.geteuid() == 0 else ["sudo"]


@cache
def command() -> tuple[str, ...]:
    """The start of every podman command line here.

    Raises BedError where podman is missing.
    """
    if shutil.which("podman") is None:
        raise BedError("podman is missing: 'make demo' and 'make test' install it; here: apt install podman")
    # Rootless podman needs a delegated cgroup and subordinate ids, which few machines have set up.
    words = [*root_words(), "podman"]
    storage = os.environ.get("CONTAINERS_STORAGE_CONF")
    if storage and os.geteuid() != 0:
        words[1:1] = ["env", f"CONTAINERS_STORAGE_CONF={storage}"]  # sudo drops it
    # crun refuses hybrid cgroups (v1 controllers with v2 beside them), runc takes them.
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists() and shutil.which("runc"):
        words += ["--runtime", "runc"]
    return tuple(words)


@cache
def limits() -> tuple[str, ...]:
    """Limits for containers on a machine that may not raise its own (no CAP_SYS_RESOURCE)."""
    bounding = next(
        int(line.split()[1], 16)
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("CapBnd")
    )
    if bounding & CAP_SYS_RESOURCE:
        return ()
    words: list[str] = []
    # podman lowers its own nproc limit to 32768 before it asks the runtime for more.
    for name, key, most in (("nofile", resource.RLIMIT_NOFILE, 1 << 20), ("nproc", resource.RLIMIT_NPROC, 30000)):
        hard = resource.getrlimit(key)[1]
        value = most if hard == resource.RLIM_INFINITY else min(hard, most)
        words += ["--ulimit", f"{name}={value}:{value}"]
    return tuple(words)


def podman(*words: str, check: bool = True, show: bool = False, stdin: bytes | None = None) -> str:
    """Run podman and return its standard output; ``show`` lets it print instead.

    Raises BedError with podman's last line when it fails and ``check`` is set.
    """
    result = subprocess.run(
        [*command(), *words],
        stdout=None if show else subprocess.PIPE,
        stderr=None if show else subprocess.PIPE,
        input=stdin,
    )
    output = (result.stdout or b"").decode(errors="replace").strip()
    if check and result.returncode:
        errors = (result.stderr or b"").decode(errors="replace").strip().splitlines() or ["no message"]
        raise BedError(f"podman {words[0]} failed: {errors[-1]}")
    return output


def succeeds(*words: str) -> bool:
    """Whether podman ends with 0; prints nothing."""
    return subprocess.run([*command(), *words], capture_output=True).returncode == 0


def check_machine() -> None:
    """Refuse at once, in one line, on a machine where podman can't boot a host."""
    why = ""
    result = subprocess.run([*command(), "info", "--format", "{{.Store.GraphDriverName}}"], capture_output=True)
    if result.returncode:
        lines = result.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        why = lines[-1]
    elif not os.access("/sys/fs/cgroup", os.R_OK) or not any(Path("/sys/fs/cgroup").iterdir()):
        why = "no control groups are mounted below /sys/fs/cgroup"
    if why:
        raise BedError(
            f"podman can't run hosts on this machine ({why}); use a machine or virtual machine with full rights, "
            "or Vagrant"
        )
