"""What RabbitMQ on a host says, without its own tools, which take a second for each word. A part of a script, see
`survey`.

AMQP's own handshake tells in milliseconds whether the server answers, takes a user with a password, has a virtual host,
and gives the rights there.
"""

import pwd
import socket
import struct

from catmaid_deploy.on_host.facts.ports import open_sockets
from catmaid_deploy.on_host.paths import STATE
from catmaid_deploy.on_host.trust import ROOT, As, Asked, Failed, plain

BROKER, BROKERS_HOME = "rabbitmq", "/var/lib/rabbitmq"
# A name that a renamed host keeps: RabbitMQ finds its data by it.
NODE = "rabbit@localhost"
# Read by RabbitMQ's tools, and in a folder that Debian gives to RabbitMQ's user.
NODES_FILE = "/etc/rabbitmq/rabbitmq-env.conf"
# The virtual hosts that the deploy has made, with their users.
VHOSTS = STATE + "/rabbitmq.json"
# Between Erlang's nodes, and by which they find each other.
DISTRIBUTION, MAPPER = 25672, 4369
GREETING_SECONDS, TOOL_SECONDS, LOOK_SECONDS = 3, 20, 30
RABBITMQCTL = "/usr/sbin/rabbitmqctl"
LARGEST_FRAME = 1 << 17
# Of AMQP 0-9-1 the methods that a handshake has, as class and method.
START_OK, TUNE, TUNE_OK, OPEN, OPEN_OK, CLOSE = (10, 11), (10, 30), (10, 31), (10, 40), (10, 41), (10, 50)
CHANNEL_OPEN, CHANNEL_CLOSE, BIND, DELETE = (20, 10), (20, 40), (50, 20), (50, 40)
NOT_FOUND = 404
# Neither a queue nor an exchange has this name.
NOWHERE = "catmaid-deploy.nowhere"


class Refuses(Exception):
    """RabbitMQ's own words for what it doesn't let a user do."""


def short_text(text):
    data = text.encode()
    return struct.pack("!B", len(data)) + data


def long_text(data):
    return struct.pack("!I", len(data)) + data


class Greeting:
    """A connection to RabbitMQ on this host, for as long as it takes to know whether it serves."""

    def __init__(self, port):
        # As text it would load the tables of international names first.
        self.link = socket.create_connection((b"127.0.0.1", port), GREETING_SECONDS)
        self.answers = self.link.makefile("rb")

    def close(self):
        self.answers.close()
        self.link.close()

    def send(self, channel, method, words=b""):
        frame = struct.pack("!HH", *method) + words
        self.link.sendall(struct.pack("!BHI", 1, channel, len(frame)) + frame + b"\xce")

    def next(self):
        """The next method with its arguments."""
        head = self.answers.read(7)
        if len(head) < 7:
            raise OSError("it ended the connection")
        _, _, size = struct.unpack("!BHI", head)
        if size > LARGEST_FRAME:
            raise OSError("it doesn't speak AMQP 0-9-1")
        frame = self.answers.read(size + 1)
        if len(frame) < size + 1 or size < 4:
            raise OSError("it ended the connection")
        method, words = struct.unpack("!HH", frame[:4]), frame[4:-1]
        if method in (CLOSE, CHANNEL_CLOSE):
            (code,) = struct.unpack("!H", words[:2])
            text = words[3 : 3 + words[2]].decode("utf-8", "replace")
            if (method, code) != (CHANNEL_CLOSE, NOT_FOUND):
                raise Refuses(plain(text)[:300])
        return method, words

    def wait(self, wanted):
        method, words = self.next()
        if method != wanted:
            raise OSError("it doesn't speak AMQP 0-9-1")
        return words

    def begin(self):
        """Its version."""
        self.link.sendall(b"AMQP\x00\x00\x09\x01")
        _, words = self.next()
        _, found, rest = words.partition(b"\x07versionS")
        size = struct.unpack("!I", rest[:4])[0] if found else 0
        return plain(rest[4 : 4 + min(size, 40)].decode("utf-8", "replace"))

    def sign_in(self, user, password, vhost):
        """Raises Refuses where the user, the password or the virtual host is wrong."""
        # So that it says why it refuses somebody, at once.
        able = short_text("authentication_failure_close") + b"t\x01"
        able = short_text("capabilities") + b"F" + long_text(able)
        secret = long_text(("\0%s\0%s" % (user, password)).encode())
        self.send(0, START_OK, long_text(able) + short_text("PLAIN") + secret + short_text("en_US"))
        self.send(0, TUNE_OK, self.wait(TUNE))
        self.send(0, OPEN, short_text(vhost) + b"\x00\x00")
        self.wait(OPEN_OK)

    def try_rights(self):
        """Raises Refuses where the user may not configure, write and read. Nothing is made by it, or removed."""
        # To bind a queue to an exchange takes the right to write to the one and to read the other, which are asked for
        # before either is looked for.
        for channel, method, words in (
            (1, BIND, short_text(NOWHERE) * 2 + b"\x00\x00" + long_text(b"")),
            (2, DELETE, short_text(NOWHERE) + b"\x00"),
        ):
            self.send(channel, CHANNEL_OPEN, b"\x00")
            self.next()
            self.send(channel, method, struct.pack("!H", 0) + words)
            self.next()


