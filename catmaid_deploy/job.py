"""Which job pyinfra's command line asked for: a deploy, or a runbook's."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from pyinfra import host, state
from pyinfra.context import ctx_host

from catmaid_deploy.finding import HERE, Command, fault
from catmaid_deploy.plan.task import Tasks
from catmaid_deploy.run import apply, ending, preflight
from catmaid_deploy.upkeep import logs, status, verify

# What is the same whatever is deployed.
JOBS = {"status": status.show, "verify": verify.show, "logs": logs.show}


def run(tasks: Tasks) -> None:
    """Do it on the current host, which pyinfra loads a deploy file for. A runbook says ``job``.

    All hosts are validated, asked and compared before the first change on any of them.
    """
    if not ctx_host.isset():  # type: ignore[no-untyped-call]
        return  # a test reads the file
    _refuse_two_copies()
    ending.begin()
    # Where a runbook includes deploy.py, pyinfra would put both files' names before that of each operation.
    host.current_deploy_name = None
    # Of the runbook itself: a host may have a key of this name, which is the lab's.
    name = (host.current_deploy_data or {}).get("job")
    if name is None:
        apply.apply(preflight.check(tasks))
        return
    (job,) = [found[name] for found in (JOBS, *(task.jobs for task in tasks)) if name in found]
    job(tasks)


def _refuse_two_copies() -> None:
    """End the run where deploy.py is of one copy of the deploy and this code of another one, which is installed."""
    code = Path(__file__).resolve().parent
    file = Path(state.current_exec_filename or "deploy.py").resolve()
    if file.parent not in (code, code.parent):
        install = Command(f"{shlex.quote(sys.executable)} -m pip install -e {shlex.quote(str(file.parent))}", HERE)
        raise SystemExit(f"--> {fault(str(file), f'the code that is installed is another, {code}', install).line()}")
