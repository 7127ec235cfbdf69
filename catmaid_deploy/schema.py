"""The one description of a site: its models, defaults, and every rule about valid input.

An inventory gives a dictionary under the key ``site``, or several under ``sites``; `load` turns them into
a `Deployment` or raises `InvalidSite`, which names the key, what is wrong and the fix. Everything that
follows from a value (a socket's path, a location, Django's script name) is computed here and nowhere else.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from catmaid_deploy.finding import Finding, fault

# Who runs the programs, unless the inventory says otherwise, and the group by which nginx opens their sockets.
SERVICE_USER = "www-data"
SOCKET_GROUP = "www-data"
# nginx's workers have a user of their own: whoever shares it reads the TLS keys in their memory.
NGINX_USER = "catmaid-nginx"
# The watcher of disks has its flags there: what has one is on a disk that gives no answer.
DISKS = "/run/nginx-disks"
# Who is one of these, or in a group of this name, may do or read what is root's alone.
PRIVILEGED = (
    "root",
    "sudo",
    "wheel",
    "admin",
    "adm",
    "shadow",
    "disk",
    "kmem",
    "docker",
    "lxd",
    "incus-admin",
    "libvirt",
)
# The server that tells a deploy which configuration nginx has in memory; nobody else may have its name.
STATE_HOST = "configuration.catmaid-deploy.invalid"
# The server by which nginx asks itself about passwords.
PASSWORD_HOST = "passwords.catmaid-deploy.invalid"
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
# What nginx answers with files, below an instance's prefix.
FILES = ("static", "staticext", "files")
UWSGI_OLDEST = (2, 0, 31)
GUNICORN_OLDEST = (27, 0, 0)

_SECRET_NAME = re.compile(r"PASS(WORD|WD)?(_|$)|SECRET|TOKEN|CREDENTIAL|PRIVATE_KEY|API_KEY", re.IGNORECASE)
# Not more digits than nginx can count.
_SIZE = r"[1-9][0-9]{0,17}|[1-9][0-9]{0,8}[kmg]"
_REVISION = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_PATH = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._+@~-]+)+/?")
# /run and /var/lib have folders of these names, which are the deploy's and nginx's.
_RESERVED_INSTANCES = {"catmaid-deploy", "catmaid-nginx"}
# What every managed program needs for itself; the last four are the shell's own, and dash dies of a text in OPTIND.
_RESERVED_ENVIRONMENT = {"PATH", "HOME", "VIRTUAL_ENV", "IFS", "ENV", "LD_PRELOAD", "LD_LIBRARY_PATH"}
_RESERVED_ENVIRONMENT |= {
    "OPTIND",
    "PPID",
    "LINENO",
    "_",
    "CATMAID_RUN",
    "CATMAID_FILES",
    "CATMAID_GROUP_DIGEST",
    "CATMAID_DO",
    "SCRIPT_NAME",
}


class InvalidSite(ValueError):
    """The description of a site is wrong. A rule is one sentence with its fix at the end: from here on a finding."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("\n".join(finding.line() for finding in findings))
        self.findings = findings

    @property
    def lines(self) -> list[str]:
        return [finding.line() for finding in self.findings]


def _text(pattern: str, rule: str) -> Callable[[str], str]:
    """A validator for text that has to match as a whole; ``rule`` says what is allowed."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"{value!r} is not allowed: {rule}")
        return value

    return check


def _prefix(value: object) -> object:
    """One form for every spelling with one meaning: '' for the root, else '/a/b' without a trailing slash."""
    if not isinstance(value, str):
        return value
    if "://" in value:
        raise ValueError(f"{value!r} is a whole address: give the part below the host name alone, such as '/catmaid'")
    parts = value.strip("/").split("/") if value.strip("/") else []
    if value.startswith("//") or value.endswith("//") or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{value!r} has an empty or dotted part: write it as '/catmaid' or '/tracing/fafb/v14'")
    for part in parts:
        if not re.fullmatch(r"[A-Za-z0-9._~-]+", part):
            raise ValueError(
                f"{value!r} has more than a path in it: use letters, digits and . _ ~ - between slashes, "
                "such as '/catmaid'"
            )
    return "".join(f"/{part}" for part in parts)


def _path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError(
            f"{value!r} is not allowed: give an absolute path of letters, digits and . _ + @ ~ - between slashes"
        )
    return value.rstrip("/")


def _repository(value: str) -> str:
    if re.fullmatch(r"[a-z+]+://[^/@]*:[^/@]*@.*", value):
        raise ValueError("it has a password in it, which would show in a process list: let git on the host have it")
    if not re.fullmatch(r"(/|(https|http|ssh|git|file)://|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:)[A-Za-z0-9@:/._~+-]+", value):
        raise ValueError(f"{value!r} is not a repository: write it as 'https://github.com/catmaid/CATMAID.git'")
    return value


def _user(value: str) -> str:
    _text(r"[a-z_][a-z0-9_-]{0,31}", "give the name of a user of the host")(value)
    if value == NGINX_USER:
        raise ValueError(f"{value!r} is nginx's own, which reads the TLS keys: give another one")
    return value


def _plain_user(value: str) -> str:
    if _user(value) in PRIVILEGED:
        raise ValueError(f"{value!r} may do what is root's alone, and web pages must not: give another one")
    return value


def _inside(value: str) -> str:
    if not _PATH.fullmatch(f"/{value}") or value.endswith("/"):
        raise ValueError(f"{value!r} is not a path inside a release: write it as 'django/projects/mysite/settings.py'")
    return value


def _wsgi_file(value: str) -> str:
    path = _path(value)
    # uWSGI's mount takes anything else for the name of a module.
    if not path.endswith((".py", ".wsgi")):
        raise ValueError(f"{value!r} can't be loaded by uWSGI: give a file that ends in .py or .wsgi")
    return path


def _host_name(value: str) -> str:
    if "://" in value or "/" in value:
        bare = re.sub(r"^[a-z]+://", "", value).split("/")[0]
        raise ValueError(f"{value!r} is an address: give the host name alone, {bare!r}")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", value):
        raise ValueError(f"{value!r} is not a host name: use lower-case letters, digits, dots and hyphens")
    if len(value) > 253 or max(map(len, value.split("."))) > 63:
        raise ValueError(f"{value!r} is too long: a host name has up to 253 characters, and 63 between two dots")
    # The last would lie where the self-signed certificates do.
    if value in (STATE_HOST, PASSWORD_HOST, "self-signed", "requested"):
        raise ValueError(f"{value!r} is the deploy's own: give another name")
    return value


def is_address(name: str) -> bool:
    """Whether a host name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _server_name(value: str) -> str:
    # Twice as long in the name of a password file, where each hyphen may take two places.
    if len(_host_name(value)) > 120:
        raise ValueError(f"{value!r} is too long: it names files on the host, give one of up to 120 characters")
    return value


