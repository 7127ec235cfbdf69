"""What must hold in any nginx configuration of this project, asked of the tree that crossplane reads.

`read` gives the tree of rendered files, `faults` what is wrong in one: a line each, beginning with the rule's name.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import crossplane
from crossplane import analyzer

from catmaid_deploy.file_sets import File, Item, Link
from catmaid_deploy.schema import PASSWORD_HOST, STATE_HOST, Deployment, Instance, Site
from catmaid_deploy.tasks.nginx import headers, passwords
from catmaid_deploy.tasks.nginx.site import PLAIN, REFUSALS

Directive = dict[str, Any]
Block = list[Directive]

# What nginx 1.22 to 1.26 has, or a module of Debian's, and crossplane doesn't know.
NEWER = {"http2", "ssl_reject_handshake", "brotli", "brotli_comp_level", "brotli_min_length"}
NEWER |= {"brotli_types", "brotli_static"}
# What a location hands on to those in it that say nothing of it themselves.
INHERITED = {"root", "auth_request", "auth_request_set", "add_header"}
# Names of each layout of tiles and volumes, and of what a folder of them has beside.
VOLUMES: tuple[str, ...] = (
    "v.n5/s0/0/1/2",
    "v.n5/attributes.json",
    "v/64_64_40/0-64_-64-0_0-40",
    "v/info",
    "v/8_8_40/0f.shard",
)
VOLUMES += ("v.zarr/0/0.0.0", "v.zarr/0/c/0/0/0", "v.zarr/zarr.json", "v.zarr/.zgroup", "v.zarr/0/.zarray")
BESIDE = ("run.sh", ".git/config", ".git/info", ".hidden/0/1", "", "v/.htaccess", "v/info.bak", "v/0-64_0-64", "v/.0")
# Where nginx's own refusals lead, and their statuses as it has them.
REFUSED = ("@refused-json", "@refused-html", "@beyond")
STATUSES = sorted([*(str(status) for status in REFUSALS if status != 431), "494", "497"])
# In these a line is a value and no directive.
TABLES = ("map", "geo", "types")
HSTS = "Strict-Transport-Security"
OF_SITES = ("ssl_certificate", "ssl_certificate_key", "ssl_reject_handshake")
PROFILE = "catmaid-tls.conf"


# ---- The tree ----


def lay_out(items: Iterable[Item], folder: str) -> str:
    """Write the files below a folder, with includes that lead there; the path of its nginx.conf."""
    etc = f"{folder}/etc/nginx/"
    for item in items:
        path = Path(f"{folder}{item.path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(item, File):
            text = re.sub(r"^( *include )(?:/etc/nginx/)?(?=[a-z])", rf"\g<1>{etc}", item.text, flags=re.MULTILINE)
            path.write_bytes(text.encode(item.encoding))
        elif isinstance(item, Link):
            path.symlink_to(f"{folder}{item.target}")
    Path(etc, "mime.types").write_text("types {}\n")
    return f"{etc}nginx.conf"


def walk(block: Block, parents: tuple[Directive, ...] = ()) -> Iterator[tuple[Directive, tuple[Directive, ...]]]:
    """Each directive with those around it, the outermost first."""
    for one in block:
        yield one, parents
        yield from walk(one.get("block", []), (*parents, one))


def read(items: Iterable[Item]) -> Block:
    """The directives of the whole configuration, with the included files in their places.

    As strict as crossplane can be: its own strict mode takes the lines of a map for directives.
    """
    with tempfile.TemporaryDirectory() as folder:
        parsed = crossplane.parse(lay_out(items, folder), combine=True)
    assert parsed["status"] == "ok", parsed["errors"]
    tree: Block = parsed["config"][0]["parsed"]
    for one, parents in walk(tree):
        known = one["directive"] in analyzer.DIRECTIVES or one["directive"] in NEWER
        assert known or (parents and parents[-1]["directive"] in TABLES), one
    return tree


def arguments(block: Block, directive: str) -> list[list[str]]:
    return [one["args"] for one in block if one["directive"] == directive]


def servers(tree: Block) -> list[Directive]:
    return [one for http in tree for one in http.get("block", []) if one["directive"] == "server"]


def listens(server: Directive) -> list[tuple[str, list[str]]]:
    """The addresses that a server listens on, with their options."""
    return [(args[0], args[1:]) for args in arguments(server["block"], "listen")]


def names(server: Directive) -> list[str]:
    return [name for args in arguments(server["block"], "server_name") for name in args]


def is_tls(server: Directive) -> bool:
    return any("ssl" in options for _, options in listens(server))


def serving(tree: Block, site: Site) -> Directive:
    """The server that has the site's pages."""
    wanted = site.certificate is not None
    (one,) = (one for one in servers(tree) if site.server_name in names(one) and is_tls(one) == wanted)
    return one


