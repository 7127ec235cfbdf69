"""What root does on a test host, as strace sees it from this machine, and where it reaches into other people's folders.

A call of root's trespasses if it looks a name up in a folder that another user may write: that user can put another
file there, or a link, in the moment of the call. It doesn't if it looks the name up by a descriptor of that folder and
follows no link, which is the way of `on_host/trust.py`, or if root made the name by itself in a folder like
/tmp.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType

from testbed.hosts import BedHost, wait_for
from testbed.podman import podman, root_words

# Where each kind of call has its paths: for each path the place of its folder's descriptor, or None, its own, and
# whether a link in its last part is followed. What only looks (stat, access, readlink, chdir) isn't judged.
PATHS: dict[str, list[tuple[int | None, int, bool]]] = {
    **{name: [(None, 0, True)] for name in ("open", "creat", "truncate", "chmod", "chown", "execve", "mknod")},
    **{name: [(None, 0, True)] for name in ("chroot", "utime", "utimes", "setxattr", "removexattr", "swapon", "acct")},
    **{name: [(None, 0, False)] for name in ("mkdir", "rmdir", "unlink", "lchown", "lsetxattr", "lremovexattr")},
    **{name: [(0, 1, True)] for name in ("openat", "openat2", "fchmodat", "fchownat", "utimensat", "execveat")},
    **{name: [(0, 1, False)] for name in ("mkdirat", "unlinkat", "mknodat")},
    **{name: [(0, 1, False), (2, 3, False)] for name in ("renameat", "renameat2", "linkat")},
    **{name: [(None, 0, False), (None, 1, False)] for name in ("rename", "link")},
    **{name: [(None, 0, True), (None, 1, True)] for name in ("mount", "pivot_root")},
    "symlink": [(None, 1, False)],
    "symlinkat": [(1, 2, False)],
    "connect": [(None, 1, True)],
    "bind": [(None, 1, False)],
}
FORKS = ("clone", "clone3", "fork", "vfork")
# What a process is after them.
CHANGES = ("chdir", "fchdir", "setuid", "setreuid", "setresuid")
# No more than that: a program that loads looks at thousands of files. Not each machine has each call.
CALLS = "trace=" + ",".join(f"?{name}" for name in (*PATHS, "fchown", *FORKS, *CHANGES))
# One file a process, so that no call is cut in two; processes by this machine's numbers beside the host's own.
STRACE = ("strace", "-f", "-ff", "-ttt", "-y", "-A", "--decode-pids=pidns", "-s", "400", "-e", CALLS)
NOFOLLOW = ("O_NOFOLLOW", "AT_SYMLINK_NOFOLLOW", "RESOLVE_NO_SYMLINKS", "O_EXCL")
# An open by a descriptor that neither hangs nor gives what a link leads to.
HARMLESS = ("O_PATH", "O_DIRECTORY", "O_EXCL", "O_NONBLOCK")

# Folders of others than root, folders that others may write, all links, and programs that take their owner's rights.
# What /proc has of its own nobody can make.
SNAPSHOT = r"""
find / /run /tmp /dev/shm -xdev \( -type d \( ! -user root -o -perm -002 -o -perm -020 ! -group root \) \
    -printf 'd %U %m %p\0' \) -o \( -type l -printf 'l 0 0 %p\0%l\0' \) \
    -o \( -type f -perm -4000 -printf 's 0 0 %p\0' \) 2>/dev/null || true
"""
# Number, folder and words of each process that is root's.
ROOTS = r"""
cd /proc
for number in [0-9]*; do
    grep -qs '^Uid:.*\b0\b' "$number/status" || continue
    printf '%s\t%s\t' "$number" "$(readlink "$number/cwd")"
    tr '\0' '\n' < "$number/cmdline" | head -2 | tr '\n' '\t'; echo
