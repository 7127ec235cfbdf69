"""The rows of the specification that this project claims; each has a test with its mark."""

CLAIMED = {
    1: "nginx from the distribution, tested, enabled, without the stock site",
    2: "uWSGI in the virtualenv at a pinned version",
    3: "uWSGI ini, simple form",
    4: "the prefix has one source",
    6: "the socket folder's owner and mode",
    7: "nginx opens the sockets, of the same user or another",
    8: "static files by nginx, cached and compressed",
    14: "Supervisor: a file and a group an instance",
    15: "reread and update only when something changed",
    16: "a stop ends the whole uWSGI tree",
    17: "a program for the Celery worker",
    20: "/files/ neither executed nor listed",
    21: "WebSockets to Daphne",
    22: "the application's location: no caching, body limit",
    23: "the socket folder after a reboot",
    24: "uWSGI ini, production form",
    25: "the statistics socket is private",
    28: "four programs under Supervisor, back after a kill; logs rotated",
    31: "an application found in place: a missing part is named (first half)",
}
