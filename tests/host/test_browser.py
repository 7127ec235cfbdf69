"""What users' browsers make of the sites: pages of other origins, tiles on a canvas, passwords, notices."""

from __future__ import annotations

import base64
import io
import os
import secrets
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from testbed import hosts
from tests.host.browser import browse
from tests.host.conftest import place
from tests.host.web import PASSWORD, SITES, Web

# What a browser does doesn't depend on the host's system.
pytestmark = pytest.mark.slow

API = "https://tracing.test/catmaid"
FRIEND = "https://other.test/whoami"
# Its origin is nobody's friend. There is no page at its root, and the error's origin is as good as another.
STRANGER = "https://private.test/"
CLOSED = "/etc/catmaid/maintenance"

# Chromium trusts what the hosts signed, and nothing else: a wrong name in a certificate shows.
KEYS = """
for name in {names}; do
    openssl x509 -pubkey -noout -in /etc/catmaid/tls/self-signed/$name/fullchain.pem \
        | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64
done
"""

# Debian's Chromium keeps cookies of other sites away; this user has allowed them, as CATMAID's has to.
COOKIES = ("/etc/chromium/policies/managed/cookies.json", b'{"BlockThirdPartyCookies": false}')

# For the scripts: what fetch() gives to a page, or its refusal.
ASK = """
ask = '''async ([url, options]) => {
    try {
        const answer = await fetch(url, options);
        return {type: answer.type, status: answer.status, text: await answer.text()};
    } catch (error) {
        return {refused: String(error)};
    }
}'''
"""


def look(client: hosts.BedHost, web: Web, script: str, **values: Any) -> Any:
    """Run a script in a browser that trusts the three sites."""
    client.run("mkdir -p /etc/chromium/policies/managed")
    client.put(*COOKIES)
    names = " ".join(site["server_name"] for site in SITES)
    keys = ",".join(web.host.run(KEYS.format(names=names)).split())
    arguments = (f"--ignore-certificate-errors-spki-list={keys}",)
    return browse(client, ASK + textwrap.dedent(script), ignore_https_errors=False, arguments=arguments, **values)


def fetched(client: hosts.BedHost, web: Web, page: str, *asked: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What a script of one page reads of these addresses."""
    script = "page.goto(url)\nresult = [page.evaluate(ask, one) for one in asked]"
    found: list[dict[str, Any]] = look(client, web, script, url=page, asked=asked)
    return found


def requests(web: Web, part: str) -> list[str]:
    """The lines of nginx's log, without its times, that have this in them."""
    lines = web.host.run("cat /var/log/nginx/access.log").splitlines()
    return [line.split('"')[1].split()[0] + line.split('"')[2].rpartition(" ")[0] for line in lines if part in line]


def jpeg(*colours: tuple[int, int, int]) -> bytes:
    """A tile of stripes, each wide enough to survive the compression."""
    image = Image.new("RGB", (64 * len(colours), 64))
    for number, colour in enumerate(colours):
        image.paste(colour, (64 * number, 0, 64 * number + 64, 64))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=95)
    return data.getvalue()


# ---- Pages of other origins ----


@pytest.mark.row_11
def test_a_friends_page_sends_json_and_a_header_of_its_own(client: hosts.BedHost, web: Web) -> None:
    """Both make browsers ask first, which has no password and reaches no application."""
    token = secrets.token_hex(4)
    options = {"headers": {"Content-Type": "application/json", "X-Authorization": "Token abc"}, "body": '{"x": 1}'}
    asked = [(f"{API}/body?{token}-{method}", options | {"method": method}) for method in ("PUT", "POST", "DELETE")]
    found = fetched(client, web, FRIEND, *asked)
    assert [(one.get("status"), one.get("type")) for one in found] == [(200, "cors")] * 3, found
    assert '"size": 8' in found[0]["text"]
    for method in ("PUT", "POST", "DELETE"):
        seen = requests(web, f"{token}-{method}")
        # Its address is new each time, and so is the question.
        assert [line.split()[:2] for line in seen] == [["OPTIONS", "204"], [method, "200"]]


