"""Every line that `verify` has for what is wrong is reached by a fault that a test injects, or it is said why not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import pytest

from catmaid_deploy.plan import causes
from docs.messages import ROOT, parts
from tests.host.faults import FAULTS, SAMPLE, Fault

# Functions that speak of other things than a deployed host; all others of the deploy are looked at.
OF_OTHER_THINGS = {
    "catmaid_deploy/checks.py": {"_no_file", "_no_hosts", "_bad_keys", "unreadable"},
    "catmaid_deploy/job.py": {"_refuse_two_copies"},
    "catmaid_deploy/run/ask.py": {"ask"},
    "catmaid_deploy/run/hosts.py": {"misspelt", "described", "options", "one_instance"},
    "catmaid_deploy/run/preflight.py": {"survey", "judge_lock", "of_this_run"},
    "catmaid_deploy/schema/load.py": {"_explain", "load"},
    "catmaid_deploy/upkeep/logs.py": {"_instance", "_ask", "show"},
    "tasks/last_word.py": {"_finding"},
    "tasks/system.py": {"remarks"},
    "tasks/application/installed.py": {"remarks"},
    "catmaid_deploy/upkeep/health.py": {"_mail_to"},
    "tasks/application/migrations.py": {"judge"},
    "tasks/application/releases.py": {"judge_revision"},
    # Only while somebody changes things: `test_hostile` has it.
    "tasks/access.py": {"_unsteady"},
    "tasks/programs/rollback.py": {"_services"},
    "tasks/programs/supervisor.py": {"judge_memory"},
    "tasks/programs/wsgi.py": {"judge", "judge_available"},
    "tasks/certificates/acme.py": {"judge"},
    "tasks/nginx/site.py": {"steps"},
    "tasks/proxy.py": {"judge", "blamed"},
    # Only a host without the internet has one: `test_bundle` has it.
    "tasks/bundle/__init__.py": {"contents", "judge_system", "faults", "sought"},
}
KINDS = ("fault", "warning", "missed", "warn")
Parts = tuple[tuple[bool, str], ...]


@dataclass(frozen=True)
class Line:
    """A line of `verify` as its source has it: the place and what is wrong there, as `docs.messages.parts` has them."""

    place: Parts
    what: Parts

    @property
    def text(self) -> str:
        return ": ".join(
            "".join(f"<{text}>" if named else text for named, text in one) for one in (self.place, self.what)
        )

    def is_reached(self, fault: Fault) -> bool:
        place = "".join(".+" if named else re.escape(text) for named, text in self.place)
        # `asking` names the file, where the service does.
        where = re.sub(rf"{causes.FILE}/.*", causes.FILES, fault.place)
        if not re.fullmatch(rf"(?:.+\.)?{place}", where):
            return False
        constants = [text.strip() for named, text in self.what if not named and re.search("[a-z]", text)]
        in_order = ".*".join(map(re.escape, constants))
        return bool(constants) and bool(
            re.search(in_order, fault.says) or any(fault.says.strip() in one for one in constants)
        )


class Function:
    """A function of the source, and what its names may stand for."""

    def __init__(self, node: ast.FunctionDef, module: dict[str, ast.FunctionDef]) -> None:
        self.node, self.module, self.depth = node, module, 0
        self.values: dict[str, list[tuple[ast.expr, ast.expr]]] = {}
        for one in ast.walk(node):
            if isinstance(one, ast.NamedExpr):
                self._assign(one.target, one.value)
            elif isinstance(one, ast.Assign):
                self._assign(one.targets[0], one.value)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.values.setdefault(target.id, []).append((target, value))
        elif isinstance(target, ast.Tuple):
            firsts = value.elts if isinstance(value, ast.Tuple) else [value]
            # Of a function's several values the first is what is wrong.
            for name, one in zip(target.elts, firsts, strict=False):
                self._assign(name, one)

    def texts(self, node: ast.expr) -> Iterator[Parts]:
        """The texts that an expression may have."""
        found = parts(node)
        if found is not None:
            options = [
                (list(self._named("what", node)) if named and text == "what" else []) or [((named, text),)]
                for named, text in found
            ]
            yield from (tuple(piece for some in one for piece in some) for one in product(*options))
            return
        match node:
            case ast.Name(id=name):
                yield from self._named(name, node)
            case ast.IfExp(body=body, orelse=other):
                yield from (*self.texts(body), *self.texts(other))
            case ast.Attribute(attr=name):
                yield ((True, name),)
            case ast.Starred(value=value):
                yield from self.texts(value)
            case ast.Tuple(elts=[first, *_]):
                yield from self.texts(first)
            case ast.Subscript(value=ast.Dict(values=values)):
                for one in values:
                    yield from self.texts(one)
            case ast.Call(func=ast.Name(id=name)) if name in self.module:
                called = Function(self.module[name], self.module)
                for statement in called._statements():
                    if isinstance(statement, ast.Return) and statement.value:
                        yield from called.texts(statement.value)

    def _named(self, name: str, use: ast.expr) -> Iterator[Parts]:
        """What a name may stand for where it is used: what it got last, and before that if this was a matter of ifs."""
        for target, value in sorted(self.values.get(name, ()), key=lambda pair: -pair[0].lineno):
            if target.lineno > use.lineno:
                continue
            yield from self.texts(value)
            if target.col_offset <= self.depth:
                return

    def _statements(self) -> Iterator[ast.AST]:
        """All that is in the function, each with the depth of its statement noted."""
        for statement in ast.walk(self.node):
            if isinstance(statement, ast.stmt) and not isinstance(statement, ast.FunctionDef):
                simple = not hasattr(statement, "body")
                for node in ast.walk(statement) if simple else ():
                    self.depth = statement.col_offset
                    yield node

    def lines(self) -> Iterator[Line]:
        """The findings that the function makes, in the code for this machine and in the one for hosts."""
        for node in self._statements():
            match node:
                case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[place, what, *_]):
                    pair = (place, what) if name in KINDS else None
                    if name == "Finding" and len(node.args) > 2:
                        pair = what, node.args[2]
                case _:
                    pair = None
            for text in self.texts(pair[1]) if pair else ():
                for where in list(self.texts(pair[0])) or [((True, "place"),)] if pair else ():
                    yield Line(where, text)


def functions() -> Iterator[tuple[str, Function]]:
    """Each function of the deploy, with its file."""
    for folder in ("tasks", "catmaid_deploy"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(parent.is_symlink() for parent in path.parents):
                tree = ast.parse(path.read_text())
                found = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
                for node in found.values():
                    if node.name not in KINDS:
                        yield str(path.relative_to(ROOT)), Function(node, found)


def all_lines() -> list[Line]:
    """All lines that `verify` has, each once."""
    found: dict[Line, None] = {}
    for name, function in functions():
        if function.node.name not in OF_OTHER_THINGS.get(name, ()):
            found |= dict.fromkeys(function.lines())
    return list(found)


LINES = all_lines()
# Why a line isn't reached here.
NOT_INJECTED: dict[str, set[str]] = {
    "It is true of a distribution or a machine as a whole, which no fault makes of another": {
        "nginx: this host's has no brotli module, answers are compressed by gzip alone",
        "packages: <names> security updates wait: <names>",
        "system: <name> isn't supported",
        "system: systemd doesn't run there",
        "virtualenv: <base> has no C headers, which uWSGI needs",
        "virtualenv: <virtualenv>/bin/python is Python <version>, 3.8 or later is needed",
    },
    "It is said before a first deploy alone: tests of bare hosts, of adoption and of refusals have it": {
        "<path>: it isn't the deploy's and is in the way; a program may be using it",
        "<path>: somebody else's <kind> is in the way",
        "deploy: nothing was deployed to this host yet",
        "passwords: the hash of <user> takes nginx over <HASH_MS> ms for each try",
    },
    "Another line is the cause, and this one follows from it or is left out": {
        "<kind> of <whose>: <path> allows <allowed>, not <cors>",
        "<kind> of <whose>: <path> comes without <lacking>",
        "TLS of <server_name>: no TLS connection: <problem>",
        "from here to <server_name>: it answers <status>",
        "nginx: <path> answers host names that no site has, on <sockets>; without its default_server nobody would",
    },
    "A host of the tests of refusals has it": {
        "static_folder: <static_folder> isn't there",
        "workers: <number> workers (workers and celery.concurrency of all instances) need <number> MiB at the very "
        "least, and the host has <has> MiB with its swap",
        "tls.certificate: <certificate> ended <seconds_left> days ago",
        "virtualenv: <lacking> isn't installed in it",
    },
    "Another inventory has it: test_settings.py": {
        "cookies of <name>: <names> and path are those of <name>: who logs in to one is logged out of the other",
        "site.instances[<name>].wsgi_file: <file> takes packages from <path>, and not from <virtualenv>",
        "cookies of <name>: they are Secure, and the site is HTTP alone: nobody stays logged in unless something in "
        "front has HTTPS",
    },
    "It isn't injected here yet": {
        "<place>: <path> has <held> in it, which nginx would serve",
        "<short> of <name>: it is <state>: it ended again and again; its log ends with: <last>",
        "packages: <name> isn't installed",
        "web server of <name>: <packages> isn't installed in <virtualenv> as described",
    },
    "It passes by itself within start_seconds": {"<place>: it has just begun and isn't ready"},
    "The site of these tests has no ACME server, and the instance no releases": {
        "certificates: nobody renews them: <RENEWAL> is off",
        "certificates: nobody renews them: <RENEWED> is masked",
        "certificates: their last renewal failed<said>",
        "site[<site>].tls.certificate: certbot renews it by <authenticator>, which doesn't work beside this nginx",
        "certificates: certbot renews <name> by <authenticator>, which wants port 80, and that is nginx's",
        "tls.dns.credentials: <path> can be read by others, who could then change the DNS",
        "tls.certificate: <path> doesn't belong to the key of the request",
        "runtime_group: <group> is a directory service's group, and nginx's own user can only be put into one of this "
        "host",
        "tls.dns.credentials: <path> is no plain file",
        "tls.dns.credentials: <path> isn't there",
        "tls.certificate: <path> ended <seconds_left> days ago",
        "release of <name>: its release <revision> isn't on the host",
        "releases.owner: there is no user <owner>",
        "releases.shared: <folder>/shared/<path> isn't there",
        "releases: STATIC_ROOT = <static_root> in <path> is one folder for all releases, which have different files",
    },
    "Only an instance that the deploy installs has it: test_nothing_python.py, test_fits.py": {
        "<place>.install.python.executable: <revision> requires <package> <pin>, which doesn't run with Python "
        "<version> (<why>)",
        "<place>.install.python.requirements: <revision> has no <missing>",
        "Python environment of <name>: <virtualenv> isn't there or isn't complete",
        "site.instances[<name>].install.python.executable: <path> doesn't run: <problem>",
        "site.instances[<name>].install.python.executable: <path> has no C headers (Python.h), which <instance> needs",
        "site.instances[<name>].install.python.executable: <path> is Python <python>",
        "user <name>: it isn't there, and is to own the code",
    },
    "Only a host on which the deploy installs PostgreSQL has it: test_nothing_postgresql.py, test_postgresql.py": {
        "<PLACE>: it takes <connections> connections, and the programs may open <needed> during an update",
        "<PLACE>: the extension <name> isn't available to its version <version>",
        "<place>: <pending> waits for the next restart of PostgreSQL",
        "<place>: <version> is at port <at>, and CATMAID needs <OLDEST> or later",
        "<place>: it doesn't start at boot",
        "<place>: its data have no checksums: nobody is told of a block that a disk has changed",
        "<place>: the cluster <name> doesn't answer (<problem>)",
        "<place>: the server at port <at> is a standby, in which nothing can be made",
        "database <name>: it stays, with its role: <instance> no longer has it",
        "database of <name>: a deploy would <todo>",
        "install.database.port: PostgreSQL isn't there yet, and will be at <DEFAULT_PORT>, not at <at>",
        "install.database.port: no cluster of the host is at port <at>: there is <ports>",
        "name: the database <name> belongs to <owner>, not to <user>",
        "name: the database <name> has the encoding <encoding>, and CATMAID needs UTF8",
        "password: the role <user> is there and <why>: give that as password, or have it get a new one",
        "port <at>: <holder> has it, and is no server of Debian's",
        "postgresql.memory: <given> is more than the host has, <has> MiB",
        "site.instances[<name>].install.database.user: <user> is a superuser: CATMAID may do all in PostgreSQL",
    },
    "Only a host on which the deploy installs RabbitMQ has it: test_nothing_rabbitmq.py, test_rabbitmq.py": {
        "broker of <name>: its <title> isn't as described: <why>",
        "port <port>: another program listens there, and RabbitMQ needs it",
        "rabbitmq: changed settings wait for its next restart",
        "rabbitmq: it doesn't run: tasks wait, and notices reach no page",
        "rabbitmq: it is masked: nothing starts it",
        "rabbitmq: it takes no tasks: <mount> is full",
        "rabbitmq: it was installed by somebody else and listens to other hosts too, on <str>",
        "rabbitmq: its user guest has the password that everybody knows",
        "site.instances[<name>].install.broker.port: RabbitMQ runs there and doesn't listen at <port>",
        "site.instances[<name>].install.broker.user: RabbitMQ has a user <user> that isn't the deploy's",
        "virtual host <name>: no instance has it any longer; it stays, with what waits in it",
    },
    "Only an instance that the deploy installs has it: test_nothing_data.py": {
        "mail of <name>: <host>:<port> <what>: <words>",
    },
    "Only an instance that the deploy installs has it, before its first start": {
        "first data of <name>: a deploy would <todo>",
        "secrets of <name>: <secrets_file> has no secrets in it, and new ones would fit nothing",
        "secrets of <name>: <which> isn't as described",
    },
    "It takes a disk that hangs, or a folder that an attacker made": {
        "disk: <path> gives <user> no answer in time<more>",
        "tls.<key>: <path> gives no answer",
        "tls.<key>: <path> can't be read by whoever may change its folder",
    },
    "It takes a file system that fills for days: test_growth.py": {"growth: <mount> is full on <days>: <a_day>"},
    "It takes a network between this machine and the host": {
        "from here to <server_name>: <address> port <port> doesn't answer: <error>",
        "from here to <server_name>: browsers don't trust its certificate: <verify_message>",
        "from here to <server_name>: the name leads to no address",
    },
    "Tests of a run's last words inject it, and have `status` say it": {
        "<place>: it is ending, and waits for what is still in hand",
        "<place>: it runs, and systemd has not started it (process <main>)",
        "boot: <unit> is masked: nothing starts it",
        "boot: <unit> starts another command than its own, by <files>: <words>",
        "certificates: certbot leaves that of <name> as it is: autorenew = False in <path>",
        "logs: their last rotation failed",
        "nginx's files: <file> <what>",
        "port <port>: the host itself gets no connection to it",
    },
    "It is known of a service that hangs by a fault of its own": {
        "supervisor: it runs, and gives no answer",
    },
    "It is said under load alone, and a warning": {
        "queue <queue> of <name>: <length> tasks wait in it",
        "wsgi of <name>: all <threads> threads are busy, and <waiting> requests wait",
    },
}


@pytest.mark.row_33
def test_every_line_is_reached_by_a_fault() -> None:
    unreached = {line.text for line in LINES if not any(line.is_reached(fault) for fault in FAULTS.values())}
    print(f"of {len(LINES)} lines no fault reaches:", *sorted(unreached), sep="\n")
    assert unreached == set().union(*NOT_INJECTED.values())


@pytest.mark.row_33
def test_every_fault_reaches_a_line() -> None:
    assert [name for name, fault in FAULTS.items() if not any(line.is_reached(fault) for line in LINES)] == []
    assert len(FAULTS) > 40
    assert set(FAULTS) >= SAMPLE


def test_what_is_left_out_has_lines() -> None:
    speaking = {(name, function.node.name) for name, function in functions() if list(function.lines())}
    assert {(name, one) for name, left_out in OF_OTHER_THINGS.items() for one in left_out} <= speaking
