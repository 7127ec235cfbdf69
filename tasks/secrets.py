"""The secrets of instances that the deploy installs: made on the host, which alone has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.finding import Finding, fault
from catmaid_deploy.operations import jobs
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Deployment, Instance

SECRET_KEY, DATABASE, BROKER, MAIL = "secret_key", "database_password", "broker_password", "mail_password"
# Before those of the lab's own, whatever they are called.
OWN = "own_"


def given(instance: Instance) -> dict[str, str]:
    """What the inventory gives, by the names in the host's file."""
    settings, database, broker = instance.made_settings, instance.made_database, instance.made_broker
    found = {
        SECRET_KEY: settings and settings.secret_key,
        DATABASE: database and database.password,
        BROKER: broker and broker.password,
        MAIL: settings and settings.mail and settings.mail.password,
    }
    found |= {OWN + name: value for name, value in (settings.secrets.items() if settings else ())}
    return {name: value.get_secret_value() for name, value in found.items() if value}


def names(instance: Instance) -> list[str]:
    """All that the host keeps for an instance."""
    needed = {
        SECRET_KEY: instance.made_settings,
        DATABASE: instance.made_database,
        BROKER: instance.made_broker,
    }
    return list(dict.fromkeys([*(name for name, made in needed.items() if made), *given(instance)]))


def keepers(deployment: Deployment) -> list[Instance]:
    """The instances that have secrets of the deploy's making."""
    return [instance for instance in deployment.instances if names(instance)]


def question(deployment: Deployment) -> questions.Survey:
    """The host compares digests: a password doesn't travel with each look."""
    return {
        "secrets": {
            one.name: {
                "path": one.secrets_file,
                "user": one.user,
                "names": names(one),
                "given": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in given(one).items()},
            }
            for one in keepers(deployment)
        }
    }


def wanting(instance: Instance, survey: Survey) -> dict[str, list[str]]:
    """What there is to do, and with which secrets."""
    found = survey["secrets"][instance.name]
    parts = {
        "make": found["lacks"],
        "take": found["differs"],
        "close": [instance.secrets_file] if found["open"] else [],
    }
    return {do: which for do, which in parts.items() if which}


def faults(look: Look) -> Iterator[Finding]:
    """A file that says nothing: with new secrets all sessions would end, and the database would let nobody in."""
    for instance in keepers(look.deployment):
        if look.survey["secrets"][instance.name]["broken"]:
            what = f"{instance.secrets_file} has no secrets in it, and new ones would fit nothing"
            yield fault(f"secrets of {instance.name}", what, "put it back from a copy")


def steps(plan: Plan) -> Iterator[Step]:
    """Make what is missing, before anything needs it."""
    for instance in keepers(plan.look.deployment):
        todo = wanting(instance, plan.survey)
        if not todo:
            continue
        title = f"secrets of {instance.name}"
        make = partial(
            jobs.secrets_kept,
            name=title.capitalize(),
            path=instance.secrets_file,
            user=instance.user,
            names=names(instance),
            run=this_run.NAME,
            given=jobs.hidden(dict(given(instance))),
        )
        which = ", ".join(name for some in todo.values() for name in some)
        lacks = fault(title, f"{which} isn't as described", this_run.deploy())
        yield Step(title, [f"{do} {', '.join(some)}" for do, some in todo.items()], make, lacks=(lacks,))


TASK = Task("secrets", question, faults=faults, steps=steps)
