"""The disposable host of 'make demo', on this machine."""

from testbed.demo import connection

hosts = [
    (
        "demo",
        {
            **connection(),  # SSH port and key of the host that 'make demo' booted
            "site": {
                "server_name": "localhost",
                "aliases": ["127.0.0.1"],
                "instances": [{"name": "catmaid", "prefix": "/catmaid", "workers": 2, "celery": {"concurrency": 1}}],
            },
        },
    ),
]
