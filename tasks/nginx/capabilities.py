"""What this host's nginx can do, and how much at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.file_sets import (
    is_stock_link,
)
from catmaid_deploy.tasks import packages

DEFAULT_SITE = {"/etc/nginx/sites-enabled/default": "/etc/nginx/sites-available/default"}
# 10,000 WebSockets are 20,000 of these, and one worker may have most of them.
CONNECTIONS = 24576
# What a class has on its screens: a tile that is open already is sent by TLS for two thirds of what it takes to open it
# first. Nobody else asks for a tile twice, and to keep 2,500 costs each tile 2 to 3 of 100.
OPEN_TILES = 512


@dataclass(frozen=True)
class Server:
    """What the host's nginx can do. ``taken``: what others' servers for unknown names listen on, with their files."""

    ipv6: bool = True
    http2_directive: bool = True
    brotli: bool = True
    # Another packager's nginx.
    of_another: bool = False
    kem: bool = True
    taken: tuple[tuple[str, str], ...] = ()
    # The digest of the admin's own locations, by the site: another one is another configuration.
    own_locations: Mapping[str, str] = field(default_factory=dict)
    # As many as the host lets a process have; a container may allow few.
    descriptors: int = 1 << 20

    def unknown(self, tls: bool) -> list[str]:
        """What the deploy's own server for unknown names listens on: what nobody else's does."""
        ports = ("80", "443") if tls else ("80",)
        sockets = [f"{family}{port}" for port in ports for family in ("", "[::]:")[: 1 + self.ipv6]]
        return [socket for socket in sockets if socket not in dict(self.taken)]

    @property
    def answer_unknown_names(self) -> dict[str, list[str]]:
        """The files of others whose servers do that in the place of the deploy's, and what they listen on."""
        ours = Server(ipv6=self.ipv6).unknown(tls=True)
        found: dict[str, list[str]] = {}
        for socket, path in self.taken:
            if socket in ours:
                found.setdefault(path, []).append(socket)
        return found

    @property
    def connections(self) -> int:
        """Of a worker. Each has two descriptors: to the browser, and to a program or a file."""
        return min(CONNECTIONS, self.descriptors * 3 // 8)

    def open_tiles(self, sets: int) -> int:
        """How many tiles of one of so many sets a worker keeps open: its share of what connections leave."""
        return min(OPEN_TILES, max(10, (self.descriptors - 2 * self.connections) // max(1, sets)))

    def used(self, sets: int) -> int:
        """The descriptors of a worker that serves so many sets of tiles."""
        return min(self.descriptors, 2 * self.connections + max(1, sets) * self.open_tiles(sets))

    @staticmethod
    def of(survey: Survey) -> Server:
        return Server(
            ipv6=survey["ipv6"],
            # 'listen ... http2' until then.
            http2_directive=packages.nginx_version(survey) >= (1, 25, 1),
            brotli=packages.has_brotli(survey),
            of_another=packages.is_anothers_nginx(survey),
            # X25519MLKEM768 came with OpenSSL 3.5.
            kem=tuple(survey["openssl"]) >= (3, 5),
            # Debian's own site goes, unless somebody has changed it.
            taken=tuple(
                (socket, path)
                for path, socket in survey["default_servers"]
                if path not in DEFAULT_SITE or not is_stock_link(path, DEFAULT_SITE[path], survey)
            ),
            own_locations=survey["own_locations"],
            descriptors=survey["descriptors"],
        )
