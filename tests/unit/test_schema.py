"""What an inventory may say, and what a wrong one is told."""

from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.secret import Secret


def site(**instance: Any) -> dict[str, Any]:
    return {"server_name": "catmaid.example.org", "instances": [instance]}


def lines(data: object) -> list[str]:
    with pytest.raises(schema.InvalidSite) as caught:
        schema.load(data)
    return caught.value.lines


def test_the_seed_pages_values_are_the_defaults() -> None:
    (instance,) = schema.load(site()).instances
    assert instance.name == "catmaid"
    assert instance.prefix == "/catmaid"
    assert instance.virtualenv == "/home/catmaid/catmaid-server/django/env"
    assert instance.static_folder == "/home/catmaid/catmaid-server/django/static"
    assert (instance.user, instance.runtime_group, instance.runtime_mode) == ("www-data", "www-data", "0755")
    assert (instance.workers, instance.threads, instance.body_limit) == (8, 2, "20m")
    assert instance.post_buffering == 8192
    assert instance.uwsgi_socket == "/run/catmaid/uwsgi.socket"
    assert instance.daphne_socket == "/run/catmaid/daphne.sock"


KEY = Secret("x" * 43)
ACME = {"certificate": "acme", "acme_server": "https://acme.example.org/dir"}
DNS = {"plugin": "rfc2136", "credentials": "/etc/lab.ini"}


@pytest.mark.parametrize(
    ("tls", "line"),
    [
        (
            ACME | {"eab": {"kid": "lab", "key": "x" * 43}},
            "site.tls.eab.key: it would be in the inventory's reposit",
        ),
        (ACME | {"eab": {"kid": "lab", "key": Secret("short")}}, "site.tls.eab.key: it is no such key: give what the"),
        (ACME | {"eab": {"kid": "a b", "key": KEY}}, "site.tls.eab.kid: 'a b' is not allowed: give the key's identifi"),
        (ACME | {"eab": {"kid": "lab"}}, "site.tls.eab.key: missing: add it"),
        (
            {"certificate": "acme", "eab": {"kid": "lab", "key": KEY}},
            "site.tls.eab: Let's Encrypt has no such acc",
        ),
        ({"eab": {"kid": "lab", "key": KEY}}, "site.tls.eab: it is for certificates from an ACME server: remove it"),
        (ACME | {"dns": DNS | {"plugin": "route53"}}, "site.tls.dns.plugin: 'route53' is not allowed: input should be"),
        (ACME | {"dns": DNS | {"credentials": "lab.ini"}}, "site.tls.dns.credentials: 'lab.ini' is not allowed: give"),
        (ACME | {"dns": DNS | {"credentials": "/etc/a b"}}, "site.tls.dns.credentials: '/etc/a b' is not allowed"),
        ({"dns": DNS}, "site.tls.dns: it is for certificates from an ACME server: remove it, or say 'acme'"),
        (
            {"certificate": "request", "subject": {"CN": "x"}},
            "site.tls.subject: 'CN' isn't a part of a subject: use",
        ),
        ({"certificate": "request", "subject": {"O": "a/b"}}, "site.tls.subject: 'a/b' can't stand in a subject: give"),
        (
            {"certificate": "request", "subject": {"C": "Germany"}},
            "site.tls.subject: 'Germany' can't stand in a subject",
        ),
        ({"subject": {"O": "Lab"}}, "site.tls.subject: it is for a request: remove it, or say 'request'"),
    ],
)
def test_certificates_where_lets_encrypt_does_not_reach(tls: dict[str, Any], line: str) -> None:
    (found,) = lines(site() | {"tls": tls})
    assert found.startswith(line)
    assert "x" * 43 not in found


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"proxy": "proxy.example.org"}, "proxy: 'proxy.example.org' is not the address of an HTTP proxy: write it as"),
        (
            {"proxy": "https://proxy.example.org:3128"},
            "proxy: 'https://proxy.example.org:3128' is not the addre",
        ),
        (
            {"proxy": "socks5://proxy.example.org:1080"},
            "proxy: 'socks5://proxy.example.org:1080' is not the addre",
        ),
        ({"proxy": "http://a:hunter2@proxy.example.org:3128"}, "proxy: it has a password in it, which would be in the"),
        ({"proxy": Secret("http://a:hunter2@proxy")}, "proxy: it is not the address of an HTTP proxy: write it as"),
        ({"proxy": Secret('http://a:hunter2"@p:1')}, "proxy: its user name or password has a character that an addre"),
        (
            {"proxy": 3128},
            "proxy: 3128 is not the address of an HTTP proxy: write it as 'http://proxy.example.org:3128'",
        ),
        ({"no_proxy": ["git.example.org"]}, "no_proxy: there is no proxy: name it as proxy, or remove this"),
        ({"proxy": "http://p:1", "no_proxy": ["*"]}, "no_proxy[0]: '*' is not a host name or a domain: write it as"),
        ({"proxy": "http://p:1", "no_proxy": "p"}, "no_proxy: a list is needed, not 'p'"),
    ],
)
def test_a_proxy_that_is_not_understood(given: dict[str, Any], line: str) -> None:
    for data in ({"site": site()}, {"sites": [site()]}):
        with pytest.raises(schema.InvalidSite) as caught:
            schema.load(**data, **given)
        (found,) = caught.value.lines
        assert found.startswith(line)
        assert "hunter2" not in found


