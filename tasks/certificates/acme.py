"""Certificates that certbot has: got from ACME servers, or taken over from whoever got them before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Lineage, Survey
from catmaid_deploy.facts.survey import Acme
from catmaid_deploy.finding import Command, Finding, fault, warning
from catmaid_deploy.operations import certificates as operations
from catmaid_deploy.operations.jobs import hidden
from catmaid_deploy.plan import this_run
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Ask, Task
from catmaid_deploy.schema import Deployment, Site, Tls
from catmaid_deploy.tasks import proxy
from catmaid_deploy.tasks.certificates import files as certificates
from catmaid_deploy.tasks.certificates.files import HOOK, LIVE, WEBROOT

CERTBOT = "certbot"


@dataclass(frozen=True)
class Wanted:
    """A certificate that is to be got. ``lineage`` is certbot's name of it; ``kept`` are names of it that no site has;
    ``by`` is how certbot renews it now, where that has to change.
    """

    lineage: str
    sites: tuple[Site, ...]
    kept: tuple[str, ...]
    by: str
    force: bool

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for site in self.sites for name in site.names))


def way(tls: Tls) -> list[str]:
    """How certbot proves that a name is this host's, in its own words."""
    if not tls.dns:
        return ["--webroot", "-w", WEBROOT]
    name = tls.dns.authenticator
    options = ["--authenticator", name, f"--{name}-credentials", tls.dns.credentials]
    return [*options, f"--{name}-propagation-seconds", str(tls.dns.wait_seconds)]


def is_own(lineage: Lineage, tls: Tls) -> bool:
    """Whether certbot renews a certificate as the inventory says, and does nothing beside it."""
    if lineage["others"]:
        return False
    if tls.dns:
        known = lineage["authenticator"], lineage["credentials"], lineage["wait"]
        return known == (tls.dns.authenticator, tls.dns.credentials, str(tls.dns.wait_seconds))
    return bool(lineage["authenticator"] == "webroot" and lineage["webroots"] == [WEBROOT])


def lives(lineage: Lineage) -> bool:
    """Whether its renewal needs neither nginx nor one of its ports."""
    return bool(lineage["authenticator"].startswith("dns-"))


def lineage_of(site: Site, survey: Survey) -> str:
    """certbot's name of the certificate that a site has, or is to have."""
    used = certificates.lineage_in_use(site, survey)
    if used:
        return used
    known = survey["lineages"]
    same = [name for name in known if set(known[name]["names"]) == set(site.names)]
    more = [name for name in known if set(known[name]["names"]) > set(site.names)]
    own = [name for name in (site.server_name,) if name in known]
    ranked = [*(name for name in same if name in own), *sorted(same, reverse=True), *own, *sorted(more, reverse=True)]
    return ranked[0] if ranked else site.server_name


def wanted(deployment: Deployment, survey: Survey) -> list[Wanted]:
    """The certificates to get: for the first time, for other names, from another server, or to be renewed otherwise."""
    by_lineage: dict[str, list[Site]] = {}
    for site in deployment.acme_sites:
        by_lineage.setdefault(lineage_of(site, survey), []).append(site)
    found = (_wanted(name, tuple(sites), survey) for name, sites in by_lineage.items())
    return [one for one in found if one]


def _wanted(name: str, sites: tuple[Site, ...], survey: Survey) -> Wanted | None:
    lineage, tls = survey["lineages"].get(name), sites[0].tls
    if lineage is None:
        # Also one of which certbot has forgotten all.
        return Wanted(name, sites, (), "", False)
    served = all(certificates.is_from_acme(site, survey) for site in sites)
    names, has = {one for site in sites for one in site.names}, set(lineage["names"])
    kept = set(lineage["kept"]) & has
    stays = lives(lineage) and served and not tls.dns
    if not is_own(lineage, tls) and not stays:
        # What the site itself was served with is the inventory's matter. A star can only be proven by the DNS.
        kept = kept if served else {one for one in has - names if tls.dns or "*" not in one}
        return Wanted(name, sites, tuple(sorted(kept)), lineage["authenticator"], True)
    # A name too many matters as well: once it leads elsewhere, no renewal succeeds.
    other_names = not names <= has <= names | kept
    if stays:
        other_names = any(certificates.served(survey, site)["missing_names"] for site in sites)
    late = any(certificates.is_late(site, certificates.served(survey, site)) for site in sites)
    other_server = lineage["server"] != tls.acme_server
    if served and not (other_server or other_names or late):
        return None
    return Wanted(name, sites, tuple(sorted(kept)), "", other_server)


