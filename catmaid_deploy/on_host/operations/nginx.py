"""nginx, as a service whose files are put in place. A part of the job's script, see `apply`."""

import http.client
import re
import time

from catmaid_deploy.on_host.facts.nginx import HERE
from catmaid_deploy.on_host.operations.common import ending, is_active, say
from catmaid_deploy.on_host.operations.stage import ERROR_LOG
from catmaid_deploy.on_host.trust import ROOT, Failed, run


class Nginx:
    """nginx runs with its files, or goes on with those it had. Without a ``digest`` it has no site of the deploy's."""

    unit = "nginx.service"

    def __init__(self, job):
        self.digest, self.host = job["service"]["digest"], job["service"]["state_host"]
        self.begin, self.read_so_far = time.time(), 0

    def owns(self, path):
        return False

    def bring(self):
        # What the parser passed can still fail in earnest: a port that is taken, a log that can't be opened.
        self.begin, self.read_so_far = time.time(), self._log_size()
        if not is_active(self.unit):
            if self.digest is None:
                return
            code, output = run(["systemctl", "enable", "--now", self.unit])
            if code:
                raise Failed("nginx doesn't start:\n" + self._own_words(output))
            say("started nginx")
        self._reload()
        end = time.time() + 10
        # A reload returns before the new workers listen, and a refused configuration shows in the log alone:
        # only nginx itself can tell that it has taken the new one.
        while not self._has_taken_them():
            if time.time() > end:
                raise Failed(
                    "nginx doesn't take the new configuration within 10 s:\n"
                    + self._own_words("it says nothing; another program may have one of its ports: ss -ltnp")
                )
            time.sleep(0.02)
        say("reloaded nginx")

    def back(self):
        if is_active(self.unit):
            self._reload()

    def _reload(self):
        code, output = run(["systemctl", "reload", self.unit])
        if code:
            raise Failed("nginx doesn't reload:\n" + self._own_words(output))

    @staticmethod
    def _log_size():
        status = ROOT.status(ERROR_LOG)
        return status.st_size if status else 0

    def _own_words(self, otherwise):
        """What nginx says now of its files, or has said since this job began: systemctl doesn't know."""
        code, output = run(["nginx", "-t", "-q"])
        if code:
            return ending(output, 5)
        new = self._log_size() - self.read_so_far
        lines = ROOT.read(ERROR_LOG, most=min(new, 1 << 16), end=True).splitlines() if new > 0 else []
        lines = [line for line in lines if re.search(r"\[(?:emerg|alert|crit)\]", line)]
        # The words of one that didn't start are systemd's alone: it had no log yet.
        journal = ["journalctl", "-u", self.unit, "--since", "@%d" % self.begin, "-o", "cat"]
        lines = lines or [line for line in run(journal)[1].splitlines() if line.startswith("nginx:")]
        return "\n".join(lines[-5:]) or otherwise

    def _has_taken_them(self):
        told = self._asked()
        # Another's server may answer in the place of the one that is gone.
        return told == self.digest if self.digest else not re.fullmatch("[0-9a-f]{8,64}", told or "")

    def _asked(self):
        try:
            connection = http.client.HTTPConnection(HERE, 80, timeout=5)
            connection.request("GET", "/", headers={"Host": self.host})
            answer = connection.getresponse()
            return answer.read(100).decode("ascii", "replace").strip() if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
