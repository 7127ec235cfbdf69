"""Runs on a test host as the service user or as the owner of the code: puts all that this user may put in root's way.

    python3 -I hostile_on_host.py once SECONDS     everything at once, which stays for so many seconds
    python3 -I hostile_on_host.py quick SECONDS    the same with sound settings: no job ends before it has begun
    python3 -I hostile_on_host.py loop SECONDS     some things at a time, at random, and what was there back again

Each program that it puts anywhere notes in NOTES with which rights it was run, and tries to change what is root's.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

RUN, STATE = "/run/catmaid", "/var/lib/catmaid"
HOME = "/home/catmaid"
DJANGO = HOME + "/catmaid-server/django"
PROJECTS, SETTINGS = DJANGO + "/projects", DJANGO + "/projects/mysite/settings.py"
ENV, RELEASES = DJANGO + "/env", HOME + "/releases"
NOTES = "/srv/notes"
# What root has: the places where a link of theirs would lead to.
ROOTS = ("/root/canary", "/etc/cron.d/hostile", "/etc/passwd", "/etc/shadow")
# What a line of theirs could be taken for, and what it could do to a terminal.
FORGED = "x\x1b]0;hostile\x07\x1b[2J\nhost: all is well\r\u202e"
SLOTS = [program + slot for program in ("wsgi", "daphne", "celery", "celery-beat") for slot in ("-a", "-b")]
LINKS = ("uwsgi.socket", "uwsgi.pid", "uwsgi-stats.socket", "catmaid.ready", "daphne.sock")
TRAP = r"""#!/bin/sh
{ echo "$0"; grep -E '^(Uid|Gid|CapEff):' /proc/self/status; } > "%s/$$-$(date +%%s%%N)" 2>/dev/null
echo hostile 2>/dev/null > /etc/cron.d/hostile
echo hostile 2>/dev/null >> /root/canary
%s
"""
# The same for Python's own start.
PYTHON_TRAP = (
    """
import os, time
try:
    status = [line for line in open("/proc/self/status") if line.startswith(("Uid", "Gid", "CapEff"))]
    with open("%s/%%d-%%f" %% (os.getpid(), time.time()), "w") as note:
        note.write("python\\n" + "".join(status))
    open("/etc/cron.d/hostile", "w").write("hostile")
except OSError:
    pass
"""
    % NOTES
)
GIT = """
[core]
    bare = true
    repositoryformatversion = 1
    fsmonitor = TRAP
    sshCommand = TRAP
    hooksPath = GIT/hooks
[remote "origin"]
    url = /srv/catmaid.git
    promisor = true
    uploadpack = TRAP
[extensions]
    partialClone = origin
[uploadpack]
    packObjectsHook = TRAP
[alias]
    rev-parse = !TRAP
"""


# ---- what may be put in a place ----


def remove(path):
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            # Python's own goes no deeper than its stack.
            subprocess.run(["rm", "-rf", path], stderr=subprocess.DEVNULL)
        else:
            os.unlink(path)
    except OSError:
        pass


def text(path, content, mode=0o644):
    with open(path, "w") as file:
        file.write(content)
    os.chmod(path, mode)


def trap(path, then="exit 1"):
    text(path, TRAP % (NOTES, then), 0o755)


def sparse(path):
    """Ten gigabytes that take no room."""
    with open(path, "w") as file:
        file.truncate(10 << 30)


def deep(path):
    """More folders in each other than a path has room for."""
    before = os.getcwd()
    os.makedirs(path)
    os.chdir(path)
    for _ in range(1200):
        os.mkdir("deep")
        os.chdir("deep")
    os.chdir(before)


def many(path):
    os.makedirs(path)
    for number in range(3000):
        open("%s/%d %s" % (path, number, FORGED.replace("/", "")), "w").close()


# What stays open, the oldest first: a process may have so many files and no more.
opened = []


def keep(close):
    opened.append(close)
    if len(opened) > 200:
        opened.pop(0)()


def serve(path, answer):
    """A socket that answers each connection, for as long as this process lives."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    os.chmod(path, 0o666)
    server.listen(64)

    def work():
        try:
            while True:
                threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
        except OSError:
            server.close()

    # Who waits in accept() isn't woken by a close.
    keep(lambda: server.shutdown(socket.SHUT_RDWR))
    threading.Thread(target=work, daemon=True).start()


