"""What a host answers of RabbitMQ; `on_host/facts/rabbitmq.py`."""

from __future__ import annotations

from typing import Literal, TypedDict


class Vhost(TypedDict):
    """How RabbitMQ takes an instance's user at its virtual host, and its version as far as it says one.

    >>> wrong: Vhost = {"word": "refused", "why": "NOT_ALLOWED - vhost fafb not found", "version": "3.10.8"}
    """

    word: Literal["well", "refused", "silent"]
    why: str
    version: str


class Rabbitmq(TypedDict):
    """RabbitMQ on the host.

    + hosts: by instance
    + guest: whether the user guest of one that is adopted has the password that everybody knows
    + users: whom it knows, as long as one that is to be made isn't the deploy's yet
    + sockets: for each of its ports the addresses that somebody listens at, each with the number of that user
    + nodes: the names under which there are data
    + tools: whether rabbitmqctl asks the deploy's own node
    + made: the virtual hosts that the deploy has made, with their users
    """

    hosts: dict[str, Vhost]
    guest: bool
    users: list[str]
    sockets: dict[str, list[tuple[str, int]]]
    nodes: list[str]
    tools: bool
    made: dict[str, str]
