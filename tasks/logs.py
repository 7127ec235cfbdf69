"""Logs are rotated (row 28)."""

from __future__ import annotations

from render import render
from schema import Site
from tasks.files import put


def rotate(site: Site) -> None:
    put("/etc/logrotate.d/catmaid", render("etc/logrotate.d/catmaid", site=site), "how the logs are rotated")
