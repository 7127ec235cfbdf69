"""The dump of an instance's database before migrations: when one is due, and what is said of it."""

from __future__ import annotations

from catmaid_deploy import questions
from catmaid_deploy.answers.sought import Dump
from catmaid_deploy.finding import Command, Finding, fault
from catmaid_deploy.schema import Instance
from catmaid_deploy.upkeep import output


def is_due(instance: Instance) -> bool:
    """Whether migrations may run, and a dump is the way back from them."""
    return instance.migrate != "refuse" and instance.way_back == "dump"


def asked(instance: Instance) -> questions.Dump | None:
    """What a host has to know for it; None where none is due."""
    if not is_due(instance):
        return None
    made = instance.made_database
    local: questions.LocalDatabase | None = None
    if made and not made.host:
        local = {"name": made.name, "owner": made.user, "port": made.port}
    return {
        "folder": instance.dumps_dir,
        "revision": instance.releases.revision if instance.releases else "checkout",
        "user": instance.user,
        # What serves knows the database whatever code comes.
        "environment": f"{instance.config_dir}/wsgi/environment.sh",
        "limit": instance.dump_limit,
        "local": local,
    }


def judge(instance: Instance, found: Dump) -> Finding | None:
    """Why there would be no way back from migrations; None where there would be one, or nobody knows."""
    refused = found.get("refused")
    if refused is None:
        return None
    fix = Command(refused["command"]) if refused["command"] else refused["todo"]
    return fault(f"site.instances[{instance.name}].{refused['key']}", refused["what"], fix)


def note(instance: Instance, found: Dump) -> str | None:
    """What a run would do, or why nobody knows."""
    if found.get("other"):
        return f"{instance.name}: no dump would be made before them: the database is no PostgreSQL"
    if problem := found.get("problem"):
        return f"{instance.name}: whether its database can be dumped before them is not known: {problem}"
    if "size" in found:
        what = f"{found['name']} ({output.size(found['size'])})"
        return f"{instance.name}: its database {what} would be dumped before that to {instance.dumps_dir}"
    return None