def _locations(block: Block) -> Block:
    return [one for one in block if one["directive"] == "location"]


def answering(block: Block, uri: str) -> Directive | None:
    """The location that nginx takes for a URI."""
    best: Directive | None = None
    regexes = []
    for one in _locations(block):
        *modifier, target = one["args"]
        if modifier == ["="] and target == uri:
            return one
        if modifier in (["~"], ["~*"]):
            regexes.append(one)
        elif modifier in ([], ["^~"]) and target[0] == "/" and uri.startswith(target):
            best = one if best is None or len(target) > len(best["args"][-1]) else best
    inner = answering(best["block"], uri) if best else None
    if best and inner:
        own = {one["directive"] for one in inner["block"]}
        handed_on = [one for one in best["block"] if one["directive"] in INHERITED - own]
        return {**inner, "block": [*inner["block"], *handed_on]}
    if not best or best["args"][0] != "^~":
        for one in regexes:
            regex = re.sub(r"\(\?<(?=\w)", "(?P<", one["args"][1])
            if re.search(regex, uri, re.IGNORECASE if one["args"][0] == "~*" else 0):
                return one
    return best


def _where(parents: tuple[Directive, ...]) -> str:
    words = []
    for one in parents:
        if one["directive"] == "server":
            words.append("server " + " ".join(names(one)))
        elif one["directive"] != "http":
            words.append(" ".join([one["directive"], *one["args"]]))
    return ", ".join(words)


# ---- The rules ----


# What nginx answers for a file that it can't send.
UNSENT = {"400", "401", "403", "404", "405", "412", "416", "500", "503"}


def _leaves_errors(place: tuple[Directive, ...]) -> bool:
    """Whether errors of a location leave with the headers of the site's @refused: nothing around it answers them."""
    server, *locations = [one["block"] for one in place if one["directive"] in ("server", "location")]
    own = [one["directive"] for block in locations for one in block]
    sent = {word for args in arguments(server, "error_page") for word in args}
    return sent >= UNSENT and not any(word.endswith("_pass") or word == "error_page" for word in own)


def _headers(tree: Block, deployment: Deployment) -> Iterator[str]:
    """add_header replaces all of those around it, and without "always" errors go out bare."""
    off = {site.server_name for site in deployment.sites if not site.tls.hsts_seconds}
    sites = {site.server_name: site for site in deployment.sites}
    # Behind a balancer it is sent to those who came to that by HTTPS.
    fronted = {site.server_name for site in deployment.sites if site.secure and not site.certificate}
    for one, parents in [*walk(tree)]:
        if one["directive"] not in ("server", "location") or "block" not in one or one["args"] == ["@beyond"]:
            continue
        found = arguments(one["block"], "add_header")
        server = (*parents, one)[1]
        site = one["directive"] == "server" and not {STATE_HOST, PASSWORD_HOST, "_"} & {*names(one)}
        if (not found and not site) or PASSWORD_HOST in names(server):
            continue
        secure = is_tls(server) or names(server)[0] in fronted
        wanted = [
            header.name for header in headers.SECURITY if header.name != HSTS and header.sent(sites[names(server)[0]])
        ]
        wanted += [HSTS] * (secure and names(server)[0] not in off)
        have = {args[0] for args in found if args[-1] == "always"}
        for name in wanted:
            if name not in have:
                yield f"{_where((*parents, one))}: no {name} with always"
        for args in found:
            if args[0] == HSTS and HSTS not in wanted:
                yield f"{_where((*parents, one))}: {HSTS} without TLS, or switched off"
            if args[0] == HSTS and not is_tls(server) and args[1] != "$catmaid_hsts":
                yield f"{_where((*parents, one))}: {HSTS} for all who come by HTTP"
            if args == ["Cache-Control", "$catmaid_cache"] and _leaves_errors((*parents, one)):
                continue
            if args[-1] != "always" and args[0] not in ("Set-Cookie", "Content-Encoding"):
                yield f"{_where((*parents, one))}: {args[0]} without always"


