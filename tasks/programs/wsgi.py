"""The web server of an instance, uWSGI or Gunicorn: installed into its virtualenv and configured.

All of them speak the uwsgi protocol with nginx, on the same socket.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from catmaid_deploy import questions
from catmaid_deploy.answers.sought import Offer
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.facts.survey import Available
from catmaid_deploy.finding import Command, Finding, fault, warning
from catmaid_deploy.operations import jobs
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Ask, Task
from catmaid_deploy.schema import SOCKET_GROUP, Deployment, Instance
from catmaid_deploy.tasks import proxy, request_limits
from catmaid_deploy.tasks.programs.slots import Program, rendered

# Requests that may wait for a free thread; kernels since 5.4 allow 4096.
BACKLOG = 1024
STOP_SECONDS = 60
# What compiles uWSGI, which comes as source. A host with Gunicorn alone needs no compiler.
COMPILER = ("gcc", "libc6-dev", "python3-dev")
# Of a web server's packages those without a wheel.
AS_SOURCE = ("uwsgi",)
# pip for virtualenvs that were made without it.
PIP = "python3-pip-whl"
# What gevent needs for a database that is asked by psycopg2.
PSYCOGREEN = "1.0.2"
FILES = {
    "uwsgi": ("uwsgi.ini",),
    "gunicorn": ("serve.py", "gunicorn.conf.py"),
    "gevent": ("serve.py", "gunicorn.conf.py"),
}


def needed(instance: Instance) -> dict[str, str]:
    """The packages of an instance's web server, with their versions."""
    if instance.wsgi_server == "uwsgi":
        return {"uwsgi": instance.uwsgi_version}
    gevent = {"gevent": instance.gevent_version, "psycogreen": PSYCOGREEN}
    return {"gunicorn": instance.gunicorn_version} | (gevent if instance.wsgi_server == "gevent" else {})


def _lacking(instance: Instance, have: dict[str, str | None]) -> dict[str, str]:
    """What an instance's web server needs, and its virtualenv has not in that version."""
    return {name: version for name, version in needed(instance).items() if have[name] != version}


def _found(deployment: Deployment) -> list[Instance]:
    """The instances whose virtualenv somebody else has made: in one of the deploy's is all from the beginning."""
    return [instance for instance in deployment.instances if not instance.made_python]


def outdated(deployment: Deployment, survey: Survey) -> dict[str, tuple[Instance, dict[str, str]]]:
    """The virtualenvs that lack a package of a web server, each with an instance that has it and the packages."""
    found: dict[str, tuple[Instance, dict[str, str]]] = {}
    for instance in _found(deployment):
        have = survey["instances"][instance.name]["python"]["have"]
        lacking = _lacking(instance, have)
        if lacking:
            first, others = found.get(instance.virtualenv, (instance, {}))
            found[instance.virtualenv] = first, others | lacking
    return found


def lacking(deployment: Deployment, survey: Survey) -> dict[str, str]:
    """What the web servers need that virtualenvs of somebody else's lack, as far as their Python runs."""
    pythons = [(i, survey["instances"][i.name].get("python", {}).get("have")) for i in _found(deployment)]
    return {name: version for i, have in pythons if have for name, version in _lacking(i, have).items()}


def lack_pip(deployment: Deployment, survey: Survey) -> list[str]:
    """The virtualenvs that have no pip, and lack a package of a web server."""
    pythons = {i.name: survey["instances"][i.name].get("python", {}) for i in _found(deployment)}
    return [
        i.virtualenv
        for i in _found(deployment)
        # One that doesn't run has nothing, and a line of its own.
        if (have := pythons[i.name].get("have")) and not have["pip"] and _lacking(i, have)
    ]


def compiles(deployment: Deployment, survey: Survey) -> bool:
    """Whether uWSGI has to be compiled for a virtualenv."""
    pythons = [(i, survey["instances"][i.name].get("python", {}).get("have")) for i in _found(deployment)]
    return any("uwsgi" in (_lacking(i, have) if have else needed(i)) for i, have in pythons)


def question(outdated: dict[str, tuple[Instance, dict[str, str]]]) -> questions.Available:
    """What `on_host.facts.available` is to ask the package index."""
    return {"packages": {virtualenv: packages for virtualenv, (_, packages) in outdated.items()}}


