"""A deploy file to run before the real one: kills the deploying process, and notes what its operations take.

By the environment: ``CATMAID_CUT`` is after how many operations, ``CATMAID_CUT_AFTER`` after which one, and
``CATMAID_CUT_IN`` in the middle of which, ``CATMAID_CUT_SECONDS`` after its begin. ``CATMAID_TIMES`` is a file for a
line of JSON for each operation: its name and its seconds.
"""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from pyinfra import state
from pyinfra.api.state import BaseStateCallback


def _name(operation: str) -> str:
    return " | ".join(sorted(state.get_op_meta(operation).names))


class Cut(BaseStateCallback):
    """Counts the operations that ended well."""

    done = 0
    begun = 0.0

    @staticmethod
    def operation_host_start(_: Any, __: Any, operation: str) -> None:
        Cut.begun = time.monotonic()
        if _name(operation) == os.environ.get("CATMAID_CUT_IN"):
            # By the kernel, whatever the process does by then.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, float(os.environ["CATMAID_CUT_SECONDS"]))

    @staticmethod
    def operation_host_success(_: Any, __: Any, operation: str, *more: Any) -> None:
        Cut.done += 1
        name = _name(operation)
        if path := os.environ.get("CATMAID_TIMES"):
            with Path(path).open("a") as file:
                file.write(json.dumps([name, round(time.monotonic() - Cut.begun, 3)]) + "\n")
        if str(Cut.done) == os.environ.get("CATMAID_CUT") or name == os.environ.get("CATMAID_CUT_AFTER"):
            os.kill(os.getpid(), signal.SIGKILL)


state.add_callback_handler(Cut())  # type: ignore[no-untyped-call]
