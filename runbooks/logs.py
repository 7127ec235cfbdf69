"""The last lines of every log of an instance, or a bundle of logs and files for a bug report; changes nothing.

pyinfra inventories/prod.py runbooks/logs.py                              15 lines of each
pyinfra inventories/prod.py runbooks/logs.py --data lines=100 --data instance=catmaid-fafb
pyinfra inventories/prod.py runbooks/logs.py --data bundle=report         writes report.tar.gz here

Passwords, tokens, cookies and the values of the inventory's environment are taken out on the host.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from catmaid_deploy.tasks import logs

logs.show()
