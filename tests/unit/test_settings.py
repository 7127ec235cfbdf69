"""What settings.py says, against the inventory and the neighbours below one host name."""

from __future__ import annotations

from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.answers.application import Instance
from catmaid_deploy.finding import Command, Finding
from catmaid_deploy.tasks.application import settings
from tests import answers

FOLDERS = {"STATIC_ROOT": None, "MEDIA_ROOT": None, "real": {"STATIC_ROOT": None, "MEDIA_ROOT": None}}
TOLD: dict[str, Any] = FOLDERS | {
    "MEDIA_URL": None,
    "STATIC_URL": None,
    "FORCE_SCRIPT_NAME": None,
    "SESSION_COOKIE": ["sessionid", "/", "", True],
    "CSRF_COOKIE": ["csrftoken", "/", "", True],
    "brokers": None,
}
FOUND = {"script_name": None, "static_url": None, "static_root": None, "media_root": None, "owner": "catmaid"}


def deployment(*prefixes: str, **site: Any) -> schema.Deployment:
    instances = [{"name": f"catmaid-{number}", "prefix": one} for number, one in enumerate(prefixes or ("/catmaid",))]
    tls = {"certificate": "self-signed"}
    return schema.load({"server_name": "a.org", "tls": tls, "instances": instances, **site})


def standing(described: schema.Deployment, *told: dict[str, Any]) -> list[Finding]:
    found = {
        one.name: FOUND | {"settings": TOLD | (told[number] if number < len(told) else {})}
        for number, one in enumerate(described.instances)
    }
    return list(settings.standing(described, answers.survey(instances=found)))


@pytest.mark.parametrize("url", [None, "/catmaid/files/", "files/", "https://files.a.org/", "//files.a.org/x/"])
def test_an_address_of_files_that_leads_there(url: str | None) -> None:
    assert standing(deployment(), {"MEDIA_URL": url}) == []


@pytest.mark.parametrize("url", ["/files/", "/catmaid/media/", "/catmaid/files", "catmaid/files/"])
def test_an_address_of_files_that_leads_nowhere(url: str) -> None:
    (finding,) = standing(deployment(), {"MEDIA_URL": url})
    assert finding.place == "site.instances[catmaid-0].prefix"
    assert "MEDIA_URL = '/catmaid/files/'" in str(finding.fix)


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("STATIC_URL", "/catmaid/static/", False),
        ("STATIC_URL", "static/", False),
        ("STATIC_URL", "/static/", True),
        ("FORCE_SCRIPT_NAME", "/catmaid", False),
        ("FORCE_SCRIPT_NAME", "/tracing", True),
    ],
)
def test_computed_addresses_are_compared_as_well(name: str, value: str, wrong: bool) -> None:
    """What stands in the file as an expression is what Django makes of it."""
    (instance,) = deployment().instances
    found = list(settings.judge(instance, answers.part(Instance, FOUND | {"settings": TOLD | {name: value}})))
    assert [one.place for one in found] == ["prefix"] * wrong


SAME = (
    "SESSION_COOKIE_NAME, CSRF_COOKIE_NAME and path are those of catmaid-0: "
    "who logs in to one is logged out of the other"
)


def cookies(session: str = "sessionid", csrf: str = "csrftoken", path: str = "/") -> dict[str, Any]:
    return {"SESSION_COOKIE": [session, path, "", True], "CSRF_COOKIE": [csrf, path, "", True]}


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (cookies(), cookies(), [SAME]),
        (cookies(), cookies("s2", "c2"), []),
        (cookies(), cookies("s2"), [SAME.replace("SESSION_COOKIE_NAME, ", "")]),
        (cookies(path="/a/"), cookies(path="/b/"), []),
        (cookies(path="/a"), cookies(path="/b"), []),
        # One covers the other.
        (cookies(path="/"), cookies(path="/b"), [SAME]),
    ],
)
def test_instances_below_one_name_have_cookies_of_their_own(
    first: dict[str, Any], second: dict[str, Any], said: list[str]
) -> None:
    found = standing(deployment("/a", "/b"), first, second)
    assert [one.what for one in found] == said
    assert all(one.place == "cookies of catmaid-1" for one in found)


