"""The programs of an instance under Supervisor, and the way from one release to the next .

A program with slots is handed over: the other slot gets the new files and starts, is asked what users will ask
it, and then the link that leads to the slot in use is moved, in one step. What ran before ends when it has
answered all that it was asked. Until the link is moved nobody notices; after it, one rename is the way back.

A part of the job's script, see `apply`; one class, whose order is what matters, and so in one file.
"""

import http.client
import json
import re
import stat
import sys
import threading
import time
import xmlrpc.client

from catmaid_deploy.on_host.facts.supervisor import ORDERS, SUPERVISORD, fits, supervisors_own
from catmaid_deploy.on_host.operations.common import (
    ending,
    is_active,
    lacking_migrations,
    make_folders,
    say,
    start_unit,
    tell,
)
from catmaid_deploy.on_host.operations.dumps import dump_before
from catmaid_deploy.on_host.operations.files import Files
from catmaid_deploy.on_host.operations.slots import (
    BUSY_SECONDS,
    DOWN,
    SLOTS,
    Slot,
    last_lines,
    last_words,
    lives,
    wait_until,
)
from catmaid_deploy.on_host.operations.trial import LocalConnection, lacks_name, loaded, worker_states
from catmaid_deploy.on_host.paths import STATE
from catmaid_deploy.on_host.trust import ROOT, As, Failed

BEFORE = STATE + "/before"
INCLUDE = "[include] in %s has to name /etc/supervisor/conf.d/*.conf; what ran before still runs" % SUPERVISORD


class Local(xmlrpc.client.Transport):
    """One connection for all calls. Supervisor 4.2 goes on polling the number of one that was closed; a program
    that it starts at that moment gets this number for a pipe, and supervisord is busy with it for good.
    """

    def __init__(self, seconds=900):
        own = supervisors_own()
        word = own and own.authorization
        super().__init__(headers=[("Authorization", word)] if word else [])
        self.socket, self.seconds = own.socket if own else ORDERS, seconds

    def make_connection(self, host):
        if self._connection[1] is None:
            self._connection = host, LocalConnection(ROOT, self.socket, self.seconds)
        return self._connection[1]


# ---- asked with the rights of the service user, whose sockets and files these are ----


