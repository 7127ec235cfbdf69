"""Back to the release before: code and configuration together, by the same hand-over.

pyinfra inventories/prod.py runbooks/rollback.py --dry    shows what would go back to what
pyinfra inventories/prod.py runbooks/rollback.py          does it; done twice, it is undone
pyinfra inventories/prod.py runbooks/rollback.py --data instance=catmaid-fafb      of one instance; of all without
"""

from pyinfra import local

local.include("./../deploy.py", {"job": "rollback"})
