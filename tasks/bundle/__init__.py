"""A bundle, from which a host is installed without the internet: judged, sent, and made."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from functools import partial

from catmaid_deploy import bundles, questions
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.bundles import Contents
from catmaid_deploy.facts.survey import Bundled
from catmaid_deploy.finding import HERE, Command, Finding, Refused, fault
from catmaid_deploy.operations import bundles as operations
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Ask, Task
from catmaid_deploy.tasks import distributions
from catmaid_deploy.tasks.application import releases
from catmaid_deploy.tasks.programs import wsgi
from catmaid_deploy.tasks.python import environments
from catmaid_deploy.upkeep import output

# The key of the inventory.
PLACE = "offline"
# The file as it comes, and what is in it.
TIMES = 2
STATE_FOLDER = "/var/lib"


def make_it(path: str, survey: Survey) -> Command:
    """How the bundle of a host is made, on a machine with the internet."""
    system = distributions.of(survey)
    suite = (system and system.suite) or distributions.suites()[0]
    words = [sys.executable, "-m", "catmaid_deploy.tasks.bundle", this_run.inventory_file(), suite, "--output", path]
    return Command(shlex.join(words), HERE)


def contents(path: str, survey: Survey) -> Contents:
    """What a bundle has; raises Refused where it is none."""
    try:
        return bundles.read(path)
    except bundles.Unreadable as error:
        raise Refused(fault(PLACE, f"{path} {error}", make_it(path, survey))) from None


def needed(look: Look) -> str:
    """The path of a host's bundle, if there is something to fetch: otherwise nobody needs the file."""
    deployment, survey = look.deployment, look.survey
    fetches = deployment.offline and (
        look.missing
        or releases.missing(deployment, survey)
        or environments.missing(deployment, survey)
        or wsgi.lacking(deployment, survey)
    )
    return deployment.offline or "" if fetches else ""


def judge_system(path: str, found: Contents, survey: Survey) -> Iterator[Finding]:
    """Whether it was made for such a host."""
    system = survey["os"]
    if found.system != (system["id"], system["version"]):
        made = f"{found.system[0].capitalize()} {found.system[1]}"
        yield fault(PLACE, f"{path} was made for {made}, and the host has {system['name']}", make_it(path, survey))
    elif found.machine != (machine := survey["bundle"]["machine"]):
        what = f"{path} was made for a machine of {found.machine}, and the host is one of {machine}"
        yield fault(PLACE, what, f"have it made on a machine of {machine}")


def lacking(look: Look, found: Contents) -> list[str]:
    """What this run needs and the bundle doesn't have, in words."""
    deployment, survey = look.deployment, look.survey
    words = [f"the package {name}" for name in look.missing if name not in found.packages]
    new = {one.name: one for one in releases.missing(deployment, survey)}
    made = {one.name: one for one in environments.missing(deployment, survey)}
    for one in (new | made).values():
        assert one.releases
        if one.releases.revision not in found.revisions.get(one.releases.repository, {}):
            words.append(f"{one.releases.revision} of {one.releases.repository}")
        elif one.name in made:
            assert one.made_python
            name, uv = one.virtualenv.rpartition("/")[2], one.made_python.uv_version
            if name not in found.environments.get(one.releases.repository, ()):
                words.append(f"what the environment of {one.name} is made of as the inventory has it")
            if not found.has("uv", uv):
                words.append(f"uv {uv}")
    packages = wsgi.lacking(deployment, survey)
    words += [f"{name} {version}" for name, version in packages.items() if not found.has(name, version)]
    return list(dict.fromkeys(words))


def faults(look: Look) -> Iterator[Finding]:
    """Why the host can't be installed from its bundle. Raises Refused, since nothing of the rest could be done."""
    path, survey = needed(look), look.survey
    if not path:
        return
    found = contents(path, survey)
    if wrong := [*judge_system(path, found, survey)]:
        raise Refused(*wrong)
    if words := lacking(look, found):
        yield fault(PLACE, f"{path} doesn't have {', '.join(words)}", make_it(path, survey))
    if found.id != survey["bundle"]["id"]:
        room = TIMES * found.size
        for one in survey["free"]:
            if one["path"] == STATE_FOLDER and one["bytes"] < room:
                what = f"{output.size(one['bytes'])} are free on {one['mount']}, the bundle needs {output.size(room)}"
                yield fault("space", what, "have the host get more room there")


def steps(plan: Plan) -> Iterator[Step]:
    """Send it where the host has another one, or none."""
    path, survey = needed(plan.look), plan.survey
    if not path:
        return
    found = contents(path, survey)
    if found.id != survey["bundle"]["id"]:
        title = "bring the bundle"
        make = partial(operations.brought, name=title.capitalize(), path=path, id=found.id, run=this_run.NAME)
        yield Step(title, [f"{path}, {output.size(found.size)}"], make)


def sought(plan: Plan, ask: Ask) -> Iterator[Finding]:
    """Ask apt on the host whether the bundle's packages go with those that are there."""
    path, survey = plan.look.deployment.offline, plan.survey
    if not path or not plan.look.missing:
        return
    try:
        asked: questions.Bundled = {"index": bundles.index(path), "packages": plan.look.missing}
    except bundles.Unreadable as error:
        raise Refused(fault(PLACE, f"{path} {error}", make_it(path, survey))) from None
    if said := ask(Bundled, asked)["apt"]:
        yield fault(PLACE, f"the packages of {path} don't go with the host's ({said})", make_it(path, survey))


TASK = Task("bundle", faults=faults, steps=steps, sought=sought)