@pytest.mark.row_11
def test_a_friends_page_sends_cookies(client: hosts.BedHost, web: Web) -> None:
    script = """
        context.add_cookies([{"name": "sessionid", "value": "abc", "domain": "tracing.test", "path": "/",
            "secure": True, "sameSite": "None"}])
        page.goto(url)
        with page.expect_response("**/whoami?with") as sent:
            read = page.evaluate(ask, [api + "/whoami?with", {"credentials": "include"}])
        with page.expect_response("**/whoami?without") as plain:
            page.evaluate(ask, [api + "/whoami?without", {}])
        result = {"read": read, "with": sent.value.request.all_headers().get("cookie"),
            "without": plain.value.request.all_headers().get("cookie")}
    """
    found = look(client, web, script, url=FRIEND, api=API)
    assert (found["with"], found["without"]) == ("sessionid=abc", None)
    assert found["read"].get("status") == 200, found


@pytest.mark.row_11
def test_a_strangers_page_reads_nothing(client: hosts.BedHost, web: Web) -> None:
    token = secrets.token_hex(4)
    json = {"method": "PUT", "headers": {"Content-Type": "application/json"}, "body": "{}"}
    found = fetched(
        client,
        web,
        STRANGER,
        (f"{API}/whoami", {}),
        (f"{API}/whoami", {"credentials": "include"}),
        (f"{API}/body?{token}", json),
        ("https://tracing.test/tracing/fafb/v14/whoami", {}),
        ("https://tracing.test/tiles/fafb/0/1/2.jpg", {"credentials": "include"}),
        ("https://tracing.test/tiles/fafb/0/1/2.jpg", {}),
        (f"{API}/whoami", {"mode": "no-cors"}),
    )
    assert all("Failed to fetch" in one.get("refused", "") for one in found[:5]), found
    # Tiles are for all, without their cookies; and without CORS an answer comes that no script sees into.
    assert found[5]["text"] == "tile 2"
    assert found[6] == {"type": "opaque", "status": 0, "text": ""}
    # The question was answered, and what it asked for never sent.
    assert [line.split()[0] for line in requests(web, token)] == ["OPTIONS"]


@pytest.mark.row_11
@pytest.mark.row_18
def test_a_friends_page_sees_why_it_failed(client: hosts.BedHost, web: Web) -> None:
    """An error without CORS headers is the same to a script as no network."""
    large = """
        page.goto(url)
        result = page.evaluate('''async (url) => {
            const answer = await fetch(url, {method: "POST", body: new Uint8Array(21 << 20)});
            return {status: answer.status, type: answer.type};
        }''', api + "/body")
    """
    assert look(client, web, large, url=FRIEND, api=API) == {"status": 413, "type": "cors"}
    found = fetched(client, web, FRIEND, (f"{API}/nothing", {}), (f"{API}/static/nothing", {}), (f"{API}/files/a", {}))
    assert [one.get("status") for one in found] == [404] * 3, found
    with closed(web):
        json = {"method": "POST", "headers": {"X-Authorization": "a"}, "credentials": "include"}
        found = fetched(client, web, FRIEND, (f"{API}/whoami", {}), (f"{API}/body", json))
    assert [one.get("status") for one in found] == [503] * 2, found
    assert '"error": "CATMAID is closed for maintenance"' in found[0]["text"]


@pytest.mark.row_13
@pytest.mark.row_10
def test_tiles_on_a_canvas(client: hosts.BedHost, web: Web) -> None:
    """CATMAID reads tiles' pixels, which a canvas denies as soon as one tile came without CORS."""
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    web.host.put("/data/fafb/stripes.jpg", jpeg(*colours))
    script = """
        page.goto(url)
        pixels = '''async ([url, crossOrigin]) => {
            const image = new Image();
            if (crossOrigin) image.crossOrigin = crossOrigin;
            image.src = url;
            await image.decode();
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            const drawing = canvas.getContext("2d");
            drawing.drawImage(image, 0, 0);
            const at = (x, y) => Array.from(drawing.getImageData(x, y, 1, 1).data);
            try {
                return {size: [canvas.width, canvas.height], pixels: [at(32, 32), at(96, 32), at(160, 32)]};
            } catch (error) {
                return {refused: error.name};
            }
        }'''
        result = [page.evaluate(pixels, one) for one in asked]
    """
    tiles = "https://tracing.test/tiles/fafb"
    asked = [
        [f"{tiles}/stripes.jpg", "anonymous"],
        [f"{tiles}/0/missing/7.jpg", "anonymous"],
        [f"{tiles}/stripes.jpg?plain", None],
    ]
    stripes, missing, plain = look(client, web, script, url=FRIEND, asked=asked)
    for found, expected in zip(stripes["pixels"], colours, strict=True):
        assert max(abs(a - b) for a, b in zip(found, expected, strict=False)) < 8, stripes
    assert missing == {"size": [512, 512], "pixels": [[0, 0, 0, 255]] * 3}
    assert plain == {"refused": "SecurityError"}, "the canvas would have given away anything"