done
"""

_LINE = re.compile(r"^(\d+\.\d+) (\w+)\((.*)\)\s+= (.+)$")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|<(?:[^<>\\]|\\.)*>|[\[\](){},]|[^"<\[\](){},]+|.')
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"^(?:AT_FDCWD|\d+)<(.*)>")
_OPENED = re.compile(r"^(\d+)<(/.*)>")
_BELOW_DESCRIPTOR = re.compile(r"^/(?:proc/self|dev)/fd/(\d+)/(.+)$")
_CHILD = re.compile(r"^(\d+)(?: /\* (\d+) in strace's PID NS \*/)?")


def arguments(text: str) -> list[str]:
    """The arguments of a call as strace writes them."""
    found, depth = [""], 0
    for token in _TOKEN.findall(text):
        depth += (token in ("[", "{", "(")) - (token in ("]", "}", ")"))
        if token == "," and depth == 0:
            found.append("")
        else:
            found[-1] += token
    return [one.strip() for one in found]


def plain(text: str) -> str:
    """A text without the escapes that strace writes."""
    return text.encode("latin-1", "replace").decode("unicode_escape").encode("latin-1").decode("utf-8", "replace")


def quoted(argument: str) -> str | None:
    """The first text in an argument: a path, or the path in a socket's address."""
    found = _TEXT.search(argument)
    return plain(found.group(1)) if found else None


@dataclass
class Rights:
    """The real, effective and saved number of a process's user: one that can be root again still is root."""

    users: list[int] = field(default_factory=lambda: [0, 0, 0])

    @property
    def is_root(self) -> bool:
        return 0 in self.users

    def take(self, name: str, words: list[str]) -> None:
        """Follow a call that succeeded."""
        numbers = [int(word) for word in words if re.fullmatch(r"-?\d+", word)]
        real, effective, saved = self.users
        if name == "setuid":
            self.users = [numbers[0]] * 3 if effective == 0 else [real, numbers[0], saved]
        elif name == "setreuid":
            new = [have if want == -1 else want for have, want in zip(self.users, numbers, strict=False)]
            keeps = numbers[0] == -1 and numbers[1] in (-1, real)
            self.users = [new[0], new[1], saved if keeps else new[1]]
        elif name == "setresuid":
            self.users = [have if want == -1 else want for have, want in zip(self.users, numbers, strict=False)]


@dataclass(frozen=True)
class Call:
    """One call that may change, open, run or connect to something by a path."""

    time: float
    program: str
    words: tuple[str, ...]
    is_root: bool
    name: str
    args: tuple[str, ...]
    ok: bool
    cwd: str
    descriptors: dict[str, str]
    # The programs that this one was started by.
    above: tuple[str, ...] = ()

    def paths(self) -> Iterator[tuple[str | None, str, bool]]:
        """Each path with the folder of its descriptor, or None, and whether its last part is followed."""
        for folder, place, follows in PATHS.get(self.name, ()):
            path = quoted(self.args[place]) if place < len(self.args) else None
            if not path or (self.name in ("connect", "bind") and "sun_path=@" in self.args[place]):
                continue
            follows = follows and not any(flag in " ".join(self.args) for flag in NOFOLLOW)
            by = _DESCRIPTOR.match(self.args[folder]) if folder is not None else None
            at = plain(by.group(1)) if by and not self.args[folder or 0].startswith("AT_FDCWD") else None
            if below := _BELOW_DESCRIPTOR.match(path):
                yield self.descriptors.get(below.group(1), "/proc"), below.group(2), follows
            elif path.startswith("/") or at is None:
                yield None, os.path.join(self.cwd, path), follows
            else:
                yield at, path, follows


@dataclass
class Process:
    """A process as the trace is read."""

    rights: Rights = field(default_factory=Rights)
    program: str = "?"
    words: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    # Threads share it.
    cwd: list[str] = field(default_factory=lambda: ["/"])
    descriptors: dict[str, str] = field(default_factory=dict)


