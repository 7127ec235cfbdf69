"""RabbitMQ on a host: what a look takes for what, and what a run makes of it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from catmaid_deploy import schema
from catmaid_deploy.answers.survey import NO_UNIT, Survey
from catmaid_deploy.file_sets import File
from catmaid_deploy.finding import Finding
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.plan import Plan
from catmaid_deploy.plan.report import Report
from catmaid_deploy.script import joined
from catmaid_deploy.secret import Secret
from catmaid_deploy.tasks.application import installed
from catmaid_deploy.tasks.rabbitmq import hosts, server
from tests import answers

EVERYWHERE = "0.0.0.0"  # noqa: S104
RELEASES = {"repository": "/srv/c.git", "revision": "1", "owner": "catmaid"}


def deployment(*names: str, restart: bool = False, **broker: Any) -> schema.Deployment:
    instances = [
        {
            "name": name,
            "prefix": f"/{name}",
            "releases": RELEASES | {"folder": f"/opt/{name}"},
            "install": {"broker": broker},
        }
        for name in names or ("catmaid",)
    ]
    return schema.load({"server_name": "a.test", "instances": instances}, rabbitmq={"restart": restart})


def survey(found: dict[str, Any], **more: Any) -> Survey:
    nothing = {"hosts": {}, "guest": False, "users": [], "sockets": {}, "nodes": [], "tools": True, "made": {}}
    kept = {"lacks": [], "differs": [], "open": False}
    keys = {
        "files": {},
        "manifest": {},
        "packages": {},
        "units": {},
        "secrets": {"catmaid": kept, "catmaid-b": kept},
        "rabbitmq": nothing | found,
    }
    return answers.survey(**keys | more)


def takes(word: str, why: str = "") -> dict[str, Any]:
    return {"catmaid": {"word": word, "why": why, "version": "3.10.8"}}


OWN: dict[str, Any] = {"manifest": {"rabbitmq": {}}, "packages": {"rabbitmq-server": "3.10.8"}}
ADOPTED: dict[str, Any] = {"packages": {"rabbitmq-server": "3.10.8"}}
RUNS = {server.UNIT: NO_UNIT | {"active": True, "enabled": True, "since": 1000.0}}


def placed(one: schema.Deployment, time: float = 1.0) -> dict[str, Any]:
    """The files as they are to be, written at that time."""
    root = {"user": "root", "group": "root", "time": time}
    return {
        item.path: root | {"kind": "file", "mode": "644", "sha256": item.sha256, "md5": ""}
        if isinstance(item, File)
        else root | {"kind": "folder", "mode": "755"}
        for item in server.wanted(one).items
    }


def titles(one: schema.Deployment, found: Survey) -> list[str]:
    plan = Plan(Look(one, found), Report("host"))
    return [step.title for task in (server.TASK, hosts.TASK) for step in task.steps(plan)]


def lines(findings: Iterable[Finding]) -> list[str]:
    return [finding.line() for finding in findings]


def test_it_listens_to_its_host_alone() -> None:
    texts = {item.path: item.text for item in server.wanted(deployment(port=5673)).items if isinstance(item, File)}
    assert "\nlisteners.tcp.catmaid1 = 127.0.0.1:5673\n" in texts["/etc/catmaid/rabbitmq/rabbitmq.conf"]
    assert "\nListenStream=\nListenStream=127.0.0.1:4369\n" in texts[server.DROP_INS[server.MAPPERS]]
    unit = texts[server.DROP_INS[server.UNIT]]
    assert "NODENAME=rabbit@localhost\n" in unit
    assert "inet_dist_use_interface {127,0,0,1}" in unit


def test_a_host_without_an_instance_of_its_own_has_none() -> None:
    elsewhere = deployment(host="mq.test", password=Secret("x" * 20))
    assert [*server.TASK.sets(elsewhere)] == []
    assert [*server.TASK.packages(Look(elsewhere, survey({})))] == []
    assert server.TASK.question(elsewhere)["units"] == []
    assert hosts.TASK.question(elsewhere)["rabbitmq"] == {}


@pytest.mark.parametrize(
    ("found", "more", "steps"),
    [
        ({"hosts": takes("silent")}, {}, ["rabbitmq", "virtual host catmaid"]),
        # Left by a package that was removed, under the host's name.
        ({"hosts": takes("silent"), "nodes": ["rabbit@old"]}, {}, ["virtual host catmaid"]),
        ({"hosts": takes("refused", "no such user")}, ADOPTED, ["virtual host catmaid"]),
        ({"hosts": takes("well")}, ADOPTED, ["virtual host catmaid"]),
        ({"hosts": takes("well"), "made": {"catmaid": "catmaid"}}, ADOPTED, []),
        ({"hosts": takes("refused"), "made": {"catmaid": "catmaid"}}, ADOPTED, ["virtual host catmaid"]),
        # It is away: a run goes on without it.
        ({"hosts": takes("silent"), "made": {"catmaid": "catmaid"}}, ADOPTED, []),
    ],
)
def test_what_there_is_to_do(found: dict[str, Any], more: dict[str, Any], steps: list[str]) -> None:
    assert titles(deployment(), survey(found, **more)) == steps


def test_a_new_password_is_brought_there_in_the_same_run() -> None:
    known = {"hosts": takes("well"), "made": {"catmaid": "catmaid"}}
    kept = {"catmaid": {"lacks": [], "differs": ["broker_password"], "open": False}}
    one = deployment(password=Secret("x" * 20))
    assert titles(one, survey(known, secrets=kept, **ADOPTED)) == ["virtual host catmaid"]


@pytest.mark.parametrize(
    ("restart", "made", "restarts"), [(False, {}, True), (False, {"a": "a"}, False), (True, {"a": "a"}, True)]
)
def test_changed_settings_wait_for_a_restart(restart: bool, made: dict[str, str], restarts: bool) -> None:
    """Unless the inventory allows one, or nothing uses RabbitMQ yet; also where an earlier run has brought them."""
    one = deployment(restart=restart)
    found = survey({"made": made}, files=placed(one, 2000.0), units=RUNS, **OWN)
    reasons = [reason.brief for reason in server.change(one, found).reasons]
    assert reasons == (["restart rabbitmq-server"] if restarts else [])
    waits = "rabbitmq: changed settings wait for its next restart: systemctl restart rabbitmq-server"
    assert lines(server.TASK.warnings(Look(one, found))) == ([] if restarts else [waits])
    # In the run that brings them, too.
    plan = Plan(Look(one, survey({"made": made}, units=RUNS, **OWN)), Report("host"))
    assert [step.title for step in server.TASK.steps(plan)] == ["rabbitmq"]
    assert lines(plan.report.warnings) == ([] if restarts else [waits])
    done = survey({"made": made}, files=placed(one, 900.0), units=RUNS, **OWN)
    assert server.change(one, done).reasons == ()


def test_what_runs_otherwise_than_described_is_brought_back() -> None:
    one = deployment()
    listens = {"4369": [[EVERYWHERE, 0]]}
    units = RUNS | {server.MAPPERS: NO_UNIT | {"active": True}}
    found = survey({"sockets": listens, "tools": False}, files=placed(one), units=units, **OWN)
    assert [reason.brief for reason in server.change(one, found).reasons] == [
        "write /etc/rabbitmq/rabbitmq-env.conf",
        "restart epmd.socket",
    ]


def test_somebody_else_s_port_is_refused_before_anything_changes() -> None:
    taken = {"5672": [[EVERYWHERE, 1000]], "25672": [["127.0.0.1", 0]], "4369": [["::", 0]]}
    assert lines(server.TASK.faults(Look(deployment(), survey({"sockets": taken})))) == [
        "port 5672: another program listens there, and RabbitMQ needs it: have it listen on another one, or give "
        "another as install.broker.port",
        "port 25672: another program listens there, and RabbitMQ needs it: have it listen on another one",
    ]
    assert lines(server.TASK.faults(Look(deployment(), survey({"sockets": taken}, **ADOPTED)))) == []


def test_one_that_is_adopted_is_judged_and_stays_as_it_is() -> None:
    open_to_all = {"5672": [["::", 103]], "25672": [[EVERYWHERE, 103]], "4369": [["::", 0]]}
    found = survey({"guest": True, "sockets": open_to_all, "hosts": takes("well")}, units=RUNS, **ADOPTED)
    assert lines(server.TASK.warnings(Look(deployment(), found))) == [
        "rabbitmq: its user guest has the password that everybody knows: rabbitmqctl delete_user guest",
        "rabbitmq: it was installed by somebody else and listens to other hosts too, on 5672, 25672, 4369: have the "
        "firewall close these ports, unless other hosts use it",
    ]
    assert lines(hosts.TASK.faults(Look(deployment(), found))) == []
    assert lines(hosts.TASK.faults(Look(deployment(port=5673), found))) == [
        "site.instances[catmaid].install.broker.port: RabbitMQ runs there and doesn't listen at 5673: give its port, "
        "or have it listen there at 127.0.0.1"
    ]


def test_what_leaves_the_inventory_is_named_and_stays() -> None:
    found = survey({"made": {"catmaid": "catmaid", "old": "older"}, "hosts": takes("well")}, **OWN)
    look = Look(deployment(), found)
    assert lines(hosts.TASK.remarks(look)) == [
        "virtual host old: no instance has it any longer; it stays, with what waits in it: "
        "rabbitmqctl delete_vhost old && rabbitmqctl delete_user older"
    ]
    assert "old" not in " ".join(titles(look.deployment, found))


# ---- the half on the host ----


@pytest.fixture(scope="module")
def script() -> Any:
    found: dict[str, Any] = {}
    exec(joined("operations.apply").rpartition("\nsys.exit(")[0], found)  # noqa: S102
    return SimpleNamespace(**found)


def method(number: tuple[int, int], words: bytes = b"", channel: int = 0) -> bytes:
    text = struct.pack("!HH", *number) + words
    return struct.pack("!BHI", 1, channel, len(text)) + text + b"\xce"


def close(number: tuple[int, int], code: int, why: str, channel: int = 0) -> bytes:
    text = struct.pack("!H", code) + bytes([len(why)]) + why.encode() + struct.pack("!HH", 0, 0)
    return method(number, text, channel)


START = method((10, 10), b"\x00\x09" + b"\x00\x00\x00\x13\x07versionS" + struct.pack("!I", 6) + b"3.10.8")
TUNE, OPENED = method((10, 30), struct.pack("!HIH", 2047, 131072, 60)), method((10, 41), b"\x00")
MISSING = close((20, 40), 404, "NOT_FOUND - no queue", 1)
FORBIDDEN = close((20, 40), 403, "ACCESS_REFUSED - access to queue", 1)
CHANNEL, DELETED, ENDED = method((20, 11), b"\x00" * 4, 1), method((50, 41), b"\x00" * 4, 2), method((10, 51))


class broker:
    """What answers in order, whatever it is asked."""

    def __init__(self, *said: bytes) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.said, self.port = said, self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self) -> int:
        self.thread.start()
        return int(self.port)

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.thread.join(5)

    def _answer(self) -> None:
        connection, _ = self.socket.accept()
        with connection:
            connection.sendall(b"".join(self.said))
            connection.settimeout(3)
            try:
                while connection.recv(1 << 12):
                    pass
            except OSError:
                pass


@pytest.mark.parametrize(
    ("said", "word", "why"),
    [
        ((START, TUNE, OPENED, CHANNEL, MISSING, CHANNEL, DELETED, ENDED), "well", ""),
        (
            (START, close((10, 50), 403, "ACCESS_REFUSED - Login was refused")),
            "refused",
            "ACCESS_REFUSED - Login was refused",
        ),
        (
            (START, TUNE, close((10, 50), 530, "NOT_ALLOWED - vhost a not found")),
            "refused",
            "NOT_ALLOWED - vhost a not found",
        ),
        ((START, TUNE, OPENED, CHANNEL, FORBIDDEN), "refused", "ACCESS_REFUSED - access to queue"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "silent", "it doesn't speak AMQP 0-9-1"),
        ((b"AMQP\x00\x01\x00\x00",), "silent", "it doesn't speak AMQP 0-9-1"),
        ((START, OPENED), "silent", "it doesn't speak AMQP 0-9-1"),
    ],
)
def test_a_handshake_tells_how_a_user_is_taken(script: Any, said: tuple[bytes, ...], word: str, why: str) -> None:
    with broker(*said) as port:
        found = script.greeted(port, "catmaid", "secret", "catmaid")
    assert (found["word"], found["why"]) == (word, why)
    assert found["version"] == ("3.10.8" if said[0] == START else "")


def test_nobody_but_rabbitmq_is_told_a_password(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it doesn't run, any user of the host could listen in its place."""
    scope = script.take_of.__globals__
    one = {"port": 5672, "user": "a", "vhost": "a", "secrets": "/x", "secret": "broker_password"}
    monkeypatch.setitem(scope, "brokers_uid", lambda: 103)
    monkeypatch.setitem(scope, "ROOT", SimpleNamespace(json=lambda path: {"broker_password": "secret"}))
    asked: list[tuple[Any, ...]] = []

    def well(*words: Any) -> dict[str, str]:
        asked.append(words)
        return {"word": "well", "why": "", "version": ""}

    monkeypatch.setitem(scope, "greeted", well)
    for sockets in ([], [["127.0.0.1", 1000]], [["127.0.0.1", 103], ["::1", 1000]]):
        assert script.take_of(one, sockets)["word"] == "silent"
    assert asked == []
    assert script.take_of(one, [["127.0.0.1", 103], ["::1", 103]])["word"] == "well"
    assert asked == [(5672, "a", "secret", "a")]


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("", "NODENAME=rabbit@localhost\n"),
        ("# a comment\nNODENAME=rabbit@old\nX=1\n", "# a comment\nX=1\nNODENAME=rabbit@localhost\n"),
        ("#NODENAME=rabbit@old\n", "#NODENAME=rabbit@old\nNODENAME=rabbit@localhost\n"),
    ],
)
def test_the_tools_ask_the_deploy_s_node(script: Any, text: str, new: str) -> None:
    assert script.nodes_line(text) != script.NODE
    assert script.with_node(text) == new
    assert script.nodes_line(new) == script.NODE


def test_a_password_goes_there_as_a_salted_digest(script: Any) -> None:
    found = script.definitions({"user": "a", "vhost": "v"}, "secret")
    again = script.definitions({"user": "a", "vhost": "v"}, "secret")
    assert found["users"][0]["password_hash"] != again["users"][0]["password_hash"]
    assert "secret" not in str(found)
    assert found["permissions"] == [{"user": "a", "vhost": "v", "configure": ".*", "write": ".*", "read": ".*"}]


def test_somebody_else_s_user_keeps_his_password() -> None:
    known = {"users": ["guest", "catmaid"], "hosts": takes("refused", "Login was refused")}
    line = (
        "site.instances[catmaid].install.broker.user: RabbitMQ has a user catmaid that isn't the deploy's: give its "
        "password as install.broker.password, or another name"
    )
    assert lines(hosts.TASK.faults(Look(deployment(), survey(known, **ADOPTED)))) == [line]
    given = deployment(password=Secret("x" * 20))
    assert lines(hosts.TASK.faults(Look(given, survey(known, **ADOPTED)))) == []
    made = known | {"made": {"catmaid": "catmaid"}}
    assert lines(hosts.TASK.faults(Look(deployment(), survey(made, **ADOPTED)))) == []


def test_a_broker_that_this_run_installs_isn_t_called_silent() -> None:
    silent = {"catmaid": {"silent": {"broker": {"host": "localhost", "port": 5672}}, "settings_problem": None}}
    look = Look(deployment(), survey({}, instances=silent, work_mem=None), missing=[server.PACKAGE])
    assert [one.what for one in installed.warnings(look)] == []
    look.missing.clear()
    assert [one.what for one in installed.warnings(look)] == ["nothing answers at localhost:5672"]
