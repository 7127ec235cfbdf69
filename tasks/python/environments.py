"""An environment for each release, made by uv before the release is put in place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Environment, Survey
from catmaid_deploy.facts.survey import Requirements
from catmaid_deploy.finding import Finding, fault
from catmaid_deploy.on_host.operations.environments import PROOF, UV
from catmaid_deploy.on_host.paths import SYSTEM_PYTHON
from catmaid_deploy.operations import environments as operations
from catmaid_deploy.operations.jobs import hidden
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Ask, Task
from catmaid_deploy.schema import Deployment, Instance
from catmaid_deploy.tasks import distributions, proxy
from catmaid_deploy.tasks.application import releases
from catmaid_deploy.tasks.application.installed import OLDEST_PYTHON
from catmaid_deploy.tasks.programs import wsgi
from catmaid_deploy.tasks.python import fits, here


def executable(instance: Instance) -> str:
    """The Python that an instance's environments are made of."""
    assert instance.made_python
    return instance.made_python.executable or SYSTEM_PYTHON


def compiled(instance: Instance) -> dict[str, str]:
    """The packages of its web server that come as source, with their versions."""
    return {name: version for name, version in wsgi.needed(instance).items() if name in wsgi.AS_SOURCE}


def missing(deployment: Deployment, survey: Survey) -> list[Instance]:
    """The instances whose environment isn't there, or isn't complete."""
    return [i for i in deployment.instances if i.made_python and not survey["environments"][i.name]["there"]]


def _asked(instance: Instance) -> questions.Environment:
    releases = instance.releases
    assert releases
    return {
        "folder": releases.folder,
        "owner": releases.owner,
        "proof": f"{instance.virtualenv}/{PROOF}",
        "wheels": f"{releases.folder}/{UV}/wheels",
        "executable": executable(instance),
        "compiled": compiled(instance),
    }


def question(deployment: Deployment) -> questions.Survey:
    made = [instance for instance in deployment.instances if instance.made_python]
    names = [wsgi.PIP, *(name for one in distributions.DISTRIBUTIONS for name in (*one.gis, one.libpython))]
    return {"environments": {one.name: _asked(one) for one in made}, "packages": names if made else []}


def judge(instance: Instance, found: Environment) -> Iterator[Finding]:
    """What is wrong with the Python that an environment is to be made of."""
    place, path = f"site.instances[{instance.name}].install.python.executable", executable(instance)
    if found["problem"]:
        yield fault(place, f"{path} doesn't run: {found['problem']}", "correct the path, or install that Python there")
    elif tuple(map(int, found["python"].split("."))) < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        yield fault(place, f"{path} is Python {found['python']}", f"name one of {oldest} or later")
    elif compiled(instance) and not found["header"]:
        what = f"{path} has no C headers (Python.h), which {', '.join(compiled(instance))} needs"
        yield fault(place, what, "have the headers of that Python installed")


def faults(look: Look) -> Iterator[Finding]:
    for instance in missing(look.deployment, look.survey):
        yield from judge(instance, look.survey["environments"][instance.name])


def steps(plan: Plan) -> Iterator[Step]:
    """Make each environment that the host lacks; two instances may have the same one."""
    seen: set[str] = set()
    for one in missing(plan.look.deployment, plan.survey):
        assert one.releases
        if one.virtualenv in seen:
            continue
        seen.add(one.virtualenv)
        title = f"Python environment of {one.name}"
        make = partial(
            operations.made,
            name=title,
            instance=one,
            releases=one.releases,
            executable=executable(one),
            packages=wsgi.needed(one),
            compiled=compiled(one),
            rules=fits.rules(),
            run=this_run.NAME,
            fetching=hidden(plan.look.deployment.fetching),
        )
        version = plan.survey["environments"][one.name]["python"]
        lacks = fault(title, f"{one.virtualenv} isn't there or isn't complete", this_run.deploy())
        words = [f"in {one.virtualenv}, with Python {version}"]
        yield Step(title, words, make, fetches=(one.releases.repository,), lacks=(lacks,))


def _releases(instances: list[Instance], survey: Survey) -> dict[str, questions.Requirements]:
    found: dict[str, questions.Requirements] = {}
    for one in instances:
        assert one.releases
        assert one.made_python
        found[one.name] = {
            "folder": one.releases.folder,
            "owner": one.releases.owner,
            "repository": one.releases.repository,
            "revision": one.releases.revision,
            "requirements": list(one.made_python.requirements),
            "overrides": one.made_python.overrides,
            "python": survey["environments"][one.name]["python"],
        }
    return found


def sought(plan: Plan, ask: Ask) -> Iterator[Finding]:
    """Ask what the releases require, and whether that fits the Python that they get."""
    deployment, survey = plan.look.deployment, plan.survey
    found = missing(deployment, survey)
    if not found or deployment.offline:
        return
    asked: questions.Required = {
        "releases": _releases(found, survey),
        "rules": fits.rules(),
        "fetching": deployment.fetching,
    }
    answers = ask(Requirements, asked)["fits"]
    for instance in found:
        version, fit = survey["environments"][instance.name]["python"], answers[instance.name]
        if fit is None and releases.GIT in plan.look.missing:
            fit = here.fit_of(asked["releases"][instance.name])
        if fit and (moved := fits.words(fit)):
            plan.report.notes.append(f"{instance.name} gets other versions for Python {version}: {moved}")
        for one in fits.judge(instance, version, fit):
            yield proxy.blamed(one, deployment)


def packages(look: Look) -> list[str]:
    """Debian's packages by which environments are made, and what is loaded from outside of them."""
    system = distributions.of(look.survey)
    made = [instance for instance in look.deployment.instances if instance.made_python]
    if not system or not made:
        return []
    # The compiler would take it away with itself.
    library = any(compiled(one) and executable(one) == SYSTEM_PYTHON for one in made)
    pip = [wsgi.PIP] if missing(look.deployment, look.survey) else []
    return [*system.gis, *([system.libpython] if library else []), *pip]


TASK = Task("Python", question, packages=packages, faults=faults, steps=steps, sought=sought)
