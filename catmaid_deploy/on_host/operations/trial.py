"""A new web server or Daphne is asked a real page before it serves users. A part of the job's script, see `apply`."""

import http.client
import json
import os
import re
import struct
import threading
import time

from catmaid_deploy.on_host.trust import LARGEST

# What all trials of a web server may take together; each of them has its own limit.
TRIAL_SECONDS = 600


class LocalConnection(http.client.HTTPConnection):
    """HTTP over a socket, with the rights of ``at``."""

    def __init__(self, at, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.at, self.path = at, path

    def connect(self):
        self.sock = self.at.connect(self.path, self.timeout)


def lacks_name(page, status):
    """What is behind Django's short answer to a name that it doesn't know."""
    if status == 400:
        yield "400 is what Django answers to a name that ALLOWED_HOSTS in settings.py lacks: %s" % page["host"]


def ask_http(at, path, page, timeout):
    """The status of an answer by HTTP over a socket."""
    connection = LocalConnection(at, path, timeout)
    scheme = "https" if page["https"] else "http"
    try:
        connection.request("GET", page["path"], headers={"Host": page["host"], "X-Forwarded-Proto": scheme})
        answer = connection.getresponse()
        while answer.read(65536):
            pass
        return answer.status
    finally:
        connection.close()


def ask_uwsgi(at, path, page, timeout):
    """The status of an answer by the uwsgi protocol, with what nginx would send."""
    where, _, query = page["path"].partition("?")
    values = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": page["path"],
        "PATH_INFO": where,
        "QUERY_STRING": query,
        "CONTENT_LENGTH": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": page["host"],
        "SERVER_PORT": "443" if page["https"] else "80",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_SCHEME": "https" if page["https"] else "http",
        "HTTP_HOST": page["host"],
        "HTTP_X_FORWARDED_PROTO": "https" if page["https"] else "http",
        "HTTP_USER_AGENT": "catmaid-deploy",
    }
    if page["https"]:
        values["HTTPS"] = "on"
    block = b""
    for name, value in values.items():
        for text in (name.encode(), value.encode()):
            block += struct.pack("<H", len(text)) + text
    with at.connect(path, timeout) as connection:
        connection.sendall(struct.pack("<BHB", 0, len(block), 0) + block)
        answer = connection.makefile("rb")
        try:
            status = re.match(rb"HTTP/1\.\d (\d{3})", answer.readline(65536))
            while answer.read(65536):
                pass
        except ConnectionError:
            status = None
    if not status:
        raise OSError("no answer: its process died")
    return int(status.group(1))


def try_often(at, path, page, number, seconds=TRIAL_SECONDS):
    """Ask a page by four threads, so often and until each worker has answered it: the first answer of a worker takes
    seconds, since Django loads the URLs for it. Returns each kind of answer, and what went wrong.
    """
    answers, faults, left = set(), [], [number]
    cold, end = [True], time.monotonic() + seconds

    def ask():
        while (left[0] > 0 or cold[0]) and not faults and time.monotonic() < end:
            if left[0] <= 0:
                time.sleep(0.05)  # what loads needs the processor
            left[0] -= 1
            try:
                answers.add(ask_uwsgi(at, path, page, 30))
            except (OSError, ValueError) as error:
                faults.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while cold[0] and any(thread.is_alive() for thread in threads):
        cold[0] = has_cold_worker(at, os.path.dirname(path) + "/private/stats.socket")
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    return sorted(answers), faults[:1]


def uwsgi_workers(at, path):
    """uWSGI's workers as its statistics socket tells them."""
    with at.connect(path, 10) as connection:
        text = connection.makefile("rb").read(LARGEST).decode("utf-8", "replace")
    return json.loads(text)["workers"]


def worker_states(at, path):
    """For each process of uWSGI's workers whether it takes requests."""
    return {int(worker["pid"]): bool(worker["accepting"]) for worker in uwsgi_workers(at, path)}


def has_cold_worker(at, path):
    """Whether one of uWSGI's workers has answered nothing yet. Gunicorn's have loaded the URLs when they are ready."""
    try:
        return any(not worker["requests"] for worker in uwsgi_workers(at, path))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def loaded(at, run_dir, server):
    """The processes of a web server that have loaded the application."""
    if server == "gunicorn":
        return at.names(run_dir + "/workers")
    try:
        return [pid for pid, accepts in worker_states(at, run_dir + "/private/stats.socket").items() if accepts]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []
