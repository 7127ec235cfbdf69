"""Shows all hosts at a glance. Changes nothing.

pyinfra inventories/prod.py runbooks/status.py            tables; exit code 1 if there is a fault
pyinfra inventories/prod.py runbooks/status.py --json     the same as one JSON document
"""

from pyinfra import local

local.include("./../deploy.py", {"job": "status"})
