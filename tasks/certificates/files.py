"""Certificates: found on the host, self-signed there, or from an ACME server by certbot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Certificate, Entry, Key, Survey, target_of
from catmaid_deploy.file_sets import File, Folder, Item
from catmaid_deploy.finding import Command, Finding, fault, warning
from catmaid_deploy.operations import certificates
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.render import render
from catmaid_deploy.schema import Deployment, Site

WEBROOT = "/var/lib/catmaid-deploy/acme"
LIVE = "/etc/letsencrypt/live"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/catmaid-deploy"
# A self-signed certificate is made anew when it ends in fewer days; of another one the admin is warned.
FEW_DAYS = 21
DAY = 24 * 3600


def question(deployment: Deployment) -> list[questions.Certificate]:
    """What the survey is to say about certificates: each file that a site has, or is to have."""
    asked: list[questions.Certificate] = []
    for site in deployment.sites:
        places = {"served": (site.certificate, site.certificate_key)} if site.certificate else {}
        if site.tls.certificate == "request":
            places["signed"] = (f"{site.requested_dir}/fullchain.pem", f"{site.requested_dir}/privkey.pem")
        if site.tls.certificate in ("acme", "request"):
            places["placeholder"] = (f"{site.self_signed_dir}/fullchain.pem", f"{site.self_signed_dir}/privkey.pem")
        for kind, (certificate, key) in places.items():
            asked.append(
                {
                    "site": site.server_name,
                    "kind": kind,
                    "certificate": certificate,
                    "key": key or "",
                    "names": site.names,
                }
            )
    return asked


def served(survey: Survey, site: Site, kind: str = "served") -> Certificate:
    return survey["certificates"][f"{site.server_name} {kind}"]


def credentials(deployment: Deployment) -> list[str]:
    """Files of an admin's by which certbot's plugins get at the DNS."""
    return [site.tls.dns.credentials for site in deployment.acme_sites if site.tls.dns]


def _judge_credentials(path: str, found: Entry | None) -> Iterator[Finding]:
    key = "tls.dns.credentials"
    if found is None:
        yield fault(key, f"{path} isn't there", "put it there, as the plugin's page says, for root alone")
    elif found["kind"] != "file":
        yield fault(key, f"{path} is no plain file", "put one there, as the plugin's page says, for root alone")
    elif found["user"] != "root" or int(found["mode"], 8) & 0o077:
        what = f"{path} can be read by others, who could then change the DNS"
        yield fault(key, what, Command(f"chown root:root {path} && chmod 600 {path}"))


def problem(kind: str, certificate: str) -> tuple[str, str]:
    """What the survey says of a pair of files, in words and with the fix."""
    return {
        "missing": ("isn't there", "put it there, or correct the path"),
        "no certificate": ("isn't a certificate in PEM form (-----BEGIN CERTIFICATE-----)", "have it converted"),
        "no key": ("isn't a key in PEM form without a passphrase", "have it converted"),
        "no answer": ("gives no answer", "see whether its disk is there"),
        "not root's": (
            "can't be read by whoever may change its folder",
            "put it where only root may, such as /etc/ssl/private",
        ),
        "of another": (f"doesn't belong to the certificate {certificate}", "give the key of that one"),
    }[kind]


def judge(site: Site, survey: Survey) -> Iterator[Finding]:
    """What is wrong with a site's certificate: one that the admin brings, and any key that others can read."""
    if not site.certificate:
        return
    found = served(survey, site)
    if site.tls.dns:
        yield from _judge_credentials(site.tls.dns.credentials, survey["files"].get(site.tls.dns.credentials))
    yield from _judge_key(site.certificate_key or "", survey["keys"])
    if site.tls_dir:
        return
    if found["problem"]:
        key, path = ("key", site.certificate_key) if found["of_key"] else ("certificate", site.certificate)
        what, fix = problem(found["problem"], site.certificate)
        yield fault(f"tls.{key}", f"{path} {what}", fix)
        return
    if found["missing_names"]:
        yield fault(
            "tls.certificate",
            f"{site.certificate} is for {', '.join(found['names'])}, and not for {', '.join(found['missing_names'])}",
            "get one for all names of the site, or remove them from it",
        )
    if found["seconds_left"] < 0:
        what = f"{site.certificate} ended {-found['seconds_left'] // DAY:.0f} days ago"
        yield fault("tls.certificate", what, "renew it")


def _judge_key(path: str, keys: dict[str, Key]) -> Iterator[Finding]:
    """nginx reads a key as root, before its workers are other users: nobody else has to."""
    if path not in keys:
        return
    readers = ["everybody"] if int(keys[path]["mode"], 8) & 0o004 else keys[path]["readers"]
    if readers:
        # Also an owner's, and one that an access list names.
        fix = Command(f"chown root:root {path} && chmod 600 {path}")
        yield fault("tls.key", f"{path} can be read by {', '.join(readers)}", fix)


