"""Whatever valid site is made up, its files parse and its values come back from the parsers as they went in."""

from __future__ import annotations

import builtins
import configparser
import inspect
import ipaddress
import json
import re
import string
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from html.parser import HTMLParser
from itertools import groupby, zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from catmaid_deploy import schema
from catmaid_deploy.file_sets import File, Item
from catmaid_deploy.render import regex
from catmaid_deploy.schema import hidden, programs, values
from catmaid_deploy.tasks import system
from catmaid_deploy.tasks.nginx import error_pages as notices
from catmaid_deploy.tasks.nginx import passwords
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.nginx.capabilities import Server
from catmaid_deploy.tasks.programs import supervisor, wsgi
from tests import semantics
from tests.effort import combinations, examples

UWSGI = Path(sys.executable).with_name("uwsgi")
Place = tuple[str | int, ...]


# ---- Sites, made from the schema's own rules ----

LETTERS = string.ascii_letters + string.digits
NAMES = st.from_regex(r"[A-Za-z_]\w{0,15}", fullmatch=True, alphabet=LETTERS + "_").filter(
    lambda name: name not in values.RESERVED_ENVIRONMENT and not values.SECRET_NAME.search(name)
)
TEXTS = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]))


def parts(alphabet: str, least: int, most: int) -> st.SearchStrategy[list[str]]:
    """Parts between slashes; text of an alphabet is made far quicker than text of a pattern."""
    part = st.text(alphabet, min_size=1, max_size=12).filter(lambda text: text not in (".", ".."))
    return st.lists(part, min_size=least, max_size=most)


# 'openssl passwd -6 -salt catmaid "correct horse"'
HASH = "$6$catmaid$A1jfmGmxYrBpImRg9MuPZYjW5K1SahXgnQDc2Vcl3Boq70OEuoLK32CUmQOJyQTZQVJSfvNW0ioD9wRKeEUFO1"
SLASH = st.sampled_from(["", "/"])
LABELS = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=12).filter(
    lambda text: text.strip("-") == text
)
PATHS = parts(LETTERS + "._+@~-", 1, 4).map(lambda some: "/" + "/".join(some))
ADDRESSES = st.ip_addresses(v=4).map(str)
ZONES = st.timezones() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
HASHES = st.sampled_from([HASH, "$2y$05$" + "./aB9" * 10 + "abc", "$6$rounds=5000$salt$" + "./aB9" * 17 + "x"])
# Rules that the schema writes as functions; its patterns are used as they are.
SPELLED: dict[Any, st.SearchStrategy[Any]] = {
    values.valid_path: st.builds(str.__add__, PATHS, SLASH),
    values.valid_prefix: st.builds(
        lambda first, some, last: first + "/".join(some) + last * bool(some),
        SLASH,
        parts(LETTERS + "._~-", 0, 3),
        SLASH,
    ),
    values.valid_host_name: st.lists(LABELS, min_size=1, max_size=5).map(".".join),
    values.valid_uwsgi_version: st.from_regex(
        r"2\.0\.(3[1-9]|[4-9][0-9])|[3-9]\.(0|[1-9][0-9]{0,2})\.0", fullmatch=True
    ),
    values.valid_repository: st.from_regex(r"(/|https://|git@lab:)[A-Za-z0-9:/._~+-]{1,30}", fullmatch=True),
    values.valid_inside: parts(LETTERS + "._+@~-", 1, 4).map("/".join),
    values.valid_gunicorn_version: st.from_regex(r"(2[7-9]|[3-9][0-9])\.(0|[1-9][0-9]{0,2})\.0", fullmatch=True),
    values.valid_version: st.from_regex(r"(0|[1-9][0-9]{0,3})(\.(0|[1-9][0-9]{0,3})){2}", fullmatch=True),
    values.valid_environment: st.dictionaries(NAMES, TEXTS, max_size=4),
    hidden.valid_passwords: st.dictionaries(st.text(LETTERS + "._@+-", min_size=1, max_size=64), HASHES, max_size=3),
    values.valid_header: st.text(
        st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"$\\'), min_size=1
    ),
    values.valid_moment: st.datetimes(datetime(2000, 1, 1), datetime(9998, 12, 31), timezones=ZONES)
    | st.sampled_from(["2026-12-01T18:00+01:00", "2026-12-01 18:00:30Z"]),
    values.valid_plain_text: st.text(
        st.characters(exclude_categories=["Cc", "Cs"], include_characters="\n"), max_size=2000
    ),
    values.valid_directory: st.from_regex(
        r"https://[a-z0-9.-]{1,20}(:[0-9]{1,5})?/[A-Za-z0-9._/-]{0,20}", fullmatch=True
    ),
}
USERS = st.from_regex(r"[a-z_][a-z0-9_-]{0,31}", fullmatch=True).filter(lambda name: name != schema.NGINX_USER)
SPELLED[values.valid_user] = USERS
SPELLED[programs.valid_program_name] = st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{2,6}){0,2}", fullmatch=True).filter(
    lambda name: name not in (*schema.FOUR, "maintenance")
)
SPELLED[values.valid_instance_name] = st.from_regex(r"catmaid(-[a-z0-9]{1,6}){0,4}", fullmatch=True).filter(
    lambda name: name not in values.RESERVED_INSTANCES
)
SPELLED[values.valid_plain_user] = USERS.filter(lambda name: name not in schema.PRIVILEGED)
SPELLED[values.valid_server_name] = SPELLED[values.valid_host_name].filter(lambda name: len(name) <= 120) | ADDRESSES
SPELLED[values.valid_wsgi_file] = st.builds(str.__add__, PATHS, st.sampled_from([".py", ".wsgi"]))
SPELLED[values.valid_origin] = st.just("*") | st.builds(
    lambda scheme, wild, host, port: f"{scheme}://{wild}{host}{port}",
    st.sampled_from(["http", "https"]),
    st.sampled_from(["", "*."]),
    SPELLED[values.valid_host_name],
    st.sampled_from(["", ":1", ":8000", ":65535"]),
)
NETWORKS = st.ip_addresses().map(str).filter(lambda address: address != "255.255.255.255" and "%" not in address)
SPELLED[values.valid_network] = NETWORKS | st.sampled_from(["0.0.0.0/0", "::/0", "10.0.0.0/8"])
SPELLED[values.valid_fallback] = st.sampled_from(["black", "none"]) | SPELLED[values.valid_path]
SPELLED[values.valid_certificate] = st.sampled_from(["self-signed", "acme", "request", "none"]) | PATHS
# A rule over several keys: the folder's owner may use it, and it hands its group on.
MODES = st.from_regex(r"[2367]7[0-7]{2}", fullmatch=True)


# Words for certbot and openssl, and in no file of a template: `test_schema` has their rules.
IN_NO_FILE = ("eab", "dns", "subject", "postgresql", "rabbitmq", "install", "offline")