def strange(made: list[Wanted]) -> list[str]:
    """The servers that are to give a certificate without a word of who asks."""
    return sorted({one.sites[0].tls.acme_server for one in made if not one.sites[0].tls.eab})


def judge(made: list[Wanted], strangers: list[str]) -> Iterator[Finding]:
    """Why a server gives no certificate."""
    for one in made:
        for site in one.sites:
            if not site.tls.eab and site.tls.acme_server in strangers:
                what = f"{site.tls.acme_server} gives certificates to accounts alone that it knows beforehand"
                fix = "give kid and key of yours, which its administrators have"
                yield fault(f"site[{site.server_name}].tls.eab", what, fix)


def brought(deployment: Deployment) -> dict[str, str]:
    """certbot's names of the certificates that are given by their path, each with its site."""
    found = {site.server_name: site.tls.certificate for site in deployment.sites}
    return {path.split("/")[4]: name for name, path in found.items() if path.startswith(f"{LIVE}/")}


def neighbours(deployment: Deployment, survey: Survey) -> Iterator[Finding]:
    """Certificates whose renewal wants the port that nginx has: of others, and of sites that name their path."""
    for name, site in brought(deployment).items():
        lineage = survey["lineages"].get(name)
        if lineage and not lives(lineage):
            what = f"certbot renews it by {lineage['authenticator']}, which doesn't work beside this nginx"
            yield warning(f"site[{site}].tls.certificate", what, "say 'acme', which takes it over")
    if not deployment.acme_sites:
        return
    ours = {lineage_of(site, survey) for site in deployment.acme_sites}
    for name, lineage in survey["lineages"].items():
        if name in ours or lineage["authenticator"] not in ("standalone", "apache"):
            continue
        words = ["certbot certonly --force-renewal --webroot", f"-w {WEBROOT} --cert-name {name}"]
        words += [f"--server {lineage['server']}", *(f"-d {one}" for one in lineage["names"])]
        what = f"certbot renews {name} by {lineage['authenticator']}, which wants port 80, and that is nginx's"
        yield warning("certificates", what, Command(" ".join(words)))


def steps(plan: Plan) -> Iterator[Step]:
    """Get certificates from ACME servers, which ask nginx for a proof."""
    for one in wanted(plan.look.deployment, plan.survey):
        tls, lineage = one.sites[0].tls, plan.survey["lineages"].get(one.lineage)
        title = f"Certificate of {one.sites[0].server_name} from {tls.acme_server.split('/')[2]}"
        details = [f"take over certbot's {one.lineage}, which {one.by} renews now"] if one.by else []
        certificate: operations.Certificate = {
            "lineage": one.lineage,
            "names": one.names,
            "kept": list(one.kept),
            "by": one.by,
            "force": one.force,
            "server": tls.acme_server,
            "email": tls.email,
            "way": way(tls),
            "dns": bool(tls.dns),
            "hook": HOOK,
            "deploy_hook": lineage and lineage["deploy_hook"],
            "links": [path for site in one.sites if (path := site.tls_dir)],
        }
        make = partial(
            operations.acme,
            name=title,
            certificate=certificate,
            run=this_run.NAME,
            unseen=hidden({"fetching": plan.look.deployment.fetching, "eab": tls.eab and tls.eab.told}),
        )
        yield Step(title, details, make, fetches=(tls.acme_server,))


def sought(plan: Plan, ask: Ask) -> Iterator[Finding]:
    """Ask the ACME servers whether they give certificates to whoever comes."""
    made = wanted(plan.look.deployment, plan.survey)
    if servers := strange(made):
        asked = {"servers": servers, "fetching": plan.look.deployment.fetching}
        for one in judge(made, ask(Acme, asked)["strangers"]):
            yield proxy.blamed(one, plan.look.deployment)


def packages(deployment: Deployment) -> list[str]:
    """certbot, and its plugins for the DNS."""
    plugins = sorted({site.tls.dns.package for site in deployment.acme_sites if site.tls.dns})
    return [CERTBOT, *plugins] if deployment.acme_sites else []


def question(deployment: Deployment) -> questions.Survey:
    return {
        "certbot": bool(deployment.acme_sites or brought(deployment)),
        "packages": [CERTBOT, *packages(deployment)],
    }


TASK = Task(
    "ACME",
    question,
    packages=lambda look: packages(look.deployment),
    warnings=lambda look: neighbours(look.deployment, look.survey),
    steps=steps,
    sought=sought,
)
