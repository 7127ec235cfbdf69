"""Databases of instances on the host's own PostgreSQL."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import StringCommand, operation

from catmaid_deploy.operations.jobs import Told, job


@operation()
def database_kept(
    instance: str, database: str, owner: str, port: int, secrets: str, user: str, run: str
) -> Generator[StringCommand]:
    """
    Have PostgreSQL keep a database with the role that owns it: made if it is missing, and nothing is dropped.

    + instance: whose database it is, which PostgreSQL notes
    + database: its name
    + owner: the role
    + port: PostgreSQL's port on the host
    + secrets: the host's file with the role's password
    + user: the user who signs in with that, as the application does
    + run: the name of the run that holds the lock

    PostgreSQL gets a SCRAM verifier, which the host makes of the password.
    """
    described = {"instance": instance, "name": database, "user": owner, "port": port, "secrets": secrets, "as": user}
    yield job({"do": "keep database", "run": run, "one": described}, Told)
