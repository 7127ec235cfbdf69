"""Templates laid out as on the host: ``etc/nginx/nginx.conf`` comes from ``templates/etc/nginx/nginx.conf.j2``."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import jinja2

FOLDER = Path(__file__).resolve().parent / "templates"
# What each run would make anew: half a tenth of a second for templates. Not beside this code: pip would leave it there,
# and Python take what is left for the package.
KEPT = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "catmaid-deploy"


def regex(text: str) -> str:
    """A regular expression, as nginx reads them, for exactly this text."""
    return re.escape(text).replace("\\-", "-")


def lines(text: str, width: int) -> str:
    """The lines of a text, moved to the right; nothing of an empty one."""
    return "".join(f"{' ' * width}{line}\n" for line in text.splitlines() if line.strip())


def can_keep() -> bool:
    """Whether something may be left in KEPT, which is made if it is missing."""
    if sys.dont_write_bytecode:
        return False
    try:
        KEPT.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(KEPT, os.W_OK) and KEPT.stat().st_uid == os.getuid()


def _compiled() -> jinja2.BytecodeCache:
    """Compiled templates, which hold for exactly these options and this Jinja."""
    made_by = digest(Path(__file__).read_text(), version("jinja2"))
    return jinja2.FileSystemBytecodeCache(str(KEPT), f"templates-{made_by}-%s.cache")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        bytecode_cache=_compiled() if can_keep() else None,
        # Configuration files are not HTML; the notices for users are.
        autoescape=jinja2.select_autoescape(["html.j2"], default_for_string=False),
    )
    environment.filters["shell"] = shlex.quote
    environment.filters["regex"] = regex
    environment.filters["lines"] = lines
    environment.filters["python"] = repr
    return environment


def render(template: str, **values: object) -> str:
    """The text of a template below ``templates/``, with a first line that says where it comes from.

    Raises jinja2.UndefinedError for a value that isn't given.
    """
    source = f"Made by catmaid-deploy from templates/{template}.j2; a change made here is undone by the next deploy."
    return _environment().get_template(f"{template}.j2").render(source=source, **values)


def digest(*texts: str) -> str:
    """A short name for exactly these texts; tells which configuration a running process has."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
