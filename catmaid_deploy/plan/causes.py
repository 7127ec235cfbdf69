"""What depends on what on a host: if many things fail at once, which is the cause and which are consequences.

A part's name is the place of its findings: of a stopped program and a page that answers 502 the page is the
consequence, since the needs of the page have the program in them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from catmaid_deploy.finding import Finding
from catmaid_deploy.plan.task import Needs

# The place of what differs in a set of files.
CONFIGURATION = "configuration of "
# What keeps a service from starting: its files as a whole, or one of somebody's that it names.
FILES, FILE = "'s files", "'s file "


def cause(place: str, at_fault: Collection[str], graph: Needs) -> str | None:
    """The part that is at fault, and needs nothing that is, of all that ``place`` needs, with itself as the last."""
    for need in graph.get(place, ()):
        if found := cause(need, at_fault, graph):
            return found
    return place if place in at_fault else None


def _kept_down(at_fault: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each service that doesn't run the files that it refuses: one that runs needs them at its next start alone."""
    found: dict[str, tuple[str, ...]] = {}
    for place in sorted(at_fault):
        service = place.partition(FILE.rstrip())[0]
        if service in at_fault and place.startswith((service + FILES, service + FILE)):
            found[service] = (*found.get(service, ()), place)
    return found


def folded(findings: list[Finding], graph: Needs, well: Collection[str] = ()) -> list[Finding]:
    """The findings, faults first, without what follows from others of them: that stands with its cause.

    What was asked and is ``well`` hands nothing on: a page that answers keeps nobody from it.
    """
    graph = {place: tuple(need for need in found if need not in well) for place, found in graph.items()}
    at_fault = {finding.place for finding in findings if finding.level == "fault"}
    graph = {**graph, **{name: files + graph.get(name, ()) for name, files in _kept_down(at_fault).items()}}
    so: dict[str, list[str]] = {}
    kept = []
    for finding in findings:
        by = cause(finding.place, at_fault, graph) if finding.level == "fault" else finding.place
        if by is None or by == finding.place:
            kept.append(finding)
        elif finding.place not in so.setdefault(by, []):
            so[by].append(finding.place)
    # Of several findings of one place the first has what follows.
    told = [replace(finding, so=tuple(so.pop(finding.place, ()))) for finding in kept]
    return sorted(told, key=lambda finding: finding.level)
