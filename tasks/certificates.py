"""Certificates: found on the host, self-signed there, or from an ACME server by certbot (row 19)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from configuration import File, Folder, Item
from operations import certificates
from render import render
from schema import Deployment, Site

if TYPE_CHECKING:
    from tasks.plan import Plan

WEBROOT = "/var/lib/catmaid-deploy/acme"
LIVE = "/etc/letsencrypt/live"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/catmaid-deploy"
# A self-signed certificate is made anew when it has so many days left; of another one the admin is told.
FEW_DAYS = 21
DAY = 24 * 3600


def question(deployment: Deployment) -> list[dict[str, Any]]:
    """What the survey is to say about certificates: each file that a site has, or is to have."""
    asked = []
    for site in deployment.sites:
        places = {"served": (site.certificate, site.certificate_key)} if site.certificate else {}
        if site.tls.certificate == "acme":
            places["placeholder"] = (f"{site.self_signed_dir}/fullchain.pem", f"{site.self_signed_dir}/privkey.pem")
        for kind, (certificate, key) in places.items():
            asked.append(
                {"site": site.server_name, "kind": kind, "certificate": certificate, "key": key, "names": site.names}
            )
    return asked


def _found(survey: dict[str, Any], site: Site, kind: str = "served") -> dict[str, Any]:
    found: dict[str, Any] = survey["certificates"][f"{site.server_name} {kind}"]
    return found


def judge(site: Site, survey: dict[str, Any]) -> list[str]:
    """What is wrong with a certificate that the admin brings: key and mend, a line each."""
    if not site.certificate or site.tls_dir:
        return []
    found = _found(survey, site)
    if found["problem"]:
        key = "key" if found["of_key"] else "certificate"
        path = site.certificate_key if found["of_key"] else site.certificate
        return [f"tls.{key}: {path} {found['problem']}"]
    lines = []
    if found["missing_names"]:
        lines.append(
            f"tls.certificate: {site.certificate} is for {', '.join(found['names'])}, and not for "
            f"{', '.join(found['missing_names'])}: get one for all names of the site, or remove them from it"
        )
    if found["seconds_left"] < 0:
        lines.append(
            f"tls.certificate: {site.certificate} ended {-found['seconds_left'] // DAY:.0f} days ago: renew it"
        )
    return lines


def warn(site: Site, survey: dict[str, Any]) -> list[str]:
    """What the admin should know of a certificate, and what doesn't stop a run."""
    if not site.certificate:
        return ["tls.certificate: 'none': what users send, passwords among it, travels in the open"]
    if site.tls.certificate == "self-signed":
        return ["tls.certificate: 'self-signed' is for trials, browsers warn of it: use 'acme', or one of your own"]
    days = _found(survey, site)["seconds_left"] // DAY
    if days < FEW_DAYS and site.tls.certificate != "acme":
        return [f"tls.certificate: {site.certificate} ends in {days:.0f} days: renew it"]
    if days < FEW_DAYS and _from_acme(site, survey):
        return [
            f"tls.certificate: ends in {days:.0f} days and wasn't renewed: see /var/log/letsencrypt/letsencrypt.log"
        ]
    return []


def newest(survey: dict[str, Any]) -> float:
    """When the newest certificate that is served was written."""
    served = [found["time"] for name, found in survey["certificates"].items() if name.endswith(" served")]
    return max((time for time in served if time), default=0.0)


def self_signed(deployment: Deployment, survey: dict[str, Any]) -> list[Site]:
    """The sites that need a self-signed certificate: their own, or one until ACME's is there."""
    found = []
    for site in deployment.sites:
        kind = {"self-signed": "served", "acme": "placeholder"}.get(site.tls.certificate)
        if kind is None or (kind == "placeholder" and _from_acme(site, survey)):
            continue
        one = _found(survey, site, kind)
        # With ACME the link to it may be lost too.
        lost = one["problem"] or _found(survey, site)["problem"]
        if lost or one["missing_names"] or one["seconds_left"] < FEW_DAYS * DAY:
            found.append(site)
    return found


def _from_acme(site: Site, survey: dict[str, Any]) -> bool:
    """Whether a site serves a certificate that certbot got."""
    found = survey["files"].get(site.tls_dir) or {}
    return found.get("target") == f"{LIVE}/{site.server_name}" and not _found(survey, site)["problem"]


def from_acme(deployment: Deployment, survey: dict[str, Any]) -> list[Site]:
    """The sites that need a certificate from their ACME server: for the first time, for other names, from another."""
    wanted = []
    for site in deployment.acme_sites:
        found = _found(survey, site)
        other_server = survey["acme_servers"].get(site.server_name) != site.tls.acme_server
        late = found["seconds_left"] < min(FEW_DAYS * DAY, found["lifetime"] / 4)
        # A name too many matters as well: once it leads elsewhere, no renewal succeeds.
        other_names = set(found["names"]) != set(site.names)
        if not _from_acme(site, survey) or other_server or other_names or late:
            wanted.append(site)
    return wanted


def items(deployment: Deployment) -> Iterator[Item]:
    """What the certificates need on the host beside themselves. Their link is not among it: certbot's hook moves it."""
    if any(site.certificate for site in deployment.sites):
        yield Folder("/etc/catmaid/tls")
    if deployment.acme_sites:
        yield Folder(WEBROOT)
        # certbot makes these when it first runs.
        for folder in ("/etc/letsencrypt", "/etc/letsencrypt/renewal-hooks", "/etc/letsencrypt/renewal-hooks/deploy"):
            yield Folder(folder, data=True)
        yield File(HOOK, render(HOOK[1:]), mode="755")


def make(plan: Plan) -> None:
    """Sign what a site needs before nginx can read its files."""
    for site in plan.self_signed:
        title = f"Self-signed certificate of {site.server_name}"
        operation = certificates.self_signed(
            name=title,
            names=site.names,
            folder=site.self_signed_dir,
            link=site.tls_dir if site.tls_dir != site.self_signed_dir else None,
        )
        plan.report.planned.append((title, [], operation))


def get(plan: Plan) -> None:
    """Get certificates from ACME servers, which ask nginx for a proof."""
    for site in plan.from_acme:
        title = f"Certificate of {site.server_name} from {site.tls.acme_server.split('/')[2]}"
        known = plan.survey["acme_servers"].get(site.server_name)
        operation = certificates.acme(
            name=title,
            names=site.names,
            server=site.tls.acme_server,
            email=site.tls.email,
            webroot=WEBROOT,
            hook=HOOK,
            force=known not in (None, site.tls.acme_server),
        )
        plan.report.planned.append((title, [], operation))
