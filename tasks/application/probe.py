"""The applications between deploys: whether they load, and reach their database, broker, workers and users' pages."""

from __future__ import annotations

import re

from catmaid_deploy import questions
from catmaid_deploy.answers.health import Probe
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Deployment, Instance, Site
from catmaid_deploy.tasks import maintenance
from catmaid_deploy.tasks.application import installed as application
from catmaid_deploy.tasks.application import settings
from catmaid_deploy.tasks.nginx import pages
from catmaid_deploy.tasks.programs import supervisor
from catmaid_deploy.tasks.programs.slots import places

QUEUE = 1000
# What may have to be told to end again: its work goes on beside the next one's.
LASTING = ("worker", "single")


def _channel(site: Site, instance: Instance) -> questions.Channel:
    """Where an instance's notices are waited for: behind nginx, or where that asks for a password, at Daphne itself."""
    guarded = bool(instance.passwords or site.passwords)
    at = pages.address(site)
    return {
        "host": at["name"],
        "https": at["https"],
        "port": at["port"],
        "socket": instance.daphne_socket if guarded else None,
        "path": f"{'/' if guarded else instance.location}channels/updates/",
    }


def _applications(one: Health, instance: Instance, verify: bool) -> None:
    asked = one.found["instances"][instance.name]
    probe, numbers = asked["probe"], asked["statistics"]
    name = instance.name
    if broken := probe.get("broken"):
        correct = "correct that in its code, its settings or its virtualenv, and deploy"
        one.fault(f"application of {name}", f"it doesn't load: {broken}", correct)
        return
    for part, setting, problem in (
        ("database", "DATABASES", probe["database"]),
        ("broker", f"CELERY_BROKER_{'WRITE_' if instance.made_broker else ''}URL", probe["broker"]),
    ):
        if problem:
            there = f"start it where {setting} in settings.py says that it is, or correct that"
            address = getattr(instance, part)
            where = address.host if address else application.LOCAL[0]
            # What listens and refuses is no matter of a start.
            is_off = re.search(r"connection refused|no such file|no answer within", problem, re.IGNORECASE)
            fix = application.start_here(part, where, one.survey) if is_off else None
            one.fault(f"{part} of {name}", f"it doesn't answer: {problem}", fix or there)
    if verify:
        _mail(one, instance, probe)
    if verify and not probe["broker"]:
        for short, seconds in {"celery": probe["task"], **probe["tasks"]}.items():
            place = f"task of {name}" if short == "celery" else f"task for {short} of {name}"
            if seconds is None:
                log = f"{instance.log_dir}/{supervisor.in_use(instance, one.survey)[short]}.log"
                one.fault(place, "no worker takes it within 15 s", f"correct what {log} says")
            else:
                one.checks.append((place, f"taken by a worker after {seconds:.1f} s"))
    if verify and not probe["broker"] and not probe["database"] and not maintenance.is_closed(one, instance):
        _notice(one, instance, probe)
    for queue, length in probe["queues"].items():
        if length > QUEUE:
            one.warn(
                f"queue {queue} of {name}",
                f"{length} tasks wait in it",
                "raise celery.concurrency in the inventory, if the host has processors and memory left",
            )
    if numbers and numbers["waiting"] and numbers["busy"] >= numbers["threads"]:
        one.warn(
            f"wsgi of {name}",
            f"all {numbers['threads']} threads are busy, and {numbers['waiting']} requests wait",
            "raise workers in the inventory, if the host has processors and memory left",
        )


