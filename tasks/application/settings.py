"""What in an application's settings.py doesn't fit the inventory, or its neighbours below the same host name."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import combinations
from typing import Literal

from catmaid_deploy.answers import application as answers
from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.finding import Command, Finding, fault, missed, warning
from catmaid_deploy.schema import Deployment, Instance, Site

# Of one host all names of itself are the same.
HERE = ("localhost", "127.0.0.1", "::1", "[::1]")
COOKIES: dict[Literal["SESSION_COOKIE", "CSRF_COOKIE"], str] = {
    "SESSION_COOKIE": "sessionid",
    "CSRF_COOKIE": "csrftoken",
}
# Folders by their key in the inventory, and Django's name of each.
ROOTS: tuple[tuple[str, Literal["STATIC_ROOT", "MEDIA_ROOT"]], ...] = (
    ("static_folder", "STATIC_ROOT"),
    ("files_folder", "MEDIA_ROOT"),
)


def lasting(instance: Instance, path: str) -> str:
    """Where a file of an instance is, also before a release is in place."""
    if instance.made_settings and path == instance.settings_file:
        return instance.made_settings_file
    return instance.releases.lasting(path) if instance.releases else path


def file_of(instance: Instance) -> str:
    """Where settings.py is."""
    return lasting(instance, instance.settings_file)


def as_owner(owner: str, command: str) -> Command:
    """A command in an owner's folders, which root doesn't run by itself: what it executes is the owner's."""
    return Command(command if owner == "root" else f"runuser -u {owner} -- sh -c {shlex.quote(command)}")


def _put(instance: Instance, line: str) -> str:
    return f"put {line} at the end of {file_of(instance)}, and deploy"


# ---- what a run is refused for ----


def judge(instance: Instance, found: answers.Instance) -> Iterator[Finding]:
    """Addresses and folders of the file that can't be right."""
    path = file_of(instance)
    if instance.releases and found["static_root"]:
        yield fault(
            "releases",
            f"STATIC_ROOT = {found['static_root']!r} in {path} is one folder for all releases, which have different "
            "files",
            "put STATIC_ROOT = os.path.join(os.path.dirname(__file__), '../../static') there",
        )
    told = found["settings"]
    for name, said, loaded, wanted in (
        ("FORCE_SCRIPT_NAME", found["script_name"], told and told["FORCE_SCRIPT_NAME"], instance.prefix),
        ("STATIC_URL", found["static_url"], told and told["STATIC_URL"], f"{instance.location}static/"),
    ):
        value = loaded if said is None else said
        if value is not None and not _leads(instance, value, wanted):
            yield fault(
                "prefix",
                f"{instance.mount!r} doesn't fit {name} = {value!r} in {path}",
                f"correct one of them ({name} = {wanted!r})",
            )
            return  # the other one follows from the same mistake


def _leads(instance: Instance, value: str, wanted: str) -> bool:
    """Whether an address of the settings is the wanted one: Django puts the prefix before one without a slash."""
    return value == wanted or (not value.startswith("/") and instance.location + value == wanted)


def judge_roots(instance: Instance, survey: Survey) -> Iterator[Finding]:
    """What Django collects and stores elsewhere than nginx serves it from."""
    found = survey["instances"][instance.name]
    settings = found["settings"]
    for key, name in ROOTS:
        path = getattr(instance, key)
        wanted, real = (settings[name], settings["real"][name]) if settings else (None, None)
        if not settings and key == "files_folder" and found["media_root"]:
            # A release that isn't there yet can't be loaded, and its settings last.
            wanted, real = found["media_root"]
        if wanted and real not in (path, survey["served_folders"][path]["real"]):
            what = f"{path} isn't Django's {name}, which is {wanted}"
            yield fault(key, what, f"correct one of them ({name} = {path!r})")


# ---- what users miss, or should know ----


def standing(deployment: Deployment, survey: Survey) -> Iterator[Finding]:
    """What keeps no program from running."""
    for instance in deployment.instances:
        yield from _packages(instance, survey["instances"][instance.name])
    for site in deployment.sites:
        found = survey["instances"]
        known = [(i, told) for i in site.instances if (told := found[i.name].get("settings"))]
        for instance, told in known:
            yield from _links(instance, told)
            yield from _cookies(site, instance, told)
            if lost := lost_notices(instance, found[instance.name]):
                yield warning(f"notice of {instance.name}", *lost)
        for (first, one), (second, other) in combinations(known, 2):
            yield from _shared(first, one, second, other)


