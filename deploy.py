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
    acme,
    application,
    asking,
    certificates,
    disks,
    maintenance,
    migrations,
    needs,
    nginx,
    outside,
    packages,
    pages,
    passwords,
    probe,
    programs,
    proxy,
    releases,
    requested,
    rollback,
    served,
    supervisor,
    system,
    tiles,
    wsgi,
)

# In this order a host is judged, and what there is to do is done: all of a task, or nothing.
TASKS = (
    disks.HANGING,
    proxy.TASK,
    packages.TASK,
    nginx.USER,
    wsgi.TASK,
    releases.TASK,
    certificates.TASK,
    requested.TASK,
    passwords.TASK,
    system.TASK,
    application.TASK,
    tiles.TASK,
    supervisor.TASK,
    nginx.TASK,
    disks.TASK,
    supervisor.REMOVED,
    acme.TASK,
    releases.OLD,
    access.TASK,
    migrations.TASK,
    maintenance.TASK,
    asking.TASK,
    needs.TASK,
    rollback.TASK,
    programs.TASK,
    probe.TASK,
    served.TASK,
    pages.TASK,
    outside.TASK,
)

job.run(TASKS)
