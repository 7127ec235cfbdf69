"""The scripts for hosts: each a part of `catmaid_deploy.on_host` with the parts that it imports, as one text.

A host has Python and nothing of this project, so a part's imports of others say what goes along, and are left out.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent / "on_host"
_IMPORT = re.compile(r"^from catmaid_deploy\.on_host\.([\w.]+) import (?:\([^)]*\)|.*)$", re.MULTILINE)
# By which a part that is a script of its own answers.
_ANSWER = re.compile(r"\nanswer\(\w+\)\n\Z")
_LEXER = "from crossplane.lexer import _lex_file_object\n"


@cache
def joined(name: str) -> str:
    """A part as a script, after all that it needs; ``facts.survey`` for example."""
    needed: dict[str, str] = {}
    _collect(name, needed)
    *others, own = needed.values()
    return "\n".join([*(_ANSWER.sub("\n", text) for text in others), own])


def _collect(name: str, found: dict[str, str]) -> None:
    """Add a part, after those that it imports."""
    if name in found:
        return
    text = (FOLDER / f"{name.replace('.', '/')}.py").read_text()
    for needed in _IMPORT.findall(text):
        _collect(needed, found)
    text = _IMPORT.sub("", text)
    found[name] = text.replace(_LEXER, _lexer()) if _LEXER in text else text


@cache
def _lexer() -> str:
    """crossplane's lexer for nginx's files, without its imports. Read as text: to import its tables takes long."""
    spec = find_spec("crossplane")
    folder = Path(spec.origin if spec and spec.origin else "").parent
    text = re.sub(r"^# -.*$|^from \..*$|^import io$", "", (folder / "lexer.py").read_text(), flags=re.MULTILINE)
    helper = re.search(
        r"^def fix_pep_479.*?^    return \w+$", (folder / "compat.py").read_text(), re.DOTALL | re.MULTILINE
    )
    assert helper, "another crossplane than requirements.txt names"
    return f"import functools\n{helper[0]}\n{text}"
