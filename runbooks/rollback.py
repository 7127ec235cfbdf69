"""Back to the release before: code and configuration together, by the same hand-over (row 27).

pyinfra inventories/prod.py runbooks/rollback.py --dry    shows what would go back to what
pyinfra inventories/prod.py runbooks/rollback.py          does it; done twice, it is undone
pyinfra inventories/prod.py runbooks/rollback.py --data instance=catmaid-fafb      of one instance; of all without
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from catmaid_deploy.tasks import rollback

plan = rollback.check()

if plan:
    rollback.apply(plan)