def _version(value: str) -> str:
    # As pip spells it afterwards: any other spelling would be installed anew in each run.
    if not re.fullmatch(r"(0|[1-9][0-9]{0,3})(\.(0|[1-9][0-9]{0,3})){2}", value):
        raise ValueError(f"{value!r} is not a version: write it as '2.0.31', three numbers without leading zeros")
    return value


def _gunicorn_version(value: str) -> str:
    if tuple(int(n) for n in _version(value).split(".")) < GUNICORN_OLDEST:
        raise ValueError(f"{value!r} doesn't speak nginx's uwsgi protocol well: give 27.0.0 or later")
    return value


def _uwsgi_version(value: str) -> str:
    _version(value)
    if tuple(int(n) for n in value.split(".")) < UWSGI_OLDEST:
        raise ValueError(f"{value!r} has a reload defect: give 2.0.31 or later")
    return value


def _instance_name(value: str) -> str:
    _text(r"catmaid(-[a-z0-9]+)*", "call it 'catmaid' or 'catmaid-' and a lower-case word")(value)
    if value in _RESERVED_INSTANCES:
        raise ValueError(f"{value!r} would give the deploy's own folders to its service user: give another name")
    return value


def _environment(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{name!r} is not a variable's name: use letters, digits and _")
        if name in _RESERVED_ENVIRONMENT:
            raise ValueError(f"{name} is for the deploy and its shell alone: remove it")
        if _SECRET_NAME.search(name):
            raise ValueError(
                f"{name} looks like a secret, which would show in diffs: put it into settings.py on the host"
            )
        if any(ord(c) < 32 or ord(c) == 127 for c in text):
            raise ValueError(f"the value of {name} has a control character, such as a line break: remove it")
        # Python has these for bytes that it couldn't read, in os.environ for example; no file can have them.
        if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
            raise ValueError(f"the value of {name} isn't Unicode text: write it anew")
    return value


_HOST_PART = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"


def _origin(value: str) -> str:
    if re.fullmatch(r"https://.*:443|http://.*:80", value):
        bare = value.rpartition(":")[0]
        raise ValueError(f"{value!r} is never an origin, browsers leave that port out: write {bare!r}")
    if value == "*" or re.fullmatch(rf"https?://(\*\.)?{_HOST_PART}(:[1-9][0-9]{{0,4}})?", value):
        return value
    start = re.match(rf"https?://(\*\.)?{_HOST_PART}(:[0-9]+)?", value.lower())
    fix = repr(start.group()) if start else "'https://lab.example.org' or 'https://*.example.org'"
    raise ValueError(f"{value!r} is not an origin, which has a scheme and a host name, and nothing after: write {fix}")


def _header(value: str) -> str:
    """A header's value that can stand between double quotes in nginx's file."""
    if not value or re.search(r'[^ -~]|["$\\]', value):
        raise ValueError(f"{value!r} can't be a header's value: use printable ASCII without \" $ and \\")
    # nginx reads its files in pieces of 4,096 bytes, and a value has to fit into one.
    if len(value) > 4000:
        raise ValueError(f"{value[:40]!r}... has {len(value)} characters, and nginx takes 4,000 at most: shorten it")
    return value


# What the host's crypt() takes, and nothing weaker: bcrypt, and SHA-512 as 'openssl passwd -6' makes it.
_HASH = re.compile(
    r"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}|\$6\$(rounds=[0-9]{4,9}\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}"
)


# Nobody's program makes these: more than a minute for each try.
_IMPOSSIBLE = re.compile(r"\$2[aby]\$(0[0-3]|1[89]|[2-9][0-9])\$|\$6\$rounds=([0-9]{1,3}|[0-9]{8,})\$")
# What nginx may spend on one try, in ms: nobody else is served by that worker meanwhile. Measured with crypt() on a
# machine of 2026: bcrypt of cost 7 takes 8 ms, each step twice as much; SHA-512 takes 3 ms for its 5,000 rounds.
HASH_MS = 10
_BCRYPT_MOST, _ROUNDS_MOST = 7, 16000
CHEAP_HASH = "give one made by 'htpasswd -nBC 5 {user}' or 'openssl passwd -6'"


def is_costly(hashed: str) -> bool:
    """Whether a hash takes nginx more than HASH_MS for each try."""
    _, kind, cost, *_ = hashed.split("$")
    if kind == "6":
        return cost.startswith("rounds=") and int(cost.removeprefix("rounds=")) > _ROUNDS_MOST
    return int(cost) > _BCRYPT_MOST


def _passwords(value: object) -> object:
    """Users and hashes. No message repeats a value: it may be the password itself."""
    if not isinstance(value, dict):
        raise ValueError("a dictionary of user names and password hashes is needed")
    # What `catmaid_deploy.secret` read, and pyinfra's own hidden values.
    value = {user: one.unmask() if hasattr(one, "unmask") else one for user, one in value.items()}
    for number, (user, hashed) in enumerate(value.items(), 1):
        if not isinstance(user, str) or not re.fullmatch(r"[A-Za-z0-9._@+-]{1,64}", user):
            raise ValueError(f"number {number} is not a user's name: use letters, digits and . _ @ + -")
        if isinstance(hashed, str) and _IMPOSSIBLE.match(hashed):
            raise ValueError(f"the hash of {user} would take nginx hours or is no hash: {CHEAP_HASH.format(user=user)}")
        if not isinstance(hashed, str) or not _HASH.fullmatch(hashed):
            raise ValueError(
                f"the hash of {user} is neither bcrypt nor SHA-512: {CHEAP_HASH.format(user=user)}, and give what "
                "begins with $"
            )
    return value


def _network(value: str) -> str:
    try:
        # A zone, 'fe80::1%eth0', may be any text at all.
        network = str(ipaddress.ip_network("" if "%" in value else value))
    except ValueError:
        raise ValueError(f"{value!r} is not an address or network: write it as '192.0.2.7' or '192.0.2.0/24'") from None
    if network == "255.255.255.255/32":
        raise ValueError(f"{value!r} is nobody's address, and nginx doesn't take it: remove it")
    return network


def _moment(value: object) -> object:
    if isinstance(value, datetime):
        moment = value
    else:
        try:
            moment = datetime.fromisoformat(value if isinstance(value, str) else "")
        except ValueError:
            raise ValueError(f"{value!r} is not a time: write it as '2026-12-01T18:00+01:00'") from None
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone: write it as '{moment.isoformat(timespec='minutes')}+01:00'")
    # Beyond these it has no date in another zone.
    if not 2000 <= moment.year <= 9998:
        raise ValueError(f"{value!r} is not a time of these days: write it as '2026-12-01T18:00+01:00'")
    return moment


def _plain_text(value: str) -> str:
    if any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("it has a control character: remove it")
    return value


def _certificate(value: str) -> str:
    if value in ("self-signed", "acme", "request", "none"):
        return value
    if not value.startswith("/"):
        raise ValueError(
            f"{value!r} is not allowed: give 'self-signed', 'acme', 'request', 'none', or the path of a certificate"
        )
    return _path(value)


def _subject(value: dict[str, str]) -> dict[str, str]:
    for key, text in value.items():
        if key not in ("C", "ST", "L", "O", "OU"):
            raise ValueError(f"{key!r} isn't a part of a subject: use C, ST, L, O and OU")
        if not re.fullmatch(r"[A-Z]{2}" if key == "C" else r"[^\x00-\x1f\x7f/+=\\]{1,64}", text):
            raise ValueError(f"{text!r} can't stand in a subject: give two letters as C, else text without / + =")
    return value


def _directory(value: str) -> str:
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(:[0-9]+)?/[A-Za-z0-9._/-]*", value):
        raise ValueError(f"{value!r} is not the address of an ACME server: write it as {LETS_ENCRYPT!r}")
    return value


# No other scheme is taken by apt, pip, git and certbot alike.
_PROXY = re.compile(r"http://((?P<user>[^/@:]+)(:(?P<password>[^/@]*))?@)?[A-Za-z0-9.-]+:[1-9][0-9]{0,4}/?")


def _unmasked(value: object) -> tuple[object, bool]:
    """What an inventory gives, and whether it was read as a secret: by `catmaid_deploy.secret`, or pyinfra's own."""
    if isinstance(value, SecretStr):
        return value.get_secret_value(), True
    return (value.unmask(), True) if hasattr(value, "unmask") else (value, False)


def _mac_key(value: object) -> object:
    """The key that an ACME server's administrators give out. No message repeats it."""
    text, is_secret = _unmasked(value)
    if not is_secret:
        raise ValueError(
            'it would be in the inventory\'s repository: read it by secret.from_environment("EAB_KEY"), or from a file'
        )
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]{16,512}=*", text):
        raise ValueError("it is no such key: give what the ACME server's administrators call the HMAC key, as it is")
    return SecretStr(text)


