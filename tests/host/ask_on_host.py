"""Clients on a host that ask for pages and tiles all the time; prints what each request was, as JSON.

python3 ask_on_host.py SECONDS CLIENTS PATH...: a path with %d in it gets another number each time.
"""

import http.client
import itertools
import json
import ssl
import sys
import threading
import time

TIMEOUT = 20
numbers = itertools.count()
found, begin = [], time.time()


def ask(path, until):
    """Ask by a new connection each time, since one that hangs is no measure of the others."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    while time.time() < until:
        start, status = time.time(), 0
        connection = http.client.HTTPSConnection("localhost", 443, timeout=TIMEOUT, context=context)
        try:
            connection.request("GET", path % next(numbers) if "%d" in path else path, headers={"Host": "localhost"})
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        found.append([path, start, time.time() - start, status])
        time.sleep(0.05)


seconds, clients, *paths = sys.argv[1:]
threads = [
    threading.Thread(target=ask, args=(path, begin + float(seconds)), daemon=True)
    for path in paths
    for _ in range(int(clients))
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(found))
