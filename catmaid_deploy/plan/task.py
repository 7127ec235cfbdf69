"""A task: a service or a concern of a host, with the same doors as every other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from catmaid_deploy.configuration import ConfigurationSet
from catmaid_deploy.finding import Finding
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.schema import Deployment, Instance

# What a host is asked, and by which of our scripts: `run.ask` for the current one.
Ask = Callable[[Any, dict[str, Any]], dict[str, Any]]
Needs = Mapping[str, tuple[str, ...]]
Tasks = tuple["Task", ...]


def _none(*_: Any) -> Any:
    return ()


def _no_keys(*_: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Task:
    """What the engine asks of a service, in the order in which a run needs it. A door that isn't given is closed.

    + name: what an admin calls it
    + question: what it wants to know of the host. Lists under one key are joined over all tasks
    + sets: its sets of files, as far as they don't depend on the host
    + packages: Debian's packages that this host has to have for it
    + faults: what keeps a run from being done, or a Refused of what keeps the rest from being known
    + warnings: what the admin should know, and what doesn't stop a run
    + remarks: what the admin should know of this run alone
    + steps: what there is to do; it may add to ``faults`` of the plan
    + sought: what is wrong by a further question to the host, asked only where there is something to do
    + last_word: what the host asks itself at the end of a run
    + wrong: what of that isn't as it should be
    + lasting: what of that a deploy leaves as it is
    + waits: for what its programs wait that are away by themselves
    + away: what is away by itself, and doesn't make a run fail
    + needs: which places of findings need which others
    + glance: what `status` and `verify` ask beside; ``units`` are systemd's
    + health: says what isn't as it should be, of what runs
    + trial: says how what was tried went, and what is well
    + outside: says how its addresses answer this machine
    + differs: says what else isn't as the inventory has it, by what a deploy would do
    + begun: the programs that have just begun, and at fault for no other reason
    + rows, blocks: what `status` shows of a host in its table, and below it: a title, a line and a table each
    + logs: patterns of ``logs``, and of ``files`` that are of use beside them, of an instance and of all
    + document: what `status` says of it to machines
    + jobs: what a runbook has it do, by the runbook's name
    """

    name: str
    question: Callable[[Deployment], dict[str, Any]] = _no_keys
    sets: Callable[[Deployment], Iterable[ConfigurationSet]] = _none
    packages: Callable[[Look], Iterable[str]] = _none
    faults: Callable[[Look], Iterable[Finding]] = _none
    warnings: Callable[[Look], Iterable[Finding]] = _none
    remarks: Callable[[Look], Iterable[Finding]] = _none
    steps: Callable[[Plan], Iterable[Step]] = _none
    sought: Callable[[Plan, Ask], Iterable[Finding]] = _none
    last_word: Callable[[Deployment], dict[str, Any]] = _no_keys
    wrong: Callable[[Look], Iterable[Finding]] = _none
    lasting: Callable[[Look], Iterable[Finding]] = _none
    waits: str = ""
    away: Callable[[Look], Iterable[str]] = _none
    needs: Callable[[Deployment], Needs] = _no_keys
    glance: Callable[[Deployment, bool], dict[str, Any]] = _no_keys
    health: Callable[[Health], None] = _none
    trial: Callable[[Health, bool], None] = _none
    outside: Callable[[Health], None] = _none
    differs: Callable[[Health, Plan], None] = _none
    begun: Callable[[Health, Needs], Iterable[str]] = _none
    rows: Callable[[Health], Iterable[tuple[str, str, str]]] = _none
    blocks: Callable[[Health], Iterable[tuple[str, str, list[tuple[str, ...]]]]] = _none
    logs: Callable[[Deployment, Instance], dict[str, Any]] = _no_keys
    document: Callable[[Health], dict[str, Any]] = _no_keys
    jobs: Mapping[str, Callable[[Tasks], None]] = field(default_factory=dict)


def merged(answers: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """The keys of all tasks: lists are joined, and have each entry once; dictionaries too; any other key is one's own.

    >>> merged(iter([{"units": ["nginx"], "user": "a"}, {"units": ["nginx", "cron"]}]))
    {'units': ['nginx', 'cron'], 'user': 'a'}
    """
    found: dict[str, Any] = {}
    for answer in answers:
        for key, value in answer.items():
            if key not in found:
                found[key] = list(value) if isinstance(value, list) else value
            elif isinstance(value, list) and isinstance(found[key], list):
                found[key] += [one for one in value if one not in found[key]]
            elif isinstance(value, dict) and isinstance(found[key], dict):
                found[key] = found[key] | value
            else:
                raise ValueError(f"two tasks ask for {key!r}")
    return found
