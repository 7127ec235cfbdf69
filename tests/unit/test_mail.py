"""What `verify` says of a mail server, by what that says itself."""

from __future__ import annotations

import importlib
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from catmaid_deploy import schema
from catmaid_deploy.answers.health import Mail
from catmaid_deploy.plan.health import Health
from catmaid_deploy.tasks.application import probe
from catmaid_deploy.upkeep import health

pytestmark = pytest.mark.row_35

mail: Any = importlib.import_module("catmaid_deploy.on_host.facts.mail")
KEY = "site.instances[catmaid].install.settings.mail"


class Server(socketserver.StreamRequestHandler):
    """A mail server that answers well but for ``refuses``, which has a word of SMTP and the answer to it."""

    refuses: dict[str, str]
    asked: list[str]

    def handle(self) -> None:
        self.say("220 mail")
        for line in self.rfile:
            text = line.decode().strip()
            word = text.split(" ")[0].split(":")[0].upper()
            self.asked.append(word)
            if word == "EHLO" and "EHLO" not in self.refuses:
                self.say("250-mail\r\n250 AUTH PLAIN")
            else:
                self.say(self.refuses.get(word, "235 in" if word == "AUTH" else "250 OK"))
            if word == "QUIT":
                return

    def say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


@pytest.fixture
def server() -> Iterator[Any]:
    class Own(Server):
        refuses: dict[str, str] = {}
        asked: list[str] = []

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Own) as found:
        found.daemon_threads = True
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield SimpleNamespace(port=found.server_address[1], refuses=Own.refuses, asked=Own.asked)
        found.shutdown()


def asks(monkeypatch: pytest.MonkeyPatch, port: int, sends: bool = False, **options: Any) -> tuple[Any, list[str]]:
    """What the script finds, and to whom Django has sent a message."""

    class EmailBackend:
        host, use_ssl, use_tls, username, password = "127.0.0.1", False, False, "", ""

    one, sent = EmailBackend(), list[str]()
    one.port = port  # type: ignore[attr-defined]
    for name, value in options.items():
        setattr(one, name, value)

    class EmailMessage:
        def __init__(self, _: str, __: str, ___: None, to: list[str], connection: object) -> None:
            self.to = to

        def send(self) -> None:
            sent.extend(self.to)

    modules: dict[str, dict[str, Any]] = {
        "django": {},
        "django.core": {},
        "django.core.mail": {"get_connection": lambda timeout: one, "EmailMessage": EmailMessage},
        "django.core.mail.backends": {},
        "django.core.mail.backends.smtp": {"EmailBackend": EmailBackend},
        "django.core.mail.utils": {"DNS_NAME": SimpleNamespace(get_fqdn=lambda: "host")},
    }
    for name, values in modules.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    script: dict[str, Any] = {"time": time}
    exec(mail.MAIL, script)  # noqa: S102
    settings = SimpleNamespace(DEFAULT_FROM_EMAIL="CATMAID <catmaid@example.org>")
    begun = script["begin_mail"](settings, "alice@example.org", sends)
    return script["end_mail"](begun, time.time() + 10), sent


def test_a_server_that_takes_it_gets_no_message(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, sent = asks(monkeypatch, server.port, username="catmaid", password="given")  # noqa: S106
    assert found == {"stage": "", "words": "", "sent": ""}
    assert server.asked == ["EHLO", "AUTH", "MAIL", "RCPT", "RSET", "QUIT"]
    assert sent == []


def test_a_message_is_sent_where_one_is_asked_for(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, sent = asks(monkeypatch, server.port, sends=True)
    assert (found["stage"], found["sent"], sent) == ("", "alice@example.org", ["alice@example.org"])
    server.refuses["RCPT"] = "550 no"
    assert asks(monkeypatch, server.port, sends=True)[1] == []


@pytest.mark.parametrize(
    ("refuses", "options", "stage", "words"),
    [
        ({"MAIL": "553 unknown sender"}, {}, "sender", "553 unknown sender"),
        ({"RCPT": "550 no relaying"}, {}, "recipient", "550 no relaying"),
        ({"AUTH": "535 wrong"}, {"username": "a", "password": "b"}, "sign in", "535 wrong"),
        ({}, {"use_tls": True}, "encrypt", "SMTPNotSupportedError: STARTTLS extension not supported by server."),
        ({}, {"use_ssl": True}, "encrypt", "SSLError: "),
        ({}, {"port": 1}, "connect", "ConnectionRefusedError: "),
    ],
)
def test_it_is_known_what_a_server_refuses(
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    refuses: dict[str, str],
    options: dict[str, Any],
    stage: str,
    words: str,
) -> None:
    server.refuses.update(refuses)
    found, _ = asks(monkeypatch, **({"port": server.port} | options))
    assert (found["stage"], found["sent"]) == (stage, "")
    assert found["words"].startswith(words)


# ---- what is said ----


def deployment(**install: Any) -> schema.Deployment:
    instance = {"releases": {"revision": "1"}, "install": install}
    return schema.load({"server_name": "a.org", "instances": [instance]})


MAILING = {"mail": {"host": "mail.a.org", "sender": "catmaid@a.org", "user": "c", "password": SecretStr("p" * 20)}}
ALICE = {"name": "alice", "email": "alice@a.org"}


def said(found: Mail | None) -> tuple[list[str], list[tuple[str, str]]]:
    (instance,) = deployment(settings=MAILING).instances
    one = Health("host")
    probe._mail(one, instance, {"mail": found})
    return [finding.line() for finding in one.findings], one.checks


@pytest.mark.parametrize("stage", list(probe.MAIL))
def test_a_fault_names_the_key_that_it_is_a_matter_of(stage: str) -> None:
    (line,), checks = said({"stage": stage, "words": "550 no", "sent": ""})
    assert line.startswith("mail of catmaid: mail.a.org:587 ")
    assert ": 550 no: " in line
    assert f"{KEY}." in line
    assert "{" not in line
    assert checks == []


def test_what_works_is_a_check() -> None:
    sent = [("mail of catmaid", "mail.a.org:587 has taken a message to bob@a.org")]
    assert said({"stage": "", "words": "", "sent": "bob@a.org"}) == ([], sent)
    tried = [("mail of catmaid", "mail.a.org:587 takes it from catmaid@a.org; none was sent")]
    assert said({"stage": "", "words": "", "sent": ""}) == ([], tried)
    assert said(None) == ([], [])


def test_who_is_named_to_the_server() -> None:
    def named(**install: Any) -> str:
        (one,) = probe.glance(deployment(**install), verify=True)["instances"]
        return one["mail"]

    assert named() == ""
    assert named(settings=MAILING) == "catmaid@a.org"
    assert named(settings=MAILING, administrator=ALICE) == "alice@a.org"


def test_an_address_that_can_t_be_sent_to_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def address(given: object, *deployments: schema.Deployment) -> str:
        inventory = SimpleNamespace(override_data={} if given is None else {"mail": given})
        monkeypatch.setattr(health, "state", SimpleNamespace(inventory=inventory))
        return health._mail_to(deployments)

    assert address(None) == ""
    assert address("bob@a.org", deployment(), deployment(settings=MAILING)) == "bob@a.org"
    with pytest.raises(SystemExit, match="--data mail: 'bob' is no e-mail address: give one"):
        address("bob", deployment(settings=MAILING))
    with pytest.raises(SystemExit, match=r"no instance has install\.settings\.mail, by which it would be sent"):
        address("bob@a.org", deployment())
