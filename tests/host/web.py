"""Three sites behind one nginx with all that a site may have, for the tests of the web face."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx

from testbed import hosts
from testbed.run import VIRTUALENV

PASSWORD = "correct horse"
# 'openssl passwd -6 -salt catmaid "correct horse"'
HASH = "$6$catmaid$A1jfmGmxYrBpImRg9MuPZYjW5K1SahXgnQDc2Vcl3Boq70OEuoLK32CUmQOJyQTZQVJSfvNW0ioD9wRKeEUFO1"
END = "2026-12-01T18:00+01:00"
ALLOWED = "127.0.0.7"
# Pages of these may use the API of the instance catmaid.
FRIENDS = ["https://other.test", "https://*.lab.test"]

SITES: list[dict[str, Any]] = [
    {
        "server_name": "tracing.test",
        "aliases": ["localhost"],
        "maintenance": {"text": 'The database moves to a "faster" <machine>.', "end": END, "allow": [ALLOWED]},
        "instances": [
            {
                "name": "catmaid",
                "prefix": "/catmaid",
                "workers": 2,
                "celery": {"concurrency": 1},
                "cors": {"origins": FRIENDS, "credentials": True},
            },
            {
                "name": "catmaid-fafb",
                "prefix": "/tracing/fafb/v14/",
                "checkout": "/home/catmaid/fafb",
                "virtualenv": VIRTUALENV,
                "user": "catmaid",
                "workers": 1,
                "threads": 4,
                "celery": {"concurrency": 1},
                "body_limit": "1m",
                "read_timeout": 4,
            },
        ],
        "tiles": [
            {"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb", "cache_seconds": 86400},
            {
                "name": "sections",
                "url": "/tiles/fafb/sections",
                "folder": "/data/sections",
                "suffix": "png",
                "fallback": "none",
                "passwords": {"alice": HASH},
                "cors": {"origins": FRIENDS, "credentials": True},
            },
            {
                "name": "disk",
                "url": "/tiles/disk",
                "folder": "/mnt/disk/tiles",
                "mount": "/mnt/disk",
                "marker": "/mnt/disk/here",
                "fallback": "/srv/grey.jpg",
                "cors": None,
            },
        ],
    },
    {
        "server_name": "other.test",
        "headers": {"frame_options": "DENY", "referrer_policy": "no-referrer"},
        "instances": [
            {
                "name": "catmaid-root",
                "prefix": "/",
                "checkout": "/home/catmaid/root",
                "virtualenv": VIRTUALENV,
                "workers": 1,
                "celery": {"concurrency": 1},
            }
        ],
    },
    {
        "server_name": "private.test",
        "passwords": {"alice": HASH, "bob": HASH},
        "tiles": [{"name": "private", "url": "/tiles/private", "folder": "/data/fafb", "tile_size": 256}],
    },
]

# Tiles, one of 100 MB, one with a name that browsers encode, and what must not be served as one.
DATA = r"""
mkdir -p /data/fafb/0/1 /data/sections/5 /mnt/disk /srv
printf 'tile 2' > /data/fafb/0/1/2.jpg
printf 'tile with a name' > '/data/fafb/0/a tile é+&.jpg'
printf 'hidden' > /data/fafb/.hidden.jpg
printf '#!/bin/sh\necho executed\n' > /data/fafb/run.sh; chmod 755 /data/fafb/run.sh
cp /data/fafb/run.sh /data/fafb/run.jpg
printf '<?php echo "executed";' > /data/fafb/run.php
head -c 104857600 /dev/zero > /data/fafb/large.jpg
printf 'section' > /data/sections/5/1.png
printf 'grey' > /srv/grey.jpg
printf 'secret' > /data/secret.jpg
cd /data/fafb
mkdir -p v.n5/s0/0/1 v/8_8_8 v.zarr/0/c/0 v.zarr/.cache
printf '{"n5": "2.5.1"}' > v.n5/attributes.json; printf 'block' > v.n5/s0/0/1/2
printf '{}' | tee v/info v.zarr/.zgroup v.zarr/0/.zarray > v.zarr/zarr.json
printf 'block' | tee v/8_8_8/0-64_-64-0_0-40 v.zarr/0/0.0.0 > v.zarr/0/c/0/1
printf 'block' | gzip > v/8_8_8/64-128_0-64_0-40.gz
printf 'block' | tee v.zarr/.cache/1 v.zarr/.htaccess v/info.bak > v/notes.txt
head -c 1000 /dev/zero > v/8_8_8/0f.shard
mkdir -p 5/0 0/5/1 small s0/512_512
printf 'tile' | tee 5/1_2_0.jpg 5/0/1_2.jpg 0/5/1/2.jpg 5/small.jpg small/5.jpg > s0/512_512/0_512_5.jpg
mkdir -p /home/catmaid/catmaid-server/django/staticext
printf 'own()' > /home/catmaid/catmaid-server/django/staticext/own.js
chown -R catmaid: /home/catmaid/catmaid-server/django/staticext
"""


@dataclass
class Web:
    """A host with SITES on it, or with those of ``sites``."""

    suite: str
    host: hosts.BedHost
    sites: Sequence[dict[str, Any]] = field(default_factory=lambda: SITES)

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """Trusts what the host signed for its sites, each for its own names."""
        context = self.host.trust(self.sites[0]["server_name"])
        for site in self.sites[1:]:
            pem = self.host.run(f"cat /etc/catmaid/tls/self-signed/{site['server_name']}/fullchain.pem")
            context.load_verify_locations(cadata=pem)
        return context

    def client(self, server_name: str = "tracing.test", **options: Any) -> httpx.Client:
        """A client that reaches the host by one of its names, certificate and all."""

        def say_name(request: httpx.Request) -> None:
            request.extensions["sni_hostname"] = server_name

        port = self.host.ports[443]
        headers = {"Host": server_name} | options.pop("headers", {})
        return httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            headers=headers,
            event_hooks={"request": [say_name]},
            timeout=30,
            trust_env=False,
            verify=self.trust,
            **options,
        )
