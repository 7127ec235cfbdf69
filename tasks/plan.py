"""What a run has to do on a host: decided once, from the survey, before anything is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from catmaid_deploy.configuration import Change, ConfigurationSet, foreign_links
from catmaid_deploy.finding import Finding, warning
from catmaid_deploy.plan import report as reports
from catmaid_deploy.schema import Deployment, Instance, Site
from catmaid_deploy.tasks import (
    acme,
    certificates,
    disks,
    nginx,
    packages,
    passwords,
    releases,
    requested,
    supervisor,
    system,
    wsgi,
)


@dataclass(frozen=True)
class Plan:
    """The differences between a host and its description. What isn't here isn't touched."""

    survey: dict[str, Any]
    report: reports.Report
    packages: list[str]
    nginx_groups: list[str]
    new_key: bool
    servers: dict[str, tuple[Instance, dict[str, str]]]
    releases: list[Instance]
    self_signed: list[Site]
    requests: list[requested.Request]
    changes: list[Change]
    from_acme: list[acme.Wanted]
    old_releases: list[Instance]
    faults: list[Finding]
    # The environment of what fetches something.
    fetching: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(
            self.packages
            or self.nginx_groups
            or self.new_key
            or self.servers
            or self.releases
            or self.self_signed
            or self.changes
            or self.requests
            or self.from_acme
        )


def wanted_sets(deployment: Deployment) -> list[ConfigurationSet]:
    """All sets of a host, as far as they don't depend on it: what the survey looks at."""
    return [
        system.wanted(deployment),
        *(supervisor.files(instance) for instance in deployment.instances),
        nginx.wanted(deployment, nginx.Server())[0],
        disks.wanted(deployment),
    ]


def make(deployment: Deployment, survey: dict[str, Any], report: reports.Report) -> Plan:
    """Compare a host with its description."""
    outdated = wsgi.outdated(deployment, survey)
    web = nginx.change(deployment, survey)
    groups = {
        instance.name: supervisor.change(site, instance, survey, outdated.get(instance.virtualenv, (None, {}))[1])
        for site in deployment.sites
        for instance in site.instances
    }
    faults = [
        found.below(f"site.instances[{instance.name}]")
        for instance in deployment.instances
        if (found := supervisor.judge_memory(instance, groups[instance.name], survey))
    ]
    faults += wsgi.judge(outdated, survey)
    changes = [
        system.change(deployment, survey),
        *groups.values(),
        web,
        disks.change(deployment, survey),
        *supervisor.removals(deployment.instances, survey),
    ]
    report.warnings += [
        warning("nginx", f"{path} stays, since its site was changed by somebody")
        for path in foreign_links(web.set, survey)
    ]
    return Plan(
        survey,
        report,
        packages.missing(deployment, survey),
        nginx.missing_groups(deployment, survey),
        passwords.key_missing(deployment, survey),
        outdated,
        releases.missing(deployment, survey),
        certificates.self_signed(deployment, survey),
        requested.wanted(deployment, survey),
        [change for change in changes if change.differences or change.reasons],
        acme.wanted(deployment, survey),
        releases.too_many(deployment, survey),
        faults,
        deployment.fetching,
    )
