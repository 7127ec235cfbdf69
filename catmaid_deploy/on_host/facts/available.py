"""Whether the package index has what is to be installed, asked as the user who installs it. Runs on the host; prints
JSON.
"""

import re

from catmaid_deploy.on_host.facts.answer import answer
from catmaid_deploy.on_host.facts.probe import short
from catmaid_deploy.on_host.operations.packages import installer, pip_of
from catmaid_deploy.on_host.trust import Failed, plain

# pip tries again by itself, each time later.
ASKING = ["--no-input", "--disable-pip-version-check", "--no-color", "--retries", "1", "--timeout", "15"]
INDEX_SECONDS = 90
NEWEST = 6


def available(virtualenv, name, version, fetching):
    """None where a version is there, or nobody can tell; else what is there in its place, or why there is no answer."""
    user = installer(virtualenv)
    code, output = user.run([*pip_of(virtualenv, user), "index", "versions", name, *ASKING], INDEX_SECONDS, **fetching)
    output = plain(output)
    listed = re.search(r"^Available versions: (.+)$", output, re.MULTILINE)
    if listed:
        versions = [one.strip() for one in listed.group(1).split(",")]
        return None if version in versions else {"newest": versions[:NEWEST]}
    silent = re.search(r"(?:Retrying|ConnectionError|ConnectTimeout|SSLError|ProxyError).*", output)
    if code and silent:
        return {"problem": short(silent.group())}
    if code and "No matching distribution" in output:
        return {"newest": []}
    return None  # a pip that can't tell


def ask_index(question):
    found = {}
    for virtualenv, packages in question["packages"].items():
        found[virtualenv] = {}
        for name, version in packages.items():
            try:
                found[virtualenv][name] = available(virtualenv, name, version, question["fetching"])
            except (Failed, OSError):
                found[virtualenv][name] = None  # said when it is installed
    return {"available": found}


answer(ask_index)