@pytest.mark.parametrize(
    ("certificate", "session", "csrf", "said"),
    [
        ("self-signed", True, True, ""),
        ("self-signed", False, True, "SESSION_COOKIE_SECURE isn't True"),
        ("self-signed", False, False, "SESSION_COOKIE_SECURE and CSRF_COOKIE_SECURE isn't True"),
        ("none", False, False, ""),
        ("none", True, False, "they are Secure, and the site is HTTP alone"),
    ],
)
def test_cookies_fit_what_the_site_speaks(certificate: str, session: bool, csrf: bool, said: str) -> None:
    told = {"SESSION_COOKIE": ["s", "/", "", session], "CSRF_COOKIE": ["c", "/", "", csrf]}
    found = standing(deployment(tls={"certificate": certificate}), told)
    assert [one.what.startswith(said) for one in found] == [True] * bool(said)


@pytest.mark.parametrize(
    ("path", "domain", "lost"),
    [
        ("/", "", False),
        ("/catmaid", "", False),
        ("/catmaid/", "", False),
        ("/catmaid/x", "", True),
        ("/cat", "", True),
        ("/", "a.org", False),
        ("/", ".org", False),
        ("/", "b.a.org", True),
        ("/", "a.org.uk", True),
    ],
)
def test_cookies_that_never_come_back(path: str, domain: str, lost: bool) -> None:
    found = standing(deployment(), {"SESSION_COOKIE": ["s", path, domain, True]})
    assert [one.place for one in found] == ["login of catmaid-0"] * lost


@pytest.mark.parametrize(
    ("broker", "layer", "lost"),
    [
        (["127.0.0.1:5672", "catmaid"], ["localhost:5672", "catmaid"], False),
        (["127.0.0.1:5672", "catmaid"], ["127.0.0.1:5672", "channels"], True),
        (["127.0.0.1:5672", "catmaid"], ["127.0.0.1:5673", "catmaid"], True),
        # What Celery means by two slashes is refused by the layer.
        (["127.0.0.1:5672", "/"], ["127.0.0.1:5672", "//"], True),
        (["mq.a.org:5672", "catmaid"], ["127.0.0.1:5672", "catmaid"], True),
    ],
)
def test_broker_and_channel_layer_are_one(broker: list[str], layer: list[str], lost: bool) -> None:
    found = standing(deployment(), {"brokers": [broker, layer]})
    assert [one.place for one in found] == ["notice of catmaid-0"] * lost
    for one in found:
        assert isinstance(one.fix, Command)
        assert one.fix.text.startswith("runuser -u catmaid -- sh -c 'echo ")


@pytest.mark.parametrize("there", ["/srv/files", "/home/catmaid/releases/shared/files"])
def test_a_release_that_is_not_there_yet_is_judged_by_its_lasting_settings(there: str) -> None:
    releases = {"repository": "https://a.org/c.git", "revision": "1"}
    described = schema.load({"server_name": "a.org", "instances": [{"prefix": "/catmaid", "releases": releases}]})
    (instance,) = described.instances
    found = FOUND | {"settings": None, "media_root": [there, there]}
    served = {path: {"real": path} for path in (instance.static_folder, instance.files_folder)}
    survey = answers.survey(instances={instance.name: found}, served_folders=served)
    faults = list(settings.judge_roots(instance, survey))
    assert [one.place for one in faults] == (["files_folder"] if there != instance.files_folder else [])


def test_a_wsgi_file_of_another_environment_is_named() -> None:
    """CATMAID's script writes the path of the environment into it, and puts that first."""
    described = deployment()
    found = FOUND | {"settings": None, "foreign_packages": "/srv/env/lib/python3.11/site-packages"}
    (finding,) = settings.standing(described, answers.survey(instances={"catmaid-0": found}))
    assert finding.place == "site.instances[catmaid-0].wsgi_file"
    assert str(finding.fix).endswith("/mysite/django.wsgi'")
