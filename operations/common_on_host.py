"""What the jobs on the host share: see `operations.configuration`, which joins these files to one script."""

import os
import subprocess
import sys

STATE = "/var/lib/catmaid-deploy"
RUN = "/run/catmaid-deploy"


class Failed(Exception):
    """The job can't be done; the text says why, in a few lines."""


def say(text, to=sys.stdout):
    # The admin's side may be gone: what was begun is ended all the same.
    try:
        print(text, file=to, flush=True)
    except OSError:
        pass


def tell(text):
    """Say what the report of the run repeats at its end."""
    say("note: " + text)


def run(words, seconds=120):
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds
        )
    except (OSError, subprocess.SubprocessError) as error:
        return 127, str(error)
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as text:
            return text.read()
    except OSError:
        return ""


def prepared(path):
    return "%s/.%s.catmaid-deploy" % os.path.split(path)


def write_whole(path, data, mode=0o644):
    """Write a file so that a reader, or a reboot, finds the old or the new one."""
    new = prepared(path)
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, path)
    except OSError:
        if os.path.lexists(new):
            os.unlink(new)
        raise


def link(path, target):
    """Make a symbolic link, or have one lead elsewhere, in one step."""
    new = prepared(path)
    if os.path.lexists(new):
        os.unlink(new)
    os.symlink(target, new)
    os.rename(new, path)


def start_unit(unit):
    code, output = run(["systemctl", "enable", "--now", unit])
    if code:
        raise Failed("%s doesn't start: %s" % (unit, output))


def is_active(unit):
    return run(["systemctl", "is-active", "--quiet", unit])[0] == 0
