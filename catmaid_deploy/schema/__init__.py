"""The one description of a site: its models, defaults, and every rule about valid input.

An inventory gives a dictionary under the key ``site``, or several under ``sites``; `load` turns them into
a `Deployment` or raises `InvalidSite`, which names the key, what is wrong and the fix; `load_all` does so for all hosts
of an inventory, each of which then knows the others. Everything that
follows from a value (a socket's path, a location, Django's script name) is computed here and nowhere else.
"""

from __future__ import annotations

from catmaid_deploy.on_host.paths import DISKS
from catmaid_deploy.schema.deployment import Deployment
from catmaid_deploy.schema.hidden import CHEAP_HASH, HASH_MS, is_costly
from catmaid_deploy.schema.install import (
    ENVIRONMENTS,
    Administrator,
    Broker,
    Database,
    Install,
    Mail,
    Project,
    Python,
    Settings,
)
from catmaid_deploy.schema.instance import Address, Instance
from catmaid_deploy.schema.load import BESIDE, InvalidSite, load, load_all
from catmaid_deploy.schema.paths import folder
from catmaid_deploy.schema.programs import FOUR, Celery, Kind, Program
from catmaid_deploy.schema.releases import Releases
from catmaid_deploy.schema.services import Postgresql, Rabbitmq
from catmaid_deploy.schema.site import Site
from catmaid_deploy.schema.tiles import TileSet
from catmaid_deploy.schema.values import (
    FILES,
    GUNICORN_OLDEST,
    LETS_ENCRYPT,
    NGINX_USER,
    PASSWORD_HOST,
    PRIVILEGED,
    SERVICE_USER,
    SOCKET_GROUP,
    STATE_HOST,
    UWSGI_OLDEST,
    is_address,
)
from catmaid_deploy.schema.web import Balancer, Cors, Dns, Eab, Headers, Maintenance, Tls

__all__ = [
    "BESIDE",
    "CHEAP_HASH",
    "DISKS",
    "ENVIRONMENTS",
    "FILES",
    "FOUR",
    "GUNICORN_OLDEST",
    "HASH_MS",
    "LETS_ENCRYPT",
    "NGINX_USER",
    "PASSWORD_HOST",
    "PRIVILEGED",
    "SERVICE_USER",
    "SOCKET_GROUP",
    "STATE_HOST",
    "UWSGI_OLDEST",
    "Address",
    "Administrator",
    "Balancer",
    "Broker",
    "Celery",
    "Cors",
    "Database",
    "Deployment",
    "Dns",
    "Eab",
    "Headers",
    "Install",
    "Instance",
    "InvalidSite",
    "Kind",
    "Mail",
    "Maintenance",
    "Postgresql",
    "Program",
    "Project",
    "Python",
    "Rabbitmq",
    "Releases",
    "Settings",
    "Site",
    "TileSet",
    "Tls",
    "folder",
    "is_address",
    "is_costly",
    "load",
    "load_all",
]