def _proxy(value: object) -> object:
    """No message repeats a value that may have a password in it."""
    text, is_secret = _unmasked(value)
    found = _PROXY.fullmatch(text) if isinstance(text, str) else None
    if not found:
        shown = "it" if is_secret or "@" in str(text) else repr(text)
        raise ValueError(f"{shown} is not the address of an HTTP proxy: write it as 'http://proxy.example.org:3128'")
    words = f"{found['user'] or ''}{found['password'] or ''}"
    if not re.fullmatch(r"([A-Za-z0-9._~!*+,;=&-]|%[0-9A-Fa-f]{2})*", words):
        raise ValueError(
            "its user name or password has a character that an address can't have: write that as % and two digits, "
            "'@' as %40"
        )
    if found["password"] and not is_secret:
        raise ValueError(
            "it has a password in it, which would be in the inventory's repository: read the address by "
            'secret.from_environment("PROXY")'
        )
    return SecretStr(str(text).rstrip("/"))


def _direct(value: str) -> str:
    if value == "*" or not re.fullmatch(rf"\.?{_HOST_PART}(:[0-9]+)?", value):
        raise ValueError(f"{value!r} is not a host name or a domain: write it as 'git.example.org' or '.example.org'")
    return value


def _fallback(value: str) -> str:
    return value if value in ("black", "none") else _path(value)


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a whole number is needed, not True or False")
    return value


_EMAIL = rf"[A-Za-z0-9_][A-Za-z0-9._+-]*@{_HOST_PART}"

