"""CATMAID behind nginx: the deploy from top to bottom.

pyinfra inventories/prod.py deploy.py                 shows what it would change, asks, does it
pyinfra inventories/prod.py deploy.py --dry --diff    shows the changes of every file, does nothing
"""

from tasks import plan, preflight

# All hosts are validated, asked and compared before the first change on any of them.
plan.perform(preflight.check())
