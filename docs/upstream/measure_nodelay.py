"""What one remote command costs, with TCP_NODELAY and without: pyinfra HOST docs/upstream/measure_nodelay.py --dry"""

import socket
import time
from statistics import median

from pyinfra import host, logger
from pyinfra.api import StringCommand

transport = host.connector.client.get_transport()


def milliseconds(nodelay: int) -> float:
    """The median of fifty commands."""
    transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
    found = []
    for _ in range(50):
        start = time.perf_counter()
        host.run_shell_command(StringCommand("true"))
        found.append(1000 * (time.perf_counter() - start))
    return median(found)


for _ in range(3):
    logger.info(f"without {milliseconds(0):.1f} ms, with {milliseconds(1):.1f} ms a command")
