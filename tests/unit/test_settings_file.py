"""CATMAID's settings.py as the deploy writes it: Python that says what the inventory says, without a secret."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.secret import Secret
from catmaid_deploy.tasks import secrets
from catmaid_deploy.tasks.application import settings_file

BASE = """
INSTALLED_APPS = ("catmaid",)
INSTALLED_EXTENSIONS = ("synapses",)
"""
KEPT = {"secret_key": "k" * 50, "database_password": "d" * 50, "broker_password": "b" * 50, "own_ldap": "l" * 8}


def site(install: dict[str, Any], tls: str = "self-signed", **instance: Any) -> schema.Site:
    one = {"releases": {"revision": "1"}, "install": install} | instance
    given = {"server_name": "a.org", "aliases": ["b.org"], "tls": {"certificate": tls}, "instances": [one]}
    return schema.load(given).sites[0]


def said(
    one: schema.Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, ...] = (3, 2),
    release: Path = Path("/srv/releases/1"),
) -> Any:
    """What Django would read of the file."""
    (file,) = settings_file.files(one, one.instances[0])
    (tmp_path / "secrets.json").write_text(json.dumps(KEPT))
    base = ModuleType("mysite.settings_base")
    exec(BASE, vars(base))  # noqa: S102
    base.__file__ = f"{release}/django/projects/mysite/settings_base.py"
    django = ModuleType("django")
    vars(django)["VERSION"] = version
    package = ModuleType("mysite")
    vars(package)["settings_base"] = base
    for name, module in (("mysite", package), ("mysite.settings_base", base), ("django", django)):
        monkeypatch.setitem(sys.modules, name, module)
    found: dict[str, Any] = {}
    exec(file.text.replace(one.instances[0].secrets_file, str(tmp_path / "secrets.json")), found)  # noqa: S102
    return found


def test_an_empty_description_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = said(site({}), tmp_path, monkeypatch)
    assert found["SECRET_KEY"] == KEPT["secret_key"]
    assert found["ALLOWED_HOSTS"] == ["a.org", "b.org"]
    assert found["CATMAID_URL"] == "/catmaid/"
    assert found["FORCE_SCRIPT_NAME"] == "/catmaid"
    assert found["STATIC_URL"] == "/catmaid/static/"
    assert found["STATIC_ROOT"] == "/srv/releases/1/django/static"
    assert found["MEDIA_ROOT"] == "/home/catmaid/releases/shared/files"
    assert found["SESSION_COOKIE_SECURE"] is found["CSRF_COOKIE_SECURE"] is True
    assert found["CSRF_TRUSTED_ORIGINS"] == ["a.org", "b.org"]
    assert found["DATABASES"]["default"]["NAME"] == found["DATABASES"]["default"]["USER"] == "catmaid"
    assert found["DATABASES"]["default"]["PASSWORD"] == KEPT["database_password"]
    assert found["INSTALLED_APPS"] == ("catmaid", "synapses.apps.SynapsesConfig")
    assert "EMAIL_HOST" not in found


@pytest.mark.parametrize(
    ("described", "version"),
    [("2021.12.21", "2021.12.21"), ("2021.12.21-1024-g7d9f83618", "2021.12.21.dev1024+g7d9f83618"), ("", None)],
)
def test_the_version_is_what_git_calls_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, described: str, version: str | None
) -> None:
    if described:
        (tmp_path / ".catmaid-deploy.version").write_text(f"{described}\n")
    assert said(site({}), tmp_path, monkeypatch, release=tmp_path).get("VERSION") == version


def test_tasks_and_notices_have_one_virtual_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By CELERY_BROKER_URL each process would ask the broker for something when it is loaded."""
    found = said(site({"broker": {"port": 5673, "vhost": "tracing"}}), tmp_path, monkeypatch)
    address = f"amqp://tracing:{KEPT['broker_password']}@localhost:5673/tracing"
    assert found["CELERY_BROKER_READ_URL"] == found["CELERY_BROKER_WRITE_URL"] == address
    assert found["CHANNEL_LAYERS"]["default"]["CONFIG"] == {"host": address}
    assert "CELERY_BROKER_URL" not in found


def test_the_root_of_a_site_has_no_script_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = said(site({}, prefix="/"), tmp_path, monkeypatch)
    assert "FORCE_SCRIPT_NAME" not in found
    assert found["CATMAID_URL"] == "/"


def test_a_site_by_http_alone_has_cookies_that_browsers_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = said(site({}, tls="none"), tmp_path, monkeypatch, (4, 2))
    assert found["SESSION_COOKIE_SECURE"] is found["CSRF_COOKIE_SECURE"] is False
    assert "SECURE_PROXY_SSL_HEADER" not in found
    assert found["CSRF_TRUSTED_ORIGINS"] == ["http://a.org", "http://b.org"]


def test_the_labs_own_comes_last_and_has_its_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fragment = "TIME_ZONE = 'Europe/Berlin'\nLDAP = SECRETS['ldap']\n"
    own = {"fragment": fragment, "secrets": {"ldap": Secret("l" * 8)}, "secret_key": Secret("k" * 50)}
    one = site({"settings": own})
    found = said(one, tmp_path, monkeypatch)
    assert (found["TIME_ZONE"], found["LDAP"]) == ("Europe/Berlin", "l" * 8)
    assert secrets.given(one.instances[0]) == {"own_ldap": "l" * 8, "secret_key": "k" * 50}


def test_no_secret_is_in_it() -> None:
    password = Secret("a-password-that-is-secret")
    mail = {"host": "mail", "user": "me", "password": password, "sender": "me@a.org"}
    parts = {part: {"host": "elsewhere", "password": password} for part in ("database", "broker")}
    one = site(parts | {"settings": {"mail": mail, "secrets": {"ldap": password}}})
    (file,) = settings_file.files(one, one.instances[0])
    assert "a-password" not in file.text
    assert "a-password" in str(secrets.given(one.instances[0]))


def test_settings_that_are_found_are_nobodys_file() -> None:
    one = site({"settings": "found", "database": "found", "broker": "found"})
    assert settings_file.files(one, one.instances[0]) == []


@pytest.mark.parametrize(
    ("install", "line"),
    [
        (
            {"settings": {"fragment": "A = = 1"}},
            "install.settings.fragment: line 1 is no Python (invalid syntax)",
        ),
        ({"database": {"host": "db"}}, "install.database.password: db has to know it: read it by secret.from_file"),
        ({"database": {"password": "plain-text"}}, "it would be in the inventory's repository"),
        ({"database": {"name": "postgres"}}, "'postgres' is the service's own: give another name"),
        ({"settings": "found"}, 'install.database: settings that are found know their own: have it be "found"'),
        ({"python": {"overrides": {"scipy": ">1"}}}, "'>1' is not a version of scipy: write it as '1.10.1'"),
        ({"database": {"nmae": "a"}}, "install.database.nmae: unknown key; did you mean 'name'?"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(install: dict[str, Any], line: str) -> None:
    with pytest.raises(schema.InvalidSite) as refused:
        site(install)
    assert [one for one in refused.value.lines if line in one] == refused.value.lines, refused.value.lines
    assert "plain-text" not in str(refused.value)
