"""Certificates by certbot: got from ACME servers, and taken over from whoever got them before. Joined with the other
files of a job.
"""

import json
import re
import time
from contextlib import contextmanager

from catmaid_deploy.on_host.facts.certbot import CERTBOTS, CERTBOTS_LOG, TAKEN_OVER
from catmaid_deploy.on_host.operations.common import ending, make_folders, say, tell
from catmaid_deploy.on_host.paths import RUN, STATE
from catmaid_deploy.on_host.trust import ROOT, Failed, run

CERTBOT_SECONDS = 900
# Beside certbot's arguments.
UNSEEN = RUN + "/certbot.ini"
NOISE = re.compile(r"Saving debug log|- - -|Ask for help|.*Hint:|.*AttributeError|\s*$")
# What certbot needs to know of a certificate of which it has forgotten all; it writes the whole file anew.
REMEMBERED_PARTS = ("cert", "privkey", "chain", "fullchain")


def certbot(job, words):
    """Exit code and output of certbot. Its timer may be at work: it is waited for."""
    for _ in range(12):
        code, output = run(["certbot", *words], CERTBOT_SECONDS, **job["fetching"])
        if "Another instance of Certbot is already running" not in output:
            break
        time.sleep(5)
    return code, output


def complaint(output, size):
    """What an admin needs of a failure: what the server complained of. certbot 2.1 hides some of it in its log, which
    all runs share.
    """
    lines = [line for line in output.splitlines() if not NOISE.match(line)][-30:]
    said = re.findall(r"^acme\.messages\.Error: (.*)", ROOT.read(CERTBOTS_LOG, end=True, since=size), re.MULTILINE)
    return "\n".join([*lines, *said[-1:], "what was served before is still served; more is in " + CERTBOTS_LOG])


def log_size():
    status = ROOT.status(CERTBOTS_LOG)
    return status.st_size if status else 0


def reminded(name):
    """Tell certbot of a certificate that is there and that it knows nothing of: it wouldn't write over it otherwise.
    Without this file, or with the empty one that a failed try leaves, it does so. Returns the file's path, or None.
    """
    path, live = "%s/renewal/%s.conf" % (CERTBOTS, name), "%s/live/%s" % (CERTBOTS, name)
    if ROOT.read(path) or not ROOT.is_folder(live):
        return None
    lines = ["archive_dir = %s/archive/%s" % (CERTBOTS, name)]
    lines += ["%s = %s/%s.pem" % (part, live, part) for part in REMEMBERED_PARTS]
    ROOT.write(path, "\n".join([*lines, "[renewalparams]", ""]).encode())
    return path


def get_by_certbot(job, names, force):
    """Have certbot get a certificate; raises Failed with what the server complained of."""
    words = ["certonly", "--non-interactive", "--agree-tos", "--keep-until-expiring", "--renew-with-new-domains"]
    words += [*job["way"], "--cert-name", job["lineage"], "--server", job["server"]]
    words += [word for name in names for word in ("-d", name)]
    words += ["--email", job["email"]] if job["email"] else ["--register-unsafely-without-email"]
    # What others need of a new one, which certbot drops when it is got in another way.
    words += ["--deploy-hook", job["deploy_hook"]] if job["deploy_hook"] else []
    forgotten = reminded(job["lineage"])
    words += ["--force-renewal"] if force or forgotten else []
    size = log_size()
    with account_key(job["eab"]) as options:
        code, output = certbot(job, [*words, *options])
    if code:
        if forgotten:
            ROOT.unlink(forgotten)
        raise Failed(complaint(output, size))


@contextmanager
def account_key(eab):
    """Options by which certbot finds the key of an account, which in a process list everybody would read."""
    if not eab:
        yield []
        return
    make_folders(RUN)
    ROOT.write(UNSEEN, ("eab-kid = %s\neab-hmac-key = %s\n" % (eab["kid"], eab["key"])).encode(), 0o600)
    try:
        yield ["--config", UNSEEN]
    finally:
        ROOT.unlink(UNSEEN)


def keep_as_it_is(job):
    """Whether a certificate's own way of renewal, which needs no web server, still works: the next one is got by it."""
    words = ["renew", "--non-interactive", "--cert-name", job["lineage"], "--force-renewal"]
    return certbot(job, [*words, "--no-random-sleep-on-renew"])[0] == 0


def take_over(job):
    """Have a certificate renewed by the way that stays open, and get the next one by it: that is its trial."""
    lineage, by = job["lineage"], job["by"]
    if by.startswith("dns-") and not job["dns"] and keep_as_it_is(job):
        tell("certbot's certificate %s is taken over: it is still renewed by %s, and was" % (lineage, by))
        return
    names = [*job["names"], *job["kept"]]
    try:
        get_by_certbot(job, names, True)
    except Failed as error:
        if not job["kept"]:
            raise
        say(str(error))
        get_by_certbot(job, job["names"], True)
        lost = ", ".join(job["kept"])
        tell("certbot's certificate %s is no longer for %s, which can't be had here" % (lineage, lost))
        job["kept"] = []
    how = "the DNS proves its names in renewals" if job["dns"] else "nginx answers for its renewals"
    tell("certbot's certificate %s is taken over from %s: %s, and did" % (lineage, by, how))


def note_kept(job):
    kept = ROOT.json(TAKEN_OVER)
    if kept.get(job["lineage"], []) != job["kept"]:
        make_folders(STATE)
        ROOT.write(TAKEN_OVER, json.dumps(dict(kept, **{job["lineage"]: job["kept"]})).encode())


def bring_certificate(job):
    """Get a certificate, and have nginx take it. A failure leaves what is served as it was."""
    if job["by"]:
        take_over(job)
    else:
        get_by_certbot(job, [*job["names"], *job["kept"]], job["force"])
    note_kept(job)
    for link in job["links"]:
        ROOT.link(link, "%s/live/%s" % (CERTBOTS, job["lineage"]))
    code, output = run([job["hook"]])
    if code:
        raise Failed(ending(output, 5))
