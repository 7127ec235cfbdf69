"""systemd, as a service whose files are put in place. A part of the job's script, see `apply`."""

from catmaid_deploy.on_host.operations.common import is_active, reread_units, say
from catmaid_deploy.on_host.trust import Failed, run


class Systemd:
    """Units' drop-in files, and what starts at boot."""

    def __init__(self, job):
        self.enable, self.reload = job["service"]["enable"], job["service"]["reload"]
        self.restart, self.stop = job["service"].get("restart", ()), job["service"].get("stop", ())

    def owns(self, path):
        return False

    def bring(self):
        # Of one that isn't loaded systemd would say that it can't.
        for unit in filter(is_active, self.stop):
            code, output = run(["systemctl", "stop", unit])
            if code:
                raise Failed("%s can't be stopped: %s" % (unit, output))
            say("stopped %s" % unit)
        if self.reload:
            self.back()
            say("systemd has read its files")
        for unit in self.enable:
            now = ["--now"] if unit.endswith(".timer") else []
            code, output = run(["systemctl", "enable", *now, unit])
            if code:
                raise Failed("%s can't be enabled: %s" % (unit, output))
        for unit in self.restart:
            code, output = run(["systemctl", "restart", unit])
            if code:
                raise Failed("%s doesn't start: %s" % (unit, output))
            say("started %s" % unit)

    def back(self):
        if self.reload:
            reread_units()
