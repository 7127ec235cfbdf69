"""Whatever state a host is in, a dry run names what the real run then does, and that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from testbed.hosts import Bed, BedHost, wait_for
from testbed.run import BOOKKEEPING, pyinfra
from tests.host.conftest import SITE, boot_ready, place, processes, running, serves

SITE_FILE = "/etc/nginx/sites-available/catmaid-localhost.conf"
SHARED = "/etc/nginx/conf.d/catmaid.conf"
OURS = "programs of catmaid"
EVERY = [OURS, "programs of catmaid-fafb", "programs of catmaid-root"]


@dataclass(frozen=True)
class State:
    """How a host came to differ: what brings it there, the services that a run has to mend, and what it shows.

    ``touched`` are the programs that may have another process afterwards.
    """

    script: str
    mends: list[str]
    shows: str = ""
    touched: set[str] = field(default_factory=set)


SHORTS = ("wsgi", "daphne", "celery", "celery-beat")
PROGRAMS = {f"catmaid-{short}" for short in SHORTS}
ALL = {f"{i['name']}-{short}" for i in SITE["instances"] for short in SHORTS}

STATES = {
    "finished": State("true", []),
    "an edited nginx file": State(f"echo '# by hand' >> {SITE_FILE}", ["nginx"], "-# by hand"),
    "a certificate that was moved in place": State(
        """
        cd /etc/catmaid/tls/self-signed/localhost
        openssl x509 -in fullchain.pem -signkey privkey.pem -days 3000 -set_serial 7 -out /root/c 2>/dev/null
        touch -d 2020-01-01 /root/c; chmod --reference=fullchain.pem /root/c; mv /root/c fullchain.pem
        """,
        ["nginx"],
        "reload nginx: a certificate has changed",
    ),
    "an edited nginx file that was loaded": State(
        f"echo '# by hand' >> {SITE_FILE}; systemctl reload nginx", ["nginx"], "-# by hand"
    ),
    "another file is loaded than is there": State(
        f"cp {SHARED} /tmp/shared; sed -i 's/max-age=3600/max-age=7200/; s/return 200 \"./&0/' {SHARED};"
        f"systemctl reload nginx; sleep 1; cp /tmp/shared {SHARED}",
        ["nginx"],
        "reload nginx: it runs with another configuration",
    ),
    "a reload that was lost": State(f"sleep 3; touch {SITE_FILE}", ["nginx"], "reload nginx: its files are newer"),
    "nginx is stopped": State("systemctl stop nginx", ["nginx"], "start nginx: it doesn't run"),
    "nginx doesn't start at boot": State(
        "systemctl disable nginx 2>/dev/null", ["system"], "enable nginx.service: it doesn't start at boot"
    ),
    "a removed link": State(
        "rm /etc/nginx/sites-enabled/catmaid-localhost.conf",
        ["nginx"],
        "link /etc/nginx/sites-enabled/catmaid-localhost.conf",
    ),
    "Debian's default site is back": State(
        "ln -s /etc/nginx/sites-available/default /etc/nginx/sites-enabled/default",
        ["nginx"],
        "remove /etc/nginx/sites-enabled/default",
    ),
    "a wrong owner": State(
        "chown catmaid /etc/catmaid/catmaid/wsgi/uwsgi.ini",
        [OURS],
        "catmaid:root 644 -> root:root 644",
        {"catmaid-wsgi"},
    ),
    "a wrong mode": State("chmod 777 /run/catmaid", [OURS], "-> www-data:www-data 755"),
    "a deleted socket folder": State("rm -r /run/catmaid", [OURS], "make folder /run/catmaid", PROGRAMS),
    "a stopped program": State(
        f"supervisorctl stop {place('daphne')}",
        [OURS],
        "start daphne: it is STOPPED",
        {"catmaid-daphne"},
    ),
    "a program in FATAL": State(
        """
        cd /etc/catmaid/catmaid; cp -p celery-beat/run.sh /tmp/; cp -p /etc/supervisor/conf.d/catmaid.conf /tmp/
        echo exit 1 > celery-beat/run.sh; sed -i 's/startretries=.*/startretries=0/' /etc/supervisor/conf.d/catmaid.conf
        supervisorctl update catmaid
        for i in $(seq 50); do supervisorctl status | grep -q FATAL && break; sleep 0.2; done
        cp -p /tmp/run.sh celery-beat/; cp -p /tmp/catmaid.conf /etc/supervisor/conf.d/
        supervisorctl status | grep -q 'celery-beat-. *FATAL'
        """,
        [OURS],
        "reload the Supervisor group catmaid: Supervisor runs a different configuration than the file",
        PROGRAMS,
    ),
    "an edited start script": State(
        "sed -i 's/^exec/exec nice/' /etc/catmaid/catmaid/daphne/run.sh", [OURS], "-exec nice", {"catmaid-daphne"}
    ),
    "an edited start script with which it was restarted": State(
        f"sed -i 's/^exec/exec nice/' /etc/catmaid/catmaid/daphne/run.sh; supervisorctl restart {place('daphne')}",
        [OURS],
        "hand over daphne: it runs with other files",
        {"catmaid-daphne"},
    ),
    "Supervisor is stopped": State(
        "systemctl stop supervisor",
        EVERY,
        "reload the Supervisor group catmaid-fafb: Supervisor doesn't run yet",
        ALL,
    ),
    "systemd's file is gone": State(
        "rm /etc/systemd/system/supervisor.service.d/catmaid.conf", ["system"], "create /etc/systemd/system/supervisor"
    ),
    "systemd hasn't read its file": State(
        "touch -d '+1 second' /etc/systemd/system/nginx.service.d/catmaid.conf",
        ["system"],
        "reload systemd: its files are newer",
    ),
    "nobody watches over the disks": State(
        "systemctl disable --now catmaid-disks.service 2>/dev/null",
        ["disks"],
        "start catmaid-disks.service: it doesn't run",
    ),
    "an instance is half there": State(
        "rm -r /etc/catmaid/catmaid-root /etc/supervisor/conf.d/catmaid-root.conf; supervisorctl update catmaid-root",
        ["programs of catmaid-root"],
        "create /etc/catmaid/catmaid-root/wsgi/run.sh",
        {f"catmaid-root-{short}" for short in SHORTS},
    ),
    "a package is gone": State(
        "DEBIAN_FRONTEND=noninteractive apt-get -qq -y remove logrotate >/dev/null 2>&1",
        ["Read the package sources", "Install packages"],
        "logrotate",
    ),
    "everything at once": State(
        f"rm -r /etc/catmaid /etc/supervisor/conf.d/* {SITE_FILE} /etc/tmpfiles.d/catmaid.conf; supervisorctl update",
        ["Self-signed certificate of localhost", "system", *EVERY, "nginx", "disks"],
        "create /etc/catmaid/catmaid/wsgi/uwsgi.ini",
        ALL,
    ),
}

SAMPLE = (
    "finished",
    "an edited nginx file that was loaded",
    "a wrong owner",
    "a program in FATAL",
    "an instance is half there",
    "everything at once",
)


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[BedHost]:
    host = boot_ready(bed, "bookworm", "states")
    yield host
    host.remove()


@pytest.mark.xdist_group("states")
@pytest.mark.parametrize("name", [pytest.param(s, marks=[] if s in SAMPLE else [pytest.mark.long]) for s in STATES])
def test_the_dry_run_tells_and_the_run_mends(host: BedHost, name: str) -> None:
    state = STATES[name]
    host.run(state.script)
    before = processes(host)
    dry = pyinfra(host, {"site": SITE}, "--dry", "--diff")
    assert dry.code == 0, dry.text
    assert state.shows in dry.text, dry.text
    run = pyinfra(host, {"site": SITE}, "-y")
    assert run.code == 0, run.text
    assert run.changed == dry.planned
    assert run.changed_services == state.mends
    assert (run.changed == []) == (state.mends == [])
    assert not state.mends or [run.changed[0], run.changed[-1]] == BOOKKEEPING
    again = pyinfra(host, {"site": SITE}, "-y")
    assert again.changed == []
    assert "nothing to do" in again.text
    wait_for("all programs", lambda: running(host) == len(EVERY) * 4, 30)
    after = processes(host)
    assert {program for program in before if before[program] != after[program]} <= state.touched
    wait_for("all pages", lambda: serves(host), 30)
