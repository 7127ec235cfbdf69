"""How the bench prints its figures."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Line:
    """One figure. ``met`` is None for one that has no goal of its own."""

    what: str
    value: str
    ratio: str = ""
    goal: str = ""
    met: bool | None = None


def spread(values: list[float]) -> str:
    """The median, with the least and the most."""
    return f"{median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def ratio(what: str, ours: list[float], theirs: list[float], most: float, part: bool = False) -> Line:
    """Our median as a multiple of theirs, or as a ``part`` of it, and the most that it may be."""
    value = median(ours) / median(theirs)

    def text(number: float) -> str:
        return f"1/{1 / number:.1f}" if part else f"{number:.2f}"

    return Line(what, "", text(value), f"at most {text(most)}", value <= most)


def show(lines: list[Line]) -> None:
    """Print figures in columns."""
    heads = Line("", "median (least to most)", "ratio", "goal")
    rows = [(one.what, one.value, one.ratio, one.goal) for one in (heads, *lines)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row, one in zip(rows, (heads, *lines), strict=True):
        word = {True: "met", False: "NOT met", None: ""}[one.met]
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), word]).rstrip())
