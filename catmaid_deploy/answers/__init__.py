"""What a host answers: types with the keys of the JSON objects that the scripts in `on_host/facts` print.

A key that isn't always there is ``NotRequired``. A list of JSON whose parts differ in type, or mean something by their
place, is a tuple here.
"""

from __future__ import annotations

from typing import TypedDict


class Answer(TypedDict):
    """What is in the answer of each script.

    + uid: the number of the user that it ran as, 0 for root
    + time: the host's clock when it began, in seconds since the epoch
    """

    uid: int
    time: float
