"""How all hosts are, at a glance; changes nothing.

pyinfra inventories/prod.py runbooks/status.py            tables; exit code 1 where something is at fault
pyinfra inventories/prod.py runbooks/status.py --json     the same as one JSON document
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from catmaid_deploy.tasks import health, status

status.show(health.look(verify=False))
