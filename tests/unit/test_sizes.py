"""The worst that nginx lets through, by arithmetic, and what is behind it takes."""

from __future__ import annotations

import re

import pytest

from catmaid_deploy import schema
from catmaid_deploy.tasks import request_limits
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.nginx.capabilities import Server
from catmaid_deploy.tasks.programs import wsgi
from catmaid_deploy.tasks.programs.daphne import programs as daphne

SITE = schema.load({"server_name": "a.org", "instances": [{}]})
# What passes, whatever it consists of.
PASSES = 24 << 10
# The longest that a value of nginx's own may be: host names, numbers, a folder.
OWN = {"$document_root": 4096, "$server_name": 255, "$catmaid_host": 261}
# What the request's line and headers are made of.
SENT = ("$query_string", "$request_uri", "$document_uri", "$content_type", "$catmaid_authorization", "$catmaid_cookies")


def parameters() -> list[tuple[str, str]]:
    items, _ = nginx.rendered(SITE, Server())
    (snippet,) = [item for item in items if item.path.endswith("catmaid-uwsgi.conf")]
    return re.findall(r"^uwsgi_param (\S+) +(\S+?);?(?: |$)", snippet.text, re.MULTILINE)  # type: ignore[union-attr]


@pytest.mark.row_8
@pytest.mark.row_34
def test_what_passes_fits_into_a_packet() -> None:
    """A byte of the query goes twice, one of a header once. 60 headers are more than a browser sends."""
    own = sum(4 + len(name) + (0 if value in SENT else OWN.get(value, 40)) for name, value in parameters())
    headers = 60 * (4 + len("HTTP_"))
    assert {value for _, value in parameters()} >= {"$query_string", "$request_uri", "$document_uri"}
    assert own + headers + 2 * PASSES <= request_limits.PACKET_BYTES
    # And in nginx: two lines of that length, one after the other.
    assert request_limits.BUFFERS >= 2
    assert request_limits.BUFFER_BYTES > PASSES + 2 * 1024


@pytest.mark.row_34
def test_what_fits_into_a_packet_is_taken() -> None:
    """uWSGI keeps two places for each variable, and some of its own; a packet's shortest variable has ten bytes."""
    (instance,) = SITE.instances
    ini = next(file.text for file in wsgi.programs(instance)[0].files if file.path.endswith("uwsgi.ini"))
    values = dict(re.findall(r"^(buffer-size|max-vars) = (\d+)$", ini, re.MULTILINE))
    assert int(values["buffer-size"]) == request_limits.PACKET_BYTES
    vec_size = 4 + 1 + 4 * int(values["max-vars"])
    assert vec_size - (4 + 2) >= 2 * (request_limits.PACKET_BYTES // (2 + len("HTTP_A") + 2))


@pytest.mark.row_34
def test_daphne_takes_what_nginx_sends() -> None:
    """HTTP/2's shortest header is a name of one byte; HTTP/1.1 adds a colon, a space and the line's end."""
    (instance,) = SITE.instances
    serve = next(file.text for file in daphne(instance)[0].files if file.path.endswith("serve.py"))
    most = request_limits.BUFFERS * request_limits.BUFFER_BYTES
    (total,) = re.findall(r"MAX_LENGTH = HTTPChannel.totalHeadersSize = (\d+)$", serve, re.MULTILINE)
    (number,) = re.findall(r"maxHeaders = (\d+)$", serve, re.MULTILINE)
    assert int(total) >= most * len("a: \r\n") + 4096
    assert int(number) > most
