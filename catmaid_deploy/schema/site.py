"""A site: what is served under one host name."""

from __future__ import annotations

from pydantic import (
    Field,
    model_validator,
)

from catmaid_deploy.schema.hidden import HASH_EXAMPLE, Passwords
from catmaid_deploy.schema.instance import Instance
from catmaid_deploy.schema.tiles import TileSet
from catmaid_deploy.schema.values import FILES, HostName, Model, ServerName, is_address
from catmaid_deploy.schema.web import Balancer, Headers, Maintenance, Tls


class Site(Model):
    """What one nginx serves under one host name."""

    server_name: ServerName = Field(examples=["catmaid.example.org"], description="The host name in users' browsers.")
    aliases: tuple[HostName, ...] = Field(
        (), examples=[["www.catmaid.example.org"]], description="Other host names of the same site."
    )
    tls: Tls = Field(
        default_factory=lambda: Tls.model_validate({}),
        examples=[{"certificate": "acme", "email": "admin@example.org"}],
        description="HTTPS; self-signed by default.",
    )
    balancer: Balancer | None = Field(
        None,
        examples=[{"addresses": ["192.0.2.10"]}],
        description="The load balancer or proxy in front of nginx, if there is one.",
    )
    headers: Headers = Field(
        default_factory=lambda: Headers.model_validate({}),
        examples=[{"frame_options": "DENY"}],
        description="Security headers of every answer.",
    )
    passwords: Passwords = Field(
        {},
        examples=[{"alice": HASH_EXAMPLE}],
        description="Users and password hashes for the whole site. nginx may need 10 ms at most to check a hash.",
    )
    maintenance: Maintenance = Field(
        default_factory=lambda: Maintenance.model_validate({}),
        examples=[{"text": "Back at six."}],
        description="The maintenance page.",
    )
    instances: tuple[Instance, ...] = Field(
        (),
        examples=[[{"name": "catmaid"}, {"name": "catmaid-fafb", "prefix": "/fafb", "checkout": "/home/catmaid/fafb"}]],
        description="The site's CATMAIDs.",
    )
    tiles: tuple[TileSet, ...] = Field(
        (),
        examples=[[{"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb"}]],
        description="The site's tile sets.",
    )

    @model_validator(mode="after")
    def _check(self) -> Site:
        if not self.instances and not self.tiles:
            raise ValueError("instances: there is none: describe at least one, or a tile set")
        for name in self.names:
            if self.names.count(name) > 1:
                raise ValueError(f"aliases: the name {name!r} stands twice: remove one")
        if self.tls.certificate == "acme" and self.has_address:
            raise ValueError("tls: ACME's certificates are for names: leave out addresses, or use another certificate")
        owners: dict[str, str] = {"/.well-known/acme-challenge/": "certbot", "/_catmaid/": "the maintenance page"}
        for instance in self.instances:
            if instance.location in (i.location for i in self.instances if i is not instance):
                raise ValueError(f"instances: two have the prefix {instance.location!r}: give each its own")
            owners |= {f"{instance.location}{f}/": instance.name for f in (*FILES, "channels")}
        places: list[tuple[Instance | TileSet, str, str]] = [(i, "instances", "prefix") for i in self.instances]
        places += [(t, "tiles", "url") for t in self.tiles]
        for one, field, key in places:
            for folder, owner in owners.items():
                if one.location.startswith(folder):
                    raise ValueError(
                        f"{field}: the {key} {one.location[:-1]!r} lies in {folder}, which belongs to {owner}: "
                        f"give {one.name} another {key}"
                    )
        taken = {i.location: i.name for i in self.instances}
        for tiles in self.tiles:
            if tiles.location in taken:
                raise ValueError(
                    f"tiles: the url {tiles.url!r} belongs to {taken[tiles.location]}: give {tiles.name} another url"
                )
            taken[tiles.location] = tiles.name
        return self

    @property
    def names(self) -> list[str]:
        return [self.server_name, *self.aliases]

    @property
    def has_address(self) -> bool:
        """Whether one of its names is an address, which browsers don't name in the TLS handshake."""
        return any(is_address(name) for name in self.names)

    @property
    def certificate(self) -> str | None:
        """The path of the certificate in nginx's files; None for HTTP alone."""
        kind = self.tls.certificate
        return None if kind == "none" else f"{self.tls_dir}/fullchain.pem" if self.tls_dir else kind

    @property
    def certificate_key(self) -> str | None:
        return f"{self.tls_dir}/privkey.pem" if self.tls_dir else self.tls.key

    @property
    def self_signed_dir(self) -> str:
        return f"/etc/catmaid/tls/self-signed/{self.server_name}"

    @property
    def requested_dir(self) -> str:
        """Where the key and the request lie that the host makes, and where the signed certificate is put."""
        return f"/etc/catmaid/tls/requested/{self.server_name}"

    @property
    def tls_dir(self) -> str | None:
        """Where a certificate lies that the deploy gets; a link, first to the self-signed one, if it comes later."""
        if self.tls.certificate in ("acme", "request"):
            return f"/etc/catmaid/tls/{self.server_name}"
        return self.self_signed_dir if self.tls.certificate == "self-signed" else None

    @property
    def secure(self) -> bool:
        """Whether users come to it by HTTPS, which nginx or a balancer ends."""
        return self.certificate is not None or bool(self.balancer and self.balancer.https)

    @property
    def address(self) -> str:
        """The site's address without a path."""
        if not self.secure:
            return f"http://{self.server_name}"
        return f"https://{self.server_name}{self.port_suffix}"

    @property
    def origins(self) -> list[str]:
        """What browsers call the site, by each of its names."""
        return [self.address.replace(self.server_name, name, 1) for name in self.names]

    @property
    def port_suffix(self) -> str:
        return "" if self.tls.port == 443 else f":{self.tls.port}"

    @property
    def hsts(self) -> str:
        """How long browsers insist on HTTPS, as its header says it."""
        return f"max-age={self.tls.hsts_seconds}" + ("; includeSubDomains" if self.tls.hsts_subdomains else "")

    @property
    def urls(self) -> list[str]:
        return [f"{self.address}{one.location}" for one in self.places]

    @property
    def places(self) -> list[Instance | TileSet]:
        return [*self.instances, *self.tiles]

    @property
    def file_locations(self) -> list[str]:
        """Where nginx answers with files alone; one that lies in another, and may have a password, before that."""
        of_instances = [f"{one.location}{kind}/" for one in self.instances for kind in FILES]
        return sorted([*(tiles.location for tiles in self.tiles), *of_instances], key=len, reverse=True)
