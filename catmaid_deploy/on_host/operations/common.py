"""What the jobs on the host share. A part of the job's script, see `apply`."""

import re
import sys

from catmaid_deploy.on_host.trust import ROOT, Failed, plain, run

# Of a line that somebody else may have made.
LONGEST_LINE = 2000


# amqp://user:password@host: of what an application or git says.
PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s'\"<>]+(?=@)", re.IGNORECASE)


def lines_of(text):
    """What an admin may read of a text: its lines without a password, and none that is too long."""
    return [PASSWORD.sub(r"\1REMOVED", line[:LONGEST_LINE]) for line in plain(text).split("\n")]


def say(text, to=sys.stdout):
    # The admin's side may be gone: what was begun is ended all the same.
    try:
        print("\n".join(lines_of(text)), file=to, flush=True)
    except OSError:
        pass


def tell(text):
    """Say what the report of the run repeats at its end."""
    say("note: " + text)


def ending(text, number):
    """The last lines of a text."""
    return "\n".join(text.splitlines()[-number:])


def lacking_migrations(plan):
    """What a database lacks by Django's ``showmigrations --plan``, in words; '' for nothing."""
    names = [line[3:].strip() for line in plan.splitlines() if line.startswith("[ ]")]
    return ", ".join(names[:5]) + (" and %d more" % (len(names) - 5) if len(names) > 5 else "")


def has_migrations(plan):
    """Whether a database has had some, by the same."""
    return any(line.startswith("[X]") for line in plan.splitlines())


def make_folders(path, mode=0o755):
    """A folder of root's with those that it is in, as far as they are missing."""
    if not ROOT.is_folder(path):
        make_folders(path.rpartition("/")[0] or "/", mode)
        ROOT.make_folder(path, mode)


def reread_units():
    code, output = run(["systemctl", "daemon-reload"])
    if code:
        raise Failed("systemd doesn't read its files: %s" % output)


def start_unit(unit):
    code, output = run(["systemctl", "enable", "--now", unit])
    if code:
        raise Failed("%s doesn't start: %s" % (unit, output))


def is_active(unit):
    return run(["systemctl", "is-active", "--quiet", unit])[0] == 0
