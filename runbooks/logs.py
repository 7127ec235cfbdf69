"""Shows the last lines of an instance's logs, or bundles logs and files for a bug report. Changes nothing.

pyinfra inventories/prod.py runbooks/logs.py                              15 lines of each
pyinfra inventories/prod.py runbooks/logs.py --data lines=100 --data instance=catmaid-fafb
pyinfra inventories/prod.py runbooks/logs.py --data bundle=report         writes report.tar.gz here

Passwords, tokens, cookies and the values of the inventory's environment are removed on the host.
"""

from pyinfra import local

local.include("./../deploy.py", {"job": "logs"})
