"""Runs on the host, as root, with its own python3 (3.9 or later) and nothing else.

Reads one job as JSON from standard input (the operations have each) and does it whole or not at all:
``lock`` takes the host for one run, ``apply`` puts one service's files in place, ``record`` ends the run.
Prints what it did, a line each; ends with 1 and the reason on standard error when it did nothing.

It comes as one text with the files that it imports from: the host has none of them.
"""

import hashlib
import json
import signal
import sys

from catmaid_deploy.on_host.operations.bundle import unpack_bundle
from catmaid_deploy.on_host.operations.certbot import bring_certificate
from catmaid_deploy.on_host.operations.common import say
from catmaid_deploy.on_host.operations.compiler import note_compiler, remove_compiler
from catmaid_deploy.on_host.operations.databases import keep_database
from catmaid_deploy.on_host.operations.environments import make_environment, remove_environments
from catmaid_deploy.on_host.operations.files import Files, data
from catmaid_deploy.on_host.operations.first import first_start
from catmaid_deploy.on_host.operations.lock import (
    check_lock,
    clear,
    did,
    end_run,
    failed_alone,
    hold,
    one_line,
    take_lock,
)
from catmaid_deploy.on_host.operations.nginx import Nginx
from catmaid_deploy.on_host.operations.packages import install, update_lists
from catmaid_deploy.on_host.operations.postgresql import Postgresql
from catmaid_deploy.on_host.operations.programs import Supervisor
from catmaid_deploy.on_host.operations.rabbitmq import Rabbitmq, make_vhost
from catmaid_deploy.on_host.operations.record import ask_host, record
from catmaid_deploy.on_host.operations.release import put_in_place, remove_old, started_with
from catmaid_deploy.on_host.operations.secrets import keep_secrets
from catmaid_deploy.on_host.operations.stage import STAGE, check, stage
from catmaid_deploy.on_host.operations.systemd import Systemd
from catmaid_deploy.on_host.paths import STATE
from catmaid_deploy.on_host.trust import ROOT, Failed

# ---- the lock and the record ----


# ---- files ----


# ---- services ----


SERVICES = {
    "systemd": Systemd,
    "nginx": Nginx,
    "supervisor": Supervisor,
    "postgresql": Postgresql,
    "rabbitmq": Rabbitmq,
}


def apply(job):
    check_lock(job)
    if job["items"] or job["gone"]:
        stage(job)
        try:
            check(job)
        finally:
            ROOT.remove_tree(STAGE)
    # From here on all or nothing, also when the admin's connection or machine is gone.
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    service = SERVICES[job["service"]["kind"]](job) if job["service"] else None
    # A program's slots are its service's: it writes into the one that isn't in use.
    elsewhere = service.owns if service else lambda path: False
    plain = [item for item in job["items"] if not elsewhere(item["path"])]
    files = Files(plain, [path for path in job["gone"] if not elsewhere(path)])
    try:
        files.swap()
        if service:
            service.bring()
    except Exception as error:  # whatever it was, what ran before comes back
        files.undo()
        stays = as_before(service)
        if stays:
            say("left: not all of it is as it was before")
        raise Failed("\n".join([str(error), *(stays or ["the files of before are back"])])) from None
    for folder in job["sweep"]:
        try:
            ROOT.remove_tree(folder)
        except OSError as error:
            say("kept %s: %s" % (folder, error))
    manifest = ROOT.json(STATE + "/manifest.json")
    ours = [item for item in job["all"] if not item.get("data")]
    manifest[job["set"]] = {item["path"]: hashlib.sha256(data(item)).hexdigest() for item in ours}
    if not manifest[job["set"]]:
        del manifest[job["set"]]
    ROOT.write(STATE + "/manifest.json", json.dumps(manifest, indent=1, sort_keys=True).encode())
    did(job["set"])


def as_before(service):
    """Have a service go on as it was; a line for what can't."""
    try:
        return (service and service.back()) or []
    except Exception as error:  # whatever it was, the run's end is still written down
        return ["not all that ran before is back: %s" % error]


def roll_back(job):
    """Hand over to the slots that were in use before, with the files that they have: a whole run in one job."""
    take_lock(job)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    back = []
    for one in job["services"]:
        service = Supervisor(dict(job, service=one))
        try:
            service.bring()
            back.append(one)
        except Exception as error:  # whatever it was, what ran goes on
            stays = as_before(service)
            for other in reversed(back):
                stays += forward(job, other)
            ask_host(job["asking"], 0)
            words = "\n".join([str(error), *(stays or ["what ran before the rollback runs on"])])
            end_run("failed: %s; %s" % (one["instance"], one_line(words)), "failed")
            if stays:
                say("left: not all of it is as it was before")
            raise Failed("%s: %s" % (one["instance"], words)) from None
    record(job)


def forward(job, one):
    """Undo the rollback of a group: of several all go back, or none. A line where that can't be."""
    try:
        Supervisor(dict(job, service=one)).bring()
        return []
    except Exception as error:  # the others still go
        return ["%s stays at the release before: %s" % (one["instance"], error)]


def set_flag(job):
    """Put a file there with a text, or take it away."""
    if job["text"] is None:
        ROOT.unlink(job["path"])
    else:
        ROOT.write(job["path"], job["text"].encode())


def remove_releases(job):
    remove_old(job)
    if job["environments"]:
        remove_environments(job, started_with())


def under_lock(work, did_what=None):
    """A job of the run that holds the lock; ``did_what`` names it in the record, by its values."""

    def do(job):
        check_lock(job)
        work(job["one"])
        if did_what:
            did(did_what % job["one"])

    return do


JOBS = {
    "lock": take_lock,
    "flag": set_flag,
    "update lists": under_lock(update_lists),
    "bundle": under_lock(unpack_bundle, "the bundle %(id).12s"),
    "install": under_lock(install, "installed %(names)s"),
    "keep secrets": under_lock(keep_secrets, "the secrets in %(path)s"),
    "first start": under_lock(first_start, "the first data of %(instance)s"),
    "virtual host": under_lock(make_vhost, "the virtual host %(vhost)s"),
    "keep database": under_lock(keep_database, "the database %(name)s"),
    "note compiler": under_lock(note_compiler),
    "remove compiler": under_lock(remove_compiler, "removed what compiles"),
    "environment": under_lock(make_environment, "the environment %(path)s"),
    "release": under_lock(put_in_place, "the release %(revision)s"),
    "certificate": under_lock(bring_certificate, "the certificate %(lineage)s"),
    "apply": apply,
    "roll back": roll_back,
    "remove releases": under_lock(remove_releases),
    # By this the host has the version of this run.
    "note version": under_lock(lambda _: None, "the note of its version"),
    "record": record,
    "clear": clear,
}


def main():
    job = json.loads(sys.argv[1])
    try:
        hold()
        JOBS[job["do"]](job)
    except (Failed, OSError) as error:
        say("--> %s" % error, sys.stderr)
        failed_alone(job, error)
        return 1
    return 0


sys.exit(main())
