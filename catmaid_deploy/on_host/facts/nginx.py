"""What nginx reads, and the servers in it that are others'. Joined with the survey, and with the jobs.

It is asked itself: what lies in a folder may be no part of it, and what is may lie elsewhere. All that it reads is in
its answer, secrets too, and stays in this process.
"""

import io
import os
import re
import socket
from fnmatch import fnmatchcase
from functools import lru_cache

# The host hasn't that: where this is joined to the rest, its text stands here.
from crossplane.lexer import _lex_file_object

from catmaid_deploy.on_host.trust import ROOT, changeable, plain, run

CONFIGURATION = "/etc/nginx/nginx.conf"
# An admin's own locations, in a folder for each site.
LOCATIONS = "/etc/nginx/catmaid-locations"
# Where nginx is asked about itself. Another one's server may listen on 127.0.0.1, and nobody's on this.
HERE = "127.67.77.68"
# What nginx read when a run last ended: to ask it takes longer than to see that nothing has changed since.
NGINX_READ = "/var/lib/catmaid-deploy/nginx-read.json"
# Hundreds of tile sets are megabytes, and so are others' maps.
MOST_READ = 64 << 20
OURS = "Made by catmaid-deploy"
EVERYWHERE = ("", "*", "0.0.0.0")
MARK = re.compile(r"^# configuration file (/.*):\n", re.MULTILINE)
# A file without one of these has no servers, and may be long.
SERVERS = re.compile(r"(?:^|[;{}\s])(?:server\s*\{|listen\s|server_name\s|include\s|http\s*\{|stream\s*\{)")
NAMED_FILES = re.compile(r'(?:^|[;{}\s])(ssl_\w+|include|auth_basic_user_file)\s+["\']?([^\s;"\']+)')


def _matching(pattern, paths):
    """The paths that an include stands for, in nginx's order."""
    folder, name = os.path.split(os.path.join(os.path.dirname(CONFIGURATION), pattern))
    if not set("*?[") & set(pattern):
        return [os.path.join(folder, name)]
    found = (os.path.split(path) for path in paths)
    below = [
        os.path.join(*one)
        for one in found
        if fnmatchcase(one[1], name) and not one[1].startswith(".") and fnmatchcase(one[0], folder)
    ]
    return sorted(below)


def _directives(path, files, deepest=20):
    """What opens, closes and stands in a file and in those that it includes: mark, words, file and line."""
    words, begin = [], 0
    text = files.get(path, "")
    if deepest and SERVERS.search(text):
        for word, line, quoted in _lex_file_object(io.StringIO(text + "\n")):
            if word.startswith("#") and not quoted:
                continue
            if quoted or word not in ("{", "}", ";"):
                begin = begin if words else line
                words.append(word)
                continue
            if word == ";" and words[:1] == ["include"] and len(words) == 2:
                for other in _matching(words[1], files):
                    yield from _directives(other, files, deepest - 1)
            else:
                yield word, words, path, begin
            words = []


def _socket(words):
    """Where a server listens, by the words of its directive."""
    address, _, port = words[1].rpartition(":") if re.search(r":[\d-]+$", words[1]) else ("", "", words[1])
    if not re.fullmatch(r"\d+(-\d+)?", port):
        address, port = port, "80"
    first, _, last = port.partition("-")
    return {
        "address": "" if address in EVERYWHERE else address,
        "ports": list(range(int(first), min(int(last or first), 65535) + 1)),
        "default": bool({"default_server", "default"} & set(words[2:])),
        # Takes IPv4's place as well.
        "both": "ipv6only=off" in words[2:],
        "udp": bool({"quic", "udp"} & set(words[2:])),
    }


def servers_of(files):
    """The servers in nginx's files, in the order in which it reads them."""
    blocks, server, found = [], None, []
    for mark, words, path, line in _directives(CONFIGURATION, files):
        if mark == "{":
            if words == ["server"] and blocks[-1:] in (["http"], ["stream"]):
                server = {
                    "file": path,
                    "line": line,
                    "kind": blocks[-1],
                    "listens": 0,
                    "listen": [],
                    "names": [],
                    "in": len(blocks) + 1,
                }
            blocks.append(words[0] if words else "")
        elif mark == "}":
            if server and len(blocks) == server["in"]:
                if not server["listens"] and server["kind"] == "http":
                    server["listen"].append(_socket(["listen", "80"]))
                found.append(server)
                server = None
            del blocks[-1:]
        elif server and len(blocks) == server["in"] and len(words) > 1:
            server["listens"] += words[0] == "listen"
            server["listen"] += [_socket(words)] if words[0] == "listen" and "unix:" not in words[1] else []
            server["names"] += words[1:] if words[0] == "server_name" else []
    for server in found:
        server["ours"] = OURS in files[server["file"]][:400]
    return found


def _on_disk():
    """Its files as far as they can be found without asking it, with their texts."""
    files, left = {}, [CONFIGURATION]
    while left and len(files) < 2000:
        path = left.pop()
        text = ROOT.read(path)
        if path in files or not text:
            continue
        files[path] = text
        for word, pattern in NAMED_FILES.findall(re.sub(r"(?m)(?:^|\s)#.*", "", text)):
            if word == "include":
                folder = os.path.dirname(os.path.join(os.path.dirname(CONFIGURATION), pattern))
                left += _matching(pattern, ["%s/%s" % (folder, name) for name in ROOT.names(folder)])
    return files


