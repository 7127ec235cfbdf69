"""Every pair of options, looked at by the rules of tests/semantics.py; and that each rule can fail."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import combinations as all_of

import pytest

from catmaid_deploy import schema
from catmaid_deploy.file_sets import File, Item
from catmaid_deploy.tasks.nginx.capabilities import Server
from tests import pairs, semantics

FULL = {name: values[0] for name, values in pairs.OPTIONS.items()}
FULL |= {
    "tls": ("acme", "catmaid.example.org"),
    "tiles": "black",
    "passwords": "site",
    "sites": 3,
    "prefix": "/catmaid",
    "instance_cors": "exact",
}


def test_every_pair_of_options_is_there() -> None:
    found = pairs.combinations()
    for (one, ones), (other, others) in all_of(pairs.OPTIONS.items(), 2):
        have = [(c.options[one], c.options[other]) for c in found]
        assert all((a, b) in have for a in ones for b in others if (a, b) != ("acme", "192.0.2.1")), (one, other)


@pytest.mark.row_30
@pytest.mark.parametrize("combination", pairs.combinations(), ids=lambda one: str(pairs.combinations().index(one)))
def test_every_pair_of_options_keeps_the_rules(combination: pairs.Combination) -> None:
    tree = semantics.read(combination.items)
    assert semantics.faults(tree, combination.deployment) == [], combination.options


# A rule, and what is to break it: the first place of a text in the files, and what is put there.
MUTATIONS = [
    ("headers", r"add_header X-Frame-Options \S+ always;", ""),
    ("headers", r'(add_header Content-Security-Policy "sandbox[^"]*") always;', r"\1;"),
    ("headers", r"add_header Strict-Transport-Security .*", ""),
    ("headers", r"(gzip_static on;)", r"\1 add_header Cache-Control public always;"),
    ("headers", r"(return 301 https)", r'add_header Strict-Transport-Security "max-age=1" always; \1'),
    ("tls", r"include snippets/catmaid-tls\.conf;\n\{?", ""),
    ("tls", r"TLSv1\.2 TLSv1\.3", "TLSv1 TLSv1.2 TLSv1.3"),
    ("tls", r"http2 on;", ""),
    ("tls", r"listen \[::\]:443 ssl;", "listen [::]:443 ssl http2;"),
    ("tls", r"ssl_reject_handshake on;", ""),
    ("tls", r"ssl_certificate_key .*", ""),
    ("profile", r"(http2 on;)", r"\1 ssl_session_tickets on;"),
    ("if", r"(if \(-e /etc/catmaid/maintenance\) \{)", r"\1 add_header Retry-After 60 always;"),
    ("if", r"(if \(\$catmaid_closed\) \{)", r"\1 uwsgi_pass catmaid-uwsgi;"),
    ("upstream", r"uwsgi_pass catmaid-uwsgi;", "uwsgi_pass catmaid-uwsgy;"),
    ("upstream", r"upstream catmaid-daphne \{", "upstream daphne {"),
    ("regex", r'(location ~ ".*)\$" \{', r'\1" {'),
    ("regex", r'location ~ "\^', 'location ~ "'),
    ("alias", r"location \^~ /catmaid/static/ \{", "location ^~ /catmaid/static {"),
    ("alias", r"(alias .*/files)/;", r"\1;"),
    ("guard", r"auth_request /.*", ""),
    ("guard", r"auth_request /_catmaid/passwords/", "auth_request /passwords/"),
    ("guard", r"location = /_catmaid/passwords/.*", "location = /_catmaid/password {"),
    ("guard", r"if \(\$catmaid_known_\w+\)", "if ($http_authorization)"),
    ("guard", r"(location = /_catmaid/passwords/.*\n *)internal;", r"\1"),
    ("guard", r"proxy_cache_key .*", 'proxy_cache_key "$catmaid_shown";'),
    ("guard", r"limit_req zone=.*", ""),
    ("guard", r"limit_req zone=catmaid_", "limit_req zone=another_"),
    ("guard", r"auth_basic_user_file .*", "auth_basic_user_file /etc/htpasswd;"),
    ("guard", r"auth_basic_user_file .*", ""),
    ("guard", r"auth_basic CATMAID;", "auth_basic off;"),
    ("guard", r"return 444;\n    \}\n    # auth_request", "} #"),
    ("named", r"(location @fafb-missing \{)", r"location /x/ { location @inner { return 404; } } \1"),
    ("named", r"location @fafb-missing \{", "location @fafb-lost {"),
    ("variable", r"map \$status \$catmaid_cache_sent", "map $status $catmaid_cache_said"),
    ("variable", r"(set \$catmaid_retry) ", r"\1 $catmaid_nothing"),
    ("name", r"server_name other\.example\.org;", "server_name other.example.org catmaid.example.org;"),
    ("name", r"listen 80;\n", "listen 80 default_server;\n"),
    ("capture", r"location \^~ /catmaid/static/", "location /catmaid/static/"),
    ("capture", r"location \^~ /catmaid/files/ \{", "location ^~ /catmaid/file/ {"),
    ("capture", r"(location = /catmaid \{)", r'location ~ "^.*/list$" { return 404; } \1'),
    ("capture", r"\(\?<catmaid_tile>.*\)\$", "(?<catmaid_tile>.*)$"),
    ("plain", r"return 301 https://\$host\$request_uri;", "root /srv;"),
    ("plain", r"(location \^~ /.well-known/acme-challenge/)", r"location /static/ { root /srv; } \1"),
    ("plain", r"location \^~ /.well-known/acme-challenge/ \{\n[^}]*\}", ""),
    ("plain", r"(listen 80;\n(?:.*\n)*?.*server_name catmaid\.example)", r"root /srv; \1"),
    ("log", r" *if \(\$catmaid_unprintable\) \{\n *return 400;\n *\}\n", ""),
    ("link", r"disable_symlinks .*/files;", ""),
    ("link", r"disable_symlinks if_not_owner from=.*/static;", "disable_symlinks off;"),
    ("notice", r"error_page 502 503 504", "error_page 502 504"),
    ("notice", r"if \(\$catmaid_closed\) \{\n *return 503;", "if ($catmaid_closed) {\n"),
    ("notice", r"error_page 429 .*", ""),
    ("notice", r"(location \^~ /_catmaid/ \{\n *)internal;\n", r"\1"),
]


@cache
def full() -> pairs.Combination:
    return pairs.Combination(FULL, schema.load(sites=pairs.sites(FULL)), Server())


def mutated(pattern: str, replacement: str) -> list[Item]:
    """The files of a deployment with another text where a pattern fits first in the sites' and the shared files."""
    items: list[Item] = []
    left = True
    # The files of sites first, and of these the one with most in it.
    for item in sorted(full().items, key=lambda item: ("sites-available/catmaid-c" not in item.path, item.path)):
        if isinstance(item, File) and left and (text := re.sub(pattern, replacement, item.text, count=1)) != item.text:
            items.append(replace(item, text=text))
            left = False
        else:
            items.append(item)
    assert not left, "the pattern fits nowhere"
    return items


def test_nothing_is_wrong_with_what_is_mutated() -> None:
    assert semantics.faults(semantics.read(full().items), full().deployment) == []
    assert {rule for rule, _, _ in MUTATIONS} == set(semantics.RULES)


@pytest.mark.parametrize(("rule", "pattern", "replacement"), MUTATIONS)
def test_the_rules_see_a_wrong_configuration(rule: str, pattern: str, replacement: str) -> None:
    found = semantics.faults(semantics.read(mutated(pattern, replacement)), full().deployment)
    assert rule in {line.partition(":")[0] for line in found}


def test_what_crossplane_does_not_know_is_seen() -> None:
    with pytest.raises(AssertionError):
        semantics.read(mutated(r"gzip_static on;", "gzip_statik on;"))
    with pytest.raises(AssertionError):
        semantics.read(mutated(r"gzip_static on;", "gzip_static;"))
