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


def spread(values: list[float], unit: str = "s", digits: int = 2) -> str:
    """The median, with the least and the most."""
    return f"{median(values):.{digits}f} {unit} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratio(what: str, ours: list[float], theirs: list[float], most: float | None = None, part: bool = False) -> Line:
    """Our median as a multiple of theirs, or as a ``part`` of it, and the most that it may be, if it has a goal."""
    value = median(ours) / median(theirs)

    def text(number: float) -> str:
        return f"1/{1 / number:.1f}" if part else f"{number:.2f}"

    if most is None:
        return Line(what, "", text(value))
    return Line(what, "", text(value), f"at most {text(most)}", value <= most)


def multiple(what: str, ours: list[float], theirs: list[float], least: float | None = None) -> Line:
    """How many times their median ours is, and the least that it may be."""
    value = median(ours) / median(theirs)
    goal, met = ("", None) if least is None else (f"at least {least}", value >= least)
    return Line(what, "", f"{value:.2f}", goal, met)


def show(lines: list[Line]) -> None:
    """Print figures in columns."""
    heads = Line("", "median (least to most)", "ratio", "goal")
    rows = [(one.what, one.value, one.ratio, one.goal) for one in (heads, *lines)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row, one in zip(rows, (heads, *lines), strict=True):
        word = {True: "met", False: "NOT met", None: ""}[one.met]
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), word]).rstrip())
