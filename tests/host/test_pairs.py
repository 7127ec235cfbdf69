"""Every pair of options, by gixy and by the hosts' own nginx."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from testbed import images, virtualenvs
from tests import pairs, semantics
from tests.host import nginx_on_hosts
from tests.host.conftest import Deployed

# Findings of gixy that are none, each with a text in it and why.
NO_FINDINGS = [
    # The survey asks the host for OpenSSL 3.5 first.
    ("ssl_ecdh_curve", "X25519MLKEM768"),
    # They are all there again, which the rule "headers" of tests/semantics.py sees to.
    ("add_header_redefinition", "dropped in nested block"),
    # 'set' is of the rewrite module, as 'if' itself, and all else is inherited by the location that an 'if' is.
    ("if_is_evil", 'Directive "set" is not safe'),
    # Switched off by the description, or of the default server, which answers nothing; "headers" knows the rest.
    ("hsts_header", "No Strict-Transport-Security header found"),
    # Daphne knows its paths without the prefix, and has none that is changed by being decoded.
    ("proxy_pass_normalized", "Found a path after the host"),
]


def findings(configurations: list[str]) -> dict[str, list[tuple[str, str, str, list[str]]]]:
    python = virtualenvs.python("gixy", images.ROOT / "requirements-gixy.txt", "gixy")
    words = [str(python), str(Path(__file__).with_name("gixy_findings.py")), *configurations]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[tuple[str, str, str, list[str]]]] = json.loads(done.stdout)
    return found


def serious(found: list[tuple[str, str, str, list[str]]]) -> list[str]:
    return [
        f"{name} ({severity}): {reason} {where}"
        for name, severity, reason, where in found
        if severity in ("HIGH", "MEDIUM") and not any(name == a and b in reason for a, b in NO_FINDINGS)
    ]


@pytest.mark.row_30
def test_gixy_finds_nothing(tmp_path: Path) -> None:
    paths = [semantics.lay_out(one.items, str(tmp_path / str(n))) for n, one in enumerate(pairs.combinations())]
    found = findings(paths)
    # It says nothing of what it can't read; each of these has what isn't serious.
    assert all(found[path] for path in paths)
    assert {line for path in paths for line in serious(found[path])} == set()
    # And each line of the table is still needed.
    every = [one for path in paths for one in found[path]]
    assert [line for line in NO_FINDINGS if not any(line[0] == a and line[1] in c for a, _, c, _ in every)] == []


def test_gixy_can_find(tmp_path: Path) -> None:
    path = semantics.lay_out(pairs.combinations()[0].items, str(tmp_path))
    file = Path(path).parent / "conf.d/catmaid.conf"
    file.write_text(file.read_text() + "server { location /i { alias /srv/i/; } }\n")
    assert any("alias_traversal" in line for line in serious(findings([path])[path]))


@pytest.mark.row_30
def test_nginx_takes_every_pair_of_options(deployed: Deployed) -> None:
    nginx_on_hosts.takes(deployed.host, [(one.deployment, one.server) for one in pairs.combinations()])
