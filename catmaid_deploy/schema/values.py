"""Values of an inventory: which texts and numbers are valid, and what is said of one that isn't."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

# Who runs the programs, unless the inventory says otherwise, and the group by which nginx opens their sockets.
SERVICE_USER = "www-data"
SOCKET_GROUP = "www-data"
# nginx's workers have a user of their own: whoever shares it reads the TLS keys in their memory.
NGINX_USER = "catmaid-nginx"
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
SECRET_NAME = re.compile(r"PASS(WORD|WD)?(_|$)|SECRET|TOKEN|CREDENTIAL|PRIVATE_KEY|API_KEY", re.IGNORECASE)
# Not more digits than nginx can count.
SIZE = r"[1-9][0-9]{0,17}|[1-9][0-9]{0,8}[kmg]"
REVISION = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
PATH = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._+@~-]+)+/?")
# /run and /var/lib have folders of these names, which are the deploy's and nginx's.
RESERVED_INSTANCES = {"catmaid-deploy", "catmaid-nginx"}
# What every managed program needs for itself; the last four are the shell's own, and dash dies of a text in OPTIND.
RESERVED_ENVIRONMENT = {
    *("PATH", "HOME", "VIRTUAL_ENV", "IFS", "ENV", "LD_PRELOAD", "LD_LIBRARY_PATH"),
    *("CATMAID_RUN", "CATMAID_FILES", "CATMAID_GROUP_DIGEST", "CATMAID_DO", "SCRIPT_NAME"),
    *("OPTIND", "PPID", "LINENO", "_"),
}


def like(pattern: str, rule: str) -> Callable[[str], str]:
    """A validator for text that has to match as a whole; ``rule`` says what is allowed."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"{value!r} is not allowed: {rule}")
        return value

    return check


def valid_prefix(value: object) -> object:
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


def valid_path(value: str) -> str:
    if not PATH.fullmatch(value):
        raise ValueError(
            f"{value!r} is not allowed: give an absolute path of letters, digits and . _ + @ ~ - between slashes"
        )
    return value.rstrip("/")


LocalPath = Annotated[
    str, AfterValidator(like(r"[A-Za-z0-9._+@~/-]{1,1000}", "write it as 'bundles/catmaid-bookworm.tar'"))
]


def valid_repository(value: str) -> str:
    if re.fullmatch(r"[a-z+]+://[^/@]*:[^/@]*@.*", value):
        raise ValueError("it has a password in it, which would show in a process list: let git on the host have it")
    if not re.fullmatch(r"(/|(https|http|ssh|git|file)://|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:)[A-Za-z0-9@:/._~+-]+", value):
        raise ValueError(f"{value!r} is not a repository: write it as 'https://github.com/catmaid/CATMAID.git'")
    return value


def valid_user(value: str) -> str:
    like(r"[a-z_][a-z0-9_-]{0,31}", "give the name of a user of the host")(value)
    if value == NGINX_USER:
        raise ValueError(f"{value!r} is nginx's own, which reads the TLS keys: give another one")
    return value


def valid_plain_user(value: str) -> str:
    if valid_user(value) in PRIVILEGED:
        raise ValueError(f"{value!r} may do what is root's alone, and web pages must not: give another one")
    return value


def valid_inside(value: str) -> str:
    if not PATH.fullmatch(f"/{value}") or value.endswith("/"):
        raise ValueError(f"{value!r} is not a path inside a release: write it as 'django/projects/mysite/settings.py'")
    return value


def valid_wsgi_file(value: str) -> str:
    path = valid_path(value)
    # uWSGI's mount takes anything else for the name of a module.
    if not path.endswith((".py", ".wsgi")):
        raise ValueError(f"{value!r} can't be loaded by uWSGI: give a file that ends in .py or .wsgi")
    return path


def valid_host_name(value: str) -> str:
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


def valid_server_name(value: str) -> str:
    # Twice as long in the name of a password file, where each hyphen may take two places.
    if len(valid_host_name(value)) > 120:
        raise ValueError(f"{value!r} is too long: it names files on the host, give one of up to 120 characters")
    return value


def valid_version(value: str) -> str:
    # As pip spells it afterwards: any other spelling would be installed anew in each run.
    if not re.fullmatch(r"(0|[1-9][0-9]{0,3})(\.(0|[1-9][0-9]{0,3})){2}", value):
        raise ValueError(f"{value!r} is not a version: write it as '2.0.31', three numbers without leading zeros")
    return value


def valid_gunicorn_version(value: str) -> str:
    if tuple(int(n) for n in valid_version(value).split(".")) < GUNICORN_OLDEST:
        raise ValueError(f"{value!r} doesn't speak nginx's uwsgi protocol well: give 27.0.0 or later")
    return value


def valid_uwsgi_version(value: str) -> str:
    valid_version(value)
    if tuple(int(n) for n in value.split(".")) < UWSGI_OLDEST:
        raise ValueError(f"{value!r} has a reload defect: give 2.0.31 or later")
    return value


def valid_instance_name(value: str) -> str:
    like(r"catmaid(-[a-z0-9]+)*", "call it 'catmaid' or 'catmaid-' and a lower-case word")(value)
    if value in RESERVED_INSTANCES:
        raise ValueError(f"{value!r} would give the deploy's own folders to its service user: give another name")
    return value