@dataclass
class Places:
    """Which folders of a host others may write, and where links lead, at any time of a trace."""

    folders: dict[str, tuple[int, int]] = field(default_factory=dict)
    links: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    set_user_id: set[str] = field(default_factory=set)

    def look(self, host: BedHost) -> None:
        """Add what is there now."""
        words = iter(host.run(SNAPSHOT, timeout=120).split("\0"))
        for word in words:
            kind, _, rest = word.partition(" ")
            if kind == "d":
                user, mode, path = rest.split(" ", 2)
                self.folders[path] = int(user), int(mode, 8)
            elif kind == "l":
                self.links[rest.split(" ", 2)[2]].add(next(words))
            elif kind == "s":
                self.set_user_id.add(rest.split(" ", 2)[2])

    def learn(self, call: Call) -> None:
        """Add what a call made or gave away: it may be gone when somebody looks."""
        if not call.ok:
            return
        places = [os.path.normpath(os.path.join(at or "/", path)) for at, path, _ in call.paths()]
        if call.name in ("symlink", "symlinkat") and places:
            self.links[places[0]].add(quoted(call.args[0]) or "")
        elif call.name in ("mkdir", "mkdirat") and not call.is_root:
            self.folders.update(dict.fromkeys(places, (-1, 0o755)))
        elif call.name in ("chown", "lchown", "fchownat"):
            user = call.args[2 if call.name == "fchownat" else 1]
            if user not in ("0", "-1"):
                self.folders.update({path: (int(user), 0o755) for path in places})
        elif call.name == "fchown" and call.args[1] not in ("0", "-1") and (by := _DESCRIPTOR.match(call.args[0])):
            self.folders[plain(by.group(1))] = int(call.args[1]), 0o755

    def others(self, path: str, follows: bool) -> Iterator[tuple[str, str]]:
        """Each folder that another user may write with the name that is looked up there, on the way to a path."""
        ways, seen = [(path, "/")], set()
        while ways:
            rest, at = ways.pop()
            parts = [part for part in rest.split("/") if part not in ("", ".")]
            for number, part in enumerate(parts):
                if part == "..":
                    at = os.path.dirname(at)
                    continue
                if at in self.folders:
                    yield at, part
                here = os.path.join(at, part)
                after = "/".join(parts[number + 1 :])
                targets = self.links.get(here, set()) if after or follows else set()
                for target in targets:
                    if (here, target, after) not in seen:
                        seen.add((here, target, after))
                        ways.append((f"{target}/{after}", "/" if target.startswith("/") else at))
                at = here

    def is_sticky(self, folder: str) -> bool:
        user, mode = self.folders[folder]
        return user == 0 and bool(mode & 0o1000)


@dataclass(frozen=True)
class Debian:
    """What a program of Debian's does with root's rights in a folder that another user may write.

    ``above`` is a program of Debian's that has started it, for one that ours start as well.
    """

    program: str
    folder: str
    reason: str
    above: str = ""

    def __call__(self, call: Call, folder: str) -> bool:
        return (
            re.fullmatch(self.program, call.program) is not None
            and re.fullmatch(self.folder, folder) is not None
            and (not self.above or any(re.fullmatch(self.above, program) for program in call.above))
        )


