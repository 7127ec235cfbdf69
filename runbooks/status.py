"""How all hosts are, at a glance; changes nothing.

pyinfra inventories/prod.py runbooks/status.py            tables; exit code 1 where something is at fault
pyinfra inventories/prod.py runbooks/status.py --json     the same as one JSON document
"""

from pyinfra import local

local.include("./../deploy.py", {"job": "status"})
