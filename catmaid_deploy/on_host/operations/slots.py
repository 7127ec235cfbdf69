"""A program in one of its two slots: begun, tried, and ended. A part of the job's script, see `apply`."""

import os
import re
import time

from catmaid_deploy.on_host.operations.common import (
    say,
    tell,
)
from catmaid_deploy.on_host.operations.trial import (
    TRIAL_SECONDS,
    ask_http,
    ask_uwsgi,
    lacks_name,
    loaded,
    try_often,
)
from catmaid_deploy.on_host.paths import RUN
from catmaid_deploy.on_host.trust import ROOT, Failed, proc, run, spare

# What a program that was replaced may take to end before its slot is needed again.
BUSY_SECONDS = 900
CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
DOWN = ("STOPPED", "EXITED", "FATAL", "BACKOFF", "UNKNOWN")


def start_time(pid):
    line = proc(pid, "stat")
    return line.rpartition(")")[2].split()[19] if line else None


def lives(noted):
    """Whether the process lives that noted its number and its start."""
    return len(noted) > 1 and start_time(noted[0]) == noted[1]


def available_memory():
    found = re.search(r"^MemAvailable:\s+(\d+) kB", ROOT.read("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) << 10 if found else 1 << 62


def size(log):
    status = ROOT.status(log)
    return status.st_size if status else 0


def last_lines(log, offset):
    """What a program wrote into its log since, as far as that isn't too much."""
    return ROOT.read(log, most=65536, end=True, since=offset).splitlines()


def last_words(log, offset):
    """What a program says of its end: the last traceback, or else the last lines."""
    lines = last_lines(log, offset)
    found = []
    for number, line in enumerate(lines):
        if line.startswith("Traceback (most recent call last)"):
            rest = enumerate(lines[number + 1 :], number + 1)
            end = next((n for n, text in rest if text and not text.startswith(" ")), len(lines) - 1)
            # The others are those of our own stop, and what an exception was raised upon.
            upon = any(line.startswith(CHAINED) for line in lines[end + 1 : end + 3])
            if not upon and not lines[end].startswith(("KeyboardInterrupt", "SystemExit")):
                found = lines[max(number, end - 9) : end + 1]
    return found or lines[-15:]


def wait_until(seconds, holds):
    """Whether something holds, at the latest when so many seconds have passed."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True


class Slot:
    """The slot of a program that isn't in use, on its way to be it."""

    def __init__(self, owner, short):
        self.owner, self.short = owner, short
        self.kind, self.seconds = owner.programs[short]["kind"], owner.programs[short]["stop_seconds"]
        self.pointer = "%s/%s" % (owner.config_dir, short)
        self.old = owner.in_use(short)
        self.new = self.old[:-1] + ("b" if self.old.endswith("a") else "a")
        self.name = owner.named(self.new)
        self.run_dir = "%s/%s" % (owner.runtime_dir, self.new)
        self.asked = "%s/%s" % (RUN, self.name)
        self.log = "%s/%s.log" % (owner.log_dir, self.new)
        # Without: a slot goes on with the files that it has.
        self.files = None if owner.proven else owner.slot_files(short, self.new)
        self.started = self.moved = False
        self.pid = self.held = None

    def start(self):
        self._free()
        self.started = True
        self._write()
        self.offset = size(self.log)
        ROOT.write(self.asked, ("%d %s\n" % (os.getpid(), start_time(os.getpid()))).encode())
        # Free when this process ends, whatever becomes of it: the start script looks at that.
        self.held = ROOT.lock(self.asked)
        self.begun = time.time()
        self.owner.start(self.new)
        say("started %s beside %s" % (self.name, self.old))

    def _write(self):
        # What tells of an earlier life there would be taken for the new one's.
        names = ["%s/%s" % (self.run_dir, name) for name in ("ready", "pid", "socket")]
        self.owner.ask(lambda at: [at.remove_tree(name) for name in names])
        if self.files:
            self.files.swap()
        elif not ROOT.exists("%s/%s/run.sh" % (self.owner.config_dir, self.new)):
            raise Failed("there is no release before this one in %s" % self.new)

    def _free(self):
        """Wait until what was in the slot before has ended."""
        end = time.time() + BUSY_SECONDS
        told = time.time()
        while True:
            info = self.owner.info(self.new)
            state = info["statename"]
            working = self.owner.working(self.new)
            if state in DOWN and not working:
                return
            if state in ("STARTING", "RUNNING", "BACKOFF") and not working:
                self.owner.stop(self.new)
                continue
            if time.time() > end:
                raise Failed(
                    "%s still has work in hand after %d s: wait for it, and run again" % (self.new, BUSY_SECONDS)
                )
            if time.time() > told + 10:
                say("waiting for %s, which still has work in hand" % self.new)
                told = time.time()
                # Also one whose Supervisor was killed, of which the next one knows nothing.
                if state != "STOPPING":
                    self.owner.finish(self.new)
            time.sleep(0.2)

    def wait(self):
        """Until it would serve; raises Failed with the last words of its log."""
        seconds, told = self.owner.seconds, self.begun
        while not self.is_ready():
            self._check()
            now = time.time()
            if now > self.begun + seconds:
                raise self.failed("isn't ready within %d s" % seconds)
            if now > told + 10:
                say("%s loads for %d s now, at most %d" % (self.new, now - self.begun, seconds))
                told = now
        self._try()
        self._check()
        tell("%s is ready after %.1f s" % (self.name, time.time() - self.begun))

    def _check(self):
        info = self.owner.info(self.new)
        if info["statename"] in DOWN:
            raise self.failed("ended", self._silent_end(info["exitstatus"]))
        self.pid = self.pid or info["pid"]
        if info["pid"] and info["pid"] != self.pid:
            raise self.failed("ended")
        left = available_memory()
        if left < RESERVE_BYTES:
            raise self.failed("takes too much memory: the host has %d MiB left" % (left >> 20))

    def _silent_end(self, code):
        """What an exit code means where the program itself says nothing."""
        if last_words(self.log, self.offset):
            return []
        return [CODES.get(code, "it ended with the code %d and wrote nothing into its log" % code)]

    def failed(self, what, said=()):
        told = list(said) or last_words(self.log, self.offset)
        source = "the cause" if said else self.log + " says"
        return Failed(
            "the new release is refused, the one before serves: %s %s; %s:\n%s"
            % (self.new, what, source, "\n".join(told))
        )

    def is_ready(self):
        """Whether it would serve, at the latest in half a second: then Supervisor and the memory are looked at."""
        server = self.owner.described(self.new) if self.kind == "web" else None
        return self.owner.is_ready(self.short, self.new, self.offset, server, 0.5)

    def _workers(self):
        """The processes that have loaded the application."""
        server = self.owner.described(self.new)[0]
        return set(map(str, self.owner.ask(lambda at: loaded(at, self.run_dir, server))))

    def _answers(self, ask, page, seconds=60):
        """What ``ask`` of a page returns; it raises OSError where nothing answers."""
        try:
            return self.owner.ask(lambda at: ask(at, self.run_dir + "/socket", page), seconds)
        except (OSError, Failed) as error:
            raise self._silent(page, error) from None

    def _silent(self, page, why):
        return self.failed("doesn't answer %s (%s)" % (page["path"], why))

    def _judge(self, page, statuses, is_well):
        for status in statuses:
            if not is_well(status):
                # Django tells nobody why, but for whoever asks it from within.
                words = self.owner.explain(self.new, page["host"])[1].splitlines()
                what = "answers %s as %s with %d" % (page["path"], page["host"], status)
                raise self.failed(what, [*words, *lacks_name(page, status)])

    def _try(self):
        """Ask it what users will ask. No page is behind the others: that they have loaded is all."""
        if self.kind == "web":
            self._try_web()
        elif self.kind == "channels":
            self._try_channels()

    def _try_web(self):
        """One more request than ten for each worker, so that at least one gets eleven: some die after a few."""
        page, workers = self.owner.page, self._workers()
        for name in page["names"]:
            one = dict(page, host=name)
            status = self._answers(lambda at, path, page: ask_uwsgi(at, path, page, 30), one)
            self._judge(one, [status], self.owner.is_well)
        number = 11 * len(workers)
        trial = lambda at, path, page: try_often(at, path, page, number)  # noqa: E731
        if self.owner.proven:
            self._warm(page, number)
            return
        statuses, faults = self._answers(trial, page, TRIAL_SECONDS)
        self._judge(page, statuses, self.owner.is_well)
        if faults:
            raise self._silent(page, faults[0])
        if self._workers() != workers:
            raise self.failed("has workers whose process died after a few requests")

    def _warm(self, page, number):
        """Have each worker load what the first answer takes. A release that has served before isn't judged by it."""
        seconds = self.owner.seconds
        warm = lambda at: try_often(at, self.run_dir + "/socket", page, number, seconds)  # noqa: E731
        try:
            faults = self.owner.ask(warm, seconds + 40)[1]
        except (OSError, Failed) as error:
            faults = [error]
        if faults:
            say("%s: not every worker has answered before users ask it: %s" % (self.name, faults[0]))

    def _try_channels(self):
        page = dict(self.owner.page, path=self.owner.page["channels"])
        status = self._answers(lambda at, path, page: ask_http(at, path, page, 30), page)
        self._judge(page, [status], lambda status: status < 500)

    def move(self):
        """The one step: from now on all that is new goes to this slot."""
        ROOT.link(self.pointer, self.new)
        self.moved = True

    def back(self):
        """As before, whatever was done."""
        if not self.started:
            return
        if self.moved:
            ROOT.link(self.pointer, self.old)
        self.forget()
        try:
            self._end()
        finally:
            if self.files:
                self.files.undo()

    def _end(self):
        if self.moved:
            self.owner.finish(self.new)
            return
        # It has served nobody: one that hangs isn't waited for.
        words = self.owner.started(self.new)
        if lives(words):
            self.owner.them.run(["pkill", "-KILL", "-g", words[0]], 20)
        self.owner.stop(self.new)

    def end_old(self):
        """Have what ran before end, now that this one is in use."""
        self.owner.finish(self.old)

    def keep(self):
        """It serves: no longer the first that the kernel ends where memory gets short."""
        # Its main process as Supervisor knows it: what is noted in the slot is the service user's word.
        for pid in run(["pgrep", "-U", self.owner.user, "-g", str(self.pid)], 20)[1].split() if self.pid else ():
            spare(pid, self.owner.them.uid)

    def forget(self):
        ROOT.unlink(self.asked)
        if self.held is not None:
            ROOT.unlock(self.held)
            self.held = None


class Single(Slot):
    """There is never a second one: the new one has loaded, and begins when it is in use and the old one has ended."""

    def move(self):
        super().move()
        self.owner.finish(self.old)
        if self.owner.proven:
            return
        # Waited for where it isn't known that the new one can read its schedule: it would end at once.
        noted = self.owner.started(self.old)
        wait_until(self.seconds + 10, lambda: not lives(noted))
        # A Supervisor that was killed meanwhile has started it anew: that is no fault of the release.
        self.pid = None
        self._check()
        time.sleep(0.3)
        self._check()

    def end_old(self):
        pass  # when it was moved

    def _end(self):
        # It has written its schedule then.
        self.owner.stop(self.new)

    def back(self):
        super().back()
        if self.moved:
            self.owner.start(self.old)


SLOTS = {"single": Single}


# A new release that leaves the host less than this is ended before the kernel ends something else.
RESERVE_BYTES = 256 << 20
# What the start script ends with by itself.
CODES = {
    64: "it ended with the code 64: it saw no deploy that wants it",
}
