"""A hostile service user and a hostile owner of the code: no way to root, and no run that hangs (row 32)."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed.hosts import Bed, BedHost
from testbed.podman import command
from testbed.run import CHECKOUT, VIRTUALENV, Run, pyinfra
from testbed.updates import changed, release
from tests.host.conftest import boot_packed
from tests.host.test_releases import REPOSITORY, prepare, released, tag

pytestmark = pytest.mark.xdist_group("hostile")

PROGRAM = Path(__file__).with_name("hostile_on_host.py")
USERS = ("www-data", "catmaid")
RUN_DIR, CONFIG, RELEASES, NOTES = "/run/catmaid", "/etc/catmaid/catmaid", "/home/catmaid/releases", "/srv/notes"
# A run ends within its own limits, on a machine that does other things beside it.
SECONDS = 400
# What nobody but root and Debian's programs change: contents, owners and modes.
CANARIES = r"""
sha256sum /root/canary /etc/sudoers
ls -la /root /etc/cron.d /etc/sudoers.d
stat -c '%n %U %G %a' / /etc /root /root/canary /run /etc/passwd /etc/shadow /dev/zero /etc/systemd/system
"""
# And what is so from the first deploy on.
DEPLOYED = (
    CANARIES
    + r"""
sha256sum /etc/passwd /etc/shadow /etc/group /etc/gshadow
stat -c '%n %U %G %a' /run/catmaid-deploy /var/lib/catmaid-deploy /etc/catmaid
"""
)
# The application as it came, and a deploy of it: what a test changes is gone with the next one.
KEEP = f"tar -C / -cpf /srv/before.tar {CHECKOUT[1:]}"
# Folders of the host's image can't be renamed: these are its own.
UNPACK = f"rm -rf {CHECKOUT}; tar -C / -xpf /srv/before.tar"
PUT_BACK = f"""
for user in {" ".join(USERS)}; do pkill -KILL -u $user -f hostile_on_host || true; done
rm -rf /home/catmaid/releases /home/catmaid/.[a-z]* {RUN_DIR}/* /tmp/bin; {UNPACK}
rm -rf {NOTES}; mkdir -m 1777 {NOTES}
"""


@dataclass
class Canary:
    """What root has on a host, before somebody tries to change it."""

    host: BedHost
    script: str = DEPLOYED

    def __post_init__(self) -> None:
        self.before = self.host.run(self.script)

    def check(self) -> None:
        assert self.host.run(self.script) == self.before
        # Three numbers of the user and of the group, and no capability.
        notes = self.host.run(f"cd {NOTES}; cat -- * 2>/dev/null || true").splitlines()
        assert not [line for line in notes if line.startswith(("Uid", "Gid")) and "0" in line.split()[1:]]
        assert not [line for line in notes if line.startswith("CapEff") and int(line.split()[1], 16)]


def give(host: BedHost) -> None:
    """What the tests need on a host: root's canary, the hostile programs, and the application to put back."""
    host.run(f"echo root > /root/canary; chmod 600 /root/canary; mkdir -m 1777 {NOTES}; {KEEP}; {UNPACK}")
    host.put("/srv/hostile_on_host.py", PROGRAM.read_bytes())
    host.run(
        """
        cd /srv; echo 'import sys; sys.argv = ["", "none"]; from hostile_on_host import *' > make.py
        echo 'trap("/srv/trap"); text("/srv/trap.py", PYTHON_TRAP, 0o755)' >> make.py; python3 make.py
        """
    )


@pytest.fixture(scope="module")
def attacked(bed: Bed) -> Iterator[BedHost]:
    host = boot_packed(bed, "bookworm", "hostile")
    give(host)
    deploy(host)
    yield host
    host.remove()


@pytest.fixture
def host(attacked: BedHost) -> BedHost:
    return cleaned(attacked)


def cleaned(host: BedHost) -> BedHost:
    """The host as it was before anybody changed something, for the next who does."""
    if host.run("ls /srv/changed 2>/dev/null || true"):
        host.run(PUT_BACK)
        host.run("systemctl restart supervisor")
        deploy(host)
    host.run("touch /srv/changed")
    return host


@pytest.fixture(scope="module")
def mirrored(attacked: BedHost) -> None:
    """A repository of the application, with a release in it, and a folder for releases."""
    prepare(attacked)
    tag(attacked, "v1")
    attacked.run(KEEP + f" {RELEASES[1:]}")


def described(host: BedHost, **changes: Any) -> dict[str, Any]:
    """The site, at the port by which this machine reaches it."""
    return {"site": changed(**changes) | {"tls": {"certificate": "self-signed", "port": host.ports[443]}}}


def deploy(host: BedHost) -> None:
    run = pyinfra(host, described(host), "-y")
    assert run.code == 0, run.text


@contextmanager
def hostile(host: BedHost, how: str, users: tuple[str, ...] = USERS) -> Iterator[None]:
    """With the users at work: ``once`` for all at once, which stays, ``quick`` with sound settings, ``loop`` for
    changes all the time.
    """
    words = ("python3", "-I", "/srv/hostile_on_host.py", how, "7200")
    started = [
        subprocess.Popen([*command(), "exec", "--user", user, host.name, *words], stdout=subprocess.PIPE)
        for user in users
    ]
    try:
        for process in started:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
        yield
        # They were there all the time.
        assert [process.poll() for process in started] == [None] * len(started)
    finally:
        host.run(" ".join(f"pkill -KILL -u {user} -f hostile_on_host || true;" for user in users))
        for process in started:
            process.wait()


def job(name: str, *options: str) -> Callable[[BedHost], Run]:
    """A runbook, with what an admin sees of it."""
    deploy = f"runbooks/{name}.py"
    return lambda host: pyinfra(host, described(host), "-y", *options, deploy=deploy, json_output=False)


def update(host: BedHost) -> Run:
    return pyinfra(host, described(host, post_buffering=8192 + int(time.time()) % 1000), "-y")


JOBS: dict[str, Callable[[BedHost], Run]] = {
    "dry run": lambda host: pyinfra(host, described(host, workers=3), "--dry", "--diff"),
    "status": job("status"),
    "deploy": lambda host: pyinfra(host, described(host), "-y"),
    "verify": job("verify"),
    "update": update,
    "rollback": job("rollback"),
    "logs": job("logs"),
    "maintenance": job("maintenance", "--data", "maintenance=on"),
    "opening": job("maintenance", "--data", "maintenance=off"),
}
ON_HOST = {
    "systemd-tmpfiles": "systemd-tmpfiles --create --clean || true",
    "logrotate": "logrotate --force /etc/logrotate.d/catmaid || true",
    # Supervisor loses a signal to a program that it has begun, but not yet made that program of: it would wait for
    # its end for as long as a task may take.
    "boot of Supervisor": "systemctl restart supervisor; sleep 3",
}


def in_time(host: BedHost, name: str) -> Run | None:
    """Do one job: it ends in time, and nothing of theirs steers a terminal or makes a line of its own."""
    begin = time.monotonic()
    if name in ON_HOST:
        host.run(ON_HOST[name], timeout=SECONDS)
        return None
    run = JOBS[name](host)
    assert time.monotonic() - begin < SECONDS, name
    assert "\x1b]0;" not in run.text, run.text
    # Once where it is so.
    assert run.text.count("\nhost: all is well") <= (run.code == 0), run.text
    assert run.code in (0, 1, 2), run.text
    return run


def silent(runs: list[Run | None]) -> str:
    """The texts of runs that didn't end well and name nothing of what is in their way: a place of theirs, a program,
    or its log.
    """
    places = (RUN_DIR, CHECKOUT, RELEASES, "/var/lib/catmaid/", "/var/log/catmaid/")
    programs = (
        "uwsgi",
        "daphne-",
        *(f"FAULT    {what} of" for what in ("programs", "application", "configuration of programs")),
    )
    failed = [run.text for run in runs if run and run.code]
    return "\n".join(text for text in failed if not any(one in text for one in (*places, *programs)))


# ---- one attack after the other ----

# Goes on for as long as the test lasts: by this name it is ended.
AGAIN = "nohup sh -c 'while :; do {}; done' hostile_on_host >/dev/null 2>&1 &"
MIRROR = f"""
cd {RELEASES}; git clone -q --mirror {REPOSITORY} repository.git; cd repository.git
"""


@dataclass(frozen=True)
class Attack:
    """What one user prepares, and the jobs after it. ``ends`` is how they end, where that is known; ``needs`` is what
    root does before.
    """

    user: str
    script: str
    jobs: tuple[Callable[[BedHost], Run], ...]
    ends: int | None = None
    needs: str = "true"


def refused(host: BedHost) -> Run:
    """A run whose files are put back."""
    release(host, "broken", broken="import", seconds=0)
    return update(host)


def gunicorn(host: BedHost) -> Run:
    return pyinfra(host, described(host, wsgi_server="gunicorn"), "-y")


def other_owner(host: BedHost) -> Run:
    """What the user of before has left is handed on."""
    return pyinfra(host, described(host, user="catmaid"), "-y")


def new_release(host: BedHost) -> Run:
    return pyinfra(host, {"site": released("v1", migrate="before")}, "-y")


def each(*names: str) -> tuple[Callable[[BedHost], Run], ...]:
    return tuple(JOBS[name] for name in names)


# In the slots in use.
STARTED = f"for of in wsgi daphne celery; do cd {RUN_DIR}/$(readlink {CONFIG}/$of); rm -f started; {{}}; done"
ATTACKS = {
    # A name that root writes.
    "1 a link where a file is made ready": Attack(
        "www-data",
        f"cd {RUN_DIR}; rm uwsgi.socket; echo hostile > uwsgi.socket\n"
        + AGAIN.format(
            "for name in uwsgi.socket uwsgi.pid daphne.sock catmaid.ready uwsgi-stats.socket; do "
            "ln -sf /etc/cron.d/hostile .$name.catmaid-deploy; done"
        ),
        (refused,),
    ),
    "1 a slot that is a link": Attack(
        "www-data",
        f"cd {RUN_DIR}; for slot in wsgi daphne; do for name in $slot-a $slot-b; do [ $name = $(readlink "
        f"{CONFIG}/$slot) ] || {{ rm -rf $name; ln -s /etc/cron.d $name; }}; done; done",
        (update,),
    ),
    "1 a memory of beat's that is a link": Attack(
        "www-data",
        "cd /var/lib/catmaid; rm -f *; ln -s /etc/shadow celery-beat-schedule.db; ln -s /root/canary celery-beat",
        (other_owner,),
        ends=0,
        needs=f"chown -R catmaid {CHECKOUT}/django/files",
    ),
    # A program that root runs.
    "2 uWSGI replaced": Attack("catmaid", f"cd {VIRTUALENV}/bin; rm uwsgi; cp /srv/trap uwsgi", (update,)),
    "2 a package beside the code": Attack(
        "catmaid",
        f"cd {CHECKOUT}/django/projects; mkdir gunicorn; cp /srv/trap.py gunicorn/__init__.py; cp /srv/trap.py os.py",
        (gunicorn,),
    ),
    "2 pip and manage.py replaced": Attack(
        "catmaid",
        f"cd {VIRTUALENV}; rm bin/pip; cp /srv/trap bin/pip; cp /srv/trap.py ../projects/manage.py; rm bin/uwsgi; "
        "rm -r lib/python*/site-packages/*uwsgi*; cd lib/python3*/site-packages; cp /srv/trap.py sitecustomize.py",
        each("deploy"),
    ),
    # A program whose user is told by a link.
    "3 the virtualenv is a link": Attack(
        "catmaid",
        f"mkdir -p /tmp/bin; cp /srv/trap /tmp/bin/python; cd {CHECKOUT}/django; mv env env.before; ln -s /tmp env",
        each("dry run", "deploy"),
        ends=1,
    ),
    "3 its Python is a link": Attack(
        "catmaid",
        f"ln -sf /srv/trap {VIRTUALENV}/bin/python; ln -sf /srv/trap {VIRTUALENV}/bin/python3",
        each("dry run"),
    ),
    "3 the checkout is a link": Attack(
        "catmaid", f"mv {CHECKOUT} {CHECKOUT}.before; ln -s /root {CHECKOUT}", each("dry run", "verify"), ends=1
    ),
    # A program that a program runs.
    "4 a mirror that asks its own program": Attack(
        "catmaid",
        MIRROR
        + "git config core.repositoryformatversion 1; git config extensions.partialClone origin\n"
        + "git config remote.origin.promisor true; git config remote.origin.uploadpack /srv/trap\n"
        + "rm packed-refs; mkdir -p refs/tags; echo 1111111111111111111111111111111111111111 > refs/tags/v1",
        (new_release,),
        ends=1,
    ),
    "4 a mirror with hooks": Attack(
        "catmaid",
        MIRROR
        + "for hook in reference-transaction post-checkout post-index-change; do cp /srv/trap hooks/$hook; done\n"
        + "git config core.hooksPath hooks; git config core.fsmonitor /srv/trap; git config tar.umask 0\n"
        + "git config core.attributesFile /srv/x; echo '* export-subst filter=x' > info/attributes\n"
        + "git config filter.x.smudge /srv/trap; git config filter.x.required true",
        (new_release,),
    ),
    "4 settings of Git's own": Attack(
        "catmaid",
        "git config --global core.sshCommand /srv/trap; git config --global alias.rev-parse '!/srv/trap'\n"
        "git config --global core.fsmonitor /srv/trap; git config --global uploadpack.packObjectsHook /srv/trap\n"
        "git config --global core.hooksPath /srv; git config --global init.templateDir /root",
        (new_release,),
    ),
    # What never ends.
    "5 a FIFO": Attack("www-data", STARTED.format("mkfifo started"), each("status", "verify", "deploy")),
    "5 a device": Attack("www-data", STARTED.format("ln -s /dev/zero started"), each("status", "deploy")),
    "5 a socket": Attack(
        "www-data",
        f"cd {RUN_DIR}/$(readlink {CONFIG}/wsgi)/private; rm -f stats.socket\n"
        "nohup python3 -c '\n"
        "import socket, time\n"
        'server = socket.socket(socket.AF_UNIX); server.bind("stats.socket"); server.listen(9)\n'
        "while True:\n"
        "    connection = server.accept()[0]\n"
        "    try:\n"
        '        while not time.sleep(1): connection.sendall(b"[")\n'
        "    except OSError: pass\n"
        "' hostile_on_host >/dev/null 2>&1 &",
        each("status", "verify"),
    ),
}
SHORT = ("2 uWSGI", "5 a FIFO")


