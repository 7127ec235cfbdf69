"""What a run shows of its changes: a patch for a terminal, and the same as Markdown for a pull request.

Both are made of what `configuration.compare` found: what is secret is no part of it.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TextIO

import click

from catmaid_deploy.escape import visible
from catmaid_deploy.file_sets import Change, Difference, Link
from catmaid_deploy.finding import Command, Finding
from catmaid_deploy.plan.report import Report

WIDTH = 100
# Characters: GitHub takes 65,536 in a comment. Diffs that would go beyond stay out.
LARGEST_SUMMARY = 60_000
NEW = ("create", "link", "make folder")
COLOURS = {"@": "cyan", "+": "green", "-": "red"}


@dataclass(frozen=True)
class Terminal:
    """Whether there are colours, and the columns for what isn't a line of a file; 0 for a file or a pipe."""

    colours: bool = False
    columns: int = 0

    @staticmethod
    def of(stream: TextIO) -> Terminal:
        """See https://no-color.org for NO_COLOR."""
        if not stream.isatty():
            return Terminal()
        colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return Terminal(colours, shutil.get_terminal_size((WIDTH, 24)).columns)

    def style(self, text: str, style: str) -> str:
        if not self.colours or not style:
            return text
        return click.style(text, bold=True) if style == "bold" else click.style(text, fg=style)

    def rule(self, title: str) -> str:
        return self.style(f"==== {title} ".ljust(min(self.columns or WIDTH, WIDTH), "="), "bold")

    def wrapped(self, line: str, style: str = "", indent: str = "  ") -> Iterator[str]:
        """A line of words, on as many lines as the terminal needs."""
        line = visible(line)
        lines = [line]
        if self.columns:
            lines = textwrap.wrap(
                line, self.columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )
        yield from (self.style(one, style) for one in lines)


def _name(one: Difference) -> str:
    note = one.note if isinstance(one.item, Link) or not one.note else f"({one.note})"
    return " ".join(part for part in (one.what, one.path, note) if part)


def _counts(differences: Iterable[Difference]) -> str:
    """How many paths are new, changed and removed."""
    found = {"changed": 0, "new": 0, "removed": 0}
    for one in differences:
        found["new" if one.what in NEW else "removed" if one.what == "remove" else "changed"] += 1
    return ", ".join(f"{number} {word}" for word, number in found.items() if number)


def _brief(details: list[str], change: Change | None) -> str:
    """What comes of something planned, in one line."""
    if change is None:
        return ", ".join(details)
    return "; ".join(
        part for part in (_counts(change.differences), ", ".join(reason.brief for reason in change.reasons)) if part
    )


def _section(title: str, details: list[str], change: Change | None, diff: bool, to: Terminal) -> Iterator[str]:
    """One thing that is planned: its paths, with their diffs, and why what runs has to take them."""
    yield to.rule(title)
    if change is None:
        for detail in details:
            yield from to.wrapped(detail)
        return
    for one in change.differences:
        yield from to.wrapped(_name(one), "bold")
        for number, line in enumerate(one.lines if diff else ()):
            # The first two name the file.
            yield to.style(visible(line), "bold" if number < 2 else COLOURS.get(line[:1], ""))
        if diff and one.lines:
            yield ""
    for reason in change.reasons:
        yield from to.wrapped(str(reason), "yellow")


def waiting(names: list[str], what: str) -> list[str]:
    """The phrase for programs that wait for something; none where none does."""
    return [f"{', '.join(names)} {'waits' if len(names) == 1 else 'wait'} {what}"] if names else []


def changes(report: Report, to: Terminal) -> str:
    """The sets of files of one host with their diffs."""
    lines: list[str] = []
    for title, change in report.changes.items():
        lines += [*_section(f"{report.host}: {title}", [], change, True, to), ""]
    return "\n".join(lines)


def _summary(report: Report, to: Terminal) -> Iterator[str]:
    """The end of what a dry run says of one host."""
    yield to.rule(f"{report.host}: summary")
    if report.planned:
        yield "dry run, nothing was changed; a deploy would:"
    else:
        yield report.nothing
    for title, details, _ in report.planned:
        brief = _brief(details, report.changes.get(title))
        yield from to.wrapped(f"  {title}" + (f": {brief}" if brief else ""), indent="    ")
    if report.planned and report.wrong:
        yield "and it would fail in the end, since it leaves this as it is:"
    for finding in report.wrong:
        yield from to.wrapped(f"FAULT {finding.line()}", "red")
    for note in report.notes:
        yield from to.wrapped(f"note: {note}")
    for warning in report.warnings:
        # A command is never broken, so that it can be copied.
        command = warning.fix if isinstance(warning.fix, Command) else None
        text = replace(warning, fix="").line() if command else warning.line()
        yield from to.wrapped(f"WARNING {text}", "yellow")
        if command:
            yield f"  fix: {command}"
    for url in report.serves:
        yield f"serves {url}"


