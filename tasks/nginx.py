"""nginx: its configuration, and that it runs with it (rows 1, 4, 7, 8, 20, 21, 22)."""

from __future__ import annotations

from typing import Any

from pyinfra.operations import files, systemd

import operations.nginx
from facts.nginx import STATE_HOST
from render import digest, render
from schema import NGINX_USER, Site
from tasks.files import put

FILES = {
    "etc/nginx/nginx.conf": "nginx's main configuration",
    "etc/nginx/conf.d/catmaid.conf": "the upstreams",
    "etc/nginx/snippets/catmaid-uwsgi.conf": "what uWSGI is told of a request",
    "etc/nginx/sites-available/catmaid.conf": "the site",
}


def rendered(site: Site, ipv6: bool) -> tuple[dict[str, str], str]:
    """The nginx files by path, and the digest that an nginx which loaded them answers with."""

    def texts(name: str) -> dict[str, str]:
        values = {"site": site, "ipv6": ipv6, "nginx_user": NGINX_USER, "state_host": STATE_HOST, "digest": name}
        return {f"/{template}": render(template, **values) for template in FILES}

    name = digest(*texts("").values())
    return texts(name), name


def apply(site: Site, survey: dict[str, Any]) -> None:
    """Write the files, and load them once they pass nginx's own test."""
    texts, name = rendered(site, survey["ipv6"])
    for (path, text), what in zip(texts.items(), FILES.values(), strict=True):
        put(path, text, what)
    files.link(
        name="The site is enabled",
        path="/etc/nginx/sites-enabled/catmaid.conf",
        target="/etc/nginx/sites-available/catmaid.conf",
    )
    files.link(name="Debian's default site is gone", path="/etc/nginx/sites-enabled/default", present=False)
    systemd.service(name="nginx runs and starts at boot", service="nginx", running=True, enabled=True)
    operations.nginx.loaded(name="nginx runs with its files", digest=name)
