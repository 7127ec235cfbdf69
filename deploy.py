"""CATMAID behind nginx: the deploy from top to bottom.

pyinfra inventories/prod.py deploy.py                 shows what it would change, asks, does it
pyinfra inventories/prod.py deploy.py --dry --diff    shows the changes of every file, does nothing
"""

import sys
from pathlib import Path

# By this the code is found, from whatever folder; at the end, where no module of a lab's own is hidden by it.
sys.path.append(str(Path(__file__).resolve().parent))

from catmaid_deploy import job
from catmaid_deploy.tasks import access, maintenance, needs, outside, packages, proxy, system
from catmaid_deploy.tasks import last_word as asking
from catmaid_deploy.tasks.application import installed as application
from catmaid_deploy.tasks.application import migrations, probe, releases
from catmaid_deploy.tasks.certificates import acme, requested, served
from catmaid_deploy.tasks.certificates import files as certificates
from catmaid_deploy.tasks.nginx import pages, passwords
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.programs import rollback, supervisor, wsgi
from catmaid_deploy.tasks.programs import state as programs
from catmaid_deploy.tasks.tiles import disks
from catmaid_deploy.tasks.tiles import sets as tiles

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
