"""Several servers, each with its own sites. What is the same on all of them stands once.

pyinfra inventories/cluster.py deploy.py                          all of them, side by side
pyinfra inventories/cluster.py --limit catmaid1.example.org deploy.py    one
pyinfra inventories/cluster.py --limit public deploy.py           a group
"""

# Names that begin with "_" are yours; any other list or pair in this file is a group of hosts to pyinfra.
_TLS = {"certificate": "acme", "email": "admin@example.org"}


def _instance(name, prefix, **more):
    """What all CATMAIDs here have in common; ``more`` adds keys, or takes the place of one."""
    return {
        "name": name,
        "prefix": prefix,
        "checkout": f"/home/catmaid/{name}",
        "user": "catmaid",
        "workers": 8,
        "celery": {"concurrency": 2},
        "cors": {"origins": ["https://*.example.org"]},
    } | more


# A group: its hosts, and what holds for each of them that doesn't say otherwise itself. A host's value takes the
# place of the group's as a whole: a "site" isn't mixed from two places.
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
