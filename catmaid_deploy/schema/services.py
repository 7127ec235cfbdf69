"""The services of a host that its instances share: PostgreSQL and RabbitMQ, where the deploy installs them."""

from __future__ import annotations

from pydantic import Field

from catmaid_deploy.schema.values import Model, Size


class Postgresql(Model):
    """PostgreSQL on this host, which the deploy installs where an instance has no database elsewhere."""

    memory: Size | None = Field(
        None,
        examples=["8g"],
        json_schema_extra={"unit": "bytes, or with k, m, g"},
        description="The memory that PostgreSQL may count on; by default what the host's programs leave, at most "
        "three quarters of all.",
    )
    restart: bool = Field(
        False,
        examples=[True],
        description="Whether a run may restart PostgreSQL for a setting that needs it, which ends all its sessions. "
        "Otherwise the setting waits for the next restart, and the run says so.",
    )


class Rabbitmq(Model):
    """RabbitMQ on this host, which the deploy installs where an instance has no broker elsewhere."""

    restart: bool = Field(
        False,
        examples=[True],
        description="Whether a run may restart RabbitMQ for a setting that needs it. Otherwise the setting waits for "
        "the next restart, and the run says so.",
    )
