"""How a host is, for the runbooks: asked beside the survey, in the same command.

Runs on the host like `survey`, which it imports from: the two are joined to one script. Reads only, but for
what it notes to be quicker the next time: many hosts may be asked at once, from one small machine.
"""

import json
import os
import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

from catmaid_deploy.on_host.facts.answer import answer, is_hanging
from catmaid_deploy.on_host.facts.clean import clean
from catmaid_deploy.on_host.facts.growth import begin_growth, end_growth
from catmaid_deploy.on_host.facts.places import Places, mount_of, mounts, space, statistics
from catmaid_deploy.on_host.facts.ports import service_of, to_this_host
from catmaid_deploy.on_host.facts.probe import LOADING_SECONDS, begin_probe, end_probe, environment
from catmaid_deploy.on_host.facts.programs import instance_of, place_of
from catmaid_deploy.on_host.facts.supervisor import ITS_LOG, supervisors_own
from catmaid_deploy.on_host.facts.survey import survey
from catmaid_deploy.on_host.facts.system import started
from catmaid_deploy.on_host.facts.web import nginxs_user
from catmaid_deploy.on_host.paths import STATE
from catmaid_deploy.on_host.trust import ROOT, owner, plain, proc, proc_target, processes, start

# Not in /run, which is empty after a reboot until the next deploy.
UPDATES = STATE + "/security-updates.json"
HOUR = 3600


# How long uWSGI's requests are counted, at least, to know how many there are in a second.
COUNTED_SECONDS = 0.2
# What a worker that ends itself may take longer than celery.stop_seconds.
LATE_SECONDS = 60
LONGEST_LINE = 300


def spaces(question, places, nginx):
    """Of the file systems that may fill: where each is mounted, its size, what is free, and the files that fit."""
    mounted = mounts()
    asked = [places.ask(nginx, path, lambda at, path=path: space(at, path)) for path in question["space"]]

    def answer():
        for one in asked:
            if one.value:
                real, (size, blocks, available, files, files_left) = one.value
                share = files_left / float(files) if files else 1.0
                mount = mount_of(real, mounted)
                yield mount, {"mount": mount, "size": blocks * size, "free": available * size, "files_free": share}

    return lambda: list(dict(answer()).values())


def ends():
    """When each program ended in the last hour by itself, since it was last stopped by somebody or given up, by
    Supervisor's log.
    """
    found = {}
    own = supervisors_own()
    log = own.log if own else ITS_LOG
    for path in (log + ".1", log):
        for line in ROOT.read(path, most=1 << 20, end=True).splitlines():
            started_anew = re.search(r" (?:stopped|gave up): (\S+)", line)
            if started_anew:
                found.pop(started_anew.group(1), None)
            end = re.match(r"(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+),\d+ \w+ exited: (\S+) \(.*; not expected\)", line)
            when = time.mktime((*map(int, end.groups()[:6]), 0, 0, -1)) if end else 0
            if when > time.time() - HOUR:
                found.setdefault(end.group(7), []).append(when)
    return found


def last_line(at, path):
    """The last line of a log that isn't empty."""
    lines = at.read(path, most=16384, end=True).split("\n")
    return ([""] + [plain(clean(line[: 4 * LONGEST_LINE]))[:LONGEST_LINE] for line in lines if line.strip()])[-1]


def counted(at, path):
    """uWSGI's statistics, and how many requests it has answered in a second meanwhile."""
    before, begin = statistics(at, path), time.monotonic()
    if before is None:
        return None, None
    time.sleep(COUNTED_SECONDS)
    now = statistics(at, path)
    seconds = time.monotonic() - begin
    return now, max(0, (now["requests"] - before["requests"]) / seconds) if now else None


def counted_all(at, paths):
    """What `counted` says of each path, of all at once: of one that is stopped a connection waits."""
    with ThreadPoolExecutor(len(paths)) as pool:
        return dict(zip(paths, pool.map(lambda path: counted(at, path), paths)))