def rules_in(metadata: Sequence[Any]) -> list[Any]:
    """What pydantic keeps for a field or within Annotated, as one flat list."""
    return [rule for one in metadata for rule in (one.metadata if isinstance(one, FieldInfo) else [one])]


def values_of(kind: Any, metadata: Sequence[Any] = ()) -> st.SearchStrategy[Any]:
    """Valid values for a type of the schema. A rule that this can't follow fails, so that none is forgotten."""
    arguments = get_args(kind)
    if get_origin(kind) is Annotated:
        return values_of(arguments[0], (*metadata, *arguments[1:]))
    if get_origin(kind) in (Union, types.UnionType):
        return st.one_of([values_of(one) for one in arguments])
    if get_origin(kind) is Literal:
        return st.sampled_from(arguments)
    if get_origin(kind) is tuple:
        return st.lists(values_of(arguments[0]), max_size=3)
    if kind is type(None):
        return st.none()
    if kind is bool:
        return st.booleans()
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return dictionaries_of(kind)
    rules = rules_in(metadata)

    def limit(name: str) -> Any:
        return next((getattr(rule, name) for rule in rules if hasattr(rule, name)), None)

    if kind is int:
        return st.integers(limit("ge"), limit("le"))
    (check,) = (rule.func for rule in rules if isinstance(rule, AfterValidator | BeforeValidator))
    if check in SPELLED:
        return SPELLED[check]
    pattern = inspect.getclosurevars(check).nonlocals["compiled"]
    longest = limit("max_length") or 1000
    return st.from_regex(pattern, fullmatch=True).filter(lambda text: len(text) <= longest)


