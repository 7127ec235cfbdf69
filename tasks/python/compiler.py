"""What compiles for an environment: there while that is made, and gone at the end of the run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.operations import environments as operations
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Deployment
from catmaid_deploy.tasks.programs import wsgi
from catmaid_deploy.tasks.python import environments


def compiles(deployment: Deployment, survey: Survey) -> bool:
    """Whether something has to be compiled for an environment that is to be made."""
    names = [one.name for one in environments.missing(deployment, survey)]
    return any(not survey["environments"][name]["built"] for name in names)


def packages(look: Look) -> list[str]:
    return [*wsgi.COMPILER] if compiles(look.deployment, look.survey) else []


def _brought(plan: Plan) -> list[str]:
    """What of it this run installs for an environment; what a virtualenv of somebody else's needs stays."""
    look = plan.look
    if not compiles(look.deployment, look.survey) or wsgi.compiles(look.deployment, look.survey):
        return []
    return [name for name in wsgi.COMPILER if name in look.missing]


def brings(plan: Plan) -> Iterator[Step]:
    """Note what comes, before it is there: then also the next run knows what is to go."""
    if names := _brought(plan):
        title = "note what is brought to compile"
        make = partial(operations.compiler_noted, name=title.capitalize(), names=names, run=this_run.NAME)
        yield Step(title, [", ".join(names)], make, follows=True)


def removes(plan: Plan) -> Iterator[Step]:
    """Take away what this run has brought, or one that was cut."""
    if names := _brought(plan) or plan.survey["compiler"]:
        title = "remove what was brought to compile"
        make = partial(operations.compiler_removed, name=title.capitalize(), run=this_run.NAME)
        yield Step(title, [", ".join(names)], make)


BROUGHT = Task("compiler", lambda _: {"packages": [*wsgi.COMPILER]}, packages=packages, steps=brings)
REMOVED = Task("compiler's end", steps=removes)
