"""Run in gixy's own virtualenv: what it finds in the nginx.conf files named, a JSON object of lists."""

import json
import sys
from collections.abc import Iterator

from gixy.core.config import Config
from gixy.core.manager import Manager


def findings(path: str) -> Iterator[tuple[str, str, str, list[str]]]:
    manager = Manager(Config(load_default_vars=True))
    with open(path, "rb") as file:
        manager.audit(path, file)
    for plugin in manager.results:
        for issue in plugin.issues:
            severity = str(issue.severity or plugin.severity)
            where = [" ".join(str(one).split()) for one in issue.directives]
            yield plugin.name, severity, issue.reason or issue.summary or plugin.summary, where


print(json.dumps({path: list(findings(path)) for path in sys.argv[1:]}))
