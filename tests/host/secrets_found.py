"""Where on a host, and in what a run prints, secrets are found by their own values."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote

from testbed.hosts import BedHost

# Each command line of the host, seen while it runs, with no secret of its own.
WATCHER = r"""
import glob, time
seen = set()
with open("/root/seen", "ab", buffering=0) as file:
    while True:
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                line = open(path, "rb").read()
            except OSError:
                continue
            if line not in seen:
                seen.add(line)
                file.write(line.replace(b"\0", b" ") + b"\n")
        time.sleep(0.02)
"""
# Files that others can read, and logs whoever can read them; not what the host gives as /proc and /sys.
SEARCH = r"""
import json, os, stat, subprocess, sys
forms = [bytes.fromhex(form) for form in json.load(sys.stdin)]
def holds(data):
    return any(form in data for form in forms)
for top, folders, files in os.walk("/"):
    folders[:] = [one for one in folders if not os.path.ismount(os.path.join(top, one)) or one in ("run", "tmp")]
    for name in files:
        path = os.path.join(top, name)
        try:
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode) or status.st_size > 100 << 20:
                continue
            if not status.st_mode & 0o004 and not path.startswith(("/var/log/", "/root/seen")):
                continue
            with open(path, "rb") as file:
                if holds(file.read()):
                    print(path)
        except OSError:
            continue
if holds(subprocess.run(["journalctl", "--all", "--no-pager"], capture_output=True).stdout):
    print("journal")
"""


def forms(value: str) -> list[bytes]:
    """A secret as itself, quoted for a URL, and in base64, at each of the three places that it may have there."""
    found = [value.encode(), quote(value, safe="").encode()]
    for before in range(3):
        # Without what depends on its neighbours.
        code = base64.b64encode(bytes(before) + value.encode())
        found.append(code[4 if before else 0 : -4])
    return found


def watch(host: BedHost) -> None:
    """Begin to note all command lines, in /root/seen."""
    host.put("/root/watcher.py", WATCHER.encode())
    host.run("systemd-run --quiet --unit=watcher python3 /root/watcher.py")


def search(host: BedHost, values: Iterable[str]) -> list[str]:
    """Where any of these secrets is: paths, and 'journal'."""
    found = json.dumps([form.hex() for value in values for form in forms(value)])
    host.put("/root/search.py", SEARCH.encode())
    host.put("/root/forms", found.encode(), "600")
    return host.run("python3 /root/search.py < /root/forms; rm /root/forms", timeout=300).splitlines()


def printed(text: str, values: Iterable[str]) -> bool:
    """Whether a text has any of them."""
    return any(form in text.encode() for value in values for form in forms(value))
