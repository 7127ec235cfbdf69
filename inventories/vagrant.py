"""The machine of the Vagrantfile, from bare to one CATMAID behind HTTPS: https://localhost:9443/catmaid/

vagrant up && pyinfra inventories/vagrant.py deploy.py
"""

hosts = [
    (
        "@vagrant/catmaid",  # pyinfra asks Vagrant for its address, port, user and key
        {
            "_sudo": True,
            # Each new machine has a new host key at the same address: don't note it in your own known_hosts.
            "ssh_known_hosts_file": "/dev/null",
            "ssh_strict_host_key_checking": "off",
            "site": {
                "server_name": "localhost",
                "tls": {"certificate": "self-signed", "port": 9443},  # the Vagrantfile forwards it to 443
                "instances": [
                    {
                        "name": "catmaid",
                        "prefix": "/catmaid",
                        "releases": {"repository": "/srv/catmaid.git", "revision": "1.0"},  # the Vagrantfile makes it
                        "install": {"administrator": {"name": "alice", "email": "alice@example.org"}},
                        "workers": 2,
                        "celery": {"concurrency": 1},
                    },
                ],
            },
        },
    ),
]