def judge_available(
    outdated: dict[str, tuple[Instance, dict[str, str]]], found: dict[str, dict[str, Offer | None]]
) -> Iterator[Finding]:
    """Why the index doesn't give what is to be installed."""
    for virtualenv, (instance, packages) in outdated.items():
        for name, version in packages.items():
            answer = found[virtualenv][name]
            if answer is None:
                continue
            key = f"{name}_version"
            place = f"site.instances[{instance.name}].{key if hasattr(instance, key) else 'wsgi_server'}"
            if "problem" in answer:
                what = f"the package index gives the host no answer for {name}: {answer['problem']}"
                yield fault(place, what, "see what keeps the host from it")
            elif answer["newest"]:
                what = f"there is no {name} {version} for this Python"
                yield fault(place, what, f"give another, the newest are {', '.join(answer['newest'])}")
            else:
                yield fault(place, f"the host's package index has no {name} for this Python", "have it mirrored there")


def judge(outdated: dict[str, tuple[Instance, dict[str, str]]], survey: Survey) -> Iterator[Finding]:
    """Why what a virtualenv lacks can't be installed."""
    for virtualenv, (instance, _) in outdated.items():
        place = f"site.instances[{instance.name}].virtualenv"
        if survey["instances"][instance.name]["python"].get("of_a_group"):
            what = f"a group may change {virtualenv} or the way to it: whose it is can't be told"
            yield fault(place, what, "take the group's right to write (chmod g-w) from it and the folders above it")
        elif survey["instances"][instance.name]["python"]["owner"] == "root":
            # Not the service user, who would then change what it runs, if the code has an owner.
            owner = survey["instances"][instance.name]["owner"]
            owner = instance.user if owner == "root" else owner
            what = f"{virtualenv} belongs to root, and root installs nothing from the network"
            yield fault(place, what, Command(f"chown -R {owner}: {virtualenv}"))


def steps(plan: Plan) -> Iterator[Step]:
    """Install the pinned packages into the virtualenvs that lack them, as the user who owns each."""
    found = outdated(plan.look.deployment, plan.survey)
    plan.faults.extend(judge(found, plan.survey))
    for virtualenv, (instance, packages) in found.items():
        title = f"{', '.join(f'{name} {version}' for name, version in packages.items())} for {instance.name}"
        title = title.replace("uwsgi ", "uWSGI ").replace("gunicorn ", "Gunicorn ")
        make = partial(
            jobs.installed,
            name=title,
            virtualenv=virtualenv,
            packages=[f"{name}=={version}" for name, version in packages.items()],
            run=this_run.NAME,
            fetching=jobs.hidden(plan.look.deployment.fetching),
        )
        what = f"{', '.join(packages)} isn't installed in {virtualenv} as described"
        lacks = [i.name for i in plan.look.deployment.instances if i.virtualenv == virtualenv]
        lacking = tuple(fault(f"web server of {name}", what, this_run.deploy()) for name in lacks)
        yield Step(title, [f"in {virtualenv}"], make, fetches=(), lacks=lacking)


def sought(plan: Plan, ask: Ask) -> Iterator[Finding]:
    """Ask the package index for what is to be installed."""
    found = outdated(plan.look.deployment, plan.survey)
    if found and not plan.look.deployment.offline:
        asked = {**question(found), "fetching": plan.look.deployment.fetching}
        for one in judge_available(found, ask(Available, asked)["available"]):
            yield proxy.blamed(one, plan.look.deployment)


def warnings(look: Look) -> Iterator[Finding]:
    somaxconn = look.survey["somaxconn"]
    if somaxconn < BACKLOG and any(i.wsgi_server == "uwsgi" for i in look.deployment.instances):
        what = f"net.core.somaxconn is {somaxconn}: so few requests may wait for uWSGI, further ones get 502"
        keep = "/etc/sysctl.d/60-catmaid.conf"
        yield warning("kernel", what, Command(f"echo net.core.somaxconn=4096 > {keep} && sysctl -p {keep}"))


def packages(look: Look) -> list[str]:
    """Debian's packages by which the web server gets into the virtualenvs."""
    compiler = COMPILER if compiles(look.deployment, look.survey) else ()
    return [*compiler, *([PIP] if lack_pip(look.deployment, look.survey) else [])]


TASK = Task(
    "web server",
    lambda _: {"packages": [*COMPILER, PIP]},
    packages=packages,
    warnings=warnings,
    steps=steps,
    sought=sought,
)


def programs(instance: Instance) -> list[Program]:
    """INT stops all of them at once; TERM would reload uWSGI."""
    names = FILES[instance.wsgi_server]
    files = rendered(instance, "wsgi", *names, socket_group=SOCKET_GROUP, backlog=BACKLOG, sizes=request_limits)
    return [Program(instance, "wsgi", "INT", STOP_SECONDS, files, instance.workers)]
