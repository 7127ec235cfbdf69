"""How pyinfra was called, so that a fix can be pasted in the same form."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def pyinfra() -> str:
    """pyinfra as it can be typed again: by its name where the shell finds that one, else as it was typed."""
    word, by_name = Path(sys.argv[0]), shutil.which("pyinfra")
    if word.name != "pyinfra" or not word.exists() or (by_name and word.samefile(by_name)):
        return "pyinfra"
    return shlex.quote(str(word))
