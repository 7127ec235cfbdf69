"""Deployments that together have every pair of options at least once."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from allpairspy import AllPairs

from catmaid_deploy import schema
from catmaid_deploy.file_sets import Item
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.nginx.capabilities import Server

# 'openssl passwd -6 -salt catmaid "correct horse"'
HASH = "$6$catmaid$A1jfmGmxYrBpImRg9MuPZYjW5K1SahXgnQDc2Vcl3Boq70OEuoLK32CUmQOJyQTZQVJSfvNW0ioD9wRKeEUFO1"
CERTIFICATE = {"certificate": "/etc/ssl/lab/chain.pem", "key": "/etc/ssl/lab/key.pem"}

TLS: dict[str, dict[str, Any]] = {
    "self-signed": {"certificate": "self-signed"},
    "acme": {"certificate": "acme", "email": "admin@example.org"},
    "path": CERTIFICATE,
    "none": {"certificate": "none"},
}
CORS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "all": {"origins": ["*"]},
    "exact": {"origins": ["https://lab.example.org", "http://localhost:8000"]},
    "pattern": {"origins": ["https://*.example.org"]},
    "credentials": {"origins": ["https://lab.example.org", "https://*.lab.test:8443"], "credentials": True},
}
TILES: dict[str, dict[str, Any] | None] = {
    "none": None,
    "black": {},
    "404": {"fallback": "none", "suffix": "png"},
    "image": {"fallback": "/srv/grey.webp", "suffix": "webp"},
    "marker": {"marker": "/mnt/disk/tiles/.there", "tile_size": 256},
    "mount": {"mount": "/mnt/disk", "missing_cache_seconds": 0},
}
MAINTENANCE: dict[str, dict[str, Any]] = {
    "none": {},
    "end": {"text": 'Say "no" to <b>;\n\n}', "end": "2026-12-01T18:00+01:00"},
    "allow": {"allow": ["192.0.2.7", "198.51.100.0/24", "2001:db8::/32"]},
}
HSTS: dict[str, dict[str, Any]] = {
    "default": {},
    "off": {"hsts_seconds": 0},
    "subdomains": {"hsts_seconds": 300, "hsts_subdomains": True},
}
BALANCER: dict[str, dict[str, Any] | None] = {
    "none": None,
    "https": {"addresses": ["192.0.2.10", "198.51.100.0/24", "2001:db8::/32"]},
    "http": {"addresses": ["192.0.2.10"], "https": False},
}
HEADERS: dict[str, dict[str, Any]] = {
    "default": {},
    "own": {
        "content_security_policy": "default-src 'self'; frame-ancestors 'none'",
        "referrer_policy": "no-referrer",
        "frame_options": "DENY",
    },
}

NAMES = ("catmaid.example.org", "192.0.2.1")

OPTIONS: dict[str, list[Any]] = {
    # With the name: ACME has no certificates for addresses.
    "tls": [(kind, name) for kind in TLS for name in NAMES if kind != "acme" or name == NAMES[0]],
    "other_tls": [*TLS],
    "instance_cors": [*CORS],
    "tiles_cors": [*CORS],
    "tiles": [*TILES],
    "passwords": ["none", "site", "instance", "tiles"],
    "maintenance": [*MAINTENANCE],
    "prefix": ["/", "/catmaid", "/tracing/fafb/v14"],
    "sites": [1, 2, 3],
    "hsts": [*HSTS],
    "headers": [*HEADERS],
    "balancer": [*BALANCER],
    "aliases": [[], ["tracing.example.org", "localhost"]],
    "port": [443, 8443],
    "body_limit": ["20m", "4096"],
    "user": ["www-data", "catmaid"],
    "second_instance": [False, True],
    "http2_directive": [True, False],
    "ipv6": [True, False],
    "brotli": [True, False],
    "kem": [True, False],
    "taken": [
        (),
        (("80", "/etc/nginx/sites-enabled/other"),),
        (("443", "/etc/nginx/other"), ("[::]:443", "/etc/nginx/other")),
    ],
}


class Combination(NamedTuple):
    options: dict[str, Any]
    deployment: schema.Deployment
    server: Server

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(nginx.rendered(self.deployment, self.server)[0])


def sites(options: dict[str, Any]) -> list[dict[str, Any]]:
    """What an inventory says for these options; the first site has nearly all of them."""
    own = {"alice": HASH, "bob@example.org": HASH}
    guarded = options["passwords"]
    kind, name = options["tls"]
    instance = {
        "prefix": options["prefix"],
        "cors": CORS[options["instance_cors"]],
        "body_limit": options["body_limit"],
        "user": options["user"],
        "passwords": own if guarded == "instance" else {},
    }
    tiles: list[dict[str, Any]] = []
    if (more := TILES[options["tiles"]]) is not None:
        one = {"name": "fafb", "url": "/tiles/fafb", "folder": "/mnt/disk/tiles", **more}
        one |= {"cors": CORS[options["tiles_cors"]], "passwords": own if guarded == "tiles" else {}}
        # Below an instance, and below other tiles.
        inner = [one | {"name": "inner", "url": f"{options['prefix'].rstrip('/')}/tiles"}]
        tiles = [one, *inner, one | {"name": "deep", "url": "/tiles/fafb/deep", "folder": "/mnt/disk/deep"}]
        if options["tiles"] == "marker":
            tiles = tiles[:1]
    second = {"name": "catmaid-second", "prefix": "/second", "checkout": "/srv/second"}
    found: list[dict[str, Any]] = [
        {
            "server_name": name,
            "aliases": options["aliases"],
            "tls": TLS[kind] | HSTS[options["hsts"]] | {"port": options["port"]},
            "balancer": BALANCER[options["balancer"]],
            "headers": HEADERS[options["headers"]],
            "maintenance": MAINTENANCE[options["maintenance"]],
            "passwords": own if guarded == "site" else {},
            "instances": [instance, *[second] * options["second_instance"]],
            "tiles": tiles,
        },
        {
            "server_name": "other.example.org",
            "tls": TLS[options["other_tls"]],
            "instances": [{"name": "catmaid-other", "prefix": options["prefix"], "checkout": "/srv/other"}],
            "passwords": {"carol": HASH} if guarded == "site" else {},
        },
        {
            "server_name": "tiles.example.org",
            "tls": TLS[options["other_tls"]] | HSTS[options["hsts"]],
            "tiles": [
                {
                    "name": "third",
                    "url": "/t",
                    "folder": "/srv/tiles",
                    "cors": CORS[options["tiles_cors"]],
                    "passwords": own if guarded == "tiles" else {},
                }
            ],
        },
    ]
    return found[: options["sites"]]


def can_be(values: list[Any]) -> bool:
    """Whether the schema takes the options together, as far as they are chosen."""
    options = dict(zip(OPTIONS, values, strict=False))
    return (options["tls"], options.get("name")) != ("acme", "192.0.2.1")


@cache
def combinations() -> list[Combination]:
    found = []
    for values in AllPairs([*OPTIONS.values()], filter_func=can_be):
        options = dict(zip(OPTIONS, values, strict=True))
        can = ("http2_directive", "ipv6", "brotli", "kem", "taken")
        server = Server(**{name: options[name] for name in can})
        found.append(Combination(options, schema.load(sites=sites(options)), server))
    return found
