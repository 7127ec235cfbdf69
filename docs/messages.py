"""Every message that this project prints, read from its source: for the book's page, whose search finds them.

A message is a text of some words in the code that is no docstring, no description of a key and no script. What is put
into it at run time stands as a name in angle brackets.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_ON_HOST = "catmaid_deploy/on_host"

# In the order in which an admin meets them; what is in none of these is in the last section.
SECTIONS: dict[str, tuple[str, ...]] = {
    "The inventory": tuple(f"catmaid_deploy/schema/{room}.py" for room in ("load", "values", "hidden", "site")),
    "The way to the host": ("catmaid_deploy/checks.py", "catmaid_deploy/shell.py", "catmaid_deploy/run/sudo.py"),
    "Before anything changes": (
        *(f"catmaid_deploy/run/{part}.py" for part in ("hosts", "ask", "version", "preflight")),
        *(
            "tasks/access.py",
            "tasks/application/installed.py",
            "tasks/tiles/sets.py",
            "tasks/certificates/files.py",
            "tasks/application/releases.py",
        ),
        "catmaid_deploy/file_sets.py",
        *(
            "tasks/application/migrations.py",
            f"{_ON_HOST}/facts/dumps.py",
            "tasks/programs/supervisor_file.py",
            "tasks/proxy.py",
            "tasks/certificates/acme.py",
            "tasks/certificates/requested.py",
        ),
        *("catmaid_deploy/facts/survey.py", f"{_ON_HOST}/facts/survey.py"),
        *(f"{_ON_HOST}/facts/places.py", f"{_ON_HOST}/facts/probe.py"),
    ),
    "What a run will do, and why": ("tasks/programs/supervisor.py", "tasks/nginx/site.py", "tasks/system.py"),
    "While it changes the host": (
        *("tasks/packages.py", "tasks/programs/wsgi.py", "catmaid_deploy/run/apply.py", "catmaid_deploy/run/record.py"),
        "catmaid_deploy/operations/jobs.py",
        *(
            f"{_ON_HOST}/operations/{part}.py"
            for part in ("apply", "lock", "stage", "nginx", "record", "common", "files")
        ),
        "catmaid_deploy/operations/certificates.py",
    ),
    "Updates and releases": tuple(
        f"{_ON_HOST}/operations/{part}.py" for part in ("programs", "slots", "trial", "release", "dumps")
    ),
    "Rollback and runbooks": ("tasks/programs/rollback.py",),
    "The last lines of a run": (
        "catmaid_deploy/plan/report.py",
        "catmaid_deploy/run/ending.py",
        "catmaid_deploy/run/patch.py",
    ),
    "What users see": ("tasks/nginx/error_pages.py",),
    "make demo, make test, make bench": ("testbed/bootstrap.sh",),
}
_OTHERS = {
    "Rollback and runbooks": ("tasks", "catmaid_deploy", "runbooks"),
    "make demo, make test, make bench": ("testbed",),
}
# What a message doesn't say by itself, by a part of its text that no other message has before it.
NOTES = {
    "looks like a secret": "Secrets stay on the host: in `settings.py`, or in a file that `settings.py` reads. The "
    "inventory's variables stand in `/etc/catmaid/NAME/*/environment.sh`, which every user of the host may read.",
    "it has a password in it, which": "Use a deploy key or a credential helper of the user that `releases.owner` "
    "names: git runs as that user, with that user's home folder.",
    "unknown key": "Keys are in the [reference](reference.md). A key at the wrong level is unknown there, too: "
    "`workers` belongs to an instance, `tls` to a site.",
    "is too long: it names files": "Use a shorter name as `server_name`, and the long one among `aliases`.",
    "has no setgid bit": "See [another user](howto/user.md).",
    "log in by ssh as": "pyinfra's own line stands before it: *Could not connect*, *SSH error*, *Could not resolve "
    "hostname*, *Authentication error* or *EOF error*. Try `ssh ssh_user@ssh_hostname` from the same machine. Nothing "
    "was changed on any host.",
    "sudo asks for a password": "`export SUDO_PASSWORD`, read it with `read -rs SUDO_PASSWORD` first, or answer at the "
    "terminal.",
    "the host has no sudo, and you log in as root": 'Remove the line `"_sudo": True` from the inventory.',
    "MiB are free on": "The first run needs 320 MiB in `/usr`, 180 in `/var/cache/apt/archives`, 110 in "
    "`/var/lib` and 60 in `/tmp` for packages and a compiled uWSGI; later ones 50 MiB on each file system. `df -h`, "
    "and `du -xsh /var/* | sort -h`.",
    "held by <name> (process": "Another web server listens there, often Apache. If it has to stay, it can't have ports "
    "80 and 443: see [other sites on the host](howto/other-sites.md).",
    "doesn't fit <name> = <value>": "Django makes its addresses from `FORCE_SCRIPT_NAME`; where it differs from the "
    "inventory, pages load and their links lead nowhere.",
    "it was made for another Python": "An upgrade of the distribution brings another Python; virtualenvs have to be "
    "made anew then.",
    "can't <verb> <part>": "nginx's user, `catmaid-nginx`, has to enter every folder above a file. `namei -l PATH` "
    "shows them all; the message names the first that blocks, and the command.",
    "lies in <folder>, which belongs to": "Two places of a site can't share an address; nginx would never ask one.",
    "somebody else's <kind> is in the way": "The deploy never overwrites a file that it didn't write. See "
    "[adopting a host](howto/adopt.md).",
    "it isn't the deploy's and is in the way; a program may be using it": "A CATMAID of before the "
    "deploy uses that folder. How it goes on until the switch: [adopting a host](howto/adopt.md).",
    "that isn't the deploy's runs by": "Often from before the host was adopted: "
    "[the end of the old programs](howto/adopt.md#4-the-end-of-the-old-programs).",
    "answers host names that no site has": "A file of yours in `sites-enabled` says `default_server`. It stays; "
    "strangers' host names get that site.",
    "(workers x threads of all instances)": "Each thread may hold a database connection, and each may use "
    "PostgreSQL's `work_mem` more than once. Where it doesn't fit, a busy hour ends in the kernel's out-of-memory "
    "killer.",
    "deploys there since <since>, which may": "A dry run takes no lock.",
    "deploys there since": "See [a stale lock](troubleshooting.md#a-stale-lock).",
    "after the end of that run": "See [a stale lock](troubleshooting.md#a-stale-lock).",
    "deploys to this host since": "See [a stale lock](troubleshooting.md#a-stale-lock).",
    "was cut before its end; <end>": "Nothing to do: what is missing follows from the host, and a run does it.",
    "changed this host at": "Two admins ran at once. Run again: the second run sees what the first one did.",
    "the lock of this run is gone": "The run took longer than two hours without a step, or somebody removed "
    "`/run/catmaid-deploy/lock.json`.",
    "isn't mounted, its tiles": "`mount MOUNTPOINT`, and look at `/etc/fstab`. nginx needs no reload.",
    "and wasn't renewed": "`certbot renew --dry-run` says why; most often port 80 isn't reached from outside.",
    "is for trials, browsers warn": "See [HTTPS](howto/tls.md).",
    "two releases at once need": "See [updates](howto/updates.md#where-there-is-no-room-for-two).",
    "refuses the new files": "The parser's words follow. When it is about a line that you can't place, please report "
    "it: the deploy should have refused the inventory instead.",
    "doesn't take the new configuration within": "Most often another program has the port, or a file that nginx has to "
    "open is missing. The files of before are back.",
    "the files of before are back": "What ran before still runs, and survives a reboot too.",
    "<new> <what>; <source>": "Its last words follow. The release stays in its folder: fix it there and run again, or "
    "put the old revision into the inventory.",
    "isn't ready within": "Look at the program's log for what it waits for (a database, a broker). A slow start needs "
    "more `start_seconds`.",
    "takes too much memory": "The new release was ended before the kernel would end something else. Lower `workers`, "
    'or use `"update": "restart"`.',
    "workers whose process died": "Often a C library that crashes: `dmesg | tail` names the segmentation fault.",
    "the database lacks its migrations": "See [migrations](howto/updates.md#migrations).",
    "its database can't be dumped": "Without a dump there would be no way back from the release's migrations. See "
    "[the way back](howto/updates.md#the-way-back-from-migrations).",
    "a dump before migrations is made of up to": "See [the way back](howto/updates.md#the-way-back-from-migrations).",
    "its migrations fail": "The database stays as the failed migration left it: each of Django's migrations is one "
    "transaction in PostgreSQL. What ran before serves.",
    "still has work in hand after": "A Celery task or a request takes longer than 15 minutes. `supervisorctl status` "
    "shows which slot is STOPPING.",
    "is a branch, whose meaning changes": "With a branch nobody could say what a host runs, nor go back to it.",
    "there is no release before this one": "A rollback needs an update before it: the host has had one release only.",
    "which a rollback leaves as it is": "Only with [`releases`](howto/updates.md#releases) the code goes back too.",
    "<how>: <left>": "The line with FAILED above has the cause.",
    "what was under way goes on": "A job on the host ends what it has begun, so that no set of files is left half in "
    "place. Run again afterwards.",
    "what was served before is still served": "The ACME server's complaint stands before it: see "
    "[HTTPS](howto/tls.md#when-certbot-fails).",
    "CATMAID can't be reached": "What users see with status 502, 503 or 504: see "
    "[troubleshooting](troubleshooting.md#502-catmaid-cant-be-reached).",
    "CATMAID is closed for maintenance": "A flag file closes it: see [maintenance](howto/maintenance.md).",
    "can't run hosts on this machine": "A container without full rights can't boot a host; a virtual machine can.",
    "are free here: stop": "`ss -ltnp` names them.",
}

# Texts of some words that are for a program and not for a person.
_FOR_PROGRAMS = re.compile(
    r"umask |import |complaint: |git --git-dir|cd \"|frame-ancestors |sandbox; |Made by |During handling|The above exc|"
    r"Traceback"
)
# What takes a place, what is wrong there, and the fix.
_FINDINGS = ("Finding", "fault", "warning", "missed", "warn", "_refuse", "_no_access")
_SHELL = re.compile(r"""\b(?:die|say|echo) "([^"]{12,})\"""")


def files() -> dict[str, list[Path]]:
    """The source files of each section."""
    found = {title: [ROOT / name for name in names] for title, names in SECTIONS.items()}
    known = {path for paths in found.values() for path in paths}
    for title, folders in _OTHERS.items():
        found[title] += [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py")) if p not in known]
    return found


def _name(node: ast.AST) -> str:
    """What stands for a value that is known at run time alone: the last word of its expression."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_")
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_]):
            return name
        case ast.Call(func=ast.Attribute(value=value), args=[] | [ast.Constant()]):
            return _name(value)
        case ast.Subscript(value=value) | ast.Call(args=[value, *_]) | ast.Call(func=value):
            return _name(value)
        case ast.BinOp(left=left):
            return _name(left)
        case ast.UnaryOp(operand=operand):
            return _name(operand)
        case ast.IfExp(body=body) | ast.BoolOp(values=[body, *_]):
            return _name(body)
    return "..."


