"""The user of nginx's workers, and the groups by which they open the programs' sockets."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.finding import Finding, fault
from catmaid_deploy.operations.users import system_user
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import (
    NGINX_USER,
    SERVICE_USER,
    SOCKET_GROUP,
    Deployment,
    Instance,
)


def groups(deployment: Deployment) -> list[str]:
    """The groups that nginx's workers need beside their own: by these they open the programs' sockets."""
    return sorted({SOCKET_GROUP, *(instance.runtime_group for instance in deployment.instances)})


def missing_groups(deployment: Deployment, survey: Survey) -> list[str]:
    """The groups that nginx's user isn't in; none of them where there is no such user."""
    account = survey["accounts"][NGINX_USER]
    if account:
        return [group for group in groups(deployment) if group not in account["groups"]]
    # It goes on with all that its workers could read before by a group; nobody is put into a directory's.
    before = survey["accounts"][SERVICE_USER]
    local = [group for group in (before["groups"] if before else ()) if group in survey["directory"]["groups"]]
    return sorted({*groups(deployment), *local})


def judge_group(instance: Instance, survey: Survey) -> Iterator[Finding]:
    """Why nginx's user can't get the group by which it opens an instance's sockets."""
    account, group = survey["accounts"][NGINX_USER], instance.runtime_group
    is_there = survey["instances"][instance.name]["group"]
    if is_there and group not in survey["directory"]["groups"] and group not in (account or {"groups": ()})["groups"]:
        what = f"{group!r} is a directory service's group, and nginx's own user can only be put into one of this host"
        yield fault("runtime_group", what, f"leave it out, which is {SOCKET_GROUP!r}, or name a group of /etc/group")


def make_user(plan: Plan) -> Iterator[Step]:
    """Make the user of nginx's workers, before nginx's files name it, or put it into a group that it needs."""
    names = missing_groups(plan.look.deployment, plan.survey)
    if not names or not plan.look.deployment.sites:
        return

    is_new = not plan.survey["accounts"][NGINX_USER]
    make = partial(system_user, NGINX_USER, "/nonexistent", "nginx's workers", names, is_new)
    words = [f"nginx's workers, in the groups {', '.join(names)}"]
    what = f"it isn't in {', '.join(names)}, whose sockets nginx has to open"
    lacks = fault(f"user {NGINX_USER}", what, this_run.deploy())
    yield Step(f"user {NGINX_USER}", words, make, by_job=False, lacks=(lacks,))


TASK = Task("nginx's user", steps=make_user)
