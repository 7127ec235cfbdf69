"""The HTTP proxy through which the deploy and certbot's renewals reach the outside; other programs don't get it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from catmaid_deploy import questions
from catmaid_deploy.answers.sought import Refusal
from catmaid_deploy.facts.survey import Proxied
from catmaid_deploy.file_sets import File, Folder, Item
from catmaid_deploy.finding import Finding, Refused, fault
from catmaid_deploy.plan.plan import Plan
from catmaid_deploy.plan.task import Ask, Task
from catmaid_deploy.render import render
from catmaid_deploy.schema import Deployment

# What certbot.service reads: root alone may.
VARIABLES = "/etc/catmaid/proxy.env"
UNIT = "/etc/systemd/system/certbot.service.d"
# What pip and requests say of a proxy.
OF_PROXY = ("ProxyError", "Cannot connect to proxy", "Tunnel connection failed", "response 407")


def address(deployment: Deployment) -> str:
    """The proxy's address without what is secret."""
    words = urlsplit(deployment.fetching["http_proxy"])
    return f"http://{words.hostname}:{words.port}"


def items(deployment: Deployment) -> Iterator[Item]:
    """What the timer of certbot needs between runs."""
    if deployment.proxy and deployment.acme_sites:
        lines = (f"{name}={value}\n" for name, value in deployment.fetching.items())
        yield File(VARIABLES, "".join(lines), mode="600", secret=True)
        yield Folder(UNIT)
        yield File(f"{UNIT}/catmaid.conf", render(f"{UNIT[1:]}/catmaid.conf", variables=VARIABLES))


def question(plan: Plan) -> questions.Proxied | None:
    """What `on_host.facts.proxy` is to ask; None where nothing has to be fetched."""
    fetched = [step.fetches for step in plan.steps if step.fetches is not None]
    fetching = plan.look.deployment.fetching
    if not plan.look.deployment.proxy or not fetched:
        return None
    targets = [one for some in fetched for one in some if one.startswith(("http://", "https://"))]
    return {"fetching": fetching, "packages": bool(plan.look.missing), "targets": targets}


def sought(plan: Plan, ask: Ask) -> tuple[()]:
    """Ask whether the proxy takes the host there; raises Refused, since of all else nothing would be known."""
    if (asked := question(plan)) and (found := [*judge(plan.look.deployment, ask(Proxied, asked)["refused"])]):
        raise Refused(*found)
    return ()


def judge(deployment: Deployment, refused: Refusal | None) -> Iterator[Finding]:
    """Why a run can't fetch by the proxy."""
    if not refused:
        return
    where = address(deployment)
    if "silent" in refused:
        what = f"{where} gives the host no answer ({refused['silent']})"
        yield fault("proxy", what, "correct the address, or see what keeps the host from it")
    elif refused["status"] == 407:
        fix = 'give the address with both, read by secret.from_environment("PROXY")'
        what = f"{where} wants a user name and a password, or others than it was given"
        yield fault("proxy", what, fix)
    else:
        what = f"{where} doesn't take the host to {refused['there']} ({refused['words']})"
        yield fault("proxy", what, "have it allow that, or name it in no_proxy")


def blamed(found: Finding, deployment: Deployment) -> Finding:
    """A finding about something that can't be fetched, with the proxy as its place where that is the reason."""
    if deployment.proxy and any(words in found.what for words in OF_PROXY):
        return fault("proxy", f"by {address(deployment)} {found.what}", "have it allow that, or name it in no_proxy")
    return found


TASK = Task("proxy", sought=sought)
