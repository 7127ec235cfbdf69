"""One server with one CATMAID. Copy this file, change what is yours, and deploy with

pyinfra inventories/prod.py deploy.py

Lines that begin with "# " are options: remove these two characters to use one. All keys: docs/reference.md.
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
                        "name": "catmaid",  # names its folders and programs: /run/catmaid, group catmaid
                        "prefix": "/catmaid",  # its URL below the host name; "/" for the whole site
                        "checkout": "/home/catmaid/catmaid-server",  # CATMAID's code, which is there already
                        # "virtualenv": "/opt/catmaid-env",  # if it isn't CHECKOUT/django/env
                        "user": "www-data",  # the system user that runs it and owns its files
                        "workers": 8,  # processes that answer requests: about two per core
                        "threads": 2,  # threads in each process; each takes a database connection
                        "body_limit": "20m",  # the largest request; raise it for large imports
                        "celery": {"concurrency": 2},  # background tasks that run at the same time
                        # "cors": {"origins": ["https://lab.example.org"]},  # other sites whose pages may use its API
                        # "database": {"host": "db.example.org", "port": 5432},  # a run warns if nothing answers
                        # "migrate": "before",  # run an update's migrations; else such an update is refused
                    },
                ],
                "tiles": [
                    # Image tiles below /data/fafb, files that end in .jpg; remove this if the server has none.
                    {"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb", "mount": "/data"},
                ],
            },
        },
    ),
]