def connections(path):
    """How many connections a socket's program has; the path is one without links."""
    # Flags, type, state 03 for connected, inode, path: the program's end has the name of its socket.
    return len(re.findall(r" 0001 03 +\d+ %s$" % re.escape(path), ROOT.read("/proc/net/unix"), re.MULTILINE))


def old_logs(at, folder):
    """Logs that are large and weren't rotated for longer than a week and a day: path and bytes."""
    rotated = ROOT.read("/var/lib/logrotate/status")
    found = []
    for path in ["%s/%s" % (folder, name) for name in at.names(folder) if name.endswith(".log")]:
        status = at.status(path)
        last = re.search(r'^"%s" (\d+)-(\d+)-(\d+)' % re.escape(path), rotated, re.MULTILINE)
        then = time.mktime((*map(int, last.groups()), 0, 0, 0, 0, 0, -1)) if last else 0
        if status and status.st_size > 100 << 20 and then < time.time() - 8 * 24 * HOUR:
            found.append([plain(path), status.st_size])
    return found


def trusting():
    """For what nginx shows on this host, whoever signed it. Only a context that checks loads the system's certificates,
    which takes longer than all else.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def changed(path):
    """When what is at a path, or what a link there leads to, was last changed; now, where that isn't root's own."""
    status, target = ROOT.status(path), ROOT.status(path, follow=True)
    return max(status.st_ctime, target.st_ctime) if status and target else time.time()


def nginx_has_read(paths, running):
    """Whether the running nginx has read its files as they are. A worker that ended is followed by one that knows no
    newer ones: of a single one the age doesn't tell.
    """
    return running["workers"] > 1 and max(map(changed, paths)) < running["since"]


# RFC 5280: a certificate's two times, each as UTCTime of two digits for the year or GeneralizedTime of four.
VALIDITY = re.compile(rb"\x30[\x1e\x20\x22](?:\x17\x0d|\x18\x0f)\d{12,14}Z(?:\x17\x0d|\x18\x0f)(\d{12,14})Z")


def ends_at(certificate):
    """Until when a certificate in DER form is good, in seconds since the epoch."""
    text = VALIDITY.search(certificate).group(1).decode()
    year = int(text[:-10]) if len(text) == 14 else 2000 + int(text[:2]) - 100 * (text[:2] >= "50")
    numbers = [int(text[n:][:2]) for n in range(len(text) - 10, len(text), 2)]
    return datetime(year, *numbers, tzinfo=timezone.utc).timestamp()


def shown(name, port):
    """The certificate that nginx shows for a host name: seconds until its end, or the problem."""
    try:
        plainly, context = to_this_host(port, 5), trusting()
        with plainly, context.wrap_socket(plainly, server_hostname=name) as secure:
            left = ends_at(secure.getpeercert(True)) - time.time()
            return {"problem": None, "seconds_left": left, "version": secure.version()}
    except (OSError, ValueError, AttributeError) as error:
        return {"problem": plain(str(error))}


def certificate_of(site, survey, how):
    """The certificate that nginx shows. At a glance it is the file's, if nginx has read that."""
    file = survey["certificates"]["%s served" % site["name"]]
    paths = [*site["files"], *map(os.path.dirname, site["files"])]
    if how == "status" and not file["problem"] and nginx_has_read(paths, survey["nginx"]):
        return {"problem": None, "seconds_left": file["seconds_left"]}
    return shown(site["name"], site["port"])


class SecurityUpdates:
    """The packages whose new version comes from a security archive. apt takes a second to find out: what it found is
    kept for as long as the lists and the installed packages are the same.
    """

    def __init__(self):
        lists = "/var/lib/apt/lists"
        indexes = ["%s/%s" % (lists, name) for name in ROOT.names(lists) if name.endswith("_InRelease")]
        states = [ROOT.status(path) for path in ("/var/lib/dpkg/status", lists, *indexes)]
        self.state = [status.st_mtime for status in states if status]
        kept = ROOT.json(UPDATES)
        self.found = kept.get("names") if kept.get("state") == self.state else None
        if self.found is None:
            self.asked = start(["apt-get", "-s", "-o", "Debug::NoLocking=true", "upgrade"])

    def names(self):
        if self.found is None:
            code, output, _ = self.asked.end()
            if code:
                return None
            lines = [line.split() for line in output.splitlines() if line.startswith("Inst ")]
            self.found = sorted(words[1] for words in lines if "ecurity" in " ".join(words))
            try:
                ROOT.write(UPDATES, json.dumps({"state": self.state, "names": self.found}).encode())
            except OSError:
                pass
        return self.found


