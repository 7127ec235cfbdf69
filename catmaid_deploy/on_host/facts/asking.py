"""What users would see of a host now, asked by the host itself: a part of each look, and the last word of a run.

A part of the survey, and of the jobs that change a host. It changes nothing. What is wrong by its answers is judged
together, in one file.

    begun = begin_asking(question)                  works beside what goes on here
    found = end_asking(begun, programs, units)      programs as Supervisor tells of them, units as systemd does
"""

import os
import re
import time

from catmaid_deploy.on_host.facts.certbot import CERTBOTS_LOG, lineage_of_site, renewals_failed
from catmaid_deploy.on_host.facts.nginx import ask_nginx, rivals
from catmaid_deploy.on_host.facts.supervisor import (
    SUPERVISORD,
    parser_environment,
    supervisor_reads,
)
from catmaid_deploy.on_host.facts.units import (
    COMMANDS,
    CONFIGURATIONS,
    NGINX,
    PIDS,
    RENEWAL,
    RENEWED,
    SUPERVISOR,
    WANTED,
    _begun,
    _main,
    _since,
    _table,
)
from catmaid_deploy.on_host.facts.users_pages import (
    BAD_GATEWAY,
    PAGE_SECONDS,
    SILENT,
    UNREACHED,
    _answers,
    _cookies,
    _is_well,
)
from catmaid_deploy.on_host.paths import SYSTEM_PYTHON
from catmaid_deploy.on_host.trust import ROOT, As, Asked, Failed, plain, proc, run

# A worker and a beat that live touch a file more often than this.
SIGN_SECONDS = 10
# A program notes within less after its start with which files it runs.
NOTE_SECONDS = 20
# Without their broker they try to reach it more often than this.
TRIES_SECONDS = 60
# The state of Supervisor's files when its parser last took them: to ask it takes longer than all else.
PARSED = "/var/lib/catmaid-deploy/parsed.json"
# By Debian's package alone: nothing else that Python would look for is root's own for certain.
PARSE = """
import sys
sys.path.append("/usr/lib/python3/dist-packages")
from supervisor.options import ServerOptions
ServerOptions().realize(["-c", sys.argv[1]])
"""
PARSER = [SYSTEM_PYTHON, "-IS", "-c", PARSE]
# What Debian has beside nginx, by the names of its units and of their processes.
WEB_SERVERS = ("apache2", "caddy", "haproxy", "lighttpd")
CORRECT = "correct what these words name"


def fault(place, what, command="", todo="", by_deploy=False, status=0):
    """What is wrong somewhere, and what ends it: a command for bash on this host, a deploy, or ``todo`` in words. A
    page that answers has its ``status``.
    """
    return {"place": place, "what": what, "command": command, "todo": todo, "by_deploy": by_deploy, "status": status}


# ---- pages ----


# ---- processes ----


# ---- units ----


# ---- the services' own tests of what is on disk ----


def _nginx_refuses():
    """What nginx says of its files."""
    return _one_line(ask_nginx()["refuses"].strip().splitlines()[:1]) if ask_nginx()["refuses"] else ""


def supervisor_files():
    """Supervisor's files as one recognizes them: path, change and size each."""
    found = ((path, ROOT.status(path, follow=True)) for path in sorted(set(supervisor_reads())))
    return [[path, status.st_ctime_ns, status.st_size] for path, status in found if status]


def _supervisor_refuses(since):
    """What Supervisor's parser says of its files; it isn't asked about those that it has taken."""
    files = supervisor_files()
    newest = max([changed for _, changed, _ in files] or [0]) / 1e9
    if not files or (since and newest < since - 1) or ROOT.json(PARSED).get("files") == files:
        return ""
    code, output = parsed(SUPERVISORD, 30)
    # Its last line says how to get help.
    return _one_line(output.partition("\nFor help, ")[0].splitlines()) if code else ""


def parsed(path, seconds):
    """What Supervisor's parser says of its file: exit code and output, without a line that may have a password."""
    code, output = run([*PARSER, path], seconds, **parser_environment())
    return code, re.sub(r"(?i)(\bpassword\s*[=:]).*", r"\1 ...", output)


def _one_line(lines):
    text = " ".join(line.strip() for line in lines if line.strip()) or "it doesn't say why"
    # nginx has the time and the number of a process before that.
    return plain(re.sub(r"^[\d/]+ [\d:]+ (\[\w+\]) \d+#\d+: ", r"\1 ", text))[:300]


def _not_renewed(names):
    """Certificates that certbot has and doesn't renew: name and why."""
    for name in map(lineage_of_site, names):
        path = "/etc/letsencrypt/renewal/%s.conf" % name
        off = re.search(r"^\s*autorenew\s*=\s*false\s*$", ROOT.read(path), re.MULTILINE | re.IGNORECASE)
        if off:
            yield name, path


