"""What follows from a site and a host for certificates, tiles, passwords and nginx's abilities."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any
from urllib.parse import unquote_to_bytes

import hypothesis.strategies as st
import pytest
from hypothesis import given

from catmaid_deploy import schema
from catmaid_deploy.answers.survey import Survey, Tiles
from catmaid_deploy.file_sets import File
from catmaid_deploy.finding import Command
from catmaid_deploy.plan.look import Look
from catmaid_deploy.run import preflight
from catmaid_deploy.schema import Deployment
from catmaid_deploy.tasks import packages, system
from catmaid_deploy.tasks.certificates import acme
from catmaid_deploy.tasks.certificates import files as certificates
from catmaid_deploy.tasks.nginx import error_pages as notices
from catmaid_deploy.tasks.nginx import passwords
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.nginx.capabilities import DEFAULT_SITE, Server
from catmaid_deploy.tasks.tiles.sets import judge_tiles
from testbed.order import TASKS
from tests import answers

DAY = 24 * 3600
HASH = "$6$abcdefgh$" + "a" * 86


def load(*sites: dict[str, Any], **site: Any) -> Deployment:
    plain = {"server_name": "a.org", "instances": [{}]}
    return schema.load(None, list(sites)) if sites else schema.load(plain | site)


def found(days: float = 80, **more: Any) -> dict[str, Any]:
    one = {"problem": "", "of_key": False, "names": ["a.org"], "missing_names": []}
    return one | {"seconds_left": days * DAY, "lifetime": 90 * DAY, "time": 1.0} | more


def lineage(**more: Any) -> dict[str, Any]:
    """A certificate of certbot's, as the deploy has them renewed."""
    own = {"server": schema.LETS_ENCRYPT, "authenticator": "webroot", "webroots": [certificates.WEBROOT], "others": []}
    return own | {"deploy_hook": "", "names": ["a.org"], "kept": [], "credentials": "", "wait": ""} | more


def survey(served: dict[str, Any] | None, link: str = "", server: str = schema.LETS_ENCRYPT, **more: Any) -> Survey:
    """What a host answers; a certificate that isn't given isn't there."""
    absent = found(problem="isn't there", names=[])
    certificates_found = {"a.org served": served or absent, "a.org placeholder": absent}
    answer: dict[str, Any] = {
        "certificates": certificates_found | more.pop("others", {}),
        "files": {"/etc/catmaid/tls/a.org": {"target": link}} if link else {},
        "lineages": {"a.org": lineage(server=server, names=(served or absent)["names"])},
        "keys": {},
    }
    return answers.survey(**answer | more)


ACME = load(tls={"certificate": "acme"})
LIVE = "/etc/letsencrypt/live/a.org"


@pytest.mark.row_19
@pytest.mark.parametrize(
    ("host", "signed", "fetched"),
    [
        (survey(None), True, True),
        (survey(found(), LIVE), False, False),
        (survey(found(10), LIVE), False, True),
        # A certificate for six days is renewed by certbot itself until it has a quarter of them left.
        (survey(found(3, lifetime=6 * DAY), LIVE), False, False),
        (survey(found(), LIVE, "https://staging.example.org/directory"), False, True),
        (survey(found(names=["b.org"], missing_names=["a.org"]), LIVE), False, True),
        (survey(found(names=["a.org", "b.org"]), LIVE), False, True),
        (survey(found(), "/etc/catmaid/tls/self-signed/a.org", others={"a.org placeholder": found(800)}), False, True),
        (survey(found(problem="isn't there"), LIVE), True, True),
    ],
)
def test_what_a_site_with_acme_needs(host: Survey, signed: bool, fetched: bool) -> None:
    assert bool(certificates.self_signed(ACME, host)) == signed
    assert bool(acme.wanted(ACME, host)) == fetched


OLD = "/etc/catmaid/tls/self-signed/a.org"
STANDALONE: dict[str, Any] = {"authenticator": "standalone", "webroots": []}