def _tls(tree: Block, _: Deployment) -> Iterator[str]:
    """The default server too: it decides on protocols and groups, before nginx knows the name."""
    for server in servers(tree):
        profile = [one for one in server["block"] if one["directive"] == "ssl_protocols"]
        if not is_tls(server):
            if any(one["directive"].startswith("ssl_") for one in server["block"]):
                yield f"{names(server)}: has TLS options without TLS"
            continue
        if [one["args"] for one in profile] != [["TLSv1.2", "TLSv1.3"]]:
            yield f"{names(server)}: doesn't include the profile"
        directives = {one["directive"] for one in server["block"]}
        if not ({"ssl_certificate", "ssl_certificate_key"} <= directives or "ssl_reject_handshake" in directives):
            yield f"{names(server)}: has no certificate"
        options = [options for address, options in listens(server) if address.endswith("443")]
        if any(one != options[0] for one in options):
            yield f"{names(server)}: listens differently for IPv4 and IPv6"
        ways = (["on"] in arguments(server["block"], "http2"), "http2" in options[0])
        if names(server) != ["_"] and sum(ways) != 1:
            yield f"{names(server)}: HTTP/2 is off, or on twice"


def _profile(tree: Block, _: Deployment) -> Iterator[str]:
    for one, parents in walk(tree):
        name = one["directive"]
        if name.startswith("ssl_") and name not in OF_SITES and not one["file"].endswith(PROFILE):
            yield f"{_where(parents)}: {name} stands outside the profile"


def _ifs(tree: Block, _: Deployment) -> Iterator[str]:
    """An 'if' is a location of its own; these two alone do what they seem to, and in a server a rewrite as well."""
    for one, parents in walk(tree):
        if not parents or parents[-1]["directive"] != "if" or one["directive"] in ("set", "return"):
            continue
        if one["directive"] != "rewrite" or one["args"][-1] != "last" or parents[-2]["directive"] != "server":
            yield f"{_where(parents)}: {one['directive']} inside an if"


def _upstreams(tree: Block, _: Deployment) -> Iterator[str]:
    defined = {one["args"][0] for one, _ in walk(tree) if one["directive"] == "upstream"}
    for one, parents in walk(tree):
        if one["directive"] in ("proxy_pass", "uwsgi_pass"):
            name = one["args"][0].removeprefix("http://").split("/")[0]
            if name not in defined:
                yield f"{_where(parents)}: there is no upstream {name}"


def _regexes(tree: Block, _: Deployment) -> Iterator[str]:
    for one, parents in walk(tree):
        if one["directive"] == "location" and one["args"][0] in ("~", "~*"):
            regex = one["args"][1]
            if not regex.startswith("^") or not re.search(r"(?<!\\)\$$", regex):
                yield f"{_where(parents)}: {regex} isn't anchored at both ends"


def _aliases(tree: Block, _: Deployment) -> Iterator[str]:
    """/static and an alias with a slash lead out of the folder by /static../"""
    for one, parents in walk(tree):
        if one["directive"] == "alias":
            modifier, target = parents[-1]["args"][:-1], parents[-1]["args"][-1]
            if modifier not in ([], ["^~"]) or not (one["args"][0].endswith("/") and target.endswith("/")):
                yield f"{_where(parents)}: alias or location without a slash at its end"