@pytest.mark.row_32
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n.startswith(SHORT) else [pytest.mark.long]) for n in ATTACKS]
)
def test_an_attack_fails(host: BedHost, request: pytest.FixtureRequest, name: str) -> None:
    attack = ATTACKS[name]
    if new_release in attack.jobs:
        request.getfixturevalue("mirrored")
    canary = Canary(host)
    host.run(attack.needs)
    host.run(attack.script, user=attack.user)
    for do in attack.jobs:
        begin = time.monotonic()
        run = do(host)
        assert time.monotonic() - begin < SECONDS
        assert attack.ends is None or run.code == attack.ends, run.text
        assert not silent([run]), run.text
    canary.check()


@pytest.mark.row_32
@pytest.mark.parametrize(
    "change",
    [
        {"name": "catmaid-deploy"},
        {"name": "catmaid-nginx"},
        {"user": "catmaid-nginx"},
        {"runtime_group": "shadow"},
        {"user": "catmaid", "runtime_group": "catmaid-nginx"},
    ],
    ids=str,
)
def test_an_instance_may_not_take_what_is_the_deploys_or_the_systems(attacked: BedHost, change: dict[str, str]) -> None:
    """Attack 7: by its name, its user or its group, who runs it would have folders or rights of the deploy's."""
    canary = Canary(attacked)
    run = pyinfra(attacked, {"site": changed(**change)}, "-y")
    assert run.code == 1
    *_, (key, value) = change.items()
    assert any(f".{key}: {value!r}" in line for line in run.refusals), run.text
    canary.check()


