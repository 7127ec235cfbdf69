"""RabbitMQ as a service of the host: it listens to the host alone, under a name that outlives the host's.

One that somebody else has installed is used as it is: its data lie under the name of its node.
"""

from __future__ import annotations

from collections.abc import Iterator

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Survey, unit_of
from catmaid_deploy.file_sets import Change, ConfigurationSet, File, Folder, Reason, compare
from catmaid_deploy.finding import Command, Finding, fault, warning
from catmaid_deploy.on_host.facts.rabbitmq import DISTRIBUTION, MAPPER, NODE, NODES_FILE
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.render import render
from catmaid_deploy.run.apply import configured
from catmaid_deploy.schema import Deployment

SET, PACKAGE = "rabbitmq", "rabbitmq-server"
UNIT, MAPPERS = "rabbitmq-server.service", "epmd.socket"
FOLDER = "/etc/catmaid/rabbitmq"
DROP_INS = {unit: f"/etc/systemd/system/{unit}.d/catmaid.conf" for unit in (UNIT, MAPPERS)}
LOGS = "/var/log/rabbitmq/*.log"
RESTART = Command(f"systemctl restart {PACKAGE}")
START = Command(f"systemctl start {PACKAGE}")
# With less RabbitMQ takes no messages: what it does by itself.
LEAST_FREE = 50_000_000


def ports(deployment: Deployment) -> list[int]:
    """Where it listens: at one port, unless the inventory gives instances different ones."""
    return sorted({broker.port for broker in deployment.local_brokers.values()})


def wanted(deployment: Deployment) -> ConfigurationSet:
    """Root's own files, which systemd's unit names: Debian gives RabbitMQ's folder in /etc to RabbitMQ's user."""
    values = {"ports": ports(deployment), "node": NODE, "folder": FOLDER, "port": MAPPER}
    files = [f"{FOLDER}/rabbitmq.conf", *DROP_INS.values()]
    return ConfigurationSet(
        SET,
        (
            Folder(FOLDER),
            *(Folder(path.rpartition("/")[0]) for path in DROP_INS.values()),
            *(File(path, render(path[1:], **values)) for path in files),
        ),
        checks=(("systemd-analyze", *DROP_INS),),
        service={"kind": SET},
    )


def is_own(survey: Survey) -> bool:
    """Whether RabbitMQ is the deploy's, or will be: it isn't there, and has left no data under another name."""
    found = survey["rabbitmq"]
    return SET in survey["manifest"] or (PACKAGE not in survey["packages"] and {*found["nodes"]} <= {NODE})


def outside(survey: Survey, port: int) -> list[str]:
    """The addresses beside this host's own at which somebody listens on a port."""
    listens = survey["rabbitmq"]["sockets"].get(str(port), [])
    return [address for address, _ in listens if not address.startswith("127.") and address != "::1"]


def is_waiting(deployment: Deployment, survey: Survey) -> bool:
    """Whether it runs with other settings than its files have now."""
    unit = unit_of(survey, UNIT)
    paths = (
        item.path for item in wanted(deployment).items if isinstance(item, File) and item.path != DROP_INS[MAPPERS]
    )
    times = [entry["time"] for path in paths if (entry := survey["files"].get(path))]
    return unit["active"] and max(times, default=0) > unit["since"]


def may_restart(deployment: Deployment, survey: Survey) -> bool:
    """Whether the inventory allows it, or nothing uses RabbitMQ yet."""
    return deployment.rabbitmq.restart or not survey["rabbitmq"]["made"]


def change(deployment: Deployment, survey: Survey) -> Change:
    """What differs, and what runs otherwise than its files say."""
    one = wanted(deployment)
    differences, reasons = compare(one, survey), []
    own = {f"{FOLDER}/rabbitmq.conf", DROP_INS[UNIT]}
    changes = any(found.path in own for found in differences)
    if not differences and any(unit_of(survey, unit)["needs_daemon_reload"] for unit in DROP_INS):
        reasons.append(Reason("reload", "systemd", "its files are newer"))
    if PACKAGE in survey["packages"] and not survey["rabbitmq"]["tools"]:
        reasons.append(Reason("write", NODES_FILE, f"rabbitmqctl doesn't ask {NODE}"))
    if unit_of(survey, MAPPERS)["active"] and outside(survey, MAPPER):
        reasons.append(Reason("restart", MAPPERS, "it listens to other hosts too"))
    running = unit_of(survey, UNIT)["active"]
    restart = running and (changes or is_waiting(deployment, survey)) and may_restart(deployment, survey)
    if restart:
        reasons.append(Reason("restart", PACKAGE, "its settings change"))
    one.service["restart"] = restart
    return Change(one, differences, tuple(reasons))


