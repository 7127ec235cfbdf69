"""Secrets that an application needs: made on the host once, and kept there. A part of the job's script, see `apply`."""

import json
import secrets
import string

from catmaid_deploy.on_host.operations.common import make_folders, say
from catmaid_deploy.on_host.trust import ROOT, As, Failed

# As Django makes its key, of characters that need no escape in an address.
LETTERS = string.ascii_letters + string.digits
LENGTH = 50


def keep_secrets(job):
    """Make those that are missing, and take those that the inventory gives. What is there otherwise never changes."""
    path, user = job["path"], As(job["user"])
    found = ROOT.json(path)
    if ROOT.exists(path) and not found:
        # With new ones nobody would be signed in, and neither database nor broker would let the application in.
        raise Failed("%s is no JSON, and new secrets would fit nothing: put it back from a copy" % path)
    made = [name for name in job["names"] if name not in found and name not in job["given"]]
    new = {name: "".join(secrets.choice(LETTERS) for _ in range(LENGTH)) for name in made}
    make_folders(path.rpartition("/")[0])
    text = json.dumps({**found, **new, **job["given"]}, indent=1, sort_keys=True)
    ROOT.write(path, text.encode(), 0o640, 0, user.gid)
    if made:
        say("made %s in %s" % (", ".join(made), path))
