"""A task: a service or another part of a host, described in the same way as every other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from catmaid_deploy import questions
from catmaid_deploy.answers import Answer
from catmaid_deploy.facts.survey import Script
from catmaid_deploy.file_sets import ConfigurationSet
from catmaid_deploy.finding import Finding
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.schema import Deployment, Instance

Needs = Mapping[str, tuple[str, ...]]
Tasks = tuple["Task", ...]
T = TypeVar("T", bound=Answer)


class Ask(Protocol):
    """Asks the current host by one of our scripts; `run.ask`."""

    def __call__(self, fact: type[Script[T]], asked: Mapping[str, Any], /) -> T: ...


def _none(*_: Any) -> Any:
    return ()


def _no_keys(*_: Any) -> Any:
    return {}


@dataclass(frozen=True)
class Task:
    """What the engine needs to know of a service, in the order in which a run uses it. Each part has an empty default.

    In a deploy:

    + name: the service's name on the screen
    + question: what to ask the host. Lists under one key are joined over all tasks
    + sets: its sets of files, as far as they don't depend on the host
    + packages: the Debian packages that it needs on this host
    + faults: what prevents the run; a Refused if the rest can't be checked
    + warnings: what the admin should know, but doesn't prevent the run
    + remarks: what the admin should know about this run only
    + steps: what there is to do; it may add to ``faults`` of the plan
    + sought: faults found by a further question to the host, asked only if there is something to do
    + last_word: what the host is asked at the end of a run
    + wrong: what isn't as it should be in the answer to that
    + lasting: the part of ``wrong`` that a deploy can't change
    + waits: what its programs wait for while they are ``away``
    + away: what doesn't serve for a reason outside of the deploy, such as a disk, and doesn't make the run fail

    For `status` and `verify`:

    + needs: which places of findings depend on which others, so that one cause is one fault
    + glance: what else to ask the host; ``units`` are systemd's
    + health: adds faults and warnings about what runs
    + trial: adds faults and checks from the tests of `verify`
    + outside: adds how its addresses answer the admin's machine
    + differs: adds what a deploy would change
    + begun: the programs that have just started, and are at fault only for that
    + rows, blocks: what `status` shows in a host's table and below it: a title, a line and a table each
    + logs: patterns of ``logs``, and of other useful ``files``, of one instance or of all; of a host
      without an instance of all alone
    + document: what `status` adds to its JSON document
    + jobs: what it does for a runbook, by the runbook's name
    """

    name: str
    question: Callable[[Deployment], questions.Survey] = _no_keys
    sets: Callable[[Deployment], Iterable[ConfigurationSet]] = _none
    packages: Callable[[Look], Iterable[str]] = _none
    faults: Callable[[Look], Iterable[Finding]] = _none
    warnings: Callable[[Look], Iterable[Finding]] = _none
    remarks: Callable[[Look], Iterable[Finding]] = _none
    steps: Callable[[Plan], Iterable[Step]] = _none
    sought: Callable[[Plan, Ask], Iterable[Finding]] = _none
    last_word: Callable[[Deployment], questions.LastWord] = _no_keys
    wrong: Callable[[Look], Iterable[Finding]] = _none
    lasting: Callable[[Look], Iterable[Finding]] = _none
    waits: str = ""
    away: Callable[[Look], Iterable[str]] = _none
    needs: Callable[[Deployment], Needs] = _no_keys
    glance: Callable[[Deployment, bool], questions.Health] = _no_keys
    health: Callable[[Health], None] = _none
    trial: Callable[[Health, bool], None] = _none
    outside: Callable[[Health], None] = _none
    differs: Callable[[Health, Plan], None] = _none
    begun: Callable[[Health, Needs], Iterable[str]] = _none
    rows: Callable[[Health], Iterable[tuple[str, str, str]]] = _none
    blocks: Callable[[Health], Iterable[tuple[str, str, list[tuple[str, ...]]]]] = _none
    logs: Callable[[Deployment, Instance | None], questions.Logs] = _no_keys
    document: Callable[[Health], dict[str, Any]] = _no_keys
    jobs: Mapping[str, Callable[[Tasks], None]] = field(default_factory=dict)


def merged(parts: Iterator[Mapping[str, Any]]) -> dict[str, Any]:
    """The keys of all tasks: lists are joined, and have each entry once; dictionaries too; any other key is one's own.

    >>> merged(iter([{"units": ["nginx"], "user": "a"}, {"units": ["nginx", "cron"]}]))
    {'units': ['nginx', 'cron'], 'user': 'a'}
    """
    found: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if key not in found:
                found[key] = list(value) if isinstance(value, list) else value
            elif isinstance(value, list) and isinstance(found[key], list):
                found[key] += [one for one in value if one not in found[key]]
            elif isinstance(value, dict) and isinstance(found[key], dict):
                found[key] = found[key] | value
            else:
                raise ValueError(f"two tasks ask for {key!r}")
    return found
