"""Whether a bundle's packages go with those that the host has, by apt's own account. Runs on the host; prints JSON."""

import re

from catmaid_deploy.on_host.facts.answer import answer
from catmaid_deploy.on_host.trust import NOBODY, As, plain

TRYING_SECONDS = 120
# Of the host what is installed, of all else nothing: not even a lock.
TRIAL_CONF = """Dir::Etc::SourceList "%(folder)s/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "%(folder)s/lists";
Dir::Cache "%(folder)s/cache";
Debug::NoLocking "true";
"""


def tried_by_apt(user, folder, question):
    """The lines by which apt refuses to install packages from an index alone; none where it would install them."""
    texts = {
        "Packages": question["index"],
        "sources.list": "deb [trusted=yes] file:%s ./\n" % folder,
        "apt.conf": TRIAL_CONF % {"folder": folder},
    }

    def prepare(at):
        at.make_folder(folder + "/lists")
        at.make_folder(folder + "/cache")
        for name, text in texts.items():
            at.write("%s/%s" % (folder, name), text.encode())

    user.do(prepare)
    own = {"APT_CONFIG": folder + "/apt.conf"}
    code, output = user.run(["apt-get", "-q", "update"], TRYING_SECONDS, **own)
    if not code:
        words = ["apt-get", "-q", "-s", "--no-install-recommends", "install", *question["packages"]]
        code, output = user.run(words, TRYING_SECONDS, **own)
    return plain(output).splitlines() if code else []


def refusal_by_apt(lines):
    """What apt says of the first package that doesn't go, or in its last line; '' where nothing was said."""
    first = [line for line in lines if re.search(r" : (Pre)?(Depends|Breaks|Conflicts): ", line)]
    return " ".join((first or lines[-1:] or [""])[0].split())[:300]


def ask_apt(question):
    user = As(NOBODY)
    code, folder = user.run(["mktemp", "-d", "/tmp/catmaid-bundle.XXXXXX"], 20)
    if code:
        return {"apt": ""}  # said when they are installed
    try:
        return {"apt": refusal_by_apt(tried_by_apt(user, folder, question))}
    finally:
        user.do(lambda at: at.remove_tree(folder))


answer(ask_apt)
