"""The tasks of a deploy in their order, as deploy.py has them."""

from __future__ import annotations

import runpy

from catmaid_deploy.plan.task import Tasks
from testbed.images import ROOT

TASKS: Tasks = runpy.run_path(str(ROOT / "deploy.py"))["TASKS"]
