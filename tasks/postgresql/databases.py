"""The databases of instances on this host, each with the role that owns it. Nothing here is ever dropped."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from catmaid_deploy import questions
from catmaid_deploy.answers.postgresql import Role, Server
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.facts.survey import Passwords
from catmaid_deploy.finding import Command, Finding, fault, warning
from catmaid_deploy.on_host.facts.postgresql import EXTENSIONS, KEEPS
from catmaid_deploy.on_host.operations.databases import ROLE_SETTINGS
from catmaid_deploy.operations import postgresql as operations
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Ask, Task
from catmaid_deploy.schema import Deployment, Instance
from catmaid_deploy.schema.install import Database
from catmaid_deploy.tasks import secrets
from catmaid_deploy.tasks.postgresql import cluster
from catmaid_deploy.tasks.programs import supervisor

NO_PASSWORD = "has another password than the deploy's"


def local(deployment: Deployment) -> Iterator[tuple[Instance, Database]]:
    """The instances with a database on this host."""
    for instance in deployment.instances:
        if instance.name in deployment.local_databases:
            yield instance, deployment.local_databases[instance.name]


def is_ours(role: Role, instance: Instance) -> bool:
    """Whether the deploy made a role, or took it over, for an instance: its password is that of the host's file."""
    return role["note"] == f"{KEEPS}{instance.name}"


def lacking(instance: Instance, one: Database, survey: Survey) -> list[str]:
    """What there is to do for an instance's database, a few words each."""
    it = cluster.server(survey)
    if it is None:
        return [f"make the role {one.user}", f"make the database {one.name}"]
    return [*_of_role(instance, one, it, survey), *_of_database(one, it)]


def _of_role(instance: Instance, one: Database, it: Server, survey: Survey) -> Iterator[str]:
    role = it["roles"].get(one.user)
    if role is None:
        yield f"make the role {one.user}"
        return
    # Between looking and doing, the host's file gets what the inventory gives.
    given_anew = secrets.DATABASE in survey["secrets"][instance.name]["differs"]
    if role["password"] != "same" or given_anew:
        yield f"give {one.user} its password"
    if not role["login"]:
        yield f"let {one.user} sign in"
    has = dict(line.split("=", 1) for line in role["settings"])
    if names := [name for name, value in ROLE_SETTINGS.items() if has.get(name) != value]:
        yield f"set {', '.join(names)} of {one.user}"
    if not role["note"]:
        yield f"note in PostgreSQL that the deploy keeps the role {one.user}"


def _of_database(one: Database, it: Server) -> Iterator[str]:
    database = it["databases"].get(one.name)
    if database is None:
        yield f"make the database {one.name}"
        return
    if names := [name for name in EXTENSIONS if name not in database["extensions"]]:
        yield f"add {' and '.join(names)} to {one.name}"
    if database["open"]:
        yield f"let no other role into {one.name}"
    if not database["note"]:
        yield f"note in PostgreSQL that the deploy keeps the database {one.name}"


# ---- what belongs to somebody else ----


def judge(instance: Instance, one: Database, look: Look) -> Iterator[Finding]:
    """What can't be made or taken over."""
    it = cluster.server(look.survey)
    if it is None:
        return
    if database := it["databases"].get(one.name):
        if database["owner"] != one.user:
            what = f"the database {one.name} belongs to {database['owner']}, not to {one.user}"
            yield fault("name", what, f"give another name, or {database['owner']} as user")
        if database["encoding"] != "UTF8":
            what = f"the database {one.name} has the encoding {database['encoding']}, and CATMAID needs UTF8"
            yield fault("name", what, "give another name, and move its data there by pg_dump")
    if not any(name.startswith("postgresql-") for name in look.missing):
        there = database["extensions"] if database else []
        for name in EXTENSIONS:
            if name not in (*it["available"], *there):
                version = cluster.names(look.deployment, look.survey)[0]
                install = Command(f"apt-get install postgresql-{version} postgresql-{version}-postgis-3")
                yield fault(cluster.PLACE, f"the extension {name} isn't available to its version {version}", install)
    role = it["roles"].get(one.user)
    if (
        role
        and role["password"] == "other"
        and not is_ours(role, instance)
        and secrets.DATABASE not in secrets.given(instance)
    ):
        yield _another_password(one, look.deployment, NO_PASSWORD)


