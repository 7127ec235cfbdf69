"""PostgreSQL's settings: what it may use of the host's memory, how many connections it takes, and from where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from catmaid_deploy.answers.survey import Survey, unit_of
from catmaid_deploy.file_sets import Change, ConfigurationSet, File, Folder, Reason, compare
from catmaid_deploy.finding import Finding, fault, warning
from catmaid_deploy.on_host.facts.postgresql import DATA, POSTGRESQL_CONF, PROGRAMS, SERVER
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.render import digest, render
from catmaid_deploy.run.apply import configured
from catmaid_deploy.schema import Deployment
from catmaid_deploy.tasks.postgresql import cluster

SET = "postgresql"
# For each of Debian's clusters.
DROP_IN = "/etc/systemd/system/postgresql@.service.d/catmaid.conf"
MIB, GIB = 1 << 20, 1 << 30
# What a process that has loaded CATMAID takes after some hours, and the system with nginx and the broker.
PROCESS_BYTES, SYSTEM_BYTES = 200 * MIB, 512 * MIB
# With less than that a server is slow whatever else is done, and with more the system has no room for files.
LEAST_BYTES, MOST_SHARE = 256 * MIB, 0.75
# The memory that a kernel shows may change a little with its next version.
SAME, STEP_MIB = 0.05, 64
COUNTED = r"^# It counts on (\d+) MiB"
# Daphne asks by a pool of threads. The reserve is for psql, backups, migrations and PostgreSQL's own three.
DAPHNE_CONNECTIONS, RESERVE = 5, 20
LEAST_CONNECTIONS = 100
# As much WAL is kept and written over again; more of it is there for a while only, or held by something.
WAL_GIB = 2


@dataclass(frozen=True)
class Sizes:
    """How much PostgreSQL may take: memory in MiB (``work_mem`` in kB), and the number of its connections."""

    memory: int
    connections: int

    @property
    def shared_buffers(self) -> int:
        return self.memory // 4

    @property
    def effective_cache_size(self) -> int:
        return self.memory * 3 // 4

    @property
    def work_mem(self) -> int:
        """Several of them for each connection, if all of them sort at once."""
        return max(1024, ((self.memory - self.shared_buffers) << 10) // (3 * self.connections))

    @property
    def maintenance_work_mem(self) -> int:
        return min(2048, max(16, self.memory // 16))


def connections(deployment: Deployment, processors: int) -> int:
    """How many connections all programs of the local databases may open, twice while releases change, and a reserve."""
    number = 0
    for instance in deployment.instances:
        if instance.name in deployment.local_databases:
            others = instance.processes(processors) - instance.workers
            # Beat has one as well.
            number += instance.workers * instance.threads + others + 1 + DAPHNE_CONNECTIONS
    # In steps, so that not each small change needs a restart.
    return max(LEAST_CONNECTIONS, -(-(2 * number + RESERVE) // 20) * 20)


def given_bytes(size: str) -> int:
    """The bytes of a size as the inventory writes it."""
    return int(size.rstrip("kmg")) << {"k": 10, "m": 20, "g": 30}.get(size[-1], 0)


def memory(deployment: Deployment, survey: Survey) -> int:
    """The MiB that PostgreSQL may count on: given, or what the host's programs leave; nearly as before is as before."""
    if deployment.postgresql.memory:
        return max(64, given_bytes(deployment.postgresql.memory) // MIB)
    has = survey["memory"] or 2 * GIB
    processes = sum(instance.processes(survey["processors"]) for instance in deployment.instances)
    left = has - SYSTEM_BYTES - processes * PROCESS_BYTES
    found = max(min(LEAST_BYTES, has // 4), min(left, int(has * MOST_SHARE))) // MIB // STEP_MIB * STEP_MIB
    there = survey["files"].get(POSTGRESQL_CONF)
    before = re.search(COUNTED, there.get("text", "") if there else "", re.MULTILINE)
    if before and abs(int(before[1]) - found) <= SAME * found:
        return int(before[1])
    return found


def sizes(deployment: Deployment, survey: Survey) -> Sizes:
    return Sizes(memory(deployment, survey), connections(deployment, survey["processors"]))


def _file(one: Sizes) -> tuple[File, str]:
    """The file and its digest, by which a server tells that it runs with it."""
    path = POSTGRESQL_CONF[1:]
    made = digest(render(path, sizes=one, wal_gib=WAL_GIB, digest=""))
    return File(POSTGRESQL_CONF, render(path, sizes=one, wal_gib=WAL_GIB, digest=made)), made


def _items(file: File) -> tuple[Folder | File, ...]:
    return Folder("/etc/catmaid"), file, Folder(DROP_IN.rpartition("/")[0]), File(DROP_IN, render(DROP_IN[1:]))


def paths() -> ConfigurationSet:
    """The set as far as it doesn't depend on the host: its paths are."""
    return ConfigurationSet(SET, _items(_file(Sizes(LEAST_BYTES // MIB, LEAST_CONNECTIONS))[0]))


def wanted(deployment: Deployment, survey: Survey) -> ConfigurationSet:
    version, name = cluster.names(deployment, survey)
    file, made = _file(sizes(deployment, survey))
    it = cluster.server(survey)
    data = it["data"] if it else f"{DATA}/{version}/{name}"
    postgres = f"{PROGRAMS}/{version}/bin/postgres"
    return ConfigurationSet(
        SET,
        _items(file),
        # The server's own parser, with this as its only file.
        checks=(
            ("as user", SERVER, postgres, "-C", "max_connections", "-D", data, f"--config-file={{stage}}{file.path}"),
            ("systemd-analyze", f"postgresql@{version}-{name}.service"),
        ),
        service={
            "kind": "postgresql",
            "version": version,
            "cluster": name,
            "port": cluster.port(deployment),
            "digest": made,
            "restart": deployment.postgresql.restart,
        },
    )


def change(deployment: Deployment, survey: Survey) -> Change:
    """What differs, and what a server has to be told that runs otherwise than its files say."""
    one = wanted(deployment, survey)
    differences, it = compare(one, survey), cluster.server(survey)
    reasons = []
    if it is None and cluster.is_installed(deployment, survey):
        reasons.append(Reason("start", "PostgreSQL", "it has never run"))
    if it and not differences and it["settings"] != one.service["digest"]:
        reasons.append(Reason("reload", "PostgreSQL", "it doesn't run with its settings"))
    version, name = one.service["version"], one.service["cluster"]
    if not differences and unit_of(survey, f"postgresql@{version}-{name}.service")["needs_daemon_reload"]:
        reasons.append(Reason("reload", "systemd", "PostgreSQL's files there are newer"))
    if it and not differences and it["pending"] and cluster.may_restart(deployment, it):
        reasons.append(Reason("restart", "PostgreSQL", f"{', '.join(it['pending'])} waits for that"))
    if cluster.is_installed(deployment, survey) and not unit_of(survey, cluster.UNIT)["enabled"]:
        reasons.append(Reason("enable", "PostgreSQL", "it doesn't start at boot"))
    return Change(one, differences, tuple(reasons))


def steps(plan: Plan) -> Iterator[Step]:
    if plan.look.deployment.local_databases and not cluster.is_adopted(plan.survey):
        yield from configured(change(plan.look.deployment, plan.survey))


def faults(look: Look) -> Iterator[Finding]:
    given, has = look.deployment.postgresql.memory, look.survey["memory"]
    if look.deployment.local_databases and given and has and given_bytes(given) > has:
        yield fault("postgresql.memory", f"{given} is more than the host has, {has // MIB} MiB", "give less")


def warnings(look: Look) -> Iterator[Finding]:
    """Of a server that somebody else has set up."""
    it = cluster.server(look.survey)
    if not look.deployment.local_databases or it is None or not cluster.is_adopted(look.survey):
        return
    needed = connections(look.deployment, look.survey["processors"])
    if it["connections"] < needed:
        what = f"it takes {it['connections']} connections, and the programs may open {needed} during an update"
        yield warning(cluster.PLACE, what, "raise max_connections in its settings, and restart it when nobody works")


TASK = Task(
    "PostgreSQL's settings",
    sets=lambda deployment: [paths()] if deployment.local_databases else [],
    faults=faults,
    warnings=warnings,
    steps=steps,
    logs=lambda deployment, _: {"logs": [], "files": [POSTGRESQL_CONF]} if deployment.local_databases else {},
)