# ---- Passwords ----


@pytest.mark.row_12
def test_a_password_opens_protected_tiles(client: hosts.BedHost, web: Web) -> None:
    script = """
        # Not simply without: Chromium would ask its user.
        page.goto(home)
        without = page.evaluate(ask, [url, {"credentials": "omit"}])
        guesses = browser.new_context(http_credentials={"username": "alice", "password": "guess"}).new_page()
        guesses.goto(home)
        guessed = guesses.evaluate(ask, [url, {}])
        knows = browser.new_context(http_credentials={"username": "alice", "password": password})
        own = knows.new_page()
        own.goto(home)
        answers = [own.evaluate(ask, [url, {}])]
        # A friend's page too, which has to ask before it sends its header.
        own.goto(friend)
        answers.append(own.evaluate(ask, [url, {"credentials": "include", "headers": {"X-Authorization": "a"}}]))
        own.goto(stranger)
        answers.append(own.evaluate(ask, [url, {"credentials": "include"}]))
        cookies = [{key: one[key] for key in ("httpOnly", "secure", "sameSite")} for one in knows.cookies()]
        result = {"refused": [without, guessed], "answers": answers, "cookies": cookies}
    """
    url = "https://tracing.test/tiles/fafb/sections/5/1.png"
    values = {"home": f"{API}/whoami", "friend": FRIEND, "stranger": STRANGER}
    found = look(client, web, script, url=url, password=PASSWORD, **values)
    assert [one["status"] for one in found["refused"]] == [401, 401]
    assert [one.get("text") for one in found["answers"]] == ["section", "section", None], found
    # What keeps hundreds of tiles from being counted as tries, also of a friend's page.
    assert found["cookies"] == [{"httpOnly": True, "secure": True, "sameSite": "None"}]


@pytest.mark.row_34
@pytest.mark.row_10
def test_pages_of_the_inventorys_other_sites_read_tiles_with_a_password(client: hosts.BedHost, web: Web) -> None:
    """By default, in a script and on a canvas; nobody's page doesn't, and without a password nobody does."""
    web.host.put("/data/fafb/stripes.jpg", jpeg((200, 30, 30)))
    script = """
        canvas = '''async (url) => {
            const image = new Image();
            image.crossOrigin = "use-credentials";
            image.src = url;
            await image.decode();
            const drawing = document.createElement("canvas").getContext("2d");
            drawing.drawImage(image, 0, 0);
            return drawing.getImageData(32, 32, 1, 1).data[0];
        }'''
        known = browser.new_context(http_credentials={"username": "alice", "password": password}).new_page()
        known.goto(friend)
        sent = {"credentials": "include", "headers": {"X-Authorization": "a"}}
        result = [known.evaluate(ask, [url + "0/1/2.jpg", sent]), known.evaluate(canvas, url + "stripes.jpg")]
        result.append(known.evaluate(ask, [url + "0/1/2.jpg", {"credentials": "omit"}]))
        known.goto("about:blank")
        result.append(known.evaluate(ask, [url + "0/1/2.jpg", {"credentials": "include"}]))
    """
    url = "https://private.test/tiles/private/"
    read, red, without, nobodys = look(client, web, script, url=url, password=PASSWORD, friend=FRIEND)
    assert (read.get("text"), red > 150) == ("tile 2", True), read
    assert without.get("status") == 401, without
    assert "Failed to fetch" in nobodys.get("refused", ""), nobodys


# ---- The application's own page, and users' files ----

# What would tell a user, or their developer, that something is wrong.
WATCH = """
troubles = []
# The page names no icon, and the host's own is not the application's.
icon = "https://" + url.split("/")[2] + "/favicon.ico"
page.on("console", lambda message: message.type in ("error", "warning") and message.location["url"] != icon
    and troubles.append(f"{message.location['url']}: {message.text}"))
page.on("pageerror", lambda error: troubles.append(str(error)))
page.on("requestfailed", lambda request: troubles.append(f"{request.url}: {request.failure}"))
page.on("response", lambda answer: answer.status >= 400 and answer.url != icon
    and troubles.append(f"{answer.url}: {answer.status}"))
page.add_init_script('''document.addEventListener("securitypolicyviolation",
    (event) => console.error("violates " + event.violatedDirective + ": " + event.blockedURI))''')
"""


