"""The disposable host of 'make demo', on this machine: from bare to two CATMAIDs and a tile set behind HTTPS."""

from testbed.demo import connection, https_port

# In CATMAID's place the stand-in of the tests, of which 'make demo' puts a repository there.
RELEASES = {"repository": "/srv/catmaid.git", "revision": "1.0"}

hosts = [
    (
        "demo",
        {
            **connection(),  # SSH port and key of the host that 'make demo' booted
            "site": {
                "server_name": "localhost",
                "tls": {"certificate": "self-signed", "port": https_port()},
                "maintenance": {"text": "The demo is closed for an hour. Nothing is lost."},
                "instances": [
                    {
                        "name": "catmaid",
                        "prefix": "/catmaid",
                        "releases": RELEASES,
                        "install": {"administrator": {"name": "alice", "email": "alice@example.org"}},
                        "workers": 2,
                        "celery": {"concurrency": 1},
                        "environment": {"STANDIN_TILES": "/tiles/demo/"},
                    },
                    {
                        "name": "catmaid-fafb",
                        "prefix": "/tracing/fafb/v14",
                        "releases": RELEASES,
                        "install": {},  # all of it is made, but for an administrator
                        "workers": 1,
                        "celery": {"concurrency": 1},
                    },
                ],
                "tiles": [{"name": "demo", "url": "/tiles/demo", "folder": "/data/demo", "tile_size": 256}],
            },
        },
    ),
]
