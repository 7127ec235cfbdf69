"""CATMAID on the host: its user, code, Python environment and folders, as somebody has installed them."""

from __future__ import annotations

from collections.abc import Iterator

from catmaid_deploy import questions
from catmaid_deploy.answers import application as answers
from catmaid_deploy.answers.survey import Account, Survey, unit_of
from catmaid_deploy.finding import Command, Finding, fault, missed, warning
from catmaid_deploy.on_host.operations.environments import PROOF
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.task import Task
from catmaid_deploy.render import digest
from catmaid_deploy.run.patch import waiting
from catmaid_deploy.schema import Address, Deployment, Instance, Releases
from catmaid_deploy.tasks.application import releases, settings
from catmaid_deploy.tasks.nginx.user import judge_group
from catmaid_deploy.tasks.programs import slots as program
from catmaid_deploy.tasks.rabbitmq import server

OLDEST_PYTHON = (3, 8)
# The files in which CATMAID names the packages that it was made for, with their versions.
REQUIREMENTS = ("requirements.txt", "requirements-async.txt")
# Debian's services of the kinds that an application may use.
PEERS = {"database": ("postgresql.service",), "broker": (server.UNIT, "redis-server.service")}
# What it means for users that one of them doesn't answer.
SAID = {"database": "pages wait: the database", "broker": "tasks wait: the broker"}
WAITS = "for the broker"
LOCAL = ("localhost", "127.0.0.1", "::1")
# Groups whose members are root whenever they like.
LIKE_ROOT = ("root", "disk", "kmem", "shadow", "docker", "lxd", "incus-admin", "libvirt")


def _loading(instance: Instance) -> questions.Loading:
    """How Django loads the settings for the deploy."""
    environment = program.environment(instance)
    said = digest(instance.projects_dir, *(f"{name}={value}" for name, value in sorted(environment.items())))
    notes = f"{instance.runtime_dir}/settings"
    return {"folder": instance.projects_dir, "environment": environment, "said": said, "notes": notes}


def collected(instance: Instance, owner: str) -> Command:
    """What puts an application's static files in place."""
    # CATMAID's settings call cssmin, which is in the virtualenv.
    collect = f"cd {instance.projects_dir} && PATH={instance.virtualenv}/bin:$PATH python manage.py collectstatic"
    return settings.as_owner(owner, f"{collect} --noinput")


def _judge_python(python: answers.Python, instance: Instance, requirements: list[str]) -> Iterator[Finding]:
    again: str | Command = "have it made anew with the host's python3, and install CATMAID's requirements into it"
    if instance.made_python:
        # By this a deploy makes it anew.
        again = Command(f"rm {instance.virtualenv}/{PROOF}")
    key = "virtualenv"
    version = ".".join(str(n) for n in python.get("version", ()))
    if "unreachable" in python:
        return  # who is kept out, and by which folder, has a line of its own
    if "missing" in python:
        yield fault(
            key, f"{python['missing']} isn't there", again if instance.made_python else f"correct the path, or {again}"
        )
    elif "broken" in python:
        yield fault(key, f"{instance.virtualenv}/bin/python doesn't run ({python['broken']})", again)
    elif tuple(python["version"]) < OLDEST_PYTHON:
        yield fault(key, f"{instance.virtualenv}/bin/python is Python {version}, 3.8 or later is needed", again)
    elif not python["packages_exist"]:
        yield fault(key, f"it was made for another Python than {version}, which runs there now", again)
    elif lacking := [name for name in ("django", "daphne", "celery") if not python["have"][name]]:
        if instance.made_python:
            yield fault(key, f"{', '.join(lacking)} isn't installed in it", again)
            return
        # The versions that this CATMAID was made for, and no others.
        install = f"{instance.virtualenv}/bin/pip install " + " ".join(f"-r {path}" for path in requirements)
        fix = (
            settings.as_owner(python["owner"], install)
            if requirements
            else "have CATMAID's own requirements installed into it"
        )
        yield fault(key, f"{', '.join(lacking)} isn't installed in it", fix)
    elif not python["have"]["uwsgi"] and not python["header"] and not python["base"].startswith("/usr/bin/python3"):
        yield fault(
            key, f"{python['base']} has no C headers, which uWSGI needs", "have the headers of that Python installed"
        )


