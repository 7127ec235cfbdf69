"""Supervisor: one file and one group an instance (rows 14, 15, 16, 28)."""

from __future__ import annotations

from typing import Any

from pyinfra.operations import files, systemd

import operations.supervisor
from render import digest, render
from schema import Instance
from tasks.celery import STOP_SECONDS
from tasks.files import put
from tasks.program import Program, start_library


def configure_units(survey: dict[str, Any]) -> None:
    """Teach systemd to bring nginx and supervisord back after a kill, without orphans beside them."""
    changed = []
    for unit in ("nginx", "supervisor"):
        folder = f"/etc/systemd/system/{unit}.service.d"
        files.directory(name=f"Folder of {unit}'s unit: {folder}", path=folder, user="root", group="root", mode="755")
        text = render(f"{folder[1:]}/catmaid.conf", stop_seconds=STOP_SECONDS + 30)
        changed.append(put(f"{folder}/catmaid.conf", text, f"how systemd restarts {unit}"))
    # systemd itself tells when a run broke between the files and this.
    if survey["needs_daemon_reload"] or any(one.will_change for one in changed):
        systemd.daemon_reload(name="Let systemd read its changed files")


def start_daemon() -> None:
    put("/etc/catmaid/start.sh", start_library(), "what all start scripts share")
    systemd.service(name="Supervisor runs and starts at boot", service="supervisor", running=True, enabled=True)


def apply(instance: Instance, programs: list[Program]) -> None:
    """Write the start scripts and the group's file; start and restart what isn't as they say."""
    for program in programs:
        path = f"{instance.config_dir}/run-{program.short}.sh"
        put(path, program.script, f"{instance.name}'s start script", mode="755")
    template = "etc/supervisor/conf.d/instance.conf"
    group_digest = digest(render(template, instance=instance, programs=programs, group_digest=""))
    text = render(template, instance=instance, programs=programs, group_digest=group_digest)
    put(f"/etc/supervisor/conf.d/{instance.name}.conf", text, f"{instance.name}'s programs")
    operations.supervisor.group(
        name=f"{instance.name}: its four programs run with their files",
        group=instance.name,
        digests={program.name: program.digest for program in programs},
        group_digest=group_digest,
        log_dir=instance.log_dir,
    )
