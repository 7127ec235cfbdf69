"""Makes text from elsewhere (logs, answers, names, values) safe for an admin's screen.

It gives the terminal no commands, a line stays one line, a long value is cut, and no address shows its password.
"""

from __future__ import annotations

import re

# Characters of one value. More of it helps nobody and fills the screen.
LONGEST = 400
# Beside control characters: what reorders a line, ends one, or can't be written as UTF-8.
_OTHER = re.compile("[\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# amqp://user:password@host, postgres://..., also with a slash or a further @ in the password.
_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s'\"<>]+(?=@)", re.IGNORECASE)


def visible(text: str) -> str:
    """Control characters as ``^[`` and the like; a tab stays."""
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", lambda m: f"^{chr(ord(m[0]) ^ 64)}", _OTHER.sub("?", text))


def without_passwords(text: str) -> str:
    """Addresses without the passwords in them."""
    return _PASSWORD.sub(r"\1REMOVED", text)


def one_line(text: str, longest: int = LONGEST) -> str:
    """A value for a message: its lines behind each other, and cut with a mark where it is too long."""
    line = visible(" ".join(without_passwords(text[: 100 * longest]).split()))
    left = len(text) - longest
    return line if len(line) <= longest else f"{line[:longest]}... ({left:,} more characters)"
