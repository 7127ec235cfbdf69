"""Tests the deployed sites as users would, from the host and from this machine. Names each fault with its fix.

Changes nothing. Each worker gets a task that returns its argument; a mail server is asked whether it would take mail.

pyinfra inventories/prod.py runbooks/verify.py            exit code 1 if there is a fault
pyinfra inventories/prod.py runbooks/verify.py --json     the same as one JSON document
pyinfra inventories/prod.py runbooks/verify.py --data mail=alice@example.org     sends a message there, too
"""

from pyinfra import local

local.include("./../deploy.py", {"job": "verify"})
