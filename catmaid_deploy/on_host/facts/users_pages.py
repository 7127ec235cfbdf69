"""What users ask for, asked by the host itself. A part of a script, see `asking`."""

import hashlib
import re
import socket
import ssl
import threading
import time

from catmaid_deploy.on_host.facts.nginx import HERE
from catmaid_deploy.on_host.trust import ROOT

# How long a page may take. Who asks is the host itself: no network is in between.
PAGE_SECONDS = 10
SILENT = "no answer within %d s" % PAGE_SECONDS
# What nginx says for a program that doesn't listen.
BAD_GATEWAY = 502
# A connection from the host to itself is there at once.
CONNECTION_SECONDS = 5
UNREACHED = "no connection within %d s" % CONNECTION_SECONDS
# Requests at once to one program: with few threads it has users to serve meanwhile.
AT_ONCE = 2
MOST_BYTES = 1 << 20
# With the key of the host, and with the other half of each cookie.
KEY, PASSWORDS = "/etc/nginx/conf.d/catmaid-key.conf", "/etc/nginx/conf.d/catmaid-passwords.conf"


def _cookies():
    """What lets the host itself in where a password is asked for, by the guard's name: root alone may read it."""
    key = re.search(r"\$catmaid_key \{\s*default (\w+);", ROOT.read(KEY))
    halves = re.findall(r'^map "\$cookie_(\w+)\|(\w+)\$catmaid_key"', ROOT.read(PASSWORDS), re.MULTILINE)
    return {name: half + key.group(1) for name, half in halves} if key else {}


def _connect(page, context):
    connection = socket.create_connection((HERE.encode(), page["port"]), timeout=PAGE_SECONDS)
    if not page["https"]:
        return connection
    return context.wrap_socket(connection, server_hostname=page["sni"])


def _request(page, cookies):
    lines = ["GET %s HTTP/1.1" % page["path"], "Host: " + page["host"], "User-Agent: catmaid-deploy"]
    if page["websocket"]:
        origin = "%s://%s" % ("https" if page["https"] else "http", page["host"])
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Origin: " + origin]
        lines += ["Sec-WebSocket-Key: Y2F0bWFpZC1kZXBsb3kgIQ=="]
    elif page["program"]:
        lines += ["Connection: close"]
    if page["guard"] in cookies:
        lines += ["Cookie: %s=%s" % (page["guard"], cookies[page["guard"]])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _answer(page, context, cookies, shown, kept):
    """The status that a page answers with, or why there is none. The certificate goes into ``shown``, by the name.

    What nginx answers by itself is asked over one connection, which ``kept`` has by the name: of hundreds of tile sets
    the handshakes would take longer than all else.
    """
    connection = again = None if page["program"] else kept.pop(page["name"], None)
    try:
        if connection is None:
            connection = _connect(page, context)
            if page["https"]:
                shown[page["name"]] = hashlib.sha256(connection.getpeercert(True)).hexdigest()
        connection.sendall(_request(page, cookies))
        with connection.makefile("rb") as answer:
            status = re.match(rb"HTTP/1\.\d (\d{3})", answer.readline(1 << 16))
            # What a handshake opens has no end. A page is read, so that its program isn't left with half of it.
            if page["program"] and not page["websocket"]:
                answer.read(MOST_BYTES)
            elif status and not page["program"] and _read_to_its_end(answer):
                kept[page["name"]] = connection
    except socket.timeout:
        return SILENT
    except (OSError, ValueError) as error:
        status = None
        if again is None:
            return getattr(error, "strerror", None) or str(error)
    finally:
        if connection and kept.get(page["name"]) is not connection:
            connection.close()
    if status is None and again:
        return _answer(page, context, cookies, shown, kept)  # nginx has closed it meanwhile
    return int(status.group(1)) if status else "no answer"


def _read_to_its_end(answer):
    """Read the rest of an answer; whether another one may follow."""
    length, closes = None, False
    while True:
        name, _, value = answer.readline(1 << 16).decode("latin-1").strip().lower().partition(":")
        if not name:
            break
        length = int(value) if name == "content-length" else length
        closes = closes or (name == "connection" and "close" in value)
    return length is not None and length <= MOST_BYTES and len(answer.read(length)) == length and not closes


def _is_reached(port):
    """Whether something is there that takes a connection or refuses it."""
    try:
        socket.create_connection((HERE.encode(), port), timeout=CONNECTION_SECONDS).close()
    except socket.timeout:
        return False
    except OSError:
        pass
    return True


def _answers(pages, cookies, shown):
    """What each page answers, asked side by side; one that takes too long is left behind."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reached = {port: _is_reached(port) for port in {page["port"] for page in pages}}
    found = [SILENT if reached[page["port"]] else UNREACHED for page in pages]
    # A program that is silent takes no time from what others answer.
    by_program = {}
    for number, page in enumerate(pages):
        if reached[page["port"]]:
            by_program.setdefault(page["program"] or page["name"], []).append((number, page))

    def work(left):
        kept = {}
        while left:
            try:
                number, page = left.pop(0)
            except IndexError:
                return
            found[number] = _answer(page, context, cookies, shown, kept)

    threads = [
        threading.Thread(target=work, args=(left,), daemon=True)
        for left in by_program.values()
        for _ in range(min(AT_ONCE, len(left)))
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + PAGE_SECONDS
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    return list(found)


def _is_well(page, status, cookies):
    if not isinstance(status, int):
        return False
    # Where the host can't let itself in, the question for a password is nginx's own.
    if page["guard"] and page["guard"] not in cookies and status == 401:
        return True
    return status in page["good"] if page["good"] else status < 400
