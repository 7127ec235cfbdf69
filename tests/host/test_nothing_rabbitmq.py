"""RabbitMQ from a bare host: installed, kept to the host, and each instance's alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import images
from testbed.hosts import Bed, BedHost
from testbed.podman import podman
from testbed.run import Run, pyinfra
from tests.host.conftest import copy_project

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("nothing-rabbitmq")]

# The tasks of RabbitMQ with what they need; of the others only what they ask, of a host that serves nothing.
DEPLOY = """
from catmaid_deploy import job, schema
from catmaid_deploy.plan.task import Task
from catmaid_deploy.tasks import packages, secrets
from catmaid_deploy.tasks.rabbitmq import hosts, server

run, job.run = job.run, lambda tasks: None
import deploy

NOTHING = schema.load(sites=[])
TASKS = (server.TASK, packages.TASK, secrets.TASK, hosts.TASK)


def asking(task):
    return Task(task.name, lambda _: task.question(NOTHING), last_word=lambda _: task.last_word(NOTHING))


run((*TASKS, *(asking(task) for task in deploy.TASKS if task not in TASKS)))
"""


def site(*names: str) -> dict[str, Any]:
    releases = {"repository": "/srv/catmaid.git", "revision": "1", "owner": "catmaid"}
    instances = [
        {
            "name": name,
            "prefix": f"/{name}",
            "user": "catmaid",
            "releases": releases | {"folder": f"/opt/{name}"},
            "install": {},
        }
        for name in names
    ]
    return {"site": {"server_name": "localhost", "instances": instances}}


BOTH = site("catmaid", "catmaid-b")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    copy_project(folder)
    (folder / "brokers.py").write_text(DEPLOY)
    return folder


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    with images.lock("bookworm"):
        image = images.host("bookworm")
    host = bed.boot(image, "brokers", hostname="before")
    host.run("useradd --system --create-home catmaid")
    yield host
    host.remove()


def deploy(host: BedHost, checkout: Path, data: dict[str, Any], *options: str) -> Run:
    env = {"PYTHONPATH": str(checkout)}
    run = pyinfra(host, data, "-y", *options, deploy="brokers.py", cwd=checkout, env=env)
    assert run.code == 0, run.text
    return run


def password(host: BedHost, name: str) -> str:
    return str(json.loads(host.run(f"cat /etc/catmaid/secrets/{name}.json"))["broker_password"])


def allows(host: BedHost, vhost: str, user: str, word: str) -> bool:
    """Whether RabbitMQ lets a user into a virtual host."""
    listed = host.run(f"rabbitmqctl -q list_permissions -p {vhost} --no-table-headers")
    known = host.run(f"printf '%s\\n' '{word}' | rabbitmqctl -q authenticate_user {user} || true")
    return "Success" in known and user in [line.split("\t")[0] for line in listed.splitlines()]


def outside(host: BedHost) -> list[str]:
    """Where RabbitMQ and Erlang listen beside the host's own address."""
    lines = [line.split()[3] for line in host.run("ss -Htln").splitlines()]
    ours = [line for line in lines if line.rpartition(":")[2] in ("5672", "25672", "4369")]
    assert {line.rpartition(":")[2] for line in ours} == {"5672", "25672", "4369"}
    return [line for line in ours if not line.startswith(("127.", "[::1]"))]


@pytest.mark.bookworm
def test_from_a_bare_host(host: BedHost, checkout: Path) -> None:
    first = deploy(host, checkout, BOTH)
    assert "Configuration: rabbitmq" in first.changed
    assert {"Virtual host catmaid", "Virtual host catmaid_b"} <= {*first.changed}
    assert outside(host) == []
    # From its first start on: it has never listened to others.
    log = host.run("cat /var/log/rabbitmq/rabbit@localhost.log")
    assert {*re.findall(r"started TCP listener on (\S+):\d+", log)} == {"127.0.0.1"}
    again = deploy(host, checkout, BOTH)
    assert again.changed == [], again.text

    users = [line.split("\t")[0] for line in host.run("rabbitmqctl -q list_users --no-table-headers").splitlines()]
    assert sorted(users) == ["catmaid", "catmaid_b"]
    own, other = password(host, "catmaid"), password(host, "catmaid-b")
    assert own != other
    assert allows(host, "catmaid", "catmaid", own)
    assert not allows(host, "catmaid_b", "catmaid", own)
    assert not allows(host, "catmaid", "catmaid_b", other)


@pytest.mark.bookworm
def test_a_wrong_password_and_lost_rights_are_brought_back(host: BedHost, checkout: Path) -> None:
    host.run("printf 'another\\n' | rabbitmqctl -q change_password catmaid")
    host.run("rabbitmqctl -q set_permissions -p catmaid_b catmaid_b '^$' '.*' '.*'")
    run = deploy(host, checkout, BOTH)
    assert {"Virtual host catmaid", "Virtual host catmaid_b"} <= {*run.changed}
    assert allows(host, "catmaid", "catmaid", password(host, "catmaid"))
    assert "catmaid_b\t.*\t.*\t.*" in host.run("rabbitmqctl -q list_permissions -p catmaid_b --no-table-headers")
    assert deploy(host, checkout, BOTH).changed == []
    # Neither in the tools' words nor in RabbitMQ's log.
    for name in ("catmaid", "catmaid-b"):
        secret = password(host, name)
        assert host.run(f"grep -rlF {secret} /var/log /etc /var/lib/catmaid-deploy /tmp || true").split() == [
            f"/etc/catmaid/secrets/{name}.json"
        ]


@pytest.mark.bookworm
def test_what_leaves_the_inventory_stays(host: BedHost, checkout: Path) -> None:
    run = deploy(host, checkout, site("catmaid"))
    assert run.changed == []
    assert "virtual host catmaid_b: no instance has it any longer; it stays" in run.text
    assert "catmaid_b" in host.run("rabbitmqctl -q list_vhosts")


@pytest.mark.bookworm
def test_the_tools_by_hand_ask_the_same_node(host: BedHost, checkout: Path) -> None:
    host.run("runuser -u rabbitmq -- sed -i s/localhost/elsewhere/ /etc/rabbitmq/rabbitmq-env.conf")
    assert deploy(host, checkout, BOTH).changed_services == ["rabbitmq"]
    assert "rabbit@localhost" in host.run("rabbitmqctl -q status")


@pytest.mark.bookworm
def test_a_run_goes_on_without_it(host: BedHost, checkout: Path) -> None:
    host.run("systemctl stop rabbitmq-server")
    try:
        assert deploy(host, checkout, BOTH).changed == []
    finally:
        host.run("systemctl start rabbitmq-server")


@pytest.mark.bookworm
def test_a_renamed_host_keeps_its_queues(host: BedHost, checkout: Path, bed: Bed) -> None:
    """A container's name is podman's: the host is booted once more from its disk, under another name."""
    host.shut_down()
    image = f"{images.REGISTRY}/renamed:{bed.name}"
    podman("commit", host.name, image)
    try:
        renamed = bed.boot(image, "renamed", hostname="after")
        try:
            assert renamed.run("hostname") == "after"
            renamed.run("rabbitmqctl await_startup", timeout=120)
            assert deploy(renamed, checkout, BOTH).changed == []
            assert outside(renamed) == []
            assert allows(renamed, "catmaid", "catmaid", password(renamed, "catmaid"))
        finally:
            renamed.remove()
    finally:
        podman("rmi", "--force", image, check=False)
        host.start()
