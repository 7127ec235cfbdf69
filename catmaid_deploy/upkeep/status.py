"""All hosts at a glance."""

from __future__ import annotations

import time
from typing import Any

from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.task import Tasks, merged
from catmaid_deploy.run import version
from catmaid_deploy.upkeep import health, output
from catmaid_deploy.version import VERSION


def document(tasks: Tasks, one: Health) -> dict[str, Any]:
    """A host's state for machines."""
    findings = [finding.for_machines(one.host) for finding in one.findings]
    if not one.look:
        return {"host": one.host, "findings": findings}
    asked = {"last_run": one.survey["last_run"], "version": version.of_host(one.survey)}
    return {"host": one.host, "findings": findings, **merged(task.document(one) for task in tasks), **asked}


def _host(tasks: Tasks, one: Health) -> None:
    found, survey = one.found, one.survey
    free, total = survey["memory_available"] or 0, survey["memory"] or 0
    output.echo(
        f"  up {output.age(found['uptime'])}, load {found['load']:.2f} of {found['processors']} processors, "
        f"{output.size(free)} of {output.size(total)} memory free"
    )
    rows = [row for task in tasks for row in task.rows(one)]
    last = survey["last_run"]
    if last:
        states: dict[bool | str | None, str] = {"failed": ", failed", "cut": ", cut", None: ", cut"}
        state = states.get(last.get("ended"), "")
        rows.append(("deploy", str(last["since"]), f"by {last['admin']}, revision {last['revision']}{state}"))
    if noted := version.of_host(survey):
        rows.append(("version", noted, "" if noted == VERSION else f"this deploy has {VERSION}"))
    for line in output.table(rows, 2):
        output.echo(line)
    for task in tasks:
        for title, words, table in task.blocks(one):
            output.echo()
            output.echo(f"  {title}", bold=True)
            output.echo(f"    {words}")
            for line in output.table(table):
                output.echo(line)


def show(tasks: Tasks) -> None:
    """Print all hosts; ends the run with exit code 1 where one has a fault."""
    hosts = health.look_at_all(tasks, verify=False)
    for one in hosts:
        health.fold(tasks, one)
    if not output.JSON:
        for one in hosts:
            output.echo()
            output.echo(f"{one.host}: {output.count(one.faults)}", bold=True, fg="red" if one.faults else "green")
            if one.look:
                _host(tasks, one)
            if one.findings:
                output.echo()
            for finding in one.findings:
                output.finding(finding)
        if len(hosts) > 1:
            ill = [one.host for one in hosts if one.faults]
            output.echo()
            output.echo(f"{len(hosts)} hosts, {len(ill)} with faults" + (f": {', '.join(ill)}" if ill else ""))
    code = int(any(one.faults for one in hosts))
    output.end({"time": time.time(), "hosts": [document(tasks, one) for one in hosts]}, code)
