"""What nginx reads, and whose servers are in it: by the script as it runs on a host, on files of a test's own."""

from __future__ import annotations

from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.facts.survey import Survey
from catmaid_deploy.file_sets import File
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.nginx.capabilities import Server
from testbed.peers import sites

ON_HOST: dict[str, Any] = {}
exec(Survey.script.removesuffix("\nanswer(survey)\n"), ON_HOST)  # noqa: S102
MAIN = "/etc/nginx/nginx.conf"
OURS = "/etc/nginx/sites-enabled/catmaid-a.test.conf"
STATE = "/etc/nginx/conf.d/catmaid.conf"
INCLUDES = "include /etc/nginx/conf.d/*.conf; include sites-enabled/*;"
SITES = [{"names": ["a.test", "b.test"], "path": OURS, "ports": [443]}]


def files(path: str, text: str, deployed: bool = True) -> dict[str, str]:
    found = {MAIN: f"events {{}} http {{ {INCLUDES} }}"}
    found[STATE] = "# Made by catmaid-deploy\nserver { listen 80 default_server; server_name state; }"
    if deployed:
        found[OURS] = "# Made by catmaid-deploy\nserver { listen 443; server_name a.test b.test; }"
    return found | {f"/etc/nginx/{path}": text}


@pytest.mark.row_34
@pytest.mark.parametrize(
    ("words", "address", "ports"),
    [
        ("443 ssl", "", [443]),
        ("*:8080", "", [8080]),
        ("0.0.0.0:80", "", [80]),
        ("[::]:443", "[::]", [443]),
        ("127.0.0.1", "127.0.0.1", [80]),
        ("[::1]", "[::1]", [80]),
        ("192.0.2.7:443", "192.0.2.7", [443]),
        ("[2001:db8::7]:443", "[2001:db8::7]", [443]),
        ("localhost:8000", "localhost", [8000]),
        ("8000-8003", "", [8000, 8001, 8002, 8003]),
        ("127.0.0.1:80-81", "127.0.0.1", [80, 81]),
        # In a file that nginx refuses anything may stand.
        ("-", "-", [80]),
        ("$port", "$port", [80]),
    ],
)
def test_where_a_server_listens(words: str, address: str, ports: list[int]) -> None:
    found = ON_HOST["_socket"](["listen", *words.split()])
    assert (found["address"], found["ports"]) == (address, ports)


@pytest.mark.row_34
def test_the_servers_of_files() -> None:
    text = r"""
        # server { listen 1; server_name comment; }
        upstream a { server 127.0.0.1:9; }
        server { server_name "quoted.test" .dot.test
            more.test; location ~ "^/\d{3}/(a|b);" { return 200 "server { listen 2; }"; listen 3; } }
        server { listen 443 ssl; listen [::]:443; if ($host = "x") { return 301 https://$host; } }
        server{listen 8080;include snippets/name.conf;} server { listen unix:/run/x.sock default_server; }
        map ${a}b $c { default "}"; 'server {' "{"; }
    """
    read = files("conf.d/x.conf", text) | {"/etc/nginx/snippets/name.conf": "server_name included.test;"}
    found = [one for one in ON_HOST["servers_of"](read) if not one["ours"]]
    assert [([one["ports"] for one in server["listen"]], server["names"], server["line"]) for server in found] == [
        ([[80]], ["quoted.test", ".dot.test", "more.test"], 4),
        ([[443], [443]], [], 6),
        ([[8080]], ["included.test"], 7),
        ([], [], 7),
    ]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Any:
    def there(found: dict[str, str]) -> None:
        servers = ON_HOST["servers_of"](found)
        monkeypatch.setitem(ON_HOST, "ask_nginx", lambda: {"servers": servers, "paths": list(found)})

    return there


@pytest.mark.row_34
@pytest.mark.parametrize(
    ("path", "text", "sockets"),
    [
        ("conf.d/x.conf", "server { listen 80 default_server; return 444; }", ["80"]),
        ("conf.d/x.conf", "server {\n listen\n *:80\n default;\n}", ["80"]),
        (
            "sites-enabled/x",
            "server { listen 0.0.0.0:443 default_server; listen [::]:80 default; }",
            ["443", "[::]:80"],
        ),
        ("conf.d/x.conf", "server { listen 192.0.2.7:80 default_server; }", ["192.0.2.7:80"]),
        ("conf.d/x.conf", "server { listen 443 quic default_server; listen 443 ssl; }", []),
        # What nginx doesn't read.
        ("conf.d/default.conf.bak", "server { listen 80 default_server; }", []),
        ("conf.d/.x.conf", "server { listen 80 default_server; }", []),
        ("snippets/x.conf", "server { listen 80 default_server; }", []),
        ("conf.d/x.conf", "# server { listen 80 default_server; }", []),
    ],
)
def test_whose_server_answers_unknown_names(read: Any, path: str, text: str, sockets: list[str]) -> None:
    read(files(path, text))
    assert ON_HOST["default_servers"]() == [[f"/etc/nginx/{path}", socket] for socket in sockets]


NAME = ["answers for b.test in the place of its site"]


