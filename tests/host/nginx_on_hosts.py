"""Many rendered deployments at once, asked of a host's own nginx."""

from __future__ import annotations

import io
import re
import tarfile
from dataclasses import replace

from catmaid_deploy import schema
from catmaid_deploy.file_sets import File, Link
from catmaid_deploy.render import render
from catmaid_deploy.tasks.nginx import passwords
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.nginx.capabilities import Server
from testbed.hosts import BedHost

CAN = "nginx -v 2>&1; openssl version; ls /etc/nginx/modules-enabled /proc/net"
# Below the tree of a number is all of its /etc/nginx. One certificate stands for those of all sites.
TEST = r"""
cd "$(mktemp -d)"; here=$PWD
tar -x < /tmp/deployments.tar; rm /tmp/deployments.tar
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=a.org \
    -keyout $here/key.pem -out $here/chain.pem 2>/dev/null
for number in *[0-9]; do
    tree=$here/$number/etc/nginx
    cp -rL /etc/nginx/modules-enabled /etc/nginx/mime.types $tree/
    grep -rlZ -e /etc/nginx/ -e ssl_certificate $tree/*.conf $tree/conf.d $tree/sites-enabled | xargs -0 sed -i \
        -e "s#/etc/nginx/#$tree/#g" -e "s#ssl_certificate /.*;#ssl_certificate $here/chain.pem;#" \
        -e "s#ssl_certificate_key /.*;#ssl_certificate_key $here/key.pem;#"
    if said=$(nginx -t -c $tree/nginx.conf 2>&1); then echo $number taken "$(echo "$said" | grep -F '[warn]')"
    else echo $number "$said"; fi
done
rm -r $here
"""


def ability(host: BedHost) -> Server:
    said = host.run(CAN)
    versions = {program: tuple(map(int, found)) for program, *found in re.findall(r"(nginx|SSL).(\d+)\.(\d+)", said)}
    return Server(
        ipv6="if_inet6" in said,
        http2_directive=versions["nginx"] >= (1, 25),
        brotli="brotli" in said,
        kem=versions["SSL"] >= (3, 5),
    )


def within(wanted: Server, can: Server) -> Server:
    """What is wanted as far as a host can."""
    names = ("ipv6", "brotli", "kem")
    have = {name: getattr(wanted, name) and getattr(can, name) for name in names}
    return replace(wanted, http2_directive=can.http2_directive, **have)


def archive(deployments: list[tuple[schema.Deployment, Server]]) -> bytes:
    """A tar file of their files, below a number each; links stand for the files they lead to."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for number, (deployment, server) in enumerate(deployments):
            items, _ = nginx.rendered(deployment, server)
            texts = {item.path: item.text.encode() for item in items if isinstance(item, File)}
            texts |= {item.path: texts[item.target] for item in items if isinstance(item, Link)}
            # Made on the host.
            texts[passwords.KEY] = render(passwords.KEY[1:], placeholder=f"key-{number}").encode()
            for path, text in texts.items():
                info = tarfile.TarInfo(f"{number}{path}")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
    return data.getvalue()


def takes(host: BedHost, deployments: list[tuple[schema.Deployment, Server]]) -> None:
    """Assert that the host's nginx takes each, as far as the host can what is wanted, and has no warning."""
    can = ability(host)
    host.put("/tmp/deployments.tar", archive([(one, within(server, can)) for one, server in deployments]))
    answers = host.run(TEST, timeout=300).splitlines()
    assert [line for line in answers if not re.fullmatch(r"\d+ taken ?", line)] == []
    assert len(answers) == len(deployments)