@pytest.mark.row_8
@pytest.mark.row_19
@pytest.mark.row_21
@pytest.mark.parametrize("url", [f"{API}/", "https://tracing.test/tracing/fafb/v14/", "https://other.test/"])
def test_the_page_has_all_it_needs(client: hosts.BedHost, web: Web, url: str) -> None:
    script = f"""{WATCH}
page.goto(url)
page.wait_for_function('''() => Array.from(document.querySelectorAll("tr[data-check] .state"))
    .every((state) => state.textContent !== "…")''', timeout=30000)
result = {{
    "states": page.locator("tr[data-check] .state").all_inner_texts(),
    "troubles": troubles,
    "protocols": page.evaluate('''() => ["navigation", "resource"].flatMap(
        (kind) => performance.getEntriesByType(kind).map((entry) => entry.nextHopProtocol))'''),
}}
"""
    found = look(client, web, script, url=url)
    assert found["states"] == ["works"] * 6
    assert found["troubles"] == []
    assert set(found["protocols"]) == {"h2"}


@pytest.mark.row_20
def test_a_users_html_runs_no_script(client: hosts.BedHost, web: Web) -> None:
    """It would act in the name of whoever looks at it."""
    act = "document.documentElement.dataset.ran = 'yes'; fetch('/catmaid/whoami?stolen')"
    html = f'<h1>Notes</h1><script>{act}</script><img src=x onerror="{act}"><a href="javascript:{act}">go</a>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><text y="20">Notes</text><script>{act}</script></svg>'
    script = """
        page.goto(api + "/whoami")
        found = {}
        for name, text in files.items():
            page.goto(api + "/whoami")
            sent = page.evaluate('''async ([url, name, text]) => {
                const form = new FormData();
                form.append("file", new Blob([text]), name);
                return (await fetch(url, {method: "POST", body: form})).json();
            }''', [api + "/upload", name, text])
            answer = page.goto("https://tracing.test" + sent["url"])
            for link in page.locator("a").all():
                link.click()
            page.wait_for_timeout(500)
            # Playwright's own scripts run in any page.
            found[name] = page.evaluate('''() => [document.documentElement.dataset.ran || null, self.origin,
                document.documentElement.textContent.includes("Notes")]''')
        result = found
    """
    found = look(client, web, script, api=API, files={"notes.html": html, "drawing.svg": svg})
    assert found == {"notes.html": [None, "null", True], "drawing.svg": [None, "null", True]}
    assert requests(web, "whoami?stolen") == []


@pytest.mark.long
@pytest.mark.row_21
def test_a_websocket_that_is_idle_for_two_minutes(client: hosts.BedHost, web: Web) -> None:
    script = """
        page.goto(api + "/whoami")
        result = page.evaluate('''() => new Promise((resolve) => {
            const socket = new WebSocket("wss://tracing.test/catmaid/channels/echo/");
            socket.onopen = () => setTimeout(() => socket.send("still here"), 120000);
            socket.onmessage = (message) => resolve(message.data);
            socket.onclose = (event) => resolve("closed: " + event.code);
        })''')
    """
    assert look(client, web, script, api=API, seconds=160) == "still here"


# ---- The notices ----


@contextmanager
def closed(web: Web) -> Iterator[None]:
    """The sites of the host are closed, as an admin closes them."""
    web.host.run(f"touch {CLOSED}")
    try:
        yield
    finally:
        web.host.run(f"rm {CLOSED}")


@contextmanager
def away(web: Web) -> Iterator[None]:
    """CATMAID's uWSGI doesn't run."""
    web.host.run(f"supervisorctl stop {place('wsgi')}")
    try:
        yield
    finally:
        web.host.run(f"supervisorctl start {place('wsgi')}")
        up = "curl -sk -o /dev/null -w '%{http_code}' https://localhost/catmaid/whoami"
        hosts.wait_for("CATMAID", lambda: web.host.run(up) == "200", 30)


