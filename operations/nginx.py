"""Bring the running nginx in line with its files."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from facts.nginx import NginxDigest

# A reload returns before the new workers listen, and a refused configuration shows in the log alone:
# only nginx itself can tell that it has taken the new one.
_TAKEN = """
for i in $(seq 100); do
  [ "$({ask})" = "digest {digest}" ] && exit 0
  sleep 0.1
done
echo "nginx did not take the new configuration within 10 s; its log says:" >&2
tail -n 5 /var/log/nginx/error.log >&2
exit 1
"""


@operation()
def loaded(digest: str) -> Generator[StringCommand, None, None]:
    """
    Test the configuration on disk and reload nginx, unless it has loaded exactly this one already (row 1).

    + digest: the digest that the configuration on disk answers with

    A configuration that fails its test stops the run; nginx serves on with the one that it has.
    """
    if host.get_fact(NginxDigest) == digest:
        host.noop(f"nginx runs with configuration {digest}")
        return
    yield StringCommand("nginx", "-t", "-q")
    yield StringCommand("systemctl", "reload-or-restart", "nginx.service")
    ask = NginxDigest().command().get_raw_value()
    yield StringCommand("sh", "-c", QuoteString(_TAKEN.format(ask=ask, digest=digest)))
