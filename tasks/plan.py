"""What a run has to do on a host: decided once, from the survey, before anything is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from configuration import Change, ConfigurationSet, foreign_links
from schema import Instance, Site
from tasks import nginx, packages, run, supervisor, system, uwsgi


@dataclass(frozen=True)
class Plan:
    """The differences between a host and its description. What isn't here isn't touched."""

    survey: dict[str, Any]
    report: run.Report
    packages: list[str]
    uwsgi: dict[str, Instance]
    changes: list[Change]

    def __bool__(self) -> bool:
        return bool(self.packages or self.uwsgi or self.changes)


def wanted_sets(site: Site) -> list[ConfigurationSet]:
    """All sets of a site, as far as they don't depend on the host: what the survey looks at."""
    return [
        system.wanted(site),
        *(supervisor.files(instance) for instance in site.instances),
        nginx.wanted(site, True)[0],
    ]


def make(site: Site, survey: dict[str, Any], report: run.Report) -> Plan:
    """Compare a host with its description."""
    outdated = uwsgi.outdated(site, survey)
    changes = [
        system.change(site, survey),
        *(supervisor.change(instance, survey, instance.virtualenv in outdated) for instance in site.instances),
        nginx.change(site, survey),
        *supervisor.removals(site.instances, survey),
    ]
    report.warnings += [
        f"nginx: {path} stays, since its site was changed by somebody"
        for path in foreign_links(nginx.wanted(site, True)[0], survey)
    ]
    missing = packages.missing(survey)
    return Plan(survey, report, missing, outdated, [c for c in changes if c.differences or c.reasons])