def test_a_proxy_is_for_what_fetches() -> None:
    deployment = schema.load(site(), proxy=Secret("http://a:p%40ss@proxy.example.org:3128/"), no_proxy=[".example.org"])
    address = "http://a:p%40ss@proxy.example.org:3128"
    direct = "localhost,127.0.0.1,::1,.example.org"
    assert deployment.fetching == {"http_proxy": address, "https_proxy": address, "no_proxy": direct}
    assert "p%40ss" not in repr(deployment)
    assert schema.load(site()).fetching == {}


def test_paths_follow_from_the_checkout() -> None:
    (instance,) = schema.load(site(checkout="/opt/catmaid/")).instances
    assert instance.checkout == "/opt/catmaid"
    assert instance.wsgi_file == "/opt/catmaid/django/projects/mysite/django.wsgi"


def test_another_user_gets_a_folder_that_hands_nginx_group_on() -> None:
    (instance,) = schema.load(site(user="catmaid")).instances
    assert instance.runtime_mode == "2750"
    assert instance.runtime_group == "www-data"


@pytest.mark.parametrize(
    ("given", "prefix", "location", "mount"),
    [
        ("/catmaid", "/catmaid", "/catmaid/", "/catmaid"),
        ("catmaid", "/catmaid", "/catmaid/", "/catmaid"),
        ("/catmaid/", "/catmaid", "/catmaid/", "/catmaid"),
        ("catmaid/", "/catmaid", "/catmaid/", "/catmaid"),
        ("/", "", "/", "/"),
        ("", "", "/", "/"),
        ("tracing/fafb/v14/", "/tracing/fafb/v14", "/tracing/fafb/v14/", "/tracing/fafb/v14"),
    ],
)
def test_spellings_of_a_prefix(given: str, prefix: str, location: str, mount: str) -> None:
    (instance,) = schema.load(site(prefix=given)).instances
    assert (instance.prefix, instance.location, instance.mount) == (prefix, location, mount)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("https://example.org/catmaid", "is a whole address"),
        ("//catmaid", "empty or dotted part"),
        ("/a//b", "empty or dotted part"),
        ("/a/../b", "empty or dotted part"),
        ("/catmaid; return 200", "more than a path"),
        ("/catmaid ", "more than a path"),
        ("/catmaid?x=1", "more than a path"),
        ("/catmaid%2f", "more than a path"),
        ("/$uri", "more than a path"),
        ("/neurón", "more than a path"),
        ("/catmaid\n", "more than a path"),
    ],
)
def test_prefixes_without_one_meaning_are_refused(given: str, part: str) -> None:
    (line,) = lines(site(prefix=given))
    assert line.startswith("site.instances[0].prefix: ")
    assert part in line


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (None, "site: missing: describe the site in the inventory, as inventories/prod.py does"),
        ({"instances": [{}]}, "site.server_name: missing: add it"),
        (site(worker=4), "site.instances[0].worker: unknown key; did you mean 'workers'?"),
        (
            site(celery={"concurency": 1}),
            "site.instances[0].celery.concurency: unknown key; did you mean 'concurrency'?",
        ),
        (site() | {"hostname": "x"}, "site.hostname: unknown key; did you mean 'server_name'?"),
        (site(workers="8"), "site.instances[0].workers: a whole number is needed, not '8'"),
        (site(workers=True), "site.instances[0].workers: a whole number is needed, not True or False"),
        (site(workers=0), "site.instances[0].workers: 0 is not allowed: input should be greater than or equal to 1"),
        (site(prefix=5), "site.instances[0].prefix: text is needed, not 5"),
        (site(environment=["A=1"]), "site.instances[0].environment: a dictionary is needed, not a list"),
        ({"server_name": "a.org", "instances": "catmaid"}, "site.instances: a list is needed, not 'catmaid'"),
        (
            site(user="catmaid-nginx"),
            "site.instances[0].user: 'catmaid-nginx' is nginx's own, which reads the TLS keys: give another one",
        ),
        (
            site(runtime_group="shadow"),
            "site.instances[0].runtime_group: 'shadow' may do what is root's alone, and web pages must not: "
            "give another one",
        ),
        (
            site(user="root"),
            "site.instances[0].user: 'root' may do what is root's alone, and web pages must not: give another one",
        ),
        (
            {"server_name": "a.org", "headers": {"content_security_policy": "img-src" + " a.example.org" * 400}},
            "site.headers.content_security_policy: 'img-src a.example.org a.example.org a.ex'... has 5607 characters, "
            "and nginx takes 4,000 at most: shorten it",
        ),
        (
            {"server_name": "https://a.org/", "instances": [{}]},
            "site.server_name: 'https://a.org/' is an address: give the host name alone, 'a.org'",
        ),
    ],
)
def test_one_line_with_key_and_mend(data: object, line: str) -> None:
    found = lines(data)
    assert found[0].startswith(line.split(";")[0])
    assert found == [line] or "unknown key" in line


