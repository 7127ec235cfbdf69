"""nginx: its configuration, and that it runs with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Survey, unit_of
from catmaid_deploy.file_sets import (
    Change,
    ConfigurationSet,
    Difference,
    File,
    Folder,
    Item,
    Link,
    Reason,
    compare,
    foreign_links,
)
from catmaid_deploy.finding import Finding, warning
from catmaid_deploy.on_host.facts.nginx import CONFIGURATION, HERE, LOCATIONS
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan, Step
from catmaid_deploy.plan.task import Task
from catmaid_deploy.render import digest, regex, render
from catmaid_deploy.run.apply import configured
from catmaid_deploy.schema import (
    NGINX_USER,
    PASSWORD_HOST,
    SERVICE_USER,
    SOCKET_GROUP,
    STATE_HOST,
    Cors,
    Deployment,
    Instance,
    Site,
    TileSet,
)
from catmaid_deploy.tasks import packages, request_limits
from catmaid_deploy.tasks.certificates import files as certificates
from catmaid_deploy.tasks.certificates import requested
from catmaid_deploy.tasks.nginx import error_pages as notices
from catmaid_deploy.tasks.nginx import headers, passwords
from catmaid_deploy.tasks.nginx.capabilities import DEFAULT_SITE, Server
from catmaid_deploy.tasks.nginx.user import groups, missing_groups

# A worker that started within so many seconds of its files' time may be as new as they are.
CLOCK_SECONDS = 2
COMPRESSED = (
    *("text/plain", "text/css", "text/xml", "text/javascript", "image/svg+xml"),
    *("application/javascript", "application/json", "application/xml", "application/wasm"),
)
# What Debian's package brings, and others' don't.
DEBIAN_FOLDERS = tuple(f"/etc/nginx/{name}" for name in ("snippets", "sites-available", "sites-enabled"))
SET = "nginx"
TREES, CHECKS = ("/etc/nginx",), (("nginx", "{stage}/etc/nginx/nginx.conf"),)
# Of what the deploy wrote this stays when the last site goes: without it nginx, which others may use, wouldn't start.
CHANGED_CERTIFICATE = "a certificate has changed"
# Names of blocks: of N5 and Zarr, by numbers; of Zarr 3; of precomputed volumes, single or in shards.
_RANGE = "-?[0-9]+--?[0-9]+"
BLOCKS = (r"[0-9]+(?:\.[0-9]+)*", r"c(?:\.[0-9]+)*", rf"(?:{_RANGE}_){{2}}{_RANGE}", r"[0-9a-f]+\.shard")
# And what describes them.
DESCRIPTIONS = ("attributes.json", "info", "zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
# What nginx refuses by itself: why, and what to do about it. It has 494 for 431, and 497 for HTTP on HTTPS's port.
REFUSALS = {
    400: ("the request can't be understood", "its address or a header isn't as HTTP has it"),
    401: ("a name and a password are needed", "send them with the request"),
    403: ("access is refused", "what lies here is a folder, or closed to the web server"),
    404: ("there is nothing at this address", "check the address"),
    405: ("this address doesn't take the method", "what lies here can only be read"),
    408: ("the request came too slowly", "send it again"),
    411: ("the request doesn't say its length", "send Content-Length"),
    412: ("the file isn't the one that is meant", "read it anew"),
    413: ("the request is too large", "send less at once"),
    414: ("the address is too long", "send less in it"),
    416: ("the file ends before this range", "ask for a range within it"),
    421: ("this server isn't asked by its name", "connect anew"),
    429: ("too many requests at once", "try again in a second"),
    431: ("the request's headers are too large", "send fewer or shorter cookies"),
    500: ("the server has failed", "its administrator finds the reason in its log"),
    501: ("the server doesn't know this kind of request", "its administrator finds the reason in its log"),
    502: ("what should answer can't be reached", "try again in a minute"),
    503: ("this isn't there right now", "try again in a minute"),
    504: ("the answer takes too long", "try again in a minute"),
    505: ("the server doesn't know this version of HTTP", "use HTTP/1.1"),
    507: ("the server has no room for this", "tell its administrator"),
}
# Of users' files: they may be looked at, and run nothing.
SANDBOX = (
    "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'"
)
# The line and some headers of a request without control characters, doubled slashes and OPTIONS, which sites look for.
# No group is repeated: nginx lets a regular expression remember 32 KB.
PLAIN = r"^[A-NP-Z][A-Z]* (?!\S*(?:%|//))[ -~]*$"


@dataclass(frozen=True)
class Policy:
    """Who may read a place's answers from elsewhere; without ``patterns`` everybody."""

    name: str
    patterns: list[str]
    credentials: bool


@dataclass(frozen=True)
class Place:
    """Where an instance or a tile set is, and its policy."""

    server_name: str
    location: str
    policy: Policy | None


def _pattern(origin: str) -> str:
    """An origin as a regular expression; '*.' stands for one or more names."""
    scheme, _, rest = origin.partition("://")
    wild = rest.startswith("*.")
    return f"{scheme}://" + (r"([a-z0-9-]+\.)+" if wild else "") + regex(rest.removeprefix("*."))