def _in_the_place(table, ports):
    """A web server that starts at boot and doesn't run now: it may have nginx's ports before nginx does."""
    running = {one[0] for one in table.values()}
    for name in sorted(set(ROOT.names(WANTED)) & {"%s.service" % one for one in WEB_SERVERS}):
        short = name.partition(".")[0]
        text = ROOT.read("/etc/apache2/ports.conf") if short == "apache2" else ""
        listens = re.findall(r"^\s*Listen\s+(?:\S*:)?(\d+)", text, re.MULTILINE)
        elsewhere = short in running or (listens and not set(map(int, listens)) & set(ports))
        if not elsewhere:
            yield name


def _is_away(mount):
    """Whether a disk isn't mounted. Its folder isn't asked, which could hang."""
    lines = proc(os.getpid(), "mountinfo", 1 << 20).splitlines()
    return mount not in [line.split()[4] for line in lines]


def _look_around(question):
    """What a child of root's finds out beside the rest."""
    table = _table()
    cookies, shown = _cookies(), {}
    return {
        "answers": _answers(question["pages"], cookies, shown),
        "certificates": dict(shown),
        "let_in": list(cookies),
        "closed": [path for page in question["pages"] for path in page["closed"] if ROOT.exists(path)],
        "away": [mount for mount in {page["mount"] for page in question["pages"]} if mount and _is_away(mount)],
        "stopped": sorted({one[3] for one in table.values() if one[1] == "T"}),
        "ages": {pid: time.time() - _since(one[4]) for pid, one in table.items() if one[0] != "nginx"},
        "main": {unit: _main(table, unit) for unit in PIDS if unit in question["units"]},
        "nginx": _nginx_refuses() if NGINX in question["units"] else "",
        "supervisor": _supervisor_refuses(_begun(table, SUPERVISOR)) if SUPERVISOR in question["units"] else "",
        "others": list(_in_the_place(table, question["ports"])) if NGINX in question["units"] else [],
        "rivals": rivals(question["sites"]),
        "not_renewed": list(_not_renewed(question["renewal"])),
        "renewals_failed": renewals_failed() if question["renewal"] else {},
    }


def _signs(paths):
    """A child's work: how long ago each sign of life was given."""

    def look(at):
        found = {path: at.status(path) for path in paths}
        return {path: time.time() - status.st_mtime for path, status in found.items() if status}

    return look


# ---- both together ----


def place_in_use(program):
    """The slot that a program runs in."""
    target = ROOT.target(program["pointer"]) or ""
    first = program["short"] + "-a"
    return target if target in (first, program["short"] + "-b") else first


def begin_asking(question):
    """Start what answers meanwhile."""
    signs = {}
    for program in question["programs"]:
        if program["sign"]:
            path = "%s/%s/alive" % (program["folder"], place_in_use(program))
            signs.setdefault(program["user"], []).append(path)
    children, known = [], {}
    for user, paths in signs.items():
        try:
            children.append(As(user).begin(_signs(paths)))
        except Failed:
            # That a user isn't there has a line of its own, and nobody waits for his programs.
            known.update(dict.fromkeys(paths, 0))
    flags = [page["flag"] for page in question["pages"] if page["flag"]]
    try:
        children += [As(question["nginx_user"]).begin(_signs(flags))] if flags else []
    except Failed:
        pass  # before the first deploy
    return question, Asked(lambda at: _look_around(question), PAGE_SECONDS + 30), children, known


def end_asking(begun, programs, states):
    """What is wrong, each as `fault` has it: ``blocked`` keeps a deploy from its work, ``standing`` is what it leaves
    as it is. And what is served, what each program does, and which certificate each name shows.

    + programs: state and process by Supervisor's name; None where Supervisor doesn't run
    + states: of each unit what `units` has
    """
    question, around, children, signs = begun
    for child in children:
        try:
            signs.update(child.end())
        except (Failed, OSError):
            pass  # without a sign a program is silent
    seen = around.end()
    doing = {}
    found = {
        "blocked": list(_blocked(question, seen, states)),
        "standing": list(_standing(question, seen, states)),
    }
    wrong = [*_services(question, seen, programs, states), *_programs(question, seen, programs, signs, doing)]
    served = []
    for page, status in zip(question["pages"], seen["answers"]):
        if set(page["closed"]) & set(seen["closed"]) or page["mount"] in seen["away"] or page["flag"] in signs:
            continue
        if _is_well(page, status, seen["let_in"]):
            served += [page["url"]] if page["url"] else []
            continue
        what = "%s answers %s" % (page["words"], status if isinstance(status, int) else "nothing: %s" % status)
        if _waits_for_broker(page, status, doing):
            doing[page["program"]] = "away"
            continue
        code = status if isinstance(status, int) else 0
        wrong.append(fault(page["place"], what, todo=_look_into(_log(page, question)), status=code))
        # Of an nginx that a signal has stopped nobody gets an answer.
        if doing.get(page["program"]) == "well" and not _is_stopped(NGINX, seen):
            doing[page["program"]] = _without_an_answer(page, status, question, programs, seen)
    # Another's server shows its own.
    shown = {} if seen["rivals"] else seen["certificates"]
    return dict(found, wrong=wrong, served=served, programs=doing, certificates=shown)


