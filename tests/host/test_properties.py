"""Deployments that hypothesis makes up, asked of the hosts' own nginx: a sample of what tests/unit does."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from catmaid_deploy import schema
from catmaid_deploy.tasks.nginx.capabilities import Server
from tests.host import nginx_on_hosts
from tests.host.conftest import Deployed
from tests.unit.test_properties import deployments

SAMPLE = 25


def made_up() -> list[schema.Deployment]:
    """The first deployments of the strategy, the same in every run."""
    found: list[schema.Deployment] = []

    @settings(max_examples=SAMPLE, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(deployments())
    def collect(deployment: schema.Deployment) -> None:
        found.append(deployment)

    collect()
    return found


# Names as long as they may be.
LONGEST = {
    "server_name": ".".join(["a-" * 19 + "a"] * 3),
    "passwords": {"alice": "$2y$05$" + "./aB9" * 10 + "abc"},
    "instances": [{"name": "catmaid-" + "a" * 32, "cors": {"origins": ["https://a.org"]}}],
    "tiles": [{"name": "a" * 40, "url": "/tiles", "folder": "/tiles"}],
}


@pytest.mark.row_1
def test_nginx_takes_any_valid_deployment(deployed: Deployed) -> None:
    samples = [schema.load(LONGEST), *made_up()]
    assert len(samples) > SAMPLE
    nginx_on_hosts.takes(deployed.host, [(one, Server()) for one in samples])
