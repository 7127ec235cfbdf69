"""One server with one CATMAID. Copy this file, change what is yours, and deploy with

pyinfra inventories/prod.py deploy.py
"""

hosts = [
    (
        "catmaid.example.org",  # the server, as you name it for ssh
        {
            "ssh_user": "admin",  # who logs in there ...
            "_sudo": True,  # ... and becomes root by sudo; remove this line if you log in as root
            "site": {
                "server_name": "catmaid.example.org",  # the host name in your users' browsers
                "tls": {"certificate": "acme", "email": "admin@example.org"},  # from Let's Encrypt, renewed by itself
                "instances": [
                    {
                        "name": "catmaid",  # names its folders and programs: /run/catmaid, group catmaid
                        "prefix": "/catmaid",  # its URL below the host name; "/" when it has it all
                        "checkout": "/home/catmaid/catmaid-server",  # CATMAID's code, already there
                        "virtualenv": "/home/catmaid/catmaid-server/django/env",  # its Python environment
                        "user": "www-data",  # who runs it and owns its files
                        "workers": 8,  # processes that answer requests: about two a core ...
                        "threads": 2,  # ... each with so many threads, one database connection a thread
                        "body_limit": "20m",  # the largest request: raise it for large imports
                        "celery": {"concurrency": 2},  # background jobs that run at the same time
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
