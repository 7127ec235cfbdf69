"""What pyinfra's command line was asked for: a deploy, or what a runbook has its tasks do."""

from __future__ import annotations

from pyinfra import host
from pyinfra.context import ctx_host

from catmaid_deploy.plan.task import Tasks
from catmaid_deploy.run import apply, ending, preflight


def run(tasks: Tasks) -> None:
    """Do it on the current host, which pyinfra loads a deploy file for. A runbook says ``job``.

    All hosts are validated, asked and compared before the first change on any of them.
    """
    if not ctx_host.isset():  # type: ignore[no-untyped-call]
        return  # a test reads the file
    ending.begin()
    name = host.data.get("job")
    if name is None:
        apply.apply(preflight.check(tasks))
        return
    (job,) = [task.jobs[name] for task in tasks if name in task.jobs]
    job(tasks)
