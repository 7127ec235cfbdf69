"""Releases of the instances whose code the deploy puts in place (row 27)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from catmaid_deploy.finding import Command, Finding, fault
from catmaid_deploy.operations import releases as operations
from catmaid_deploy.operations.configuration import hidden
from catmaid_deploy.plan import this_run
from catmaid_deploy.schema import Deployment, Instance

if TYPE_CHECKING:
    from catmaid_deploy.tasks.plan import Plan


def missing(deployment: Deployment, survey: dict[str, Any]) -> list[Instance]:
    """The instances whose release isn't on the host."""
    found = survey["instances"]
    return [i for i in deployment.instances if i.releases and not found[i.name]["release"]["there"]]


def too_many(deployment: Deployment, survey: dict[str, Any]) -> list[Instance]:
    """The instances that will have more releases on the host than are to be kept."""
    return [
        i
        for i in missing(deployment, survey)
        if i.releases and len(survey["instances"][i.name]["release"]["all"]) + 1 > i.releases.keep
    ]


def judge(instance: Instance, found: dict[str, Any]) -> Iterator[Finding]:
    """What is wrong for a release that is to be put in place."""
    releases = instance.releases
    assert releases
    if not found["owner"]:
        add = Command(f"adduser --system --group --home {releases.folder} --no-create-home {releases.owner}")
        yield fault("releases.owner", f"there is no user {releases.owner!r}", add)
        return
    for path, there in found["shared"].items():
        if not there:
            what = f"{releases.folder}/shared/{path} isn't there"
            yield fault("releases.shared", what, "put there what CATMAID's installation makes")


def question(instances: list[Instance]) -> dict[str, Any]:
    """What `on_host.facts.revisions` is to ask their repositories."""
    keep = {"folder", "owner", "repository", "revision"}
    return {"releases": {one.name: one.releases.model_dump(include=keep) for one in instances if one.releases}}


def judge_revision(instance: Instance, found: dict[str, Any] | None) -> Iterator[Finding]:
    """Why a revision can't be put in place."""
    releases = instance.releases
    if releases is None or found is None:
        return
    place = f"site.instances[{instance.name}].releases"
    if problem := found.get("problem"):
        fix: Command | str = f"correct the address, or let the user {releases.owner!r} of the host read it"
        if "dubious ownership" in problem:
            # Of a folder on the host that belongs to another user; git asks each user whether that one is trusted.
            path = releases.repository.removeprefix("file://")
            trust = f"HOME=~{releases.owner} git config --global --add safe.directory {shlex.quote(path)}"
            fix = Command(f"runuser -u {releases.owner} -- sh -c {shlex.quote(trust)}")
        yield fault(f"{place}.repository", f"git on the host can't read {releases.repository}: {problem}", fix)
    elif found.get("branch"):
        what = f"{releases.revision} is a branch, whose meaning changes"
        yield fault(f"{place}.revision", what, "give a tag or a commit")
    else:
        newest = f", the newest are {', '.join(found['newest'])}" if found["newest"] else ""
        what = f"{releases.repository} has no tag {releases.revision}"
        yield fault(f"{place}.revision", what, f"give a tag that it has{newest}; or a commit by its first letters")


def _planned(plan: Plan, title: str, detail: str, make: Any, instance: Instance, **more: Any) -> None:
    """Have an operation on an instance's releases done, and told of."""
    operation = make(name=title.capitalize(), instance=instance, releases=instance.releases, run=this_run.NAME, **more)
    plan.report.plan(title, [detail], operation)


def put_in_place(plan: Plan) -> None:
    """Each release that the host lacks, beside the others."""
    for one in plan.releases:
        assert one.releases
        title = f"release {one.releases.revision} of {one.name}"
        fetching = hidden(plan.fetching)
        _planned(plan, title, f"in {one.checkout}", operations.in_place, one, fetching=fetching)


def remove_old(plan: Plan) -> None:
    """Those beyond the number to keep."""
    for one in plan.old_releases:
        assert one.releases
        title = f"remove old releases of {one.name}"
        _planned(plan, title, f"{one.releases.keep} stay", operations.old_removed, one)
