"""Removes secrets from what leaves a host: logs, files, and a database driver's messages."""

import re

# What says that a secret follows, in a log, an address or a file of settings.
NAMES = r"(?:pass(?:word|wd)?|secret(?:_key)?|token|api[_-]?key|sessionid|csrftoken|csrfmiddlewaretoken)"
RULES = (
    # amqp://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s:/@]{0,200}:)[^\s@/]+(@)", re.IGNORECASE), r"\1REMOVED\2"),
    # Authorization: Bearer abc, Cookie: a=b; c=d
    (re.compile(r"(\b(?:authorization|cookie|set-cookie)\b[\"']?\s*[:=]\s*).*", re.IGNORECASE), r"\1REMOVED"),
    # password=abc, "token": "abc", ?api_key=abc
    (
        re.compile(
            r"((?<![A-Za-z])[A-Za-z_-]{0,40}" + NAMES + r"[\"']?\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|[^\s&,;]+)",
            re.IGNORECASE,
        ),
        r"\1REMOVED",
    ),
    # a file for nginx's passwords
    (re.compile(r"(\$(?:1|2[aby]?|5|6|apr1|y)\$)\S+"), r"\1REMOVED"),
)


def clean(text):
    """A text without its secrets. The rules look no further than a few words, whatever a line has."""
    for rule, instead in RULES:
        text = rule.sub(instead, text)
    return text
