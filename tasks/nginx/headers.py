"""The security headers of every answer: each stands here once, for nginx's files, for tests and for the book."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from catmaid_deploy.schema import Site


def _hsts(site: Site, tls: bool, _: str) -> str:
    if not site.tls.hsts_seconds:
        return ""
    if tls:
        return f'"{site.hsts}"'
    # What ends TLS in front of nginx says by which scheme a user came.
    return "$catmaid_hsts" if site.secure and not site.certificate else ""


@dataclass(frozen=True)
class Header:
    """A header that the site says by itself, and so no application behind it.

    + value: as nginx's files have it, for a site, a server with TLS or without, and a content security policy; empty
      where it isn't sent
    """

    name: str
    value: Callable[[Site, bool, str], str]

    def sent(self, site: Site) -> str:
        """What browsers get of it from nginx by HTTPS."""
        return self.value(site, True, site.headers.content_security_policy).strip('"')


SECURITY = (
    Header("Strict-Transport-Security", _hsts),
    Header("X-Content-Type-Options", lambda *_: "nosniff"),
    Header("Referrer-Policy", lambda site, *_: f'"{site.headers.referrer_policy}"'),
    Header("X-Frame-Options", lambda site, *_: site.headers.frame_options),
    Header("Content-Security-Policy", lambda _, __, policy: f'"{policy}"'),
)


def lines(site: Site, tls: bool, policy: str) -> list[str]:
    """nginx's lines for them. Without "always" errors would go out bare."""
    values = {header.name: header.value(site, tls, policy) for header in SECURITY}
    return [f"add_header {name} {value} always;" for name, value in values.items() if value]


def own() -> list[str]:
    """The names of what the site says by itself: an application's own are hidden, or answers would have both."""
    cors = ("Allow-Origin", "Allow-Credentials", "Allow-Methods", "Allow-Headers", "Max-Age")
    return [*(header.name for header in SECURITY), *(f"Access-Control-{name}" for name in cors)]