def _another_password(one: Database, deployment: Deployment, why: str) -> Finding:
    statement = f"ALTER ROLE {one.user} PASSWORD NULL"
    forget = f'runuser -u postgres -- psql -p {cluster.port(deployment)} -c "{statement}"'
    what = f"the role {one.user} is there and {why}: give that as password, or have it get a new one"
    return fault("password", what, Command(forget))


def faults(look: Look) -> Iterator[Finding]:
    for instance, one in local(look.deployment):
        for found in judge(instance, one, look):
            yield (
                found
                if found.place == cluster.PLACE
                else found.below(f"site.instances[{instance.name}].install.database")
            )


def sought(plan: Plan, ask: Ask) -> Iterator[Finding]:
    """Whether roles that somebody else has made have the password that the inventory gives. Only here it travels."""
    deployment, it = plan.look.deployment, cluster.server(plan.survey)
    asked: dict[str, questions.Given] = {}
    for instance, one in local(deployment):
        role = it and it["roles"].get(one.user)
        given = secrets.given(instance).get(secrets.DATABASE)
        if role and role["password"] == "other" and not is_ours(role, instance) and given:
            asked[instance.name] = {"user": one.user, "password": given}
    if not asked:
        return
    words = ask(Passwords, {"port": cluster.port(deployment), "given": asked})["passwords"]
    for instance, one in local(deployment):
        if words.get(instance.name, "same") not in ("same", "old"):
            found = _another_password(one, deployment, "has another password than the inventory gives")
            yield found.below(f"site.instances[{instance.name}].install.database")


def warnings(look: Look) -> Iterator[Finding]:
    it = cluster.server(look.survey)
    for instance, one in local(look.deployment):
        role = it and it["roles"].get(one.user)
        if role and role["superuser"]:
            place = f"site.instances[{instance.name}].install.database.user"
            statement = (
                f'runuser -u postgres -- psql -p {cluster.port(look.deployment)} -c "ALTER ROLE {one.user} NOSUPERUSER"'
            )
            yield warning(place, f"{one.user} is a superuser: CATMAID may do all in PostgreSQL", Command(statement))


def left(deployment: Deployment, survey: Survey) -> Iterator[tuple[str, str]]:
    """Databases that the deploy has made and the inventory no longer has, each with its instance's name."""
    it, kept = cluster.server(survey), {one.name for one in deployment.local_databases.values()}
    for name, database in sorted(it["databases"].items()) if it else ():
        if name not in kept and database["note"].startswith(KEEPS):
            yield name, database["note"].removeprefix(KEEPS)


def remarks(look: Look) -> Iterator[Finding]:
    """Once, in the run in which an instance goes with its programs, or gets another database."""
    new = {instance.name for instance, one in local(look.deployment) if lacking(instance, one, look.survey)}
    here = {instance.name for instance in look.deployment.instances}
    for name, instance in left(look.deployment, look.survey):
        goes = instance not in here and f"{supervisor.SET}{instance}" in look.survey["manifest"]
        if goes or instance in new:
            yield warning(f"database {name}", f"it stays, with its role: {instance} no longer has it")


# ---- what there is to do ----


def steps(plan: Plan) -> Iterator[Step]:
    for instance, one in local(plan.look.deployment):
        todo = lacking(instance, one, plan.survey)
        if not todo:
            continue
        title = f"database {one.name}"
        make = partial(
            operations.database_kept,
            name=title.capitalize(),
            instance=instance.name,
            database=one.name,
            owner=one.user,
            port=one.port,
            secrets=instance.secrets_file,
            user=instance.user,
            run=this_run.NAME,
        )
        lacks = fault(f"database of {instance.name}", f"a deploy would {'; '.join(todo)}", this_run.deploy())
        yield Step(title, todo, make, lacks=(lacks,))


TASK = Task("databases", faults=faults, warnings=warnings, remarks=remarks, steps=steps, sought=sought)