FORMS = [
    {"name": "phone-light", "viewport": {"width": 375, "height": 667}, "color_scheme": "light"},
    {"name": "phone-dark", "viewport": {"width": 375, "height": 667}, "color_scheme": "dark"},
    {"name": "desktop-light", "viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    {"name": "desktop-dark", "viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
]

# Each text's contrast by WCAG: its colour and the nearest background behind it.
CONTRASTS = """() => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[0-9.]+/g).map((n) => n / 255)
            .map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const opaque = (colour) => !colour.endsWith(", 0)") && colour !== "transparent";
    const behind = (element) => {
        const own = getComputedStyle(element).backgroundColor;
        return opaque(own) || !element.parentElement ? own : behind(element.parentElement);
    };
    return Array.from(document.querySelectorAll("main *")).map((element) => {
        const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    });
}"""

LOOK_AT = """
found = {}
for form in forms:
    name = form.pop("name")
    seen = browser.new_context(**form)
    page = seen.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    answer = page.goto(url)
    found[name] = {
        "status": answer.status,
        "headers": answer.headers,
        "title": page.title(),
        "text": page.inner_text("main"),
        "elements": page.evaluate("Array.from(document.querySelectorAll('main *'), (one) => one.localName)"),
        "end": page.evaluate("Array.from(document.querySelectorAll('time'), (one) => one.dateTime)"),
        "wide": page.evaluate("document.documentElement.scrollWidth - innerWidth"),
        "font": page.evaluate("parseFloat(getComputedStyle(document.querySelector('main p')).fontSize)"),
        "contrasts": page.evaluate(contrasts),
        "asked": asked,
        "picture": page.screenshot(),
    }
    seen.close()
result = found
"""


def check_notice(client: hosts.BedHost, web: Web, kind: str) -> list[dict[str, Any]]:
    """What every notice has to be in all forms; pictures go to $CATMAID_PICTURES."""
    found = look(client, web, LOOK_AT, url=f"{API}/?pid=1", forms=FORMS, contrasts=CONTRASTS)
    if folder := os.environ.get("CATMAID_PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, one in found.items():
            (Path(folder) / f"{kind}-{name}-{web.suite}.png").write_bytes(one["picture"])
    for one in found.values():
        assert one["headers"]["cache-control"] == "no-store"
        assert one["wide"] <= 0
        assert one["font"] >= 16
        assert min(one["contrasts"]) >= 4.5
        assert one["asked"] == [f"{API}/?pid=1"]
        assert set(one["elements"]) <= {"h1", "p", "time", "a"}
    for name, one in found.items():
        corner = Image.open(io.BytesIO(one["picture"])).convert("RGB").crop((0, 0, 4, 4)).tobytes()
        assert (min(corner) > 128) == name.endswith("light")
    return list(found.values())


@pytest.mark.row_18
def test_the_page_while_closed(client: hosts.BedHost, web: Web) -> None:
    with closed(web):
        for one in check_notice(client, web, "planned"):
            assert one["status"] == 503
            assert one["title"] == "CATMAID is closed for maintenance"
            assert 'The database moves to a "faster" <machine>.' in one["text"]
            assert "1 December 2026, 18:00" in one["text"]
            assert one["end"] == ["2026-12-01T18:00:00+01:00"]
            assert one["headers"]["retry-after"] == "Tue, 01 Dec 2026 17:00:00 GMT"
    assert look(client, web, "page.goto(url)\nresult = page.title()", url=f"{API}/") == "Stand-in application"


@pytest.mark.row_18
def test_the_page_while_away(client: hosts.BedHost, web: Web) -> None:
    with away(web):
        for one in check_notice(client, web, "outage"):
            assert one["status"] == 502
            assert one["title"] == "CATMAID can't be reached"
            assert one["end"] == []
    assert look(client, web, "page.goto(url)\nresult = page.title()", url=f"{API}/") == "Stand-in application"


# ---- HTTP/2 ----


@pytest.mark.row_19
def test_http_2_is_negotiated(client: hosts.BedHost, web: Web) -> None:
    """For all three sites, and HTTP/1.1 for who doesn't know it; the browser's own is in the page's test above."""
    script = """
import json, httpx
names = ["tracing.test/catmaid/whoami", "other.test/whoami", "private.test/"]
found = {}
for two in (True, False):
    with httpx.Client(http2=two, verify=False, trust_env=False) as client:
        found["h2" if two else "h1"] = [client.get(f"https://{name}").http_version for name in names]
print(json.dumps(found))
"""
    code = base64.b64encode(script.encode()).decode()
    found = client.run(f"echo {code} | base64 -d | /opt/client/bin/python -")
    assert found == '{"h2": ["HTTP/2", "HTTP/2", "HTTP/2"], "h1": ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1"]}'
    loaded = client.run("h2load -n 40 -c 4 -m 10 https://tracing.test/catmaid/static/standin.css")
    assert "Application protocol: h2" in loaded
    assert "40 succeeded, 0 failed" in loaded