def judge_user(instance: Instance, account: Account | None) -> Iterator[Finding]:
    """What a service user may do that web pages must not."""
    if not account:
        return  # one that isn't there has a line of its own
    rights = ["root"] if account["uid"] == 0 else [group for group in account["groups"] if group in LIKE_ROOT]
    if rights:
        what = f"{instance.user!r} has the rights of {rights[0]!r}, and so root's, which web pages must not have"
        yield fault("user", what, "give another")


def judge_instance(
    instance: Instance, found: answers.Instance, has_directory: bool = False, to_make: bool = False
) -> Iterator[Finding]:
    """What is wrong with an application that should be in place; ``to_make`` says that its Python environment isn't
    complete yet.
    """
    if not found["user"]:
        add = Command(f"adduser --system --group {instance.user}")
        # One of this host would hide the directory's for good.
        look = f"see whether the directory service answers (getent passwd {instance.user}), or name another"
        yield fault("user", f"there is no user {instance.user!r}", look if has_directory else add)
        return
    if not found["group"]:
        add = Command(f"addgroup --system {instance.runtime_group}")
        yield fault("runtime_group", f"there is no group {instance.runtime_group!r}", add)
        return
    if (release := found["release"]) and not release["there"]:
        yield from releases.judge(instance, release)
    elif not found["paths"]["checkout"]:
        yield fault("checkout", f"{instance.checkout} isn't there", "put CATMAID's code there, or correct the path")
        return
    else:
        yield from _judge_files(instance, found)
    if not to_make:
        yield from _judge_python(found["python"], instance, found["requirements"])
    yield from settings.judge(instance, found)


def _judge_files(instance: Instance, found: answers.Instance) -> Iterator[Finding]:
    """What an application in place lacks."""
    as_said = "as CATMAID's installation page says"
    # The deploy's own come with the programs that read them.
    if not found["paths"]["settings_file"] and not instance.made_settings:
        yield fault(
            "checkout",
            f"{instance.settings_file} isn't there",
            f"have django/create_configuration.py make it, {as_said}",
        )
    if not found["paths"]["wsgi_file"]:
        yield fault("wsgi_file", f"{instance.wsgi_file} isn't there", f"have it made {as_said}")
    if not found["folders"]["static_folder"]:
        yield fault("static_folder", f"{instance.static_folder} isn't there", collected(instance, found["owner"]))
    if not found["folders"]["files_folder"]:
        make = Command(f"install -d -o {instance.user} {instance.files_folder}")
        yield fault("files_folder", f"{instance.files_folder} isn't there", make)


def start_here(part: str, address: str, survey: Survey) -> Command | None:
    """The command for a database or broker at an address of the host's own that is installed there and doesn't run."""
    if address not in LOCAL:
        return None
    units = {unit: unit_of(survey, unit) for unit in PEERS[part]}
    down = [unit for unit, state in units.items() if state["enabled"] and not state["active"]]
    return Command(f"systemctl start {down[0].removesuffix('.service')}") if len(down) == 1 else None


def _judge_work_mem(deployment: Deployment, survey: Survey) -> Iterator[Finding]:
    connections = sum(i.workers * i.threads for i in deployment.instances)
    if survey["work_mem"] and survey["memory"] and connections * survey["work_mem"] << 10 > survey["memory"]:
        yield warning(
            "workers",
            f"{connections} (workers x threads of all instances) x {survey['work_mem'] >> 10} MiB "
            f"(PostgreSQL's work_mem) = {connections * survey['work_mem'] >> 10} MiB, and the host has "
            f"{survey['memory'] >> 20} MiB",
            "lower workers, threads or work_mem",
        )


def _address(one: Address | None) -> answers.Address | None:
    return {"host": one.host, "port": one.port} if one else None


