"""What the runbooks print: tables that fit a terminal of 100 columns, or JSON for machines."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from catmaid_deploy.escape import visible
from catmaid_deploy.finding import Command, Finding

WIDTH = 100
# pyinfra's own option: with it, runbooks print one JSON document on standard output, and nothing else there.
JSON = "--json" in sys.argv
COLOURS = {"fault": "red", "warning": "yellow", "ok": "green"}


def echo(text: str = "", **style: Any) -> None:
    """Print one line, whatever is in it."""
    text = visible(text)
    click.echo(click.style(text, **style) if style else text, color=False if "NO_COLOR" in os.environ else None)


def table(rows: Sequence[Sequence[str]], indent: int = 4) -> list[str]:
    """Rows in columns as wide as they need; the last one is cut at the terminal's edge."""
    if not rows:
        return []
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [
        " " * indent + (line if len(line) <= WIDTH - indent else line[: WIDTH - indent - 3] + "...") for line in lines
    ]


def finding(found: Finding) -> None:
    """One thing that is wrong: what, what follows from it, and on a line of its own what to do."""
    indent = " " * 11
    first, *rest = textwrap.wrap(
        f"  {found.level.upper():<7}  {found.place}: {found.what}",
        WIDTH,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    echo(first, fg=COLOURS[found.level])
    for line in rest:
        echo(line)
    if found.so:
        echo(f"{indent}so: {', '.join(found.so)}")
    if isinstance(found.fix, Command):
        # Never broken, so that it can be copied.
        where = f" on {found.fix.host}" if found.fix.host else ""
        echo(f"{indent}fix{where}: {found.fix.text}")
    elif found.fix:
        for line in textwrap.wrap(f"{indent}fix: {found.fix}", WIDTH, subsequent_indent=indent, break_on_hyphens=False):
            echo(line)


def count(faults: Sequence[object]) -> str:
    """How many faults there are, in words."""
    return f"{len(faults)} fault{'s' * (len(faults) > 1)}" if faults else "all is well"


def complain(line: str) -> None:
    """A line of what can't be done, on standard error."""
    click.echo(f"--> {visible(line)}", err=True)


def size(number: float) -> str:
    """Bytes as one reads them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024:
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def age(seconds: float | None) -> str:
    """How long ago, in the two largest units."""
    if seconds is None:
        return "-"
    seconds = int(seconds)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def end(document: Any, code: int) -> NoReturn:
    """End the run before pyinfra has anything to do, with this exit code; as JSON if that was asked for."""
    if JSON:
        click.echo(json.dumps(document, indent=2))
    sys.stdout.flush()
    raise SystemExit(code)