@pytest.mark.row_31
@pytest.mark.parametrize(
    ("lineages", "link", "wanted"),
    [
        ({"a.org": lineage(**STANDALONE)}, OLD, ("a.org", (), "standalone", True)),
        ({"a.org": lineage(**STANDALONE)}, LIVE, ("a.org", (), "standalone", True)),
        ({"a.org": lineage(**STANDALONE, names=["a.org", "b.org"])}, LIVE, ("a.org", (), "standalone", True)),
        ({"a.org": lineage(webroots=["/var/www/html"])}, OLD, ("a.org", (), "webroot", True)),
        ({"a.org": lineage(others=["pre_hook"])}, OLD, ("a.org", (), "webroot", True)),
        ({"a.org-0001": lineage(authenticator="nginx")}, OLD, ("a.org-0001", (), "nginx", True)),
        ({"b.org": lineage(names=["b.org"]), "lab": lineage(**STANDALONE)}, OLD, ("lab", (), "standalone", True)),
        # Of several the one that is for these names, and no others.
        (
            {"a.org": lineage(**STANDALONE, names=["a.org", "b.org"]), "a.org-0002": lineage(**STANDALONE)},
            OLD,
            ("a.org-0002", (), "standalone", True),
        ),
        # Names of others stay, but for a star, which only the DNS proves.
        (
            {"all": lineage(**STANDALONE, names=["*.org", "a.org", "mail.org"])},
            OLD,
            ("all", ("mail.org",), "standalone", True),
        ),
        ({"a.org": lineage(names=["a.org", "mail.org"], kept=["mail.org"])}, LIVE, None),
        ({"a.org": lineage(names=["a.org", "mail.org"], kept=[])}, LIVE, ("a.org", (), "", False)),
        # By the DNS it is renewed without nginx.
        ({"a.org": lineage(authenticator="dns-rfc2136")}, OLD, ("a.org", (), "dns-rfc2136", True)),
        ({"a.org": lineage(authenticator="dns-rfc2136")}, LIVE, None),
        ({"a.org": lineage(authenticator="dns-ovh", others=["post_hook"])}, LIVE, None),
        ({"a.org": lineage()}, OLD, ("a.org", (), "", False)),
        ({}, OLD, ("a.org", (), "", False)),
        ({"b.org": lineage(**STANDALONE, names=["b.org"])}, OLD, ("a.org", (), "", False)),
    ],
)
def test_what_certbot_has_already(
    lineages: dict[str, Any], link: str, wanted: tuple[str, tuple[str, ...], str, bool] | None
) -> None:
    decided = acme.wanted(ACME, survey(found(), link, lineages=lineages))
    assert [(one.lineage, one.kept, one.by, one.force) for one in decided] == ([wanted] if wanted else [])


@pytest.mark.row_31
def test_a_path_that_is_certbot_s() -> None:
    own = load(tls={"certificate": f"{certificates.LIVE}/lab-0001/fullchain.pem", "key": "/k"})
    assert acme.brought(own) == {"lab-0001": "a.org"}
    (one,) = acme.neighbours(own, answers.survey(lineages={"lab-0001": lineage(**STANDALONE)}))
    assert one.line() == (
        "site[a.org].tls.certificate: certbot renews it by standalone, which doesn't work beside this nginx: "
        "say 'acme', which takes it over"
    )
    by_dns = answers.survey(lineages={"lab-0001": lineage(authenticator="dns-ovh")})
    assert list(acme.neighbours(own, by_dns)) == []


@pytest.mark.row_31
def test_a_certificate_of_others_that_wants_nginx_s_port() -> None:
    others = {"mail.org": lineage(**STANDALONE, names=["mail.org", "imap.org"]), "a.org": lineage()}
    (one,) = acme.neighbours(ACME, survey(found(), LIVE, lineages=others))
    assert (
        "certbot renews mail.org by standalone, which wants port 80, and that is nginx's: certbot certonly"
        in one.line()
    )
    assert one.line().endswith(" -d mail.org -d imap.org")


@pytest.mark.row_19
@pytest.mark.parametrize(
    ("served", "signed"),
    [
        (None, True),
        (found(), False),
        (found(20), True),
        (found(missing_names=["b.org"]), True),
        (found(problem="x"), True),
    ],
)
def test_what_a_site_that_signs_for_itself_needs(served: dict[str, Any] | None, signed: bool) -> None:
    assert bool(certificates.self_signed(load(), survey(served))) == signed
    assert acme.wanted(load(), survey(served)) == []


