"""Whether an ACME server accepts this host as a user. Runs on the host; prints JSON."""

import json
import urllib.request
from urllib.parse import urlsplit

from catmaid_deploy.on_host.facts.answer import answer
from catmaid_deploy.on_host.facts.certbot import CERTBOTS
from catmaid_deploy.on_host.facts.proxy import is_direct
from catmaid_deploy.on_host.trust import ROOT

ACME_SECONDS = 20


def has_account(server):
    """Whether certbot has an account there."""
    words = urlsplit(server)
    return bool(ROOT.names("%s/accounts/%s%s" % (CERTBOTS, words.netloc, words.path)))


def knows_its_users(server, fetching):
    """Whether a server wants to know beforehand who asks; None where it doesn't say. That it doesn't answer is said by
    certbot, when all else is in place.
    """
    proxies = {name[: -len("_proxy")]: value for name, value in fetching.items() if name != "no_proxy"}
    if is_direct(urlsplit(server).hostname or "", fetching.get("no_proxy", "")):
        proxies = {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        with opener.open(server, timeout=ACME_SECONDS) as page:
            meta = json.loads(page.read(1 << 16)).get("meta", {})
    except (OSError, ValueError, AttributeError):
        return None
    return bool(meta.get("externalAccountRequired"))


def ask_acme(question):
    wanted = [server for server in question["servers"] if not has_account(server)]
    return {"strangers": [server for server in wanted if knows_its_users(server, question["fetching"])]}


answer(ask_acme)
