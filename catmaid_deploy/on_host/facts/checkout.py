"""What is in an application's checkout and settings, read as its user. A part of a script, see `survey`."""

import re

from catmaid_deploy.on_host.facts.places import STATIC_AND_FILES, first_missing, there
from catmaid_deploy.on_host.trust import plain


def literal(settings, name):
    """The text that the last such line of settings.py gives a name; the file's secrets stay on the host."""
    lines = re.findall(r"^%s\s*=.*$" % name, settings, re.MULTILINE)
    found = re.match(r"\w+\s*=\s*(['\"])(.*?)\1\s*(?:#.*)?$", lines[-1]) if lines else None
    return plain(found.group(2))[:500] if found else None


def application(at, asked):
    """Which of an application's files are there, what stands in its settings, and what was noted of them."""
    text = at.read(asked["settings_file"])
    binary = asked["virtualenv"] + "/bin/python"
    virtualenv = at.status(asked["virtualenv"], follow=True)
    checkout = at.status(asked["checkout"], follow=True)
    return {
        "paths": {key: there(at, asked[key]) for key in ("checkout", "wsgi_file", "settings_file")},
        "missing": first_missing(at, (asked["virtualenv"], binary)),
        "reaches": at.may(binary, "enter"),
        "owner": virtualenv.st_uid if virtualenv else 0,
        "checkout_owner": checkout.st_uid if checkout else 0,
        "requirements": [path for path in asked["requirements"] if at.exists(path)],
        "literals": {
            key: literal(text, name)
            for key, name in (
                ("script_name", "FORCE_SCRIPT_NAME"),
                ("static_url", "STATIC_URL"),
                ("static_root", "STATIC_ROOT"),
            )
        },
        "media_root": media_root(at, text),
        "foreign_packages": foreign_packages(at, asked),
        "settings": noted_settings(at, asked["settings"]),
    }


def media_root(at, settings):
    """Where users' files are by settings.py, and where that leads to: asked before Django can load a new release."""
    path = literal(settings, "MEDIA_ROOT")
    return [path, at.real(path)] if path and path.startswith("/") else None


def foreign_packages(at, asked):
    """Packages that the WSGI file puts before the virtualenv's: CATMAID's own names those that it was made for."""
    text, own = at.read(asked["lasting_wsgi_file"]), at.real(asked["virtualenv"]) + "/"
    for _, path in re.findall(r"(['\"])(/[^'\"]*/site-packages)/?\1", text):
        if not at.real(path).startswith(own):
            return plain(path)[:500]
    return None


def noted_settings(at, asked):
    """What was noted of the settings as Django has them; None where something has changed since."""
    kept = at.json(asked["notes"])
    try:
        folder, said, files = kept["state"]
        same = folder == asked["folder"] and said == asked["said"] and 0 < len(files) < 5000
        for path, (changed, size) in files.items() if same else ():
            status = at.status(path, follow=True)
            same = same and status is not None and [status.st_ctime, status.st_size] == [changed, size]
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return resolved(at, kept.get("settings")) if same else None


def resolved(at, told):
    """Settings of the right types, the folders' with where they lead to; None for others."""
    if not isinstance(told, dict):
        return None
    folders = {name: told.get(name) for name in STATIC_AND_FILES}
    hosts = told.get("ALLOWED_HOSTS")
    if not all(one is None or (isinstance(one, str) and one.startswith("/")) for one in folders.values()):
        return None
    if not isinstance(hosts, list) or not all(isinstance(one, str) for one in hosts):
        return None
    real = {name: path and at.real(path) for name, path in folders.items()}
    texts, cookies, brokers = texts_of(told), cookies_of(told), brokers_of(told)
    if texts is None or cookies is None:
        return None
    found = dict(folders, ALLOWED_HOSTS=[plain(one)[:300] for one in hosts[:1000]], real=real, brokers=brokers)
    return dict(found, **texts, **cookies)


def texts_of(told):
    """Addresses as they are written in the settings; None where one is neither a text nor left out."""
    found = {name: told.get(name, 0) for name in ("MEDIA_URL", "STATIC_URL", "FORCE_SCRIPT_NAME")}
    if not all(one is None or isinstance(one, str) for one in found.values()):
        return None
    return {name: one and plain(one)[:500] for name, one in found.items()}


def cookies_of(told):
    """Name, path, domain of the two cookies, and whether they are Secure."""
    found = {name: told.get(name) for name in ("SESSION_COOKIE", "CSRF_COOKIE")}
    for one in found.values():
        if not isinstance(one, list) or [type(part) for part in one] != [str, str, str, bool]:
            return None
    return {name: [*(plain(part)[:300] for part in one[:3]), one[3]] for name, one in found.items()}


def brokers_of(told):
    """Host with port, and virtual host, of Celery's broker and of the channel layer, where both are RabbitMQ's."""
    found = told.get("brokers")
    well = isinstance(found, list) and len(found) == 2 and all(isinstance(one, list) and len(one) == 2 for one in found)
    if not well or not all(isinstance(part, str) for one in found for part in one):
        return None
    return [[plain(part)[:300] for part in one] for one in found]