def _notice(one: Health, instance: Instance, probe: Probe) -> None:
    """What a task tells a user's page, sent and waited for."""
    place, lost = f"notice of {instance.name}", settings.lost_notices(instance, one.survey["instances"][instance.name])
    # It is known now whether what the settings say keeps them away.
    one.findings = [finding for finding in one.findings if finding.place != place]
    if probe["notice"] is not None:
        one.checks.append((place, f"arrived in a WebSocket after {1000 * probe['notice']:.0f} ms"))
    elif lost:
        one.fault(place, *lost)
    else:
        log = f"{instance.log_dir}/{supervisor.in_use(instance, one.survey)['daphne']}.log"
        what = f"what tasks tell users' pages doesn't reach a WebSocket: {probe['no_notice']}"
        one.fault(place, what, f"correct CHANNEL_LAYERS in settings.py, or what {log} says, and deploy")


# What a mail server doesn't do at each stage, and what of the inventory that is a matter of.
MAIL = {
    "connect": ("doesn't answer", "start it, let this host reach its port, or correct {key}.host and {key}.port"),
    "encrypt": (
        "gives no trusted connection",
        "correct {key}.security, or give as {key}.host what its certificate has",
    ),
    "sign in": ("lets nobody in by that name", "correct {key}.user and {key}.password"),
    "sender": ("takes nothing from that address", "correct {key}.sender, or give {key}.user and {key}.password"),
    "recipient": ("takes nothing for others", "have it take this host's mail, or give {key}.user and {key}.password"),
    "send": ("takes no message", "correct what it says, or describe another one as {key}.host"),
}


def _mail(one: Health, instance: Instance, probe: Probe) -> None:
    """How its mail server takes what CATMAID would send."""
    mail, found = instance.made_settings and instance.made_settings.mail, probe.get("mail")
    if not mail or not found:
        return
    place, key = f"mail of {instance.name}", f"site.instances[{instance.name}].install.settings.mail"
    if found["stage"] in MAIL:
        what, fix = MAIL[found["stage"]]
        one.fault(place, f"{mail.host}:{mail.port} {what}: {found['words']}", fix.format(key=key))
    elif found["sent"]:
        one.checks.append((place, f"{mail.host}:{mail.port} has taken a message to {found['sent']}"))
    else:
        one.checks.append((place, f"{mail.host}:{mail.port} takes it from {mail.sender}; none was sent"))


def _mail_asked(instance: Instance) -> str:
    """To whom mail is tried: who gets some for sure."""
    mail = instance.made_settings and instance.made_settings.mail
    administrator = instance.install and instance.install.administrator
    return (administrator.email if administrator else mail.sender) if mail else ""


def _queues(instance: Instance) -> list[str]:
    """The queues of all workers; without a name it is the default one, and so where there is nothing."""
    others = [queue for worker in instance.celery_workers[1:] for queue in worker.queues]
    return list(dict.fromkeys([*(instance.celery.queues or ([""] if others else [])), *others]))


def glance(deployment: Deployment, verify: bool) -> questions.Health:
    return {
        "space": [instance.files_folder for instance in deployment.instances],
        "logs": [instance.log_dir for instance in deployment.instances],
        "instances": [
            {
                "name": i.name,
                "user": i.user,
                "config_dir": i.config_dir,
                "virtualenv": i.virtualenv,
                "log_dir": i.log_dir,
                "runtime_dir": i.runtime_dir,
                "stop_seconds": max(worker.stop_seconds for worker in i.celery_workers),
                "places": [place for short, kind in i.kinds.items() if kind in LASTING for place in places(short)],
                "commands": [program.manage.split()[0] for program in i.programs if program.manage],
                "notes": f"{i.runtime_dir}/addresses",
                "statistics": f"{i.runtime_dir}/uwsgi-stats.socket",
                "sockets": {"wsgi": i.uwsgi_socket, "daphne": i.daphne_socket},
                "queues": _queues(i),
                "other_workers": {one.name: one.celery.queues[0] for one in i.programs if one.celery},
                "channel": _channel(site, i),
                "mail": _mail_asked(i),
            }
            for site in deployment.sites
            for i in site.instances
        ],
    }


def trial(one: Health, verify: bool) -> None:
    for instance in one.deployment.instances:
        _applications(one, instance, verify)


TASK = Task("applications between deploys", glance=glance, trial=trial)
