"""Root works in other people's folders as those people: every kind of run and job, followed by a tracer (row 32)."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from catmaid_deploy.schema import NGINX_USER
from catmaid_deploy.tasks.certificates.files import HOOK
from testbed.hosts import Bed, BedHost, wait_for
from testbed.peers.script import ssh
from testbed.run import CHECKOUT, Run, pyinfra
from testbed.updates import SITE as ONE
from testbed.updates import changed, release
from tests.host import acme, test_acme
from tests.host.conftest import SITE, boot, boot_packed, place_instances
from tests.host.test_releases import prepare, released, tag
from tests.host.tracer import Debian, Trace

pytestmark = pytest.mark.xdist_group("trust")

# Folders of the service user's, one a line, with what may be in them; and a link of root's that leads there.
THEIRS = "/srv/theirs"
PREPARE = f"""
mkdir -p {THEIRS}; cd {THEIRS}
for number in $(seq 0 99); do
    mkdir -p $number/folder
    echo 'raise SystemExit' > $number/thing.py; echo true > $number/script; chmod 755 $number/script
    for name in file old linked; do echo text > $number/$name; done
done
chown -R www-data:www-data .; ln -s {THEIRS} /srv/link
"""
BY_FOLDER = """
srv = os.open("/srv", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
theirs = os.open("theirs", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=srv)
folder = os.open(number, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=theirs)
"""
# One line of each kind that root may not do; ``at`` is the folder of the line's number.
WRONG = {
    "read": "open(at + '/file')",
    "read what isn't there": "open(at + '/nothing')",
    "write": "open(at + '/file', 'w')",
    "write a new file": "open(at + '/new', 'x')",
    "list": "os.listdir(at + '/folder')",
    "hold a file": "os.open(at + '/file', os.O_PATH | os.O_NOFOLLOW)",
    "rename": "os.rename(at + '/old', at + '/new')",
    "rename from": "os.rename(at + '/old', '/srv/new')",
    "rename to": "os.rename('/srv/old', at + '/new')",
    "link": "os.link(at + '/file', '/srv/file')",
    "link symbolically": "os.symlink('file', at + '/link')",
    "remove a file": "os.unlink(at + '/file')",
    "make a folder": "os.mkdir(at + '/new')",
    "remove a folder": "os.rmdir(at + '/folder')",
    "give away": "os.chown(at + '/file', 33, 33)",
    "give a link away": "os.lchown(at + '/file', 33, 33)",
    "change the mode": "os.chmod(at + '/file', 0o644)",
    "cut": "os.truncate(at + '/file', 0)",
    "change the time": "os.utime(at + '/file')",
    "change an attribute": "os.setxattr(at + '/file', 'user.x', b'')",
    "make a FIFO": "os.mkfifo(at + '/new')",
    "connect": "socket.socket(socket.AF_UNIX).connect(at + '/socket')",
    "bind": "socket.socket(socket.AF_UNIX).bind(at + '/new')",
    "execute": "subprocess.run([at + '/script'])",
    "execute by a shell": "subprocess.run(['sh', at + '/script'])",
    "import": "sys.path.insert(0, at); import thing",
    "by a link of root's": "open(f'/srv/link/{number}/file')",
    "by its working folder": "os.chdir(at); open('file')",
    "in /tmp": "open('/tmp/' + number, 'w')",
    "in a folder in /tmp": "open(f'/tmp/{number}/file')",
    "able to be root again": "os.seteuid(33); open(at + '/file')",
    "by another process's folder": "open(f'/proc/{os.getppid()}/root/srv/theirs/{number}/file')",
    "a link by a folder's descriptor": BY_FOLDER + "os.open('file', os.O_RDONLY | os.O_NONBLOCK, dir_fd=folder)",
    "a path by a folder's descriptor": BY_FOLDER
    + "os.open(number + '/file', os.O_PATH | os.O_NOFOLLOW, dir_fd=theirs)",
    "a FIFO by a folder's descriptor": BY_FOLDER + "os.open('file', os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)",
    "give away by a folder's descriptor": BY_FOLDER + "os.chown('file', 33, 33, dir_fd=folder)",
    "change the mode by a folder's descriptor": BY_FOLDER + "os.chmod('file', 0o644, dir_fd=folder)",
    "connect by a folder's descriptor": BY_FOLDER
    + "socket.socket(socket.AF_UNIX).connect(f'/proc/self/fd/{folder}/socket')",
}
DROPPED = "os.setgroups([]); os.setresgid(33, 33, 33); os.setresuid(33, 33, 33)\n"
# And what it may.
RIGHT = {
    "as the other user": DROPPED + "open(at + '/file'); os.rename(at + '/old', at + '/new')",
    "as the other user by a program": "subprocess.run(['setpriv', '--reuid=33', '--regid=33', '--clear-groups', 'cat', "
    "at + '/file'], check=True)",
    "by a folder's descriptor": BY_FOLDER
    + "file = os.open('file', os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder); os.fchown(file, 33, 33)\n"
    "os.mkdir('new', dir_fd=folder); os.rmdir('new', dir_fd=folder); os.unlink('file', dir_fd=folder)",
    "look": "os.stat(at + '/file'); os.access(at + '/file', os.R_OK); os.readlink('/srv/link')",
    "in a folder of its own in /tmp": "path = tempfile.mkdtemp() + '/file'; open(path, 'w').close(); os.unlink(path)\n"
    "os.rmdir(os.path.dirname(path))",
    "a file of its own in /tmp": "file, path = tempfile.mkstemp(); os.chmod(path, 0o600); os.unlink(path)",
    "in folders of root's": "open('/srv/new', 'w').close(); os.rename('/srv/new', '/srv/old')",
    "the folder itself": "os.chown('/srv/theirs', 33, 33)",
}
# Each line in a process of its own, which a fault ends.
DO = """
import json, os, socket, subprocess, sys, tempfile, time
for number, line in enumerate(json.load(sys.stdin)):
    child = os.fork()
    if child == 0:
        try:
            exec(line, dict(globals(), number=str(number), at="/srv/theirs/%d" % number))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
"""


# ---- what root may do beside the deploy's own way ----

DEBIAN = (
    Debian(
        "/usr/bin/apt-get",
        "/var/(lib/apt/lists|cache/apt/archives)/partial",
        "its downloads run as _apt, whose folder this is; it takes a file over before it compares its digest",
    ),
    Debian(
        "/usr/bin/systemd-tmpfiles",
        "/tmp",
        "at boot it looks for what is left in the folders of X11, by their paths and without following a link",
    ),
)

# ---- the kinds of runs and jobs ----

SUPERVISOR = "/usr/bin/supervisord"
# Two instances: one as the service user, one as the owner of its code.
TWO = copy.deepcopy(ONE)
TWO["instances"].append(SITE["instances"][1] | {"workers": 1, "threads": 1})
for instance in TWO["instances"]:
    instance["start_seconds"] = 300  # under a tracer all is slow


def one(**changes: Any) -> dict[str, Any]:
    """A site with the first instance alone."""
    return changed(start_seconds=300, **changes)


def run(
    host: BedHost, site: dict[str, Any] = TWO, *options: str, refused: bool = False, deploy: str = "deploy.py"
) -> Run:
    run = pyinfra(host, {"site": site}, *(options or ("-y",)), deploy=deploy)
    assert (run.code != 0) == refused, run.text
    return run


def look(host: BedHost, site: dict[str, Any] = TWO) -> None:
    """The runbooks that look. What they find isn't the matter here: under a tracer programs may be late."""
    for job in ("status", "verify", "logs"):
        pyinfra(host, {"site": site}, "-y", deploy=f"runbooks/{job}.py")


def dry_run(host: BedHost, site: dict[str, Any] = TWO) -> None:
    run(host, site, "--dry", "--diff")


def without_a_deploy(host: BedHost) -> None:
    dry_run(host)
    look(host)


def nothing_to_do(host: BedHost) -> None:
    assert run(host).changed == []
    dry_run(host, one(workers=3))


def update(host: BedHost) -> None:
    release(host, "another", seconds=0)
    run(host)


def refused_update(host: BedHost) -> None:
    release(host, "broken", broken="import", seconds=0)
    run(host, refused=True)
    release(host, "another", seconds=0)


def maintain(host: BedHost) -> None:
    run(host, TWO, "-y", "--data", "maintenance=on", "--data", "text=Back soon", deploy="runbooks/maintenance.py")
    run(host, TWO, "-y", "--data", "maintenance=off", deploy="runbooks/maintenance.py")


def break_off(host: BedHost) -> None:
    """What an interrupted run or an admin may have left: files gone, owners changed, programs dead."""
    run(host)
    host.run(
        """
        rm -r /etc/catmaid/catmaid/wsgi* /etc/supervisor/conf.d/catmaid-fafb.conf /run/catmaid/*.sock*
        supervisorctl update >/dev/null; chown root /run/catmaid-fafb; touch /run/catmaid/.uwsgi.pid.catmaid-deploy
        """
    )


def half_deployed(host: BedHost) -> None:
    look(host)
    dry_run(host)
    run(host)


def give_files(host: BedHost, user: str) -> None:
    host.run(f"chown -R {user} {CHECKOUT}/django/files")


def both_again(host: BedHost) -> None:
    give_files(host, "www-data")
    run(host)


def by_themselves(host: BedHost) -> None:
    ssh(host, "logrotate --force /etc/logrotate.d/catmaid; systemctl start logrotate")
    ssh(host, "systemd-tmpfiles --create --clean")


def released_once(name: str) -> dict[str, Any]:
    site = released(name, migrate="before", keep=2)
    site["instances"][0]["start_seconds"] = 300
    return site


def releases(host: BedHost) -> None:
    """Put in place, replaced, and the oldest removed."""
    for name in ("1.0", "1.1", "1.2", "1.3"):
        run(host, released_once(name))
    look(host, released_once("1.3"))
    # Of a release that the mirror alone has now.
    assert "are not known" not in run(host, released_once("1.0"), "--dry").text


def publish(host: BedHost) -> None:
    prepare(host)
    for name in ("1.0", "1.1", "1.2", "1.3"):
        tag(host, name)


@dataclass(frozen=True)
class Session:
    """What a tracer follows. A program that loads is much slower under it: most go without Supervisor, whose other
    programs do nothing that these have not shown.
    """

    do: Callable[[BedHost], object]
    before: Callable[[BedHost], object] = lambda host: None
    with_supervisor: bool = False


SESSIONS = {
    "a host without a deploy": Session(without_a_deploy),
    "deploy": Session(run),
    "nothing to do": Session(nothing_to_do),
    "status, verify, logs": Session(look),
    "maintenance": Session(maintain),
    "update": Session(update),
    "refused update": Session(refused_update),
    "rollback": Session(lambda host: run(host, deploy="runbooks/rollback.py")),
    "changed settings": Session(lambda host: run(host, one(post_buffering=16384, wsgi_server="gunicorn"))),
    "half deployed": Session(half_deployed, break_off, with_supervisor=True),
    "another user": Session(lambda host: run(host, one(user="catmaid")), lambda host: give_files(host, "catmaid")),
    "logrotate, systemd-tmpfiles": Session(by_themselves, with_supervisor=True),
    "removal of an instance": Session(lambda host: run(host, one()), both_again, with_supervisor=True),
    "releases": Session(releases, publish),
}
SAMPLE = ("deploy", "status, verify, logs", "update")


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_packed(bed, "bookworm", "trust")
    # pyinfra asks for all users before it makes one, by hundreds of processes: the bare host shows it.
    host.run(f"useradd --system --user-group --home-dir /nonexistent --groups www-data,catmaid {NGINX_USER}")
    yield host
    host.remove()


@pytest.mark.row_32
def test_the_tracer_finds_one_wrong_line_of_each_kind(host: BedHost, tmp_path: Path) -> None:
    """And takes nothing that is right for wrong."""
    host.run(PREPARE)
    host.put("/srv/do.py", DO.encode())
    with Trace(host, tmp_path / "trace") as trace:
        ssh(host, "python3 -I /srv/do.py", json.dumps([*WRONG.values(), *RIGHT.values()]).encode())
    found = trace.trespasses()
    numbers = [re.findall(r"/(\d+)\b", line.partition(", in ")[0])[-1] for line in found]
    reported = {[*WRONG, *RIGHT][int(number)] for number in numbers}
    assert reported == set(WRONG), "\n".join(found)


@pytest.mark.row_32
@pytest.mark.parametrize("what", [pytest.param(w, marks=[] if w in SAMPLE else [pytest.mark.long]) for w in SESSIONS])
def test_root_works_as_other_people_in_their_folders(host: BedHost, tmp_path: Path, what: str) -> None:
    session = SESSIONS[what]
    session.before(host)
    with Trace(host, tmp_path / "trace", "" if session.with_supervisor else SUPERVISOR) as trace:
        session.do(host)
    assert any(call.is_root for call in trace.calls)
    assert trace.trespasses(DEBIAN) == []


@pytest.mark.row_32
@pytest.mark.long
@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"])
def test_a_bare_host(bed: Bed, tmp_path: Path, server: str) -> None:
    """apt installs all packages, and pip the web server; under a tracer a compiler takes some minutes for uWSGI."""
    host = boot(bed, "bookworm", f"trust-bare-{server}")
    place_instances(host)
    site = copy.deepcopy(TWO)
    for instance in site["instances"]:
        instance["wsgi_server"] = server
    with Trace(host, tmp_path / "trace") as trace:
        run(host, site)
    host.remove()
    assert "/usr/bin/dpkg" in {call.program for call in trace.calls}
    assert trace.trespasses(DEBIAN) == []


@pytest.mark.row_32
@pytest.mark.long
def test_a_certificate(bed: Bed, server: acme.Server, tmp_path: Path) -> None:
    """certbot gets it, its timer's service renews it, and our hook has nginx take it."""
    label = "trust-acme"
    host = boot_packed(bed, "bookworm", label, aliases=test_acme.names(label))
    server.introduce(host)
    site = test_acme.site(server, label)
    name = site["server_name"]
    with Trace(host, tmp_path / "trace", SUPERVISOR) as trace:
        run(host, site)
        with acme.due(host, name):
            # By SSH: what it starts is systemd's.
            ssh(host, "systemctl start certbot.service")
        look(host, site)
    host.remove()
    assert HOOK in {call.program for call in trace.calls}
    assert trace.trespasses(DEBIAN) == []


@pytest.mark.row_32
@pytest.mark.long
def test_a_boot(host: BedHost, tmp_path: Path) -> None:
    """systemd, its tmpfiles, nginx's and Supervisor's start."""
    host.run("systemctl disable rabbitmq-server 2>/dev/null")  # Erlang under a tracer takes minutes
    run(host)
    with Trace(host, tmp_path / "trace") as trace:
        trace.reboot()
        wait_for("the programs", lambda: host.run("supervisorctl status || true").count(" RUNNING ") >= 4, 300, every=2)
    assert "/usr/bin/systemd-tmpfiles" in {call.program for call in trace.calls}
    assert trace.trespasses(DEBIAN) == []
