"""A virtual host at RabbitMQ for each instance, with a user that has no other. What leaves the inventory stays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Survey, unit_of
from catmaid_deploy.finding import Command, Finding, fault, warning
from catmaid_deploy.operations import rabbitmq as operations
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Deployment, Instance
from catmaid_deploy.tasks import secrets
from catmaid_deploy.tasks.rabbitmq import server


def _asked(deployment: Deployment) -> dict[str, questions.Vhost]:
    files = {instance.name: instance.secrets_file for instance in deployment.instances}
    return {
        name: {
            "port": broker.port,
            "vhost": broker.vhost,
            "user": broker.user,
            "secrets": files[name],
            "secret": secrets.BROKER,
        }
        for name, broker in deployment.local_brokers.items()
    }


def question(deployment: Deployment) -> questions.Survey:
    return {"packages": [server.PACKAGE], "rabbitmq": _asked(deployment)}


def _is_well(name: str, vhost: questions.Vhost, survey: Survey, changes: bool) -> bool:
    """Whether a virtual host is as it is to be, as far as RabbitMQ answers."""
    found = survey["rabbitmq"]
    if found["made"].get(vhost["vhost"]) != vhost["user"] or changes:
        return False
    return found["hosts"][name]["word"] != "refused"


def _changes(instance: Instance, survey: Survey) -> bool:
    """Whether this run makes another password of its user's."""
    return any(secrets.BROKER in names for names in secrets.wanting(instance, survey).values())


def steps(plan: Plan) -> Iterator[Step]:
    """After the package and the password."""
    instances = {instance.name: instance for instance in plan.look.deployment.instances}
    for name, vhost in _asked(plan.look.deployment).items():
        if _is_well(name, vhost, plan.survey, _changes(instances[name], plan.survey)):
            continue
        title = f"virtual host {vhost['vhost']}"
        make = partial(operations.virtual_host, name=title.capitalize(), one=vhost, run=this_run.NAME)
        why = plan.survey["rabbitmq"]["hosts"][name]["why"]
        lacks = fault(f"broker of {name}", f"its {title} isn't as described: {why}", this_run.deploy())
        yield Step(title, [f"for the user {vhost['user']}"], make, lacks=(lacks,))


def faults(look: Look) -> Iterator[Finding]:
    """What can't be made: RabbitMQ listens elsewhere, or the user is somebody else's."""
    survey = look.survey
    for name, broker in look.deployment.local_brokers.items():
        known = broker.user in survey["rabbitmq"]["users"] and broker.user not in survey["rabbitmq"]["made"].values()
        if known and not broker.password and survey["rabbitmq"]["hosts"][name]["word"] != "well":
            yield fault(
                f"site.instances[{name}].install.broker.user",
                f"RabbitMQ has a user {broker.user} that isn't the deploy's",
                "give its password as install.broker.password, or another name",
            )
    for name, vhost in _asked(look.deployment).items():
        unit = unit_of(survey, server.UNIT)
        is_new = vhost["vhost"] not in survey["rabbitmq"]["made"]
        if is_new and unit["active"] and not server.is_own(survey) and not _listens(survey, vhost["port"]):
            yield fault(
                f"site.instances[{name}].install.broker.port",
                f"RabbitMQ runs there and doesn't listen at {vhost['port']}",
                "give its port, or have it listen there at 127.0.0.1",
            )


def _listens(survey: Survey, port: int) -> bool:
    return bool(survey["rabbitmq"]["sockets"].get(str(port)))


def remarks(look: Look) -> Iterator[Finding]:
    """What has left the inventory."""
    kept = {vhost["vhost"] for vhost in _asked(look.deployment).values()}
    for name, user in sorted(look.survey["rabbitmq"]["made"].items()):
        if name not in kept:
            what = "no instance has it any longer; it stays, with what waits in it"
            remove = Command(f"rabbitmqctl delete_vhost {name} && rabbitmqctl delete_user {user}")
            yield warning(f"virtual host {name}", what, remove)


TASK = Task("virtual hosts", question, faults=faults, remarks=remarks, steps=steps)
