"""A tile set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from catmaid_deploy.on_host.paths import DISKS
from catmaid_deploy.schema.hidden import HASH_EXAMPLE, Passwords
from catmaid_deploy.schema.values import AbsolutePath, Count, Model, Prefix, like, valid_fallback
from catmaid_deploy.schema.web import Cors


class TileSet(Model):
    """Image tiles of one data set, as files below a folder."""

    name: Annotated[str, AfterValidator(like(r"[a-z0-9]+(-[a-z0-9]+)*", "use lower-case letters, digits and -"))] = (
        Field(max_length=40, examples=["fafb"], description="The name of the tile set in nginx's files.")
    )
    url: Prefix = Field(examples=["/tiles/fafb"], description="The URL below the host name.")
    folder: AbsolutePath = Field(examples=["/data/fafb"], description="Where the tiles are on the host.")
    suffix: Literal["jpg", "jpeg", "png", "webp"] = Field(
        "jpg", examples=["png"], description="The suffix of the tiles; images with another suffix aren't served."
    )
    tile_size: Annotated[Count, Field(ge=16, le=4096)] = Field(
        512,
        examples=[1024],
        json_schema_extra={"unit": "pixels"},
        description="Width and height of the black image.",
    )
    fallback: Annotated[str, AfterValidator(valid_fallback)] = Field(
        "black",
        examples=["none"],
        description="The answer for a missing tile: 'black', 'none' for 404, or the path of an image.",
    )
    mount: AbsolutePath | None = Field(
        None,
        examples=["/data"],
        description="The mount point of the tiles' disk; with it, a deploy continues while the disk isn't mounted.",
    )
    marker: AbsolutePath | None = Field(
        None,
        examples=["/data/fafb/IS_MOUNTED"],
        description="A file on the tiles' disk; while it is missing, tiles answer 503. By default the folder itself.",
    )
    cors: Cors | None = Field(
        default_factory=lambda: Cors.model_validate({"origins": ["*"]}),
        examples=[{"origins": ["https://*.example.org"]}],
        description="Which other sites' pages may read the tiles; by default all, and with a password those "
        "of this host's sites.",
    )
    cache_seconds: Annotated[Count, Field(ge=0, le=10**9)] = Field(
        31536000, examples=[86400], json_schema_extra={"unit": "seconds"}, description="How long browsers keep a tile."
    )
    missing_cache_seconds: Annotated[Count, Field(ge=0, le=10**9)] = Field(
        60, examples=[10], json_schema_extra={"unit": "seconds"}, description="How long browsers keep the fallback."
    )
    passwords: Passwords = Field(
        {},
        examples=[{"alice": HASH_EXAMPLE}],
        description="Users and password hashes; by default those of the site. nginx may need 10 ms at most to "
        "check a hash.",
    )

    @model_validator(mode="after")
    def _check(self) -> TileSet:
        if not self.url:
            raise ValueError("url: '/' would take all of the site: give a path such as '/tiles/fafb'")
        if self.mount and not f"{self.folder}/".startswith(f"{self.mount}/"):
            raise ValueError(f"mount: {self.folder} doesn't lie below {self.mount}: correct one of them")
        if self.mount == self.folder and not self.marker:
            raise ValueError(
                f"marker: {self.folder} is there without its disk as well: name a file that lies on the disk"
            )
        return self

    @property
    def location(self) -> str:
        return f"{self.url}/"

    @property
    def proof(self) -> str:
        """What exists only while the tiles' disk is there."""
        return self.marker or self.folder

    @property
    def flag(self) -> str:
        """What is there while the tiles' disk gives no answer."""
        return f"{DISKS}/tiles-{self.name}"

    @property
    def paths(self) -> list[str]:
        """Where its files lie, which may be on several disks."""
        images = [self.fallback] if self.fallback.startswith("/") else []
        return list(dict.fromkeys([self.folder, self.proof, *images]))

    @property
    def fallback_file(self) -> str | None:
        """The image that a missing tile is answered with."""
        if self.fallback == "black":
            # No host name begins like this, and so no folder of a site.
            return f"/etc/catmaid/web/_black-{self.tile_size}.{self.suffix}"
        return None if self.fallback == "none" else self.fallback
