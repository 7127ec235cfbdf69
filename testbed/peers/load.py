"""Web servers under load, from the client on the bed: tiles by wrk, a whole page by h2load; and what they serve."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from testbed.hosts import BedHost
from testbed.peers.sites import TILES
from testbed.podman import BedError, root_words

TILE_COUNT = 20_000
# Fewer than the tasks have nginx keep open (OPEN_TILES in tasks/nginx/site.py).
KEPT_COUNT = 400
CONNECTIONS = 16
SECONDS = 2

# Names by their number; one in five is missing.
_TILES = f"""
python3 - <<'END'
import os, random
dice = random.Random(7)
for n in range({TILE_COUNT}):
    if n % 5 != 4:
        folder = "{TILES}/%d/%d" % (n // 1000, n // 50 % 20)
        os.makedirs(folder, exist_ok=True)
        with open("%s/%d.jpg" % (folder, n % 50), "wb") as tile:
            tile.write(dice.randbytes(dice.randrange(6000, 16000)))
END
"""
# The step has no divisor with the count in common: each name comes once before any comes again.
_WALK = """
local count, at, kind
function init(args)
    count, at, kind = tonumber(args[1]), tonumber(args[2]), args[3]
end
function request()
    local missing
    repeat
        at = (at + 7919) % count
        missing = at % 5 == 4
    until kind == "all" or (kind == "misses") == missing
    local path = string.format("/tiles/fafb/%d/%d/%d.jpg", math.floor(at / 1000), math.floor(at / 50) % 20, at % 50)
    return "GET " .. path .. " HTTP/1.1\\r\\nHost: site\\r\\n\\r\\n"
end
"""

# What CATMAID's page of 2022 loads: 296 files of 13.9 MB, half of them below 12 kB, the largest 2.8 MB; gzip
# makes a quarter of them.
PAGE_COUNT = 296
PAGE_BYTES = 13_900_000
_PAGE = f"""
import itertools, os, random, sys
dice = random.Random(7)
words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyzSNTV", k=dice.randrange(2, 14))) for _ in range(2000)]
weights = list(itertools.accumulate(1 / (n + 1) ** 1.2 for n in range(len(words))))
shapes = ["  var %s = %s.%s(%s);", "  if (%s && %s) {{", "  }}", "    return %s.%s;", "  this.%s = function(%s, %s) {{",
    "    // %s %s %s %s %s %s", "    %s.%s({{%s: %s, '%s': '%s'}});", ""]
text = ""
while len(text) < 2_790_000:
    some = [dice.choice(shapes) for _ in range(1000)]
    text += "\\n".join(some) % tuple(dice.choices(words, cum_weights=weights, k="".join(some).count("%s"))) + "\\n"
sizes = [min(dice.lognormvariate(9.4, 1.6), 700_000) for _ in range({PAGE_COUNT} - 1)]
scale = ({PAGE_BYTES} - 2_790_000) / sum(sizes)
os.makedirs(sys.argv[1], exist_ok=True)
for n, size in enumerate([2_790_000] + [min(int(size * scale), 2_790_000) for size in sizes]):
    begin = dice.randrange(2_790_001 - size)
    with open("%s/%03d.%s" % (sys.argv[1], n, "css" if n % 13 == 12 else "js"), "w") as file:
        file.write(text[begin : begin + size])
"""


def put_tiles(host: BedHost, client: BedHost) -> None:
    """The tiles on the host, and the order in which wrk asks for them."""
    host.run(_TILES)
    client.put("/root/walk.lua", _WALK.encode())
    names = (
        f"/tiles/fafb/{n // 1000}/{n // 50 % 20}/{n % 50}.jpg"
        for n in (7919 * at % TILE_COUNT for at in range(TILE_COUNT))
    )
    client.put("/root/walk", "".join(f"{name}\n" for name in names).encode())


def put_page(host: BedHost, client: BedHost, folder: str, url: str) -> None:
    """A page's files in a folder of the host, and their addresses on the client."""
    host.run(f"python3 - {folder} <<'END'\n{_PAGE}END")
    names = host.run(f"ls {folder}").split()
    client.put("/root/page", "".join(f"{url}/{name}\n" for name in names).encode())


def tiles(client: BedHost, base: str, kind: str, start: int, names: int = TILE_COUNT) -> tuple[int, float]:
    """Tiles that wrk gets within SECONDS, and how many a second: ``all``, ``hits`` or ``misses`` of so many names.

    Raises BedError where connections fail.
    """
    words = f"wrk -t1 -c{CONNECTIONS} -d{SECONDS}s -s /root/walk.lua {base} -- {names} {start} {kind}"
    text = client.run(words)
    count, rate = re.search(r"(\d+) requests in", text), re.search(r"Requests/sec:\s+([\d.]+)", text)
    if "Socket errors" in text or not count or not rate:
        raise BedError(f"wrk had errors: {text}")
    return int(count.group(1)), float(rate.group(1))


def tiles_by_http2(client: BedHost, base: str, start: int) -> tuple[int, float]:
    """Tiles that h2load gets by HTTP/2, as many at once as a browser asks for, and how many a second.

    Debian's nginx ends a connection after 1,000 of them.

    Raises BedError where requests have no answer.
    """
    some = (
        f"(tail -n +{start % TILE_COUNT + 1} /root/walk; head -n {start % TILE_COUNT} /root/walk) | sed 's#^#{base}#'"
    )
    text = client.run(f"{some} > /root/tiles && h2load -t1 -c{CONNECTIONS} -m8 -n {CONNECTIONS * 990} -i /root/tiles")
    rate = re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", text)
    count = re.search(r"requests: .*?(\d+) done, .* 0 errored, 0 timeout", text)
    if not count or not rate:
        raise BedError(f"h2load had errors: {text}")
    return int(count.group(1)), float(rate.group(1))


@dataclass(frozen=True)
class Page:
    """One load of a whole page."""

    seconds: float
    bytes: int


_UNITS = {"ms": 1e-3, "us": 1e-6, "s": 1.0}


def page(client: BedHost, port: int) -> Page:
    """All files of a page over one new HTTP/2 connection, compressed as a browser asks for it.

    Raises BedError where one of them fails.
    """
    words = "h2load -t1 -c1 -m100 -i /root/page -H 'accept-encoding: gzip, deflate, br'"
    text = client.run(f"{words} -n {PAGE_COUNT} --connect-to=site:{port}")
    took = re.search(r"finished in ([\d.]+)(ms|us|s)", text)
    sent = re.search(r"traffic: .*?\((\d+)\) total", text)
    if f"{PAGE_COUNT} 2xx" not in text or not took or not sent:
        raise BedError(f"h2load had errors: {text}")
    return Page(float(took.group(1)) * _UNITS[took.group(2)], int(sent.group(1)))


def forget_tiles(host: BedHost) -> str:
    """Take the files out of this machine's memory; returns by what."""
    words = [*root_words(), "sh", "-c", "sync; echo 3 > /proc/sys/vm/drop_caches"]
    if subprocess.run(words, capture_output=True).returncode == 0:
        return "drop_caches"
    host.run(f"""
sync
python3 - <<'END'
import os
for folder, _, names in os.walk("{TILES}"):
    for name in names:
        file = os.open(os.path.join(folder, name), os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
END
""")
    return "posix_fadvise"