def age(pid):
    line = proc(pid, "stat")
    return time.time() - started(line) if line else None


def ask_pythons(places):
    """What the processes of all Pythons were started with. One's memory may hang.

    In a container root may not be told what a process runs: those are asked as well.
    """
    found = {}
    for pid in processes():
        program = os.path.basename(proc_target(pid, "exe"))
        if not program or "python" in program:
            path = "/proc/%d/cmdline" % pid
            found[pid] = places.ask(ROOT, path, lambda at, pid=pid: proc(pid, "cmdline"), "")
    return found


def ask_ending(question, places):
    """The process groups of each instance's Celery by what its start script has noted."""
    return [
        (one, places.ask(one["user"], one["runtime_dir"], lambda at, one=one: noted(at, one), {}))
        for one in question["instances"]
    ]


def noted(at, one):
    """For each process group that may go on beside the next one since when it is to end; None for one that isn't.
    JSON's keys are text.
    """
    found, folder = {}, one["runtime_dir"]
    for place in one["places"]:
        pid = at.read("%s/%s/started" % (folder, place), most=500).partition(" ")[0]
        if re.fullmatch("[0-9]{1,9}", pid):
            found[pid] = None
        for name in at.names("%s/%s/ending" % (folder, place), 100):
            status = at.status("%s/%s/ending/%s" % (folder, place, name))
            if re.fullmatch("[0-9]{1,9}", name) and status:
                found[name] = status.st_mtime
    return found


def is_late(group, ending):
    """Whose worker a process group is that was told to end and should have ended; empty for others that are known, and
    None for those that aren't.
    """
    found = None
    for one, asked in ending:
        if str(group) in asked.value:
            found = found or ""
            told = asked.value[str(group)]
            if told is not None and time.time() - told > one["stop_seconds"] + LATE_SECONDS:
                found = one
    return found


def strangers(pythons, virtualenvs, own, ending=(), commands=()):
    """Celery's workers and beats, and ``commands`` of which there may be one, that run with a virtualenv's Python and
    are in none of the deploy's process groups, or were told to end long ago.
    """
    found = {}
    for pid, asked in pythons.items():
        words = asked.value.split("\0")
        celery = any("celery" in word for word in words[1:4])
        kinds = ({"worker", "beat"} if celery else set(commands)).intersection(words)
        virtualenv = next((one for one in virtualenvs if words[0].startswith(one + "/")), None)
        line = proc(pid, "stat")
        if line and kinds and virtualenv:
            group = int(line.rpartition(")")[2].split()[2])
            late = None if group in own else is_late(group, ending)
            if group not in own and late != "":
                one = {"process": group, "kind": kinds.pop(), "virtualenv": virtualenv}
                whose = {"late": late["name"], "user": late["user"]} if late else {}
                found[group] = dict(one, unit=service_of(group), **whose)
    return [found[group] for group in sorted(found)]


def ask_statistics(question, places):
    """Each instance's statistics, one question for each user: what returns them by path."""
    paths = {}
    for one in question["instances"]:
        paths.setdefault(one["user"], []).append(one["statistics"])
    asked = [places.ask(user, of[0], lambda at, of=of: counted_all(at, of), {}) for user, of in paths.items()]
    return lambda: {path: numbers for answer in asked for path, numbers in answer.value.items()}


def ask_instances(question, places):
    """Which socket Daphne has of each instance, and which of the sockets aren't there."""
    return {
        one["name"]: (
            places.ask(one["user"], daphne, lambda at, daphne=daphne: at.real(daphne), daphne),
            places.ask(one["user"], daphne, lambda at, one=one: gone(at, one["sockets"]), {}),
        )
        for one in question["instances"]
        for daphne in [one["sockets"]["daphne"]]
    }


