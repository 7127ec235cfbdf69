"""The programs of an instance, and those that an inventory may add."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from catmaid_deploy.schema.values import Count, Model, QueueName, like


class Celery(Model):
    """Options of an instance's Celery worker and beat."""

    concurrency: Annotated[Count, Field(ge=1, le=512)] | None = Field(
        None,
        examples=[4],
        json_schema_extra={"unit": "processes"},
        description="Worker processes; by default one per core.",
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        "info", examples=["warning"], description="How much worker and beat write to their logs."
    )
    queues: tuple[QueueName, ...] = Field(
        (),
        examples=[["celery", "slow"]],
        description="The queues that the worker reads; without any, the default queue.",
    )
    stop_seconds: Annotated[Count, Field(ge=1, le=86400)] = Field(
        600,
        examples=[3600],
        json_schema_extra={"unit": "seconds"},
        description="How long a worker may finish its running tasks when it is replaced or stopped.",
    )
    shutdown_seconds: Annotated[Count, Field(ge=0, le=3600)] = Field(
        30,
        examples=[120],
        json_schema_extra={"unit": "seconds"},
        description="How long a shutdown or reboot of the host waits for running tasks; the longest of all "
        "instances counts.",
    )
    max_tasks_per_child: Annotated[Count, Field(ge=1)] | None = Field(
        None,
        examples=[100],
        json_schema_extra={"unit": "tasks"},
        description="A worker process is replaced after this many tasks.",
    )


# How a program is tried, handed over and succeeded: a web server and Daphne answer users; a worker ends its tasks
# beside the next one; of a single one there are never two.
Kind = Literal["web", "channels", "worker", "single"]
# The programs that each instance has, in the order of a deploy.
FOUR: dict[str, Kind] = {"wsgi": "web", "daphne": "channels", "celery": "worker", "celery-beat": "single"}
MANAGE = r"[a-z][a-z0-9_]*( [A-Za-z0-9@%+=:,./_-]+)*"


def valid_program_name(value: str) -> str:
    like(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "write it in lower-case letters and digits, such as 'spatial-update'")(value)
    if value in (*FOUR, "maintenance"):
        raise ValueError(f"{value!r} is the deploy's own: give another name")
    if value.endswith(("-a", "-b")):
        raise ValueError(f"{value!r} ends as the slots of programs do: give another name")
    return value


class Program(Model):
    """One more program of an instance: another Celery worker, or a command of manage.py that runs all the time."""

    name: Annotated[str, AfterValidator(valid_program_name)] = Field(
        max_length=40,
        examples=["spatial-update"],
        description="The program's name in Supervisor (INSTANCE.NAME), and of its log and folders.",
    )
    celery: Celery | None = Field(
        None,
        examples=[{"queues": ["large"], "concurrency": 2}],
        description="Another Celery worker with these options and its own queues.",
    )
    manage: (
        Annotated[str, AfterValidator(like(MANAGE, "write it as 'catmaid_spatial_update_worker --delay 2'"))] | None
    ) = Field(
        None,
        examples=["catmaid_spatial_update_worker --delay 2"],
        description="A command of manage.py with its options, which runs all the time. It never runs twice at "
        "once: at an update, the new one begins when the old one has ended.",
    )
    end_seconds: Annotated[Count, Field(ge=1, le=600)] = Field(
        20,
        examples=[60],
        json_schema_extra={"unit": "seconds"},
        description="How long the command may take to end when it is replaced or stopped.",
    )

    @model_validator(mode="after")
    def _check(self) -> Program:
        if (self.celery is None) == (self.manage is None):
            raise ValueError("celery: a program is a worker or a command: give either celery or manage")
        if self.celery is not None and not self.celery.queues:
            raise ValueError("celery.queues: another worker has queues of its own: name them")
        if self.celery is not None and "shutdown_seconds" in self.celery.model_fields_set:
            raise ValueError("celery.shutdown_seconds: the whole host has one: give it to the instance's own celery")
        return self
