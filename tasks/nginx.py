"""nginx: its configuration, and that it runs with it (rows 1, 4, 7, 8, 20, 21, 22)."""

from __future__ import annotations

from typing import Any

from configuration import Change, ConfigurationSet, Difference, File, Link, compare
from render import digest, render
from schema import NGINX_USER, Site

STATE_HOST = "configuration.catmaid-deploy.invalid"
TEMPLATES = (
    "etc/nginx/nginx.conf",
    "etc/nginx/conf.d/catmaid.conf",
    "etc/nginx/snippets/catmaid-uwsgi.conf",
    "etc/nginx/sites-available/catmaid.conf",
)
DEFAULT_SITE = {"/etc/nginx/sites-enabled/default": "/etc/nginx/sites-available/default"}
# A worker that started within so many seconds of its files' time may be as new as they are.
CLOCK_SECONDS = 2


def rendered(site: Site, ipv6: bool) -> tuple[dict[str, str], str]:
    """The nginx files by path, and the digest that an nginx which loaded them answers with."""

    def texts(name: str) -> dict[str, str]:
        values = {"site": site, "ipv6": ipv6, "nginx_user": NGINX_USER, "state_host": STATE_HOST, "digest": name}
        return {f"/{template}": render(template, **values) for template in TEMPLATES}

    name = digest(*texts("").values())
    return texts(name), name


def wanted(site: Site, ipv6: bool) -> tuple[ConfigurationSet, str]:
    """nginx's files, tested by nginx itself, and their digest."""
    texts, name = rendered(site, ipv6)
    files = [File(path, text, stock=path == "/etc/nginx/nginx.conf") for path, text in texts.items()]
    enabled = Link("/etc/nginx/sites-enabled/catmaid.conf", "/etc/nginx/sites-available/catmaid.conf")
    return ConfigurationSet(
        "nginx",
        (*files, enabled),
        trees=("/etc/nginx",),
        checks=(("nginx", "-t", "-q", "-c", "{stage}/etc/nginx/nginx.conf"),),
        service={"kind": "nginx", "digest": name, "state_host": STATE_HOST},
        stock_links=DEFAULT_SITE,
    ), name


def change(site: Site, survey: dict[str, Any]) -> Change:
    """What differs, and whether the running nginx has what is on disk: a reload by hand counts, a lost one shows."""
    one, name = wanted(site, survey["ipv6"])
    differences = compare(one, survey)
    if "nginx" not in survey["packages"]:
        # The package that this run installs brings its default site along.
        differences += tuple(Difference(path, "remove") for path in DEFAULT_SITE)
    running = survey["nginx"]
    times = [found["time"] for item in one.items if (found := survey["files"].get(item.path))]
    reasons = []
    if not survey["units"].get("nginx.service", {}).get("active"):
        if "nginx" in survey["packages"]:
            reasons.append("start nginx: it doesn't run")
    elif differences:
        reasons.append("reload nginx: its files change")
    elif running["digest"] != name:
        reasons.append("reload nginx: it runs with another configuration")
    elif running["since"] + CLOCK_SECONDS < max(times):
        reasons.append("reload nginx: its files are newer")
    return Change(one, differences, tuple(reasons))
