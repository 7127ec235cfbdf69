"""Passwords for a site, an instance or a tile set, checked by nginx (row 12)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from configuration import File, Folder
from render import render
from schema import NGINX_USER, Deployment, Instance, Site, TileSet

FOLDER = "/etc/nginx/catmaid-passwords"
LIMITS = "/etc/nginx/conf.d/catmaid-passwords.conf"


@dataclass(frozen=True)
class Guard:
    """Who may enter a place. ``secure`` tells whether it is reached by HTTPS."""

    name: str
    users: dict[str, str]
    secure: bool

    @property
    def file(self) -> str:
        return f"{FOLDER}/{self.name}"

    @property
    def cookie(self) -> str:
        return f"catmaid_known_{self.name}"

    @property
    def token(self) -> str:
        """Worth nothing but a place beyond the limit for wrong tries; made of the hashes, which nobody else knows."""
        return hashlib.sha256(repr((self.name, sorted(self.users.items()))).encode()).hexdigest()[:40]


def guard(site: Site, one: Instance | TileSet) -> Guard | None:
    """What stands before an instance or a tile set: its own passwords, or else those of its site."""
    kind = "tiles" if isinstance(one, TileSet) else "instance"
    secure = site.certificate is not None
    if one.passwords:
        return Guard(f"{kind}_{one.name.replace('-', '_')}", one.passwords, secure)
    if site.passwords:
        # Two hyphens for one: a-b.org and a.b.org are two sites, with users of their own.
        name = "site_" + site.server_name.replace("-", "__").replace(".", "_")
        return Guard(name, site.passwords, secure)
    return None


def guards(deployment: Deployment) -> dict[str, Guard]:
    found = [guard(site, one) for site in deployment.sites for one in site.places]
    return {one.name: one for one in found if one}


def files(deployment: Deployment) -> Iterator[File | Folder]:
    """The password files, for nginx's group alone, and the limit for wrong tries; none where nobody needs one."""
    found = guards(deployment)
    if not found:
        return
    yield Folder(FOLDER)
    for one in found.values():
        text = render("etc/nginx/catmaid-passwords/place", guard=one)
        yield File(one.file, text, mode="640", group=NGINX_USER, secret=True)
    limits = render(LIMITS[1:], guards=found.values())
    yield File(LIMITS, limits, mode="600", secret=True)