def _values(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def parts(node: ast.AST) -> list[tuple[bool, str]] | None:
    """A text in the code as its constant parts and, marked by True, the names of what is put between them."""
    match node:
        case ast.Constant(value=str(text)):
            return [(False, text)]
        case ast.JoinedStr(values=values):
            return [
                (False, str(v.value)) if isinstance(v, ast.Constant) else (True, _name(getattr(v, "value", v)))
                for v in values
            ]
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod(), right=right):
            names = iter(_values(right))
            found: list[tuple[bool, str]] = []
            for number, part in enumerate(re.split(r"%[.0-9]*[a-z]", text)):
                found += ([(True, _name(next(names, right)))] if number else []) + [(False, part)]
            return found
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            before, after = parts(left), parts(right)
            if before is None and after is None:
                return None
            return (before or [(True, _name(left))]) + (after or [(True, _name(right))])
    return None


@dataclass(frozen=True)
class Message:
    """One message, as `parts` gives it, and the file that has it."""

    file: str
    parts: tuple[tuple[bool, str], ...]

    @property
    def text(self) -> str:
        return "".join(f"<{text}>" if named else text for named, text in self.parts)

    @property
    def anchor(self) -> str:
        return "-".join(re.findall(r"[a-z0-9]+", "".join(t for named, t in self.parts if not named).lower()))

    @property
    def html(self) -> str:
        return "".join(f"<var>{escape(t)}</var>" if named else escape(t, quote=False) for named, t in self.parts)


