"""``make test-vagrant``: the Vagrantfile and inventories/vagrant.py on a machine by LXC, which needs no hypervisor."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed import demo, hosts, images
from testbed.images import ROOT, progress, say
from testbed.podman import BedError, podman, root_words
from testbed.run import PYINFRA, Run

INVENTORY = "inventories/vagrant.py"
# The name of the folder begins LXC's name of the machine, by which a run finds what an earlier one left.
NAME = "catmaid-deploy-test"
BRIDGE = Path("/sys/class/net/lxcbr0")
LXC_NET = "/usr/libexec/lxc/lxc-net"

# vagrant-lxc has two names for a box's configuration. With this one, its first, /etc/lxc/default.conf isn't read:
# Debian's asks for AppArmor, which not every kernel has.
LXC_CONF = """\
lxc.include = /usr/share/lxc/config/common.conf
lxc.apparmor.profile = unconfined
lxc.net.0.type = veth
lxc.net.0.link = lxcbr0
lxc.net.0.flags = up
"""


def _folder() -> Path:
    """Vagrant's working folder, with its boxes and machine: those of the user stay as they are."""
    return images.cache_dir() / NAME


def _environment() -> dict[str, str]:
    """For Vagrant and for pyinfra, which calls it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("VAGRANT_")}
    return own | {
        "VAGRANT_CWD": str(_folder()),
        "VAGRANT_HOME": str(_folder() / "home"),
        "VAGRANT_DEFAULT_PROVIDER": "lxc",
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }


def _root(*words: str, check: bool = True) -> str:
    """Run a program as root and return its standard output.

    Raises BedError with its last line when it fails and ``check`` is set.
    """
    done = subprocess.run([*root_words(), *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if check and done.returncode:
        raise BedError(f"{' '.join(words)}: {([*done.stderr.strip().splitlines()] or ['failed'])[-1]}")
    return done.stdout


def _vagrant(*words: str) -> None:
    """Run Vagrant with its output in a file. Raises BedError with its last lines when it fails."""
    log = images.cache_dir() / "vagrant.log"
    if images.run_with_ticks(["vagrant", *words], log, _environment()):
        last = "\n    ".join(log.read_text(errors="replace").strip().splitlines()[-20:])
        raise BedError(f"vagrant {words[0]} failed; the output is in {log}, and ends with\n    {last}")


def _on_machine(script: str) -> str:
    """Run a shell script on the machine as root; returns its standard output."""
    words = ["vagrant", "ssh", "--no-tty", "--command", f"sudo sh -euc '{script}'"]
    done = subprocess.run(
        words, env=_environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )
    if done.returncode:
        raise BedError(f"vagrant ssh: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _make_box() -> None:
    """Build the box where the Vagrantfile looks for it; it is kept, and built again when its recipe changed."""
    with images.lock("bookworm"):
        image = images.vagrant("bookworm")
        box = images.cache_dir() / "bookworm-lxc.box"
        stamp, wanted = box.with_suffix(".made-from"), f"{image}\n{LXC_CONF}"
        if box.exists() and stamp.exists() and stamp.read_text() == wanted:
            return
        with tempfile.TemporaryDirectory(prefix="catmaid-deploy-", dir="/var/tmp") as name:
            folder = Path(name)
            (folder / "metadata.json").write_text(json.dumps({"provider": "lxc", "version": "1.0.0"}))
            (folder / "lxc.conf").write_text(LXC_CONF)
            try:
                root = podman("image", "mount", image)
                # vagrant-lxc takes two components off each name.
                words = ["tar", "-C", root, "--numeric-owner", "--xattrs", "--xattrs-include=*", "-I", "gzip -1"]
                words += ["--transform", r"flags=rh;s,^\.,./rootfs,", "-cf", str(folder / "rootfs.tar.gz"), "."]
                _root(*words)
            finally:
                podman("image", "unmount", image, check=False)
            with tarfile.open(folder / "made.box", "w") as archive:
                for part in ("metadata.json", "lxc.conf", "rootfs.tar.gz"):
                    archive.add(folder / part, part)
            stamp.unlink(missing_ok=True)
            shutil.move(folder / "made.box", box)
            stamp.write_text(wanted)


def _bring_bridge_up() -> None:
    """Start LXC's network, which Debian's lxc-net does where systemd runs."""
    if not BRIDGE.exists():
        (_folder() / "bridge").touch()
        _root(LXC_NET, "start")


def _clean_up() -> bool:
    """Remove the machine, its box and the bridge, as far as a test made them; says whether there was anything."""
    folder = _folder()
    with hosts.uninterrupted():
        if not folder.exists():
            return False
        if (folder / "Vagrantfile").exists():
            subprocess.run(
                ["vagrant", "destroy", "--force"], env=_environment(), capture_output=True, stdin=subprocess.DEVNULL
            )
        # One whose making was cut, which Vagrant doesn't know yet.
        for machine in _root("lxc-ls", "-1", check=False).split():
            if machine.startswith(f"{NAME}_"):
                _root("lxc-destroy", "--force", "--name", machine, check=False)
        if (folder / "bridge").exists():
            _root(LXC_NET, "stop", check=False)
        shutil.rmtree(folder)
    return True


@contextmanager
def _working_folder() -> Iterator[None]:
    """What Vagrant needs of the checkout, beside the place for its machine; all gone afterwards."""
    if _clean_up():
        say("removed what an earlier test had left")
    try:
        _folder().mkdir()
        for name in ("Vagrantfile", "tests"):
            (_folder() / name).symlink_to(ROOT / name)
        yield
    finally:
        with progress("vagrant destroy"):
            _clean_up()


def _changes() -> list[str]:
    """Deploy again; returns the names of the operations that changed something."""
    done = subprocess.run(
        [PYINFRA, "--json", "-y", INVENTORY, "deploy.py"],
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=900,
    )
    if done.returncode:
        raise BedError(f"the second deploy failed: {done.stderr.strip()}")
    return Run(0, json.loads(done.stdout), done.stderr).changed


def _running() -> bool:
    return _on_machine("supervisorctl status || true").count("RUNNING") == 4


def _verify() -> None:
    if demo.pyinfra(INVENTORY, "runbooks/verify.py", environment=_environment()):
        raise BedError("the Vagrant machine isn't well: the faults above tell why")


def test() -> None:
    """Vagrant's whole life: up, deploy, a second run without a change, reboot, destroy. Raises BedError."""
    start = time.monotonic()
    with images.lock("vagrant"), _working_folder():
        with progress("the box for LXC"):
            _make_box()
        _bring_bridge_up()
        with progress("vagrant up"):
            _vagrant("up", "--provider=lxc")
        with progress(f"pyinfra {INVENTORY} deploy.py"):
            if demo.pyinfra(INVENTORY, "deploy.py", "-y", environment=_environment()):
                raise BedError("the deploy to the Vagrant machine failed: its last lines above tell why")
        _verify()
        with progress("the deploy again"):
            if changed := _changes():
                raise BedError(f"the second run changed something: {', '.join(changed)}")
        with progress("vagrant reload: a reboot"):
            boot = _on_machine("ps -o lstart= 1")
            _vagrant("reload")
            if _on_machine("ps -o lstart= 1") == boot:
                raise BedError("vagrant reload did not boot the machine again")
        hosts.wait_for("all programs after the reboot", _running, 60, every=1)
        _verify()
    say(f"the Vagrant run works: {time.monotonic() - start:.0f} s in all")
