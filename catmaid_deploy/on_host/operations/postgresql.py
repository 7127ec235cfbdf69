"""PostgreSQL, as a service whose settings are put in place: its cluster runs with them, or with those it had. A part of
the job's script, see `apply`.
"""

import time

from catmaid_deploy.on_host.facts.postgresql import (
    CLUSTERS,
    DATA,
    POSTGRESQL_CONF,
    SERVER,
    begin_about,
    end_about,
    known_clusters,
    start_sql,
)
from catmaid_deploy.on_host.operations.common import ending, is_active, reread_units, say, tell
from catmaid_deploy.on_host.trust import ROOT, As, Failed, run

ANSWER_SECONDS = 120
# What the server says of a line in its files that waits for a restart.
WAITING = "setting could not be applied"


def run_sql(text, port, database="postgres", seconds=300):
    """What psql prints for statements by PostgreSQL's own user; raises Failed with the server's words."""
    code, output, error = start_sql(text, port, database).end(seconds)
    if code:
        raise Failed("PostgreSQL refuses: %s" % (ending(error or output, 4) or "no answer"))
    return output.strip()


class Postgresql:
    """A cluster of Debian's: made if it is missing, started, and given the deploy's settings by a link."""

    def __init__(self, job):
        service = job["service"]
        self.version, self.name, self.port = service["version"], service["cluster"], service["port"]
        self.digest, self.may_restart = service["digest"], service["restart"]
        self.unit = "postgresql@%s-%s.service" % (self.version, self.name)
        self.folder = "%s/%s/%s" % (CLUSTERS, self.version, self.name)
        self.link = self.folder + "/conf.d/catmaid.conf"
        self.restarted = False

    def owns(self, path):
        return False

    def bring(self):
        self._make()
        reread_units()
        code, output = run(["systemctl", "enable", "postgresql.service"])
        if code:
            raise Failed("postgresql.service can't be enabled: %s" % output)
        if not is_active(self.unit):
            self._start("start")
            say("started PostgreSQL")
        if self.digest:
            As(SERVER).do(self._set_link)
            self._reload()
            self._restart_if_allowed()

    def back(self):
        """Go on with the files of before; of none the link goes: a server refuses a dead one."""
        if not ROOT.exists(POSTGRESQL_CONF):
            As(SERVER).do(lambda at: at.target(self.link) == POSTGRESQL_CONF and at.unlink(self.link))
        reread_units()
        if self.restarted or not is_active(self.unit):
            self._start("restart")
        else:
            run_sql("SELECT pg_reload_conf();", self.port)

    # ---- the cluster ----

    def _make(self):
        """Have Debian make a cluster that isn't there. One whose making was cut has never run: nothing is in it."""
        mine = [one for one in known_clusters() if (one["version"], one["name"]) == (self.version, self.name)]
        if mine and mine[0]["whole"]:
            return
        data = "%s/%s/%s" % (DATA, self.version, self.name)
        if not As(SERVER).do(lambda at: self._empty(at, data)):
            raise Failed("%s has data, and %s no settings for them: put back the settings" % (data, self.folder))
        code, output = run(["pg_createcluster", self.version, self.name, "--port", str(self.port)], 300)
        if code:
            raise Failed("the cluster %s/%s can't be made:\n%s" % (self.version, self.name, ending(output, 6)))
        say("made the cluster %s/%s" % (self.version, self.name))

    def _empty(self, at, data):
        if at.exists(data + "/postmaster.opts"):
            return False
        for folder in (data, self.folder):
            if at.is_folder(folder):
                at.empty(folder)
        return True

    def _start(self, how):
        begin = time.time()
        code, output = run(["systemctl", how, self.unit], 300)
        if code:
            raise Failed("PostgreSQL doesn't %s:\n%s" % (how, self._own_words(begin) or ending(output, 4)))
        end = time.monotonic() + ANSWER_SECONDS
        while True:
            server, problem = self._ask()
            if server:
                return
            if time.monotonic() > end:
                raise Failed("PostgreSQL doesn't answer within %d s: %s" % (ANSWER_SECONDS, problem))
            time.sleep(0.1)

    def _own_words(self, begin):
        """What its log says of why it didn't start."""
        path = "/var/log/postgresql/postgresql-%s-%s.log" % (self.version, self.name)
        log = As(SERVER).do(lambda at: [(at.status(path) or [0] * 9)[8], at.read(path, most=8192, end=True)])
        lines = [line for line in log[1].splitlines() if any(word in line for word in ("FATAL:", "HINT:", "ERROR:"))]
        return "\n".join(lines[-3:]) if log[0] >= int(begin) else ""

    def _ask(self):
        return end_about(begin_about(self.port, ()))

    # ---- its settings ----

    def _set_link(self, at):
        if at.target(self.link) == POSTGRESQL_CONF:
            return
        if at.exists(self.link):
            raise OSError(17, "somebody else's file is in the way", self.link)
        if not at.is_folder(self.folder + "/conf.d"):
            at.make_folder(self.folder + "/conf.d")
        at.link(self.link, POSTGRESQL_CONF)

    def _reload(self):
        run_sql("SELECT pg_reload_conf();", self.port)
        end = time.monotonic() + 10
        while True:
            server, problem = self._ask()
            if server and server["settings"] == self.digest:
                break
            if time.monotonic() > end:
                refused = self._refused(())
                if server and not refused and not server["in_file"]:
                    problem = (
                        "%s/postgresql.conf doesn't include its conf.d: put include_dir = 'conf.d' there" % self.folder
                    )
                raise Failed("PostgreSQL doesn't take the new settings: %s" % (refused or problem or "it says nothing"))
            time.sleep(0.05)
        if refused := self._refused(server["pending"]):
            raise Failed("PostgreSQL refuses the new settings: %s" % refused)
        say("PostgreSQL has read its settings")

    def _refused(self, pending):
        """What the server says against its files as they are, but for what waits for a restart."""
        text = (
            "SELECT coalesce(name, 'line ' || sourceline) || ': ' || error FROM pg_file_settings "
            "WHERE error IS NOT NULL AND NOT (error = '%s' AND name IN (%s));"
        )
        names = ", ".join("'%s'" % name for name in pending) or "''"
        return "; ".join(run_sql(text % (WAITING, names), self.port).splitlines()[:4])

    def _restart_if_allowed(self):
        server, problem = self._ask()
        if server is None:
            raise Failed("PostgreSQL doesn't answer: %s" % problem)
        if not server["pending"]:
            return
        names = ", ".join(server["pending"])
        if not self.may_restart and (server["used"] or server["sessions"]):
            tell("%s waits for the next restart of PostgreSQL (systemctl restart %s)" % (names, self.unit[:-8]))
            return
        self.restarted = True
        self._start("restart")
        say("restarted PostgreSQL for %s" % names)
