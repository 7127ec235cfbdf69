"""Several servers, each with its own sites. What they have in common is written once.

pyinfra inventories/cluster.py deploy.py                          all of them, in parallel
pyinfra inventories/cluster.py --limit catmaid1.example.org deploy.py    one of them
pyinfra inventories/cluster.py --limit public deploy.py           a group
"""

# Names that begin with "_" are yours; any other list or pair in this file is a group of hosts to pyinfra.
_TLS = {"certificate": "acme", "email": "admin@example.org"}


def _instance(name: str, prefix: str, **more: object) -> dict[str, object]:
    """What all CATMAIDs here have in common; ``more`` adds keys or replaces them."""
    return {
        "name": name,
        "prefix": prefix,
        "checkout": f"/home/catmaid/{name}",
        "user": "catmaid",
        "workers": 8,
        "celery": {"concurrency": 2},
        "cors": {"origins": ["https://*.example.org"]},
    } | more


# A group: its hosts, and data for all of them. A host's own value replaces the group's as a whole: the two aren't
# merged, a "site" for instance.
public = (
    [
        (
            "catmaid1.example.org",
            {
                "site": {
                    "server_name": "catmaid.example.org",
                    "tls": _TLS,
                    "instances": [_instance("catmaid", "/"), _instance("catmaid-larva", "/larva", workers=4)],
                },
            },
        ),
        (
            "catmaid2.example.org",
            {
                "ssh_port": 2222,  # this one alone
                "sites": [
                    {
                        "server_name": "fafb.example.org",
                        "tls": _TLS,
                        "instances": [_instance("catmaid-fafb", "/", body_limit="200m")],
                    },
                    {
                        "server_name": "tiles.example.org",
                        "tls": _TLS,
                        "tiles": [{"name": "fafb", "url": "/fafb", "folder": "/data/fafb", "mount": "/data"}],
                    },
                ],
            },
        ),
    ],
    {"ssh_user": "admin", "_sudo": True},
)

internal = (
    [
        (
            "trial.example.org",
            {
                "site": {
                    "server_name": "trial.example.org",
                    "maintenance": {"text": "The trial server is being rebuilt.", "allow": ["192.0.2.0/24"]},
                    "instances": [_instance("catmaid", "/catmaid", user="www-data", workers=2)],
                },
            },
        ),
    ],
    {"ssh_user": "root"},
)
