"""The host that looks at others: its browser reaches them by their names, and errors come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed import hosts, images
from tests.host.browser import ScriptError, browse


@pytest.fixture(scope="module")
def pages(bed: hosts.Bed) -> Iterator[hosts.BedHost]:
    """A host with one page, which others reach as pages.test too."""
    with images.lock("bookworm"):
        image = images.host("bookworm")
    host = bed.boot(image, "pages", aliases=("pages.test",))
    host.put("/srv/index.html", b"<title>Tracing</title>")
    host.run("systemd-run --quiet python3 -m http.server --directory /srv 80")
    hosts.wait_for("the page's server", lambda: ":80 " in host.run("ss -Hltn"), 20)
    yield host
    host.remove()


def test_a_page_of_another_host(client: hosts.BedHost, pages: hosts.BedHost) -> None:
    script = """
        page.goto(url)
        result = {"title": page.title(), "screen": page.screenshot()}
    """
    found = browse(client, script, url="http://pages.test/")
    assert found["title"] == "Tracing"
    assert found["screen"].startswith(b"\x89PNG")


def test_a_script_that_fails_says_where(client: hosts.BedHost) -> None:
    with pytest.raises(ScriptError, match=r"line 2 of the script\nZeroDivisionError"):
        browse(client, "x = 1\nresult = x / 0")