def gone(at, paths):
    """Those of some named paths where nothing is."""
    return {name: path for name, path in paths.items() if at.status(path, follow=True) is None}


def ask_logs(question, places):
    folders = [places.ask(owner(folder) or ROOT, folder, lambda at, folder=folder: old_logs(at, folder), [])
               for folder in question["logs"]]  # fmt: skip
    return lambda: [log for folder in folders for log in folder.value]


def log_ends(question, programs):
    """The last line of each program that doesn't run."""
    found = {}
    for one in question["instances"]:
        for name, program in programs.items():
            if instance_of(name) == one["name"] and program["state"] in ("FATAL", "BACKOFF", "EXITED", "UNKNOWN"):
                path = "%s/%s.log" % (one["log_dir"], place_of(name))
                found[name] = last_line(ROOT, path)
    return found


def answered_by(question, probes):
    """The probes that tell of their virtualenv's Python as well, by virtualenv."""
    return {
        one["virtualenv"]: probes[one["name"]]
        for one in question["instances"]
        if "export VIRTUAL_ENV=%s\n" % one["virtualenv"] in ROOT.read(environment(one))
    }


def health(question, how="status", places=None, meanwhile=None):
    """``places`` has further questions; ``meanwhile(question)`` does what takes time while the host works on these."""
    # Slow ones first: they work meanwhile.
    updates = SecurityUpdates()
    growing = begin_growth(question)
    probes = {one["name"]: begin_probe(one, how, question["mail_to"]) for one in question["instances"]}
    places = places or Places()
    asked = question["survey"]
    nginx = nginxs_user(asked["nginx"])
    filling, logs = spaces(question, places, nginx), ask_logs(question, places)
    told, pythons, ending = ask_instances(question, places), ask_pythons(places), ask_ending(question, places)
    statistics_of = ask_statistics(question, places)
    found = {"survey": survey(asked, places, answered_by(question, probes))}
    if meanwhile:
        found.update(meanwhile(question))
    secure = [site for site in question["sites"] if site["https"]]
    found["served"] = {site["name"]: certificate_of(site, found["survey"], how) for site in secure}
    found["spaces"] = filling()
    found["uptime"] = time.clock_gettime(time.CLOCK_BOOTTIME)
    found["load"] = os.getloadavg()[0]
    found["processors"] = os.cpu_count()
    found["ends"] = ends()
    found["old_logs"] = logs()
    found["reboot"] = ROOT.exists("/run/reboot-required")
    programs = found["survey"]["supervisor"] or {}
    found["ages"] = {name: age(one["pid"]) for name, one in programs.items() if one["pid"]}
    found["logs"] = log_ends(question, programs)
    # An instance that has left the inventory is the deploy's until its next run.
    deployed = (name.partition("programs of ")[2] for name in found["survey"]["manifest"])
    groups = {*(one["name"] for one in question["instances"]), *deployed}
    own = [program["pid"] for name, program in programs.items() if instance_of(name) in groups]
    found["strangers"] = strangers(
        pythons,
        {one["virtualenv"] for one in question["instances"]},
        own,
        ending,
        {command for one in question["instances"] for command in one["commands"]},
    )
    found["instances"] = {}
    counts = statistics_of()
    for one in question["instances"]:
        socket, gone_sockets = told[one["name"]]
        numbers, rate = counts.get(one["statistics"]) or (None, None)
        found["instances"][one["name"]] = {
            "statistics": numbers,
            "rate": rate,
            "websockets": connections(socket.value),
            "gone": gone_sockets.value,
            "probe": end_probe(
                probes[one["name"]], 0 if is_hanging(found["survey"], one["virtualenv"]) else LOADING_SECONDS
            ),
        }
    found["growth"] = end_growth(*growing)
    found["security_updates"] = updates.names()
    return found


answer(health)