def _is_message(found: list[tuple[bool, str]], raised: bool) -> bool:
    text = "".join("x" if named else text for named, text in found)
    words = re.findall(r"(?<![^\s'\"(])[A-Za-z][a-z']+(?=[\s:;,.'\")]|$)", text)
    enough = 1 if raised else 2 if ": " in text else 3
    return len(words) >= enough and text.count("\n") < 3 and not _FOR_PROGRAMS.match(text)


def in_shell(file: str, script: str) -> Iterator[Message]:
    """What a shell script says."""
    for text in _SHELL.findall(script):
        pieces = re.split(r"\$(?:\(.*?\)(?= is)|(\w+))", text)
        yield Message(file, tuple((bool(n % 2), piece or "...") for n, piece in enumerate(pieces) if piece != ""))


def in_python(file: str, source: str) -> Iterator[Message]:
    """The messages of a module, in their order; of the testbed's, which tells of its steps, its errors alone."""
    tree = ast.parse(source)
    skipped: set[ast.AST] = set()
    raised: set[ast.AST] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            skipped.add(body[0].value)
        if isinstance(node, ast.keyword) and node.arg in ("description", "name"):
            skipped.add(node.value)
        match node:
            case ast.Raise(exc=ast.Call(args=args)) | ast.Call(func=ast.Attribute(attr="exit"), args=args):
                raised.update(args)
            case ast.keyword(arg="what", value=value) | ast.Assign(targets=[ast.Name(id="what")], value=value):
                raised.add(value)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[_, *texts]) if name in _FINDINGS:
                raised.update(texts)
    errors_only = file.startswith("testbed/")

    def visit(node: ast.AST) -> Iterator[Message]:
        if node in skipped:
            return
        found = parts(node)
        if found is not None and _is_message(found, node in raised):
            if node in raised or not errors_only:
                yield Message(file, tuple(found))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count("\n") > 2:
            yield from in_shell(file, node.value)
        for child in ast.iter_child_nodes(node):
            # The parts of a text are no texts of their own.
            if found is None or parts(child) is None:
                yield from visit(child)

    yield from visit(tree)


def all_messages() -> dict[str, list[Message]]:
    """The messages of each section, each once."""
    found: dict[str, list[Message]] = {}
    seen: set[str] = set()
    for title, paths in files().items():
        for path in paths:
            name, text = str(path.relative_to(ROOT)), path.read_text()
            for message in (in_shell if path.suffix == ".sh" else in_python)(name, text):
                if message.text not in seen:
                    seen.add(message.text)
                    found.setdefault(title, []).append(message)
    return found


def section(title: str, found: list[Message], notes: dict[str, str]) -> str:
    """A section of the page in Markdown: each message, and below it the note of which the key is a part of its text.

    A message is a heading: the search weighs these most. As HTML it isn't in the page's table of contents.
    """
    lines = [f"## {title}", ""]
    for message in found:
        note = next((note for part, note in notes.items() if part in message.text), None)
        lines += ['<div class="message" markdown="block">', "", f'<h3 id="{message.anchor}">{message.html}</h3>', ""]
        lines += ([note, ""] if note else []) + ["</div>", ""]
    return "\n".join(lines)


def page() -> str:
    """All sections of the page."""
    return "\n".join(section(title, found, NOTES) for title, found in all_messages().items())
