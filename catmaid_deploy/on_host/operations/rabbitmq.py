"""RabbitMQ, as a service whose files are put in place, and its virtual hosts. A part of a job's script, see `apply`."""

import base64
import hashlib
import json
import secrets
import time

from catmaid_deploy.on_host.facts.rabbitmq import (
    BROKER,
    MAPPER,
    NODE,
    NODES_FILE,
    RABBITMQCTL,
    VHOSTS,
    brokers_sockets,
    brokers_uid,
    greeted,
    is_adopted,
    is_rabbitmqs,
    its_users,
    nodes_line,
)
from catmaid_deploy.on_host.operations.common import ending, is_active, make_folders, reread_units, say
from catmaid_deploy.on_host.trust import ROOT, As, Failed, owner, run

BROKERS_UNIT, MAPPERS_UNITS = "rabbitmq-server.service", ("epmd.socket", "epmd.service")
# Debian's unit waits as long for its start.
STARTS_SECONDS = 600
CHANGE_SECONDS, IMPORT_SECONDS = 120, 60
# Only its shell has the text, and no other user sees a program's environment.
BY_INPUT = 'printf %s "$DEFINITIONS" | exec "$0" "$@"'


class Rabbitmq:
    """The files by which systemd starts RabbitMQ, and what runs by them."""

    def __init__(self, job):
        self.restart, self.restarted = job["service"]["restart"], False

    def owns(self, path):
        return False

    def bring(self):
        reread_units()
        keep_tools_node()
        # Before the package it isn't there, and after it the first start is with these files.
        if listens_outside(MAPPER) and any(map(is_active, MAPPERS_UNITS)):
            # Erlang's programs tell it again who they are.
            self._order("stop", *reversed(MAPPERS_UNITS))
            self._order("start", MAPPERS_UNITS[0])
            say("%s listens on this host alone" % MAPPERS_UNITS[0])
        if self.restart and brokers_uid() is not None:
            self.restarted = True
            self._order("restart", BROKERS_UNIT)
            say("restarted %s" % BROKERS_UNIT)

    def back(self):
        reread_units()
        if self.restarted:
            self._order("restart", BROKERS_UNIT)

    def _order(self, verb, *units):
        code, output = run(["systemctl", verb, *units], STARTS_SECONDS)
        if code:
            raise Failed("systemctl %s %s: %s" % (verb, " ".join(units), output))


def listens_outside(port):
    """Whether somebody listens on a port at more than this host's own addresses."""
    return any(not address.startswith("127.") and address != "::1" for address, _ in brokers_sockets([port])[port])


def with_node(text):
    """A file for RabbitMQ's tools with the deploy's node, and all else that it says."""
    lines = [line for line in text.splitlines() if not line.strip().startswith("NODENAME=")]
    return "\n".join([*lines, "NODENAME=" + NODE, ""])


def keep_tools_node():
    """Have rabbitmqctl by hand ask the deploy's own node. From its installation on the folder is RabbitMQ's, and that
    user writes there.
    """
    folder = NODES_FILE.rpartition("/")[0]
    if not owner(folder):
        make_folders(folder)
        put_node(ROOT)
    elif owner(folder) == brokers_uid():
        As(BROKER).do(put_node)
    else:
        say("kept %s: its folder is neither root's nor RabbitMQ's" % NODES_FILE)


def put_node(at):
    text = at.read(NODES_FILE)
    if nodes_line(text) != NODE:
        at.write(NODES_FILE, with_node(text).encode())


# ---- virtual hosts ----


def definitions(one, password):
    """A virtual host with its user, as RabbitMQ imports them: of the password a salted digest."""
    salt = secrets.token_bytes(4)
    digest = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    algorithm = "rabbit_password_hashing_sha256"
    rights = dict.fromkeys(("configure", "write", "read"), ".*")
    return {
        "users": [{"name": one["user"], "password_hash": digest, "hashing_algorithm": algorithm, "tags": ""}],
        "vhosts": [{"name": one["vhost"]}],
        "permissions": [dict(rights, user=one["user"], vhost=one["vhost"])],
    }


def rabbitmqctl(*words, **env):
    """Exit code and output of RabbitMQ's own tool, run as its user."""
    lead = ["/bin/sh", "-c", BY_INPUT, RABBITMQCTL] if env else [RABBITMQCTL]
    return As(BROKER).run([*lead, *words], CHANGE_SECONDS, **env)


def make_vhost(one):
    """Have a virtual host with its user, who has all rights there and none elsewhere. Nothing is removed but the user
    guest of a broker that the deploy has installed.
    """
    password = ROOT.json(one["secrets"]).get(one["secret"])
    if not isinstance(password, str):
        raise Failed("%s has no %s" % (one["secrets"], one["secret"]))
    if not is_active(BROKERS_UNIT):
        code, output = run(["systemctl", "start", BROKERS_UNIT], STARTS_SECONDS)
        if code:
            raise Failed("%s doesn't start: %s; its log is in /var/log/rabbitmq" % (BROKERS_UNIT, output))
    found = answer_of_broker(one, password, lambda found: found["word"] != "silent", IMPORT_SECONDS)
    if found["word"] == "silent":
        raise Failed("RabbitMQ doesn't answer at port %d: %s" % (one["port"], found["why"]))
    # First, so that whoever finds a virtual host of the deploy's knows that guest is gone.
    if not is_adopted() and greeted(one["port"], "guest", "guest", "/")["word"] == "well":
        code, output = rabbitmqctl("delete_user", "guest")
        if code:
            raise Failed("the user guest can't be removed: %s" % ending(output, 4))
        say("removed the user guest, whose password everybody knows")
    if found["word"] != "well":
        keep_others_password(one)
        # A run that is cut before the end leaves them as the deploy's.
        note_vhost(one)
        code, output = rabbitmqctl("import_definitions", DEFINITIONS=json.dumps(definitions(one, password)))
        if code:
            raise Failed("RabbitMQ doesn't take the virtual host %s: %s" % (one["vhost"], ending(output, 4)))
        # It goes on with that when it has said that it has begun.
        found = answer_of_broker(one, password, lambda found: found["word"] == "well", IMPORT_SECONDS)
        if found["word"] != "well":
            raise Failed(
                "the user %s gets no access to the virtual host %s: %s" % (one["user"], one["vhost"], found["why"])
            )
        say("the user %s has the virtual host %s" % (one["user"], one["vhost"]))
    note_vhost(one)


def note_vhost(one):
    ROOT.write(VHOSTS, json.dumps({**ROOT.json(VHOSTS), one["vhost"]: one["user"]}, indent=1, sort_keys=True).encode())


def keep_others_password(one):
    """Raises Failed where a user or a virtual host of that name is there, and isn't of the deploy's making."""
    if one["user"] not in ROOT.json(VHOSTS).values() and one["user"] in its_users():
        raise Failed(
            "RabbitMQ has a user %s that isn't the deploy's: give the password as install.broker.password, or another "
            "name as install.broker.user" % one["user"]
        )


def answer_of_broker(one, password, is_enough, seconds):
    """How RabbitMQ takes the user, as soon as that is enough."""
    end = time.monotonic() + seconds
    while True:
        sockets = brokers_sockets([one["port"]])[one["port"]]
        found = {"word": "silent", "why": "it doesn't listen there"}
        if is_rabbitmqs(sockets):
            found = greeted(one["port"], one["user"], password, one["vhost"])
        if is_enough(found) or time.monotonic() > end:
            return found
        time.sleep(0.3)
