"""One server, from a bare Debian to a CATMAID. Copy this file, change what is yours, and deploy with

pyinfra inventories/prod.py deploy.py

Lines that begin with "# " are options: remove these two characters to use one. All keys: docs/reference.md.
For a CATMAID that was installed by hand: docs/howto/adopt.md.
"""

from catmaid_deploy import secret  # keeps passwords out of this file: docs/lab.md

hosts = [
    (
        "catmaid.example.org",  # the server's address for ssh
        {
            "ssh_user": "admin",  # who logs in there ...
            "_sudo": True,  # ... and becomes root by sudo; remove this line if you log in as root
            # "ssh_port": 2222,  # if it isn't 22; ~/.ssh/config is read as well
            # "ssh_key": "~/.ssh/lab",  # if ssh doesn't find the key by itself
            # "sudo_password": secret.from_command("pass", "show", "lab/sudo"),  # without it you are asked
            "site": {
                "server_name": "catmaid.example.org",  # the host name in your users' browsers
                # "aliases": ["tracing.example.org"],  # other names of the same site
                "tls": {"certificate": "acme", "email": "admin@example.org"},  # from Let's Encrypt: docs/howto/tls.md
                # "passwords": {"alice": secret.from_file("~/.lab/alice")},  # to enter: docs/howto/access.md
                "instances": [
                    {
                        "releases": {"revision": "7d9f83618"},  # CATMAID's: a tag or a commit; another one is an update
                        "install": {
                            "administrator": {"name": "alice", "email": "alice@example.org"},  # the first user
                            # "database": {"host": "db.example.org", "password": secret.from_file("~/db")},  # elsewhere
                            # "settings": {"time_zone": "Europe/Berlin"},  # and mail, and settings of your own
                        },
                        # "prefix": "/",  # its URL below the host name; by default /catmaid
                        # "workers": 8,  # processes that answer requests: about two per core; by default 8
                        # "threads": 4,  # threads in each process; each takes a database connection
                        # "body_limit": "200m",  # the largest request; raise it for large imports
                        # "celery": {"concurrency": 4},  # background tasks that run at the same time
                        # "cors": {"origins": ["https://lab.example.org"]},  # other sites whose pages may use its API
                        # "migrate": "before",  # run an update's migrations; else such an update is refused
                    },
                ],
                # "tiles": [{"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb"}],  # tiles in /data/fafb
            },
        },
    ),
]
