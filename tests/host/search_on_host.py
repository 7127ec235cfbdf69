"""Runs on a host as one of its users: looks for secrets in all that this user can read, files and memory.

The first argument is the folder below which files are read, or "memory" for none. The secrets come disguised, or the
search would find itself: in hex, each byte changed by 0x5A. Prints JSON: the files and the processes that have one, and
how many were read.
"""

import json
import os
import stat
import sys

CHUNK = 1 << 20
# Where nothing is but what others have open.
ELSEWHERE = ("/proc", "/sys", "/dev/pts")

needles = []
for word in sys.argv[2:]:
    secret = bytes(byte ^ 0x5A for byte in bytes.fromhex(word))
    # As files have it, and as OpenSSL keeps a number in memory.
    needles += [secret, secret[::-1]]
longest = max(map(len, needles))


def has_one(file, begin, end):
    """Whether one of the needles stands in a part of a file."""
    file.seek(begin)
    before = b""
    while begin < end:
        data = file.read(min(CHUNK, end - begin))
        if not data:
            break
        begin += len(data)
        if any(needle in before + data for needle in needles):
            return True
        before = data[-longest:]
    return False


def files(top):
    for folder, names, found in os.walk(top):
        names[:] = [name for name in names if os.path.join(folder, name) not in ELSEWHERE]
        yield from (os.path.join(folder, name) for name in found)


def regions(pid):
    with open("/proc/%s/maps" % pid) as maps:
        for line in maps:
            span, rights = line.split()[:2]
            if rights.startswith("r") and "[v" not in line:
                begin, end = span.split("-")
                yield int(begin, 16), int(end, 16)


answer = {"files": [], "processes": {}, "files read": 0, "processes read": 0}
for path in files(sys.argv[1]) if sys.argv[1] != "memory" else ():
    try:
        if stat.S_ISREG(os.lstat(path).st_mode):
            with open(path, "rb", buffering=0) as file:
                answer["files read"] += 1
                if has_one(file, 0, os.fstat(file.fileno()).st_size):
                    answer["files"].append(path)
    except OSError:
        pass
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) == os.getpid():
        continue
    try:
        with open("/proc/%s/comm" % pid) as comm, open("/proc/%s/mem" % pid, "rb", buffering=0) as memory:
            name = comm.read().strip()
            spans = list(regions(pid))
            answer["processes read"] += 1
            for begin, end in spans:
                try:
                    if has_one(memory, begin, end):
                        answer["processes"][pid] = name
                        break
                except (OSError, ValueError, OverflowError):
                    continue
    except OSError:
        pass
json.dump(answer, sys.stdout)
