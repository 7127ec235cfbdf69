"""CATMAID behind nginx: the deploy from top to bottom.

pyinfra inventories/prod.py deploy.py                 shows what it would change, asks, does it
pyinfra inventories/prod.py deploy.py --dry --diff    shows the changes of every file, does nothing
"""

import sys
from pathlib import Path

# Of an installed deploy as well, which is run from another folder.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from catmaid_deploy.run import apply, record
from catmaid_deploy.tasks import acme, certificates, nginx, packages, passwords, preflight, releases, requested, wsgi

# All hosts are validated, asked and compared before the first change on any of them.
plan = preflight.check()

if plan:
    record.begin(plan)
    packages.install(plan)
    nginx.make_user(plan)
    wsgi.install(plan)
    releases.put_in_place(plan)
    certificates.make(plan)
    requested.make(plan)
    passwords.make_key(plan)
    apply.apply(plan)
    acme.get(plan)
    releases.remove_old(plan)
    record.end(plan)
else:
    record.clear(plan)
