"""Releases that are broken on purpose: a test writes the way of it into the file BROKEN beside RELEASE.

``import``, ``hang`` and ``memory`` show when the application is loaded, the others at requests.
"""

import itertools
import os
import time

from django.conf import settings
from django.db.utils import ProgrammingError

_STEP = 50 << 20
_MOST = 1 << 30

_requests = itertools.count(1)


def at_import() -> None:
    if settings.BROKEN == "import":
        raise ImportError("broken on purpose")
    if settings.BROKEN == "hang":
        time.sleep(3600)
    if settings.BROKEN == "memory":
        taken = []
        while len(taken) * _STEP < _MOST:
            # A machine gives memory when it is written to.
            taken.append(bytearray(b"x") * _STEP)
        raise MemoryError("broken on purpose")


def at_request() -> None:
    if settings.BROKEN == "request":
        raise RuntimeError("broken on purpose")
    if settings.BROKEN == "dies" and next(_requests) > 10:
        os._exit(1)


def at_query() -> None:
    """Stands for a query of code that expects another schema: the stand-in has no database."""
    if settings.BROKEN == "schema":
        raise ProgrammingError('relation "catmaid_x" does not exist')
