"""Warnings and judgements that need no host."""

from __future__ import annotations

from typing import Any

import pytest

import schema
from tasks import preflight

TLS = {"certificate": "/etc/ssl/a.org.pem", "key": "/etc/ssl/a.org.key"}
SITE = schema.load({"server_name": "a.org", "tls": TLS, "instances": [{"workers": 8, "threads": 2}]})


def survey(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"memory": 1 << 30, "work_mem": None, "lock": None, "last_run": {}}
    found |= {"os": {"id": "debian", "version": "12"}, "packages": {}, "ipv6": True, "openssl": [3, 0]}
    found |= {"closed": {}, "default_servers": [], "neighbours": [], "password_lines": [], "descriptors": 65536}
    found |= {"certificates": {"a.org served": {"problem": "", "missing_names": [], "seconds_left": 1e7}}}
    return found | {"instances": {"catmaid": {"silent": {}}}} | more


@pytest.mark.row_5
def test_work_mem_that_does_not_fit_is_told_with_the_three_figures() -> None:
    (line,) = preflight.warn(SITE, survey(work_mem=128 << 10), 0)
    assert line.startswith(
        "workers: 16 (workers x threads of all instances) x 128 MiB (PostgreSQL's work_mem) = 2048 MiB"
    )
    assert "the host has 1024 MiB: lower workers, threads or work_mem" in line
    assert preflight.warn(SITE, survey(work_mem=4 << 10), 0) == []
    assert preflight.warn(SITE, survey(), 0) == []


def test_a_clock_that_is_off() -> None:
    (line,) = preflight.warn(SITE, survey(), -95.0)
    assert line.startswith("clock: the host's is 95 s behind this machine's: timedatectl set-ntp true")
    assert preflight.warn(SITE, survey(), 5.0) == []


def test_a_run_that_broke_off() -> None:
    last = {"admin": "jane@lab", "since": "2026-11-24T10:00:00+0000"}
    (line,) = preflight.warn(SITE, survey(last_run=last), 0)
    assert line == "the run of jane@lab at 2026-11-24T10:00:00+0000 broke off before its end: this one mends it"
    assert preflight.warn(SITE, survey(last_run=last | {"ended": True}), 0) == []
    holder = last | {"alive": True}
    assert preflight.warn(SITE, survey(last_run=last, lock=holder), 0) == []


@pytest.mark.row_9
def test_the_first_folder_that_blocks_is_named_once() -> None:
    asked = preflight.accesses(SITE)
    blocked = [("/home/catmaid", "o") if user == schema.NGINX_USER else None for _, user, _, _ in asked]
    (line,) = preflight.judge_access(SITE, {"blocked": blocked})
    assert line.endswith("can't enter /home/catmaid: chmod o+x /home/catmaid")


@pytest.mark.parametrize(
    ("account", "said"),
    [
        (None, ""),
        ({"uid": 33, "groups": ["www-data", "sudo"]}, ""),
        ({"uid": 0, "groups": ["web"]}, "has the rights of 'root'"),
        ({"uid": 33, "groups": ["www-data", "docker"]}, "has the rights of 'docker'"),
    ],
)
def test_a_service_user_who_is_root_by_another_name(account: dict[str, Any] | None, said: str) -> None:
    lines = preflight.judge_user(SITE.instances[0], account)
    assert bool(lines) == bool(said)
    assert all(said in line for line in lines)
