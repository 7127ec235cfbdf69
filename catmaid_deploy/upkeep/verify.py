"""Tests a deployed host as a user would: what works, what doesn't, and the fix."""

from __future__ import annotations

from catmaid_deploy.plan.task import Tasks
from catmaid_deploy.upkeep import health, output


def show(tasks: Tasks) -> None:
    """Print all checks of all hosts; ends the run with exit code 1 where one fails."""
    hosts = health.look_at_all(tasks, verify=True)
    for one in hosts:
        if one.look and one.survey["manifest"]:
            for task in tasks:
                task.outside(one)
        health.fold(tasks, one)
    if not output.JSON:
        for one in hosts:
            output.echo()
            output.echo(one.host, bold=True)
            for line in output.table([("ok", name, word) for name, word in one.checks], 2):
                output.echo(line, fg="green")
            for finding in one.findings:
                output.finding(finding)
            output.echo(f"  {output.count(one.faults)}", bold=True)
    document = [
        {
            "host": one.host,
            "checks": dict(one.checks),
            "findings": [finding.for_machines(one.host) for finding in one.findings],
        }
        for one in hosts
    ]
    output.end({"hosts": document}, int(any(one.faults for one in hosts)))
