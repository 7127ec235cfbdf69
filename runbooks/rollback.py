"""Goes back to the previous release: code and configuration together, in the same way as an update.

pyinfra inventories/prod.py runbooks/rollback.py --dry    shows what would change
pyinfra inventories/prod.py runbooks/rollback.py          does it; a second time undoes it
pyinfra inventories/prod.py runbooks/rollback.py --data instance=catmaid-fafb      only one instance
"""

from pyinfra import local

local.include("./../deploy.py", {"job": "rollback"})
