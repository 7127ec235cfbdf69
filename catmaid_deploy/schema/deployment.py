"""All that an inventory describes of one host."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import (
    Field,
    PrivateAttr,
    model_validator,
)

from catmaid_deploy.finding import Finding, Refused
from catmaid_deploy.schema import bundle
from catmaid_deploy.schema.hidden import ProxyAddress
from catmaid_deploy.schema.install import Broker, Database
from catmaid_deploy.schema.instance import Instance
from catmaid_deploy.schema.services import Postgresql, Rabbitmq
from catmaid_deploy.schema.site import Site
from catmaid_deploy.schema.tiles import TileSet
from catmaid_deploy.schema.values import DirectName, LocalPath, Model


class Deployment(Model):
    """All that one host serves. By `others` it knows what the inventory describes elsewhere."""

    sites: tuple[Site, ...] = Field(
        examples=[[{"server_name": "catmaid.example.org", "instances": [{}]}]],
        description="The sites, each with host names of its own. An empty list: the host serves nothing.",
    )
    proxy: ProxyAddress | None = Field(
        None,
        examples=["http://proxy.example.org:3128"],
        description="The HTTP proxy through which the deploy and certbot fetch; given beside `site` or `sites`.",
    )
    no_proxy: tuple[DirectName, ...] = Field(
        (),
        examples=[["git.example.org", ".internal.example.org"]],
        description="Hosts, or domains that begin with a dot, that are reached without the proxy.",
    )
    # Not "bundle": runbooks/logs.py has an option of that name.
    offline: LocalPath | None = Field(
        None,
        examples=["bundles/catmaid-bookworm.tar"],
        description="A file of this machine that `make bundle` has made, from which the host is installed without "
        "the internet; given beside `site` or `sites`.",
    )

    postgresql: Postgresql = Field(
        default_factory=lambda: Postgresql.model_validate({}),
        examples=[{"memory": "8g"}],
        description="PostgreSQL on this host, where the deploy installs it; given beside `site` or `sites`.",
    )
    rabbitmq: Rabbitmq = Field(
        default_factory=lambda: Rabbitmq.model_validate({}),
        examples=[{"restart": True}],
        description="RabbitMQ on this host, where the deploy installs it; given beside `site` or `sites`.",
    )

    _others: Mapping[str, Deployment] = PrivateAttr(default_factory=dict)
    _unknown: tuple[Finding, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _check(self) -> Deployment:
        if self.no_proxy and not self.proxy:
            raise ValueError("no_proxy: there is no proxy: name it as proxy, or remove this")
        if self.offline and self.proxy:
            raise ValueError("offline: with a proxy the host fetches by itself: remove one of both")
        databases = [one for i in self.instances if (one := i.made_database)]
        brokers = [two for i in self.instances if (two := i.made_broker)]
        if len({one.port for one in databases if not one.host}) > 1:
            raise ValueError("install.database.port: databases on this host share one server: give all the same port")
        for key, values in (
            ("server_name", [name for site in self.sites for name in site.names]),
            ("instances", [instance.name for instance in self.instances]),
            ("tiles", [tiles.name for tiles in self.tiles]),
            ("install.database", [f"{one.name} at {one.host or 'this host'}" for one in databases]),
            ("install.database.user", [f"{one.user} at {one.host or 'this host'}" for one in databases]),
            ("install.broker", [f"{two.vhost} at {two.host or 'this host'}" for two in brokers]),
            ("releases.folder", [one.releases.folder for one in self.instances if one.releases]),
        ):
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f"{key}: two have the name {value!r}: give each its own")
        return self

    def among(self, others: Mapping[str, Deployment], unknown: tuple[Finding, ...]) -> Deployment:
        """The same host with what it may have to know of the others, and what is wrong with those that aren't known."""
        found = self.model_copy()
        found._others, found._unknown = others, unknown
        return found

    @property
    def others(self) -> Mapping[str, Deployment]:
        """The other hosts of the inventory, by their names: what one host has to know of another comes from here.

        Raises Refused where one of them is described wrong: what follows from it would be wrong here as well.
        """
        if self._unknown:
            raise Refused(*self._unknown)
        return self._others

    @property
    def origins(self) -> list[str]:
        """What browsers call the sites of the whole inventory, each once, and this host's first."""
        sites = [*self.sites, *(site for other in self.others.values() for site in other.sites)]
        return list(dict.fromkeys(origin for site in sites for origin in site.origins))

    @property
    def fetching(self) -> dict[str, str]:
        """The environment of what fetches something: the proxy in it may have a password."""
        if self.offline:
            return bundle.fetching([one.releases.repository for one in self.instances if one.releases])
        if not self.proxy:
            return {}
        address = self.proxy.get_secret_value()
        direct = ",".join(("localhost", "127.0.0.1", "::1", *self.no_proxy))
        return {"http_proxy": address, "https_proxy": address, "no_proxy": direct}

    @property
    def instances(self) -> tuple[Instance, ...]:
        return tuple(instance for site in self.sites for instance in site.instances)

    @property
    def local_databases(self) -> dict[str, Database]:
        """The databases that the deploy makes on this host, by the names of their instances."""
        return {i.name: one for i in self.instances if (one := i.made_database) and not one.host}

    @property
    def local_brokers(self) -> dict[str, Broker]:
        """The virtual hosts that the deploy makes on this host, by the names of their instances."""
        return {i.name: one for i in self.instances if (one := i.made_broker) and not one.host}

    @property
    def tiles(self) -> tuple[TileSet, ...]:
        return tuple(tiles for site in self.sites for tiles in site.tiles)

    @property
    def places(self) -> list[Instance | TileSet]:
        return [*self.instances, *self.tiles]

    @property
    def urls(self) -> list[str]:
        return [url for site in self.sites for url in site.urls]

    @property
    def ports(self) -> list[int]:
        """Where nginx listens for all of them; nowhere without a site."""
        if not self.sites:
            return []
        return [80, *([443] if any(site.certificate for site in self.sites) else [])]

    @property
    def requested_sites(self) -> list[Site]:
        return [site for site in self.sites if site.tls.certificate == "request"]

    @property
    def acme_sites(self) -> list[Site]:
        return [site for site in self.sites if site.tls.certificate == "acme"]