HostName = Annotated[str, AfterValidator(_host_name)]
ServerName = Annotated[str, AfterValidator(_server_name)]
AbsolutePath = Annotated[str, AfterValidator(_path)]
Prefix = Annotated[str, BeforeValidator(_prefix)]
UserName = Annotated[str, AfterValidator(_user)]
PlainUserName = Annotated[str, AfterValidator(_plain_user)]
QueueName = Annotated[str, AfterValidator(_text(r"[A-Za-z0-9._-]+", "use letters, digits and . _ -"))]
Count = Annotated[int, BeforeValidator(_no_bool), Field(strict=True)]
Origin = Annotated[str, AfterValidator(_origin)]
Passwords = Annotated[dict[str, str], BeforeValidator(_passwords)]
HeaderValue = Annotated[str, AfterValidator(_header)]
Network = Annotated[str, AfterValidator(_network)]
ProxyAddress = Annotated[SecretStr, BeforeValidator(_proxy)]
MacKey = Annotated[SecretStr, BeforeValidator(_mac_key)]
DirectName = Annotated[str, AfterValidator(_direct)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Address(_Model):
    """Where a database or broker listens, as the host of the instance sees it."""

    host: HostName = Field("localhost", description="The host name or address.")
    port: Annotated[Count, Field(ge=1, le=65535)] = Field(
        description="The port: 5432 is PostgreSQL's own, 5672 RabbitMQ's, 6379 that of Redis."
    )


class Celery(_Model):
    """Options of an instance's Celery worker and beat (rows 17 and 28)."""

    concurrency: Annotated[Count, Field(ge=1, le=512)] | None = Field(
        None, description="Worker processes; without it one a core, as Celery does."
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        "info", description="How much worker and beat write to their logs."
    )
    queues: tuple[QueueName, ...] = Field((), description="Queues the worker reads; without any the default one.")
    stop_seconds: Annotated[Count, Field(ge=1, le=86400)] = Field(
        600, description="How long a task in hand may take to its end when its worker is replaced or stopped."
    )
    shutdown_seconds: Annotated[Count, Field(ge=0, le=3600)] = Field(
        30,
        description="How long a shutdown or reboot of the host waits for tasks in hand; the longest of its instances "
        "counts.",
    )
    max_tasks_per_child: Annotated[Count, Field(ge=1)] | None = Field(
        None, description="A worker process is replaced after so many tasks."
    )


class Eab(_Model):
    """An account at an ACME server that knows its users beforehand (external account binding)."""

    kid: Annotated[str, AfterValidator(_text(r"[A-Za-z0-9._~+/=@:-]{1,200}", "give the key's identifier as it is"))] = (
        Field(description="The identifier of the key.")
    )
    key: MacKey = Field(description="The HMAC key, a secret: from a file or the environment.")

    @property
    def told(self) -> dict[str, str]:
        """Both, for certbot on the host alone."""
        return {"kid": self.kid, "key": self.key.get_secret_value()}


class Dns(_Model):
    """A proof by the DNS, for hosts that an ACME server doesn't reach: by a plugin of certbot's that Debian has."""

    plugin: Literal[
        "cloudflare",
        "digitalocean",
        "dnsimple",
        "gandi",
        "gehirn",
        "google",
        "linode",
        "ovh",
        "rfc2136",
        "sakuracloud",
    ] = Field(description="Whose DNS it is; `rfc2136` is any server that takes updates, such as BIND or Knot.")
    credentials: AbsolutePath = Field(
        description="The file on the host with what the plugin needs; root's own, which nobody else may read."
    )
    wait_seconds: Annotated[Count, Field(ge=0, le=3600)] = Field(
        60, description="How long certbot waits until all of the domain's servers have the proof."
    )

    @property
    def authenticator(self) -> str:
        return f"dns-{self.plugin}"

    @property
    def package(self) -> str:
        return f"python3-certbot-{self.authenticator}"


class Tls(_Model):
    """How a site is reached by HTTPS (row 19)."""

    certificate: Annotated[str, AfterValidator(_certificate)] = Field(
        "self-signed",
        description="'self-signed' for trials, 'acme' for one by certbot, 'request' for one that an institute's "
        "authority signs, the path of one on the host, or 'none' for HTTP alone.",
    )
    key: AbsolutePath | None = Field(None, description="The path of the certificate's key, where that is a path.")
    email: Annotated[str, AfterValidator(_text(_EMAIL, "give an e-mail address"))] | None = Field(
        None, description="Where the ACME server writes to before a certificate ends."
    )
    acme_server: Annotated[str, AfterValidator(_directory)] = Field(
        LETS_ENCRYPT, description="The directory of the ACME server."
    )
    subject: Annotated[dict[str, str], AfterValidator(_subject)] = Field(
        {}, description="What an institute's authority wants in a request beside the names: C, ST, L, O and OU."
    )
    eab: Eab | None = Field(None, description="The account at an ACME server that wants to know its users beforehand.")
    dns: Dns | None = Field(None, description="Given, the ACME server asks the DNS for the proof, and not this host.")
    port: Annotated[Count, Field(ge=1, le=65535)] = Field(
        443, description="The port in users' browsers, where something forwards another than 443."
    )
    hsts_seconds: Annotated[Count, Field(ge=0, le=10**9)] = Field(
        63072000, description="How long browsers insist on HTTPS, in seconds; 0 sends no such header."
    )
    hsts_subdomains: bool = Field(False, description="Whether that holds for subdomains as well.")

    @model_validator(mode="after")
    def _check(self) -> Tls:
        path = self.certificate.startswith("/")
        if path and not self.key:
            raise ValueError("key: missing: give the path of the key of this certificate")
        if self.key and not path:
            raise ValueError(f"key: {self.certificate!r} brings its own key: remove this one")
        if self.subject and self.certificate != "request":
            raise ValueError("subject: it is for a request: remove it, or say 'request'")
        for name in ("eab", "dns"):
            if getattr(self, name) and self.certificate != "acme":
                raise ValueError(f"{name}: it is for certificates from an ACME server: remove it, or say 'acme'")
        if self.eab and self.acme_server == LETS_ENCRYPT:
            raise ValueError("eab: Let's Encrypt has no such accounts: name the server that has it as acme_server")
        return self


class Cors(_Model):
    """Which other sites' pages may read the answers (rows 10 and 11)."""

    origins: tuple[Origin, ...] = Field(
        description="Origins such as 'https://lab.example.org' or 'https://*.example.org'; '*' for all."
    )
    credentials: bool = Field(
        False,
        description="Whether they may send cookies and passwords along; by default only to tiles with a password.",
    )

    @model_validator(mode="after")
    def _check(self) -> Cors:
        if not self.origins:
            raise ValueError("origins: there is none: name one, or leave cors out")
        if "*" in self.origins and len(self.origins) > 1:
            raise ValueError("origins: '*' stands for all: remove it, or the others")
        if "*" in self.origins and self.credentials:
            raise ValueError("origins: browsers refuse '*' together with credentials: name the origins")
        return self


class Headers(_Model):
    """Security headers of every answer of a site."""

    content_security_policy: HeaderValue = Field(
        "frame-ancestors 'self'; object-src 'none'; base-uri 'self'",
        description="CATMAID's pages have inline scripts and eval(): a script-src that forbids these breaks them.",
    )
    referrer_policy: HeaderValue = Field(
        "strict-origin-when-cross-origin", description="What other sites learn of the address they were reached from."
    )
    frame_options: Literal["SAMEORIGIN", "DENY"] = Field(
        "SAMEORIGIN", description="Whose pages may show this site in a frame."
    )


class Maintenance(_Model):
    """What users see while the application is away or closed (row 18)."""

    text: Annotated[str, AfterValidator(_plain_text)] = Field(
        "CATMAID is being worked on. Your saved work is safe.",
        max_length=2000,
        description="The page's text while it is closed.",
    )
    end: Annotated[datetime, BeforeValidator(_moment)] | None = Field(
        None, description="The expected end, such as '2026-12-01T18:00+01:00'."
    )
    allow: tuple[Network, ...] = Field((), description="Addresses and networks that still see the application.")


class Balancer(_Model):
    """A load balancer or a proxy in front of nginx, whose word is taken for client, scheme and host name."""

    addresses: tuple[Network, ...] = Field(
        description="Its addresses or networks, as this host sees them. Of nobody else such a header counts."
    )
    https: bool = Field(True, description="Whether users come to it by HTTPS. Those who come by HTTP are sent there.")

    @model_validator(mode="after")
    def _check(self) -> Balancer:
        if not self.addresses:
            raise ValueError("addresses: there is none: name one, or leave balancer out")
        if any(ipaddress.ip_network(one, strict=False).prefixlen == 0 for one in self.addresses):
            raise ValueError("addresses: that is everybody, who could then say who he is: name the balancer's own")
        return self


class TileSet(_Model):
    """Image tiles of one data set, as files below a folder (row 13)."""

    name: Annotated[str, AfterValidator(_text(r"[a-z0-9]+(-[a-z0-9]+)*", "use lower-case letters, digits and -"))] = (
        Field(max_length=40, description="Names it in nginx's files.")
    )
    url: Prefix = Field(description="The URL below the host name, such as '/tiles/fafb'.")
    folder: AbsolutePath = Field(description="Where the tiles are on the host.")
    suffix: Literal["jpg", "jpeg", "png", "webp"] = Field("jpg", description="The tiles' suffix; no other is served.")
    tile_size: Annotated[Count, Field(ge=16, le=4096)] = Field(512, description="Pixels of a black tile's side.")
    fallback: Annotated[str, AfterValidator(_fallback)] = Field(
        "black", description="What a missing tile is answered with: 'black', 'none' for 404, or an image's path."
    )
    mount: AbsolutePath | None = Field(
        None, description="The mount point of the tiles' disk; given, a deploy goes on while it isn't mounted."
    )
    marker: AbsolutePath | None = Field(
        None, description="A file on the tiles' disk; while it is not there, tiles answer 503. Without it, the folder."
    )
    cors: Cors | None = Field(
        default_factory=lambda: Cors.model_validate({"origins": ["*"]}),
        description="Who may read tiles from elsewhere; by default all, and where they have a password the sites of "
        "this inventory.",
    )
    cache_seconds: Annotated[Count, Field(ge=0, le=10**9)] = Field(
        31536000, description="How long browsers keep a tile, in seconds."
    )
    missing_cache_seconds: Annotated[Count, Field(ge=0, le=10**9)] = Field(
        60, description="How long browsers keep the fallback, in seconds."
    )
    passwords: Passwords = Field(
        {}, description="Users and password hashes of up to 10 ms; without any, those of the site."
    )

    @model_validator(mode="after")
    def _check(self) -> TileSet:
        if not self.url:
            raise ValueError("url: '/' would take all of the site: give a path such as '/tiles/fafb'")
        if self.mount and not f"{self.folder}/".startswith(f"{self.mount}/"):
            raise ValueError(f"mount: {self.folder} doesn't lie below {self.mount}: correct one of them")
        if self.mount == self.folder and not self.marker:
            raise ValueError(
                f"marker: {self.folder} is there without its disk as well: name a file that lies on the disk"
            )
        return self

    @property
    def location(self) -> str:
        return f"{self.url}/"

    @property
    def proof(self) -> str:
        """What exists only while the tiles' disk is there."""
        return self.marker or self.folder

    @property
    def flag(self) -> str:
        """What is there while the tiles' disk gives no answer."""
        return f"{DISKS}/tiles-{self.name}"

    @property
    def paths(self) -> list[str]:
        """Where its files lie, which may be on several disks."""
        images = [self.fallback] if self.fallback.startswith("/") else []
        return list(dict.fromkeys([self.folder, self.proof, *images]))

    @property
    def fallback_file(self) -> str | None:
        """The image that a missing tile is answered with."""
        if self.fallback == "black":
            # No host name begins like this, and so no folder of a site.
            return f"/etc/catmaid/web/_black-{self.tile_size}.{self.suffix}"
        return None if self.fallback == "none" else self.fallback


class Releases(_Model):
    """Code that the deploy puts in place: a folder for each release, of which old programs may go on with theirs."""

    repository: Annotated[str, AfterValidator(_repository)] = Field(
        description="The git repository, as the host reaches it: an address, or a path on the host."
    )
    revision: Annotated[str, AfterValidator(_text(_REVISION, "give a tag or a commit, such as '2021.12.21'"))] = Field(
        description="The release: a tag or a commit. Not a branch, whose meaning changes."
    )
    folder: AbsolutePath = Field(
        "/home/catmaid/releases", description="Where releases lie, and 'shared' with what all of them have."
    )
    owner: UserName = Field("catmaid", description="Who owns the code.")
    shared: tuple[Annotated[str, AfterValidator(_inside)], ...] = Field(
        ("django/projects/mysite/settings.py", "django/projects/mysite/django.wsgi"),
        description="Files that are no part of the repository: each release has links to those in FOLDER/shared.",
    )
    keep: Annotated[Count, Field(ge=2, le=1000)] = Field(5, description="How many releases stay on the host.")

    @model_validator(mode="after")
    def _check(self) -> Releases:
        if self.revision in ("shared", "repository.git", "current"):
            raise ValueError(f"revision: {self.revision!r} is the deploy's own folder: give a tag or a commit")
        if self.owner == "root":
            raise ValueError("owner: root runs nothing of a repository: give another user, such as catmaid")
        return self

    def lasting(self, path: str) -> str:
        """Where a file of this release lies also while the release isn't there: its link's target, if it is one."""
        inside = path.removeprefix(f"{self.path}/")
        return f"{self.folder}/shared/{inside}" if inside in self.shared else path

    @property
    def path(self) -> str:
        """Where this release lies."""
        return f"{self.folder}/{self.revision}"

    @property
    def proof(self) -> str:
        """What is there once a release is complete."""
        return f"{self.path}/.catmaid-deploy"


class Instance(_Model):
    """One CATMAID: a prefix, a checkout, a virtualenv and the four programs that serve it."""

    name: Annotated[
        str,
        AfterValidator(_instance_name),
    ] = Field("catmaid", max_length=40, description="Names the folders, the Supervisor group and the nginx upstreams.")
    prefix: Prefix = Field("/catmaid", description="The URL below the host name; '/' for the root (row 4).")
    checkout: AbsolutePath = Field("/home/catmaid/catmaid-server", description="Where CATMAID's code is on the host.")
    releases: Releases | None = Field(
        None, description="Given, the deploy puts the code in place itself, and checkout is the release's folder."
    )
    virtualenv: AbsolutePath = Field("", description="Its Python environment; without it CHECKOUT/django/env.")
    wsgi_file: Annotated[str, AfterValidator(_wsgi_file)] = Field(
        "", description="What uWSGI loads; without it CHECKOUT/django/projects/mysite/django.wsgi."
    )
    static_folder: AbsolutePath = Field("", description="Django's STATIC_ROOT; without it CHECKOUT/django/static.")
    files_folder: AbsolutePath = Field("", description="Django's MEDIA_ROOT; without it CHECKOUT/django/files.")
    extensions_folder: AbsolutePath = Field(
        "", description="CATMAID's STATIC_EXTENSION_ROOT; without it CHECKOUT/django/staticext."
    )
    user: PlainUserName = Field(SERVICE_USER, description="The service user of all four programs (row 7).")
    runtime_group: PlainUserName = Field(
        SOCKET_GROUP, description="The group of the socket folder, by which nginx opens the sockets (row 6)."
    )
    runtime_mode: Annotated[str, AfterValidator(_text(r"[0-7]{3,4}", "write it as '0755' or '2750'"))] = Field(
        "", description="Mode of the socket folder; without it 0755, or 2750 for another user than www-data (row 7)."
    )
    workers: Annotated[Count, Field(ge=1, le=512)] = Field(8, description="uWSGI worker processes (rows 3 and 24).")
    threads: Annotated[Count, Field(ge=1, le=512)] = Field(2, description="Threads in each worker.")
    body_limit: Annotated[str, AfterValidator(_text(_SIZE, "write it as '20m' (k, m, g or bytes)"))] = Field(
        "20m", description="The largest request body; more gets 413 (row 22)."
    )
    post_buffering: Annotated[Count, Field(ge=0, le=2**30)] = Field(
        8192, description="Bytes of a body that uWSGI keeps in memory before it uses a file (row 24)."
    )
    read_timeout: Annotated[Count, Field(ge=1, le=10**9)] = Field(
        600, description="Seconds that nginx waits for the application's answer."
    )
    # nginx counts up to 65,535 WebSockets.
    requests_per_address: Annotated[Count, Field(ge=8, le=16000)] = Field(
        72,
        description="How many requests of one address (of IPv6, one /64) may wait for the application; more get 429. "
        "One session may have three eighths, all without a session seven eighths; WebSockets four times as many.",
    )
    wsgi_server: Literal["uwsgi", "gunicorn", "gevent"] = Field(
        "uwsgi", description="What runs the application: uWSGI, Gunicorn with threads, or with gevent (row 29)."
    )
    gunicorn_version: Annotated[str, AfterValidator(_gunicorn_version)] = Field(
        "27.0.1", description="The Gunicorn that the virtualenv gets, where that is the server; it needs Python 3.10."
    )
    gevent_version: Annotated[str, AfterValidator(_version)] = Field(
        "26.9.0", description="The gevent that it gets, where that is the server."
    )
    uwsgi_version: Annotated[str, AfterValidator(_uwsgi_version)] = Field(
        "2.0.31", description="The uWSGI that the virtualenv gets (row 2)."
    )
    environment: Annotated[dict[str, str], AfterValidator(_environment)] = Field(
        {}, description="Environment variables of the four programs. Not for secrets."
    )
    cors: Cors | None = Field(None, description="Who may use its API from elsewhere (row 11); nobody by default.")
    passwords: Passwords = Field(
        {}, description="Users and password hashes of up to 10 ms (row 12); without any, those of the site."
    )
    database: Address | None = Field(
        None, description="PostgreSQL's address; given, a deploy warns when nothing answers there."
    )
    broker: Address | None = Field(None, description="The broker's address; given, the same check.")
    update: Literal["hand over", "chain", "restart"] = Field(
        "hand over",
        description="How another release comes into use (row 27): 'hand over' starts it beside the one before, "
        "'chain' replaces one process after the other, 'restart' shows the maintenance page meanwhile.",
    )
    migrate: Literal["refuse", "before", "closed"] = Field(
        "refuse",
        description="What a release does whose migrations the database lacks: it is refused; they run 'before' users "
        "see it, where the release of before can live with them; or 'closed', behind the maintenance page.",
    )
    start_seconds: Annotated[Count, Field(ge=5, le=3600)] = Field(
        120, description="How long its programs may take until they serve; a release that takes longer is refused."
    )
    ready_page: Annotated[str, AfterValidator(_text(r"/[A-Za-z0-9._~/?=&-]*", "write it as '/' or '/projects/'"))] = (
        Field(
            "/", description="A page below the prefix that a new release must answer before it serves users (row 26)."
        )
    )
    ready_status: Annotated[int, Field(ge=200, le=599)] | None = Field(
        None,
        description="The status that `ready_page` answers with by design; without one it is any below 400. Each of the "
        "site's names has to be answered so.",
    )
    celery: Celery = Field(
        default_factory=lambda: Celery.model_validate({}), description="Options of the Celery worker and beat."
    )

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: Any) -> Any:
        """Fill what follows from other values; a wrong type is left for the field's own message."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        checkout = data.get("checkout", cls.model_fields["checkout"].default)
        releases = data.get("releases")
        if isinstance(releases, dict) and "checkout" not in data:
            folder = releases.get("folder", Releases.model_fields["folder"].default)
            data["checkout"] = "/invalid"
            if (
                isinstance(folder, str)
                and _PATH.fullmatch(folder)
                and re.fullmatch(_REVISION, str(releases.get("revision")))
            ):
                folder = folder.rstrip("/")
                checkout = data["checkout"] = f"{folder}/{releases['revision']}"
                data.setdefault("virtualenv", f"{folder}/shared/env")
                data.setdefault("files_folder", f"{folder}/shared/files")
                data.setdefault("extensions_folder", f"{folder}/shared/staticext")
        if not isinstance(checkout, str) or not _PATH.fullmatch(checkout):
            checkout = "/invalid"  # one line for a wrong checkout, none for what follows from it
        django = checkout.rstrip("/") + "/django"
        data.setdefault("virtualenv", f"{django}/env")
        data.setdefault("wsgi_file", f"{django}/projects/mysite/django.wsgi")
        data.setdefault("static_folder", f"{django}/static")
        data.setdefault("files_folder", f"{django}/files")
        data.setdefault("extensions_folder", f"{django}/staticext")
        same_user = data.get("user", SERVICE_USER) == SERVICE_USER
        data.setdefault("runtime_mode", "0755" if same_user else "2750")
        return data

    @model_validator(mode="after")
    def _check(self) -> Instance:
        if self.releases and self.checkout != self.releases.path:
            raise ValueError("checkout: releases have their own folder: remove this one")
        if self.releases and self.static_folder != f"{self.checkout}/django/static":
            raise ValueError("static_folder: each release has its own, django/static: remove this one")
        if self.update == "chain" and self.wsgi_server != "uwsgi":
            raise ValueError("update: only uWSGI replaces its processes one by one: use 'hand over' or 'restart'")
        # nginx opens the sockets through the folder's group, and so the folder hands its group on (row 7).
        mode = int(self.runtime_mode, 8)
        if mode & 0o700 != 0o700:
            raise ValueError(f"runtime_mode: {self.runtime_mode} keeps {self.user} out of its own folder: add 0700")
        if self.user != SERVICE_USER and self.runtime_group == SOCKET_GROUP and not mode & 0o2000:
            raise ValueError(
                f"runtime_mode: {self.runtime_mode} has no setgid bit, and nginx could not open the sockets of "
                f"{self.user}: use 2750"
            )
        return self

    def requests_of(self, whose: Literal["address", "session", "anonymous", "channels"]) -> int:
        """How many requests may wait for the application, or be open to its channels, at once.

        Others wait behind them: each as long as this many requests take workers x threads at a time. With 72 that is
        a second for requests of a fifth of a second; sixty users have room for one each.
        """
        eighths = {"address": 8, "session": 3, "anonymous": 7, "channels": 32}
        return self.requests_per_address * eighths[whose] // 8

    # What follows from the name.
    @property
    def runtime_dir(self) -> str:
        return f"/run/{self.name}"

    @property
    def log_dir(self) -> str:
        return f"/var/log/{self.name}"

    @property
    def state_dir(self) -> str:
        """What has to outlive a reboot: beat's schedule."""
        return f"/var/lib/{self.name}"

    @property
    def config_dir(self) -> str:
        return f"/etc/catmaid/{self.name}"

    @property
    def uwsgi_socket(self) -> str:
        return f"{self.runtime_dir}/uwsgi.socket"

    @property
    def daphne_socket(self) -> str:
        return f"{self.runtime_dir}/daphne.sock"

    @property
    def links(self) -> dict[str, str]:
        """Names that stay while slots change, each with where it leads: by the slot in use to what that has open."""
        ends = {
            self.uwsgi_socket: "wsgi/run/socket",
            f"{self.runtime_dir}/uwsgi.pid": "wsgi/run/pid",
            f"{self.runtime_dir}/uwsgi-stats.socket": "wsgi/run/private/stats.socket",
            f"{self.runtime_dir}/catmaid.ready": "wsgi/run/ready",
            self.daphne_socket: "daphne/run/socket",
        }
        return {path: f"{self.config_dir}/{end}" for path, end in ends.items()}

    @property
    def release_link(self) -> str:
        """Leads, by the slot in use, to the code that serves: one step moves the programs and what belongs to them."""
        return f"{self.config_dir}/wsgi/release"

    @property
    def flag(self) -> str:
        """What is there while the disk of its files gives no answer."""
        return f"{DISKS}/files-{self.name}"

    @property
    def static_alias(self) -> str:
        """Where nginx finds static files (row 9): those of the release that serves."""
        return f"{self.release_link}/django/static" if self.releases else self.static_folder

    # What follows from the prefix (rows 4, 8, 20, 21).
    @property
    def location(self) -> str:
        """The prefix with its trailing slash, as nginx and Django's CATMAID_URL write it."""
        return f"{self.prefix}/"

    @property
    def mount(self) -> str:
        """The prefix as uWSGI's mount option wants it: no trailing slash, '/' for the root."""
        return self.prefix or "/"

    @property
    def projects_dir(self) -> str:
        return f"{self.checkout}/django/projects"

    @property
    def settings_file(self) -> str:
        return f"{self.projects_dir}/mysite/settings.py"


