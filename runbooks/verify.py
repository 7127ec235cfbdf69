"""Asks the deployed sites as users would, from the host and from here, and names what is wrong with its fix.

Changes nothing; a task that returns its argument is sent to each worker.

pyinfra inventories/prod.py runbooks/verify.py            exit code 1 where something is at fault
pyinfra inventories/prod.py runbooks/verify.py --json     the same as one JSON document
"""

from pyinfra import local

local.include("./../deploy.py", {"job": "verify"})
