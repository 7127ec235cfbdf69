"""Certificates and keys on a host. A part of a script, see `survey`."""

import hashlib
import re
import ssl
import stat
import time
from datetime import datetime, timezone

from catmaid_deploy.on_host.facts.files import owner_name
from catmaid_deploy.on_host.facts.web import (
    group_name,
)
from catmaid_deploy.on_host.trust import (
    ROOT,
)


def covers(name, wanted):
    """Whether a certificate's name is for a host name: '*.' stands for one part of it."""
    return name == wanted or (name.startswith("*.") and wanted.partition(".")[2] == name[2:])


def certificates_time(text):
    """Seconds since the epoch of 'Jun  1 12:00:00 2030 GMT'. What ssl has for it loads calendars and locales first."""
    month, day, clock, year, _ = text.split()
    month = "JanFebMarAprMayJunJulAugSepOctNovDec".index(month) // 3 + 1
    hour, minute, second = map(int, clock.split(":"))
    return datetime(int(year), month, int(day), hour, minute, second, tzinfo=timezone.utc).timestamp()


UNKNOWN = {
    "problem": "",
    "of_key": False,
    "names": [],
    "missing_names": [],
    "seconds_left": 0,
    "lifetime": 0,
    "time": 0,
    "digest": "",
}


def certificate(at, asked):
    """What a certificate is for and until when, or the kind of its problem and whether that is one of its key."""
    found = dict(UNKNOWN)
    path, key = asked["certificate"], asked["key"]
    for one in (path, key):
        if not at.exists(one):
            return dict(found, problem="missing", of_key=one == key)
    found["time"] = max(at.status(one, follow=True).st_mtime for one in (path, key))
    try:
        with at.file(path) as file:
            decoded = ssl._ssl._test_decode_cert(by_descriptor(file))
    except (ssl.SSLError, OSError):
        return dict(found, problem="no certificate")
    try:
        # An empty passphrase, so that nothing is asked for at a terminal.
        with at.file(path) as file, at.file(key) as of_key:
            pair = by_descriptor(file), by_descriptor(of_key)
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pair, password="")
    except PermissionError:
        # Root doesn't open it there itself, and nginx would open what they put in its place.
        return dict(found, problem="not root's", of_key=True)
    except (ssl.SSLError, OSError, ValueError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            return dict(found, problem="of another", of_key=True)
        return dict(found, problem="no key", of_key=True)
    # nginx shows the first of several.
    first = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", at.read(path), re.DOTALL)
    if first:
        found["digest"] = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first.group())).hexdigest()
    end, begin = (certificates_time(decoded[which]) for which in ("notAfter", "notBefore"))
    names = [name for _, name in decoded.get("subjectAltName", ())]
    missing = [wanted for wanted in asked["names"] if not any(covers(name, wanted) for name in names)]
    found.update(names=names, missing_names=missing, seconds_left=end - time.time(), lifetime=end - begin)
    return found


def by_descriptor(file):
    """A path for what wants to open a file by itself, which leads to the one that is open."""
    return "/proc/self/fd/%d" % file.fileno()


def key_of(at, path):
    """Whose a key is, and its mode; None where there is none."""
    status = at.status(path, follow=True)
    if status is None:
        return None
    who = owner_name(status.st_uid), group_name(status.st_gid)
    return {"user": who[0], "group": who[1], "mode": "%o" % stat.S_IMODE(status.st_mode)}


def by_owner(number, places, path, act, value):
    """Ask whoever may change where something lies. What is root's own is asked last, by root itself."""
    asked = places.ask(number, path, act, value) if number else None
    return lambda: asked.value if asked else act(ROOT)


def ask_certificates(question, places, owners):
    late = dict(UNKNOWN, problem="no answer")
    asked = {}
    for one in question["certificates"]:
        user = owners[one["certificate"]].value or owners[one["key"]].value
        name = "%s %s" % (one["site"], one["kind"])
        asked[name] = by_owner(user, places, one["certificate"], lambda at, one=one: certificate(at, one), late)
    return lambda: {name: answer() for name, answer in asked.items()}


def ask_keys(question, places, owners, nginx):
    """Of each key that is there whose it is, and which of the users that serve the web can read it."""
    users = {one["user"]: one["user"] for one in question["instances"]}
    users[question["nginx"]["user"]] = nginx
    asked = {}
    for path in {one["key"] for one in question["certificates"]}:
        key = by_owner(owners[path].value, places, path, lambda at, path=path: key_of(at, path), None)
        may = {name: places.ask(user, path, lambda at, path=path: at.may(path, "read")) for name, user in users.items()}
        asked[path] = key, may

    def answer():
        for path, (key, may) in asked.items():
            whose = key()
            if whose:
                yield path, dict(whose, readers=sorted(name for name, reads in may.items() if reads.value))

    return lambda: dict(answer())