def cors_of(deployment: Deployment, site: Site, one: Instance | TileSet) -> Cors | None:
    """Who may read a place from elsewhere.

    A password is of no use to a page of another site that can't send it along: tiles that have one let named origins
    do so, and without any those of the inventory's own sites, on whichever host. Browsers refuse "*" there.
    """
    if one.cors is None or not isinstance(one, TileSet) or not passwords.guard(site, one):
        return one.cors
    if "cors" not in one.model_fields_set:
        return Cors(origins=tuple(deployment.origins), credentials=True)
    named = "*" not in one.cors.origins and "credentials" not in one.cors.model_fields_set
    return one.cors.model_copy(update={"credentials": True}) if named else one.cors


def policy(one: Instance | TileSet, cors: Cors | None) -> Policy | None:
    if cors is None:
        return None
    kind = "tiles" if isinstance(one, TileSet) else "instance"
    patterns = [_pattern(origin) for origin in cors.origins if origin != "*"]
    return Policy(f"{kind}-{one.name}", patterns, cors.credentials)


def site_path(site: Site) -> str:
    return f"/etc/nginx/sites-available/catmaid-{site.server_name}.conf"


def enabled_path(site: Site) -> str:
    """By which nginx reads it."""
    return site_path(site).replace("available", "enabled")


def own_locations(site: Site) -> str:
    """The folder of an admin's own files, which are read at the end of the site's server and never written."""
    return f"{LOCATIONS}/{site.server_name}"


def neighbours(survey: Survey) -> Iterator[Finding]:
    """What others' sites lose as nginx's workers have a user of their own."""
    for one in survey["neighbours"]:
        user = f"nginx's own user, {NGINX_USER},"
        what = f"{one['file']} needs {one['path']}, which {SERVICE_USER} reaches and {user} doesn't"
        yield warning("nginx", what, packages.setfacl(f"-m g:{SOCKET_GROUP}:{one['right']}", one["path"], survey))


def rendered(deployment: Deployment, server: Server) -> tuple[list[Item], str]:
    """The nginx files, and the digest that an nginx which loaded them answers with."""
    places = [
        Place(site.server_name, one.location, policy(one, cors_of(deployment, site, one)))
        for site in deployment.sites
        for one in site.places
    ]
    https = [site for site in deployment.sites if site.certificate]
    fronted = [site for site in deployment.sites if site.balancer]
    common = {
        "deployment": deployment,
        "server": server,
        "open_tiles": server.open_tiles(len(deployment.tiles)),
        "descriptors": server.used(len(deployment.tiles)),
        "nginx_user": NGINX_USER,
        "state_host": STATE_HOST,
        "password_host": PASSWORD_HOST,
        "compressed": COMPRESSED,
        "own_headers": headers.own(),
        "security_headers": headers.lines,
        "here": HERE,
        "fronted": fronted,
        "scheme": "$catmaid_scheme" if fronted else "$scheme",
        "sandbox": SANDBOX,
        "plain": PLAIN,
        "refusals": REFUSALS,
        "blocks": BLOCKS,
        "descriptions": DESCRIPTIONS,
        "policies": [place.policy for place in places if place.policy],
        # The first that fits counts.
        "places": sorted(places, key=lambda place: len(place.location), reverse=True),
        "tls": bool(https),
        "nameless": next((site for site in https if site.has_address or site.balancer), None),
        "guards": passwords.guards(deployment),
        "web": notices.WEB,
        "sizes": request_limits,
        "webroot": certificates.WEBROOT,
    }
    snippets = ["cors", "catmaid-uwsgi", "catmaid-proxy"] + ["catmaid-tls"] * bool(https)
    snippets += ["catmaid-passwords"] * bool(common["guards"])

    def shared(name: str) -> File:
        path = "etc/nginx/conf.d/catmaid.conf"
        return File(f"/{path}", render(path, **common, digest=name))

    paths = ["nginx.conf", *(f"snippets/{snippet}.conf" for snippet in snippets)]
    others: list[Item] = [
        File(f"/etc/nginx/{path}", render(f"etc/nginx/{path}", **common), stock=path == "nginx.conf") for path in paths
    ]
    for number, site in enumerate(deployment.sites, 1):
        guard = {one.location: passwords.guard(site, one) for one in site.places}
        retry = notices.retry_after(site.maintenance)
        cors = {place.location: place.policy for place in places if place.server_name == site.server_name}
        own = own_locations(site)
        values = common | {"site": site, "own": own, "number": number, "guard": guard, "cors": cors, "retry": retry}
        path = site_path(site)
        others.append(File(path, render("etc/nginx/sites-available/site.conf", **values)))
        snippet = "etc/nginx/snippets/catmaid-headers"
        others.append(File(f"/{snippet}-{site.server_name}.conf", render(f"{snippet}.conf", **values)))
        others.append(Link(enabled_path(site), path))
    others += passwords.files(deployment)
    name = digest(*(item.text for item in (shared(""), *others) if isinstance(item, File)))
    return [shared(name), *others], name