def _packages(instance: Instance, found: answers.Instance) -> Iterator[Finding]:
    if path := found.get("foreign_packages"):
        file = lasting(instance, instance.wsgi_file)
        what = f"{file} takes packages from {path}, and not from {instance.virtualenv}"
        owner = instance.releases.owner if instance.releases else found["owner"]
        fix = as_owner(owner, f"echo 'from mysite.wsgi import application' > {file}")
        yield warning(f"site.instances[{instance.name}].wsgi_file", what, fix)


def _links(instance: Instance, told: answers.Settings) -> Iterator[Finding]:
    url, wanted = told["MEDIA_URL"], f"{instance.location}files/"
    # One with a host name may lead anywhere.
    if url and "//" not in url and not _leads(instance, url, wanted):
        what = f"MEDIA_URL = {url!r}, and users' files are at {wanted}: links to them lead nowhere"
        yield missed(f"site.instances[{instance.name}].prefix", what, _put(instance, f"MEDIA_URL = {wanted!r}"))


def _cookies(site: Site, instance: Instance, told: answers.Settings) -> Iterator[Finding]:
    """Cookies that browsers don't send back, or by HTTP too."""
    names = (site.server_name, *site.aliases)
    for key in COOKIES:
        _, path, domain, _ = told[key]
        if not _covers(path, instance.location):
            what = f"{key}_PATH = {path!r}, and the application is at {instance.location}: nobody stays logged in"
            yield missed(f"login of {instance.name}", what, _put(instance, f"{key}_PATH = {instance.location!r}"))
        elif domain and not any(f".{name}".endswith("." + domain.lstrip(".")) for name in names):
            what = f"{key}_DOMAIN = {domain!r}, which {site.server_name} isn't in: nobody stays logged in"
            yield missed(f"login of {instance.name}", what, _put(instance, f"{key}_DOMAIN = None"))
    secure = {key: told[key][3] for key in COOKIES}
    if site.certificate and not all(secure.values()):
        lacking = " and ".join(f"{key}_SECURE" for key, is_so in secure.items() if not is_so)
        what = f"{lacking} isn't True: browsers send it by HTTP as well, where others can read it"
        put = _put(instance, "SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True")
        yield warning(f"cookies of {instance.name}", what, put)
    elif not site.certificate and any(secure.values()):
        what = "they are Secure, and the site is HTTP alone: nobody stays logged in unless something in front has HTTPS"
        put = _put(instance, "SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = False")
        yield warning(f"cookies of {instance.name}", what, put)


def _covers(path: str, address: str) -> bool:
    """Whether a browser sends a cookie of a path to an address."""
    return address.startswith(path.rstrip("/") + "/") or address == path


def _shared(first: Instance, one: answers.Settings, second: Instance, other: answers.Settings) -> Iterator[Finding]:
    """Cookies of two instances that a browser takes for one."""
    same = [
        key
        for key in COOKIES
        if one[key][0] == other[key][0]
        and (_covers(one[key][1], second.location) or _covers(other[key][1], first.location))
    ]
    if same:
        names = ", ".join(f"{key}_NAME" for key in same)
        values = ", ".join(repr(f"{COOKIES[key]}_{second.name}") for key in same)
        what = f"{names} and path are those of {first.name}: who logs in to one is logged out of the other"
        yield warning(f"cookies of {second.name}", what, _put(second, f"{names} = {values}"))


def lost_notices(instance: Instance, found: answers.Instance) -> tuple[str, Command] | None:
    """Why what tasks tell users' pages is lost, and the fix; None where nothing says so."""
    brokers = found["settings"] and found["settings"]["brokers"]
    if not brokers:
        return None
    (broker, vhost), (other, others) = ([_host(one), where] for one, where in brokers)
    if [broker, vhost] == [other, others]:
        return None
    what = (
        f"Celery's broker is {broker}, vhost {vhost!r}, and CHANNEL_LAYERS leads to {other}, vhost {others!r}: "
        "what tasks tell users' pages is lost"
    )
    # Of one that is away while the application loads there is an address for writing alone.
    url = '(globals().get("CELERY_BROKER_WRITE_URL") or CELERY_BROKER_URL)'
    line = f'CHANNEL_LAYERS["default"]["CONFIG"]["host"] = {url}.rstrip("/")'
    return what, as_owner(found["owner"], f"echo {shlex.quote(line)} >> {file_of(instance)}")


def _host(address: str) -> str:
    name, _, port = address.rpartition(":")
    return f"localhost:{port}" if name in HERE else address
