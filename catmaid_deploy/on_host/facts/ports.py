"""Who listens on a host's ports. A part of a script, see `survey`."""

import re
import socket
import struct

from catmaid_deploy.on_host.facts.nginx import HERE
from catmaid_deploy.on_host.trust import (
    ROOT,
    handles,
    plain,
    proc,
    processes,
    start,
)

# Of Linux's headers, which Python's socket doesn't have.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP = 4, 20, 0x301
NLMSG_ERROR, NLMSG_DONE, TCP_LISTEN = 2, 3, 10


def answers(address):
    """Whether somebody takes a connection there, on this host or another."""
    try:
        socket.create_connection((address["host"].encode(), address["port"]), timeout=3).close()
        return True
    except OSError:
        return False


def listening():
    """Port, inode, user and address of all TCP sockets that listen, as `ss` asks the kernel: /proc/net/tcp has all
    connections too, and takes longer than all else here.
    """
    # sock_diag(7): a dump of the TCP sockets in the state LISTEN, and of each inet_diag_msg port, address, user, inode.
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as link:
            link.settimeout(5)
            head = (72, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0)
            link.send(struct.pack("=IHHIIBBBBI48x", *head, family, socket.IPPROTO_TCP, 0, 0, 1 << TCP_LISTEN))
            kind = None
            while kind != NLMSG_DONE:
                data = link.recv(1 << 20)
                while data:
                    length, kind = struct.unpack_from("=IH", data)
                    if kind == NLMSG_ERROR:
                        raise OSError("the kernel doesn't tell")
                    if kind == SOCK_DIAG_BY_FAMILY:
                        (port,), (uid, inode) = struct.unpack_from("!H", data, 20), struct.unpack_from("=II", data, 80)
                        size = 4 if family == socket.AF_INET else 16
                        yield port, inode, uid, socket.inet_ntop(family, data[24 : 24 + size])
                    data = data[(length + 3) & ~3 :]


def listening_by_table():
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in ROOT.read(table).splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                address, _, port = words[1].partition(":")
                # Words of four bytes each, in the processor's order.
                parts = [int(address[n : n + 8], 16) for n in range(0, len(address), 8)]
                family = socket.AF_INET if len(parts) == 1 else socket.AF_INET6
                packed = b"".join(struct.pack("=I", part) for part in parts)
                yield int(port, 16), int(words[9]), int(words[7]), socket.inet_ntop(family, packed)


def open_sockets():
    """Port, inode, user and address of all TCP sockets that listen."""
    try:
        return list(listening())
    except OSError:  # a kernel without that module
        return list(listening_by_table())


def listeners(ports):
    """For each TCP port the processes that listen on it, by name: number, and the service that starts it."""
    inodes = {"socket:[%d]" % inode: port for port, inode, _, _ in open_sockets() if port in ports}
    found = {port: {} for port in ports}
    if inodes:
        for pid in processes():
            for port in {inodes[handle] for handle in handles(pid) if handle in inodes}:
                name = plain(proc(pid, "comm").strip())
                if name not in found[port]:
                    found[port][name] = {"pid": pid, "unit": None if name == "nginx" else service_of(pid)}
    return found


def group_of(pid):
    """The process group of a process, or None."""
    line = proc(pid, "stat")
    return int(line.rpartition(")")[2].split()[2]) if line else None


def service_of(pid):
    """The systemd service that a process is the main one of; None for a session's, a container's, or another part."""
    # systemd's own hierarchy: the only one, or one of several.
    found = re.search(r"^(?:0:|\d+:name=systemd):.*/([A-Za-z0-9@:._-]+\.service)$", proc(pid, "cgroup"), re.MULTILINE)
    if not found:
        return None
    unit = found.group(1)
    main = start(["systemctl", "show", "--property=MainPID", "--value", unit]).end()[1].strip()
    return unit if main.isdigit() and main != "0" and group_of(int(main)) == group_of(pid) else None


def to_this_host(port, seconds):
    """A connection by TCP. A host as text, not bytes, would load the tables of international names (IDNA) first."""
    return socket.create_connection((HERE.encode(), port), timeout=seconds)
