"""RabbitMQ's virtual hosts."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import StringCommand, operation

from catmaid_deploy import questions
from catmaid_deploy.operations.jobs import Told, job


@operation()
def virtual_host(one: questions.Vhost, run: str) -> Generator[StringCommand]:
    """
    Have RabbitMQ on the host give a virtual host to a user, who has all rights there and none elsewhere. The host has
    the password.

    + one: the virtual host, its user, and where the password is
    + run: the name of the run that holds the lock

    The user guest of a RabbitMQ that the deploy has installed goes; nothing else is ever removed.
    """
    yield job({"do": "virtual host", "run": run, "one": one}, Told)