def wanted(deployment: Deployment, server: Server) -> tuple[ConfigurationSet, str]:
    """nginx's files and what it serves by itself, tested by nginx, and the digest of what it loads."""
    items, name = rendered(deployment, server)
    served = [Folder(notices.WEB), *(item for site in deployment.sites for item in notices.notices(site))]
    own = [Folder(path) for path in (LOCATIONS, *map(own_locations, deployment.sites))]
    if server.of_another:
        own += [Folder(path, data=True) for path in DEBIAN_FOLDERS]
    return ConfigurationSet(
        SET,
        (
            *own,
            *served,
            *notices.black_tiles(deployment.tiles),
            *certificates.items(deployment),
            *items,
        ),
        trees=TREES,
        checks=CHECKS,
        service={"kind": "nginx", "digest": name, "state_host": STATE_HOST},
        stock_links=DEFAULT_SITE,
    ), name


def change(deployment: Deployment, survey: Survey) -> Change:
    """What differs, and whether the running nginx has what is on disk: a reload by hand counts, a lost one shows."""
    one, name = wanted(deployment, Server.of(survey))
    differences = compare(one, survey)
    if "nginx" not in survey["packages"]:
        # The package that this run installs brings its default site along.
        differences += tuple(Difference(path, "remove") for path in DEFAULT_SITE)
    running = survey["nginx"]
    # A folder's time is that of its last name, and says nothing of what nginx has read.
    loaded = [item.path for item in one.items if item.path.startswith("/etc/nginx/") and not isinstance(item, Folder)]
    times = [found["time"] for path in loaded if (found := survey["files"].get(path))]
    do, why = "reload", ""
    if not unit_of(survey, "nginx.service")["active"]:
        if "nginx" in survey["packages"]:
            do, why = "start", "it doesn't run"
    elif differences:
        why = "its files change"
    elif passwords.key_missing(deployment, survey):
        why = "the key of password cookies is new"
    elif missing_groups(deployment, survey):
        why = f"{NGINX_USER} gets other groups"
    elif (since := running["since"]) is None or running["digest"] != name:
        why = "it runs with another configuration"
    elif since + CLOCK_SECONDS < max(times):
        why = "its files are newer"
    elif (
        certificates.self_signed(deployment, survey)
        or any(one.use for one in requested.wanted(deployment, survey))
        or certificates.has_changed(deployment, survey, since)
    ):
        why = CHANGED_CERTIFICATE
    told = (r".*\.tls\.certificate", "TLS of .*") if why == CHANGED_CERTIFICATE else ()
    return Change(one, differences, (Reason(do, "nginx", why, told),) if why else ())


def removal(survey: Survey) -> Change:
    """What the deploy wrote for sites goes with the last of them; nginx goes on, for what others have there."""
    left = ConfigurationSet(
        SET, trees=TREES, checks=CHECKS, service={"kind": "nginx", "digest": None, "state_host": STATE_HOST}
    )
    differences = [one for one in compare(left, survey) if one.path != CONFIGURATION]
    if survey["files"].get(passwords.KEY):
        # Made on the host, by a step of its own.
        differences.append(Difference(passwords.KEY, "remove"))
    return Change(left, tuple(differences), (Reason("take the sites from", "nginx", "none is left in the inventory"),))


def question(deployment: Deployment) -> questions.Survey:
    return {
        # Made where nginx is another packager's.
        "paths": list(DEBIAN_FOLDERS),
        "nginx": {"user": NGINX_USER, "like": SERVICE_USER, "groups": groups(deployment)},
        "accounts": [NGINX_USER, SERVICE_USER],
    }


def warnings(look: Look) -> Iterator[Finding]:
    if not look.deployment.sites:
        return
    yield from neighbours(look.survey)
    for path, user in look.survey["nginx_files_of_others"]:
        what = f"{path} can be changed by {user}, and nginx reads it as root"
        yield warning("nginx", what, "have root alone own it and the folders that lead to it")
    for path, sockets in Server.of(look.survey).answer_unknown_names.items():
        what = f"{path} answers host names that no site has, on {', '.join(sockets)}"
        yield warning("nginx", f"{what}; without its default_server nobody would")
    if not packages.has_brotli(look.survey):
        yield warning("nginx", "this host's has no brotli module, answers are compressed by gzip alone")


def steps(plan: Plan) -> Iterator[Step]:
    if not plan.look.deployment.sites:
        if SET in plan.survey["manifest"]:
            yield from configured(removal(plan.survey))
        return
    made = change(plan.look.deployment, plan.survey)
    plan.report.warnings += [
        warning("nginx", f"{path} stays, since its site was changed by somebody")
        for path in foreign_links(made.set, plan.survey)
    ]
    yield from configured(made)


TASK = Task(
    "nginx",
    question,
    sets=lambda deployment: [wanted(deployment, Server())[0]] if deployment.sites else [],
    warnings=warnings,
    steps=steps,
)
