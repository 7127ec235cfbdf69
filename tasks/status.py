"""All hosts at a glance."""

from __future__ import annotations

import time
from typing import Any

from catmaid_deploy.plan.task import Task, Tasks
from catmaid_deploy.schema import Instance
from catmaid_deploy.tasks import health, supervisor
from catmaid_deploy.tasks.health import Health
from catmaid_deploy.upkeep import output


def _release(instance: Instance, survey: dict[str, Any]) -> str:
    target = (survey["files"].get(instance.release_link) or {}).get("target")
    return str(target or "none").rpartition("/")[2] if instance.releases else str(target or instance.checkout)


def programs(one: Health, instance: Instance) -> list[dict[str, Any]]:
    """A program each: its slot, state, age in seconds, ends within an hour, memory in bytes."""
    found = []
    for short, place in supervisor.in_use(instance, one.survey).items():
        name = f"{instance.name}:{instance.name}-{place}"
        program = (one.survey["supervisor"] or {}).get(name) or {}
        found.append(
            {
                "program": short,
                "slot": place,
                "state": program.get("state", "not there"),
                "seconds": one.found["ages"].get(name),
                "ends": len(health.ends(one, instance, short)),
                "memory": program.get("memory", 0),
            }
        )
    return found


def document(one: Health) -> dict[str, Any]:
    """A host's state for machines."""
    findings = [finding.for_machines(one.host) for finding in one.findings]
    if not one.found or not one.deployment:
        return {"host": one.host, "findings": findings}
    found, survey = one.found, one.survey
    return {
        "host": one.host,
        "findings": findings,
        "uptime": found["uptime"],
        "load": found["load"],
        "processors": found["processors"],
        "memory": {"total": survey["memory"], "available": survey["memory_available"]},
        "spaces": found["spaces"],
        "certificates": found["served"],
        "security_updates": found["security_updates"],
        "last_run": survey["last_run"],
        "closed": list(survey["closed"]),
        "tiles": {tiles.name: survey["tiles"][tiles.name] for tiles in one.deployment.tiles},
        "instances": {
            instance.name: {
                "release": _release(instance, survey),
                "programs": programs(one, instance),
                "queues": found["instances"][instance.name]["probe"].get("queues", {}),
                **{key: found["instances"][instance.name][key] for key in ("statistics", "rate", "websockets")},
            }
            for instance in one.deployment.instances
        },
    }


def _instance(one: Health, instance: Instance) -> None:
    told = one.found["instances"][instance.name]
    numbers, rate, sockets = told["statistics"], told["rate"], told["websockets"]
    words = []
    if numbers:
        words.append(f"{numbers['busy']} of {numbers['threads']} threads busy")
    if rate is not None:
        words.append(f"{rate:.1f} requests/s")
    if numbers and numbers["waiting"]:
        words.append(f"{numbers['waiting']} wait")
    if sockets is not None:
        words.append(f"{sockets} WebSockets")
    queues = told["probe"].get("queues", {})
    words += [f"{length} tasks in {queue}" for queue, length in queues.items()]
    output.echo()
    output.echo(f"  {instance.name}  {_release(instance, one.survey)}", bold=True)
    output.echo(f"    {', '.join(words)}")
    rows = [("program", "slot", "state", "since", "ends/h", "memory")]
    rows += [
        (p["program"], p["slot"][-1], p["state"], output.age(p["seconds"]), str(p["ends"]), output.size(p["memory"]))
        for p in programs(one, instance)
    ]
    for line in output.table(rows):
        output.echo(line)


def _host(one: Health) -> None:
    assert one.deployment
    found, survey = one.found, one.survey
    free, total = survey["memory_available"] or 0, survey["memory"] or 0
    output.echo(
        f"  up {output.age(found['uptime'])}, load {found['load']:.2f} of {found['processors']} processors, "
        f"{output.size(free)} of {output.size(total)} memory free"
    )
    rows = []
    for site in one.deployment.sites:
        served = found["served"].get(site.server_name)
        left = "HTTP alone" if served is None else served["problem"] or f"{served['seconds_left'] / 86400:.0f} days"
        rows.append(("site", site.server_name, f"certificate: {left}" if served else left))
    for tiles in one.deployment.tiles:
        state = survey["tiles"][tiles.name]
        there = "there" if state["proof"] else "NOT THERE"
        rows.append(("tiles", tiles.name, f"{there}: {tiles.folder}"))
    for space in found["spaces"]:
        if space["size"]:
            rows.append(("space", space["mount"], f"{output.size(space['free'])} of {output.size(space['size'])} free"))
    last = survey["last_run"]
    if last:
        state = {"failed": ", failed", "cut": ", cut", None: ", cut"}.get(last.get("ended"), "")
        rows.append(("deploy", str(last["since"]), f"by {last['admin']}, revision {last['revision']}{state}"))
    updates = found["security_updates"]
    rows.append(("updates", "unknown" if updates is None else f"{len(updates)} for security", ""))
    rows += [("closed", path, "users see the maintenance page") for path in survey["closed"]]
    for line in output.table(rows, 2):
        output.echo(line)
    for instance in one.deployment.instances:
        _instance(one, instance)


def show(tasks: Tasks) -> None:
    """Print all hosts; ends the run with exit code 1 where one has a fault."""
    hosts = health.look_at_all(tasks, verify=False)
    for one in hosts:
        one.fold()
    if not output.JSON:
        for one in hosts:
            output.echo()
            output.echo(f"{one.host}: {output.count(one.faults)}", bold=True, fg="red" if one.faults else "green")
            if one.found:
                _host(one)
            if one.findings:
                output.echo()
            for finding in one.findings:
                output.finding(finding)
        if len(hosts) > 1:
            ill = [one.host for one in hosts if one.faults]
            output.echo()
            output.echo(f"{len(hosts)} hosts, {len(ill)} with faults" + (f": {', '.join(ill)}" if ill else ""))
    code = int(any(one.faults for one in hosts))
    output.end({"time": time.time(), "hosts": [document(one) for one in hosts]}, code)


TASK = Task("status", jobs={"status": show})
