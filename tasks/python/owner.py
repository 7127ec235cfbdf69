"""The user who owns the code and the Python environments of an instance that the deploy installs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.finding import fault
from catmaid_deploy.operations.users import system_user
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Deployment, Releases


def missing(deployment: Deployment, survey: Survey) -> dict[str, Releases]:
    """The owners that the deploy makes, each with releases of its own. One of this host would hide a directory's."""
    if survey["directory"]["is_asked"]:
        return {}
    found: dict[str, Releases] = {}
    for instance in deployment.instances:
        one = instance.releases if instance.install else None
        if one and not survey["accounts"][one.owner]:
            found.setdefault(one.owner, one)
    return found


def question(deployment: Deployment) -> questions.Survey:
    owners = [i.releases.owner for i in deployment.instances if i.install and i.releases]
    return {"accounts": list(dict.fromkeys(owners))}


def steps(plan: Plan) -> Iterator[Step]:
    for name, releases in missing(plan.look.deployment, plan.survey).items():
        lacks = fault(f"user {name}", "it isn't there, and is to own the code", this_run.deploy())
        words = [f"who owns {releases.folder}"]
        # The folder is made with what is put there.
        make = partial(system_user, name, releases.folder, "owner of CATMAID's code")
        yield Step(f"user {name}", words, make, by_job=False, lacks=(lacks,))


TASK = Task("owner of the code", question, steps=steps)
