"""Virtualenvs of their own for programs whose packages don't go together with this project's."""

from __future__ import annotations

import sys
from pathlib import Path

from testbed import images
from testbed.podman import BedError


def python(name: str, requirements: Path, what: str) -> Path:
    """The Python of a virtualenv, which is made once and kept in the testbed's cache."""
    folder = images.cache_dir() / f"{name}-venv"
    stamp, wanted = folder / "made-from", requirements.read_text()

    def is_made() -> bool:
        return stamp.exists() and stamp.read_text() == wanted

    if not is_made():
        with images.lock(f"{name}-venv"):
            if is_made():
                return folder / "bin/python"
            with images.progress(f"a virtualenv with {what} (once)"):
                log = images.cache_dir() / f"{name}-venv.log"
                pip = [str(folder / "bin/pip"), "--disable-pip-version-check", "install", "-r", str(requirements)]
                for words in ([sys.executable, "-m", "venv", "--clear", str(folder)], pip):
                    if images.run_with_ticks(words, log):
                        raise BedError(f"the virtualenv with {what} was not made; the output is in {log}")
                stamp.write_text(wanted)
    return folder / "bin/python"
