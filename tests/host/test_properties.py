"""Sites that hypothesis makes up, asked of the hosts' own nginx: a sample of what tests/unit does with parsers."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings

import schema
from tasks import nginx
from tests.host.conftest import Deployed
from tests.unit.test_properties import examples, sites

SAMPLE = 25


def made_up() -> list[schema.Site]:
    """The first sites of the strategy, the same in every run."""
    found: list[schema.Site] = []

    @settings(examples(SAMPLE), suppress_health_check=list(HealthCheck))
    @given(sites())
    def collect(site: schema.Site) -> None:
        found.append(site)

    collect()
    return found


TEST = """
mkdir /tmp/sites; tar -C /tmp/sites -x < /tmp/sites.tar
cd /tmp/sites
for site in *; do
    cp -rL /etc/nginx /tmp/sites/$site.tree
    rm /tmp/sites/$site.tree/sites-enabled/*
    cp -r $site/etc/nginx/. $site.tree/
    cp $site.tree/sites-available/catmaid.conf $site.tree/sites-enabled/
    grep -rl /etc/nginx/ $site.tree | xargs sed -i "s#/etc/nginx/#/tmp/sites/$site.tree/#g"
    if said=$(nginx -t -c /tmp/sites/$site.tree/nginx.conf 2>&1); then echo "$site taken"; else echo "$site $said"; fi
done
rm -r /tmp/sites /tmp/sites.tar
"""


@pytest.mark.row_1
def test_nginx_takes_any_valid_site(deployed: Deployed) -> None:
    samples = made_up()
    assert len(samples) >= SAMPLE
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number, site in enumerate(samples):
            for path, text in nginx.rendered(site, ipv6=True)[0].items():
                info = tarfile.TarInfo(f"{number}{path}")
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
    deployed.host.put("/tmp/sites.tar", archive.getvalue())
    answers = deployed.host.run(TEST).splitlines()
    assert [line for line in answers if not line.endswith(" taken")] == []
    assert len(answers) == len(samples)
