"""What an instance that the deploy installs needs before its first start: tables, an administrator and projects."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.finding import fault
from catmaid_deploy.operations import jobs
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Deployment, Instance
from catmaid_deploy.tasks.application import settings_file
from catmaid_deploy.tasks.programs import slots as program


def installed(deployment: Deployment) -> list[Instance]:
    """The instances that need a look into their database: what it has already stays as it is."""
    return [i for i in deployment.instances if i.install and (i.made_database or i.install.administrator)]


def question(deployment: Deployment) -> questions.Survey:
    return {"installed": [instance.name for instance in installed(deployment)]}


def wanting(instance: Instance, survey: Survey) -> list[str]:
    """What there is to do, in words; nothing where the host has noted that it was done."""
    noted = survey["installed"][instance.name]
    assert instance.install
    what = "make its tables" if instance.made_database else "make its tables, if it has none"
    tables = [] if noted["tables"] else [what]
    one, projects = instance.install.administrator, instance.install.projects
    administrator = [f"make the administrator {one.name}"] if one and not noted["administrator"] else []
    titles = ", ".join(project.title for project in projects)
    return [*tables, *administrator, *([f"make the projects {titles}"] if projects and not noted["projects"] else [])]


def steps(plan: Plan) -> Iterator[Step]:
    """With the code and the settings in place, and before any program starts."""
    settings = settings_file.of_host(plan.look.deployment)
    for instance in installed(plan.look.deployment):
        todo = wanting(instance, plan.survey)
        if not todo:
            continue
        assert instance.install
        one, file = instance.install.administrator, settings.get(instance.name)
        title = f"first data of {instance.name}"
        password = one.password.get_secret_value() if one and one.password else ""
        make = partial(
            jobs.first_started,
            name=title.capitalize(),
            instance=instance,
            environment=program.environment(instance),
            settings=file,
            run=this_run.NAME,
            password=jobs.hidden({"password": password}),
        )
        lacks = fault(title, f"a deploy would {'; '.join(todo)}", this_run.deploy())
        yield Step(title, todo, make, lacks=(lacks,))


TASK = Task("first start", question, steps=steps)
