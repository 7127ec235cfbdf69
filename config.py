"""pyinfra's configuration, which it reads before it connects to the hosts."""

import logging

from pyinfra import logger

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