def _guards(tree: Block, deployment: Deployment) -> Iterator[str]:
    """A place asks a location of its server, and this asks the one server that knows passwords."""
    for site in deployment.sites:
        server = serving(tree, site)["block"]
        for place in site.places:
            guard = passwords.guard(site, place)
            expected = [[f"/_catmaid/passwords/{guard.name}"]] if guard else []
            for uri in _uris(place):
                location = answering(server, uri)
                if location and arguments(location["block"], "auth_request") != expected:
                    yield f"{site.server_name}, {uri}: isn't guarded by {expected}"
            if guard and not _asks(server, guard):
                yield f"{site.server_name}: doesn't ask about {guard.name}"
    yield from _password_server(tree, deployment)


def _asks(server: Block, guard: passwords.Guard) -> bool:
    """Whether a site's server has the location that asks about a password, which nobody else reaches."""
    location = answering(server, f"/_catmaid/passwords/{guard.name}")
    block = location["block"] if location else []
    remembered = [args[0].startswith(f"{guard.name} {guard.version} ") for args in arguments(block, "proxy_cache_key")]
    known = [one["args"] for one in block if one["directive"] == "if"]
    return (
        remembered == [True]
        and known == [[f"$catmaid_known_{guard.name}"]]
        and arguments(block, "proxy_pass") == [[f"http://catmaid-passwords/{guard.name}"]]
        and arguments(block, "internal") == [[]]
    )


def _password_server(tree: Block, deployment: Deployment) -> Iterator[str]:
    """The server that looks at passwords, for nginx alone, each try counted."""
    guards = passwords.guards(deployment).values()
    found = [one["block"] for one in servers(tree) if names(one) == [PASSWORD_HOST]]
    if len(found) != bool(guards):
        yield f"{PASSWORD_HOST}: is missing, or without use"
    for block in found:
        zones = {re.sub(r":.*", "", args[1]) for args in _all(tree, "limit_req_zone")}
        limits = {args[0] for args in arguments(block, "limit_req")}
        if len(limits) != 2 or not limits <= zones:
            yield f"{PASSWORD_HOST}: tries aren't limited by address and in all"
        if arguments(block, "auth_basic") != [["CATMAID"]]:
            yield f"{PASSWORD_HOST}: doesn't ask everybody"
        if ["444"] not in _all(block, "return"):
            yield f"{PASSWORD_HOST}: answers strangers"
        have = {one["args"][-1]: arguments(one["block"], "auth_basic_user_file") for one in _locations(block)}
        if have != {f"/{guard.name}": [[guard.file]] for guard in guards}:
            yield f"{PASSWORD_HOST}: has other files than ours"


def _all(tree: Block, directive: str) -> list[list[str]]:
    return [one["args"] for one, _ in walk(tree) if one["directive"] == directive]


def _named(tree: Block, _: Deployment) -> Iterator[str]:
    for one, parents in walk(tree):
        if one["directive"] == "location" and one["args"][0].startswith("@") and parents[-1]["directive"] != "server":
            yield f"{_where(parents)}: {one['args'][0]} stands in another location"
    for server in servers(tree):
        there = {one["args"][0] for one in _locations(server["block"])}
        for one, parents in walk(server["block"], (server,)):
            if one["directive"] in ("try_files", "error_page"):
                for word in one["args"]:
                    for name in {word.replace("$catmaid_form", form) for form in ("html", "json")}:
                        if name.startswith("@") and name not in there:
                            yield f"{_where(parents)}: there is no location {name}"


def _variables(tree: Block, _: Deployment) -> Iterator[str]:
    # In a file that is made on the host.
    defined = {"$catmaid_key"}
    for one, _parents in walk(tree):
        if one["directive"] in ("map", "geo"):
            defined.add(one["args"][-1])
        elif one["directive"] == "set":
            defined.add(one["args"][0])
        for word in (one["directive"], *one["args"]):
            defined |= {f"${name}" for name in re.findall(r"\(\?<(\w+)>", word)}
    for one, parents in walk(tree):
        for word in [one["directive"], *one["args"]]:
            for name in re.findall(r"\$catmaid_\w+", word):
                if name not in defined:
                    yield f"{_where(parents)}: {name} is defined nowhere"


