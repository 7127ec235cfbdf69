"""Tests the sites from the admin's machine: the DNS name, the certificate, the answer."""

from __future__ import annotations

import http.client
import socket
import ssl

from catmaid_deploy.plan.health import Health
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Site
from catmaid_deploy.tasks.maintenance import is_closed


def _outside(one: Health, site: Site) -> None:
    """What a browser on this machine would meet: the name, the certificate, the site."""
    place = f"from here to {site.server_name}"
    https = site.secure
    port = site.tls.port if https else 80
    context = ssl.create_default_context()
    # Of a balancer browsers see its own.
    trusted = site.balancer is not None or site.tls.certificate != "self-signed"
    if not trusted:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        address = socket.getaddrinfo(site.server_name, port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError:
        one.fault(place, "the name leads to no address", "have whoever keeps your DNS names give it one")
        return
    plain = http.client.HTTPConnection(site.server_name, port, timeout=15)
    connection = http.client.HTTPSConnection(site.server_name, port, timeout=15, context=context) if https else plain
    try:
        path = site.instances[0].location if site.instances else "/"
        connection.request("GET", path, headers={"User-Agent": "catmaid-deploy verify"})
        status = connection.getresponse().status
    except ssl.SSLCertVerificationError as error:
        what = f"browsers don't trust its certificate: {error.verify_message}"
        one.fault(place, what, "have the certificate's file hold its whole chain")
    except (OSError, http.client.HTTPException) as error:
        one.fault(
            place,
            f"{address} port {port} doesn't answer: {error}",
            "have the host's firewall let this port through, or correct the address of the name",
        )
    else:
        closed = is_closed(one, site.instances[0] if site.instances else None)
        if status >= 500 and not (status == 503 and closed):
            one.fault(place, f"it answers {status}", "correct what /var/log/nginx/error.log on the host says")
        else:
            how = "trusted" if https and trusted else "not verified, self-signed" if https else "HTTP"
            one.checks.append((place, f"{address}, {how}, {status}"))
    finally:
        connection.close()


def outside(one: Health) -> None:
    for site in one.deployment.sites:
        _outside(one, site)


TASK = Task("from outside", outside=outside)
