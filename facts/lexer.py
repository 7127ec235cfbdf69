"""What a script for the host takes along of a library, as text: the host has only Python."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def lexer() -> str:
    """crossplane's lexer for nginx's files, without its imports. Read as text: to import its tables takes long."""
    spec = find_spec("crossplane")
    folder = Path(spec.origin if spec and spec.origin else "").parent
    text = re.sub(r"^# -.*$|^from \..*$|^import io$", "", (folder / "lexer.py").read_text(), flags=re.MULTILINE)
    helper = re.search(
        r"^def fix_pep_479.*?^    return \w+$", (folder / "compat.py").read_text(), re.DOTALL | re.MULTILINE
    )
    assert helper, "another crossplane than requirements.txt names"
    return f"import functools\n{helper[0]}\n{text}"


def with_lexer(text: str) -> str:
    """A part of a script with the library's text in the place of its import."""
    return text.replace("from crossplane.lexer import _lex_file_object\n", lexer())