class Site(_Model):
    """What one nginx serves under one host name."""

    server_name: ServerName = Field(description="The host name in users' browsers.")
    aliases: tuple[HostName, ...] = Field((), description="Other host names of the same site.")
    tls: Tls = Field(default_factory=lambda: Tls.model_validate({}), description="HTTPS; self-signed by default.")
    balancer: Balancer | None = Field(None, description="What stands in front of nginx, if something does.")
    headers: Headers = Field(
        default_factory=lambda: Headers.model_validate({}), description="Security headers of every answer."
    )
    passwords: Passwords = Field(
        {}, description="Users and password hashes for all of the site, each of up to 10 ms for a try (row 12)."
    )
    maintenance: Maintenance = Field(
        default_factory=lambda: Maintenance.model_validate({}), description="The maintenance page (row 18)."
    )
    instances: tuple[Instance, ...] = Field((), description="The CATMAIDs behind it.")
    tiles: tuple[TileSet, ...] = Field((), description="The tile sets that it serves (row 13).")

    @model_validator(mode="after")
    def _check(self) -> Site:
        if not self.instances and not self.tiles:
            raise ValueError("instances: there is none: describe at least one, or a tile set")
        for name in self.names:
            if self.names.count(name) > 1:
                raise ValueError(f"aliases: the name {name!r} stands twice: remove one")
        if self.tls.certificate == "acme" and self.has_address:
            raise ValueError("tls: ACME's certificates are for names: leave out addresses, or use another certificate")
        owners: dict[str, str] = {"/.well-known/acme-challenge/": "certbot", "/_catmaid/": "the maintenance page"}
        for instance in self.instances:
            if instance.location in (i.location for i in self.instances if i is not instance):
                raise ValueError(f"instances: two have the prefix {instance.location!r}: give each its own")
            owners |= {f"{instance.location}{f}/": instance.name for f in (*FILES, "channels")}
        places: list[tuple[Instance | TileSet, str, str]] = [(i, "instances", "prefix") for i in self.instances]
        places += [(t, "tiles", "url") for t in self.tiles]
        for one, field, key in places:
            for folder, owner in owners.items():
                if one.location.startswith(folder):
                    raise ValueError(
                        f"{field}: the {key} {one.location[:-1]!r} lies in {folder}, which belongs to {owner}: "
                        f"give {one.name} another {key}"
                    )
        taken = {i.location: i.name for i in self.instances}
        for tiles in self.tiles:
            if tiles.location in taken:
                raise ValueError(
                    f"tiles: the url {tiles.url!r} belongs to {taken[tiles.location]}: give {tiles.name} another url"
                )
            taken[tiles.location] = tiles.name
        return self

    @property
    def names(self) -> list[str]:
        return [self.server_name, *self.aliases]

    @property
    def has_address(self) -> bool:
        """Whether one of its names is an address, which browsers don't name in the TLS handshake."""
        return any(is_address(name) for name in self.names)

    @property
    def certificate(self) -> str | None:
        """The path of the certificate in nginx's files; None for HTTP alone."""
        kind = self.tls.certificate
        return None if kind == "none" else f"{self.tls_dir}/fullchain.pem" if self.tls_dir else kind

    @property
    def certificate_key(self) -> str | None:
        return f"{self.tls_dir}/privkey.pem" if self.tls_dir else self.tls.key

    @property
    def self_signed_dir(self) -> str:
        return f"/etc/catmaid/tls/self-signed/{self.server_name}"

    @property
    def requested_dir(self) -> str:
        """Where the key and the request lie that the host makes, and where the signed certificate is put."""
        return f"/etc/catmaid/tls/requested/{self.server_name}"

    @property
    def tls_dir(self) -> str | None:
        """Where a certificate lies that the deploy gets; a link, first to the self-signed one, if it comes later."""
        if self.tls.certificate in ("acme", "request"):
            return f"/etc/catmaid/tls/{self.server_name}"
        return self.self_signed_dir if self.tls.certificate == "self-signed" else None

    @property
    def secure(self) -> bool:
        """Whether users come to it by HTTPS, which nginx or a balancer ends."""
        return self.certificate is not None or bool(self.balancer and self.balancer.https)

    @property
    def address(self) -> str:
        """The site's address without a path."""
        if not self.secure:
            return f"http://{self.server_name}"
        return f"https://{self.server_name}{self.port_suffix}"

    @property
    def origins(self) -> list[str]:
        """What browsers call the site, by each of its names."""
        return [self.address.replace(self.server_name, name, 1) for name in self.names]

    @property
    def port_suffix(self) -> str:
        return "" if self.tls.port == 443 else f":{self.tls.port}"

    @property
    def hsts(self) -> str:
        """How long browsers insist on HTTPS, as its header says it."""
        return f"max-age={self.tls.hsts_seconds}" + ("; includeSubDomains" if self.tls.hsts_subdomains else "")

    @property
    def urls(self) -> list[str]:
        return [f"{self.address}{one.location}" for one in self.places]

    @property
    def places(self) -> list[Instance | TileSet]:
        return [*self.instances, *self.tiles]

    @property
    def file_locations(self) -> list[str]:
        """Where nginx answers with files alone; one that lies in another, and may have a password, before that."""
        of_instances = [f"{one.location}{kind}/" for one in self.instances for kind in FILES]
        return sorted([*(tiles.location for tiles in self.tiles), *of_instances], key=len, reverse=True)


