"""PostgreSQL as a service: which server a host has or gets, its packages, and what keeps it from serving."""

from __future__ import annotations

import re
from collections.abc import Iterator

from catmaid_deploy import questions
from catmaid_deploy.answers.postgresql import Cluster, Server
from catmaid_deploy.answers.survey import Survey, unit_of
from catmaid_deploy.file_sets import Change, ConfigurationSet, File, Folder, compare
from catmaid_deploy.finding import Command, Finding, fault, warning
from catmaid_deploy.on_host.facts.postgresql import CLUSTERS
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.render import render
from catmaid_deploy.run.apply import configured
from catmaid_deploy.schema import Deployment, Instance
from catmaid_deploy.tasks import distributions
from catmaid_deploy.tasks.system import SPACE_OF_POSTGRESQL
from catmaid_deploy.upkeep import output

UNIT = "postgresql.service"
# systemd's own pattern: one unit for each cluster that it has loaded.
CLUSTER_UNITS = "postgresql@*.service"
DEFAULT_PORT = 5432
# What CATMAID asks for.
OLDEST = 13
# Debian makes the cluster while the package is installed, by the host's language if nothing says otherwise.
SET, CREATE = "postgresql clusters", "/etc/postgresql-common/createcluster.d/catmaid.conf"
PLACE = "postgresql"


def port(deployment: Deployment) -> int:
    """The port of the server that all databases of a host share."""
    return next((one.port for one in deployment.local_databases.values()), DEFAULT_PORT)


def server(survey: Survey) -> Server | None:
    """The server at the inventory's port; None where none answers, or none is asked."""
    found = survey.get("postgresql")
    return found["server"] if found else None


def _cluster(deployment: Deployment, survey: Survey) -> Cluster | None:
    """Debian's cluster at the port, of a server that doesn't answer."""
    found = survey["postgresql"]
    there = found["clusters"] if found else []
    return next((one for one in there if one["port"] == port(deployment) and one["whole"]), None)


