"""Users of the system, who never sign in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyinfra.operations import server


def system_user(name: str, home: str, comment: str, groups: Sequence[str] = (), is_new: bool = True) -> Any:
    """
    Queue the operations that make a system user with a group of its own; returns the last one.

    + name: the user
    + home: its home folder, which isn't made
    + comment: what it is for
    + groups: further groups that it is put into
    + is_new: whether its own group has to be made as well
    """
    if is_new:
        server.group(name=f"Group {name}", group=name, system=True)
    return server.user(  # noqa: S604
        name=f"User {name}",
        user=name,
        group=name,
        groups=list(groups) or None,
        append=bool(groups),
        system=True,
        home=home,
        ensure_home=False,
        shell="/usr/sbin/nologin",
        comment=comment,
    )
