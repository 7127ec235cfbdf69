"""The disposable host of 'make demo', on this machine: two CATMAIDs and a tile set behind HTTPS."""

from testbed.demo import connection, https_port

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
                        "workers": 2,
                        "celery": {"concurrency": 1},
                        "environment": {"STANDIN_TILES": "/tiles/demo/"},
                    },
                    {
                        "name": "catmaid-fafb",
                        "prefix": "/tracing/fafb/v14",
                        "checkout": "/home/catmaid/fafb",
                        "virtualenv": "/home/catmaid/catmaid-server/django/env",
                        "workers": 1,
                        "celery": {"concurrency": 1},
                    },
                ],
                "tiles": [{"name": "demo", "url": "/tiles/demo", "folder": "/data/demo", "tile_size": 256}],
            },
        },
    ),
]