@pytest.mark.row_19
@pytest.mark.parametrize(
    ("time", "shown", "newer"),
    [
        (5.0, {"a.org": "one"}, False),
        (15.0, {"a.org": "one"}, True),
        # Moved in place, with its old time.
        (5.0, {"a.org": "another"}, True),
        # Nobody answers, or who does isn't known to be this nginx.
        (5.0, {}, False),
        (5.0, {"b.org": "another"}, False),
    ],
)
def test_a_certificate_that_nginx_does_not_have_yet(time: float, shown: dict[str, str], newer: bool) -> None:
    host = survey(found(time=time, digest="one"), asked={"certificates": shown})
    assert certificates.has_changed(load(), host, since=10.0) == newer


@pytest.mark.row_19
def test_certificates_that_the_admin_hears_of() -> None:
    own = load(tls={"certificate": "/c", "key": "/k"}).sites[0]
    assert [*certificates.judge(own, survey(found())), *certificates.warn(own, survey(found()))] == []
    (ended,) = certificates.judge(own, survey(found(-2)))
    assert ended.line() == "tls.certificate: /c ended 2 days ago: renew it"
    (ends,) = certificates.warn(own, survey(found(5)))
    assert ends.line() == "tls.certificate: /c ends in 5 days: renew it"
    (late,) = certificates.warn(ACME.sites[0], survey(found(5), LIVE))
    assert late.line().startswith(
        "tls.certificate: ends in 5 days and wasn't renewed: the reason is in /var/log/letsencrypt"
    )


@pytest.mark.row_19
@pytest.mark.parametrize(
    ("mode", "readers", "said"),
    [
        ("600", [], ""),
        ("640", [], ""),
        ("644", ["www-data"], "/k can be read by everybody"),
        ("640", ["catmaid", "www-data"], "/k can be read by catmaid, www-data"),
    ],
)
def test_a_key_that_others_can_read_is_a_fault(mode: str, readers: list[str], said: str) -> None:
    own = load(tls={"certificate": "/c", "key": "/k"}).sites[0]
    keys = {"/k": {"user": "root", "group": "ssl-cert", "mode": mode, "readers": readers}}
    faults = list(certificates.judge(own, survey(found(), keys=keys)))
    assert [one.what for one in faults] == ([said] if said else [])
    assert all(one.fix == Command("chown root:root /k && chmod 600 /k") for one in faults)


@pytest.mark.row_13
@pytest.mark.parametrize(
    ("tiles", "host", "lines"),
    [
        ({}, {}, []),
        ({}, {"folder": False, "proof": False}, ["folder: /d/t isn't there"]),
        ({}, {"is_mount": True}, ["marker: /d/t is a mount point, and there without its disk"]),
        ({"marker": "/d/t/here"}, {"is_mount": True}, []),
        ({"marker": "/d/t/here"}, {"proof": False}, ["marker: /d/t/here isn't there"]),
        ({"fallback": "/x.jpg"}, {"fallback": False}, ["fallback: /x.jpg isn't there"]),
        ({"mount": "/d"}, {"folder": False, "proof": False, "mounted": False}, []),
        ({"mount": "/d"}, {"folder": False, "proof": False, "mounted": True}, ["folder: /d/t isn't there"]),
    ],
)
def test_tiles_that_are_not_there(tiles: dict[str, Any], host: dict[str, Any], lines: list[str]) -> None:
    (one,) = load(tiles=[{"name": "t", "url": "/t", "folder": "/d/t"} | tiles]).tiles
    there = {"folder": True, "proof": True, "fallback": True, "mounted": False, "is_mount": False}
    judged = [finding.line() for finding in judge_tiles(one, answers.part(Tiles, there | host))]
    assert len(judged) == len(lines)
    assert all(line.startswith(start) for line, start in zip(judged, lines, strict=True))


@pytest.mark.row_12
def test_the_nearest_passwords_count() -> None:
    tiles = [
        {"name": "t", "url": "/t", "folder": "/t"},
        {"name": "own", "url": "/own", "folder": "/own", "passwords": {"bob": HASH}},
    ]
    (site,) = load(passwords={"alice": HASH}, tiles=tiles).sites
    names = [guard.name for one in site.places if (guard := passwords.guard(site, one))]
    assert names == ["site_a_org", "site_a_org", "tiles_own"]
    first, second = (passwords.guard(site, one) for one in site.tiles)
    assert first is not None
    assert second is not None
    assert first.token != second.token
    assert not passwords.guards(load())


