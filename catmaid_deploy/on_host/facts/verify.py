"""What a host answers to its users, for the runbook that verifies: asked beside its health, in the same command.

Runs on the host like `health`, to which it is joined. Reads only, but for what a user would ask: pages, a
WebSocket, a task that returns its arguments.
"""

import http.client
import stat
import time
from concurrent.futures import ThreadPoolExecutor

from catmaid_deploy.on_host.facts.answer import answer
from catmaid_deploy.on_host.facts.health import health, trusting
from catmaid_deploy.on_host.facts.places import Places
from catmaid_deploy.on_host.facts.ports import to_this_host
from catmaid_deploy.on_host.facts.web import nginxs_user
from catmaid_deploy.on_host.trust import plain

# How much is looked through for a file.
MOST_NAMES_OF_ONE, MOST_FOLDERS = 2000, 200


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
            "headers": {plain(name.lower()): plain(value) for name, value in told.getheaders()},
            "seconds": time.time() - begin,
        }
    except (OSError, http.client.HTTPException, ValueError, IndexError) as error:
        return {
            "status": 0,
            "headers": {},
            "error": plain(str(error)) or type(error).__name__,
            "seconds": time.time() - begin,
        }
    finally:
        connection.close()


def first_file(at, folder, ends):
    """A file of a tile set or of static files by what its path ends with; None where none is soon found, since tiles
    are many.
    """
    left, queue = MOST_FOLDERS, [folder]
    while queue and left:
        left -= 1
        place = queue.pop()
        names = at.names(place, MOST_NAMES_OF_ONE)
        paths = ["%s/%s" % (place, name) for name in names if name[0] != "." or "/" + name in ends]
        file = next((path for path in paths if path.endswith(tuple(ends)) and at.is_file(path)), None)
        if file:
            return file[len(folder) + 1 :]
        statuses = [(path, at.status(path)) for path in paths]
        queue += [path for path, status in reversed(statuses) if status and stat.S_ISDIR(status.st_mode)]
    return None


def ask_examples(question, places):
    """Of each page that lies in a folder a file that is there, as nginx's workers find it."""
    nginx = nginxs_user(question["survey"]["nginx"])
    return [
        places.ask(nginx, page["folder"], lambda at, page=page: first_file(at, page["folder"], page["ends"]))
        if "folder" in page
        else None
        for page in question["pages"]
    ]


def find_and_ask(page, file):
    """What a page answers; of one in a folder the file that was found there, too."""
    if file is None:
        return asked(page)
    return dict(asked(dict(page, path=page["path"] + (file.value or ""))), found=file.value)


def pages(question, files):
    with ThreadPoolExecutor(4) as pool:
        return {"pages": list(pool.map(find_and_ask, question["pages"], files))}


def verify(question):
    places = Places()
    files = ask_examples(question, places)
    return health(question, "verify", places, lambda question: pages(question, files))


answer(verify)
