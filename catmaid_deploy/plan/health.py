"""A host's answer to `status` and `verify`, and the faults and checks found in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from catmaid_deploy.answers import health as answers
from catmaid_deploy.answers.survey import Survey, unit_of
from catmaid_deploy.finding import Command, Finding
from catmaid_deploy.plan.look import Look
from catmaid_deploy.schema import Deployment


@dataclass
class Health:
    """A host, judged for `status` or `verify`.

    + host: its name in the inventory
    + look: what it says of all that the deploy relies on; None where the inventory is wrong or the host isn't reached
    + answer: the whole of what it answered
    + findings: what isn't as it should be
    + checks: what was asked and is well, each with a word about it

    >>> health = Health("web1")
    >>> health.warn("space", "/data has 2 GiB of 900 GiB free", "remove what isn't needed below /data")
    >>> health.fault("clock", "it isn't kept right", Command("timedatectl set-ntp true"))
    >>> [finding.line(health.host) for finding in health.faults]
    ["web1: clock: it isn't kept right: timedatectl set-ntp true"]
    """

    host: str
    look: Look | None = None
    answer: answers.Health | None = None
    findings: list[Finding] = field(default_factory=list)
    checks: list[tuple[str, str]] = field(default_factory=list)

    @property
    def deployment(self) -> Deployment:
        """What the inventory describes; only of a host that was asked."""
        assert self.look
        return self.look.deployment

    @property
    def survey(self) -> Survey:
        """What the host answered to a deploy's own questions."""
        assert self.look
        return self.look.survey

    @property
    def found(self) -> answers.Health:
        """What it answered beside that."""
        assert self.answer
        return self.answer

    @property
    def faults(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "fault"]

    def is_active(self, unit: str) -> bool:
        """Whether systemd runs a unit."""
        return unit_of(self.survey, unit)["active"]

    def fault(self, place: str, what: str, fix: Command | str) -> None:
        self.findings.append(Finding("fault", place, what, fix))

    def warn(self, place: str, what: str, fix: Command | str) -> None:
        self.findings.append(Finding("warning", place, what, fix))
