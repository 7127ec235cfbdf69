"""Certificates that an institute's authority signs: key and request are made on the host, and the key stays there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from catmaid_deploy.answers.survey import Certificate, Survey
from catmaid_deploy.finding import Finding, fault, warning
from catmaid_deploy.operations import certificates as operations
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Deployment, Site
from catmaid_deploy.tasks.certificates import files as certificates
from catmaid_deploy.tasks.certificates.files import DAY

# Authorities of people take a while.
SOON_DAYS = 30


@dataclass(frozen=True)
class Request:
    """What there is to do for a site: make a request, or use what was signed."""

    site: Site
    make: bool
    use: bool


def _said(site: Site) -> str:
    """What a request says, as a file beside it notes it."""
    return "".join(f"{line}\n" for line in (*site.names, *(f"{key}={text}" for key, text in site.tls.subject.items())))


def paths(deployment: Deployment) -> Iterator[str]:
    """What the survey is to look at."""
    for site in deployment.requested_sites:
        yield from (site.tls_dir or "", *(f"{site.requested_dir}/{name}" for name in ("request.csr", "request.txt")))


def _is_made(site: Site, survey: Survey) -> bool:
    """Whether key and request are there, and the request says what it has to."""
    files, folder = survey["files"], site.requested_dir
    noted = files.get(f"{folder}/request.txt")
    both = f"{folder}/privkey.pem" in survey["keys"] and files.get(f"{folder}/request.csr")
    return bool(both) and noted is not None and noted.get("text") == _said(site)


def _fits(site: Site, found: Certificate) -> bool:
    return not found["problem"] and not found["missing_names"] and bool(found["seconds_left"] > 0)


def wanted(deployment: Deployment, survey: Survey) -> list[Request]:
    """The requests to make, also for other names, and the signed certificates to use."""
    found = []
    for site in deployment.requested_sites:
        fits = _fits(site, certificates.served(survey, site, "signed"))
        one = Request(site, not _is_made(site, survey), fits and not certificates.is_signed(site, survey))
        found += [one] if one.make or one.use else []
    return found


def judge(site: Site, survey: Survey) -> Iterator[Finding]:
    """What is wrong with the certificate that somebody put there."""
    if site.tls.certificate != "request":
        return
    found, path = certificates.served(survey, site, "signed"), f"{site.requested_dir}/fullchain.pem"
    if found["problem"] and found["problem"] != "missing":
        if found["problem"] == "of another":
            what, fix = "doesn't belong to the key of the request", f"have {site.requested_dir}/request.csr signed"
        else:
            what, fix = certificates.problem(found["problem"], path)
        yield fault("tls.certificate", f"{path} {what}", fix)
    elif not found["problem"] and found["seconds_left"] < 0:
        what = f"{path} ended {-found['seconds_left'] // DAY:.0f} days ago"
        yield fault("tls.certificate", what, _again(site))


def _again(site: Site) -> str:
    folder = site.requested_dir
    end = f"put the certificate, with the intermediate ones below it, into {folder}/fullchain.pem, and deploy"
    return f"have {folder}/request.csr signed, {end}"


def warn(site: Site, survey: Survey) -> Iterator[Finding]:
    """What an admin has to do by himself."""
    if site.tls.certificate != "request" or not survey["files"].get(f"{site.requested_dir}/request.csr"):
        return
    found, key = certificates.served(survey, site, "signed"), "tls.certificate"
    if found["problem"] == "missing":
        yield warning(key, "its request waits for a signature, and browsers warn of the site until then", _again(site))
    elif not found["problem"] and found["missing_names"]:
        what = f"it is for {', '.join(found['names'])}, and not for {', '.join(found['missing_names'])}"
        yield warning(key, what, _again(site))
    elif not found["problem"] and 0 <= found["seconds_left"] < SOON_DAYS * DAY:
        yield warning(key, f"it ends in {found['seconds_left'] // DAY:.0f} days", _again(site))


def steps(plan: Plan) -> Iterator[Step]:
    """Make what is to be signed, and use what was."""
    for one in wanted(plan.look.deployment, plan.survey):
        site = one.site
        title = f"{'Request for' if one.make else 'Signed'} certificate of {site.server_name}"
        make = partial(
            operations.requested,
            name=title,
            names=site.names,
            subject=site.tls.subject,
            said=_said(site) if one.make else None,
            folder=site.requested_dir,
            link=site.tls_dir if one.use else None,
        )
        yield Step(title, [f"{site.requested_dir}/request.csr"] if one.make else [], make, by_job=False)


TASK = Task(
    "requested certificates",
    lambda deployment: {"paths": list(paths(deployment))},
    faults=lambda look: certificates.of_sites(judge, look),
    warnings=lambda look: certificates.of_sites(warn, look),
    steps=steps,
)
