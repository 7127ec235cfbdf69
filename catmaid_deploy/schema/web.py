"""How a site is served: its certificate, headers, who may read it from elsewhere, its maintenance page."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    model_validator,
)

from catmaid_deploy.schema.hidden import MacKey
from catmaid_deploy.schema.values import (
    EMAIL,
    LETS_ENCRYPT,
    AbsolutePath,
    Count,
    HeaderValue,
    Model,
    Network,
    Origin,
    Port,
    like,
    valid_certificate,
    valid_directory,
    valid_moment,
    valid_plain_text,
    valid_subject,
)


class Eab(Model):
    """An account at an ACME server that knows its users beforehand (external account binding)."""

    kid: Annotated[str, AfterValidator(like(r"[A-Za-z0-9._~+/=@:-]{1,200}", "give the key's identifier as it is"))] = (
        Field(examples=["lab-42"], description="The identifier of the key.")
    )
    key: MacKey = Field(
        examples=[SecretStr("x" * 43)], description="The HMAC key, a secret: read it from a file or the environment."
    )

    @property
    def told(self) -> dict[str, str]:
        """Both, for certbot on the host alone."""
        return {"kid": self.kid, "key": self.key.get_secret_value()}


class Dns(Model):
    """A proof by the DNS, for hosts that an ACME server can't reach, by one of certbot's plugins in Debian."""

    plugin: Literal[
        "cloudflare",
        "digitalocean",
        "dnsimple",
        "gandi",
        "gehirn",
        "google",
        "linode",
        "ovh",
        "rfc2136",
        "sakuracloud",
    ] = Field(
        examples=["rfc2136"],
        description="The provider of your DNS; `rfc2136` is any server that accepts updates, such as BIND or Knot.",
    )
    credentials: AbsolutePath = Field(
        examples=["/etc/letsencrypt/rfc2136.ini"],
        description="The file on the host with the plugin's credentials; root owns it, and nobody else may read it.",
    )
    wait_seconds: Annotated[Count, Field(ge=0, le=3600)] = Field(
        60,
        examples=[10],
        json_schema_extra={"unit": "seconds"},
        description="How long certbot waits for the domain's servers to publish the proof.",
    )

    @property
    def authenticator(self) -> str:
        return f"dns-{self.plugin}"

    @property
    def package(self) -> str:
        return f"python3-certbot-{self.authenticator}"


class Tls(Model):
    """How a site is reached by HTTPS."""

    certificate: Annotated[str, AfterValidator(valid_certificate)] = Field(
        "self-signed",
        examples=["/etc/ssl/lab.pem"],
        description="'self-signed' for trials, 'acme' for one by certbot, 'request' for one signed by an "
        "institute's authority, the path of one on the host, or 'none' for HTTP alone.",
    )
    key: AbsolutePath | None = Field(
        None,
        examples=["/etc/ssl/private/lab.key"],
        description="The path of the certificate's key, if `certificate` is a path.",
    )
    email: Annotated[str, AfterValidator(like(EMAIL, "give an e-mail address"))] | None = Field(
        None,
        examples=["admin@example.org"],
        description="The address to which the ACME server writes before a certificate ends.",
    )
    acme_server: Annotated[str, AfterValidator(valid_directory)] = Field(
        LETS_ENCRYPT, examples=["https://acme.example.org/directory"], description="The directory of the ACME server."
    )
    subject: Annotated[dict[str, str], AfterValidator(valid_subject)] = Field(
        {},
        examples=[{"C": "DE", "O": "Example Institute"}],
        description="What an institute's authority wants in a request besides the names: C, ST, L, O and OU.",
    )
    eab: Eab | None = Field(
        None,
        examples=[{"kid": "lab-42", "key": SecretStr("x" * 43)}],
        description="The account at an ACME server that only serves users it knows.",
    )
    dns: Dns | None = Field(
        None,
        examples=[{"plugin": "rfc2136", "credentials": "/etc/letsencrypt/rfc2136.ini"}],
        description="With it, the ACME server checks an entry in the DNS instead of asking this host.",
    )
    port: Port = Field(
        443, examples=[8443], description="The port in users' browsers, if something forwards another one to 443."
    )
    hsts_seconds: Annotated[Count, Field(ge=0, le=10**9)] = Field(
        63072000,
        examples=[3600],
        json_schema_extra={"unit": "seconds"},
        description="How long browsers use nothing but HTTPS for this site; 0 sends no such header.",
    )
    hsts_subdomains: bool = Field(False, examples=[True], description="Whether HSTS includes subdomains.")

    @model_validator(mode="after")
    def _check(self) -> Tls:
        path = self.certificate.startswith("/")
        if path and not self.key:
            raise ValueError("key: missing: give the path of the key of this certificate")
        if self.key and not path:
            raise ValueError(f"key: {self.certificate!r} brings its own key: remove this one")
        if self.subject and self.certificate != "request":
            raise ValueError("subject: it is for a request: remove it, or say 'request'")
        for name in ("eab", "dns"):
            if getattr(self, name) and self.certificate != "acme":
                raise ValueError(f"{name}: it is for certificates from an ACME server: remove it, or say 'acme'")
        if self.eab and self.acme_server == LETS_ENCRYPT:
            raise ValueError("eab: Let's Encrypt has no such accounts: name the server that has it as acme_server")
        return self


class Cors(Model):
    """Which other sites' pages may read the answers."""

    origins: tuple[Origin, ...] = Field(
        examples=[["https://lab.example.org", "https://*.example.org"]],
        description="Origins such as 'https://lab.example.org' or 'https://*.example.org'; '*' for all.",
    )
    credentials: bool = Field(
        False,
        examples=[True],
        description="Whether they may send cookies and passwords; by default only to tiles with a password.",
    )

    @model_validator(mode="after")
    def _check(self) -> Cors:
        if not self.origins:
            raise ValueError("origins: there is none: name one, or leave cors out")
        if "*" in self.origins and len(self.origins) > 1:
            raise ValueError("origins: '*' stands for all: remove it, or the others")
        if "*" in self.origins and self.credentials:
            raise ValueError("origins: browsers refuse '*' together with credentials: name the origins")
        return self


