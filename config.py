"""pyinfra's configuration, which it reads before it connects to the hosts."""

import logging
import sys

from pyinfra import logger

# pyinfra turns this off for inventories; this project's modules need not be compiled at each run.
sys.dont_write_bytecode = False

FAILURES = ("Could not connect", "SSH error", "Could not resolve hostname", "Authentication error", "EOF error")


class ConnectionHelp(logging.Filter):
    """Adds key and mend to pyinfra's line about a host that can't be reached; nothing has changed by then."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str) and any(failure in record.msg for failure in FAILURES):
            record.msg = (
                f"{record.msg.rstrip()}: log in by ssh as this machine's user does, and correct "
                "ssh_hostname, ssh_port, ssh_user or ssh_key in the inventory"
            )
        return True


logger.addFilter(ConnectionHelp())
