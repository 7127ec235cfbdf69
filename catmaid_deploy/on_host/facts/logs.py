"""The last lines of logs and the files of an instance, without its secrets. Runs on the host; prints JSON.

What is taken out never leaves the host: passwords in addresses, cookies, tokens, the values of the environment.
"""

import os.path
import re

from catmaid_deploy.on_host.facts.answer import answer
from catmaid_deploy.on_host.facts.clean import clean
from catmaid_deploy.on_host.facts.places import Places, matching, reader_of
from catmaid_deploy.on_host.trust import plain

MOST = 1 << 20
# No line of a program is longer that helps.
LONGEST_LINE = 4000
# A variable of the inventory, with a value as a shell quotes it.
EXPORT = re.compile(
    r"^(export (?!DJANGO_SETTINGS_MODULE|PATH|VIRTUAL_ENV|PYTHON)\w+=)(?:'[^']*'|\"[^\"]*\"|[^\s'\"])*", re.MULTILINE
)


def lines_of(at, path, most):
    """A file's last lines. What would end a line or steer a terminal in one is shown by its number instead."""
    text = at.bytes(path, MOST, end=True).decode("utf-8", "replace")
    lines = text[: -1 if text.endswith("\n") else None].split("\n") if text else []
    return [plain(clean(line[:LONGEST_LINE])) for line in lines[-most:]]


def text_of(at, path):
    text = at.bytes(path, MOST, end=True).decode("utf-8", "replace")
    return plain(clean(EXPORT.sub(r"\1REMOVED", text) if path.endswith("environment.sh") else text))


def read_all(at, pattern, read):
    """What is in each file that fits a pattern; of one that can't be read, why."""
    found = {}
    for path in matching(at, pattern):
        try:
            found[plain(path)] = read(at, path)
        except OSError as error:
            found[plain(path)] = [error.strerror]
    return found


def logs_and_files(question):
    places = Places()

    def ask(pattern, read):
        # Whose folder it is, reads it; root's own a child of root's.
        user = reader_of(os.path.dirname(pattern.partition("*")[0]))
        return places.ask(user, pattern, lambda at: read_all(at, pattern, read), {})

    logs = [ask(pattern, lambda at, path: lines_of(at, path, question["lines"])) for pattern in question["logs"]]
    files = [ask(pattern, text_of) for pattern in question["files"]]
    places.begin()
    places.end()
    found = {
        "logs": {path: lines for one in logs for path, lines in one.value.items()},
        "files": {path: "".join(text) for one in files for path, text in one.value.items()},
    }
    for user, pattern, _ in places.hanging:
        found["logs"][pattern] = ["gave no answer to %s: see whether its disk is there" % user]
    return found


answer(logs_and_files)