@pytest.mark.parametrize(
    ("instance", "key"),
    [
        ({"name": "nginx"}, "name"),
        ({"name": "catmaid-Fafb"}, "name"),
        ({"name": "catmaid/x"}, "name"),
        ({"name": "catmaid-deploy"}, "name"),
        ({"checkout": "catmaid-server"}, "checkout"),
        ({"checkout": "/opt/../etc"}, "checkout"),
        ({"checkout": "/opt/cat maid"}, "checkout"),
        ({"virtualenv": "/opt/$(reboot)"}, "virtualenv"),
        ({"user": "www-data; reboot"}, "user"),
        ({"body_limit": "20 MB"}, "body_limit"),
        ({"body_limit": "0"}, "body_limit"),
        ({"uwsgi_version": "2.0.30"}, "uwsgi_version"),
        ({"uwsgi_version": "latest"}, "uwsgi_version"),
        ({"runtime_mode": "rwx"}, "runtime_mode"),
        ({"runtime_mode": "0077"}, "runtime_mode"),
        ({"user": "catmaid", "runtime_mode": "0755"}, "runtime_mode"),
        ({"environment": {"DB_PASSWORD": "x"}}, "environment"),
        ({"environment": {"1X": "x"}}, "environment"),
        ({"environment": {"PATH": "/tmp"}}, "environment"),
        ({"environment": {"A": "x\ny"}}, "environment"),
        ({"celery": {"log_level": "loud"}}, "celery.log_level"),
        ({"celery": {"queues": ["a b"]}}, "celery.queues[0]"),
        ({"broker": {"host": "rabbit", "port": 0}}, "broker.port"),
    ],
)
def test_what_could_break_out_of_its_place_is_refused(instance: dict[str, Any], key: str) -> None:
    (line,) = lines(site(**instance))
    assert line.startswith(f"site.instances[0].{key}: ")