@pytest.mark.row_10
@pytest.mark.parametrize(
    ("cors", "users", "origins", "credentials"),
    [
        ({}, {}, ("*",), False),
        ({}, {"a": HASH}, ("https://a.org", "https://b.org:8443", "https://c.org:8443", "http://d.org"), True),
        ({"cors": None}, {"a": HASH}, (), None),
        ({"cors": {"origins": ["*"]}}, {"a": HASH}, ("*",), False),
        ({"cors": {"origins": ["https://x.org"]}}, {"a": HASH}, ("https://x.org",), True),
        ({"cors": {"origins": ["https://x.org"], "credentials": False}}, {"a": HASH}, ("https://x.org",), False),
        ({"cors": {"origins": ["https://x.org"]}}, {}, ("https://x.org",), False),
    ],
)
def test_who_reads_tiles_from_elsewhere(
    cors: dict[str, Any], users: dict[str, str], origins: tuple[str, ...], credentials: bool | None
) -> None:
    """With a password, whoever is named may send it along; browsers refuse "*" there."""
    tiles = {"name": "t", "url": "/t", "folder": "/t", **cors}
    sites: list[dict[str, Any]] = [
        {"server_name": "a.org", "passwords": users, "tiles": [tiles]},
        {"server_name": "b.org", "aliases": ["c.org"], "tls": {"port": 8443}, "instances": [{}]},
        {"server_name": "d.org", "tls": {"certificate": "none"}, "instances": [{"name": "catmaid-d"}]},
    ]
    deployment = load(*sites)
    found = nginx.cors_of(deployment, deployment.sites[0], deployment.tiles[0])
    assert (found.origins if found else (), found.credentials if found else None) == (origins, credentials)


BCRYPT, SHA = "$2y$%s$" + "a" * 53, "$6$%ssalt$" + "a" * 86
CHEAP = ": give one made by 'htpasswd -nBC 5 alice' or 'openssl passwd -6'"


@pytest.mark.row_12
@pytest.mark.parametrize(
    "hashed", [BCRYPT % "04", BCRYPT % "07", SHA % "", SHA % "rounds=16000$", SHA % "rounds=1000$"]
)
def test_cheap_hashes_are_taken(hashed: str) -> None:
    assert list(passwords.costly(load(passwords={"alice": hashed}), answers.survey(password_lines=[]))) == []


@pytest.mark.row_12
@pytest.mark.parametrize("hashed", [BCRYPT % "08", BCRYPT % "12", SHA % "rounds=20000$", SHA % "rounds=9999999$"])
def test_a_costly_hash_is_refused_when_new_and_else_a_warning(hashed: str) -> None:
    site = load(passwords={"alice": hashed})
    line = f"passwords: the hash of alice takes nginx over 10 ms for each try{CHEAP}"
    known = [sha256(f"alice:{hashed}".encode()).hexdigest()]
    for lines, level in (([], "fault"), (known, "warning")):
        (finding,) = passwords.costly(site, answers.survey(password_lines=lines))
        assert (finding.level, finding.line()) == (level, line)


@pytest.mark.row_12
@pytest.mark.parametrize(
    "hashed", [BCRYPT % "31", BCRYPT % "03", BCRYPT % "18", SHA % "rounds=999999999$", SHA % "rounds=999$"]
)
def test_what_is_no_hash_of_anybody_is_refused_always(hashed: str) -> None:
    with pytest.raises(schema.InvalidSite) as caught:
        load(passwords={"alice": hashed})
    (line,) = caught.value.lines
    assert line == f"site.passwords: the hash of alice would take nginx hours or is no hash{CHEAP}"


@pytest.mark.row_19
@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.22.1-9+deb12u3", (1, 22, 1)), ("1:1.26.3-3+deb13u1", (1, 26, 3)), ("1.29.1-1~bookworm", (1, 29, 1))],
)
def test_nginx_versions(version: str, expected: tuple[int, ...]) -> None:
    survey = answers.survey(packages={"nginx": version}, os={"id": "debian", "version": "12"})
    assert packages.nginx_version(survey) == expected


