"""A browser on a host of the image ``client``, for the tests."""

from __future__ import annotations

import base64
import json
import subprocess
import textwrap
from pathlib import Path
from typing import Any

from testbed.hosts import BedHost
from testbed.podman import command

_RUNNER = (Path(__file__).parent / "browse_on_host.py").read_text()


class ScriptError(Exception):
    """A script in the browser failed; the text is its error, or its last lines."""


def _bytes_back(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["$bytes"]) if set(value) == {"$bytes"} else value


def browse(
    client: BedHost,
    script: str,
    *,
    ignore_https_errors: bool = True,
    arguments: tuple[str, ...] = (),
    step_seconds: float = 10,
    seconds: int = 60,
    **values: Any,
) -> Any:
    """Run a script with a headless Chromium on ``client``; returns what it assigns to ``result``.

    The script has ``page``, ``context`` and ``browser`` of Playwright's synchronous interface, and ``values``
    by their names. Its result is anything that JSON has a form for, and bytes: ``result = page.screenshot()``.
    ``arguments`` are Chromium's, ``step_seconds`` is what a single call may wait, ``seconds`` the whole script.

    Raises ScriptError with the script's error.
    """
    job = {
        "script": textwrap.dedent(script),
        "values": values,
        "ignore_https_errors": ignore_https_errors,
        "arguments": arguments,
        "step_seconds": step_seconds,
    }
    # 'timeout' on the host: the end of 'podman exec' alone would leave the browser there.
    words = ["exec", "--interactive", "--user", "client", "--env", "HOME=/home/client", "--workdir", "/home/client"]
    words += [client.name, "timeout", "--kill-after=5", str(seconds), "/opt/client/bin/python", "-c", _RUNNER]
    done = subprocess.run(
        [*command(), *words], input=json.dumps(job).encode(), capture_output=True, timeout=seconds + 30
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()[-12:]
        if done.returncode in (124, 137):
            lines.append(f"not done within {seconds} s")
        raise ScriptError("\n".join(lines) or f"ended with {done.returncode}")
    return json.loads(done.stdout, object_hook=_bytes_back)