def endless(connection):
    try:
        while True:
            connection.sendall(b"[" * 65536)
    except OSError:
        pass


def forged(connection):
    """Statistics that aren't what uWSGI's are."""
    try:
        connection.sendall(('{"workers": [{"pid": "1 %s", "cores": 7}], "listen_queue": {}}' % FORGED[:1]).encode())
        connection.close()
    except OSError:
        pass


def dribble(connection):
    """A byte now and then: no single wait is ever long."""
    try:
        while True:
            connection.sendall(b"{")
            time.sleep(1)
    except OSError:
        pass


def lease(path):
    """Whoever opens it waits for this process, for up to 45 s."""
    import fcntl

    text(path, FORGED)
    file = os.open(path, os.O_RDWR)
    keep(lambda: os.close(file))
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)


KINDS = {
    "link to root's": lambda path: os.symlink(random.choice(ROOTS), path),
    "link to a folder of root's": lambda path: os.symlink(
        random.choice(("/root", "/etc", "/run/catmaid-deploy")), path
    ),
    "link to a device": lambda path: os.symlink(random.choice(("/dev/zero", "/dev/stdin", "/proc/kmsg")), path),
    "link to itself": lambda path: os.symlink(path, path),
    "link to a process's": lambda path: os.symlink("/proc/self/fd/0", path),
    "hard link": lambda path: os.link(random.choice(ROOTS[2:]), path),
    "hard link of one's own": lambda path: os.link(SETTINGS if os.access(SETTINGS, os.W_OK) else __file__, path),
    "FIFO": lambda path: os.mkfifo(path, 0o666),
    "silent socket": lambda path: serve(path, lambda connection: time.sleep(600)),
    "endless socket": lambda path: serve(path, endless),
    "dribbling socket": lambda path: serve(path, dribble),
    "forged socket": lambda path: serve(path, forged),
    "huge file": sparse,
    "deep folder": deep,
    "folder of many": many,
    "unreadable": lambda path: text(path, "", 0),
    "forged": lambda path: text(path, "1 %s %s\n" % (started(1), FORGED)),
    "forged numbers": lambda path: text(path, "-1 -1 999999999999999999999 \0 '\"$(id)\n" * 1000),
    "program": trap,
    "leased": lease,
}


def started(pid):
    with open("/proc/%d/stat" % pid) as file:
        return file.read().rpartition(")")[2].split()[19]


def put(path, kind):
    """One of KINDS in a place, whatever is there."""
    try:
        remove(path)
        KINDS[kind](path)
    except (OSError, ValueError):
        pass


# ---- where ----


def places():
    """All names that the deploy looks at, makes or removes in this user's folders."""
    found = []
    if os.access(RUN, os.W_OK):
        found += ["%s/%s" % (RUN, name) for name in (*LINKS, "addresses", FORGED.replace("/", ""), ".addresses.new")]
        found += ["%s/.%s.catmaid-deploy" % (RUN, name) for name in (*LINKS, *SLOTS, "addresses")]
        for slot in SLOTS:
            try:
                os.makedirs("%s/%s" % (RUN, slot), exist_ok=True)
            except OSError:
                pass
            names = ("started", "ready", "pid", "socket", "fifo", "workers", "private", ".started.catmaid-deploy")
            found += ["%s/%s/%s" % (RUN, slot, name) for name in names]
        found += ["%s/%s" % (STATE, name) for name in ("celery-beat-schedule", "x", ".x.catmaid-deploy")]
        found += ["%s/files/%s" % (DJANGO, name) for name in ("x", "deep")]
    if os.access(HOME, os.W_OK):
        found += ["%s/bin/%s" % (ENV, name) for name in ("uwsgi", "gunicorn", "celery", "daphne", "activate")]
        found += ["%s/static/%s" % (DJANGO, name) for name in ("x", FORGED.replace("/", ""))]
        found += ["%s/%s" % (PROJECTS, name) for name in ("manage.py", "os.py", "gunicorn.py", "sitecustomize.py")]
        found += ["%s/%s" % (RELEASES, name) for name in ("current", ".v1.new", "v1", "repository.git.new", "shared")]
        found += ["%s/%s" % (HOME, name) for name in (".gitconfig", ".profile", ".pam_environment", ".netrc", "x")]
    return found


