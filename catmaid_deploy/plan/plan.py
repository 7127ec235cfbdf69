"""What a run has to do on a host: decided once, from the look at it, before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.file_sets import Change
from catmaid_deploy.finding import Finding
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.report import Report


@dataclass(frozen=True)
class Step:
    """Something that there is to do.

    + title: what it is called in the last lines of a run
    + details: a line each of what it does
    + make: queues its operation, which it returns
    + change: the set of files that it puts in place
    + by_job: whether the deploy's own job does it, which writes down what it has done
    + fetches: the addresses that the host needs for it, as far as they are known; None where it needs none
    + lacks: what `status` says of a host to which it is to be done
    + follows: whether it is done because of other steps, and alone no reason for a run

    >>> release = Step("release 1.0 of catmaid", ["in /home/catmaid/releases/1.0"], make=lambda: None,
    ...                fetches=("https://example.org/catmaid.git",))
    >>> release.by_job
    True
    """

    title: str
    details: list[str]
    make: Callable[[], Any]
    change: Change | None = None
    by_job: bool = True
    fetches: tuple[str, ...] | None = None
    lacks: tuple[Finding, ...] = ()
    follows: bool = False


@dataclass(frozen=True)
class Plan:
    """The steps of a run on one host, in their order. What isn't here isn't touched.

    ``faults`` are what keeps it from being done; ``report`` is told what comes of it.

    >>> from catmaid_deploy import schema
    >>> look = Look(schema.load(sites=[]), {})
    >>> plan = Plan(look, Report("web1"), [Step("remove old releases", ["3 stay"], lambda: None, follows=True)])
    >>> bool(plan)
    False
    >>> plan.steps.append(Step("install packages", ["openssl"], lambda: None, by_job=False))
    >>> bool(plan)
    True
    """

    look: Look
    report: Report
    steps: list[Step] = field(default_factory=list)
    faults: list[Finding] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(not step.follows for step in self.steps)

    @property
    def survey(self) -> Survey:
        return self.look.survey

    @property
    def changes(self) -> list[Change]:
        return [step.change for step in self.steps if step.change]
