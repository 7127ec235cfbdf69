"""Releases: code that the deploy fetches from a repository."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from catmaid_deploy.schema.values import (
    REVISION,
    AbsolutePath,
    Count,
    Model,
    UserName,
    like,
    valid_inside,
    valid_repository,
)


class Releases(Model):
    """Code that the deploy puts in place: one folder per release; old programs keep using theirs."""

    repository: Annotated[str, AfterValidator(valid_repository)] = Field(
        "https://github.com/catmaid/CATMAID.git",
        examples=["https://git.example.org/lab/catmaid.git"],
        description="The git repository, as the host reaches it: an address, or a path on the host.",
    )
    revision: Annotated[str, AfterValidator(like(REVISION, "give a tag or a commit, such as '2021.12.21'"))] = Field(
        examples=["2021.12.21"],
        description="The release: a tag or a commit. A branch is refused, because its meaning changes.",
    )
    folder: AbsolutePath = Field(
        "/home/catmaid/releases",
        examples=["/srv/catmaid/releases"],
        description="The folder of all releases, and of 'shared' with the files that they share.",
    )
    owner: UserName = Field("catmaid", examples=["deploy"], description="The user who owns the code.")
    shared: tuple[Annotated[str, AfterValidator(valid_inside)], ...] = Field(
        ("django/projects/mysite/settings.py", "django/projects/mysite/django.wsgi"),
        examples=[["django/projects/mysite/settings.py", "django/projects/mysite/django.wsgi", "django/extra.json"]],
        description="Files that aren't in the repository: each release gets links to those in FOLDER/shared.",
    )
    keep: Annotated[Count, Field(ge=2, le=1000)] = Field(
        5, examples=[3], json_schema_extra={"unit": "releases"}, description="How many releases the host keeps."
    )

    @model_validator(mode="after")
    def _check(self) -> Releases:
        if self.revision in ("shared", "repository.git", "current", "environments"):
            raise ValueError(f"revision: {self.revision!r} is the deploy's own folder: give a tag or a commit")
        if self.owner == "root":
            raise ValueError("owner: root runs nothing of a repository: give another user, such as catmaid")
        return self

    def lasting(self, path: str) -> str:
        """Where a file of this release lies also while the release isn't there: its link's target, if it is one."""
        inside = path.removeprefix(f"{self.path}/")
        return f"{self.folder}/shared/{inside}" if inside in self.shared else path

    @property
    def path(self) -> str:
        """Where this release lies."""
        return f"{self.folder}/{self.revision}"

    @property
    def proof(self) -> str:
        """What is there once a release is complete."""
        return f"{self.path}/.catmaid-deploy"