def greeted(port, user, password, vhost):
    """A word for how RabbitMQ takes a user, why, and its version: well, refused, or silent where it doesn't answer."""
    version = ""
    try:
        greeting = Greeting(port)
        try:
            version = greeting.begin()
            greeting.sign_in(user, password, vhost)
            greeting.try_rights()
            greeting.send(0, CLOSE, struct.pack("!H", 200) + b"\x00" + struct.pack("!HH", 0, 0))
            greeting.next()
        finally:
            greeting.close()
    except Refuses as error:
        return {"word": "refused", "why": str(error), "version": version}
    except (OSError, ValueError, struct.error) as error:
        return {"word": "silent", "why": plain(str(error))[:300], "version": version}
    return {"word": "well", "why": "", "version": version}


def brokers_uid():
    """The number of RabbitMQ's user; None before it is installed."""
    try:
        return pwd.getpwnam(BROKER).pw_uid
    except KeyError:
        return None


def brokers_sockets(ports):
    """Where RabbitMQ, or somebody else, listens on ports: address and user of each."""
    found = {port: [] for port in ports}
    for port, _, uid, address in open_sockets():
        if port in found:
            found[port].append([address, uid])
    return found


def is_rabbitmqs(sockets):
    """Whether RabbitMQ's user and nobody else listens at this host's own address: others get no password."""
    uid = brokers_uid()
    return uid is not None and bool(sockets) and {number for _, number in sockets} == {uid}


def take_of(one, sockets):
    """How RabbitMQ takes an instance's user, with the password that the host keeps."""
    if not is_rabbitmqs(sockets):
        who = "somebody else than RabbitMQ listens at port %d" % one["port"] if sockets else "nothing listens there"
        return {"word": "silent", "why": who, "version": ""}
    password = ROOT.json(one["secrets"]).get(one["secret"])
    if not isinstance(password, str):
        return {"word": "refused", "why": "it has no password yet", "version": ""}
    return greeted(one["port"], one["user"], password, one["vhost"])


def look_at_broker(asked):
    """A child's work: how RabbitMQ takes each instance's user, and where it listens."""
    ports = {one["port"] for one in asked.values()}
    sockets = brokers_sockets({*ports, DISTRIBUTION, MAPPER})
    found = {name: take_of(one, sockets[one["port"]]) for name, one in asked.items()}
    # Its own user has the password that everybody knows.
    guest = any(
        greeted(port, "guest", "guest", "/")["word"] == "well" for port in ports if is_rabbitmqs(sockets[port])
    ) if is_adopted() else False  # fmt: skip
    # It takes a second: of one that is adopted, before the deploy has made anything there.
    new = {one["user"] for one in asked.values()} - {*ROOT.json(VHOSTS).values()}
    users = its_users() if new and any(is_rabbitmqs(sockets[port]) for port in ports) else []
    return {
        "hosts": found,
        "guest": guest,
        "users": users,
        "sockets": {str(port): listens for port, listens in sockets.items()},
    }


def its_users():
    """The users that RabbitMQ knows, by its own tool."""
    try:
        code, output = As(BROKER).run([RABBITMQCTL, "--quiet", "list_users", "--no-table-headers"], TOOL_SECONDS)
    except (Failed, OSError):
        return []
    return [] if code else [plain(line.split("\t")[0]) for line in output.splitlines()]


def is_adopted():
    """Whether somebody else has installed RabbitMQ: the deploy has no files for it there."""
    return "rabbitmq" not in ROOT.json(STATE + "/manifest.json")


def nodes(at):
    """The nodes that have data there, and whether RabbitMQ's tools ask the deploy's own."""
    # Beside each there are files of the same name and more.
    names = [
        name
        for name in at.names(BROKERS_HOME + "/mnesia")
        if "@" in name and at.is_folder("%s/mnesia/%s" % (BROKERS_HOME, name))
    ]
    return {
        "nodes": [plain(name) for name in names if not name.endswith("-plugins-expand")],
        "tools": nodes_line(at.read(NODES_FILE)) == NODE,
    }


def nodes_line(text):
    """The node that a file for RabbitMQ's tools names; '' where it names none."""
    lines = [
        line.strip().partition("NODENAME=")[2] for line in text.splitlines() if line.strip().startswith("NODENAME=")
    ]
    return lines[-1].strip("'\" ") if lines else ""


def ask_broker(question, places):
    """Begin to ask RabbitMQ for its instances; what returns the answers."""
    asked = question["rabbitmq"]
    made = {name: user for name, user in ROOT.json(VHOSTS).items() if isinstance(user, str)}
    nothing = {"hosts": {}, "guest": False, "users": [], "sockets": {}, "nodes": [], "tools": False, "made": made}
    if not asked:
        return lambda: nothing
    begun = Asked(lambda at: look_at_broker(asked), LOOK_SECONDS)
    data = places.ask(BROKER, BROKERS_HOME, nodes, {"nodes": [], "tools": False})

    def answer():
        silent = {"word": "silent", "why": "it gave no answer in time", "version": ""}
        try:
            found = begun.end()
        except (Failed, OSError):
            found = {"hosts": dict.fromkeys(asked, silent)}
        return {**nothing, **data.value, **found}

    return answer