def is_late(site: Site, found: Certificate) -> bool:
    """Whether a certificate should have been renewed before: some authorities' last only days."""
    few = min(FEW_DAYS * DAY, found["lifetime"] / 4) if site.tls.certificate == "acme" else FEW_DAYS * DAY
    return bool(found["seconds_left"] < few)


def warn(site: Site, survey: Survey) -> Iterator[Finding]:
    """What the admin should know of a certificate, and what doesn't stop a run."""
    key = "tls.certificate"
    if not site.certificate:
        what = "'none': what users send, passwords among it, travels in the open"
        yield warning(key, what, "use 'acme', or a certificate of your own")
        return
    if site.tls.certificate == "self-signed":
        yield warning(key, "'self-signed' is for trials, browsers warn of it", "use 'acme', or one of your own")
        return
    if site.tls.certificate == "request":
        return  # `requested` knows more of it
    found = served(survey, site)
    days = found["seconds_left"] // DAY
    # Of files that don't fit nothing is known.
    if found["problem"] or not is_late(site, found):
        return
    if site.tls.certificate != "acme":
        yield warning(key, f"{site.certificate} ends in {days:.0f} days", "renew it")
    elif is_from_acme(site, survey):
        fix = "the reason is in /var/log/letsencrypt/letsencrypt.log"
        yield warning(key, f"ends in {days:.0f} days and wasn't renewed", fix)


def has_changed(deployment: Deployment, survey: Survey, since: float) -> bool:
    """Whether a certificate was written since nginx started, in seconds since the epoch, or nginx shows another one."""
    for site in deployment.sites:
        if not site.certificate:
            continue
        found = served(survey, site)
        shown = survey["asked"]["certificates"].get(site.server_name)
        # One that was moved in place may have an older time, and of a chain nginx shows more than is compared.
        if found["time"] > since or (shown and found["digest"] and shown != found["digest"]):
            return True
    return False


def self_signed(deployment: Deployment, survey: Survey) -> list[Site]:
    """The sites that need a self-signed certificate: their own, or one until ACME's is there."""
    found = []
    for site in deployment.sites:
        kinds = {"self-signed": "served", "acme": "placeholder", "request": "placeholder"}
        kind = kinds.get(site.tls.certificate)
        if kind is None or (kind == "placeholder" and (is_from_acme(site, survey) or is_signed(site, survey))):
            continue
        one = served(survey, site, kind)
        # With ACME the link to it may be lost too.
        lost = one["problem"] or served(survey, site)["problem"]
        if lost or one["missing_names"] or one["seconds_left"] < FEW_DAYS * DAY:
            found.append(site)
    return found


def lineage_in_use(site: Site, survey: Survey) -> str | None:
    """certbot's name of the certificate that a site's link leads to."""
    target = target_of(survey, site.tls_dir) or ""
    return target.removeprefix(f"{LIVE}/") if target.startswith(f"{LIVE}/") else None


def is_signed(site: Site, survey: Survey) -> bool:
    """Whether a site serves the certificate that was signed for its request."""
    target = target_of(survey, site.tls_dir)
    return bool(target == site.requested_dir) and not served(survey, site)["problem"]


def is_from_acme(site: Site, survey: Survey) -> bool:
    """Whether a site serves a certificate that certbot got."""
    return bool(lineage_in_use(site, survey)) and not served(survey, site)["problem"]


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


def of_sites(judged: Callable[[Site, Survey], Iterator[Finding]], look: Look) -> Iterator[Finding]:
    """What is said of each site's certificate, with the site before it."""
    for site in look.deployment.sites:
        yield from (found.below(f"site[{site.server_name}]") for found in judged(site, look.survey))


def steps(plan: Plan) -> Iterator[Step]:
    """Sign what a site needs before nginx can read its files."""
    for site in self_signed(plan.look.deployment, plan.survey):
        title = f"Self-signed certificate of {site.server_name}"
        make = partial(
            certificates.self_signed,
            name=title,
            names=site.names,
            folder=site.self_signed_dir,
            link=site.tls_dir if site.tls_dir != site.self_signed_dir else None,
        )
        yield Step(title, [], make, by_job=False)


TASK = Task(
    "certificates",
    lambda deployment: {
        "certificates": question(deployment),
        "paths": [*(path for site in deployment.acme_sites if (path := site.tls_dir)), *credentials(deployment)],
        "secret": credentials(deployment),
    },
    faults=lambda look: of_sites(judge, look),
    warnings=lambda look: of_sites(warn, look),
    steps=steps,
)
