"""The beginning and the end of a run that changes something: the lock, and the line in the record."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from paramiko import SSHException
from pyinfra import state
from pyinfra.api import Host, State
from pyinfra.api.state import BaseStateCallback

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.operations import jobs
from catmaid_deploy.plan import report as reports
from catmaid_deploy.plan import this_run
from catmaid_deploy.run import ending
from catmaid_deploy.version import VERSION


class Plan(Protocol):
    """What a run has to do on a host, and what it knows of it."""

    @property
    def survey(self) -> Survey: ...

    @property
    def report(self) -> reports.Report: ...


def claim(survey: Survey) -> jobs.Claim:
    """By whom and when a host is taken, and which run was the last one before."""
    return {
        "run": this_run.NAME,
        "admin": this_run.admin(),
        "revision": this_run.revision(this_run.inventory_file()),
        "since": this_run.SINCE,
        "last_run": survey["last_run"].get("run"),
    }


def words(title: str, details: list[str]) -> str:
    """What a line of the record says of a change."""
    return f"{title} ({', '.join(details)})" if details else title


def _as_root(state: State, host: Host, op_hash: str) -> dict[str, Any]:
    """How the operations of a run become root on a host."""
    options = state.get_op_data_for_host(host, op_hash).global_arguments
    return {key: value for key, value in options.items() if key.startswith(("_sudo", "_use_sudo"))}


class _Failures(BaseStateCallback):
    """Has a host write down that a run failed, and what was done until then: pyinfra goes on without it."""

    reports: ClassVar[dict[str, reports.Report]] = {}

    @staticmethod
    def operation_host_error(
        state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        report = _Failures.reports.get(host.name)
        if report is None:
            return
        title = next(iter(state.get_op_meta(op_hash).names), "a step")
        changed = [words(title, details) for title, details in report.done]
        command = jobs.failed(this_run.NAME, title, changed, report.asking)
        try:
            done, output = host.run_shell_command(
                command, **command.connector_arguments, **_as_root(state, host, op_hash)
            )
        except (OSError, SSHException):
            return  # the connection may be what failed
        if done:
            report.served = ending.answered(output.stdout_lines)


def begin(plan: Plan) -> None:
    """Take the host, unless another run has it or has changed it since it was looked at."""
    if not _Failures.reports:
        state.add_callback_handler(_Failures())  # type: ignore[no-untyped-call]
    _Failures.reports[plan.report.host] = plan.report
    plan.report.first = jobs.locked(name="Take the host for this run", version=VERSION, **claim(plan.survey))


def end(plan: Plan) -> None:
    """Ask the host whether all is as it should be, write down what changed, and let the host go."""
    changed = [words(title, details) for title, details, _ in plan.report.planned]
    plan.report.last = jobs.recorded(
        name="Record what changed", run=this_run.NAME, changed=changed, asking=plan.report.asking
    )


def clear(plan: Plan) -> None:
    """Write down that the run before was cut, where that left nothing to do."""
    last, lock = plan.survey["last_run"], plan.survey["lock"]
    if last and not last.get("ended") and not (lock and lock["alive"]):
        jobs.cleared(name="Record that the run before was cut", last_run=last["run"])
