"""Templates laid out as on the host: ``etc/nginx/nginx.conf`` comes from ``templates/etc/nginx/nginx.conf.j2``."""

from __future__ import annotations

import hashlib
import shlex
from functools import cache
from pathlib import Path

import jinja2

FOLDER = Path(__file__).resolve().parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (configuration files, not HTML)
    )
    environment.filters["shell"] = shlex.quote
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
