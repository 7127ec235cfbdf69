"""Opens WebSockets of many visitors to the site on this host, holds them, and has each send back what it is sent.

python3 sockets_on_host.py COUNT SECONDS PATH: prints as JSON how many were open and answered at first and in the
end, and how long a page and one more WebSocket took meanwhile.
"""

import asyncio
import json
import os
import ssl
import struct
import sys
import time

# Of one address, as a limit for visitors has it.
EACH = 50
AT_ONCE = 32
# Whole frames, each its only one.
TEXT, PING, PONG = 0x81, 0x89, 0x8A
CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE


async def connection(number):
    """As another visitor for each EACH: the host has all addresses that begin with 127."""
    place = number // EACH
    address = "127.0.%d.%d" % (1 + place // 200, 1 + place % 200)
    return await asyncio.open_connection(
        "127.0.0.1", 443, ssl=CONTEXT, server_hostname="localhost", local_addr=(address, 0)
    )


async def opened(number, path):
    reader, writer = await connection(number)
    key = "Y2F0bWFpZC1kZXBsb3kgIQ=="
    lines = ["GET %s HTTP/1.1" % path, "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key, "Origin: https://localhost"]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head.splitlines()[0]:
        raise OSError(head.splitlines()[0].decode())
    return Socket(reader, writer)


class Socket:
    """Answers pings, as browsers do, and keeps what else comes; RFC 6455, section 5."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.came = reader, writer, asyncio.Queue()
        self.task = asyncio.ensure_future(self.read())

    async def read(self):
        try:
            while True:
                kind, length = await self.reader.readexactly(2)
                data = await self.reader.readexactly(length)
                if kind == PING:
                    self.send(PONG, data)
                else:
                    self.came.put_nowait((kind, data))
        except (OSError, asyncio.IncompleteReadError):
            self.came.put_nowait((0, b""))

    def send(self, kind, data):
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))
        self.writer.write(struct.pack("!BB", kind, 0x80 | len(data)) + mask + masked)


async def echo(socket, text):
    """Whether a short text comes back."""
    socket.send(TEXT, text.encode())
    return await socket.came.get() == (TEXT, text.encode())


async def page(number):
    begin = time.monotonic()
    reader, writer = await connection(number)
    writer.write(b"GET /catmaid/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read(-1)
    writer.close()
    return time.monotonic() - begin if b" 200 " in answer.splitlines()[0] else 1e9


async def all_of(works):
    """What each answers, so many at once; an error in the place of one that fails."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(work):
        async with turn:
            try:
                return await asyncio.wait_for(work, 60)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                return error

    return await asyncio.gather(*map(one, works))


async def main(count, seconds, path):
    begin = time.monotonic()
    found = await all_of(opened(number, path) for number in range(count))
    sockets = [one for one in found if isinstance(one, Socket)]
    result = {"open": len(sockets), "opened_in": time.monotonic() - begin}
    result["errors"] = sorted({str(one) for one in found if not isinstance(one, Socket)})[:3]
    result["first"] = (await all_of(echo(one, "first %d" % n) for n, one in enumerate(sockets))).count(True)
    pages, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        pages.append(await page(count + EACH))
        await asyncio.sleep(0.2)
    begin = time.monotonic()
    more = await opened(count + EACH, path)
    result["more"] = await echo(more, "more") and time.monotonic() - begin
    result["last"] = (await all_of(echo(one, "last %d" % n) for n, one in enumerate(sockets))).count(True)
    result["pages"], result["slowest_page"] = len(pages), max(pages)
    print(json.dumps(result), flush=True)
    os._exit(0)


asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
