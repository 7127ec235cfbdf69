"""What a host answers to its users, for the runbook that verifies: asked beside its health, in the same command.

Runs on the host like `health_on_host`, to which it is joined. Reads only, but for what a user would ask: pages, a
WebSocket, a task that returns its arguments.
"""

import http.client
import os
import time
from concurrent.futures import ThreadPoolExecutor

from facts.health_on_host import health, trusting
from facts.survey_on_host import answer, to_this_host

MOST_FOLDERS = 200


class Local(http.client.HTTPConnection):
    """A connection to this host's nginx by a site's name, whatever DNS says."""

    def __init__(self, site):
        super().__init__("127.0.0.1", site["port"], timeout=30)
        self.site = site

    def connect(self):
        self.sock = to_this_host(self.site["port"], 30)
        if self.site["https"]:
            self.sock = trusting().wrap_socket(self.sock, server_hostname=self.site["name"])


def asked(one):
    """What a page answers: status and headers."""
    connection = Local(one["site"])
    headers = dict({"Host": one["site"]["name"], "User-Agent": "catmaid-deploy verify"}, **one.get("headers", {}))
    begin = time.time()
    try:
        connection.request("GET", one["path"], headers=headers)
        if headers.get("Upgrade"):
            # The answer to a handshake has no end: the connection goes on.
            line = connection.sock.recv(4096).decode("latin-1").split("\r\n")[0]
            return {"status": int(line.split()[1]), "headers": {}, "seconds": time.time() - begin}
        told = connection.getresponse()
        told.read(1 << 20)
        return {
            "status": told.status,
            "headers": {name.lower(): value for name, value in told.getheaders()},
            "seconds": time.time() - begin,
        }
    except (OSError, http.client.HTTPException, ValueError, IndexError) as error:
        return {"status": 0, "headers": {}, "error": str(error) or type(error).__name__, "seconds": time.time() - begin}
    finally:
        connection.close()


def first_file(folder, suffix):
    """A file of a tile set or of static files; None where none is soon found, since tiles are many."""
    for number, (place, folders, names) in enumerate(os.walk(folder)):
        if number == MOST_FOLDERS:
            return None
        folders.sort()
        names = sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))
        if names:
            return os.path.relpath(os.path.join(place, names[0]), folder)
    return None


def find_and_ask(page):
    """What a page answers; where it lies in a folder, a file is looked for there, and named."""
    if "folder" not in page:
        return asked(page)
    name = first_file(page["folder"], page["suffix"])
    return dict(asked(dict(page, path=page["path"] + (name or ""))), found=name)


def pages(question):
    with ThreadPoolExecutor(4) as pool:
        return {"pages": list(pool.map(find_and_ask, question["pages"]))}


def verify(question):
    return health(question, "verify", pages)


answer(verify)
