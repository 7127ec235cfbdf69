"""Passwords for a site, an instance or a tile set, checked by nginx."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.file_sets import File, Folder
from catmaid_deploy.finding import Finding
from catmaid_deploy.on_host.facts import users_pages
from catmaid_deploy.on_host.facts.nginx import HERE
from catmaid_deploy.operations import nginx
from catmaid_deploy.operations.nginx import PLACEHOLDER
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.render import render
from catmaid_deploy.schema import (
    CHEAP_HASH,
    HASH_MS,
    NGINX_USER,
    PASSWORD_HOST,
    Deployment,
    Instance,
    Site,
    TileSet,
    is_costly,
)

FOLDER = "/etc/nginx/catmaid-passwords"
KEY, LIMITS = users_pages.KEY, users_pages.PASSWORDS
# Made by nginx, for its workers alone, and empty after a boot.
CACHE = "/run/catmaid-nginx"


@dataclass(frozen=True)
class Tries:
    """How many passwords a second nginx looks at: of one visitor, and of all together."""

    visitor: int = 20
    all: int = 100


TRIES = Tries()


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
        """Half of what a cookie has, made of the hashes; the host's key is the other, and so neither alone opens."""
        return hashlib.sha256(repr((self.name, sorted(self.users.items()))).encode()).hexdigest()[:40]

    @property
    def version(self) -> str:
        """Another one for other users or passwords: what is remembered of those of before doesn't count."""
        return hashlib.sha256(self.token.encode()).hexdigest()[:16]


def guard(site: Site, one: Instance | TileSet) -> Guard | None:
    """What stands before an instance or a tile set: its own passwords, or else those of its site."""
    kind = "tiles" if isinstance(one, TileSet) else "instance"
    secure = site.secure
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
    limits = render(LIMITS[1:], guards=found.values(), password_host=PASSWORD_HOST, tries=TRIES, cache=CACHE, here=HERE)
    yield File(LIMITS, limits, mode="600", secret=True)


def costly(deployment: Deployment, survey: Survey) -> Iterator[Finding]:
    """Hashes that cost nginx much: a new one is a fault, one that the host has already a warning."""
    for one in guards(deployment).values():
        for user, hashed in one.users.items():
            if is_costly(hashed):
                known = hashlib.sha256(f"{user}:{hashed}".encode()).hexdigest() in survey["password_lines"]
                what = f"the hash of {user} takes nginx over {HASH_MS} ms for each try"
                yield Finding("warning" if known else "fault", "passwords", what, CHEAP_HASH.format(user=user))


def key_missing(deployment: Deployment, survey: Survey) -> bool:
    """Whether the host has no key for cookies, or one that others could read."""
    found = survey["files"].get(KEY)
    alone = found and (found["kind"], found["user"], found["mode"]) == ("file", "root", "600")
    return bool(guards(deployment)) and not alone


def _costly(look: Look, level: str) -> list[Finding]:
    return [found for found in costly(look.deployment, look.survey) if found.level == level]


def steps(plan: Plan) -> Iterator[Step]:
    """Make the key that cookies have in them, before nginx's files name it. It stays on the host."""
    if key_missing(plan.look.deployment, plan.survey):
        text = render(KEY[1:], placeholder=PLACEHOLDER)
        make = partial(nginx.key, name="Key of password cookies", path=KEY, text=text)
        yield Step("key of password cookies", [f"create {KEY}"], make, by_job=False)


TASK = Task(
    "passwords",
    # Folder and file of passwords that left the inventory as well.
    lambda _: {"paths": [KEY], "secret": [FOLDER, LIMITS, KEY], "passwords": FOLDER},
    faults=lambda look: _costly(look, "fault"),
    warnings=lambda look: _costly(look, "warning"),
    steps=steps,
)
