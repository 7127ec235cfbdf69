"""What a run says last is so: runs on a deployed host whose services were harmed, or that are interrupted."""

from __future__ import annotations

import copy
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.hosts import Bed, BedHost
from testbed.images import ROOT
from testbed.run import PYINFRA, pyinfra
from tests.host.conftest import SITE, boot_ready

pytestmark = pytest.mark.xdist_group("last words")


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_ready(bed, "bookworm", "words")
    yield host
    host.remove()


def changed(**values: Any) -> dict[str, Any]:
    """SITE with other values for its first instance."""
    site = copy.deepcopy(SITE)
    site["instances"][0].update(values)
    return site


@pytest.mark.row_33
def test_ctrl_c_while_it_looks(host: BedHost, tmp_path: Any) -> None:
    inventory = tmp_path / "inventory.py"
    inventory.write_text(f"hosts = {[('host', host.ssh_data('root') | {'site': SITE})]!r}\n")
    run = subprocess.Popen([PYINFRA, str(inventory), "deploy.py"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert run.stderr
    for line in run.stderr:
        if "Preparing operation files" in line:
            break
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130, error
    assert "interrupted: nothing was changed on any host" in error
    assert "serves" not in error
    assert pyinfra(host, {"site": SITE}, "-y").changed == []
