"""What all instances share of the system: folders at boot, logs, units (rows 6, 7, 23 and 28)."""

from __future__ import annotations

from typing import Any

from catmaid_deploy.configuration import Change, ConfigurationSet, File, Folder, Reason, compare
from catmaid_deploy.render import render
from catmaid_deploy.schema import Deployment
from catmaid_deploy.tasks import proxy

# As many files and connections as a process of Supervisor's programs may have open; nginx has a number of its own.
DESCRIPTORS = 65536
# Where nginx keeps large bodies and answers for a while, below it.
TEMPORARY = "/var/lib/nginx"
UNITS = ("nginx.service", "supervisor.service")
LOGROTATE = "/etc/logrotate.d/catmaid"
# Ends Supervisor, with its programs or without, and nginx.
END = "/etc/catmaid/end.sh"
# What others' programs may take to end with Supervisor, at most.
OTHERS_SECONDS = 300
# Renews what certbot got, twice a day.
RENEWAL, RENEWED = "certbot.timer", "certbot.service"


def wanted(deployment: Deployment) -> ConfigurationSet:
    """The files that systemd and logrotate read; their own parsers are the check."""
    shutdown_seconds = max((i.celery.shutdown_seconds for i in deployment.instances), default=0)
    limits = {"shutdown_seconds": shutdown_seconds, "others_seconds": OTHERS_SECONDS}
    folders = [f"/etc/systemd/system/{unit}.d" for unit in UNITS]
    return ConfigurationSet(
        "system",
        (
            Folder("/etc/catmaid"),
            *(Folder(folder) for folder in folders),
            # Here rather than with the programs: Supervisor's parser wants them before it accepts those.
            *(Folder(i.log_dir, "root", "adm", "755", data=True) for i in deployment.instances),
            *(Folder(i.state_dir, i.user, i.runtime_group, "750", data=True) for i in deployment.instances),
            # Debian's package has it, and others' have another one. nginx's own test wants it.
            Folder(TEMPORARY, data=True),
            # systemd makes these folders at boot, before Supervisor starts (row 23).
            File("/etc/tmpfiles.d/catmaid.conf", render("etc/tmpfiles.d/catmaid.conf", deployment=deployment)),
            *([File(LOGROTATE, render(LOGROTATE[1:], deployment=deployment))] if deployment.instances else []),
            File(END, render(END[1:], **limits), mode="755"),
            *(
                File(
                    f"{folder}/catmaid.conf",
                    render(f"{folder[1:]}/catmaid.conf", **limits, descriptors=DESCRIPTORS),
                )
                for folder in folders
            ),
            *proxy.items(deployment),
        ),
        checks=(
            ("sh", "-n", f"{{stage}}{END}"),
            ("systemd-tmpfiles", "--create", "--prefix=/nowhere", "{stage}/etc/tmpfiles.d/catmaid.conf"),
            *([("logrotate", "--debug", f"{{stage}}{LOGROTATE}")] if deployment.instances else []),
            ("systemd-analyze", *UNITS),
        ),
        service={"kind": "systemd"},
    )


def change(deployment: Deployment, survey: dict[str, Any]) -> Change:
    """What differs, and what systemd has to be told: also that it read its files in a run that broke off."""
    one = wanted(deployment)
    differences = compare(one, survey)
    units = survey["units"]
    reload = any(d.path.startswith("/etc/systemd/") for d in differences)
    reasons = []
    if not reload and any(units.get(unit, {}).get("needs_daemon_reload") for unit in (*UNITS, RENEWAL, RENEWED)):
        reload = True
        reasons.append(Reason("reload", "systemd", "its files are newer"))
    wanted_units = (*UNITS, *([RENEWAL] if deployment.acme_sites else []))
    enable = [unit for unit in wanted_units if not units.get(unit, {}).get("enabled")]
    # A timer that is off renews nothing until the next boot.
    start = [unit for unit in wanted_units if unit == RENEWAL and not units.get(unit, {}).get("active")]
    # A unit of a package that isn't there yet comes enabled.
    packages = survey["packages"]
    reasons += [Reason("enable", unit, "it doesn't start at boot") for unit in enable if unit.split(".")[0] in packages]
    reasons += [Reason("start", unit, "it is off") for unit in start if unit not in enable and "certbot" in packages]
    one.service.update(enable=[*enable, *start] if reasons or differences else [], reload=reload)
    return Change(one, differences, tuple(reasons))