def valid_environment(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{name!r} is not a variable's name: use letters, digits and _")
        if name in RESERVED_ENVIRONMENT:
            raise ValueError(f"{name} is for the deploy and its shell alone: remove it")
        if SECRET_NAME.search(name):
            raise ValueError(
                f"{name} looks like a secret, which would show in diffs: put it into settings.py on the host"
            )
        if any(ord(c) < 32 or ord(c) == 127 for c in text):
            raise ValueError(f"the value of {name} has a control character, such as a line break: remove it")
        # Python has these for bytes that it couldn't read, in os.environ for example; no file can have them.
        if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
            raise ValueError(f"the value of {name} isn't Unicode text: write it anew")
    return value


HOST_PART = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"


def valid_origin(value: str) -> str:
    if re.fullmatch(r"https://.*:443|http://.*:80", value):
        bare = value.rpartition(":")[0]
        raise ValueError(f"{value!r} is never an origin, browsers leave that port out: write {bare!r}")
    if value == "*" or re.fullmatch(rf"https?://(\*\.)?{HOST_PART}(:[1-9][0-9]{{0,4}})?", value):
        return value
    start = re.match(rf"https?://(\*\.)?{HOST_PART}(:[0-9]+)?", value.lower())
    fix = repr(start.group()) if start else "'https://lab.example.org' or 'https://*.example.org'"
    raise ValueError(f"{value!r} is not an origin, which has a scheme and a host name, and nothing after: write {fix}")


def valid_header(value: str) -> str:
    """A header's value that can stand between double quotes in nginx's file."""
    if not value or re.search(r'[^ -~]|["$\\]', value):
        raise ValueError(f"{value!r} can't be a header's value: use printable ASCII without \" $ and \\")
    # nginx reads its files in pieces of 4,096 bytes, and a value has to fit into one.
    if len(value) > 4000:
        raise ValueError(f"{value[:40]!r}... has {len(value)} characters, and nginx takes 4,000 at most: shorten it")
    return value


def valid_network(value: str) -> str:
    try:
        # A zone, 'fe80::1%eth0', may be any text at all.
        network = str(ipaddress.ip_network("" if "%" in value else value))
    except ValueError:
        raise ValueError(f"{value!r} is not an address or network: write it as '192.0.2.7' or '192.0.2.0/24'") from None
    if network == "255.255.255.255/32":
        raise ValueError(f"{value!r} is nobody's address, and nginx doesn't take it: remove it")
    return network


def valid_moment(value: object) -> object:
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


def valid_plain_text(value: str) -> str:
    if any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("it has a control character: remove it")
    return value


def valid_line(value: str) -> str:
    if "\n" in valid_plain_text(value):
        raise ValueError("it has a line break: write it in one line")
    return value


def valid_certificate(value: str) -> str:
    if value in ("self-signed", "acme", "request", "none"):
        return value
    if not value.startswith("/"):
        raise ValueError(
            f"{value!r} is not allowed: give 'self-signed', 'acme', 'request', 'none', or the path of a certificate"
        )
    return valid_path(value)


def valid_subject(value: dict[str, str]) -> dict[str, str]:
    for key, text in value.items():
        if key not in ("C", "ST", "L", "O", "OU"):
            raise ValueError(f"{key!r} isn't a part of a subject: use C, ST, L, O and OU")
        if not re.fullmatch(r"[A-Z]{2}" if key == "C" else r"[^\x00-\x1f\x7f/+=\\]{1,64}", text):
            raise ValueError(f"{text!r} can't stand in a subject: give two letters as C, else text without / + =")
    return value


def valid_directory(value: str) -> str:
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(:[0-9]+)?/[A-Za-z0-9._/-]*", value):
        raise ValueError(f"{value!r} is not the address of an ACME server: write it as {LETS_ENCRYPT!r}")
    return value


def valid_direct(value: str) -> str:
    if value == "*" or not re.fullmatch(rf"\.?{HOST_PART}(:[0-9]+)?", value):
        raise ValueError(f"{value!r} is not a host name or a domain: write it as 'git.example.org' or '.example.org'")
    return value


def valid_fallback(value: str) -> str:
    return value if value in ("black", "none") else valid_path(value)


def no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a whole number is needed, not True or False")
    return value


EMAIL = rf"[A-Za-z0-9_][A-Za-z0-9._+-]*@{HOST_PART}"
HostName = Annotated[str, AfterValidator(valid_host_name)]
ServerName = Annotated[str, AfterValidator(valid_server_name)]
AbsolutePath = Annotated[str, AfterValidator(valid_path)]
Prefix = Annotated[str, BeforeValidator(valid_prefix)]
UserName = Annotated[str, AfterValidator(valid_user)]
PlainUserName = Annotated[str, AfterValidator(valid_plain_user)]
QueueName = Annotated[str, AfterValidator(like(r"[A-Za-z0-9._-]+", "use letters, digits and . _ -"))]
Count = Annotated[int, BeforeValidator(no_bool), Field(strict=True)]
Size = Annotated[str, AfterValidator(like(SIZE, "write it as '20m' (k, m, g or bytes)"))]
# Numbers that count nothing.
Port = Annotated[Count, Field(ge=1, le=65535)]
Status = Annotated[int, Field(ge=200, le=599)]
Origin = Annotated[str, AfterValidator(valid_origin)]
HeaderValue = Annotated[str, AfterValidator(valid_header)]
Network = Annotated[str, AfterValidator(valid_network)]
DirectName = Annotated[str, AfterValidator(valid_direct)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
