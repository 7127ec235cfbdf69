"""One look at a host: its description in the inventory, and its answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.file_sets import ConfigurationSet
from catmaid_deploy.finding import Finding
from catmaid_deploy.schema import Deployment


@dataclass
class Look:
    """What is known of a host, for all tasks the same.

    + deployment: what the inventory describes
    + survey: what the host answered, see ``on_host/facts/survey.py``
    + sets: the sets of files, as far as they don't depend on the answer
    + ahead: seconds that its clock is ahead of this machine's
    + missing: Debian's packages that it needs and doesn't have
    + faults: what keeps a run from being done, as found until now

    >>> from catmaid_deploy import schema
    >>> look = Look(schema.load(sites=[]), {"packages": {"openssl": "3.0.11-1"}})
    >>> look.survey["packages"]["openssl"]
    '3.0.11-1'
    """

    deployment: Deployment
    survey: Survey
    sets: list[ConfigurationSet] = field(default_factory=list)
    ahead: float = 0.0
    missing: list[str] = field(default_factory=list)
    faults: list[Finding] = field(default_factory=list)