def names(deployment: Deployment, survey: Survey) -> tuple[str, str]:
    """Version and name of the cluster that a host has at the port, or is to get."""
    if it := server(survey):
        own = re.fullmatch(rf"{CLUSTERS}/([^/]+)/([^/]+)/postgresql\.conf", it["config"])
        return (own[1], own[2]) if own else (str(it["number"] // 10000), "main")
    if there := _cluster(deployment, survey):
        return there["version"], there["name"]
    known = distributions.of(survey) or distributions.DISTRIBUTIONS[0]
    return str(known.postgresql), "main"


def unit(deployment: Deployment, survey: Survey) -> str:
    """systemd's name of that cluster, as an admin types it."""
    return "postgresql@{}-{}".format(*names(deployment, survey))


def is_adopted(survey: Survey) -> bool:
    """Whether somebody else has made the cluster: it stays as it is, but for the databases in it."""
    found = survey["postgresql"]
    there = found is not None and (found["server"] is not None or any(one["whole"] for one in found["clusters"]))
    return there and SET not in survey["manifest"]


def may_restart(deployment: Deployment, it: Server) -> bool:
    """Whether a run may restart the server: by the inventory, or since nobody has anything in it yet."""
    return deployment.postgresql.restart or not it["used"]


def packages(look: Look) -> list[str]:
    if not look.deployment.local_databases:
        return []
    version, _ = names(look.deployment, look.survey)
    return [f"postgresql-{version}", f"postgresql-{version}-postgis-3"]


def is_installed(deployment: Deployment, survey: Survey) -> bool:
    return f"postgresql-{names(deployment, survey)[0]}" in survey["packages"]


def question(deployment: Deployment) -> questions.Survey:
    databases = deployment.local_databases
    secrets = {one.name: one.secrets_file for one in deployment.instances}
    asked: questions.Postgresql = {
        "port": port(deployment),
        "databases": {
            name: {"name": one.name, "user": one.user, "secrets": secrets[name]} for name, one in databases.items()
        },
    }
    if not databases:
        return {"postgresql": asked}
    units = [UNIT, CLUSTER_UNITS]
    return {"postgresql": asked, "packages": ["postgresql-[1-9]*"], "units": units, "space": [*SPACE_OF_POSTGRESQL]}


# ---- how a cluster is made ----


def created(deployment: Deployment) -> ConfigurationSet:
    """What Debian's tools take when they make a cluster."""
    return ConfigurationSet(
        SET,
        (
            Folder(CREATE.rpartition("/")[0].rpartition("/")[0]),
            Folder(CREATE.rpartition("/")[0]),
            File(CREATE, render(CREATE[1:])),
        ),
    )


def steps(plan: Plan) -> Iterator[Step]:
    """Before the packages: of a cluster that somebody else made nothing follows from it any more."""
    if plan.look.deployment.local_databases and not is_adopted(plan.survey):
        one = created(plan.look.deployment)
        yield from configured(Change(one, compare(one, plan.survey)))


# ---- what keeps it from serving ----


def judge(deployment: Deployment, survey: Survey) -> Iterator[Finding]:
    """Why the server at the port can't have databases of the inventory; nothing where it is still to be installed."""
    at, found = port(deployment), survey["postgresql"] if deployment.local_databases else None
    if found is None:
        return
    if it := found["server"]:
        if it["number"] // 10000 < OLDEST:
            what = f"{it['version']} is at port {at}, and CATMAID needs {OLDEST} or later"
            yield fault(PLACE, what, "upgrade the cluster, or give the port of another one as install.database.port")
        if it["standby"]:
            what = f"the server at port {at} is a standby, in which nothing can be made"
            yield fault(PLACE, what, "give the first server's address as install.database.host")
        return
    there = _cluster(deployment, survey)
    if there and there["ran"] and is_installed(deployment, survey):
        name = f"{there['version']}/{there['name']}"
        fix = _answering(found["problem"], unit(deployment, survey))
        yield fault(PLACE, f"the cluster {name} doesn't answer ({found['problem']})", fix)
        return
    if there:
        return
    others = [one for one in found["clusters"] if one["whole"]]
    if found["holder"]:
        what = f"{found['holder']} has it, and is no server of Debian's"
        fix = "end it, or describe it as install.database with host and password"
        yield fault(f"port {at}", what, fix)
    elif others and not any(one["port"] == at for one in others):
        ports = ", ".join(f"{one['version']}/{one['name']} at {one['port']}" for one in others)
        what = f"no cluster of the host is at port {at}: there is {ports}"
        yield fault("install.database.port", what, "give the port of one of them")
    elif at != DEFAULT_PORT and not others:
        what = f"PostgreSQL isn't there yet, and will be at {DEFAULT_PORT}, not at {at}"
        yield fault("install.database.port", what, "remove it")


def _answering(problem: str, unit: str) -> Command | str:
    """How a server comes to answer its own superuser."""
    if "starting up" in problem or "in recovery mode" in problem:
        return "run again when it has started"
    if "password" in problem or "authentication" in problem or "pg_hba.conf" in problem:
        return "let its superuser in: put 'local all postgres peer' at the beginning of its pg_hba.conf, and reload it"
    return Command(f"systemctl start {unit}")


def faults(look: Look) -> Iterator[Finding]:
    yield from judge(look.deployment, look.survey)


def warnings(look: Look) -> Iterator[Finding]:
    it, deployment = server(look.survey), look.deployment
    if it is None or not deployment.local_databases:
        return
    if not it["checksums"]:
        stop, start = (f"systemctl {do} {unit(deployment, look.survey)}" for do in ("stop", "start"))
        version = names(deployment, look.survey)[0]
        check = f"runuser -u postgres -- /usr/lib/postgresql/{version}/bin/pg_checksums --enable -D {it['data']}"
        what = "its data have no checksums: nobody is told of a block that a disk has changed"
        yield warning(PLACE, what, Command(f"{stop} && {check}; {start}"))
    # What this run restarts it for is said there.
    if it["pending"] and (is_adopted(look.survey) or not may_restart(deployment, it)):
        what = f"{', '.join(it['pending'])} waits for the next restart of PostgreSQL"
        yield warning(PLACE, what, Command(f"systemctl restart {unit(deployment, look.survey)}"))
    if is_adopted(look.survey) and not unit_of(look.survey, UNIT)["enabled"]:
        yield warning(PLACE, "it doesn't start at boot", Command(f"systemctl enable {UNIT}"))


# ---- between deploys ----


def rows(one: Health) -> Iterator[tuple[str, str, str]]:
    it = server(one.survey)
    if it is None:
        return
    name = f"{it['version']} at port {port(one.deployment)}"
    yield "PostgreSQL", name, f"{it['sessions']} of {it['connections']} connections"
    described = {database.name for database in one.deployment.local_databases.values()}
    for name, database in sorted(it["databases"].items()):
        whose = "" if name in described else ", of no instance of the inventory"
        yield "database", name, f"{output.size(database['size'])}{whose}"


def logs(deployment: Deployment, _: Instance | None) -> questions.Logs:
    if not deployment.local_databases:
        return {}
    return {"logs": ["/var/log/postgresql/*.log"], "files": []}


TASK = Task(
    "PostgreSQL",
    question,
    sets=lambda deployment: [created(deployment)] if deployment.local_databases else [],
    packages=packages,
    faults=faults,
    warnings=warnings,
    steps=steps,
    rows=rows,
    logs=logs,
)
