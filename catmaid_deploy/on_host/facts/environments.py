"""The environments that the deploy makes, and the Python that they are made of. A part of a script, see `survey`."""

import re
import sys

from catmaid_deploy.on_host.facts.fits import is_built
from catmaid_deploy.on_host.facts.probe import short
from catmaid_deploy.on_host.paths import COMPILER, SYSTEM_PYTHON
from catmaid_deploy.on_host.trust import NOBODY, ROOT, As, plain

PROBING_SECONDS = 20
# Its version, and where what C sources need of it would be.
VERSION = "import sys, sysconfig; print('%d.%d' % sys.version_info[:2], sysconfig.get_path('include'))"


def environment_at(at, asked):
    """Whether an environment is complete, and which wheels were made of what has to be compiled."""
    return {"there": at.exists(asked["proof"]), "wheels": at.names(asked["wheels"], 1000)}


def python_at(executable):
    """The version of a Python, and whether its headers are there; or why it doesn't run."""
    if executable == SYSTEM_PYTHON:
        # This one, whose headers come with the compiler.
        return {"python": "%d.%d" % sys.version_info[:2], "header": True, "problem": ""}
    if not ROOT.exists(executable) and ROOT.missing(executable):
        return {"python": "", "header": False, "problem": "it isn't there"}
    code, output = As(NOBODY).run([executable, "-I", "-c", VERSION], PROBING_SECONDS)
    found = re.fullmatch(r"(\d+\.\d+) (/.*)", output)
    if code or not found:
        lines = plain(output).splitlines() or ["it ended with %s" % code]
        return {"python": "", "header": False, "problem": short(lines[-1])}
    header = As(NOBODY).run(["test", "-f", found.group(2) + "/Python.h"], PROBING_SECONDS)[0] == 0
    return {"python": found.group(1), "header": header, "problem": ""}


def ask_environments(question, places):
    """Asked with the rest; Python only where one is to be made."""
    asked = {
        name: (one, places.ask(one["owner"], one["folder"], lambda at, one=one: environment_at(at, one)))
        for name, one in question["environments"].items()
    }

    def answer():
        found = {}
        for name, (one, told) in asked.items():
            told_of = told.value or {"there": False, "wheels": []}
            is_there = told_of["there"]
            python = {"python": "", "header": False, "problem": ""} if is_there else python_at(one["executable"])
            built = is_there or is_built(told_of["wheels"], one["compiled"], python["python"])
            found[name] = {"there": is_there, "built": built, **python}
        return found

    return answer


def noted_compiler():
    """What a run has brought to compile with, and hasn't removed yet."""
    return [name for name in ROOT.json(COMPILER).get("names", ()) if isinstance(name, str)]
