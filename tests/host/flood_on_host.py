"""Runs on a host: one visitor at an address of its own who does his worst, and others who want a page meanwhile.

The first argument is JSON: for how many seconds, with how many connections, and which kinds of attack. Prints JSON: how
long the page took with all that it needs, for whom, before the attack, meanwhile and afterwards, and what was answered.
"""

import asyncio
import base64
import json
import os
import random
import ssl
import struct
import sys
import time
from collections import Counter

question = json.loads(sys.argv[1])
HOST = question["host"]
ATTACKER, NEIGHBOUR, OTHER = "127.0.0.66", "127.0.0.66", "127.0.0.7"
SESSION = "sessionid=abcdefghijklmnopqrstuvwxyz012345"
PAGE = ("/catmaid/", "/catmaid/static/standin.js", "/catmaid/whoami", "/tiles/fafb/0/1/2.jpg")

tls = ssl.create_default_context()
tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
tls_2 = ssl.create_default_context()
tls_2.check_hostname, tls_2.verify_mode = False, ssl.CERT_NONE
tls_2.set_alpn_protocols(["h2"])

answers = Counter()
end = 0.0


async def opened(address, context=tls):
    return await asyncio.open_connection(
        "127.0.0.1", 443, ssl=context, server_hostname=HOST, local_addr=(address, 0), ssl_handshake_timeout=30
    )


async def asked(reader, writer, path, headers="", method="GET", body=b""):
    """The status of one answer, whose body is read to its end."""
    head = "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (method, path, HOST, headers)
    writer.write(head.encode() + body)
    await writer.drain()
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    if "content-length:" in answer:
        await reader.readexactly(int(answer.split("content-length:")[1].split()[0]))
    elif "chunked" in answer:
        while (size := int(await reader.readline(), 16)) or await reader.readline() != b"\r\n":
            await reader.readexactly(size + 2)
    return int(answer.split()[1])


# ---- one visitor's worst: each of these goes on until the end, on one connection after the other ----


async def fast():
    """A page that takes a while, again and again."""
    reader, writer = await opened(ATTACKER)
    while time.monotonic() < end:
        answers["fast %d" % await asked(reader, writer, "/catmaid/slow?seconds=0.2")] += 1


async def slow():
    """A request that comes letter by letter."""
    _, writer = await opened(ATTACKER)
    writer.write(("GET /catmaid/ HTTP/1.1\r\nHost: %s\r\nX-Slow: " % HOST).encode())
    while time.monotonic() < end:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(3)


async def resets():
    """HTTP/2 streams that are given up as soon as they are asked for."""
    reader, writer = await opened(ATTACKER, tls_2)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
    path, host = b"/catmaid/slow?seconds=0.2", HOST.encode()
    fields = b"\x82\x87\x04" + bytes([len(path)]) + path + b"\x01" + bytes([len(host)]) + host
    stream = 1
    while time.monotonic() < end and not reader.at_eof():
        for _ in range(50):
            writer.write(frame(1, 5, stream, fields) + frame(3, 0, stream, struct.pack("!I", 8)))
            stream += 2
            answers["reset"] += 1
        await writer.drain()
        try:
            await asyncio.wait_for(reader.read(1 << 16), 0.05)
        except asyncio.TimeoutError:
            pass


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


async def passwords():
    """Another wrong password each time."""
    reader, writer = await opened(ATTACKER)
    while time.monotonic() < end:
        word = base64.b64encode(b"alice:%d" % random.getrandbits(64)).decode()
        status = await asked(reader, writer, "/tiles/private/0/1/2.jpg", "Authorization: Basic %s\r\n" % word)
        answers["passwords %d" % status] += 1


async def headers():
    """The largest headers that nginx takes."""
    reader, writer = await opened(ATTACKER)
    large = "".join("X-Large-%d: %s\r\n" % (n, "a" * 7900) for n in range(3))
    while time.monotonic() < end:
        answers["headers %d" % await asked(reader, writer, "/catmaid/slow?seconds=0.2", large)] += 1


async def bodies():
    """The largest bodies, some of which come slowly."""
    reader, writer = await opened(ATTACKER)
    size = 20 << 20
    writer.write(("POST /catmaid/body HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (HOST, size)).encode())
    pause, sent = random.choice((0, 0.2, 1)), 0
    while time.monotonic() < end and sent < size and not reader.at_eof():
        writer.write(b"a" * (1 << 16))
        sent += 1 << 16
        await asyncio.wait_for(writer.drain(), 30)
        answers["bodies"] += sent == 1 << 18  # well begun: a slow machine ends none of them in a few seconds
        await asyncio.sleep(pause)


async def again(kind):
    while time.monotonic() < end:
        try:
            await asyncio.wait_for(kind(), max(0.1, end - time.monotonic()))
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError, IndexError):
            await asyncio.sleep(0.1)


# ---- others, who want the page ----


async def page(address, cookie):
    """How many seconds the page takes with all that it needs, on a connection of its own."""
    begin = time.monotonic()
    reader, writer = await opened(address)
    for path in PAGE:
        status = await asked(reader, writer, path, "Cookie: %s\r\n" % cookie if cookie else "")
        answers["page %d" % status] += status != 200
    writer.close()
    return time.monotonic() - begin


async def pages(who, address, seconds):
    """The page again and again, as somebody who works there; of one that fails or hangs, how long that took."""
    until, found = time.monotonic() + seconds, []
    while time.monotonic() < until:
        begin = time.monotonic()
        try:
            found.append(await asyncio.wait_for(page(address, SESSION), 30))
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            answers["page failed for " + who] += 1
            found.append(time.monotonic() - begin)
        await asyncio.sleep(0.2)
    found.sort()
    return {"worst": round(found[-1], 2), "middle": round(found[len(found) // 2], 2), "times": len(found)}


async def everybody(seconds):
    who = {"neighbour": NEIGHBOUR, "other": OTHER}
    return dict(zip(who, await asyncio.gather(*(pages(one, address, seconds) for one, address in who.items()))))


def attack():
    """In a process of its own: the visitor is another machine."""

    async def run():
        kinds = [globals()[name] for name in question["kinds"]]
        await asyncio.gather(*(again(kinds[n % len(kinds)]) for n in range(question["connections"])))

    asyncio.run(run())


reader, writer = os.pipe()
found = {"before": asyncio.run(everybody(question["control"]))}
end = time.monotonic() + question["seconds"]
child = os.fork()
if child == 0:
    os.nice(10)  # his machine is not the one that serves
    answers.clear()
    attack()
    os.write(writer, json.dumps(answers).encode())
    os._exit(0)
os.close(writer)
time.sleep(1)
found["meanwhile"] = asyncio.run(everybody(question["seconds"] - 2))
os.waitpid(child, 0)
with os.fdopen(reader) as pipe:
    found["attacker"] = json.loads(pipe.read() or "{}")
found["afterwards"] = asyncio.run(everybody(question["control"]))
found["answers"] = answers
json.dump(found, sys.stdout)