def _names(tree: Block, _: Deployment) -> Iterator[str]:
    taken: set[tuple[str, str]] = set()
    defaults: set[str] = set()
    for server in servers(tree):
        for address, options in listens(server):
            for name in names(server):
                if (address, name) in taken:
                    yield f"{name} stands twice at {address}"
                taken.add((address, name))
            if "default_server" in options:
                if address in defaults:
                    yield f"two default servers at {address}"
                defaults.add(address)


def _uris(place: Any) -> list[str]:
    """URIs that a place has to answer itself, names among them that look like another's."""
    if isinstance(place, Instance):
        files = [f"{place.location}{folder}/a/b.css" for folder in ("static", "staticext", "files")]
        files += [f"{place.location}static/0/1/2.jpg", f"{place.location}files/run.php"]
        return [*files, f"{place.location}channels/updates/", f"{place.location}1/list"]
    names = (f"0/1/2.{place.suffix}", f"static/files/1.{place.suffix}", *VOLUMES)
    return [place.location + name for name in names]


def _capture(tree: Block, deployment: Deployment) -> Iterator[str]:
    for site in deployment.sites:
        server = serving(tree, site)["block"]
        for instance in site.instances:
            where = instance.location
            folders = ("static", "staticext", "files", "static", "files", "channels")
            expected = [["^~", f"{where}{folder}/"] for folder in folders]
            for uri, args in zip(_uris(instance), [*expected, [where]], strict=True):
                found = answering(server, uri)
                if not found or found["args"] != args:
                    yield f"{site.server_name}, {uri}: is answered by {found and found['args']}"
        for tiles in site.tiles:
            for uri in _uris(tiles):
                found = answering(server, uri)
                if not found or arguments(found["block"], "root") != [[tiles.folder]]:
                    yield f"{site.server_name}, {uri}: is answered by {found and found['args']}"
            # Nothing else of the folder.
            for name in (f".hidden.{tiles.suffix}", f".git/a.{tiles.suffix}", f"a.{tiles.suffix}.php", *BESIDE):
                found = answering(server, tiles.location + name)
                if not found or arguments(found["block"], "return") != [["404"]]:
                    yield f"{site.server_name}, {tiles.location}{name}: is answered by {found and found['args']}"


def _plain_http(tree: Block, deployment: Deployment) -> Iterator[str]:
    for site in deployment.sites:
        if not site.certificate:
            continue
        found = [one for one in servers(tree) if site.server_name in names(one) and not is_tls(one)]
        if len(found) != 1:
            yield f"{site.server_name}: has {len(found)} servers without TLS"
            continue
        (server,) = found
        known = {"listen", "server_name", "add_header", "if", "location", "error_page"}
        others = {one["directive"] for one in server["block"]} - known
        if others or len(arguments(server["block"], "if")) > 1:
            yield f"{site.server_name}: {sorted(others)} without TLS"
        for location in _locations(server["block"]):
            if location["args"] == ["/"]:
                expected = [["301", f"https://$host{site.port_suffix}$request_uri"]]
                if arguments(location["block"], "return") != expected or len(location["block"]) != 1:
                    yield f"{site.server_name}: not only the redirect without TLS"
            elif location["args"] == ["@long"]:
                if arguments(location["block"], "return") != [["431"]]:
                    yield f"{site.server_name}: what is too long gets something else without TLS"
            elif location["args"] != ["^~", "/.well-known/acme-challenge/"] or site.tls.certificate != "acme":
                yield f"{site.server_name}: {location['args']} without TLS"
        if len(_locations(server["block"])) != 2 + (site.tls.certificate == "acme"):
            yield f"{site.server_name}: the redirect or the challenge is missing"


