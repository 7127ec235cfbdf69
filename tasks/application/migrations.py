"""What the migrations of an instance's new code need before anything changes, and what a dry run says of them.

A run itself finds out which there are when it hands over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from catmaid_deploy import questions
from catmaid_deploy.answers.sought import Lacking
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.facts.survey import Migrations
from catmaid_deploy.file_sets import Change, File
from catmaid_deploy.finding import Finding, fault
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.plan import Plan
from catmaid_deploy.plan.task import Ask, Task
from catmaid_deploy.schema import Deployment, Instance, Releases
from catmaid_deploy.tasks.application import dumps, settings_file
from catmaid_deploy.tasks.programs import slots as program
from catmaid_deploy.tasks.programs import supervisor
from catmaid_deploy.tasks.programs.slots import full_name

# The ways of the web server to other code. A group that Supervisor takes anew starts without a look at the database.
WAYS = {("hand over", "wsgi"), ("chain", "wsgi"), ("restart", "wsgi")}
ANEW = "update"


def waiting(deployment: Deployment, changes: Iterable[Change], survey: Survey) -> list[Instance]:
    """The instances whose web server a run would bring to other code."""
    calls = {one.set.service.get("instance"): one.set.service.get("calls", ()) for one in changes}
    return [
        instance
        for instance in deployment.instances
        if _moves(instance, calls.get(instance.name, ())) and _has_other_code(instance, survey)
    ]


def _moves(instance: Instance, calls: Iterable[tuple[str, str]]) -> bool:
    return bool(WAYS & set(calls)) and (ANEW, instance.name) not in calls


def _has_other_code(instance: Instance, survey: Survey) -> bool:
    """Whether what runs was started with other code than a run would start it with."""
    slot = supervisor.in_use(instance, survey)["wsgi"]
    process = (survey["supervisor"] or {}).get(full_name(instance, slot))
    return (process["code"] if process else None) != survey["instances"][instance.name]["code"]


def question(
    instances: Iterable[Instance], survey: Survey, settings: Mapping[str, File] | None = None
) -> dict[str, list[questions.Migrations]]:
    """What `on_host.facts.migrations` is to ask: the code in its place, or else the mirror of its repository."""
    return {"instances": [_asked(instance, survey, settings or {}) for instance in instances]}


def _asked(instance: Instance, survey: Survey, settings: Mapping[str, File]) -> questions.Migrations:
    releases, found = instance.releases, survey["instances"][instance.name]["release"]
    coming = found is not None and not found["there"]
    return {
        "name": instance.name,
        "user": instance.user,
        "virtualenv": instance.virtualenv,
        "projects": instance.projects_dir,
        "environment": program.environment(instance),
        "seconds": instance.start_seconds,
        "release": _unpacked(releases, settings.get(instance.name)) if releases and coming else None,
        "dump": dumps.asked(instance),
    }


def _unpacked(releases: Releases, settings: File | None) -> questions.Unpacked:
    return {
        "folder": releases.folder,
        "owner": releases.owner,
        "revision": releases.revision,
        "shared": releases.shared,
        "settings": {"text": settings.text, "place": settings.path} if settings else None,
    }


def judge(instance: Instance, found: Lacking) -> Iterator[Finding]:
    """Why a run would refuse the code."""
    if found.get("lacks") and instance.migrate == "refuse":
        yield fault(
            f"site.instances[{instance.name}].migrate",
            f"a run would refuse this release: the database lacks its migrations {found['lacks']}",
            "allow them in the inventory, by migrate 'before' or 'closed'",
        )
    if refused := dumps.judge(instance, found.get("dump", {})):
        yield refused


def notes(instance: Instance, found: Lacking) -> Iterator[str]:
    """What a run would do to the database, or why nobody knows."""
    if found.get("away"):
        yield f"{instance.name}: its migrations are not known before the code is here"
    elif problem := found.get("problem"):
        yield f"{instance.name}: its migrations are not known, since the database can't be asked: {problem}"
    elif found["lacks"] and instance.migrate != "refuse":
        when = {"before": "before users see the new release", "closed": "behind the maintenance page"}
        yield f"{instance.name}: migrations would run {when[instance.migrate]}: {found['lacks']}"
        if note := dumps.note(instance, found.get("dump", {})):
            yield note


def sought(plan: Plan, ask: Ask) -> Iterator[Finding]:
    """Ask the database only where other code comes, since it takes time: in a dry run for what a run would find out by
    itself, and in a run whether there would be a way back from migrations. Of code that isn't there yet they may come.
    """
    deployment = plan.look.deployment
    coming = waiting(deployment, plan.changes, plan.survey)
    instances = [instance for instance in coming if this_run.DRY or dumps.is_due(instance)]
    if not instances:
        return
    found = ask(Migrations, question(instances, plan.survey, settings_file.of_host(deployment)))["migrations"]
    for instance in instances:
        yield from judge(instance, found[instance.name])
        if this_run.DRY:
            plan.report.notes += notes(instance, found[instance.name])


TASK = Task("migrations", sought=sought)