def _waits_for_broker(page, status, doing):
    """Whether Daphne opens no WebSocket since its channel layer waits for the broker, as the worker says of itself."""
    instance = page["program"].partition(" of ")[2] if page["websocket"] else None
    return bool(instance) and status in (SILENT, BAD_GATEWAY) and doing.get("celery of " + instance) == "away"


def _without_an_answer(page, status, question, programs, seen):
    """What a program does whose page isn't well: one that has just begun may not listen yet."""
    if status not in (SILENT, BAD_GATEWAY):
        return "well"
    (program,) = [one for one in question["programs"] if one["place"] == page["program"]]
    place = place_in_use(program)
    pid = programs[program["names"][place]]["pid"]
    if seen["ages"].get(str(pid), 0) < program["seconds"]:
        return "starting"
    return "silent" if status == SILENT else "well"


def _is_stopped(unit, seen):
    """Whether a signal has stopped a service, or a part of it."""
    return seen["main"][unit] in seen["stopped"]


def _blocked(question, seen, states):
    """What only an admin can end, and keeps a service from taking any orders."""
    for unit, main in seen["main"].items():
        name = unit.partition(".")[0]
        if _is_stopped(unit, seen):
            yield fault(name, "it is stopped by a signal", "kill -CONT -- -%d" % main)
        elif main and states.get(unit, {}).get("ending"):
            what = "it is ending, and waits for what is still in hand"
            yield fault(name, what, todo="wait until it has ended, and have systemctl start it if nothing else does")
        elif main and not states.get(unit, {}).get("active"):
            what = "it runs, and systemd has not started it (process %d)" % main
            yield fault(name, what, todo="end that one when users can wait, and have systemctl start it")
    for unit in question["units"]:
        if states.get(unit, {}).get("masked"):
            yield fault("boot", "%s is masked: nothing starts it" % unit, _unmask(unit, states))
    yield from (_of_rival(one) for one in seen["rivals"] if one["blocks"])


def _unmask(unit, states):
    until_boot = states[unit]["masked"] == "masked-runtime"
    return "systemctl unmask %s%s" % ("--runtime " if until_boot else "", unit)


def _of_rival(one):
    return fault("nginx's files", "%s %s" % (one["file"], one["what"]), todo=one["todo"])


def _look_into(log):
    return "the cause is in %s" % log


def _log(page, question):
    """Where it is written why a page doesn't answer."""
    for program in question["programs"]:
        if program["place"] == page["program"]:
            return "%s/%s.log" % (program["log"], place_in_use(program))
    return "/var/log/nginx/error.log"


def _services(question, seen, programs, states):
    """What is wrong with nginx, Supervisor, certbot, and with what starts at boot."""
    if NGINX in question["units"] and not states.get(NGINX, {}).get("active") and not seen["main"][NGINX]:
        yield fault("nginx", "it doesn't run: users reach nothing", "systemctl start nginx")
    if seen["nginx"]:
        what = "it would not start with its files as they are: " + seen["nginx"]
        yield fault("nginx's files", what, todo=CORRECT)
    if SUPERVISOR in question["units"] and programs is None and not seen["main"][SUPERVISOR]:
        yield fault(
            "supervisor", "it doesn't run: what ends of CATMAID isn't started again", "systemctl start supervisor"
        )
    if seen["supervisor"]:
        what = "it would not start with its files as they are: " + seen["supervisor"]
        yield fault("supervisor's files", what, todo=CORRECT)
    for name in question["units"]:
        state = states.get(name, {})
        if not state.get("enabled") and not state.get("masked"):
            yield fault("boot", "%s doesn't start at boot" % name, "systemctl enable " + name)
    if question["renewal"] and not states.get(RENEWAL, {}).get("active"):
        what = "nobody renews them: %s is off" % RENEWAL
        yield fault("certificates", what, "systemctl enable --now " + RENEWAL)


