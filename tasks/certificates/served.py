"""Certificates between deploys, as nginx serves them."""

from __future__ import annotations

from collections.abc import Iterator

from catmaid_deploy import questions
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Deployment, Site
from catmaid_deploy.tasks.certificates import files as certificates
from catmaid_deploy.tasks.nginx import pages

# A certificate that ends in fewer days.
SOON_DAYS = 14


def _certificates(one: Health, site: Site) -> None:
    if site.certificate is None:
        return
    served, file = one.found["served"][site.server_name], one.survey["certificates"][f"{site.server_name} served"]
    place = f"TLS of {site.server_name}"
    if site.tls_dir and file["problem"]:
        path = site.certificate_key if file["of_key"] else site.certificate
        what = f"{path} is missing or broken, and nginx would not start again"
        one.fault(f"site[{site.server_name}].tls.certificate", what, this_run.deploy())
    if served["problem"]:
        one.fault(place, f"no TLS connection: {served['problem']}", "correct what /var/log/nginx/error.log says")
        return
    days = served["seconds_left"] / 86400
    # A deploy gets or signs a new one where it is not the admin's own, and has nginx load what is there.
    own = site.tls.certificate not in ("acme", "self-signed")
    old = own and file["seconds_left"] < SOON_DAYS * 86400
    fix = f"put a new one at {site.tls.certificate}, and deploy" if old else this_run.deploy()
    if days < 0:
        one.fault(place, f"the certificate ended {-days:.0f} days ago: browsers refuse the site", fix)
    elif days < (certificates.FEW_DAYS if site.tls.certificate == "self-signed" else SOON_DAYS):
        one.warn(place, f"the certificate ends in {days:.0f} days", fix)
    else:
        one.checks.append(
            (place, f"{served.get('version', 'by its file')}, the certificate is good for {days:.0f} days")
        )


def glance(deployment: Deployment, verify: bool) -> questions.Health:
    return {"sites": [pages.address(site) for site in deployment.sites]}


def trial(one: Health, verify: bool) -> None:
    for site in one.deployment.sites:
        _certificates(one, site)


def rows(one: Health) -> Iterator[tuple[str, str, str]]:
    for site in one.deployment.sites:
        served = one.found["served"].get(site.server_name)
        left = "HTTP alone" if served is None else served["problem"] or f"{served['seconds_left'] / 86400:.0f} days"
        yield "site", site.server_name, f"certificate: {left}" if served else left


TASK = Task(
    "certificates between deploys",
    glance=glance,
    trial=trial,
    rows=rows,
    document=lambda one: {"certificates": one.found["served"]},
)
