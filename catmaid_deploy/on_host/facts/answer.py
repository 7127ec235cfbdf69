"""How a script answers: as JSON on its last line. A part of each script that asks, see `survey`."""

import json
import os
import sys
import time

from catmaid_deploy.on_host.facts.places import (
    is_below,
)


def is_hanging(found, path):
    """Whether a path, or what lies there, has given no answer: nothing there is waited for."""
    return any(is_below(path, late) or is_below(late, path) for _, late, _ in found["hanging"])


def answer(work):
    """Print what a script has found, as root, of its question."""
    begin = time.time()
    found = {} if os.geteuid() else work(json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(dict(found, uid=os.geteuid(), time=begin)))
    sys.stdout.flush()
    os._exit(0)  # Python's own end would take as long as a tenth of the work