def _standing(question, seen, states):
    """What is wrong and no deploy changes: others' files, and what certbot does."""
    yield from (_of_rival(one) for one in seen["rivals"] if not one["blocks"])
    for port in sorted(
        {page["port"] for page, status in zip(question["pages"], seen["answers"]) if status == UNREACHED}
    ):
        todo = "have the host's firewall let its own connections to this port through"
        yield fault("port %d" % port, "the host itself gets no connection to it", todo=todo)
    for unit in COMMANDS:
        other = _other_command(unit, states[unit]) if unit in states else None
        if other:
            todo = "take ExecStart out of that file, and have systemd read it: systemctl daemon-reload"
            yield fault("boot", other, todo=todo)
    for name in seen["others"]:
        what = "%s starts at boot, and may take nginx's ports before nginx does" % name
        yield fault("boot", what, "systemctl disable " + name)
    for name, path in seen["not_renewed"]:
        what = "certbot leaves that of %s as it is: autorenew = False in %s" % (name, path)
        yield fault("certificates", what, "sed -i '/^ *autorenew/d' %s" % path)
    if question["renewal"] and states.get(RENEWED, {}).get("masked"):
        what = "nobody renews them: %s is masked" % RENEWED
        yield fault("certificates", what, _unmask(RENEWED, states))
    if question["renewal"] and states.get(RENEWED, {}).get("failed"):
        todo = "correct what %s says, and start certbot.service" % CERTBOTS_LOG
        said = plain("; ".join("%s: %s" % pair for pair in sorted(seen["renewals_failed"].items())))[:300]
        yield fault("certificates", "their last renewal failed%s" % (said and ": " + said), todo=todo)


def _programs(question, seen, programs, signs, doing):
    """What is wrong with an instance's programs; ``doing`` gets a word about each: well, starting, stopped..."""
    for program in question["programs"]:
        place = place_in_use(program)
        name = program["names"][place]
        info = (programs or {}).get(name) or {"state": "not there", "pid": None}
        log = "%s/%s.log" % (program["log"], place)
        word = _word(program, info, seen, signs.get("%s/%s/alive" % (program["folder"], place)), log)
        if word in ("silent", "starting") and not _gives_signs(program, place):
            word = "well"
        # Beat says nothing while it waits for the broker, once it has sent something: its worker's word is for both.
        if word in ("silent", "starting") and doing.get("celery of " + program["name"]) == "away":
            word = "away"
        doing[program["place"]] = word
        if word == "down" and programs is not None:
            yield fault(program["place"], "it doesn't run: it is %s" % info["state"], todo=_look_into(log))
        elif word == "starting":
            yield fault(program["place"], "it has just begun and isn't ready", todo=_look_into(log))
        elif word == "stopped":
            yield fault(program["place"], "it is stopped by a signal", "kill -CONT -- -%d" % info["pid"])
        elif word == "silent":
            yield fault(program["place"], "it doesn't respond", by_deploy=True)


def _gives_signs(program, place):
    """Whether a program touches a sign of life; after a rollback it may have files of a version that knew of none."""
    text = ROOT.read("%s/%s/%s" % (os.path.dirname(program["pointer"]), place, program["sign"]))
    return not text or "/alive" in text


def _tries_again(log):
    """Whether the last that a worker or beat has said is Celery's word that it tries to reach its broker again."""
    status, lines = ROOT.status(log), ROOT.read(log, most=4096, end=True).split("\n")
    said = next((line for line in reversed(lines) if line.strip()), "")
    return "Trying again in" in said and bool(status) and abs(time.time() - status.st_mtime) < TRIES_SECONDS


def _word(program, info, seen, sign, log):
    """well, down, starting, stopped, silent, or away for one that waits for its broker."""
    if info["state"] not in ("RUNNING", "STARTING") or not info["pid"]:
        return "down"
    if info["pid"] in seen["stopped"]:
        return "stopped"
    age = seen["ages"].get(str(info["pid"]), 0)
    # After a restart of Supervisor the note, like the signs, is that of the program of before, for a moment.
    if info.get("digest", "") is None and age < min(NOTE_SECONDS, program["seconds"]):
        return "starting"
    # A sign of the future is one from before the clock was set back.
    if program["sign"] and (sign is None or abs(sign) > SIGN_SECONDS):
        if _tries_again(log):
            return "away"
        return "starting" if age < program["seconds"] else "silent"
    return "well"


def _other_command(unit, state):
    """What a unit starts in the place of its service with its own files; nothing where it starts that."""
    words = re.findall(r"argv\[\]=(.*?) ;", state["command"])
    own = re.findall(r"\bpath=(\S+)", state["command"]) == [COMMANDS[unit]]
    if not words or (own and all(path in CONFIGURATIONS for path in re.findall(r" -c\s*(\S+)", words[0]))):
        return None
    # Not those with another key that begins so, as this deploy's own ExecStartPre.
    has = re.compile(r"^\s*ExecStart\s*=", re.MULTILINE)
    files = [path for path in state["files"] if path.startswith(("/etc/", "/run/")) and has.search(ROOT.read(path))]
    return "%s starts another command than its own, by %s: %s" % (unit, ", ".join(files) or "?", plain(words[0]))