class Headers(Model):
    """Security headers of every answer of a site."""

    content_security_policy: HeaderValue = Field(
        "frame-ancestors 'self'; object-src 'none'; base-uri 'self'",
        examples=["frame-ancestors 'self' https://lab.example.org"],
        description="The content security policy. CATMAID's pages use inline scripts and eval(): a script-src "
        "that forbids these breaks them.",
    )
    referrer_policy: HeaderValue = Field(
        "strict-origin-when-cross-origin",
        examples=["no-referrer"],
        description="What other sites learn about the address of the page that led to them.",
    )
    frame_options: Literal["SAMEORIGIN", "DENY"] = Field(
        "SAMEORIGIN", examples=["DENY"], description="Which sites' pages may show this site in a frame."
    )


class Maintenance(Model):
    """What users see while the application is away or closed."""

    text: Annotated[str, AfterValidator(valid_plain_text)] = Field(
        "CATMAID is being worked on. Your saved work is safe.",
        max_length=2000,
        examples=["A new disk. Back at six."],
        description="The page's text while it is closed.",
    )
    end: Annotated[datetime, BeforeValidator(valid_moment)] | None = Field(
        None, examples=["2026-12-01T18:00+01:00"], description="The expected end."
    )
    allow: tuple[Network, ...] = Field(
        (),
        examples=[["192.0.2.7", "198.51.100.0/24"]],
        description="Addresses and networks that still see the application.",
    )


class Balancer(Model):
    """A load balancer or proxy in front of nginx, which is believed about client, scheme and host name."""

    addresses: tuple[Network, ...] = Field(
        examples=[["192.0.2.10", "198.51.100.0/24"]],
        description="The balancer's addresses or networks, as this host sees them. nginx believes X-Forwarded "
        "headers only from these.",
    )
    https: bool = Field(
        True, examples=[False], description="Whether users reach it by HTTPS. Then those who use HTTP are redirected."
    )

    @model_validator(mode="after")
    def _check(self) -> Balancer:
        if not self.addresses:
            raise ValueError("addresses: there is none: name one, or leave balancer out")
        if any(ipaddress.ip_network(one, strict=False).prefixlen == 0 for one in self.addresses):
            raise ValueError("addresses: that is everybody, who could then say who he is: name the balancer's own")
        return self
