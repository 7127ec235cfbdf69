"""Whether the host reaches what a run would fetch through its proxy. Runs on the host; prints JSON."""

import base64
import re
import socket
from urllib.parse import unquote, urlsplit

from catmaid_deploy.on_host.facts.answer import answer
from catmaid_deploy.on_host.facts.probe import short
from catmaid_deploy.on_host.trust import plain, run

PROXY_SECONDS = 20


def is_direct(name, direct):
    """Whether a host is reached without the proxy, as curl and Python take a list of names."""
    return any(name == one.lstrip(".") or name.endswith("." + one.lstrip(".")) for one in direct.split(",") if one)


def package_sources(wanted):
    """The address of one file from each package source, by apt's own account."""
    words = ["apt-get", "--print-uris", "-o", "Debug::NoLocking=true", "update"]
    found = {}
    for line in run(words, 30)[1].splitlines() if wanted else ():
        address = re.match(r"'(https?://[^']+)'", line)
        if address:
            found.setdefault(urlsplit(address.group(1)).netloc, address.group(1))
    return list(found.values())


def refusal_of(proxy, target):
    """What keeps a proxy from taking this host to an address, and its status; None where nothing does."""
    words, secure = urlsplit(target), target.startswith("https:")
    there = "%s:%d" % (words.hostname, words.port or (443 if secure else 80))
    lines = ["CONNECT %s HTTP/1.1" % there if secure else "HEAD %s HTTP/1.1" % target, "Host: " + there]
    if proxy.username:
        login = "%s:%s" % (unquote(proxy.username), unquote(proxy.password or ""))
        lines.append("Proxy-Authorization: Basic " + base64.b64encode(login.encode()).decode())
    request = "\r\n".join([*lines, "Connection: close", "", ""])
    try:
        connection = socket.create_connection((proxy.hostname, proxy.port), timeout=PROXY_SECONDS)
    except socket.timeout:
        return {"silent": "no connection within %d s" % PROXY_SECONDS}
    except OSError as error:
        return {"silent": error.strerror or str(error)}
    try:
        with connection:
            connection.sendall(request.encode())
            line = connection.makefile("rb").readline(1 << 12).decode("ascii", "replace")
    except OSError:
        return {"there": there, "status": 504, "words": "no answer within %d s" % PROXY_SECONDS}
    status = re.match(r"HTTP/1\.\d (\d{3})\s*(.*)", line)
    if not status:
        return {"silent": "what answers there is no HTTP proxy"}
    code = int(status.group(1))
    if secure and code in (400, 405, 501):
        return {"silent": "what answers there is no proxy: it doesn't know CONNECT"}
    # What a site itself answers is none of the proxy's.
    if code in (401, 404, 405) and not secure:
        return None
    return {"there": there, "status": code, "words": short(plain(line.strip()))} if code >= 400 else None


def is_its_own(refused):
    """Whether a proxy refuses the host, and not one address alone."""
    return bool(refused) and ("silent" in refused or refused["status"] == 407)


def ask_by_proxy(question):
    fetching = question["fetching"]
    proxy = urlsplit(fetching["http_proxy"])

    def refusals(targets):
        for target in targets:
            if not is_direct(urlsplit(target).hostname or "", fetching["no_proxy"]):
                yield refusal_of(proxy, target)

    # Of what pip fetches its own question tells; here whether somebody is there, and takes this host.
    first = refusal_of(proxy, "https://pypi.org/")
    if is_its_own(first):
        return {"refused": first}
    # Of several package sources one may be out of reach.
    found = list(refusals(package_sources(question["packages"])))
    wrong = [one for one in found if is_its_own(one)] or (found if found and all(found) else [])
    wrong = wrong or [one for one in refusals(question["targets"]) if one]
    return {"refused": wrong[0] if wrong else None}


answer(ask_by_proxy)
