"""Folders of the instances (rows 6, 7, 23 and 28)."""

from __future__ import annotations

from pyinfra.operations import files

from render import render
from schema import Instance, Site
from tasks.files import put


def _folder(instance: Instance, what: str, path: str, user: str, group: str, mode: str) -> None:
    files.directory(name=f"{instance.name}: {what} {path}", path=path, user=user, group=group, mode=mode)


def create(site: Site) -> None:
    """Make each instance's folders; those below /run come back after a reboot by tmpfiles.d (row 23)."""
    put(
        "/etc/tmpfiles.d/catmaid.conf",
        render("etc/tmpfiles.d/catmaid.conf", site=site),
        "the socket folders for each boot",
    )
    files.directory(
        name="Configuration folder /etc/catmaid", path="/etc/catmaid", user="root", group="root", mode="755"
    )
    for i in site.instances:
        _folder(i, "socket folder", i.runtime_dir, i.user, i.runtime_group, i.runtime_mode)
        _folder(i, "folder of the statistics socket", i.private_dir, i.user, i.runtime_group, i.private_mode)
        _folder(i, "log folder", i.log_dir, "root", "adm", "755")
        _folder(i, "state folder", i.state_dir, i.user, i.runtime_group, "750")
        _folder(i, "configuration folder", i.config_dir, "root", "root", "755")
