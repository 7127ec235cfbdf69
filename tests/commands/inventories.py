"""Inventories as pyinfra loads them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def debug_inventory(path: Path, *options: str, cwd: Path = ROOT) -> str:
    """What ``pyinfra PATH debug-inventory`` prints: the data of each host."""
    # A process of its own: pyinfra's command line replaces what it needs of Python's sockets.
    words = [sys.executable, "-m", "pyinfra", *options, str(path), "debug-inventory"]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout if "--json" in options else done.stdout + done.stderr
