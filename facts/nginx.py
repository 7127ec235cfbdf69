"""What the running nginx has loaded."""

from __future__ import annotations

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

STATE_HOST = "configuration.catmaid-deploy.invalid"

_ASK = """
import http.client
try:
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=5)
    connection.request("GET", "/", headers={"Host": "%s"})
    answer = connection.getresponse()
    if answer.status == 200:
        print("digest", answer.read(100).decode("ascii", "replace").strip())
except Exception:
    pass
"""


class NginxDigest(FactBase[str | None]):
    """
    Returns the digest of the configuration that the running nginx has in memory; None when nginx doesn't
    run, or runs with a configuration that isn't of this project.
    """

    @override
    def requires_command(self) -> str:
        return "python3"

    @override
    def command(self) -> StringCommand:
        return StringCommand("python3", "-c", QuoteString(_ASK % STATE_HOST))

    @override
    def process(self, output: list[str]) -> str | None:
        for line in output:
            word, _, rest = line.partition(" ")
            if word == "digest" and rest.isalnum():
                return rest
        return None