def _seen(files):
    """How one recognizes that all that nginx reads is as it was: path, change and size of each, and of the folders."""
    paths = {CONFIGURATION}
    for path, text in files.items():
        paths.add(path)
        for _, named in NAMED_FILES.findall(text):
            if "$" not in named:
                named = os.path.join(os.path.dirname(CONFIGURATION), named)
                paths.add(os.path.dirname(named) if set("*?[") & set(named) else named)
    paths |= {os.path.dirname(path) for path in files}
    found = ((path, ROOT.status(path, follow=True)) for path in sorted(paths))
    return [[path, status.st_ctime_ns, status.st_size] if status else [path, 0, 0] for path, status in found]


def read_by_nginx(configuration=CONFIGURATION):
    """What nginx says against its files, one line, and those that it reads, with their texts."""
    code, output = run(["nginx", "-T", "-q", "-c", configuration], 30, MOST_READ)
    if code:
        # Files that were cut are no word against them, and nobody's to see.
        return "" if MARK.search(output) else output, {}
    parts = MARK.split(output + "\n")
    return "", dict(zip(parts[1::2], (text.rstrip("\n") + "\n" for text in parts[2::2])))


@lru_cache(None)
def ask_nginx():
    """What nginx reads, as it says, or as its files do where it refuses them or can't be trusted with them: ``paths``
    and ``servers``, ``refuses`` with its own words, and ``seen``.
    """
    known = ROOT.json(NGINX_READ)
    if known.get("seen") and "others" in known and all(_is(*one) for one in known["seen"]):
        return known
    files, refuses = _on_disk(), ""
    # As root it would do what somebody else says; such a file has a line of its own.
    if files and ROOT.exists("/usr/sbin/nginx") and not any(changeable(path) for path, _, _ in _seen(files)):
        refuses, told = read_by_nginx()
        files = told or files
    seen = _seen(files)
    # Whose text says so is told once: the deploy's own file may be long.
    others = [path for path, text in files.items() if OURS not in text[:400]]
    return {"paths": list(files), "others": others, "servers": servers_of(files), "refuses": refuses, "seen": seen}


def _is(path, changed, size):
    status = ROOT.status(path, follow=True)
    return [changed, size] == ([status.st_ctime_ns, status.st_size] if status else [0, 0])


def others_servers():
    return [one for one in ask_nginx()["servers"] if not one["ours"]]


def _sockets(server):
    return [(one, port) for one in server["listen"] for port in one["ports"] if not one["udp"]]


def default_servers():
    """Where somebody's server answers host names that nobody has: its file, and what it listens on, as nginx has it."""
    found = []
    for server in others_servers():
        for one, port in _sockets(server):
            if one["default"] and server["kind"] == "http":
                found.append([server["file"], "%s%d" % (one["address"] and one["address"] + ":", port)])
    return found


def own_addresses():
    """The addresses of this host by which others reach it."""
    found = re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", ROOT.read("/proc/net/fib_trie"))
    return {address for address in found if not address.startswith("127.")}


def rivals(sites):
    """Servers of others that nginx takes where a site should answer: a file, what is wrong, what to do, and whether
    nginx could not listen for the site at all.
    """
    found, taken = [], {}
    servers = ask_nginx()["servers"]
    for number, server in enumerate(servers):
        if server["ours"]:
            continue
        at = "%s:%d" % (server["file"], server["line"])
        for one, port in _sockets(server):
            asked = [site for site in sites if port in site["ports"]]
            if not asked:
                continue
            if server["kind"] == "stream" or one["both"]:
                what = "takes port %d for itself (%s)" % (
                    port,
                    "stream" if server["kind"] == "stream" else "ipv6only=off",
                )
                found.append(_rival(at, what, "have it listen elsewhere, or on IPv6 alone, and reload nginx", True))
            elif one["address"] and one["address"] != "[::]":
                taken.setdefault((at, port), set()).add(one["address"])
            else:
                found += [_of_name(at, name) for name in _names_taken(servers, number, asked)]
    for (at, port), addresses in sorted(taken.items()):
        others = set().union(*(some for (_, one), some in taken.items() if one == port))
        if any(_is_taken(site, others) for site in sites if port in site["ports"]):
            where = ", ".join("%s:%d" % (address, port) for address in sorted(addresses))
            what = "listens on %s, where nginx then asks no other site" % where
            found.append(_rival(at, what, "have it listen on another port, or without an address, and reload nginx"))
    return [one for number, one in enumerate(found) if one not in found[:number]]


def _is_taken(site, addresses):
    """Whether users come to a site by an address of this host that others' servers have for themselves."""
    own, by_name = own_addresses(), set()
    if not own & addresses or own <= addresses:
        # Whatever the names lead to: a DNS that gives no answer would be waited for.
        return bool(own & addresses)
    for name in site["names"]:
        try:
            by_name |= {one[4][0] for one in socket.getaddrinfo(name, None, socket.AF_INET)}
        except OSError:
            pass  # by a name that this host doesn't know nobody comes, or by all addresses
    return bool(by_name & own & addresses)


def _rival(at, what, todo, blocks=False):
    return {"file": plain(at), "what": what, "todo": todo, "blocks": blocks}


def _of_name(at, name):
    return _rival(at, "answers for %s in the place of its site" % name, "remove the name from it, and reload nginx")


def _names_taken(servers, number, sites):
    """The sites' names that a server has as well and nginx takes it for, since it comes first."""
    names = {name.lstrip(".") for name in servers[number]["names"]}
    for site in sites:
        place = next((n for n, one in enumerate(servers) if one["ours"] and one["file"] == site["path"]), None)
        # Where the site isn't there yet, by where its file will be.
        first = servers[number]["file"] < site["path"] if place is None else number < place
        if first:
            yield from sorted(names & set(site["names"]))