def test_secrets_are_not_repeated_in_the_refusal() -> None:
    (line,) = lines(site(environment={"DJANGO_SECRET_KEY": "hunter2"}))
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("one", "other", "part"),
    [
        ({}, {"prefix": "/b"}, "two have the name 'catmaid'"),
        ({}, {"name": "catmaid-b", "prefix": "catmaid/"}, "two have the prefix '/catmaid/'"),
        ({}, {"name": "catmaid-b", "prefix": "/catmaid/static"}, "lies in /catmaid/static/"),
        ({"prefix": "/"}, {"name": "catmaid-b", "prefix": "/files/b"}, "lies in /files/"),
    ],
)
def test_instances_keep_apart(one: dict[str, Any], other: dict[str, Any], part: str) -> None:
    (line,) = lines({"server_name": "a.org", "instances": [one, other]})
    assert line.startswith("site.instances: ")
    assert part in line


def test_all_faults_come_together() -> None:
    assert len(lines({"server_name": "a b", "instances": [{"workers": 0, "prefix": "//"}]})) == 3


def test_a_host_name_stands_once() -> None:
    assert lines(site() | {"aliases": ["b.org", "catmaid.example.org"]}) == [
        "site.aliases: the name 'catmaid.example.org' stands twice: remove one"
    ]


RELEASES = {"repository": "https://github.com/catmaid/CATMAID.git", "revision": "2021.12.21"}


def test_a_release_has_a_folder_of_its_own_and_shares_what_users_see() -> None:
    (instance,) = schema.load(site(releases=RELEASES)).instances
    assert instance.checkout == "/home/catmaid/releases/2021.12.21"
    assert instance.wsgi_file == "/home/catmaid/releases/2021.12.21/django/projects/mysite/django.wsgi"
    assert instance.virtualenv == "/home/catmaid/releases/shared/env"
    assert instance.static_folder == "/home/catmaid/releases/2021.12.21/django/static"
    assert instance.static_alias == "/etc/catmaid/catmaid/wsgi/release/django/static"
    assert instance.files_folder == "/home/catmaid/releases/shared/files"


@pytest.mark.parametrize(
    ("instance", "line"),
    [
        ({"releases": RELEASES, "checkout": "/opt/catmaid"}, "checkout: releases have their own folder"),
        (
            {"releases": RELEASES | {"revision": "a b"}},
            "releases.revision: 'a b' is not allowed: give a tag",
        ),
        ({"releases": RELEASES | {"revision": "shared"}}, "releases.revision: 'shared' is the deploy's own folder"),
        ({"releases": RELEASES, "static_folder": "/srv/static"}, "static_folder: each release has its own"),
        ({"releases": RELEASES | {"repository": "CATMAID"}}, "releases.repository: 'CATMAID' is not a repository"),
        (
            {"releases": RELEASES | {"shared": ["/etc/passwd"]}},
            "releases.shared[0]: '/etc/passwd' is not a path",
        ),
        ({"releases": RELEASES | {"branch": "dev"}}, "releases.branch: unknown key; known are: repository, revision"),
        ({"update": "chain", "wsgi_server": "gunicorn"}, "update: only uWSGI replaces its processes one by one"),
        ({"gunicorn_version": "23.0.0"}, "gunicorn_version: '23.0.0' doesn't speak nginx's uwsgi protocol well"),
        ({"ready_page": "projects"}, "ready_page: 'projects' is not allowed: write it as '/' or '/projects/'"),
        ({"migrate": "yes"}, "migrate: 'yes' is not allowed: input should be 'refuse', 'before' or 'closed'"),
    ],
)
def test_updates_are_described_in_one_way(instance: dict[str, Any], line: str) -> None:
    (found,) = lines(site(**instance))
    assert found.startswith(f"site.instances[0].{line}")


def test_a_repositorys_password_is_not_repeated() -> None:
    (line,) = lines(site(releases=RELEASES | {"repository": "https://me:hunter2@git.example.org/catmaid.git"}))
    assert "hunter2" not in line
    assert "which would show in a process list" in line