@pytest.mark.row_29
@pytest.mark.parametrize(
    ("server", "have", "compiler"),
    [
        ("uwsgi", {"uwsgi": None}, True),
        ("uwsgi", {"uwsgi": "2.0.31"}, False),
        ("uwsgi", {"uwsgi": "2.0.30"}, True),
        ("gunicorn", {"gunicorn": None, "uwsgi": None}, False),
        ("gevent", {"gunicorn": None, "gevent": None, "psycogreen": None}, False),
    ],
)
def test_only_what_is_to_be_compiled_needs_a_compiler(server: str, have: dict[str, Any], compiler: bool) -> None:
    site = load(instances=[{"wsgi_server": server}])
    host: dict[str, Any] = {"packages": {}, "os": {"id": "debian", "version": "12"}}
    host["instances"] = {"catmaid": {"python": {"have": have | {"pip": "23"}}}}
    assert ("gcc" in preflight.packages(TASKS, Look(site, answers.survey(**host)))) == compiler
    # Nothing can be said of a virtualenv that isn't there.
    host["instances"] = {"catmaid": {}}
    assert ("gcc" in preflight.packages(TASKS, Look(site, answers.survey(**host)))) == (server == "uwsgi")


@pytest.mark.row_19
def test_what_an_nginx_can_do() -> None:
    host: dict[str, Any] = {"ipv6": False, "openssl": [3, 0], "default_servers": [], "descriptors": 20000}
    host["own_locations"] = {}
    old = host | {"packages": {}, "os": {"id": "debian", "version": "12"}}
    new = host | {"packages": {}, "os": {"id": "debian", "version": "13"}, "openssl": [3, 5]}
    foreign = old | {"packages": {"nginx": "1.29.1-1~bookworm"}, "default_servers": [["/etc/nginx/x", "80"]]}
    servers = [Server.of(answers.survey(**one)) for one in (old, new, foreign)]
    assert [(s.http2_directive, s.brotli, s.kem) for s in servers] == [
        (False, True, False),
        (True, True, True),
        # A module fits the distribution's nginx alone.
        (True, False, False),
    ]
    # Nor one of that version by another packager, which its package would replace.
    of_another = {"nginx": "1.22.1-1~bookworm"}
    assert not packages.has_brotli(answers.survey(**old | {"packages": of_another}))
    assert packages.has_brotli(answers.survey(**old | {"packages": of_another | {"nginx-common": "1.22.1-9"}}))
    assert [s.answer_unknown_names for s in servers] == [{}, {}, {"/etc/nginx/x": ["80"]}]
    assert [s.unknown(tls=True) for s in servers] == [["80", "443"], ["80", "443"], ["443"]]
    ((path, target),) = DEFAULT_SITE.items()
    files = {path: {"kind": "link", "target": target}, target: {"kind": "file", "md5": "debians"}}
    stock = old | {
        "default_servers": [[path, "80"], [path, "[::]:80"]],
        "files": files,
        "as_it_came": {target: "debians"},
    }
    assert Server.of(answers.survey(**stock)).taken == ()
    # Somebody has changed it, and so it stays.
    changed = Server.of(answers.survey(**stock | {"as_it_came": {target: "another"}, "ipv6": True}))
    assert changed.answer_unknown_names == {path: ["80", "[::]:80"]}
    assert changed.unknown(tls=True) == ["443", "[::]:443"]


@pytest.mark.row_18
def test_notices() -> None:
    end = "2026-12-01T18:00+01:00"
    (site,) = load(maintenance={"text": "<b> & one\n\ntwo", "end": end}).sites
    texts = {item.path.rpartition("/")[2]: item.text for item in notices.notices(site) if isinstance(item, File)}
    assert set(texts) == {f"{name}.{form}" for name in ("planned", "outage", "busy") for form in ("html", "json")}
    assert "<p>&lt;b&gt; &amp; one</p>" in texts["planned.html"]
    assert "<p>two</p>" in texts["planned.html"]
    assert "Tuesday, 1 December 2026, 18:00 UTC+01:00" in texts["planned.html"]
    assert "Expected end" not in texts["outage.html"]
    assert notices.retry_after(site.maintenance) == "Tue, 01 Dec 2026 17:00:00 GMT"
    assert notices.retry_after(load().sites[0].maintenance) == "600"


