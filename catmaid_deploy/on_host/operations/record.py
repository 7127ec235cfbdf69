"""The end of a run: whether users see what they should. A part of the job's script, see `apply`."""

import json
import time

from catmaid_deploy.on_host.facts.asking import PARSED, begin_asking, end_asking, supervisor_files
from catmaid_deploy.on_host.facts.nginx import NGINX_READ, ask_nginx
from catmaid_deploy.on_host.facts.ports import answers
from catmaid_deploy.on_host.facts.units import RENEWED, SUPERVISOR, UNIT_PROPERTIES, units
from catmaid_deploy.on_host.operations.common import say
from catmaid_deploy.on_host.operations.lock import check_lock, end_run, one_line
from catmaid_deploy.on_host.operations.programs import supervisors
from catmaid_deploy.on_host.paths import LOG
from catmaid_deploy.on_host.trust import ROOT, Failed, run


def ask_host(asking, seconds=20):
    """What users don't see as they should now, a line each. What has just begun gets some seconds."""
    end, pause = time.monotonic() + seconds, 0.2
    while True:
        found = end_asking(begin_asking(asking), supervisors(), units_of(asking))
        wrong = found["blocked"] + found["standing"] + found["wrong"]
        if not wrong or time.monotonic() >= end:
            say_all("asked: ", found["served"])
            say_all("away: ", sorted(name for name, word in found["programs"].items() if word == "away"))
            say_all("silent: ", list(silent(asking.get("peers", ()))))
            return [": ".join(one[key] for key in ("place", "what", "command", "todo") if one[key]) for one in wrong]
        # The beat of a hand-over has begun a moment ago.
        time.sleep(pause)
        pause = min(1, 2 * pause)


def silent(peers):
    """What is said of the servers that don't answer now; instances may share one."""
    known = {}
    for one in peers:
        place = one["host"], one["port"]
        if place not in known:
            known[place] = answers(one)
        if not known[place]:
            yield one["says"]


def say_all(word, texts):
    """A few on each line, since none may be longer than a screen takes."""
    for first in range(0, max(1, len(texts)), 4):
        say(word + json.dumps(texts[first : first + 4]))


def units_of(asking):
    """The state of each unit that the host is asked about."""
    names = [*asking["units"], *([RENEWED] if asking["renewal"] else [])]
    return units(run(["systemctl", "show", "--property=" + UNIT_PROPERTIES, *names])[1])


def remember_parsed(asking):
    """Supervisor's parser and nginx have taken their files as they are: the next look need not ask them."""
    if SUPERVISOR in asking["units"]:
        ROOT.write(PARSED, json.dumps({"files": supervisor_files()}).encode())
    if not ask_nginx()["refuses"]:
        ROOT.write(NGINX_READ, json.dumps(ask_nginx()).encode())


def record(job):
    """The end of a run: it is done only if users see what they should."""
    check_lock(job)
    what = "; ".join(job["changed"])
    if job.get("failed"):
        ask_host(job["asking"], 0)
        end_run("failed: %s%s" % (job["failed"], "; done before: " + what if what else ""), "failed")
        return
    wrong = ask_host(job["asking"])
    if wrong:
        end_run("%s; then the host was asked: %s" % (what, "; ".join(map(one_line, wrong))), "failed")
        say("left: all was changed, and the host isn't as described")
        raise Failed("all is in place, but the host doesn't serve as described:\n" + "\n".join(wrong))
    remember_parsed(job["asking"])
    end_run(what)
    say("recorded in " + LOG)
