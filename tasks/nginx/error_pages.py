"""What nginx serves by itself: the notices for users while an application is away, and black tiles."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime

from catmaid_deploy.file_sets import File, Folder
from catmaid_deploy.render import render
from catmaid_deploy.schema import Maintenance, Site, TileSet
from catmaid_deploy.tasks.nginx import black_tile

WEB = "/etc/catmaid/web"
# When to try again, in seconds, where no end is known.
RETRY_SECONDS = 600


def retry_after(maintenance: Maintenance) -> str:
    """The value of Retry-After: the expected end, or some seconds."""
    if maintenance.end is None:
        return str(RETRY_SECONDS)
    return format_datetime(maintenance.end.astimezone(UTC), usegmt=True)


def _end_text(end: datetime | None) -> str:
    return f"{end:%A}, {end.day} {end:%B %Y, %H:%M} {end.tzname()}" if end else ""


def notices(site: Site) -> Iterator[File | Folder]:
    """A page and a JSON answer for each: closed on purpose, away, and too much asked at once."""
    words = {
        "planned": ("CATMAID is closed for maintenance", site.maintenance.text, site.maintenance.end),
        "outage": ("CATMAID can't be reached", "It doesn't answer right now. It is often back within minutes.", None),
        "busy": ("Too many requests at once", "Your address has as many open as it may. Try again in a second.", None),
    }
    folder = f"{WEB}/{site.server_name}"
    yield Folder(folder)
    for name, (title, text, end) in words.items():
        for form in ("html", "json"):
            values = {"title": title, "text": text, "end": end, "end_text": _end_text(end)}
            yield File(f"{folder}/{name}.{form}", render(f"etc/catmaid/web/site/notice.{form}", **values))


def black_tiles(tile_sets: tuple[TileSet, ...]) -> Iterator[File]:
    """A black image of the size and kind of each set's tiles that wants one."""
    wanted = {tiles.fallback_file: tiles for tiles in tile_sets if tiles.fallback == "black"}
    for path, tiles in wanted.items():
        assert path is not None
        yield File.binary(path, black_tile.image(tiles.tile_size, tiles.suffix))
