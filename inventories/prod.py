"""One server with one CATMAID. Copy this file, change what is yours, and deploy with

pyinfra inventories/prod.py deploy.py

A line that begins with "# " is off: take these two characters away, and it holds. README.md has all keys.
"""

from catmaid_deploy import secret  # for what has no place in this file: docs/lab.md

hosts = [
    (
        "catmaid.example.org",  # the server, as you name it for ssh
        {
            "ssh_user": "admin",  # who logs in there ...
            "_sudo": True,  # ... and becomes root by sudo; remove this line if you log in as root
            # "ssh_port": 2222,  # where sshd listens elsewhere than at 22; ~/.ssh/config holds as well
            # "ssh_key": "~/.ssh/lab",  # a key that ssh doesn't find by itself
            # "sudo_password": secret.from_command("pass", "show", "lab/sudo"),  # or you are asked; see docs/lab.md
            "site": {
                "server_name": "catmaid.example.org",  # the host name in your users' browsers
                # "aliases": ["tracing.example.org"],  # other names of the same site
                "tls": {"certificate": "acme", "email": "admin@example.org"},  # from Let's Encrypt, renewed by itself
                # "passwords": {"alice": secret.from_file("~/.lab/alice")},  # who may enter: 'htpasswd -nB alice'
                "instances": [
                    {
                        "name": "catmaid",  # names its folders and programs: /run/catmaid, group catmaid
                        "prefix": "/catmaid",  # its URL below the host name; "/" when it has it all
                        "checkout": "/home/catmaid/catmaid-server",  # CATMAID's code, already there
                        # "virtualenv": "/opt/catmaid-env",  # its Python, if that isn't CHECKOUT/django/env
                        "user": "www-data",  # who runs it and owns its files
                        "workers": 8,  # processes that answer requests: about two a core ...
                        "threads": 2,  # ... each with so many threads, one database connection a thread
                        "body_limit": "20m",  # the largest request: raise it for large imports
                        "celery": {"concurrency": 2},  # background jobs that run at the same time
                        # "cors": {"origins": ["https://lab.example.org"]},  # whose pages may use its API
                        # "database": {"host": "db.example.org", "port": 5432},  # a run warns when nothing answers
                        # "migrate": "before",  # an update's migrations run; without it such an update is refused
                    },
                ],
                "tiles": [
                    # Image stacks below /data/fafb, as files ending in .jpg; remove this if you have none here.
                    {"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb", "mount": "/data"},
                ],
            },
        },
    ),
]
