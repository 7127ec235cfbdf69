"""The last lines of logs and the files of an instance, without its secrets. Runs on the host; prints JSON.

What is taken out never leaves the host: passwords in addresses, cookies, tokens, the values of the environment.
"""

import glob
import os
import re

from facts.survey_on_host import answer

MOST = 1 << 20
# What says that a secret follows, in a log, an address or a file of settings.
NAMES = r"(?:pass(?:word|wd)?|secret(?:_key)?|token|api[_-]?key|sessionid|csrftoken|csrfmiddlewaretoken)"
RULES = (
    # amqp://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(@)", re.IGNORECASE), r"\1REMOVED\2"),
    # Authorization: Bearer abc, Cookie: a=b; c=d
    (re.compile(r"(\b(?:authorization|cookie|set-cookie)\b[\"']?\s*[:=]\s*).*", re.IGNORECASE), r"\1REMOVED"),
    # password=abc, "token": "abc", ?api_key=abc
    (
        re.compile(
            r"((?<![A-Za-z])[A-Za-z_-]*" + NAMES + r"[\"']?\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|[^\s&,;]+)", re.IGNORECASE
        ),
        r"\1REMOVED",
    ),
    # a file for nginx's passwords
    (re.compile(r"(\$(?:1|2[aby]?|5|6|apr1|y)\$)\S+"), r"\1REMOVED"),
)
# A variable of the inventory, with a value as a shell quotes it.
EXPORT = re.compile(
    r"^(export (?!DJANGO_SETTINGS_MODULE|PATH|VIRTUAL_ENV|PYTHON)\w+=)(?:'[^']*'|\"[^\"]*\"|[^\s'\"])*", re.MULTILINE
)


def clean(text):
    for rule, instead in RULES:
        text = rule.sub(instead, text)
    return text


def end_of(path):
    """The end of a file. In a folder that is another user's a link could lead to anything."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - MOST))
        return file.read().decode("utf-8", "replace")


def logs_and_files(question):
    logs, files = {}, {}
    for path in [one for pattern in question["logs"] for one in sorted(glob.glob(pattern))]:
        try:
            logs[path] = [clean(line) for line in end_of(path).splitlines()[-question["lines"] :]]
        except OSError as error:
            logs[path] = [str(error)]
    for path in [one for pattern in question["files"] for one in sorted(glob.glob(pattern))]:
        try:
            text = end_of(path)
        except OSError as error:
            text = str(error)
        files[path] = clean(EXPORT.sub(r"\1REMOVED", text) if path.endswith("environment.sh") else text)
    return {"logs": logs, "files": files}


answer(logs_and_files)