class Trace:
    """A context manager: what root's processes on a host, and all that they start, do meanwhile.

    ``leave`` is a program of Debian's that isn't followed, with all that it starts.
    """

    def __init__(self, host: BedHost, folder: Path, leave: str = "") -> None:
        self.host, self.folder, self.leave = host, folder, leave
        self.places = Places()
        self.roots: dict[int, Process] = {}

    def __enter__(self) -> Trace:
        self.folder.mkdir(parents=True)
        self.places.look(self.host)
        self.attach({n: process for n, process in roots(self.host).items() if process.program != self.leave})
        return self

    def attach(self, processes: dict[int, Process]) -> None:
        """Follow processes by their numbers on this machine, which have root's rights."""
        self.roots.update(processes)
        which = [word for number in processes for word in ("-p", str(number))]
        words = [*root_words(), *STRACE, "-o", str(self.folder / "of"), *which]
        self.strace = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("strace", lambda: all(tracer(number) for number in processes), 20)

    def reboot(self) -> None:
        """Reboot the host, followed from its first process on."""
        self.detach()
        self.host.shut_down()
        # With its namespaces and files, and a process that waits to become systemd.
        podman("init", self.host.name)
        first = int(podman("inspect", "--format", "{{.State.Pid}}", self.host.name))
        self.attach({first: Process(program="/sbin/init")})
        podman("start", self.host.name)
        self.host.wait_until_up(600)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.detach()
        self.places.look(self.host)

    def detach(self) -> None:
        self.strace.terminate()
        self.strace.wait(timeout=60)

    @cached_property
    def calls(self) -> list[Call]:
        """All calls that were seen, in the order of their time."""
        lives: dict[int, list[Life]] = {}
        for path in self.folder.glob("of.*"):
            lives[int(path.suffix[1:])] = _lives(path.read_text(errors="replace").splitlines())
        found: list[Call] = []
        for number, process in self.roots.items():
            for life in lives.get(number, [])[:1]:
                self._follow(life.calls, process, lives, found)
        return sorted(found, key=lambda call: call.time)

    def _follow(
        self,
        life: list[re.Match[str]],
        process: Process,
        lives: dict[int, list[Life]],
        found: list[Call],
    ) -> None:
        """Read the calls of a process and of all that it starts, each with the rights that it has by then."""
        for line in life:
            time, name, text, result = line.groups()
            args, ok = arguments(text), not result.startswith(("-1", "?"))
            if name in FORKS and ok and (child := _CHILD.match(result)):
                shared = "CLONE_FS" in text
                new = replace(
                    process,
                    rights=Rights(list(process.rights.users)),
                    above=(*process.above, process.program),
                    cwd=process.cwd if shared else list(process.cwd),
                    descriptors=dict(process.descriptors),
                )
                # Also one without a call: the next that has its number is another's.
                of_child = lives.get(int(child.group(2) or child.group(1)), [])
                begun = next((one for one in of_child if one.end >= float(time)), None)
                if begun:
                    self._follow(begun.calls, new, lives, found)
                continue
            # As they are now: the numbers are used again.
            descriptors = dict(process.descriptors) if "/fd/" in text else {}
            call = Call(
                float(time), process.program, process.words, process.rights.is_root, name, tuple(args), ok,
                process.cwd[0], descriptors, process.above,
            )  # fmt: skip
            if name in PATHS or name == "fchown":
                found.append(call)
            if opened := _OPENED.match(result):
                process.descriptors[opened.group(1)] = plain(opened.group(2))
            if ok:
                self._take(process, name, args)

    def _take(self, process: Process, name: str, args: list[str]) -> None:
        """What a call that succeeded makes of its process."""
        if name == "execve":
            process.program = os.path.normpath(os.path.join(process.cwd[0], quoted(args[0]) or ""))
            process.words = tuple(plain(word) for word in _TEXT.findall(args[1]))
            if process.program in self.places.set_user_id:
                process.rights.users[1:] = [0, 0]
        elif name == "chdir":
            process.cwd[0] = os.path.normpath(os.path.join(process.cwd[0], quoted(args[0]) or ""))
        elif name == "fchdir" and (by := _DESCRIPTOR.match(args[0])):
            process.cwd[0] = plain(by.group(1))
        else:
            process.rights.take(name, args)

    def trespasses(self, debian: Iterable[Debian] = ()) -> list[str]:
        """A line for each kind of call by which root relied on what another user may change."""
        debian = list(debian)
        for call in self.calls:
            self.places.learn(call)
        made: set[tuple[str, str]] = set()
        found: dict[str, int] = {}
        for call in self.calls:
            for folder, path in self._trespasses(call, made) if call.is_root else ():
                if not any(one(call, folder) for one in debian):
                    words = " ".join(word.splitlines()[0][:60] if word else "''" for word in call.words[:6])
                    line = f"{call.name} {path}, in {folder}, by {call.program} ({words})"
                    found[line] = found.get(line, 0) + 1
        return list(found)

    def _trespasses(self, call: Call, made: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """The folders of others in which a call looks up a name, with the path; ``made`` are root's names in /tmp."""
        for at, path, follows in call.paths():
            whole = os.path.join(at, path) if at else path
            if own_descriptor(whole) or whole.startswith(("/sys/", "/proc/")):
                if is_of_another(whole):
                    yield "/proc", whole
                continue
            if at and is_careful(call, path):
                continue
            for folder, name in self.places.others(whole, follows):
                if self.places.is_sticky(folder):
                    new = call.name in ("mkdir", "mkdirat") or "O_EXCL" in " ".join(call.args)
                    if new and os.path.normpath(whole) == os.path.join(folder, name):
                        if call.ok:
                            made.add((folder, name))
                        continue
                    if (folder, name) in made:
                        continue
                yield folder, whole
                break


def is_careful(call: Call, path: str) -> bool:
    """Whether a path that is looked up in a folder's descriptor is one name, and no link there is followed."""
    text = " ".join(call.args)
    if "/" in path.strip("/") or path == "..":
        return False
    if call.name in ("openat", "openat2"):
        return any(flag in text for flag in NOFOLLOW) and any(flag in text for flag in HARMLESS)
    if call.name in ("fchownat", "fchmodat", "utimensat"):
        return "AT_SYMLINK_NOFOLLOW" in text
    return call.name not in ("connect", "execveat") and "AT_SYMLINK_FOLLOW" not in text


def own_descriptor(path: str) -> bool:
    return re.fullmatch(r"/(?:proc/(?:self|thread-self)|dev)/fd/\d+", path) is not None


def is_of_another(path: str) -> bool:
    """Whether a path leads by a process's own links to wherever that process says."""
    return re.match(
        r"/proc/(?:\d+|self)/(?:task/\d+/)?(?:root|cwd|exe|fd/\d+|map_files/[^/]+)\b", path
    ) is not None and (not own_descriptor(path))


@dataclass
class Life:
    """The calls of one process among those that had its number, and the second in which it ended."""

    calls: list[re.Match[str]] = field(default_factory=list)
    end: float = math.inf


def _lives(lines: list[str]) -> list[Life]:
    """The calls in a file, apart for each process that had that number."""
    found = [Life()]
    for line in lines:
        if " +++ " in line[:30]:
            found[-1].end = float(line.split()[0])
            found.append(Life())
        elif match := _LINE.match(line):
            found[-1].calls.append(match)
    return found


def roots(host: BedHost) -> dict[int, Process]:
    """The processes of root on a host, by the numbers that they have on this machine."""
    lines = podman("top", host.name, "hpid", "pid").splitlines()[1:]
    # One that has just ended has none.
    outer = {inner: int(number) for number, inner in map(str.split, lines) if number.isdigit()}
    found = {}
    for line in host.run(ROOTS).splitlines():
        number, cwd, *words = line.split("\t")
        if number in outer:
            # Of a script its own name.
            program = words[1] if "python" in words[0] and words[1].startswith("/") else words[0].split(" ")[0]
            found[outer[number]] = Process(program=program.rstrip(":"), words=tuple(words), cwd=[cwd])
    return found


def tracer(number: int) -> int:
    """Which process traces another one; 0 if none does."""
    text = Path(f"/proc/{number}/status").read_text()
    found = re.search(r"^TracerPid:\s+(\d+)", text, re.MULTILINE)
    return int(found.group(1)) if found else 0