@pytest.mark.row_30
def test_several_sites() -> None:
    one, two = (
        {"server_name": name, "instances": [{"name": instance}]}
        for name, instance in (("a.org", "catmaid"), ("b.org", "catmaid-b"))
    )
    assert load(one, two).urls == ["https://a.org/catmaid/", "https://b.org/catmaid/"]
    for other, line in (
        (two | {"server_name": "a.org"}, "sites.server_name: two have the name 'a.org': give each its own"),
        (two | {"aliases": ["a.org"]}, "sites.server_name: two have the name 'a.org': give each its own"),
        (one | {"server_name": "b.org"}, "sites.instances: two have the name 'catmaid': give each its own"),
        (two | {"servername": "x"}, "sites[1].servername: unknown key; did you mean 'server_name'?"),
    ):
        with pytest.raises(schema.InvalidSite) as caught:
            load(one, other)
        assert caught.value.lines == [line]
    with pytest.raises(schema.InvalidSite, match="sites: given together with 'site': keep one of them"):
        schema.load(one, [two])


def test_an_address_of_ipv6_is_its_network() -> None:
    """Nobody has less than a /64; of IPv4 each address counts by itself."""
    items = nginx.rendered(load(), Server())[0]
    (text,) = [item.text for item in items if isinstance(item, File) and item.path.endswith("/conf.d/catmaid.conf")]
    (pattern,) = re.findall(r'^    "~(\S+)" \$catmaid_network;$', text, re.MULTILINE)
    expression = re.compile(pattern.replace("(?<", "(?P<").replace("^(?s)", "(?s)^").encode())
    long, short = bytes(range(16)), bytes(range(4))
    found = expression.search(long)
    assert found
    assert found["catmaid_network"] == long[:8]
    assert not expression.search(short)


def test_ten_thousand_websockets_fit_by_the_processes_limits() -> None:
    """All of them by one worker of nginx, beside as many other connections as before; Daphne has one file for each."""
    sockets = 10_000
    server = Server()
    # To the browser and to Daphne.
    assert server.connections >= 2 * sockets + 4096
    assert sockets + 4096 <= system.DESCRIPTORS
    # A container of ours allows less, and keeps room all the same.
    assert Server(descriptors=20_000).connections >= 4000 + 2048


@pytest.mark.parametrize("descriptors", [20_000, 65_536, 524_288, 1 << 20])
@pytest.mark.parametrize("sets", [0, 1, 2, 15, 500])
def test_all_sets_tiles_together_leave_connections_theirs(descriptors: int, sets: int) -> None:
    """Each set keeps tiles open of its own; all of them and all connections fit into a worker's descriptors."""
    server = Server(descriptors=descriptors)
    used = server.used(sets)
    assert used <= descriptors
    assert used >= 2 * server.connections + sets * server.open_tiles(sets)
    assert server.open_tiles(sets) >= 10


# ---- One look at a request before others ----

WORDS = st.lists(
    st.sampled_from([*"/a.-_?#& ", "//", "%0a", "%2f", "%7F", "%c2%85", "\x1b", "\x7f", "\n", "\xc2\x85", "\xc3\xa9"])
).map("".join)


@given(st.sampled_from(["GET", "POST", "OPTIONS", "PROPFIND"]), WORDS, WORDS, WORDS, WORDS)
def test_what_is_plain_has_nothing_of_what_is_looked_for(
    method: str, address: str, referer: str, user: str, host: str
) -> None:
    """Bytes are letters here, as nginx has them."""
    # nginx takes neither a control character nor an empty address in a line, nor a line's end or blanks in a host.
    address, host = "/" + re.sub(r"[\x00-\x20\x7f]", "", address), re.sub(r"[\x00-\x20\x7f]", "", host)
    line = "|".join((f"{method} {address} HTTP/1.1", referer, user, host))
    if re.search(nginx.PLAIN, line):
        uri = unquote_to_bytes(re.split("[?#]", address)[0].encode("latin-1")).decode("latin-1")
        assert method != "OPTIONS"
        assert "//" not in uri
        assert not re.search("[\x00-\x1f\x7f]|\xc2[\x80-\x9f]", "|".join((uri, address, referer, user, host)))


@pytest.mark.parametrize("address", ["/", "/tiles/fafb/0/1/2.jpg", "/catmaid/", "/catmaid/1/skeletons/?with=a,b&n=1"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_what_users_ask_for_is_plain(method: str, address: str) -> None:
    assert re.search(nginx.PLAIN, f"{method} {address} HTTP/2.0|https://lab.example.org/catmaid/|lab.example.org")