@pytest.mark.row_34
@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("conf.d/x.conf", "listen 443; server_name b.test;", NAME),
        ("conf.d/x.conf", "listen 443; server_name .b.test;", NAME),
        ("conf.d/x.conf", "listen [::]:443; server_name b.test;", NAME),
        ("conf.d/x.conf", "listen 440-450; server_name b.test;", NAME),
        ("conf.d/x.conf", "listen 443; server_name *.b.test c.test;", []),
        # What sends to HTTPS is welcome.
        ("conf.d/x.conf", "listen 80; server_name b.test;", []),
        ("conf.d/x.off", "listen 443; server_name b.test;", []),
        ("sites-enabled/.x", "listen 443; server_name b.test;", []),
        ("sites-enabled/a", "listen 443; server_name b.test;", NAME),
        # nginx has the site by then.
        ("sites-enabled/old", "listen 443; server_name b.test;", []),
        # The deploy asks by an address of its own.
        ("conf.d/x.conf", "listen 127.0.0.1:443;", []),
        ("conf.d/x.conf", "listen 192.0.2.7:443;", ["listens on 192.0.2.7:443, where nginx then asks no other site"]),
        ("conf.d/x.conf", "listen [::]:443 ipv6only=off;", ["takes port 443 for itself (ipv6only=off)"]),
    ],
)
@pytest.mark.parametrize("deployed", [True, False])
def test_a_server_that_takes_a_sites_place(
    read: Any, monkeypatch: pytest.MonkeyPatch, path: str, text: str, words: list[str], deployed: bool
) -> None:
    monkeypatch.setitem(ON_HOST, "own_addresses", lambda: {"192.0.2.7"})
    read(files(path, f"server {{ {text} }}", deployed))
    assert [one["what"] for one in ON_HOST["rivals"](SITES)] == words
    assert all(one["file"] == f"/etc/nginx/{path}:1" for one in ON_HOST["rivals"](SITES))


@pytest.mark.row_34
def test_a_stream_that_takes_a_sites_port(read: Any) -> None:
    found = files("x", "")
    found[MAIN] += " stream { server { listen 443; proxy_pass 127.0.0.1:8443; } }"
    read(found)
    assert [(one["what"], one["blocks"]) for one in ON_HOST["rivals"](SITES)] == [
        ("takes port 443 for itself (stream)", True)
    ]


@pytest.mark.row_34
@pytest.mark.parametrize(("reached", "named"), [("192.0.2.7", True), ("192.0.2.8", False), ("203.0.113.1", False)])
def test_an_address_that_users_come_by(read: Any, monkeypatch: pytest.MonkeyPatch, reached: str, named: bool) -> None:
    """Of several addresses of a host a site's name has one."""
    monkeypatch.setitem(ON_HOST, "own_addresses", lambda: {"192.0.2.7", "192.0.2.8"})
    monkeypatch.setattr(ON_HOST["socket"], "getaddrinfo", lambda *_: [(2, 1, 6, "", (reached, 0))])
    read(files("conf.d/x.conf", "server { listen 192.0.2.7:443; }"))
    assert bool(ON_HOST["rivals"](SITES)) is named


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("server { ssl_certificate /x/a.pem; ssl_certificate_key a.key; }", ["/x/a.pem", "/etc/nginx/a.key"]),
        ("  include /srv/lab/*.conf;\n include relative;", ["/srv/lab", "/etc/nginx/relative"]),
        ('ssl_trusted_certificate "/x/chain.pem"; auth_basic_user_file /x/$host;', ["/x/chain.pem"]),
    ],
)
def test_files_that_nginxs_files_name(text: str, named: list[str]) -> None:
    """What nginx says of its files holds until one of these changes, too."""
    seen = {path for path, _, _ in ON_HOST["_seen"]({"/etc/nginx/x": text})}
    assert seen == {MAIN, "/etc/nginx", "/etc/nginx/x", *named}


@pytest.mark.row_34
def test_what_nginx_tells_of_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    told = f"# configuration file {MAIN}:\nhttp {{ {INCLUDES} }}\n\n# configuration file /srv/conf/x:\nserver {{}}\n\n"
    monkeypatch.setitem(ON_HOST, "run", lambda *_: (0, told.strip()))
    assert ON_HOST["read_by_nginx"]() == ("", {MAIN: f"http {{ {INCLUDES} }}\n", "/srv/conf/x": "server {}\n"})
    monkeypatch.setitem(ON_HOST, "run", lambda *_: (1, "nginx: [emerg] no"))
    assert ON_HOST["read_by_nginx"]() == ("nginx: [emerg] no", {})
    # Cut, it is shown to nobody.
    monkeypatch.setitem(ON_HOST, "run", lambda *_: (-9, told))
    assert ON_HOST["read_by_nginx"]() == ("", {})


@pytest.mark.row_34
def test_a_file_that_nginx_refuses_is_read_as_far_as_it_goes() -> None:
    assert ON_HOST["servers_of"](files("conf.d/x.conf", "; server { listen 80;; } }")) != []


def test_this_hosts_own_addresses_are_none_of_the_loopbacks() -> None:
    found = ON_HOST["own_addresses"]()
    assert found
    assert not any(address.startswith("127.") for address in found)


def test_no_line_is_longer_than_nginx_takes() -> None:
    """nginx refuses one of 4,096 bytes, of a comment too: a site with hundreds of tile sets lists them in its first."""
    for item in nginx.wanted(schema.load(sites.many(sites.MANY_SETS)), Server())[0].everything:
        if isinstance(item, File) and item.path.startswith("/etc/nginx/"):
            assert max(map(len, item.text.splitlines())) < 1000, item.path