class Deployment(_Model):
    """All that one host serves."""

    sites: tuple[Site, ...] = Field(description="The sites, each with host names of its own.")
    proxy: ProxyAddress | None = Field(
        None, description="The HTTP proxy by which the deploy and certbot fetch; beside `site` or `sites`."
    )
    no_proxy: tuple[DirectName, ...] = Field(
        (), description="Host names, or domains with a dot before them, that are reached without it."
    )

    @model_validator(mode="after")
    def _check(self) -> Deployment:
        if not self.sites:
            raise ValueError("sites: the list is empty: describe at least one")
        if self.no_proxy and not self.proxy:
            raise ValueError("no_proxy: there is no proxy: name it as proxy, or remove this")
        for key, values in (
            ("server_name", [name for site in self.sites for name in site.names]),
            ("instances", [instance.name for instance in self.instances]),
            ("tiles", [tiles.name for tiles in self.tiles]),
            ("releases.folder", [one.releases.folder for one in self.instances if one.releases]),
        ):
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f"{key}: two have the name {value!r}: give each its own")
        return self

    @property
    def fetching(self) -> dict[str, str]:
        """The environment of what fetches something: the proxy in it may have a password."""
        if not self.proxy:
            return {}
        address = self.proxy.get_secret_value()
        direct = ",".join(("localhost", "127.0.0.1", "::1", *self.no_proxy))
        return {"http_proxy": address, "https_proxy": address, "no_proxy": direct}

    @property
    def instances(self) -> tuple[Instance, ...]:
        return tuple(instance for site in self.sites for instance in site.instances)

    @property
    def tiles(self) -> tuple[TileSet, ...]:
        return tuple(tiles for site in self.sites for tiles in site.tiles)

    @property
    def places(self) -> list[Instance | TileSet]:
        return [*self.instances, *self.tiles]

    @property
    def urls(self) -> list[str]:
        return [url for site in self.sites for url in site.urls]

    @property
    def ports(self) -> list[int]:
        """Where nginx listens for all of them."""
        return [80, *([443] if any(site.certificate for site in self.sites) else [])]

    @property
    def requested_sites(self) -> list[Site]:
        return [site for site in self.sites if site.tls.certificate == "request"]

    @property
    def acme_sites(self) -> list[Site]:
        return [site for site in self.sites if site.tls.certificate == "acme"]