def git():
    """What Git reads and runs, in the checkout and in the mirror of the releases."""
    for folder in (DJANGO + "/../.git", RELEASES + "/repository.git"):
        for name in ("hooks", "objects", "refs/tags"):
            os.makedirs("%s/%s" % (folder, name), exist_ok=True)
        text(folder + "/HEAD", "ref: refs/heads/main\n")
        for hook in ("post-checkout", "reference-transaction", "post-index-change", "fsmonitor-watchman"):
            trap("%s/hooks/%s" % (folder, hook))
        text(folder + "/config", GIT.replace("TRAP", HOME + "/trap").replace("GIT", folder))
        text(folder + "/refs/tags/v1", "1" * 40 + "\n")
    trap(HOME + "/trap")


def python():
    """What Python reads and runs when it starts."""
    for name in os.listdir(ENV + "/lib"):
        packages = "%s/lib/%s/site-packages" % (ENV, name)
        text(packages + "/sitecustomize.py", PYTHON_TRAP)
        text(packages + "/usercustomize.py", PYTHON_TRAP)
        text(packages + "/hostile.pth", "import sitecustomize\n")
        text(packages + "/uwsgi-9.dist-info", FORGED)


def settings(kind):
    """settings.py that hangs, prints, exits, or says what nobody expects."""
    lines = {
        "hang": "import time\ntime.sleep(3600)\n",
        "print": "import os\nwhile True:\n    os.write(1, b'{\"queues\": {}}' * 4096)\n",
        "exit": "import os\nos._exit(0)\n",
        "raise": "raise SystemExit(%r * 100)\n" % FORGED,
        "detach": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(900)\n",
        "memory": "x = 'x' * (1 << 30)\n",
    }
    with open(SETTINGS) as file:
        before = file.read().partition("# hostile\n")[0]
    text(SETTINGS, before + "# hostile\n" + PYTHON_TRAP + lines[kind])


def once():
    """A different kind in each place, so that all are there."""
    kinds = list(KINDS)
    for number, path in enumerate(places()):
        put(path, kinds[number % len(kinds)])
    if os.access(HOME, os.W_OK):
        git()
        python()
        trap(ENV + "/bin/pip")


def swap(path, end):
    """Something else in a place, for no time or a while, and then what was there back again."""
    kept = path + ".kept"
    try:
        os.rename(path, kept)
    except FileNotFoundError:
        kept = ""
    put(path, random.choice([kind for kind in KINDS if kind not in ("deep folder", "folder of many")]))
    time.sleep(random.choice((0, 0.001, 0.01, 0.1, 1)))
    remove(path)
    while kept and time.time() < end:
        try:
            os.rename(kept, path)
            break
        except OSError:
            # The folder that it is in is elsewhere, for a moment.
            time.sleep(0.01)
            remove(path)


def swap_settings():
    with open(SETTINGS) as file:
        before = file.read()
    settings(random.choice(("print", "exit", "raise", "detach")))
    time.sleep(random.choice((0.1, 1)))
    text(SETTINGS, before, 0o640)


def change(found, pause, end):
    while time.time() < end:
        path = random.choice(found)
        try:
            if path == SETTINGS and os.access(SETTINGS, os.W_OK):
                swap_settings()
            else:
                swap(path, end)
        except OSError:
            pass
        time.sleep(pause * random.random())


def loop(seconds):
    """Change some things at a time, and leave most of all as it was, until the time is over."""
    end, found, above = time.time() + seconds, places(), []
    if os.access(SETTINGS, os.W_OK):
        above.append(SETTINGS)
    if os.access(HOME, os.W_OK):
        git()
        python()
        above += [HOME + "/catmaid-server", DJANGO + "/static", PROJECTS, SETTINGS, ENV, ENV + "/bin/python"]
    work = [(found[::2], 0.1), (found[1::2], 0.1), (above, 3)]
    threads = [threading.Thread(target=change, args=(some, pause, end)) for some, pause in work if some]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for thread in threads:
        thread.join()


# Who waits for a lease is told to this process, which would end.
signal.signal(signal.SIGIO, signal.SIG_IGN)
if sys.argv[1] in ("once", "quick"):
    once()
    if sys.argv[1] == "once" and os.access(SETTINGS, os.W_OK):
        settings("hang")
    print("ready", flush=True)
    # Its sockets and leases stay.
    time.sleep(float(sys.argv[2]))
elif sys.argv[1] == "loop":
    loop(float(sys.argv[2]))
