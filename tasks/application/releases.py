"""Releases of the instances whose code the deploy puts in place."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import partial

from catmaid_deploy import questions
from catmaid_deploy.answers import sought as answers
from catmaid_deploy.answers.application import Release
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.facts.survey import Revisions
from catmaid_deploy.finding import Command, Finding, fault
from catmaid_deploy.operations import releases as operations
from catmaid_deploy.operations.jobs import hidden
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Ask, Task
from catmaid_deploy.schema import Deployment, Instance, Releases
from catmaid_deploy.tasks import proxy
from catmaid_deploy.tasks.application import settings_file

GIT = "git"


def missing(deployment: Deployment, survey: Survey) -> list[Instance]:
    """The instances whose release isn't on the host."""
    return [i for i in deployment.instances if (found := survey["instances"][i.name]["release"]) and not found["there"]]


def too_many(deployment: Deployment, survey: Survey) -> list[Instance]:
    """The instances that will have more releases on the host than are to be kept."""
    return [
        i
        for i in missing(deployment, survey)
        if i.releases and (found := survey["instances"][i.name]["release"]) and len(found["all"]) + 1 > i.releases.keep
    ]


def judge(instance: Instance, found: Release) -> Iterator[Finding]:
    """What is wrong for a release that is to be put in place."""
    releases = instance.releases
    assert releases
    if not found["owner"] and instance.install:
        return  # made before, with all that is shared
    if not found["owner"]:
        add = Command(f"adduser --system --group --home {releases.folder} --no-create-home {releases.owner}")
        yield fault("releases.owner", f"there is no user {releases.owner!r}", add)
        return
    for path, there in found["shared"].items():
        if not there:
            what = f"{releases.folder}/shared/{path} isn't there"
            yield fault("releases.shared", what, "put there what CATMAID's installation makes")


def question(instances: list[Instance]) -> questions.Revisions:
    """What `on_host.facts.revisions` is to ask their repositories."""
    return {"releases": {one.name: _repository(one.releases) for one in instances if one.releases}}


def _repository(one: Releases) -> questions.Repository:
    return {"folder": one.folder, "owner": one.owner, "repository": one.repository, "revision": one.revision}


def judge_revision(instance: Instance, found: answers.Revision | None) -> Iterator[Finding]:
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


def steps(plan: Plan) -> Iterator[Step]:
    """Each release that the host lacks, beside the others."""
    settings = settings_file.of_host(plan.look.deployment)
    for one in missing(plan.look.deployment, plan.survey):
        assert one.releases
        title = f"release {one.releases.revision} of {one.name}"
        make = partial(
            operations.in_place,
            name=title.capitalize(),
            instance=one,
            releases=one.releases,
            run=this_run.NAME,
            fetching=hidden(plan.look.deployment.fetching),
            settings=settings.get(one.name),
        )
        what = f"its release {one.releases.revision} isn't on the host"
        lacks = fault(f"release of {one.name}", what, this_run.deploy())
        yield Step(title, [f"in {one.checkout}"], make, fetches=(one.releases.repository,), lacks=(lacks,))


def sought(plan: Plan, ask: Ask) -> Iterator[Finding]:
    """Ask the repositories for the revisions that are to be put in place."""
    found = missing(plan.look.deployment, plan.survey)
    if found and not plan.look.deployment.offline:
        asked = {**question(found), "fetching": plan.look.deployment.fetching}
        revisions = ask(Revisions, asked)["revisions"]
        for instance in found:
            for one in judge_revision(instance, revisions[instance.name]):
                yield proxy.blamed(one, plan.look.deployment)


def old(plan: Plan) -> Iterator[Step]:
    """Remove those beyond the number to keep."""
    for one in too_many(plan.look.deployment, plan.survey):
        assert one.releases
        title = f"remove old releases of {one.name}"
        make = partial(
            operations.old_removed, name=title.capitalize(), instance=one, releases=one.releases, run=this_run.NAME
        )
        yield Step(title, [f"{one.releases.keep} stay"], make, follows=True)


def packages(look: Look) -> list[str]:
    return [GIT] if any(instance.releases for instance in look.deployment.instances) else []


TASK = Task("releases", lambda _: {"packages": [GIT]}, packages=packages, steps=steps, sought=sought)
OLD = Task("old releases", steps=old)
