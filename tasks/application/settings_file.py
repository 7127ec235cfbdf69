"""CATMAID's settings.py, where the deploy writes it: without a secret, which it reads on the host from root's file."""

from __future__ import annotations

from catmaid_deploy.file_sets import File
from catmaid_deploy.on_host.operations.release import VERSION_FILE
from catmaid_deploy.render import render
from catmaid_deploy.schema import Deployment, Instance, Site
from catmaid_deploy.tasks import secrets


def of_host(deployment: Deployment) -> dict[str, File]:
    """The files of all instances whose settings the deploy writes, by their names."""
    return {i.name: file for site in deployment.sites for i in site.instances for file in files(site, i)}


def hosts(site: Site) -> list[str]:
    """By which names Django lets itself be asked; the host asks itself by the first."""
    return site.names


def files(site: Site, instance: Instance) -> list[File]:
    """The file that each release of an instance has a link to; none where somebody else writes it."""
    settings = instance.made_settings
    if settings is None:
        return []
    text = render(
        "etc/catmaid/instance/settings.py",
        site=site,
        instance=instance,
        settings=settings,
        hosts=hosts(site),
        names=secrets,
        own=secrets.OWN,
        version_file=VERSION_FILE[1:],
    )
    return [File(instance.made_settings_file, text)]