@pytest.mark.row_32
@pytest.mark.long
@pytest.mark.parametrize("folder", ["/run/catmaid-deploy", "/var/lib/catmaid-deploy", "/etc/nginx"])
def test_releases_may_not_lie_among_the_deploys_files(host: BedHost, mirrored: None, folder: str) -> None:
    """Attack 7 by another key: their owner would have the folder."""
    canary = Canary(host)
    run = pyinfra(host, {"site": released("v1", migrate="before", folder=folder)}, "-y")
    assert run.code == 1
    assert folder in run.text
    canary.check()


# ---- everything at once ----


@pytest.mark.row_32
@pytest.mark.parametrize(
    ("how", "names"),
    [
        pytest.param("quick", ("dry run", "deploy"), id="quick"),
        # Each of these waits for what hangs.
        pytest.param("once", (*JOBS, *ON_HOST), id="all", marks=pytest.mark.long),
    ],
)
def test_everything_at_once(host: BedHost, how: str, names: tuple[str, ...]) -> None:
    canary = Canary(host)
    with hostile(host, how):
        runs = [in_time(host, name) for name in names]
    canary.check()
    assert not silent(runs), silent(runs)


@pytest.fixture(scope="module", params=[USERS[:1], USERS[1:], USERS], ids="-".join)
def changing(attacked: BedHost, request: pytest.FixtureRequest) -> Iterator[BedHost]:
    """A host on which users change things all the time."""
    host = cleaned(attacked)
    with hostile(host, "loop", request.param):
        yield host


@pytest.mark.row_32
@pytest.mark.long
@pytest.mark.parametrize("name", [*JOBS, *ON_HOST])
def test_changes_in_a_loop(changing: BedHost, name: str) -> None:
    """Twenty-one of each job, while what it looks at changes: seven for each of the users and for both."""
    canary = Canary(changing)
    runs = [in_time(changing, name) for _ in range(7)]
    canary.check()
    assert not silent(runs), silent(runs)


@pytest.mark.row_32
@pytest.mark.long
def test_before_the_first_deploy(bed: Bed) -> None:
    host = boot_packed(bed, "bookworm", "hostile-first")
    give(host)
    host.run(f"install -d -o www-data {RUN_DIR}")
    canary = Canary(host, CANARIES)
    with hostile(host, "once"):
        runs = [in_time(host, name) for name in ("dry run", "deploy", "status", "verify")]
    canary.check()
    assert not silent(runs), silent(runs)
    host.remove()
