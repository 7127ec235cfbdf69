"""Whatever valid site is made up, its files parse and its values come back from the parsers as they went in."""

from __future__ import annotations

import configparser
import inspect
import re
import string
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import crossplane
import pytest
from hypothesis import Phase, given, reject, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

import schema
from configuration import File, Item, Link
from tasks import nginx, supervisor, system, uwsgi

UWSGI = Path(sys.executable).with_name("uwsgi")
Place = tuple[str | int, ...]


def examples(number: int) -> settings:
    """The same examples in every run. One that fails isn't made smaller, which takes minutes with a site."""
    return settings(max_examples=number, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])


# ---- Sites, made from the schema's own rules ----

LETTERS = string.ascii_letters + string.digits
NAMES = st.from_regex(r"[A-Za-z_]\w{0,15}", fullmatch=True, alphabet=LETTERS + "_").filter(
    lambda name: name not in schema._RESERVED_ENVIRONMENT and not schema._SECRET_NAME.search(name)
)
TEXTS = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]))


def parts(alphabet: str, least: int, most: int) -> st.SearchStrategy[list[str]]:
    """Parts between slashes; text of an alphabet is made far quicker than text of a pattern."""
    part = st.text(alphabet, min_size=1, max_size=12).filter(lambda text: text not in (".", ".."))
    return st.lists(part, min_size=least, max_size=most)


SLASH = st.sampled_from(["", "/"])
LABELS = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=12).filter(
    lambda text: text.strip("-") == text
)
# Rules that the schema writes as functions; its patterns are used as they are.
SPELLED: dict[Any, st.SearchStrategy[Any]] = {
    schema._path: st.builds(lambda some, last: "/" + "/".join(some) + last, parts(LETTERS + "._+@~-", 1, 4), SLASH),
    schema._prefix: st.builds(
        lambda first, some, last: first + "/".join(some) + last * bool(some),
        SLASH,
        parts(LETTERS + "._~-", 0, 3),
        SLASH,
    ),
    schema._host_name: st.lists(LABELS, min_size=1, max_size=5).map(".".join),
    schema._uwsgi_version: st.from_regex(r"2\.0\.(3[1-9]|[4-9][0-9])|[3-9](\.[0-9]{1,3}){1,3}", fullmatch=True),
    schema._environment: st.dictionaries(NAMES, TEXTS, max_size=4),
}
# A rule over several keys: the folder's owner may use it, and it hands its group on.
MODES = st.from_regex(r"[2367]7[0-7]{2}", fullmatch=True)


def rules_in(metadata: Sequence[Any]) -> list[Any]:
    """What pydantic keeps for a field or within Annotated, as one flat list."""
    return [rule for one in metadata for rule in (one.metadata if isinstance(one, FieldInfo) else [one])]


def values_of(kind: Any, metadata: Sequence[Any] = ()) -> st.SearchStrategy[Any]:
    """Valid values for a type of the schema. A rule that this can't follow fails, so that none is forgotten."""
    arguments = get_args(kind)
    if get_origin(kind) is Annotated:
        return values_of(arguments[0], (*metadata, *arguments[1:]))
    if get_origin(kind) in (Union, types.UnionType):
        return st.one_of([values_of(one) for one in arguments])
    if get_origin(kind) is Literal:
        return st.sampled_from(arguments)
    if get_origin(kind) is tuple:
        return st.lists(values_of(arguments[0]), max_size=3)
    if kind is type(None):
        return st.none()
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return dictionaries_of(kind)
    rules = rules_in(metadata)

    def limit(name: str) -> Any:
        return next((getattr(rule, name) for rule in rules if hasattr(rule, name)), None)

    if kind is int:
        return st.integers(limit("ge"), limit("le"))
    (check,) = (rule.func for rule in rules if isinstance(rule, AfterValidator | BeforeValidator))
    if check in SPELLED:
        return SPELLED[check]
    pattern = inspect.getclosurevars(check).nonlocals["compiled"]
    longest = limit("max_length") or 1000
    return st.from_regex(pattern, fullmatch=True).filter(lambda text: len(text) <= longest)


