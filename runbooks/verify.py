"""Tests the deployed sites as users would, from the host and from this machine. Names each fault with its fix.

Changes nothing. Each worker gets a task that returns its argument.

pyinfra inventories/prod.py runbooks/verify.py            exit code 1 if there is a fault
pyinfra inventories/prod.py runbooks/verify.py --json     the same as one JSON document
"""

from pyinfra import local

local.include("./../deploy.py", {"job": "verify"})