def dictionaries_of(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """What an inventory may say for a model; keys with a default are there or not."""
    keys: dict[bool, dict[str, st.SearchStrategy[Any]]] = {True: {}, False: {}}
    for name, field in model.model_fields.items():
        if name in IN_NO_FILE:
            continue
        if name in LISTS:
            kind, most, unique = LISTS[name]
            values: st.SearchStrategy[Any] = st.lists(dictionaries_of(kind), max_size=most, unique_by=unique)
        else:
            values = MODES if name == "runtime_mode" else values_of(field.annotation, field.metadata)
        keys[field.is_required()][name] = values
    return st.fixed_dictionaries(keys[True], optional=keys[False]).map(TOGETHER.get(model, lambda data: data))


def tls(data: dict[str, Any]) -> dict[str, Any]:
    """A path, and no other certificate, has a key."""
    path = data.get("certificate", "").startswith("/")
    return {**data, "key": data.get("key") or "/key.pem"} if path else {**data, "key": None}


def cors(data: dict[str, Any]) -> dict[str, Any]:
    """'*' stands alone, and for anybody without credentials."""
    if "*" in data["origins"] or not data["origins"]:
        return {"origins": ["*"]}
    return data


def tile_set(data: dict[str, Any]) -> dict[str, Any]:
    """Tiles below their mount point, and not at the root."""
    if data.get("mount"):
        data = {**data, "mount": data["folder"].rpartition("/")[0] or None}
    return {**data, "url": data["url"] if data["url"].strip("/") else "/tiles"}


def instance(data: dict[str, Any]) -> dict[str, Any]:
    """Only uWSGI has its processes replaced one by one, and releases have folders of their own."""
    chain = data.get("update") == "chain" and data.get("wsgi_server", "uwsgi") != "uwsgi"
    data = {**data, "update": "restart"} if chain else data
    return {key: value for key, value in data.items() if key not in OWN or not data.get("releases")}


def program(data: dict[str, Any]) -> dict[str, Any]:
    """A worker with queues of its own, or a command."""
    celery = data.get("celery")
    if celery is not None and celery.get("queues"):
        return {"name": data["name"], "celery": {key: celery[key] for key in celery if key != "shutdown_seconds"}}
    return {key: value for key, value in data.items() if key != "celery"} | {"manage": data.get("manage") or "work"}


def balancer(data: dict[str, Any]) -> dict[str, Any]:
    """At least one address, and nobody's word for all of the Internet."""
    addresses = [one for one in data["addresses"] if not one.endswith("/0")]
    return {**data, "addresses": addresses or ["192.0.2.10"]}


# Rules over several keys of a model.
TOGETHER = {
    schema.Balancer: balancer,
    schema.Tls: tls,
    schema.Cors: cors,
    schema.TileSet: tile_set,
    schema.Instance: instance,
    schema.Program: program,
}


def name_of(instance: Mapping[str, Any]) -> str:
    return str(instance.get("name", "catmaid"))


def prefix_of(instance: Mapping[str, Any]) -> str:
    return str(instance.get("prefix", "/catmaid")).strip("/")


def url_of(tiles: Mapping[str, Any]) -> str:
    return str(tiles["url"]).strip("/")


LISTS: dict[str, tuple[type[BaseModel], int, tuple[Callable[[Mapping[str, Any]], str], ...]]] = {
    "instances": (schema.Instance, 3, (name_of, prefix_of)),
    "programs": (schema.Program, 2, (lambda program: str(program["name"]),)),
    "tiles": (schema.TileSet, 2, (lambda tiles: str(tiles["name"]), url_of)),
}


@st.composite
def deployments(draw: st.DrawFn) -> schema.Deployment:
    """A valid deployment of one to three sites."""
    data = draw(st.lists(dictionaries_of(schema.Site), min_size=1, max_size=3))
    taken: set[str] = set()
    for number, one in enumerate(data):
        # Names are unique in all of a deployment; the first of a kind keeps the one that was made up.
        for place in [*one.get("instances", []), *one.get("tiles", [])]:
            kind = "tiles" if "url" in place else "catmaid"
            if f"{kind} {place.get('name', 'catmaid')}" in taken:
                place["name"] = f"{kind}-{number}-{len(taken)}"
            taken.add(f"{kind} {place.get('name', 'catmaid')}")
        if not one.get("instances") and not one.get("tiles"):
            one["instances"] = [{"name": f"catmaid-only-{number}"}]
    try:
        return schema.load(sites=data)
    except schema.InvalidSite as error:
        # Rules over several keys, which chance meets now and then.
        expected = r"the (prefix|url) .* (lies in|belongs to)|the name .* (stands )?twice"
        expected += r"|two have the name|is there without its disk|ACME's certificates are for names"
        if not all(re.search(expected, line) for line in error.lines):
            raise
        reject()


def _plain_cors(one: schema.Cors | None) -> dict[str, Any] | None:
    if one is None:
        return None
    origins = ["*" if origin == "*" else f"https://{number}.org" for number, origin in enumerate(one.origins)]
    return {"origins": origins, "credentials": one.credentials}


def _plain_passwords(users: Mapping[str, str]) -> dict[str, str]:
    return {f"u{number}": HASH for number, _ in enumerate(users)}


def plain(deployment: schema.Deployment) -> schema.Deployment:
    """A deployment with files of the same build, and no value in it that could mean anything to a parser."""
    sites = []
    # Sites may have the same balancer.
    balancers = [one for site in deployment.sites if site.balancer for one in site.balancer.addresses]
    # nginx reads the sites in the order of their files.
    order = sorted(nginx.site_path(site) for site in deployment.sites)
    for number, site in enumerate(deployment.sites):
        rank = 100 + order.index(nginx.site_path(site))
        own = site.tls.certificate.startswith("/")
        # An address among the names has a meaning of its own.
        names = [
            f"{rank}.{n}.0.1" if schema.is_address(name) else f"{rank}.{n}.org" for n, name in enumerate(site.names)
        ]
        instances = [
            {
                "name": f"catmaid-{number}-{n}",
                "prefix": f"/p{n}" if one.prefix else "/",
                "user": "www-data" if one.user == "www-data" else "catmaid",
                "cors": _plain_cors(one.cors),
                "passwords": _plain_passwords(one.passwords),
            }
            for n, one in enumerate(site.instances)
        ]
        tiles = [
            {
                "name": f"t{number}-{n}",
                "url": f"/t{n}",
                "folder": "/f",
                "fallback": one.fallback if one.fallback in ("black", "none") else "/f/i.png",
                "cors": _plain_cors(nginx.cors_of(deployment, site, one)),
                "passwords": _plain_passwords(one.passwords),
            }
            for n, one in enumerate(site.tiles)
        ]
        sites.append(
            {
                "server_name": names[0],
                "aliases": names[1:],
                "tls": {
                    "certificate": "/c" if own else site.tls.certificate,
                    "key": "/k" if own else None,
                    "hsts_seconds": min(1, site.tls.hsts_seconds),
                },
                "balancer": {
                    "addresses": [f"10.1.0.{balancers.index(one)}" for one in dict.fromkeys(site.balancer.addresses)],
                    "https": site.balancer.https,
                }
                if site.balancer
                else None,
                "passwords": _plain_passwords(site.passwords),
                "maintenance": {
                    "allow": [
                        one if one in ("0.0.0.0/0", "::/0") else f"10.0.0.{n}"
                        for n, one in enumerate(dict.fromkeys(site.maintenance.allow))
                    ]
                },
                "instances": instances,
                "tiles": tiles,
            }
        )
    return schema.load(sites=sites)


# ---- nginx, read by crossplane ----


@cache
def nginx_reads(items: tuple[Item, ...]) -> semantics.Block:
    return semantics.read(items)


def nginx_items(deployment: schema.Deployment) -> tuple[Item, ...]:
    return tuple(nginx.rendered(deployment, Server())[0])


def variables(word: str) -> list[str]:
    """nginx's variables in a word, without what passwords put into their names."""
    return [re.sub(r"(known|try|cookie)_(site|instance|tiles)_\w+", r"\1", name) for name in re.findall(r"\$\w*", word)]


def build(block: semantics.Block, lines: bool = False) -> list[Any]:
    """What a value must not change: directives, how many arguments they have, and nginx's variables in them."""
    return [
        (
            # A line of a map or geo block begins with a value.
            "" if lines else one["directive"],
            len(one["args"]),
            [variables(word) for word in one["args"]],
            build(one.get("block", []), one["directive"] in semantics.TABLES),
        )
        for one in block
    ]


def table(http: semantics.Block, kind: str, variable: str) -> list[list[str]]:
    """The lines of a map or geo block, without its default."""
    (block,) = (one["block"] for one in http if one["directive"] == kind and one["args"][-1] == variable)
    lines = [[one["directive"], *one["args"]] for one in block]
    return [line for line in lines if line[0] not in ("default", "volatile")]


def check_headers(site: schema.Site, block: semantics.Block) -> None:
    found = {args[0]: args[1] for args in semantics.arguments(block, "add_header")}
    assert found["Content-Security-Policy"] == site.headers.content_security_policy
    assert found["Referrer-Policy"] == site.headers.referrer_policy
    assert found["X-Frame-Options"] == site.headers.frame_options
    hsts = f"max-age={site.tls.hsts_seconds}" + "; includeSubDomains" * site.tls.hsts_subdomains
    # What ends TLS in front of it says by which scheme a user came.
    says = hsts if site.certificate else "$catmaid_hsts" if site.secure else None
    assert found.get("Strict-Transport-Security") == (says if site.tls.hsts_seconds else None)


def check_nginx(deployment: schema.Deployment) -> None:
    items = nginx_items(deployment)
    directives = nginx_reads(items)
    assert semantics.faults(directives, deployment) == []
    arguments = semantics.arguments
    (http,) = (one["block"] for one in directives if one["directive"] == "http")
    upstreams = {one["args"][0]: one["block"] for one in http if one["directive"] == "upstream"}
    for number, site in enumerate(deployment.sites, 1):
        server = semantics.serving(directives, site)["block"]
        assert arguments(server, "server_name") == [site.names]
        check_headers(site, server)
        if site.certificate:
            assert arguments(server, "ssl_certificate") == [[site.certificate]]
            assert arguments(server, "ssl_certificate_key") == [[site.certificate_key]]
        insiders = [line[0] for line in table(http, "geo", f"$catmaid_insider_{number}")]
        assert insiders == list(dict.fromkeys(site.maintenance.allow))
        locations = {tuple(one["args"]): one["block"] for one in server if one["directive"] == "location"}
        notices_there = locations.pop(("^~", "/_catmaid/"))
        assert arguments(notices_there, "alias") == [[f"/etc/catmaid/web/{site.server_name}/"]]
        del locations[("@beyond",)], locations[("@unsent",)], locations[("=", "/_catmaid/refused.json")]
        for name in ("refused", "files-refused"):
            del locations[(f"@{name}-json",)], locations[(f"@{name}-html",)]
        asked = {guard.name for one in site.places if (guard := passwords.guard(site, one))}
        for name in asked:
            (block,) = [locations.pop(("=", f"/_catmaid/passwords/{name}"))]
            assert arguments(block, "proxy_pass") == [[f"http://catmaid-passwords/{name}"]]
        for name in ("@refused", "@files-refused") if asked else ():
            assert arguments(locations.pop((name,)), "return") == [["403"]]
        for tiles in site.tiles:
            outer = locations.pop(("^~", f"{tiles.url}/"))
            assert arguments(outer, "root") == [[tiles.folder]]
            for inner in (o for o in outer if o["directive"] == "location"):
                assert inner["args"][1].startswith(f"^{regex(tiles.url)}/(?<catmaid_tile>")
                assert [o["args"] for o in inner["block"] if o["directive"] == "if"] == [
                    ["-e", tiles.flag],
                    ["!-e", tiles.proof],
                ]
            if tiles.fallback_file:
                missing = locations.pop((f"@{tiles.name}-missing",))
                (folder,), (image, _) = arguments(missing, "root")[0], arguments(missing, "try_files")[0]
                assert folder.rstrip("/") + image == tiles.fallback_file
        for i in site.instances:
            if i.prefix:
                assert arguments(locations.pop(("=", i.prefix)), "return") == [["301", f"{i.prefix}/$is_args$args"]]
            static = locations.pop(("^~", f"{i.prefix}/static/"))
            assert arguments(static, "alias") == [[f"{i.static_alias}/"]]
            assert arguments(locations.pop(("^~", f"{i.prefix}/staticext/")), "alias") == [[f"{i.extensions_folder}/"]]
            assert arguments(locations.pop(("^~", f"{i.prefix}/files/")), "alias") == [[f"{i.files_folder}/"]]
            (proxied,) = arguments(locations.pop(("^~", f"{i.prefix}/channels/")), "proxy_pass")
            assert proxied == [f"http://{i.name}-daphne/channels/"]
            dynamic = locations.pop((f"{i.prefix}/",))
            assert arguments(dynamic, "uwsgi_pass") == [[f"{i.name}-uwsgi"]]
            assert arguments(dynamic, "client_max_body_size") == [[i.body_limit]]
            assert arguments(dynamic, "uwsgi_read_timeout") == [[f"{i.read_timeout}s"]]
            for name, socket in (("uwsgi", i.uwsgi_socket), ("daphne", i.daphne_socket)):
                (address,) = arguments(upstreams.pop(f"{i.name}-{name}"), "server")
                assert address[0] == f"unix:{socket}"
        if all(i.prefix for i in site.instances):
            assert arguments(locations.pop(("/",)), "return") == [["404"]]
            if len(site.instances) == 1:
                assert arguments(locations.pop(("=", "/")), "return") == [["302", f"{site.instances[0].prefix}/"]]
        assert locations == {}
    assert set(upstreams) == ({"catmaid-passwords"} if passwords.guards(deployment) else set())
    check_cors(deployment, http)
    check_passwords(deployment, items)
    # Last, since it is the least to read when it fails. The names of the locations are compared above.
    assert build(directives) == build(nginx_reads(nginx_items(plain(deployment))))


def check_cors(deployment: schema.Deployment, http: semantics.Block) -> None:
    """Each place has its policy, which takes its own origins and no others."""
    places = {key.removeprefix("~"): policy for key, policy in table(http, "map", "$catmaid_cors")}
    origins = {key.removeprefix("~"): value for key, value in table(http, "map", "$catmaid_cors_origin")}
    assert len(places) == len(deployment.places)

    def allowed(policy: str, origin: str) -> str:
        return next((value for key, value in origins.items() if re.search(key, f"{policy} {origin}")), "")

    for site in deployment.sites:
        for one in site.places:
            policy = next(p for key, p in places.items() if re.search(key, f"{site.server_name} {one.location}1/list"))
            cors = nginx.cors_of(deployment, site, one)
            assert (policy != "") == (cors is not None)
            for origin in cors.origins if cors else ():
                asking = origin.replace("*.", "a.b.")
                assert allowed(policy, asking) == ("*" if origin == "*" else "$http_origin")
                assert origin == "*" or not allowed(policy, asking + "x.evil.test")
                assert origin == "*" or not allowed(policy, "https://evil.test/" + asking)


def check_passwords(deployment: schema.Deployment, items: Sequence[Item]) -> None:
    texts = {item.path: item for item in items if isinstance(item, File)}
    for site in deployment.sites:
        for one in site.places:
            users = one.passwords or site.passwords
            guard = passwords.guard(site, one)
            assert (guard is not None) == bool(users)
            if guard:
                file = texts[guard.file]
                assert file.secret
                assert (file.mode, file.group) == ("640", schema.NGINX_USER)
                assert [line for line in file.text.split("\n") if line and not line.startswith("# ")] == [
                    f"{user}:{hashed}" for user, hashed in users.items()
                ]
    secrets = {hashed for one in (*deployment.sites, *deployment.places) for hashed in one.passwords.values()}
    assert not any(secret in file.text for file in texts.values() if not file.secret for secret in secrets)


# ---- Notices, read as a browser and a program read them ----


class Page(HTMLParser):
    """The elements of a page, and the text of its paragraphs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.paragraphs: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "p":
            self.paragraphs.append("")

    def handle_data(self, data: str) -> None:
        if self.paragraphs:
            self.paragraphs[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "main":
            self.paragraphs.append("")


ELEMENTS = ["html", "head", "meta", "meta", "meta", "meta", "title", "style", "body", "main", "h1"]


def check_notices(site: schema.Site) -> None:
    files = {item.path.rpartition("/")[2]: item.text for item in notices.notices(site) if isinstance(item, File)}
    text, end = site.maintenance.text, site.maintenance.end
    told = json.loads(files["planned.json"])
    assert (told["detail"], told["expected_end"]) == (text, end.isoformat() if end else None)
    assert set(json.loads(files["outage.json"])) == set(told) == {"error", "detail", "expected_end"}
    page, parts = Page(files["planned.html"]), text.split("\n\n")
    assert page.tags == [*ELEMENTS, *["p"] * len(parts), *["p", "time"] * bool(end), "p", "a"]
    assert [paragraph.rstrip("\n") for paragraph in page.paragraphs[: len(parts)]] == [p.rstrip("\n") for p in parts]
    retry = notices.retry_after(site.maintenance)
    assert retry == "600" if end is None else parsedate_to_datetime(retry) == end.replace(microsecond=0)


# ---- Supervisor, read as it reads its files itself ----


def ini_reads(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(text)
    return parser


SLOTS = ("wsgi-a", "wsgi-b", "daphne-a", "daphne-b", "celery-a", "celery-b", "celery-beat-a", "celery-beat-b")


def supervisor_reads(instance: schema.Instance, group: str) -> configparser.RawConfigParser:
    (text,) = (
        item.text
        for item in supervisor.files(instance).items
        if isinstance(item, File) and item.path == f"/etc/supervisor/conf.d/{group}.conf"
    )
    return ini_reads(text)


def check_supervisor(site: schema.Deployment) -> None:
    for i in site.instances:
        for one in i.programs:
            seconds = one.celery.stop_seconds if one.celery else one.end_seconds
            check_group(i, f"{i.name}.{one.name}", {f"{one.name}-{slot}": seconds for slot in "ab"})
        parsed = supervisor_reads(i, i.name)
        twin = supervisor_reads(schema.Instance.model_validate({}), "catmaid")
        names = {place: f"{i.name}-{place}" for place in SLOTS}
        assert parsed.sections() == [*(f"program:{name}" for name in names.values()), f"group:{i.name}"]
        assert parsed[f"group:{i.name}"]["programs"].split(",") == list(names.values())
        for place, name in names.items():
            program = parsed[f"program:{name}"]
            assert program["command"] == f"/etc/catmaid/{i.name}/start.sh {place}"
            assert program["user"] == i.user
            assert program["stdout_logfile"] == f"/var/log/{i.name}/{place}.log"
            assert place not in ("celery-a", "celery-b") or program["stopwaitsecs"] == str(i.celery.stop_seconds)
        assert [[*parsed[one]] for one in parsed.sections()] == [[*twin[one]] for one in twin.sections()]
        for section in parsed.sections():
            for key, value in parsed[section].items():
                assert value % {} == value, f"Supervisor would expand {key}"


def check_group(i: schema.Instance, group: str, places: dict[str, int]) -> None:
    """A program beside the four is a group by itself."""
    parsed = supervisor_reads(i, group)
    assert parsed[f"group:{group}"]["programs"].split(",") == [f"{i.name}.{place}" for place in places]
    for place, seconds in places.items():
        program = parsed[f"program:{i.name}.{place}"]
        assert program["command"] == f"/etc/catmaid/{i.name}/start.sh {place}"
        assert (program["user"], program["stopwaitsecs"]) == (i.user, str(seconds))
        assert program["stdout_logfile"] == f"/var/log/{i.name}/{place}.log"


# ---- uWSGI, read by uWSGI ----


@cache
def uwsgi_reads(texts: tuple[str, ...]) -> list[list[tuple[str, str]]]:
    """The options of each file in their order, expanded, as uWSGI itself has them.

    It shows them once all are read, and then fails on a clock that it doesn't know: before it opens, writes or
    becomes anything.
    """
    command = [str(UWSGI), "--strict", "--show-config", "--clock", "none"]
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(texts):
            file = Path(folder, f"{number}.ini")
            file.write_text(text)
            command += ["--ini", str(file)]
        env = {"CATMAID_RUN": "/slot"}
        done = subprocess.run(command, capture_output=True, encoding="utf-8", env=env, check=False)
    shown = re.search(r"^\[uwsgi\]\n(.*)^;end of configuration$", done.stderr, re.MULTILINE | re.DOTALL)
    assert shown, done.stderr
    assert 'unable to set "none" clock' in done.stderr
    read: list[list[tuple[str, str]]] = []
    for key, value in re.findall(r"^(.*?) = (.*)$", shown.group(1), re.MULTILINE):
        if key == "ini":
            read.append([])
        elif read:
            read[-1].append((key, value))
    return read


def ini(instance: schema.Instance) -> str:
    (program,) = wsgi.programs(instance)
    (text,) = (file.text for file in program.files if file.path.endswith("/wsgi/uwsgi.ini"))
    return text


def check_gunicorn(instance: schema.Instance) -> None:
    """Its configuration is Python, and is read as Gunicorn reads it."""
    (program,) = wsgi.programs(instance)
    texts = {file.path.rpartition("/")[2]: file.text for file in program.files}
    found: dict[str, Any] = {"__builtins__": {**vars(builtins), "__import__": lambda *_: SimpleNamespace(environ=SLOT)}}
    exec(texts["gunicorn.conf.py"], found)  # noqa: S102 - our own file
    kind = {"gunicorn": ("gthread", "threads"), "gevent": ("gevent", "worker_connections")}[instance.wsgi_server]
    assert (found["worker_class"], found[kind[1]], found["workers"]) == (kind[0], instance.threads, instance.workers)
    assert (found["protocol"], found["graceful_timeout"]) == ("uwsgi", instance.read_timeout + 30)
    compile(texts["serve.py"], "serve.py", "exec")


def check_uwsgi(site: schema.Deployment) -> None:
    pairs = list(zip(site.instances, plain(site).instances, strict=True))
    for i, _ in pairs:
        if i.wsgi_server != "uwsgi":
            check_gunicorn(i)
    pairs = [(i, twin) for i, twin in pairs if i.wsgi_server == "uwsgi"]
    if not pairs:
        return
    reads = uwsgi_reads(tuple(ini(i) for i, _ in pairs))
    for (i, twin), read in zip(pairs, reads, strict=True):
        expected = {
            "chdir": f"{i.checkout}/django",
            "virtualenv": i.virtualenv,
            "pythonpath": f"{i.checkout}/django/projects",
            "mount": f"{i.prefix or '/'}={i.wsgi_file}",
            "pidfile": "/slot/pid",
            "socket": "/slot/socket",
            "stats": "/slot/private/stats.socket",
            "master-fifo": "/slot/fifo",
            "reload-mercy": str(i.read_timeout + 30),
            "uid": i.user,
            "workers": str(i.workers),
            "threads": str(i.threads),
            "post-buffering": str(i.post_buffering),
        }
        assert dict(read) | expected == dict(read)
        assert [key for key, _ in read] == [*ini_reads(ini(twin))["uwsgi"]]


# ---- Start scripts, read by sh ----


# What start.sh tells a program's own script.
SLOT = {"CATMAID_RUN": "/run/slot-a", "CATMAID_FILES": "/etc/slot-a"}


def sh_reads(scripts: Sequence[str]) -> list[tuple[list[str], dict[str, str]]]:
    """The words of each script's commands, and the environment of the program that it becomes.

    Each command is printed in place of being run, by the shell that would run it; an empty word ends a list.
    """
    text = "set -e\n"
    for script in scripts:
        printing = re.sub(r"^(mkdir|rm -f|exec|cd) ", r"printf '%s\\0' '\1' ", script, flags=re.MULTILINE)
        text += f"(\n{printing}\nprintf '\\0'\nexec env -0\n)\nprintf '\\0'\n"
    clean = {"PATH": "/usr/bin:/bin"} | SLOT
    # A text that does break out may make files.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["sh"], input=text.encode(), capture_output=True, env=clean, cwd=folder, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    lists = [list(words) for there, words in groupby(done.stdout.decode().split("\0"), bool) if there]
    assert len(lists) == 2 * len(scripts)
    return [(words, dict(one.split("=", 1) for one in env)) for words, env in zip(lists[::2], lists[1::2], strict=True)]


def worker_words(i: schema.Instance, node: str, one: schema.Celery) -> list[str]:
    run = SLOT["CATMAID_RUN"]
    words = [f"{i.virtualenv}/bin/celery", "-A", "mysite", "worker", "-l", one.log_level]
    words += ["--hostname", f"{node}-a@%h", f"--pidfile={run}/pid", "--include", "catmaid_ready"]
    words += ["--without-mingle"]
    words += ["--concurrency", str(one.concurrency)] if one.concurrency else []
    words += ["--queues", ",".join(one.queues)] if one.queues else []
    return words + (["--max-tasks-per-child", str(one.max_tasks_per_child)] if one.max_tasks_per_child else [])


def check_scripts(site: schema.Deployment) -> None:
    for i in site.instances:
        etc, run = SLOT["CATMAID_FILES"], SLOT["CATMAID_RUN"]
        options = i.celery
        beat = [
            f"{i.virtualenv}/bin/python",
            f"{etc}/beat.py",
            "-A",
            "mysite",
            "beat",
            "-l",
            options.log_level,
            f"--pidfile={run}/pid",
        ]
        commands = {
            "wsgi": [f"{i.virtualenv}/bin/uwsgi", "--ini", f"{etc}/uwsgi.ini"]
            if i.wsgi_server == "uwsgi"
            else [f"{i.virtualenv}/bin/python", f"{etc}/serve.py"],
            "daphne": [f"{i.virtualenv}/bin/python", f"{etc}/serve.py", "--endpoint"],
            "celery": worker_words(i, i.name, options),
            "celery-beat": [*beat, f"--schedule=/var/lib/{i.name}/celery-beat-schedule"],
        }
        for one in i.programs:
            command = [f"{i.virtualenv}/bin/python", f"{etc}/once.py", *(one.manage or "").split()]
            commands[one.name] = worker_words(i, f"{i.name}.{one.name}", one.celery) if one.celery else command
        environment = {
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "PATH": f"{i.virtualenv}/bin:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": i.virtualenv,
            "PYTHONUNBUFFERED": "1",
        } | i.environment
        texts = {file.path: file.text for program in supervisor.programs(i) for file in program.files}
        folders = [f"/etc/catmaid/{i.name}/{short}" for short in commands]
        read = sh_reads([texts[f"{one}/environment.sh"] + texts[f"{one}/run.sh"] for one in folders])
        for (short, expected), (words, arrived) in zip(commands.items(), read, strict=True):
            before, command = words[: words.index("exec")], words[words.index("exec") + 1 :]
            assert command[: len(expected)] == expected
            if short == "wsgi" and i.wsgi_server == "uwsgi":
                option, queue = command[len(expected) :]
                assert option == "--listen"
                assert 0 < int(queue) <= wsgi.BACKLOG
            else:
                assert short == "daphne" or len(command) == len(expected)
            assert before[:2] == ["cd", f"{i.checkout}/django/projects"]
            assert all(
                word in ("rm -f", "mkdir", "-p", "-m", "700") or word.startswith(f"{run}/") for word in before[2:]
            )
            if short == "wsgi" and i.wsgi_server != "uwsgi":
                assert arrived.pop("SCRIPT_NAME") == i.prefix
            if i.kinds[short] == "worker":
                mine = arrived.pop("PYTHONPATH")
                assert mine == etc + (f":{environment.pop('PYTHONPATH')}" if "PYTHONPATH" in environment else "")
            else:
                environment = environment | (
                    {"PYTHONPATH": i.environment["PYTHONPATH"]} if "PYTHONPATH" in i.environment else {}
                )
            assert arrived | environment == arrived
            # What a shell may export by itself.
            assert set(arrived) - set(environment) - set(SLOT) <= {"PWD", "OLDPWD", "SHLVL", "_"}


# ---- systemd-tmpfiles and logrotate, which split at spaces ----


def check_system(site: schema.Deployment) -> None:
    texts = {item.path: item.text for item in system.wanted(site).items if isinstance(item, File)}
    made = texts.get("/etc/tmpfiles.d/catmaid.conf", "")
    lines = [line.split() for line in made.splitlines() if not line.startswith("#")]
    expected = []
    for i in site.instances:
        expected.append(["d", f"/run/{i.name}", i.runtime_mode, i.user, i.runtime_group, "-"])
        assert all(path.startswith(f"/run/{i.name}/") for path in i.links)
    assert lines == expected
    if not site.instances:
        assert "/etc/logrotate.d/catmaid" not in texts
        return
    logs = texts["/etc/logrotate.d/catmaid"].splitlines()[1].split()
    assert logs == [*(f"/var/log/{i.name}/*.log" for i in site.instances), "{"]


def check_all(site: schema.Deployment) -> None:
    check_nginx(site)
    check_supervisor(site)
    check_uwsgi(site)
    check_scripts(site)
    check_system(site)
    for one in site.sites:
        check_notices(one)


@given(site=deployments())
@examples(20)
def test_nginx_and_supervisor_have_every_value_of_any_valid_site(site: schema.Deployment) -> None:
    check_nginx(site)
    check_supervisor(site)
    check_system(site)
    for one in site.sites:
        check_notices(one)


@given(site=deployments())
@examples(10)
def test_uwsgi_and_sh_have_every_value_of_any_valid_site(site: schema.Deployment) -> None:
    check_uwsgi(site)
    check_scripts(site)


@given(environment=SPELLED[values.valid_environment])
@examples(40)
def test_any_text_arrives_in_the_environment(environment: dict[str, str]) -> None:
    (instance,) = schema.load({"server_name": "a.org", "instances": [{"environment": environment}]}).instances
    (program,) = wsgi.programs(instance)
    texts = {file.path.rpartition("/")[2]: file.text for file in program.files}
    ((_, arrived),) = sh_reads([texts["environment.sh"] + texts["run.sh"]])
    assert arrived | environment == arrived


# ---- What could break out ----

# Every text of the schema with a valid value, to which something is added in the middle and at both ends.
FULL: dict[str, Any] = {
    "server_name": "catmaid.example.org",
    "aliases": ["tracing.example.org"],
    "tls": {
        "certificate": "/etc/ssl/lab/chain.pem",
        "key": "/etc/ssl/lab/key.pem",
        "email": "admin@example.org",
        "acme_server": "https://acme.example.org/directory",
    },
    "headers": {
        "content_security_policy": "frame-ancestors 'self'",
        "referrer_policy": "no-referrer",
        "frame_options": "DENY",
    },
    "passwords": {"GREETING": HASH},
    "balancer": {"addresses": ["192.0.2.10"]},
    "maintenance": {"text": "Back soon.", "end": "2026-12-01T18:00+01:00", "allow": ["192.0.2.0/24"]},
    "instances": [
        {
            "name": "catmaid-fafb",
            "prefix": "/tracing/fafb",
            "checkout": "/srv/catmaid",
            "virtualenv": "/srv/environment",
            "wsgi_file": "/srv/catmaid/django.wsgi",
            "static_folder": "/srv/static",
            "files_folder": "/srv/files",
            "extensions_folder": "/srv/staticext",
            "user": "catmaid",
            "runtime_group": "catmaid",
            "runtime_mode": "2750",
            "ready_page": "/projects/",
            "body_limit": "200m",
            "wsgi_server": "uwsgi",
            "uwsgi_version": "2.0.31",
            "gunicorn_version": "27.0.1",
            "gevent_version": "26.9.0",
            "update": "hand over",
            "migrate": "refuse",
            "way_back": "dump",
            "environment": {"GREETING": "hello"},
            "cors": {"origins": ["https://lab.example.org"]},
            "passwords": {"GREETING": HASH},
            "database": {"host": "database.example.org", "port": 5432},
            "broker": {"host": "broker.example.org", "port": 5672},
            "celery": {"log_level": "info", "queues": ["tracing"]},
            "programs": [{"name": "large", "celery": {"log_level": "info", "queues": ["large"]}}],
        }
    ],
    "tiles": [
        {
            "name": "fafb",
            "url": "/tiles/fafb",
            "folder": "/mnt/disk/tiles",
            "suffix": "jpg",
            "fallback": "/srv/grey.jpg",
            "mount": "/mnt/disk",
            "marker": "/mnt/disk/tiles/.there",
            "cors": {"origins": ["https://*.example.org"]},
            "passwords": {"GREETING": HASH},
        }
    ],
}
# The same with code that the deploy puts in place; a release has these keys' folders itself.
OWN = ("checkout", "static_folder")
RELEASES = {
    "repository": "https://git.example.org/catmaid.git",
    "revision": "2021.12.21",
    "folder": "/srv/releases",
    "owner": "catmaid",
    "shared": ["django/projects/mysite/settings.py"],
}
FULL_WITH_RELEASES: dict[str, Any] = {
    **FULL,
    "instances": [
        {**{key: value for key, value in FULL["instances"][0].items() if key not in OWN}, "releases": RELEASES}
    ],
}
BREAKING = [*"\n\r\0\t\x1b\x7f\x85\u2028\ud800", *"'\"`;{}$%\\# &|<>*?[]()!~^=:,+-@", *"üÁ²\u0435\u0663\U0001f600"]
BREAKING += ["$(id)", "`id`", "${HOME}", "$uri", "%%", "%(x)s", "%(here)s", "%h", "%n", "@(/etc/hostname)"]
BREAKING += ["\r\n", "\\n", "../", "/../", "./", "//", "--", " #", " ;", "  "]


def places(kind: Any = schema.Site, at: Place = ()) -> Iterator[Place]:
    """Where the schema takes text: the keys that lead there."""
    arguments = get_args(kind)
    if kind is str or (get_origin(kind) is Literal and isinstance(arguments[0], str)):
        yield at
    elif get_origin(kind) is tuple:
        yield from places(arguments[0], (*at, 0))
    elif get_origin(kind) is dict:
        yield from places(arguments[1], (*at, "GREETING"))
    elif get_origin(kind) is Annotated:
        yield from places(arguments[0], at)
    elif get_origin(kind) in (Union, types.UnionType):
        for one in arguments:
            yield from places(one, at)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            if name not in IN_NO_FILE:
                yield from places(field.annotation, (*at, name))
    elif kind is datetime:
        yield at
    elif kind not in (int, bool, type(None)):
        raise TypeError(f"{at}: say here where {kind} has text")


FULL_WITH_COMMAND = {
    **FULL,
    "instances": [FULL["instances"][0] | {"programs": [{"name": "spatial", "manage": "spatial_worker --delay 2"}]}],
}


def full(place: Place) -> dict[str, Any]:
    if "manage" in place:
        return FULL_WITH_COMMAND
    return FULL_WITH_RELEASES if "releases" in place else FULL


def value_at(data: Any, place: Place) -> Any:
    for key in place:
        data = data[key]
    return data


def changed(data: Any, place: Place, value: Any) -> Any:
    """The same with another value in one place."""
    if not place:
        return value
    key, rest = place[0], place[1:]
    if isinstance(data, list):
        return [changed(one, rest, value) if number == key else one for number, one in enumerate(data)]
    return {**data, key: changed(data[key], rest, value)}


def spelled(place: Place) -> str:
    """The key as a line has to name it. The name of a variable or user is told in the line itself."""
    keys = place[:-1] if "environment" in place or "passwords" in place else place
    return "site" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


def refused(place: Place, value: str) -> bool:
    """Whether a value is refused, and then by one line that shows as it is and names the key."""
    try:
        deployment = schema.load(changed(full(place), place, value))
    except schema.InvalidSite as error:
        (line,) = error.lines
        # A wrong certificate's key is one too many, and a folder of tiles may lie beside its mount point.
        keys = {spelled(place), *(["site.tls.key"] if place == ("tls", "certificate") else [])}
        keys |= {"site.tiles[0].mount"} if place[-1] == "folder" else set()
        assert line.split(": ")[0] in keys
        assert not {"environment", "passwords"} & set(place) or str(place[-1]) in line
        assert "passwords" not in place or value not in line
        assert line.isprintable()
        return True
    arrived = value_at(deployment.sites[0].model_dump(), place)
    if place[-1] == "end":
        assert arrived == datetime.fromisoformat(value)
    elif place[-2:] in (("allow", 0), ("addresses", 0)):
        assert arrived == str(ipaddress.ip_network(value))
    else:
        # Slashes at the ends mean nothing in a path or prefix, which have one form for all spellings.
        is_path = value.startswith("/") or place[-1] in ("prefix", "url")
        assert arrived == value or (is_path and arrived == f"/{value.strip('/')}")
    return False


def deployments_with(place: Place, texts: list[str]) -> Iterator[schema.Deployment]:
    """Deployments with each of the texts in its place; what can be together in one is, which is quicker."""
    if "environment" in place:
        texts_by_name = {f"GREETING_{number}": text for number, text in enumerate(texts)}
        yield schema.load(changed(full(place), place[:-1], texts_by_name))
        return
    if place[0] == "headers":
        # Long, allowed nearly always, and in each location: what is in the middle, at the start and the end in one.
        third = -(-len(texts) // 3)
        joined = zip_longest(texts[third : 2 * third], texts[:third], texts[2 * third :], fillvalue="")
        texts = ["".join(three) for three in joined] if place[-1] != "frame_options" else texts
    sites = [changed(full(place), place, text) for text in texts]
    if place == ("maintenance", "text"):
        # Of which only the notices have anything.
        for site in sites:
            check_notices(schema.load(site).sites[0])
        sites = sites[:1]
    for start in range(0, len(sites), 50):
        batch = sites[start : start + 50]
        for number, site in enumerate(batch):
            if place != ("server_name",):
                site["server_name"] = f"{number}.example.org"
            if place != ("aliases", 0):
                site["aliases"] = [f"alias-{number}.example.org"]
            for kind, name in (("instances", f"catmaid-{number}"), ("tiles", f"fafb-{number}")):
                if place != (kind, 0, "name"):
                    site[kind] = [{**site[kind][0], "name": name}]
            one = site["instances"][0]
            if "releases" in one and place[-1] != "folder":
                one["releases"] = {**one["releases"], "folder": f"/srv/releases-{number}"}
        yield schema.load(sites=batch)


PLACES = list(places())


def test_the_table_has_every_text_of_the_schema() -> None:
    assert PLACES
    for place in PLACES:
        assert isinstance(value_at(full(place), place), str), place


@pytest.mark.parametrize("place", PLACES, ids=spelled)
def test_nothing_breaks_out_of_its_place(place: Place) -> None:
    value = value_at(full(place), place)
    cuts = (len(value) // 2, 0, len(value))
    texts = [value[:cut] + breaking + value[cut:] for cut, breaking in combinations(cuts, BREAKING)]
    # In a dictionary, each once.
    allowed = list(dict.fromkeys(text for text in texts if not refused(place, text)))
    for deployment in deployments_with(place, allowed):
        check_all(deployment)


@given(place=st.sampled_from(PLACES), where=st.floats(0, 1), text=st.one_of(st.sampled_from(BREAKING), st.text()))
@examples(100)
def test_no_text_breaks_out_anywhere(place: Place, where: float, text: str) -> None:
    value = value_at(full(place), place)
    cut = round(where * len(value))
    value = value[:cut] + text + value[cut:]
    if not refused(place, value):
        check_all(schema.load(changed(full(place), place, value)))


@pytest.mark.parametrize("code", [*range(32), 127, 0xD800, 0xDFFF])
def test_control_characters_are_refused_in_the_environment(code: int) -> None:
    assert refused(("instances", 0, "environment", "GREETING"), f"hel{chr(code)}lo")


def lines(instance: dict[Any, Any]) -> list[str]:
    with pytest.raises(schema.InvalidSite) as caught:
        schema.load({"server_name": "a.org", "instances": [instance]})
    return caught.value.lines


@pytest.mark.parametrize("breaking", BREAKING, ids=ascii)
def test_a_key_that_could_break_out_is_told_in_one_line(breaking: str) -> None:
    key = f"GREE{breaking}TING"
    for instance in ({"environment": {key: "hello"}}, {"environment": {key: 5}}, {key: 5}, {"celery": {key: 5}}):
        (line,) = lines(instance)
        assert line.startswith("site.instances[0]")
        assert line.isprintable()


@pytest.mark.parametrize("name", ["OPTIND", "PPID", "LINENO", "_", "HOME", "IFS"])
def test_variables_of_the_shell_are_refused(name: str) -> None:
    (line,) = lines({"environment": {name: "text"}})
    assert line.startswith(f"site.instances[0].environment: {name} ")


@pytest.mark.parametrize(
    ("instance", "key"),
    [
        ({"body_limit": "9223372036854775808"}, "body_limit"),
        ({"body_limit": "8589934592g"}, "body_limit"),
        ({"read_timeout": 10**16}, "read_timeout"),
        ({"post_buffering": 2**64}, "post_buffering"),
        ({"uwsgi_version": "\u0662.\u0660.\u0663\u0661"}, "uwsgi_version"),
        ({"broker": {"host": "a" * 64, "port": 1}}, "broker.host"),
        ({"broker": {"host": ".".join(["a" * 50] * 6), "port": 1}}, "broker.host"),
    ],
)
def test_what_a_program_could_not_count_or_keep_is_refused(instance: dict[str, Any], key: str) -> None:
    (line,) = lines(instance)
    assert line.startswith(f"site.instances[0].{key}: ")


@pytest.mark.parametrize("version", ["2.0.031", "2.0.31.0", "02.0.31", "2.0", "2.1"])
def test_a_version_that_would_be_installed_anew_each_time_is_refused(version: str) -> None:
    (line,) = lines({"uwsgi_version": version})
    assert line.startswith(f"site.instances[0].uwsgi_version: {version!r} ")


@pytest.mark.parametrize("value", [["hunter2"], {"a": "hunter2"}, ("hunter2",), "hunter2"])
def test_what_may_be_secret_is_not_repeated(value: Any) -> None:
    wrong: list[dict[str, Any]] = [
        {"passwords": {"alice": value}},
        {"passwords": {f"alice:{value}": HASH}},
        {"passwords": {5: value}},
    ]
    wrong += [{"environment": {"A": value}}] if not isinstance(value, str) else []
    wrong += [{"environment": value}, {"passwords": value}] if not isinstance(value, dict) else []
    for instance in wrong:
        (line,) = lines(instance)
        assert "hunter2" not in line


def test_what_uwsgi_does_not_load_is_refused() -> None:
    for path in ("/srv/wsgi", "/srv/wsgi.pyc", "/srv/wsgi.py/", "/srv/.wsgi/x"):
        if not path.endswith("/"):
            assert lines({"wsgi_file": path})[0].startswith("site.instances[0].wsgi_file: ")


def site_lines(**site: Any) -> list[str]:
    with pytest.raises(schema.InvalidSite) as caught:
        schema.load({"server_name": "a.org", "instances": [{}]} | site)
    return caught.value.lines


@pytest.mark.parametrize(
    ("site", "key"),
    [
        ({"maintenance": {"allow": ["fe80::1%x;} return 200;"]}}, "maintenance.allow[0]"),
        ({"maintenance": {"allow": ["255.255.255.255"]}}, "maintenance.allow[0]"),
        ({"maintenance": {"end": "0001-01-01T00:00+01:00"}}, "maintenance.end"),
        ({"maintenance": {"end": "9999-12-31T23:59-01:00"}}, "maintenance.end"),
        ({"tls": {"email": "--staging@a.org"}}, "tls.email"),
        ({"tls": {"email": "\0@a.org"}}, "tls.email"),
        ({"server_name": ".".join(["a" * 60] * 3)}, "server_name"),
        ({"server_name": "self-signed"}, "server_name"),
    ],
)
def test_what_would_break_a_run_is_refused(site: dict[str, Any], key: str) -> None:
    (line,) = site_lines(**site)
    assert line.startswith(f"site.{key}: ")


def test_sites_with_names_alike_have_users_of_their_own() -> None:
    names = ["a-b.org", "a.b.org", "a--b.org"]
    own = {name: {f"user-{number}": HASH} for number, name in enumerate(names)}
    data = [{"server_name": name, "passwords": own[name]} for name in names]
    deployment = schema.load(
        sites=[{**one, "instances": [{"name": f"catmaid-{number}"}]} for number, one in enumerate(data)]
    )
    assert len(passwords.guards(deployment)) == 3
    check_passwords(deployment, nginx_items(deployment))


def test_no_file_of_one_site_is_a_folder_of_another() -> None:
    site = {"server_name": "black-512.jpg", "tiles": [{"name": "a", "url": "/a", "folder": "/a"}]}
    paths = [item.path for item in nginx.wanted(schema.load(site), Server())[0].items]
    assert len(paths) == len(set(paths))


def test_the_longest_names_fit_into_files() -> None:
    site = {"server_name": ".".join(["a-" * 19 + "a"] * 3), "instances": [{}], "passwords": {"alice": HASH}}
    items = nginx.wanted(schema.load(site), Server())[0].items
    # With what a file has in its name while it is made ready.
    assert all(len(item.path.rpartition("/")[2]) < 240 for item in items)
