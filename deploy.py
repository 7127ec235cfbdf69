"""CATMAID behind nginx: the deploy from top to bottom.

pyinfra inventories/prod.py deploy.py                 shows what it would change, asks, does it
pyinfra inventories/prod.py deploy.py --dry --diff    shows the changes of every file, does nothing
"""

import sys
from pathlib import Path

# By this the code is found, from whatever folder; at the end, where no module of a lab's own is hidden by it.
sys.path.append(str(Path(__file__).resolve().parent))

from catmaid_deploy import job
from catmaid_deploy.tasks import (
    access,
    bundle,
    growth,
    last_word,
    maintenance,
    needs,
    outside,
    packages,
    proxy,
    secrets,
    system,
)
from catmaid_deploy.tasks.application import first, installed, migrations, probe, releases
from catmaid_deploy.tasks.certificates import acme, files, requested, served
from catmaid_deploy.tasks.nginx import pages, passwords, site, user
from catmaid_deploy.tasks.postgresql import cluster, databases
from catmaid_deploy.tasks.postgresql import settings as postgresql
from catmaid_deploy.tasks.programs import rollback, state, supervisor, wsgi
from catmaid_deploy.tasks.python import compiler, environments, owner
from catmaid_deploy.tasks.rabbitmq import hosts, server
from catmaid_deploy.tasks.tiles import disks, sets

# In this order a host is judged, what there is to do is done, and what is wrong is told: of each file its TASK.
TASKS = (
    # What else could keep a look at the host from its answer.
    disks.HANGING,
    # Fetched and put in place, beside what serves.
    proxy.TASK,
    bundle.TASK,
    # Debian starts them while they are installed.
    cluster.TASK,
    server.TASK,
    compiler.BROUGHT,
    packages.TASK,
    user.TASK,
    owner.TASK,
    secrets.TASK,
    postgresql.TASK,
    databases.TASK,
    hosts.TASK,
    wsgi.TASK,
    environments.TASK,
    compiler.REMOVED,
    releases.TASK,
    first.TASK,
    files.TASK,
    requested.TASK,
    passwords.TASK,
    # Whole sets of files, each tested by the service that reads it and taken by what runs.
    system.TASK,
    installed.TASK,
    sets.TASK,
    supervisor.TASK,
    site.TASK,
    disks.TASK,
    supervisor.REMOVED,
    # What needs nginx to serve, and what is old by then.
    acme.TASK,
    releases.OLD,
    # Judged where all the rest is there.
    access.TASK,
    migrations.TASK,
    maintenance.TASK,
    last_word.TASK,
    # Between deploys: what status and verify look at, and the way back.
    state.TASK,
    probe.TASK,
    served.TASK,
    pages.TASK,
    system.ROOM,
    growth.TASK,
    outside.TASK,
    needs.TASK,
    rollback.TASK,
)

job.run(TASKS)