def _logs(tree: Block, _: Deployment) -> Iterator[str]:
    """Control characters of an address reach no log, on whichever port."""
    for server in servers(tree):
        if not {STATE_HOST, PASSWORD_HOST, "_"} & {*names(server)}:
            tests = [one for one in server["block"] if one["directive"] == "if"]
            wanted = "$catmaid_unprintable"
            if tests and tests[0]["args"] == ["$catmaid_line", "!~", PLAIN]:
                # One look before the others, which are asked where it finds something.
                line, asked = arguments(server["block"], "set"), arguments(tests.pop(0)["block"], "set")
                wanted = next((name for name, value in asked if value == wanted), "")
                if not line or line[0] != ["$catmaid_line", _line(tree)]:
                    yield f"{names(server)}: looks at less than what a log gets"
            first = tests[0] if tests else {"args": [], "block": []}
            if first["args"] != [wanted] or arguments(first["block"], "return") != [["400"]]:
                yield f"{names(server)}: writes any address to its log"


def _line(tree: Block) -> str:
    """A request's line, and all else that the map of control characters looks at."""
    maps = [one["args"] for one, _ in walk(tree) if one["directive"] == "map"]
    (source,) = (source for source, name in maps if name == "$catmaid_unprintable")
    others = [name for name in source.split("|") if name not in ("$uri", "$request_uri")]
    return "|".join(["$request", *sorted(others, key=lambda name: name == "$http_host")])


def _links(tree: Block, deployment: Deployment) -> Iterator[str]:
    """In folders that an application or its owner may write, a link leads to no other's file."""
    for instance in deployment.instances:
        folders = {instance.static_alias, instance.extensions_folder, instance.files_folder}
        for one, parents in walk(tree):
            folder = one["args"][0].rstrip("/") if one["directive"] == "alias" else ""
            if folder in folders:
                links = arguments(parents[-1]["block"], "disable_symlinks")
                if links != [["if_not_owner", f"from={folder}"]]:
                    yield f"{_where(parents)}: follows any link below {folder}"


def _error_pages(tree: Block, deployment: Deployment) -> Iterator[str]:
    for one, parents in walk(tree):
        if one["directive"] not in ("proxy_pass", "uwsgi_pass"):
            continue
        pages = arguments(parents[-1]["block"], "error_page")
        if parents[-1]["args"][:1] == ["="]:
            continue  # asks about a password
        wanted = [["502", "503", "504", "/_catmaid/$catmaid_notice.$catmaid_form"]]
        wanted += [["429", "/_catmaid/busy.$catmaid_form"]]
        if pages[:2] != wanted:
            yield f"{_where(parents)}: no notice for 502 503 504"
        elif sorted(code for page in pages for code in page[:-1] if code.isdigit()) != STATUSES:
            yield f"{_where(parents)}: not all that nginx refuses has words"
        elif ["503"] not in arguments(
            [d for i in parents[-1]["block"] if i["directive"] == "if" for d in i["block"]], "return"
        ):
            yield f"{_where(parents)}: can't be closed"
    for site in deployment.sites:
        found = arguments(serving(tree, site)["block"], "error_page")
        if sorted(code for page in found for code in page[:-1] if code.isdigit()) != STATUSES:
            yield f"{site.server_name}: not all that nginx refuses has words"
        there = {one["args"][0] for one in _locations(serving(tree, site)["block"])}
        yield from (f"{site.server_name}: there is no location {name}" for name in REFUSED if name not in there)
        location = answering(serving(tree, site)["block"], "/_catmaid/planned.html")
        if not location or {"internal"} - {one["directive"] for one in location["block"]}:
            yield f"{site.server_name}: the notices are missing, or open to all"


RULES: dict[str, Callable[[Block, Deployment], Iterator[str]]] = {
    "headers": _headers,
    "tls": _tls,
    "profile": _profile,
    "if": _ifs,
    "upstream": _upstreams,
    "regex": _regexes,
    "alias": _aliases,
    "guard": _guards,
    "named": _named,
    "variable": _variables,
    "name": _names,
    "capture": _capture,
    "plain": _plain_http,
    "log": _logs,
    "link": _links,
    "notice": _error_pages,
}


def faults(tree: Block, deployment: Deployment) -> list[str]:
    return [f"{name}: {line}" for name, rule in RULES.items() for line in rule(tree, deployment)]
