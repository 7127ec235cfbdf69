"""What a release requires, asked from the admin's machine: a bare host has no git to ask with before a run."""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import Any

from catmaid_deploy import questions
from catmaid_deploy.answers.sought import Fit
from catmaid_deploy.on_host.facts.fits import fitted
from catmaid_deploy.on_host.operations.requirements import NotInRelease, fetched_requirements
from catmaid_deploy.on_host.trust import Failed
from catmaid_deploy.tasks.python import fits

# No question of git's or of SSH's, which nobody would see.
QUIET = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes", "LC_ALL": "C.UTF-8"}


class Admin:
    """Runs git as whoever runs the deploy, as `on_host.trust.As` does on a host."""

    def run(self, words: list[str], seconds: int, **variables: str) -> tuple[int, str]:
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                timeout=seconds,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **QUIET, **variables},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return 127, str(error)
        return done.returncode, (done.stdout + (done.stderr if done.returncode else "")).strip()


def fit_of(release: questions.Requirements) -> Fit | None:
    """As the host would answer; None where this machine can't tell, since it has no git or doesn't reach it."""
    if "://" not in release["repository"] or release["repository"].startswith("file:"):
        return None  # a path of the host's
    with tempfile.TemporaryDirectory(prefix="catmaid-deploy-") as folder:
        try:
            text = fetched_requirements(Admin(), folder, release, {})
        except NotInRelease as error:
            return {"missing": error.path}
        except Failed:
            return None
    if text is None:
        return None
    found: Any = fitted(text, fits.rules(), release["python"], release["overrides"])
    return {"moved": found["moved"], "wrong": found["wrong"]}