def _place(location: Iterable[str | int]) -> str:
    text = ""
    for part in location:
        # A key may have a line break in it, and a line is to stay one.
        text += f"[{part}]" if isinstance(part, int) else f".{part if part.isprintable() else repr(part)}"
    return text.removeprefix(".")


_MODELS: dict[str | int, type[BaseModel]] = {
    "sites": Site,
    "site": Site,
    "instances": Instance,
    "tiles": TileSet,
    "celery": Celery,
    "releases": Releases,
    "database": Address,
    "broker": Address,
    "tls": Tls,
    "eab": Eab,
    "dns": Dns,
    "cors": Cors,
    "headers": Headers,
    "maintenance": Maintenance,
}


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys allowed where an unknown one was found."""
    names = [part for part in location if part in _MODELS]
    return list(_MODELS[names[-1]].model_fields) if names else []


# Keys of a host that stand beside its site.
BESIDE = (("proxy",), ("no_proxy",))
_PLAIN = {
    "string_type": "text is needed",
    "int_type": "a whole number is needed",
    "dict_type": "a dictionary is needed",
    "model_type": "a dictionary is needed",
    "tuple_type": "a list is needed",
}


def _explain(error: ErrorDetails, single: bool) -> Finding:
    location, kind = error["loc"], error["type"]
    if single and location[:1] not in BESIDE:
        location = ("site", *location[2:])
    location = location or ("sites",)
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else "known are: " + ", ".join(known)
        return fault(_place(location), f"unknown key; {hint}")
    if kind == "missing":
        return fault(_place(location), "missing", "add it")
    if kind in _PLAIN:
        # What is in a list or dictionary may be secret, and so may the value of a variable.
        value = error["input"]
        if isinstance(value, dict | list | tuple):
            given = "a dictionary" if isinstance(value, dict) else "a list"
        else:
            given = "what is there" if {"environment", "proxy", "eab"} & set(location) else repr(value)
        return fault(_place(location), f"{_PLAIN[kind]}, not {given}")
    message = error["msg"].removeprefix("Value error, ")
    if kind.startswith(("greater_than", "less_than", "literal", "too_", "string_too")):
        message = f"{error['input']!r} is not allowed: {message[0].lower()}{message[1:]}"
    # A rule over several keys of one model names its key first.
    named = re.match(r"([a-z_]+): ", message) if kind == "value_error" else None
    if named:
        message = message.removeprefix(named.group())
        location = () if (named.group(1),) in BESIDE else location
        if location[-1:] != (named.group(1),):
            location = (*location, named.group(1))
    return fault(_place(location), message)


def load(site: object = None, sites: object = None, **more: object) -> Deployment:
    """Validate what an inventory says under ``site``, or under ``sites`` for several; ``more`` are keys beside them.

    Raises InvalidSite with a finding for each fault.
    """
    if site is None and sites is None:
        raise InvalidSite(fault("site", "missing", "describe the site in the inventory, as inventories/prod.py does"))
    if site is not None and sites is not None:
        raise InvalidSite(fault("sites", "stands beside 'site'", "keep one of them"))
    try:
        return Deployment.model_validate({"sites": [site] if sites is None else sites} | more)
    except ValidationError as error:
        raise InvalidSite(*(_explain(e, sites is None) for e in error.errors())) from None