def _release(one: Releases) -> questions.Release:
    return {"folder": one.folder, "owner": one.owner, "shared": one.shared, "proof": one.proof}


def _asked(instance: Instance) -> questions.Instance:
    return {
        "name": instance.name,
        "user": instance.user,
        "runtime_group": instance.runtime_group,
        "checkout": instance.checkout,
        "virtualenv": instance.virtualenv,
        "wsgi_file": instance.wsgi_file,
        "lasting_wsgi_file": settings.lasting(instance, instance.wsgi_file),
        "settings_file": settings.file_of(instance),
        "static_folder": instance.static_folder,
        "files_folder": instance.files_folder,
        "code": program.code(instance),
        "settings": _loading(instance),
        "release": _release(instance.releases) if instance.releases else None,
        "requirements": [f"{instance.checkout}/django/{name}" for name in REQUIREMENTS],
        "database": _address(instance.database),
        "broker": _address(instance.broker),
    }


def question(deployment: Deployment) -> questions.Survey:
    instances = [_asked(instance) for instance in deployment.instances]
    return {
        "instances": instances,
        "accounts": [instance.user for instance in deployment.instances],
        "space": [instance.virtualenv for instance in deployment.instances],
        "units": [*PEERS["database"], *PEERS["broker"]] if deployment.instances else [],
    }


def faults(look: Look) -> Iterator[Finding]:
    for instance in look.deployment.instances:
        roots = {one.place: one for one in settings.judge_roots(instance, look.survey)}
        judged = (
            *judge_user(instance, look.survey["accounts"][instance.user]),
            *judge_instance(
                instance,
                look.survey["instances"][instance.name],
                look.survey["directory"]["is_asked"],
                bool(instance.made_python) and not look.survey["environments"][instance.name]["there"],
            ),
            *judge_group(instance, look.survey),
        )
        # What is missing would be made in the other place.
        wrong = [one for one in judged if one.place not in roots]
        yield from (one.below(f"site.instances[{instance.name}]") for one in (*wrong, *roots.values()))


def warnings(look: Look) -> Iterator[Finding]:
    for instance in look.deployment.instances:
        for key, address in look.survey["instances"][instance.name]["silent"].items():
            if key == "database" and instance.name in look.deployment.local_databases:
                continue  # the server's own task says more of it, and on a bare host there is none yet
            if key == "broker" and instance.name in look.deployment.local_brokers and server.PACKAGE in look.missing:
                continue  # this run installs it
            place = f"site.instances[{instance.name}].{key}"
            what = f"nothing answers at {address['host']}:{address['port']}"
            here = start_here(key, address["host"], look.survey)
            yield missed(place, what, here or "start it there, or correct the address")
    yield from settings.standing(look.deployment, look.survey)
    yield from _judge_work_mem(look.deployment, look.survey)


def remarks(look: Look) -> Iterator[Finding]:
    for name, instance in look.survey["instances"].items():
        if problem := instance["settings_problem"]:
            what = f"its settings can't be loaded, and so its folders weren't compared with Django's: {problem}"
            yield warning(f"site.instances[{name}].checkout", what, "correct settings.py")


def _silence(key: str, instance: Instance) -> str:
    return f"{SAID[key]} of {instance.name} doesn't answer"


def last_word(deployment: Deployment) -> questions.LastWord:
    """What the programs need beside what they are: a run may have made it, and it may be gone since."""
    return {
        "peers": [
            {"host": address.host, "port": address.port, "says": _silence(key, instance)}
            for instance in deployment.instances
            for key, address in (("database", instance.database), ("broker", instance.broker))
            if address
        ]
    }


def away(look: Look) -> list[str]:
    silent = [
        _silence(key, instance)
        for instance in look.deployment.instances
        for key in look.survey["instances"][instance.name]["silent"]
    ]
    names = [name for name, word in look.survey["asked"]["programs"].items() if word == "away"]
    return silent or waiting(names, WAITS)


TASK = Task(
    "application",
    question,
    faults=faults,
    warnings=warnings,
    remarks=remarks,
    last_word=last_word,
    waits=WAITS,
    away=away,
)