class Supervisor:
    """The programs of an instance, and the groups that they are in. ``calls`` are those of
    `tasks.programs.supervisor.decide`.
    """

    unit = "supervisor.service"

    def __init__(self, job):
        service = job["service"]
        self.job = job
        self.instance, self.calls, self.removed = service["instance"], service["calls"], service["removed"]
        self.programs, self.user = {one["short"]: one for one in service["programs"]}, service.get("user")
        self.departed = service.get("departed", [])
        self.migrate, self.dump = service.get("migrate"), service.get("dump")
        self.config_dir, self.runtime_dir = service.get("config_dir"), service.get("runtime_dir")
        self.state_dir = service.get("state_dir")
        self.log_dir, self.seconds, self.page = service.get("log_dir"), service.get("seconds"), service.get("page")
        self.proven = service.get("proven", False)
        self.fresh = set()  # the groups that were started whole by this job
        self.taken = []  # those that Supervisor was told to take, or to give up
        self.closed = None
        self.slots, self.written, self.restarted = [], [], []
        self.proxy = None

    # ---- files in slots ----

    def owns(self, path):
        """Whether a path is one by a slot's link, or goes with the whole instance."""
        if self.removed:
            return any(path == folder or path.startswith(folder + "/") for folder in self.job["sweep"])
        return any(path.startswith("%s/%s/" % (self.config_dir, short)) for short in (*self.programs, *self.departed))

    def in_use(self, short):
        target = ROOT.target("%s/%s" % (self.config_dir, short))
        return target if target in (short + "-a", short + "-b") else short + "-a"

    def described(self, place):
        """The web server and the number of its workers by a slot's own files: a rollback's are of before."""
        folder = "%s/%s" % (self.config_dir, place)
        ini = ROOT.read(folder + "/uwsgi.ini")
        number = re.search(r"^workers = (\d+)$", ini or ROOT.read(folder + "/gunicorn.conf.py"), re.MULTILINE)
        return "uwsgi" if ini else "gunicorn", int(number.group(1)) if number else 0

    def named(self, place):
        """What Supervisor calls the program in a slot within its group."""
        return self.programs[place[:-2]]["names"][place]

    def full(self, place):
        """What Supervisor calls it."""
        return "%s:%s" % (self.programs[place[:-2]]["group"], self.named(place))

    def slot_files(self, short, place):
        """A program's files for one of its slots; what else lies there goes."""
        by_link, folder = "%s/%s/" % (self.config_dir, short), "%s/%s" % (self.config_dir, place)
        items = [{"kind": "folder", "path": folder, "user": "root", "group": "root", "mode": "755"}]
        for item in self.job["all"]:
            if item["path"].startswith(by_link):
                items.append(dict(item, path="%s/%s" % (folder, item["path"][len(by_link) :])))
        # Where the slot's sockets are: the links in the socket folder lead here, by the slot in use.
        run_dir = "%s/%s" % (self.runtime_dir, place)
        items.append({"kind": "link", "path": folder + "/run", "target": run_dir})
        kept = {item["path"] for item in items}
        there = ["%s/%s" % (folder, name) for name in ROOT.names(folder)]
        return Files(items, [path for path in there if path not in kept])

    def _write_in_place(self, short):
        """Files for a program that doesn't run: into the slot in use."""
        place, pointer = self.in_use(short), "%s/%s" % (self.config_dir, short)
        files = self.slot_files(short, place)
        files.items.append({"kind": "link", "path": pointer, "target": place})
        self.written.append(files)
        files.swap()
        # How often it has failed before: from now on each failure shows.
        try:
            self.ask(lambda at: at.remove_tree("%s/%s/tries" % (self.runtime_dir, place)))
        except (OSError, Failed):
            pass  # of the programs of another user, with whose folder it goes

    # ---- Supervisor's own interface ----

    def _ask(self, method, *words):
        """Ask Supervisor; one that was killed is back in a moment."""
        end = time.time() + 20
        while True:
            try:
                if self.proxy is None:
                    self.proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=Local())
                return getattr(self.proxy.supervisor, method)(*words)
            except xmlrpc.client.ProtocolError as error:
                raise Failed(
                    "Supervisor refuses what %s says of its socket: %s" % (SUPERVISORD, error.errmsg)
                ) from None
            except (OSError, http.client.HTTPException) as error:
                self.proxy = None
                if time.time() > end:
                    raise Failed("Supervisor doesn't answer: %s" % error) from None
                time.sleep(0.1)

    def info(self, place):
        return self._ask("getProcessInfo", self.full(place))

    def start(self, place):
        try:
            self._ask("startProcess", self.full(place), False)
        except xmlrpc.client.Fault as error:
            # Started by an update a moment ago, or between two tries: the wait tells.
            if error.faultCode != 60:
                raise

    def stop(self, place, wait=True):
        try:
            self._ask("stopProcess", self.full(place), wait)
        except xmlrpc.client.Fault as error:
            if error.faultCode != 70:  # it doesn't run
                raise

    # ---- the service user's folders: what lies there is its own word ----

    @property
    def them(self):
        """The service user."""
        return As(self.user)

    def ask(self, act, seconds=20):
        """What ``act`` finds there with the service user's rights."""
        return self.them.do(act, seconds)

    def started(self, place):
        """What a program noted when it started in a slot: its process, since when, and with which files and code."""
        path = "%s/%s/started" % (self.runtime_dir, place)
        words = self.ask(lambda at: at.read(path, most=1000)).split()
        return words if words and words[0].isdigit() else []

    def working(self, place):
        """Whether the main process lives that was started in a slot, whoever is its parent now."""
        return lives(self.started(place))

    def is_ready(self, short, place, offset=0, server=None, seconds=0):
        """Whether a program would serve, with all processes of a web server where these are given.

        Of a worker without a broker nobody can say more than that it waits for it.
        """
        log = "%s/%s.log" % (self.log_dir, place)
        kind = self.programs[short]["kind"]
        if kind == "worker" and any("Cannot connect to" in line for line in last_lines(log, offset)):
            return True
        # Daphne listens when it has loaded the application.
        run_dir = "%s/%s" % (self.runtime_dir, place)
        path = run_dir + ("/socket" if kind == "channels" else "/ready")

        def holds(at):
            return at.exists(path) and (not server or len(loaded(at, run_dir, server[0])) == server[1])

        # One child waits: as many as there are looks would take the processor from what loads.
        return self.ask(lambda at: wait_until(seconds, lambda: holds(at)))

    def finish(self, place):
        """Have what runs in a slot end when it has answered what it was asked."""
        code, output = self.them.run([self.config_dir + "/start.sh", "finish", place], 200)
        if code:
            say("%s can't be told to end: %s" % (place, ending(output, 5)), sys.stderr)

    # ---- what a set needs ----

    def _check_include(self):
        """Supervisor reads the files that its own file names, and no others."""
        own = None if self.removed else supervisors_own()
        paths = [self._group_file(one["group"]) for one in self.programs.values()]
        lost = [path for path in paths if own is not None and not any(fits(path, one) for one in own.patterns)]
        if lost:
            raise Failed("Supervisor won't read %s: %s" % (lost[0], INCLUDE))

    def bring(self):
        self._check_include()
        if not is_active(self.unit):
            start_unit(self.unit)
            say("started Supervisor")
        self._ask("getState")
        calls = {}
        for call, program in self.calls:
            calls.setdefault(call, []).append(program)
        try:
            taken, starts, left = (calls.pop(call, []) for call in ("update", "start", "remove"))
            # All else of these is done by that, but for what is found stopped.
            renewed = [short for short, one in self.programs.items() if one["group"] in taken]
            calls = {call: [one for one in names if one not in renewed] for call, names in calls.items()}
            if self.instance in taken:
                self._take(self.instance, starts)
                calls.pop("name", None)
            for short in starts:
                if short not in renewed:
                    self._start(short)
            if "name" in calls:
                self._make_names()
            for short in calls.get("continue", ()):
                self._continue(short)
            self._hand_over(calls.get("hand over", ()))
            for short in calls.get("chain", ()):
                self._chain(short)
            for short in calls.get("restart", ()):
                self._restart(short)
            # What is new beside the web server begins when the release is known to serve.
            for group in taken:
                if group != self.instance:
                    self._take(group, starts)
            for group in left:
                self._update(group)
        except xmlrpc.client.Fault as error:
            raise Failed("Supervisor refuses: %s" % error.faultString) from None
        if not self.removed:
            self._wait()
        self._leave()

    def _take(self, group, starts):
        """Have Supervisor take a group whole, with its programs' files as they are to be."""
        ours = [short for short, one in self.programs.items() if one["group"] == group]
        for short in ours:
            self._write_in_place(short)
        self._update(group)
        for short in ours:
            if short in starts and group not in self.fresh:
                self.start(self.in_use(short))
                say("started %s" % short)

    def _start(self, short):
        self._write_in_place(short)
        self.start(self.in_use(short))
        say("started %s" % short)

    def _make_names(self):
        """The links in the socket folder, which each program makes when it starts."""
        code, output = self.them.run([self.config_dir + "/start.sh", "names"], 20)
        if code:
            raise Failed("the links in %s can't be made: %s" % (self.runtime_dir, output))
        say("made the links in %s" % self.runtime_dir)

    def _hand_over(self, shorts):
        slots = [SLOTS.get(one["kind"], Slot)(self, short) for short, one in self.programs.items() if short in shorts]
        self.slots += slots
        if self.proven:
            # A release that has served before is known to work: all of it loads side by side.
            for slot in slots:
                if not self.working(slot.new):
                    slot.start()
        # A new worker takes tasks from its start on: it comes after all that can be tried without harm. And users
        # don't wait for what it waits for.
        for kinds in (("web", "channels"), ("worker", "single")):
            members = [slot for slot in slots if slot.kind in kinds]
            for slot in members:
                if not slot.started:
                    slot.start()
            for slot in members:
                if slot.kind == "web" and not self.proven:
                    self._migrate(slot.new)
                slot.wait()
            for slot in members:
                slot.move()
                say("handed over from %s to %s" % (slot.old, slot.name))

    def _leave(self):
        """End what was replaced. Nothing of this can fail any more."""
        if self.slots:
            self._note()
        self._open()
        for slot in self.slots:
            slot.keep()
        # Side by side: what waits in a socket's queue is answered first. Supervisor is asked by one of them alone.
        ends = [threading.Thread(target=self._end_old, args=(slot,)) for slot in self.slots]
        for end in ends:
            end.start()
        for end in ends:
            end.join()
        for slot in self.slots:
            slot.forget()

    def _end_old(self, slot):
        try:
            slot.end_old()
        except (OSError, xmlrpc.client.Error, Failed) as error:
            # The next run ends it, before it needs the slot.
            say("%s can't be told to end: %s" % (slot.old, error), sys.stderr)

    def _note(self):
        """For a rollback: which slots were in use before."""
        make_folders(BEFORE)
        path, now = "%s/%s.json" % (BEFORE, self.instance), time.time()
        kept = ROOT.json(path)
        used = dict(kept.get("slots", {}), **{slot.short: [slot.old, slot.new] for slot in self.slots})
        times = {short: kept.get("time") for short in kept.get("slots", {})}
        times.update(kept.get("times", {}), **{slot.short: now for slot in self.slots})
        ROOT.write(path, json.dumps({"slots": used, "times": times}).encode())

    def back(self):
        """What ran before runs again: the slots that were in use, and the group as its file says now. What one of the
        steps meets keeps no other from being done; returns a line for each that failed.
        """
        steps = [slot.back for slot in reversed(self.slots)]
        steps += [files.undo for files in reversed(self.written)]
        failed = []
        for step in (*steps, self._group_of_before, self._open):
            try:
                step()
            except Exception as error:  # whatever it was, the other steps are done
                failed.append("not all that ran before is back: %s" % (error or type(error).__name__))
        return failed

    def _group_of_before(self):
        taken, self.taken, self.fresh = self.taken, [], set()
        for group in taken:
            self._update(group)
        in_use = [self.full(self.in_use(short)) for short in self.programs]
        for program in self._programs():
            name = "%s:%s" % (program["group"], program["name"])
            if program["statename"] in DOWN and name in in_use:
                self.start(next(self.in_use(one) for one in self.programs if self.full(self.in_use(one)) == name))
        for short in self.restarted:
            self.stop(self.in_use(short))
            self.start(self.in_use(short))

    def _programs(self):
        groups = {one["group"] for one in self.programs.values()}
        return [p for p in self._ask("getAllProcessInfo") if p["group"] in groups]

    def _update(self, group):
        """What supervisorctl calls reread and update, of one group: others keep running as they are."""
        self.taken.append(group)
        path = self._group_file(group)
        ((added, changed, removed),) = self._ask("reloadConfig")
        # Its file is gone when it leaves the inventory, and when a first deploy is undone.
        if ROOT.exists(path) and (group in removed or not self._is_known(group, added)):
            raise Failed("Supervisor doesn't read %s: %s" % (path, INCLUDE))
        if group in changed or group in removed:
            self._ask("stopProcessGroup", group)
            self._ask("removeProcessGroup", group)
            if group in removed:
                say("stopped and removed the programs of %s" % group)
        if group in changed or group in added:
            if group == self.instance:
                self._hand_to_user()
            self._ask("addProcessGroup", group)
            self.fresh.add(group)
            say("started the programs of %s" % group)

    def _group_file(self, group):
        return "/etc/supervisor/conf.d/%s.conf" % group

    def _is_known(self, group, added):
        """Whether Supervisor has a group, or will. One that its files don't name would be taken for well."""
        return group in added or any(p["group"] == group for p in self._ask("getAllProcessInfo"))

    def _hand_to_user(self):
        """Sockets and numbers of processes go that the programs of another user have left, who isn't the group's
        any more.
        """
        if self.removed:
            return
        user, status = As(self.user), ROOT.status(self.runtime_dir)

        def strangers(at):
            found = [at.status("%s/%s" % (self.runtime_dir, name)) for name in at.names(self.runtime_dir)]
            return any(one and stat.S_ISDIR(one.st_mode) and one.st_uid != user.uid for one in found)

        if status and user.do(strangers):
            ROOT.remove_tree(self.runtime_dir)
            ROOT.make_folder(self.runtime_dir, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)

    def is_well(self, status):
        """Whether users may get such an answer to the page that is asked of a release."""
        return status == self.page["status"] if self.page["status"] else status < 400

    def explain(self, place, name):
        """What the application says of its page when it is loaded by a process of its own: its last lines."""
        return self.of_release(place, "explain", self.page["below"], name)

    def of_release(self, place, *words):
        """Ask the release in a slot, as its user; returns the exit code and the last lines."""
        code, output = self.them.run([self.config_dir + "/start.sh", words[0], place, *words[1:]])
        return code, ending(output, 10)

    def _prove(self, place):
        """Load the release by a process of its own, for which there is room, and have it answer."""
        for name in self.page["names"]:
            code, output = self.explain(place, name)
            answer = re.search(r"^it answers (\d+)$", output, re.MULTILINE)
            if code or not answer or not self.is_well(int(answer.group(1))):
                lines = [output, *lacks_name(dict(self.page, host=name), int(answer.group(1)) if answer else 0)]
                raise Failed("the new release is refused, the one before serves; the cause:\n" + "\n".join(lines))

    def _chain(self, short):
        """New processes one after the other. They would take the master along if they couldn't load the code."""
        self._migrate(self.in_use(short))
        self._prove(self.in_use(short))
        run_dir = "%s/%s" % (self.runtime_dir, self.in_use(short))
        stats = run_dir + "/private/stats.socket"
        before = self._states(stats)
        code, output = self.them.run(["sh", "-c", 'echo c > "$1"', "sh", run_dir + "/fifo"], 20)
        if code:
            raise Failed("uWSGI takes no order from %s/fifo: %s" % (run_dir, output))
        # The application may say what it likes of itself: how many they are is in root's own file.
        number = self.described(self.in_use(short))[1]
        seconds = self.seconds * number
        end = time.time() + seconds
        while True:
            now = self._states(stats)
            if len(now) == number and all(accepts and pid not in before for pid, accepts in now.items()):
                break
            if time.time() > end:
                raise Failed("the processes of %s are not replaced within %d s" % (short, seconds))
            time.sleep(0.1)
        # Noted: what they have loaded now.
        now = self.of_release(self.in_use(short), "code")[1]
        line = " ".join([*self.started(self.in_use(short))[:4], now]) + "\n"
        self.ask(lambda at: at.write(run_dir + "/started", line.encode()))
        say("replaced the processes of %s" % short)

    def _states(self, stats):
        try:
            return self.ask(lambda at: worker_states(at, stats))
        except (OSError, Failed) as error:
            raise Failed("uWSGI's statistics at %s can't be read: %s" % (stats, error)) from None

    def _migrate(self, place):
        """Have the database as the release in a slot expects it, in the way that the inventory allows."""
        manage = [self.config_dir + "/start.sh", "manage", place]
        code, output = self.them.run([*manage, "showmigrations", "--plan"], self.seconds)
        names = lacking_migrations(output)
        if code or not names:
            # Without a database there is nothing to do, and one that doesn't answer shows when its page is asked.
            return
        if self.migrate == "refuse":
            raise Failed(
                "the new release is refused, the one before serves: the database lacks its migrations %s: "
                "allow them in the inventory, by migrate 'before' or 'closed'" % names
            )
        dump = dump_before(
            self.dump and dict(self.dump, environment="%s/%s/environment.sh" % (self.config_dir, place)), output
        )
        if self.migrate == "closed":
            tell(
                "users see the maintenance page: the inventory says that the release of before can't live with %s"
                % names
            )
            self._close()
        else:
            tell("migrations run before users see the new release, as the inventory says")
        # Of one that is closed it has all that users have done.
        if dump:
            dump()
        code, output = self.them.run([*manage, "migrate", "--noinput"], 3600)
        if code:
            raise Failed("its migrations fail:\n" + ending(output, 10))
        tell("the database has %s; a rollback leaves them" % names)

    def _close(self):
        """Users see the maintenance page from now on, unless they do already."""
        flag = self.config_dir + "/maintenance"
        if not ROOT.exists(flag):
            ROOT.write(flag, b"closed by a deploy\n")
            self.closed = flag

    def _open(self):
        if self.closed:
            ROOT.unlink(self.closed)
        self.closed = None

    def _continue(self, short):
        """Have a program go on that a signal has stopped, with all its processes."""
        pid = self.info(self.in_use(short))["pid"]
        self.them.run(["pkill", "-CONT", "-g", str(pid)], 20)
        say("continued %s, which a signal had stopped" % short)

    def _restart(self, short):
        """With the maintenance page, where there is no room for two: it comes back with its new files."""
        place = self.in_use(short)
        before = self.started(place)
        self._write_in_place(short)
        self._migrate(place)
        self._prove(place)
        self._close()
        self.restarted.append(short)
        self.finish(place)
        end = time.time() + BUSY_SECONDS
        while self.started(place) == before:
            if time.time() > end:
                raise Failed("%s still has work in hand after %d s: run again later" % (place, BUSY_SECONDS))
            time.sleep(0.2)
        say("restarted %s, closed meanwhile" % short)

    def _wait(self):
        """Until each program in use has shown that it stays up, and would serve. One that exits at once gets three
        tries, not Supervisor's eleven: meanwhile nobody is served.
        """
        end = time.time() + self.seconds
        exits = {}
        expected = {self.full(self.in_use(short)): short for short in self.programs}
        while True:
            infos = {"%s:%s" % (program["group"], program["name"]): program for program in self._programs()}
            there = {name: program for name, program in infos.items() if name in expected}
            if set(there) != set(expected):
                raise Failed("Supervisor doesn't have %s" % ", ".join(sorted(set(expected) - set(there))))
            late = {name: program for name, program in there.items() if not self._is_up(program, expected[name])}
            if not late:
                return
            for name, program in late.items():
                if program["statename"] == "BACKOFF":
                    exits.setdefault(name, set()).add(program["stop"])
            given_up = any(p["statename"] == "FATAL" or len(exits.get(n, ())) >= 3 for n, p in late.items())
            if given_up or time.time() > end:
                break
            time.sleep(0.1)
        lines = []
        for name, program in late.items():
            log = "%s/%s.log" % (self.log_dir, self.in_use(expected[name]))
            state = "not ready" if program["statename"] == "RUNNING" else program["statename"]
            lines.append("%s is %s; the last lines of %s:" % (program["name"], state, log))
            lines += last_words(log, 0)
        raise Failed("\n".join(lines))

    def _is_up(self, program, short):
        if any(slot.short == short for slot in self.slots):
            return True
        if program["statename"] != "RUNNING":
            return False
        return self.is_ready(short, self.in_use(short))


def supervisors():
    """State and process of each program, by Supervisor's name; None where it doesn't run."""
    try:
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=Local(10))
        infos = proxy.supervisor.getAllProcessInfo()
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return None
    return {"%s:%s" % (i["group"], i["name"]): {"state": i["statename"], "pid": i["pid"]} for i in infos}