def text(reports: list[Report], diff: bool, to: Terminal) -> str:
    """What a dry run says last: each host's changes, service by service, and then the summaries of all hosts."""
    lines: list[str] = [""]
    for report in reports:
        for title, details, _ in report.planned:
            change = report.changes.get(title)
            # What is named without details stands in the summary.
            if change or details:
                lines += [*_section(f"{report.host}: {title}", details, change, diff, to), ""]
    for number, report in enumerate(reports):
        lines += [*([""] if number else []), *_summary(report, to)]
    return "\n".join(lines)


# ---- Markdown ----


def _escaped(text: str) -> str:
    """Text as it is, in GitHub's and GitLab's Markdown, also within a table."""
    text = visible(text.replace("\n", " ")).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#$@!])", r"\\\1", text)


def _fence(lines: Iterable[str]) -> str:
    """A fence that none of the lines ends."""
    longest = max((len(ticks) for line in lines for ticks in re.findall("`+", line)), default=0)
    return "`" * max(3, longest + 1)


def _details(title: str, change: Change) -> str:
    """A set's paths and diffs, folded away."""
    # No Markdown in there.
    blocks = [f"<details><summary>{html.escape(title)}: {_counts(change.differences)}</summary>"]
    for one in change.differences:
        blocks.append(_escaped(_name(one)))
        if one.lines:
            fence = _fence(one.lines)
            blocks.append("\n".join([f"{fence}diff", *map(visible, one.lines), fence]))
    return "\n\n".join([*blocks, "</details>"])


def _host_markdown(report: Report, dry: bool) -> Iterator[str]:
    """The heading and the table of one host, its warnings and notes."""
    yield f"## {_escaped(report.host)}"
    if report.planned:
        rows = [f"| service | {'a deploy would' if dry else 'changes'} |", "|---|---|"]
        for title, details, operation in report.planned:
            brief = _brief(details, report.changes.get(title))
            came = "" if dry else report.state_of(operation)
            rows.append(f"| {_escaped(title)} | {_escaped(came + brief)} |")
        yield "\n".join(rows)
    else:
        yield _escaped(report.nothing.capitalize()) + "."
    said = [f"- **Fault:** {_escaped(one.line())}" for one in report.wrong]
    said += [f"- **Warning:** {_escaped(one.line())}" for one in report.warnings]
    said += [f"- Note: {_escaped(one)}" for one in report.notes]
    said += [f"- Serves {url}" for url in report.serves]
    if report.planned and not dry:
        said.append(f"- {_escaped(report.last_words.capitalize())}")
    yield "\n".join(said)


def markdown(reports: list[Report], faults: list[tuple[str, Finding]], made_for: str, dry: bool, diff: bool) -> str:
    """A summary of a run for people who read it elsewhere. Of diffs as many as LARGEST_SUMMARY has room for."""
    changing = sum(bool(report.planned) for report in reports)
    if faults:
        blocks = [
            "# Refused: nothing was changed on any host",
            "\n".join(f"- {_escaped(fault.line(host))}" for host, fault in faults),
        ]
    elif not reports:
        blocks = ["# The run ended before it had looked at the hosts", "Its output says why."]
    elif any(report.wrong for report in reports):
        blocks = ["# Not all is as described"]
    elif not changing:
        blocks = ["# Nothing to do"]
    else:
        ended = {report.last_words.partition(":")[0] for report in reports if report.planned}
        kind = next((word for word in ("failed", "interrupted", "not done") if word in ended), "done").capitalize()
        kind = "Dry run" if dry else kind
        blocks = [f"# {kind}: changes on {changing} of {len(reports)} host{'s' * (len(reports) > 1)}"]
    blocks.append(_escaped(made_for))
    hosts = {report.host: list(_host_markdown(report, dry)) for report in reports}
    room = LARGEST_SUMMARY - len("\n\n".join([*blocks, *(block for found in hosts.values() for block in found)]))
    for report in reports:
        blocks += hosts[report.host]
        left_out = []
        for title, change in report.changes.items() if diff else ():
            folded = _details(title, change)
            if change.differences and len(folded) < room:
                blocks.append(folded)
                room -= len(folded)
            elif change.differences:
                left_out.append(title)
        if left_out:
            blocks.append(_escaped(f"The diffs of {', '.join(left_out)} are too long for here: see the run's output."))
    return "\n\n".join(blocks) + "\n"
