"""Values that no message repeats, since they may be secret: passwords' hashes, keys, a proxy's address."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator, SecretStr

# What the host's crypt() takes, and nothing weaker: bcrypt, and SHA-512 as 'openssl passwd -6' makes it.
HASH = re.compile(
    r"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}|\$6\$(rounds=[0-9]{4,9}\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}"
)
# What the reference of the inventory has as one.
HASH_EXAMPLE = "$2y$05$" + "x" * 53
# Nobody's program makes these: more than a minute for each try.
IMPOSSIBLE = re.compile(r"\$2[aby]\$(0[0-3]|1[89]|[2-9][0-9])\$|\$6\$rounds=([0-9]{1,3}|[0-9]{8,})\$")
# What nginx may spend on one try, in ms: nobody else is served by that worker meanwhile. Measured with crypt() on a
# machine of 2026: bcrypt of cost 7 takes 8 ms, each step twice as much; SHA-512 takes 3 ms for its 5,000 rounds.
HASH_MS = 10
BCRYPT_MOST, ROUNDS_MOST = 7, 16000
CHEAP_HASH = "give one made by 'htpasswd -nBC 5 {user}' or 'openssl passwd -6'"


def is_costly(hashed: str) -> bool:
    """Whether a hash takes nginx more than HASH_MS for each try."""
    _, kind, cost, *_ = hashed.split("$")
    if kind == "6":
        return cost.startswith("rounds=") and int(cost.removeprefix("rounds=")) > ROUNDS_MOST
    return int(cost) > BCRYPT_MOST


def valid_passwords(value: object) -> object:
    """Users and hashes. No message repeats a value: it may be the password itself."""
    if not isinstance(value, dict):
        raise ValueError("a dictionary of user names and password hashes is needed")
    # What `catmaid_deploy.secret` read, and pyinfra's own hidden values.
    value = {user: one.unmask() if hasattr(one, "unmask") else one for user, one in value.items()}
    for number, (user, hashed) in enumerate(value.items(), 1):
        if not isinstance(user, str) or not re.fullmatch(r"[A-Za-z0-9._@+-]{1,64}", user):
            raise ValueError(f"number {number} is not a user's name: use letters, digits and . _ @ + -")
        if isinstance(hashed, str) and IMPOSSIBLE.match(hashed):
            raise ValueError(f"the hash of {user} would take nginx hours or is no hash: {CHEAP_HASH.format(user=user)}")
        if not isinstance(hashed, str) or not HASH.fullmatch(hashed):
            raise ValueError(
                f"the hash of {user} is neither bcrypt nor SHA-512: {CHEAP_HASH.format(user=user)}, and give what "
                "begins with $"
            )
    return value


# No other scheme is taken by apt, pip, git and certbot alike.
PROXY = re.compile(r"http://((?P<user>[^/@:]+)(:(?P<password>[^/@]*))?@)?[A-Za-z0-9.-]+:[1-9][0-9]{0,4}/?")


def unmasked(value: object) -> tuple[object, bool]:
    """What an inventory gives, and whether it was read as a secret: by `catmaid_deploy.secret`, or pyinfra's own."""
    if isinstance(value, SecretStr):
        return value.get_secret_value(), True
    return (value.unmask(), True) if hasattr(value, "unmask") else (value, False)


def valid_secret(pattern: str, variable: str, rule: str) -> Callable[[object], object]:
    """A validator for a secret that has to match as a whole; ``rule`` says what is allowed. No message repeats it."""

    def check(value: object) -> object:
        text, is_secret = unmasked(value)
        if not is_secret:
            raise ValueError(
                "it would be in the inventory's repository: read it by "
                f'secret.from_environment("{variable}"), or from a file'
            )
        if not isinstance(text, str) or not re.fullmatch(pattern, text):
            raise ValueError(rule)
        return SecretStr(text)

    return check


# The key that an ACME server's administrators give out.
valid_mac_key = valid_secret(
    r"[A-Za-z0-9_-]{16,512}=*",
    "EAB_KEY",
    "it is no such key: give what the ACME server's administrators call the HMAC key, as it is",
)
# That of another service.
valid_password = valid_secret(
    r"[ -~]{1,200}", "PASSWORD", "it is no password: give up to 200 printable characters of ASCII"
)


def valid_proxy(value: object) -> object:
    """No message repeats a value that may have a password in it."""
    text, is_secret = unmasked(value)
    found = PROXY.fullmatch(text) if isinstance(text, str) else None
    if not found:
        shown = "it" if is_secret or "@" in str(text) else repr(text)
        raise ValueError(f"{shown} is not the address of an HTTP proxy: write it as 'http://proxy.example.org:3128'")
    words = f"{found['user'] or ''}{found['password'] or ''}"
    if not re.fullmatch(r"([A-Za-z0-9._~!*+,;=&-]|%[0-9A-Fa-f]{2})*", words):
        raise ValueError(
            "its user name or password has a character that an address can't have: write that as % and two digits, "
            "'@' as %40"
        )
    if found["password"] and not is_secret:
        raise ValueError(
            "it has a password in it, which would be in the inventory's repository: read the address by "
            'secret.from_environment("PROXY")'
        )
    return SecretStr(str(text).rstrip("/"))


Passwords = Annotated[dict[str, str], BeforeValidator(valid_passwords)]
ProxyAddress = Annotated[SecretStr, BeforeValidator(valid_proxy)]
Password = Annotated[SecretStr, BeforeValidator(valid_password)]
MacKey = Annotated[SecretStr, BeforeValidator(valid_mac_key)]