def dictionaries_of(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """What an inventory may say for a model; keys with a default are there or not."""
    keys: dict[bool, dict[str, st.SearchStrategy[Any]]] = {True: {}, False: {}}
    for name, field in model.model_fields.items():
        if name == "instances":
            values: st.SearchStrategy[Any] = st.lists(
                dictionaries_of(schema.Instance), min_size=1, max_size=4, unique_by=(name_of, prefix_of)
            )
        else:
            values = MODES if name == "runtime_mode" else values_of(field.annotation, field.metadata)
        keys[field.is_required()][name] = values
    return st.fixed_dictionaries(keys[True], optional=keys[False])


def name_of(instance: Mapping[str, Any]) -> str:
    return str(instance.get("name", "catmaid"))


def prefix_of(instance: Mapping[str, Any]) -> str:
    return str(instance.get("prefix", "/catmaid")).strip("/")


@st.composite
def sites(draw: st.DrawFn) -> schema.Site:
    """A valid site of one to four instances."""
    data = draw(dictionaries_of(schema.Site))
    try:
        return schema.load(data)
    except schema.InvalidSite as error:
        # Rules over several keys, which chance meets now and then.
        expected = r"site.instances: the prefix .* lies in|user: root must not|site.aliases: the name .* stands twice"
        if not re.search(expected, error.lines[0]):
            raise
        reject()


def plain(site: schema.Site) -> schema.Site:
    """A site with files of the same build, and no value in it that could mean anything to a parser."""
    instances = [
        {
            "name": f"catmaid-{number}",
            "prefix": f"/p{number}" if one.prefix else "/",
            "user": "www-data" if one.user == "www-data" else "catmaid",
        }
        for number, one in enumerate(site.instances)
    ]
    aliases = [f"{number}.org" for number, _ in enumerate(site.aliases)]
    return schema.load({"server_name": "a.org", "aliases": aliases, "instances": instances})


# ---- nginx, read by crossplane ----


@cache
def nginx_reads(items: tuple[Item, ...]) -> list[dict[str, Any]]:
    """The directives of the whole configuration, with the included files in their places."""
    with tempfile.TemporaryDirectory() as folder:
        etc = f"{folder}/etc/nginx/"
        for item in items:
            path = Path(f"{folder}{item.path}")
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(item, File):
                path.write_text(re.sub(r"^( *include )/etc/nginx/", rf"\g<1>{etc}", item.text, flags=re.MULTILINE))
            elif isinstance(item, Link):
                path.symlink_to(f"{folder}{item.target}")
        Path(etc, "mime.types").touch()
        # A map's lines are no directives, which the strict mode doesn't know; ours has no value of a site.
        parsed = crossplane.parse(f"{etc}nginx.conf", strict=True, combine=True, ignore=["map"])
    assert parsed["status"] == "ok", parsed["errors"]
    directives: list[dict[str, Any]] = parsed["config"][0]["parsed"]
    return directives


def nginx_items(site: schema.Site) -> tuple[Item, ...]:
    return nginx.wanted(site, ipv6=True)[0].items


def build(block: list[dict[str, Any]]) -> list[Any]:
    """What a value must not change: directives, how many arguments they have, and nginx's variables in them."""
    return [
        (one["directive"], len(one["args"]), re.findall(r"\$\S*", " ".join(one["args"])), build(one.get("block", [])))
        for one in block
    ]


def arguments(block: list[dict[str, Any]], directive: str) -> list[list[str]]:
    return [one["args"] for one in block if one["directive"] == directive]


def blocks(block: list[dict[str, Any]], directive: str) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    return {tuple(one["args"]): one["block"] for one in block if one["directive"] == directive}


def check_nginx(site: schema.Site) -> None:
    directives = nginx_reads(nginx_items(site))
    (http,) = blocks(directives, "http").values()
    server = next(one["block"] for one in http if one["directive"] == "server")
    assert arguments(server, "server_name") == [[site.server_name, *site.aliases]]
    locations, upstreams = blocks(server, "location"), blocks(http, "upstream")
    for i in site.instances:
        if i.prefix:
            assert arguments(locations.pop(("=", i.prefix)), "return") == [["301", f"{i.prefix}/$is_args$args"]]
        static = locations.pop(("^~", f"{i.prefix}/static/"))
        assert arguments(static, "alias") == [[f"{i.static_folder}/"]]
        assert arguments(locations.pop(("^~", f"{i.prefix}/files/")), "alias") == [[f"{i.files_folder}/"]]
        (proxied,) = arguments(locations.pop(("^~", f"{i.prefix}/channels/")), "proxy_pass")
        assert proxied == [f"http://{i.name}-daphne/channels/"]
        dynamic = locations.pop((f"{i.prefix}/",))
        assert arguments(dynamic, "uwsgi_pass") == [[f"{i.name}-uwsgi"]]
        assert arguments(dynamic, "client_max_body_size") == [[i.body_limit]]
        assert arguments(dynamic, "uwsgi_read_timeout") == [[f"{i.read_timeout}s"]]
        for name, socket in (("uwsgi", i.uwsgi_socket), ("daphne", i.daphne_socket)):
            (address,) = arguments(upstreams.pop((f"{i.name}-{name}",)), "server")
            assert address[0] == f"unix:{socket}"
    assert (locations, upstreams) == ({}, {})
    # Last, since it is the least to read when it fails. The names of the locations are compared above.
    assert build(directives) == build(nginx_reads(nginx_items(plain(site))))


# ---- Supervisor, read as it reads its files itself ----


def ini_reads(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(text)
    return parser


def supervisor_reads(instance: schema.Instance) -> configparser.RawConfigParser:
    (text,) = (
        item.text
        for item in supervisor.files(instance).items
        if isinstance(item, File) and item.path == f"/etc/supervisor/conf.d/{instance.name}.conf"
    )
    return ini_reads(text)


def check_supervisor(site: schema.Site) -> None:
    twin = supervisor_reads(plain(site).instances[0])
    for i in site.instances:
        parsed = supervisor_reads(i)
        names = {short: f"{i.name}-{short}" for short in ("uwsgi", "daphne", "celery", "celery-beat")}
        assert parsed.sections() == [*(f"program:{name}" for name in names.values()), f"group:{i.name}"]
        assert parsed[f"group:{i.name}"]["programs"].split(",") == list(names.values())
        for short, name in names.items():
            program = parsed[f"program:{name}"]
            assert program["command"] == f"/etc/catmaid/{i.name}/run-{short}.sh"
            assert program["directory"] == f"{i.checkout}/django/projects"
            assert program["user"] == i.user
            assert program["stdout_logfile"] == f"/var/log/{i.name}/{short}.log"
        assert [[*parsed[one]] for one in parsed.sections()] == [[*twin[one]] for one in twin.sections()]
        for section in parsed.sections():
            for key, value in parsed[section].items():
                assert value % {} == value, f"Supervisor would expand {key}"


# ---- uWSGI, read by uWSGI ----


@cache
def uwsgi_reads(texts: tuple[str, ...]) -> list[list[tuple[str, str]]]:
    """The options of each file in their order, expanded, as uWSGI itself has them.

    It shows them once all are read, and then fails on a clock that it doesn't know: before it opens, writes or
    becomes anything.
    """
    command = [str(UWSGI), "--strict", "--show-config", "--clock", "none"]
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(texts):
            file = Path(folder, f"{number}.ini")
            file.write_text(text)
            command += ["--ini", str(file)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", env={}, check=False)
    shown = re.search(r"^\[uwsgi\]\n(.*)^;end of configuration$", done.stderr, re.MULTILINE | re.DOTALL)
    assert shown, done.stderr
    assert 'unable to set "none" clock' in done.stderr
    read: list[list[tuple[str, str]]] = []
    for key, value in re.findall(r"^(.*?) = (.*)$", shown.group(1), re.MULTILINE):
        if key == "ini":
            read.append([])
        elif read:
            read[-1].append((key, value))
    return read


def check_uwsgi(site: schema.Site) -> None:
    reads = uwsgi_reads(tuple(uwsgi.ini(instance).text for instance in site.instances))
    for i, twin, read in zip(site.instances, plain(site).instances, reads, strict=True):
        expected = {
            "chdir": f"{i.checkout}/django",
            "virtualenv": i.virtualenv,
            "pythonpath": f"{i.checkout}/django/projects",
            "mount": f"{i.prefix or '/'}={i.wsgi_file}",
            "pidfile": f"/run/{i.name}/uwsgi.pid",
            "socket": f"/run/{i.name}/uwsgi.socket",
            "stats": f"/run/{i.name}/private/uwsgi-stats.socket",
            "uid": i.user,
            "workers": str(i.workers),
            "threads": str(i.threads),
            "post-buffering": str(i.post_buffering),
        }
        assert dict(read) | expected == dict(read)
        assert [key for key, _ in read] == [*ini_reads(uwsgi.ini(twin).text)["uwsgi"]]


# ---- Start scripts, read by sh ----


def sh_reads(scripts: Sequence[str]) -> list[tuple[list[str], dict[str, str]]]:
    """The words of each script's commands, and the environment of the program that it becomes.

    Each command is printed in place of being run, by the shell that would run it; an empty word ends a list.
    """
    text = "set -e\n"
    for script in scripts:
        printing = re.sub(r"^(\.|begin|rm -f|exec) ", r"printf '%s\\0' '\1' ", script, flags=re.MULTILINE)
        text += f"(\n{printing}\nprintf '\\0'\nexec env -0\n)\nprintf '\\0'\n"
    clean = {"PATH": "/usr/bin:/bin"}
    # A text that does break out may make files.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["sh"], input=text.encode(), capture_output=True, env=clean, cwd=folder, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    lists = [list(words) for there, words in groupby(done.stdout.decode().split("\0"), bool) if there]
    assert len(lists) == 2 * len(scripts)
    return [(words, dict(one.split("=", 1) for one in env)) for words, env in zip(lists[::2], lists[1::2], strict=True)]


def check_scripts(site: schema.Site) -> None:
    for i in site.instances:
        etc, run = f"/etc/catmaid/{i.name}", f"/run/{i.name}"
        celery, options = f"{i.virtualenv}/bin/celery", i.celery
        worker = [celery, "-A", "mysite", "worker", "-l", options.log_level]
        worker += ["--hostname", f"{i.name}@%h", f"--pidfile={run}/celery.pid"]
        worker += ["--concurrency", str(options.concurrency)] if options.concurrency else []
        worker += ["--queues", ",".join(options.queues)] if options.queues else []
        worker += ["--max-tasks-per-child", str(options.max_tasks_per_child)] if options.max_tasks_per_child else []
        beat = [celery, "-A", "mysite", "beat", "-l", options.log_level, f"--pidfile={run}/celery-beat.pid"]
        commands = {
            "uwsgi": [f"{i.virtualenv}/bin/uwsgi", "--ini", f"{etc}/uwsgi.ini"],
            "daphne": [f"{i.virtualenv}/bin/daphne", "--endpoint", f"unix:{run}/daphne.sock:mode=660:backlog=511"],
            "celery": worker,
            "celery-beat": [*beat, f"--schedule=/var/lib/{i.name}/celery-beat-schedule"],
        }
        environment = {
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "PATH": f"{i.virtualenv}/bin:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": i.virtualenv,
            "PYTHONUNBUFFERED": "1",
        } | i.environment
        texts = {file.path: file.text for program in supervisor.programs(i) for file in program.files}
        read = sh_reads([texts[f"{etc}/run-{short}.sh"] for short in commands])
        for (short, expected), (words, arrived) in zip(commands.items(), read, strict=True):
            before, command = words[: words.index("exec")], words[words.index("exec") + 1 :]
            assert command[: len(expected)] == expected
            assert short == "daphne" or len(command) == len(expected)
            assert before[:4] == [".", f"{etc}/start.sh", "begin", f"{run}/{short}.started"]
            assert all(word == "rm -f" or word.startswith((f"{run}/", f"{etc}/")) for word in before[3:])
            assert arrived | environment == arrived
            # What a shell may export by itself.
            assert set(arrived) - set(environment) <= {"PWD", "OLDPWD", "SHLVL", "_"}


# ---- systemd-tmpfiles and logrotate, which split at spaces ----


def check_system(site: schema.Site) -> None:
    texts = {item.path: item.text for item in system.wanted(site).items if isinstance(item, File)}
    lines = [line.split() for line in texts["/etc/tmpfiles.d/catmaid.conf"].splitlines() if not line.startswith("#")]
    expected = []
    for i in site.instances:
        expected.append(["d", f"/run/{i.name}", i.runtime_mode, i.user, i.runtime_group, "-"])
        private = "2700" if int(i.runtime_mode, 8) & 0o2000 else "0700"
        expected.append(["d", f"/run/{i.name}/private", private, i.user, i.runtime_group, "-"])
    assert lines == expected
    logs = texts["/etc/logrotate.d/catmaid"].splitlines()[1].split()
    assert logs == [*(f"/var/log/{i.name}/*.log" for i in site.instances), "{"]


def check_all(site: schema.Site) -> None:
    check_nginx(site)
    check_supervisor(site)
    check_uwsgi(site)
    check_scripts(site)
    check_system(site)


@given(site=sites())
@examples(20)
def test_nginx_and_supervisor_have_every_value_of_any_valid_site(site: schema.Site) -> None:
    check_nginx(site)
    check_supervisor(site)
    check_system(site)


@given(site=sites())
@examples(10)
def test_uwsgi_and_sh_have_every_value_of_any_valid_site(site: schema.Site) -> None:
    check_uwsgi(site)
    check_scripts(site)


@given(environment=SPELLED[schema._environment])
@examples(40)
def test_any_text_arrives_in_the_environment(environment: dict[str, str]) -> None:
    (instance,) = schema.load({"server_name": "a.org", "instances": [{"environment": environment}]}).instances
    (program,) = uwsgi.programs(instance)
    ((_, arrived),) = sh_reads([file.text for file in program.files if file.path.endswith("/run-uwsgi.sh")])
    assert arrived | environment == arrived


# ---- What could break out ----

# Every text of the schema with a valid value, to which something is added in the middle and at both ends.
FULL: dict[str, Any] = {
    "server_name": "catmaid.example.org",
    "aliases": ["tracing.example.org"],
    "instances": [
        {
            "name": "catmaid-fafb",
            "prefix": "/tracing/fafb",
            "checkout": "/srv/catmaid",
            "virtualenv": "/srv/environment",
            "wsgi_file": "/srv/catmaid/django.wsgi",
            "static_folder": "/srv/static",
            "files_folder": "/srv/files",
            "user": "catmaid",
            "runtime_group": "catmaid",
            "runtime_mode": "2750",
            "body_limit": "200m",
            "uwsgi_version": "2.0.31",
            "environment": {"GREETING": "hello"},
            "database": {"host": "database.example.org", "port": 5432},
            "broker": {"host": "broker.example.org", "port": 5672},
            "celery": {"log_level": "info", "queues": ["tracing"]},
        }
    ],
}
BREAKING = [*"\n\r\0\t\x1b\x7f\x85\u2028\ud800", *"'\"`;{}$%\\# &|<>*?[]()!~^=:,+-@", *"üÁ²\u0435\u0663\U0001f600"]
BREAKING += ["$(id)", "`id`", "${HOME}", "$uri", "%%", "%(x)s", "%(here)s", "%h", "%n", "@(/etc/hostname)"]
BREAKING += ["\r\n", "\\n", "../", "/../", "./", "//", "--", " #", " ;", "  "]


def places(kind: Any = schema.Site, at: Place = ()) -> Iterator[Place]:
    """Where the schema takes text: the keys that lead there."""
    arguments = get_args(kind)
    if kind is str or (get_origin(kind) is Literal and isinstance(arguments[0], str)):
        yield at
    elif get_origin(kind) is tuple:
        yield from places(arguments[0], (*at, 0))
    elif get_origin(kind) is dict:
        yield from places(arguments[1], (*at, "GREETING"))
    elif get_origin(kind) is Annotated:
        yield from places(arguments[0], at)
    elif get_origin(kind) in (Union, types.UnionType):
        for one in arguments:
            yield from places(one, at)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield from places(field.annotation, (*at, name))
    elif kind not in (int, type(None)):
        raise TypeError(f"{at}: say here where {kind} has text")


def value_at(data: Any, place: Place) -> Any:
    for key in place:
        data = data[key]
    return data


def changed(data: Any, place: Place, value: Any) -> Any:
    """The same with another value in one place."""
    if not place:
        return value
    key, rest = place[0], place[1:]
    if isinstance(data, list):
        return [changed(one, rest, value) if number == key else one for number, one in enumerate(data)]
    return {**data, key: changed(data[key], rest, value)}


def spelled(place: Place) -> str:
    """The key as a line has to name it. A variable's name is told in the line itself."""
    keys = place[:-1] if "environment" in place else place
    return "site" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


def refused(place: Place, value: str) -> bool:
    """Whether a value is refused, and then by one line that shows as it is and names the key."""
    try:
        site = schema.load(changed(FULL, place, value))
    except schema.InvalidSite as error:
        (line,) = error.lines
        assert line.startswith(f"{spelled(place)}: ")
        assert "environment" not in place or str(place[-1]) in line
        assert line.isprintable()
        return True
    # Slashes at the ends mean nothing in a path or prefix, which have one form for all spellings.
    arrived = value_at(site.model_dump(), place)
    assert arrived == value or ((value.startswith("/") or place[-1] == "prefix") and arrived == f"/{value.strip('/')}")
    return False


def sites_with(place: Place, texts: list[str]) -> list[dict[str, Any]]:
    """Sites with each of the texts in its place; what can be together in one is, which is quicker."""
    if "environment" in place:
        return [changed(FULL, place[:-1], {f"GREETING_{number}": text for number, text in enumerate(texts)})]
    sites: list[dict[str, Any]] = [changed(FULL, place, text) for text in texts]
    if place[0] != "instances" or not sites:
        return sites
    instances = [site["instances"][0] for site in sites]
    for number, instance in enumerate(instances):
        for key, own in (("name", f"catmaid-{number}"), ("prefix", f"/p{number}")):
            instance[key] = instance[key] if place[-1] == key else own
    return [FULL | {"instances": instances}]


PLACES = list(places())


def test_the_table_has_every_text_of_the_schema() -> None:
    assert PLACES
    for place in PLACES:
        assert isinstance(value_at(FULL, place), str), place


@pytest.mark.parametrize("place", PLACES, ids=spelled)
def test_nothing_breaks_out_of_its_place(place: Place) -> None:
    value = value_at(FULL, place)
    cuts = (len(value) // 2, 0, len(value))
    texts = [value[:cut] + breaking + value[cut:] for cut in cuts for breaking in BREAKING]
    for data in sites_with(place, [text for text in texts if not refused(place, text)]):
        check_all(schema.load(data))


@given(place=st.sampled_from(PLACES), where=st.floats(0, 1), text=st.one_of(st.sampled_from(BREAKING), st.text()))
@examples(100)
def test_no_text_breaks_out_anywhere(place: Place, where: float, text: str) -> None:
    value = value_at(FULL, place)
    cut = round(where * len(value))
    value = value[:cut] + text + value[cut:]
    if not refused(place, value):
        check_all(schema.load(changed(FULL, place, value)))


@pytest.mark.parametrize("code", [*range(32), 127, 0xD800, 0xDFFF])
def test_control_characters_are_refused_in_the_environment(code: int) -> None:
    assert refused(("instances", 0, "environment", "GREETING"), f"hel{chr(code)}lo")


def lines(instance: dict[Any, Any]) -> list[str]:
    with pytest.raises(schema.InvalidSite) as caught:
        schema.load({"server_name": "a.org", "instances": [instance]})
    return caught.value.lines


@pytest.mark.parametrize("breaking", BREAKING, ids=ascii)
def test_a_key_that_could_break_out_is_told_in_one_line(breaking: str) -> None:
    key = f"GREE{breaking}TING"
    for instance in ({"environment": {key: "hello"}}, {"environment": {key: 5}}, {key: 5}, {"celery": {key: 5}}):
        (line,) = lines(instance)
        assert line.startswith("site.instances[0]")
        assert line.isprintable()


@pytest.mark.parametrize("name", ["OPTIND", "PPID", "LINENO", "_", "HOME", "IFS"])
def test_variables_of_the_shell_are_refused(name: str) -> None:
    (line,) = lines({"environment": {name: "text"}})
    assert line.startswith(f"site.instances[0].environment: {name} ")


@pytest.mark.parametrize(
    ("instance", "key"),
    [
        ({"body_limit": "9223372036854775808"}, "body_limit"),
        ({"body_limit": "8589934592g"}, "body_limit"),
        ({"read_timeout": 10**16}, "read_timeout"),
        ({"post_buffering": 2**64}, "post_buffering"),
        ({"uwsgi_version": "\u0662.\u0660.\u0663\u0661"}, "uwsgi_version"),
        ({"broker": {"host": "a" * 64, "port": 1}}, "broker.host"),
        ({"broker": {"host": ".".join(["a" * 50] * 6), "port": 1}}, "broker.host"),
    ],
)
def test_what_a_program_could_not_count_or_keep_is_refused(instance: dict[str, Any], key: str) -> None:
    (line,) = lines(instance)
    assert line.startswith(f"site.instances[0].{key}: ")