def steps(plan: Plan) -> Iterator[Step]:
    """Before its package is installed: Debian starts it at once, and then it listens to this host alone."""
    deployment, survey = plan.look.deployment, plan.survey
    if not deployment.local_brokers or not is_own(survey):
        return
    found = change(deployment, survey)
    if found.differences and unit_of(survey, UNIT)["active"] and not found.set.service["restart"]:
        changes = {difference.path for difference in found.differences} - {DROP_INS[MAPPERS]}
        if any(path.startswith(FOLDER) or path == DROP_INS[UNIT] for path in changes):
            plan.report.warnings.append(_waits())
    yield from configured(found)


def _waits() -> Finding:
    return warning("rabbitmq", "changed settings wait for its next restart", RESTART)


def question(deployment: Deployment) -> questions.Survey:
    return {"units": list(DROP_INS) if deployment.local_brokers else []}


def faults(look: Look) -> Iterator[Finding]:
    """Somebody else at the ports of a RabbitMQ that isn't there yet."""
    if not look.deployment.local_brokers or PACKAGE in look.survey["packages"]:
        return
    for port in [*ports(look.deployment), DISTRIBUTION]:
        if look.survey["rabbitmq"]["sockets"].get(str(port)):
            elsewhere = "have it listen on another one"
            more = "" if port == DISTRIBUTION else ", or give another as install.broker.port"
            yield fault(f"port {port}", "another program listens there, and RabbitMQ needs it", elsewhere + more)


def warnings(look: Look) -> Iterator[Finding]:
    deployment, survey = look.deployment, look.survey
    if not deployment.local_brokers:
        return
    if is_own(survey):
        if is_waiting(deployment, survey) and not may_restart(deployment, survey):
            yield _waits()
        return
    if survey["rabbitmq"]["guest"]:
        what = "its user guest has the password that everybody knows"
        yield warning("rabbitmq", what, Command("rabbitmqctl delete_user guest"))
    if open_to := [port for port in (*ports(deployment), DISTRIBUTION, MAPPER) if outside(survey, port)]:
        what = f"it was installed by somebody else and listens to other hosts too, on {', '.join(map(str, open_to))}"
        yield warning("rabbitmq", what, "have the firewall close these ports, unless other hosts use it")


def health(one: Health) -> None:
    if not one.deployment.local_brokers or PACKAGE not in one.survey["packages"]:
        return
    unit = unit_of(one.survey, UNIT)
    if unit["masked"]:
        one.fault("rabbitmq", "it is masked: nothing starts it", Command(f"systemctl unmask {UNIT}"))
    elif not unit["active"] and not unit["ending"]:
        one.fault("rabbitmq", "it doesn't run: tasks wait, and notices reach no page", START)
    elif not unit["enabled"]:
        one.fault("boot", f"{UNIT} doesn't start at boot", Command(f"systemctl enable {UNIT}"))
    spaces = {space["mount"]: space["free"] for space in one.found["spaces"] if space["size"]}
    for mount in ("/var/lib/rabbitmq", "/var/lib", "/var", "/"):
        if mount in spaces:
            if spaces[mount] < LEAST_FREE:
                one.fault("rabbitmq", f"it takes no tasks: {mount} is full", f"remove what isn't needed below {mount}")
            break


def rows(one: Health) -> Iterator[tuple[str, str, str]]:
    hosts = one.survey["rabbitmq"]["hosts"]
    if not one.deployment.local_brokers:
        return
    version = next((found["version"] for found in hosts.values() if found["version"]), "doesn't answer")
    well = sum(found["word"] == "well" for found in hosts.values())
    yield "rabbitmq", version, f"{well} of {len(hosts)} virtual hosts answer"


TASK = Task(
    "rabbitmq",
    question,
    sets=lambda deployment: [wanted(deployment)] if deployment.local_brokers else [],
    packages=lambda look: [PACKAGE] if look.deployment.local_brokers else [],
    faults=faults,
    warnings=warnings,
    steps=steps,
    health=health,
    rows=rows,
    logs=lambda deployment, _: {"logs": [LOGS] if deployment.local_brokers else [], "files": []},
)
