"""Releases of the stand-in, and what an update of it may not disturb, for the tests and the bench."""

from __future__ import annotations

import copy
from typing import Any

from testbed.hosts import BedHost
from testbed.run import CHECKOUT, VIRTUALENV

DJANGO = f"{CHECKOUT}/django"
# One instance: two workers with two threads each, which eight clients keep busy and sixty more than that.
SITE: dict[str, Any] = {
    "server_name": "localhost",
    "instances": [
        {
            "name": "catmaid",
            "prefix": "/catmaid",
            "workers": 2,
            "threads": 2,
            "start_seconds": 30,
            "celery": {"concurrency": 1},
        }
    ],
}


def changed(**changes: Any) -> dict[str, Any]:
    """SITE with other values for its instance."""
    site = copy.deepcopy(SITE)
    site["instances"][0].update(changes)
    return site


def release(host: BedHost, name: str, broken: str = "", seconds: float = 1.5, urls: float = 0) -> None:
    """Put another release in place, which takes so long to import, and ``urls`` seconds for a first answer."""
    host.run(
        f"""
        cd {DJANGO}
        echo {name} > RELEASE; echo {seconds} > IMPORT_SECONDS
        [ -z '{broken}' ] && rm -f BROKEN || echo '{broken}' > BROKEN
        [ {urls} = 0 ] && rm -f URL_SECONDS || echo {urls} > URL_SECONDS
        touch projects/mysite/settings_base.py
        """
    )


def other_environment(host: BedHost) -> str:
    """A copy of the virtualenv at another path."""
    path = "/home/catmaid/environment"
    host.run(
        f"""
        [ -d {path} ] && exit
        cp -a {VIRTUALENV} {path}
        grep -rlI '^#!{VIRTUALENV}/bin/python' {path}/bin | xargs sed -i '1s#{VIRTUALENV}#{path}#'
        """
    )
    return path


# What an update may leave neither more nor fewer of, in the end.
LEFT = r"""
{
ps -eo user:20,args --no-headers | grep -E '[u]wsgi|[d]aphne|[c]elery|[s]upervisord|start.sh'
find /run/catmaid /run/catmaid-deploy /etc/catmaid /var/lib/catmaid-deploy /var/lib/catmaid
} | sed -E 's/-[ab]\b//g' | sort
ls /tmp /var/tmp | sed s/-.*// | sort
echo descriptors of supervisord: $(ls /proc/$(cat /run/supervisord.pid)/fd | wc -l)
echo descriptors of nginx: $(ls /proc/$(pgrep -o -f 'nginx: worker')/fd | wc -l)
"""


# KiB of memory that is each one's own, by whose it is; a program's worker that has just begun counts in full.
MEMORY = r"""
for name in supervisord nginx uwsgi daphne celery; do
    case $name in daphne) of=serve.py ;; celery) of='celery|beat.py' ;; *) of=$name ;; esac
    total=0
    for pid in $(pgrep -f -- "$of"); do
        size=$(sed -n 's/^Pss: *\([0-9]*\) kB/\1/p' "/proc/$pid/smaps_rollup" 2>/dev/null || true)
        total=$((total + ${size:-0}))
    done
    echo $name $total
done
"""


def answered(host: BedHost) -> int:
    """How many requests nginx has answered: lines of its log."""
    return int(host.run("cat /var/log/nginx/access.log | wc -l"))


def memory(host: BedHost) -> dict[str, int]:
    """KiB that each service of an instance's host has."""
    lines = (line.split() for line in host.run(MEMORY).splitlines())
    return {name: int(size) for name, size in lines}


def imported(host: BedHost) -> float:
    """How many seconds a process of its own takes on the host to import the application."""
    load = """
        . /etc/catmaid/catmaid/wsgi/environment.sh
        date +%s.%N; $VIRTUAL_ENV/bin/python -c 'import mysite.wsgi'; date +%s.%N
    """
    begin, end = host.run(load).split()
    return float(end) - float(begin)


def settled(host: BedHost) -> bool:
    """Whether all programs of one instance run, and what they have replaced has ended."""
    states = [line.split()[1] for line in host.run("supervisorctl status || true").splitlines()]
    return states.count("RUNNING") == 4 and states.count("EXITED") + states.count("STOPPED") == 4


def masters(host: BedHost) -> int:
    """How many uWSGI masters of the instance there are."""
    tree = "pgrep -f '/bin/uwsgi --ini /etc/catmaid/catmaid/' | xargs -r ps -o pid=,ppid= -p"
    lines = [line.split() for line in host.run(f"{tree} || true").splitlines()]
    numbers = {pid for pid, _ in lines}
    return sum(parent not in numbers for _, parent in lines)
