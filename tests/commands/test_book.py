"""The book: built strictly, and true. What is made from the source is complete, and what is written by hand works."""

import ast
import fnmatch
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from catmaid_deploy import schema, secret
from catmaid_deploy.run import preflight
from catmaid_deploy.tasks import proxy
from catmaid_deploy.tasks.programs import slots as program
from catmaid_deploy.upkeep import health
from docs import messages, reference
from testbed.order import TASKS
from tests.blocks import blocks

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "upstream")
HASH = "$2y$05$" + "a" * 53


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book as 'mkdocs build --strict' makes it."""
    site = tmp_path_factory.mktemp("book")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    # With --quiet mkdocs doesn't count its warnings.
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return site


class Html(HTMLParser):
    """The text of a page, and what a browser fetches for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("script", "img", "iframe", "link"):
            self.fetched.append(found.get("src") or found.get("href") or "")

    @property
    def text(self) -> str:
        return plain("".join(self.pieces))


def plain(text: str) -> str:
    return " ".join(text.split())


def test_nothing_is_fetched_from_elsewhere(book: Path) -> None:
    pages = list(book.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        elsewhere = [url for url in Html(page.read_text()).fetched if "//" in url]
        assert not elsewhere, page


# ---- the reference ----


# What the how-to of programs has.
PROGRAMS = [{"name": "large", "celery": {"queues": ["large"]}}]
KEYS = [(model, key) for model in reference.MODELS for key in model.model_fields]


def python(value: object) -> str:
    """A value as an inventory has it."""
    if isinstance(value, str):
        return json.dumps(value)
    return repr(list(value) if isinstance(value, tuple) else value).replace("'", '"')


def section(page: str, anchor: str) -> str:
    """The text from a heading to the next one."""
    found = re.search(rf'<h3 id="{re.escape(anchor)}">.*?(?=<h[123]|</article>)', page, re.DOTALL)
    assert found, anchor
    return Html(found.group()).text


def test_the_reference_has_every_key_with_its_default(book: Path) -> None:
    assert len(KEYS) > 60
    page = (book / "reference" / "index.html").read_text()
    minimal = schema.load(
        {"server_name": "a.test", "instances": [{}], "tiles": [{"name": "t", "url": "/t", "folder": "/t"}]}
    )
    installed = schema.Install.model_validate({})
    mail = {"host": "a.test", "sender": "a@a.test"}
    loaded: dict[type, BaseModel] = {
        schema.Install: installed,
        schema.Administrator: schema.Administrator.model_validate({"name": "a", "email": "a@a.test"}),
        schema.Project: schema.Project.model_validate({"title": "a"}),
        schema.Python: schema.Python.model_validate({}),
        schema.Database: schema.Database.model_validate({}),
        schema.Broker: schema.Broker.model_validate({}),
        schema.Settings: schema.Settings.model_validate({}),
        schema.Mail: schema.Mail.model_validate(mail),
        schema.Postgresql: minimal.postgresql,
        schema.Rabbitmq: minimal.rabbitmq,
        schema.Deployment: minimal,
        schema.Site: minimal.sites[0],
        schema.Instance: minimal.instances[0],
        schema.TileSet: minimal.tiles[0],
        schema.Tls: minimal.sites[0].tls,
        schema.Headers: minimal.sites[0].headers,
        schema.Maintenance: minimal.sites[0].maintenance,
        schema.Celery: minimal.instances[0].celery,
        schema.Cors: schema.Cors.model_validate({"origins": ["*"]}),
        schema.Releases: schema.Releases.model_validate({"revision": "1"}),
        schema.Address: schema.Address.model_validate({"port": 1}),
        schema.Dns: schema.Dns.model_validate({"plugin": "ovh", "credentials": "/etc/ovh.ini"}),
        schema.Balancer: schema.Balancer.model_validate({"addresses": ["192.0.2.10"]}),
        # One of these is to be there by a rule, which no default can follow.
        schema.Program: schema.Program.model_construct(name="a"),
    }
    for model, key in KEYS:
        field, text = model.model_fields[key], section(page, f"{model.__name__.lower()}-{key}")
        assert all(f"{part}: " in text for part in ("type", "default", "example")), (model, key)
        if field.is_required():
            assert "default: none, it has to be there" in text, (model, key)
            continue
        value = getattr(loaded[model], key)
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json", exclude_unset=True)
        if field.default == ():
            value = ()  # the description above has some
        # What follows from the checkout stands with a name for it.
        wanted = re.sub("/home/catmaid/catmaid-server/(?=django)", "CHECKOUT/", python(value))
        assert f"default: {wanted} example: " in f"{text} ".replace(" unit: ", " "), (model, key, text)


# ---- messages ----


def spoken(path: Path) -> Iterator[str]:
    """Every constant text of four words and more in a module that is neither a docstring nor a description.

    Coarser than what makes the page: it asks nothing about where a text stands.
    """
    tree = ast.parse(path.read_text())
    quiet = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    keywords = [n for n in ast.walk(tree) if isinstance(n, ast.keyword) and n.arg in ("description", "name")]
    quiet |= {id(inner) for keyword in keywords for inner in ast.walk(keyword)}
    if path.parts[-2] in ("testbed", "peers"):
        # Of the testbed, which tells of its steps, the errors.
        raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc]
        nodes = [node for one in raised for node in ast.walk(one)]
    else:
        nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in quiet:
            for text in re.split(r"%[.0-9]*[a-z]", node.value):
                if len(re.findall(r"(?<!\S)[A-Za-z][a-z']*(?=[\s,:;.]|$)", text)) >= 4 and text.count("\n") < 3:
                    yield plain(text)


# Words for a program: no admin sees them.
FOR_PROGRAMS = (
    "import sys; from supervisor",
    "import sys, zlib",
    "import os, sys, sysconfig",
    "During handling of",
    "umask 077",
    ".j2; a change made here",
    "The above exception was",
    "Traceback (most recent call",
    'cd "$1"',
    "sandbox; default-src",
    "frame-ancestors 'self'; object-src",
)


def test_every_message_of_the_source_is_in_the_page(book: Path) -> None:
    text = Html((book / "messages" / "index.html").read_text()).text
    folders = ("tasks", "catmaid_deploy", "runbooks", "testbed")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    found = [(path.name, part) for path in sources for part in spoken(path) if not part.startswith(FOR_PROGRAMS)]
    assert len(found) > 150
    assert [(name, part) for name, part in found if part not in text] == []


def test_messages_are_in_the_search_index(book: Path) -> None:
    """The search has each message as a section of its own."""
    index = json.loads((book / "search" / "search_index.json").read_text())["docs"]
    # As headings, which the search weighs most.
    texts = [plain(Html(one["title"]).text) for one in index if one["location"].startswith("messages/#")]
    for found in messages.all_messages().values():
        for message in found:
            words = plain("".join(text for _, text in message.parts))
            assert words in texts, message.text


@pytest.mark.parametrize(
    "site",
    [
        {"server_name": "https://a.test", "instances": [{}]},
        {"server_name": "a.test", "instances": [{"workers": 0}]},
        {"server_name": "a.test", "instances": [{"user": "root"}]},
        {"server_name": "a.test", "instances": [{"prefix": "/a//b"}]},
        {"server_name": "a.test", "instances": [{"environment": {"API_TOKEN": "x"}}]},
        {"server_name": "a.test", "instances": [{"name": "fafb"}]},
        {"server_name": "a.test"},
        {"server_name": "a.test", "instances": [{"wrkers": 1}]},
        {"server_name": "a.test", "instances": [{"workers": 1000}]},
        {"server_name": "a.test", "instances": [{"workers": "8"}]},
        {"server_name": "a.test", "instances": [{"update": "now"}]},
        {"server_name": "a.test", "instances": [{"name": "catmaid-" + "a" * 40}]},
        {"server_name": "a.test", "instances": [{}], "tls": {"hsts_subdomains": "perhaps"}},
        {"server_name": "a.test", "instances": [{}], "tiles": [{"name": "t", "url": "/", "folder": "/t"}]},
    ],
)
def test_a_line_that_an_admin_gets_is_found(book: Path, site: dict[str, Any]) -> None:
    """By three words in a row, whatever of the line is the admin's own."""
    with pytest.raises(schema.InvalidSite) as caught:
        schema.load(site)
    (line,) = caught.value.lines
    words = line.partition(": ")[2].split()
    text = Html((book / "messages" / "index.html").read_text()).text
    assert any(" ".join(words[n : n + 3]) in text for n in range(len(words) - 2)), line


def test_every_note_belongs_to_a_message() -> None:
    texts = [message.text for found in messages.all_messages().values() for message in found]
    assert [part for part in messages.NOTES if not any(part in text for text in texts)] == []


# ---- pictures ----


def test_each_picture_of_a_terminal_is_shown_in_light_and_dark() -> None:
    """They are made by 'make pictures', hold real text, and fetch nothing."""
    shown = [name for path in PAGES for name in re.findall(r"terminal/([\w-]+\.svg)#only-(\w+)\)", path.read_text())]
    made = {path.name for path in (ROOT / "docs/terminal").iterdir()}
    assert {name for name, _ in shown} == made
    assert all(name.endswith(f"-{theme}.svg") for name, theme in shown)
    names = {name.rpartition("-")[0] for name in made}
    assert names == {"first-deploy", "second-run", "dry-run", "error", "status", "verify"}
    assert len(made) == 2 * len(names)
    for name in made:
        text = (ROOT / "docs/terminal" / name).read_text()
        assert "pyinfra inventories/prod.py" in text.replace("&#160;", " ")
        assert re.findall(r"(?:url\(|href=\"|src=\")(?!#)", text) == []


# ---- inventories and commands ----


def all_blocks(language: str) -> list[tuple[str, str, str]]:
    """The blocks of all pages in a language: page, title, text."""
    found = [one for path in PAGES for one in blocks(str(path.relative_to(ROOT / "docs")), language)]
    return [(one.page, one.title, one.text) for one in found]


@pytest.mark.parametrize(("page", "title", "text"), all_blocks("python"))
def test_inventories_load(page: str, title: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if title == "settings.py":
        compile(text, page, "exec")
        return
    instance: dict[str, Any] = {}
    site: dict[str, Any] = {"server_name": "a.test", "instances": [instance]}
    tiles = {"name": "t", "url": "/t", "folder": "/t"}
    beside: dict[str, Any] = {}
    into = {"a site": site, "an instance": instance, "a tile set": tiles, "a host": beside}
    monkeypatch.setenv("PROXY", "http://a:b@proxy.example.org:3128")
    for name in ("EAB_KEY", "DATABASE_PASSWORD", "BROKER_PASSWORD", "SECRET_KEY"):
        monkeypatch.setenv(name, "x" * 43)
    if title in into:
        into[title].update(eval(f"{{{text}}}", {"secret": secret}))  # noqa: S307  # our own book
        if title == "a tile set":
            site["tiles"] = [tiles]
        schema.load(site, **beside)
        return
    assert title == ""
    monkeypatch.setenv("ALICE_HASH", HASH)
    made: dict[str, Any] = {}
    exec(text, made)  # noqa: S102  # our own book
    assert made["hosts"]
    for _, data in made["hosts"]:
        assert set(data) <= {"site", "sites", "ssh_user", "_sudo"}
        schema.load(data.get("site"), data.get("sites"))


def commands() -> list[tuple[str, str]]:
    """Each line of the shell blocks, and what stands in back quotes and begins like one of ours."""
    found = [(page, line.strip()) for page, _, text in all_blocks("sh") for line in text.splitlines() if line.strip()]
    for path in PAGES:
        found += [(path.name, line) for line in re.findall(r"`((?:make|pyinfra) [^`]+)`", path.read_text())]
    return found


def test_commands_are_shell() -> None:
    for page, _, text in all_blocks("sh"):
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, (page, done.stderr)


HELP = "import sys; from pyinfra_cli.main import cli; sys.argv[1:] = ['--help']; cli()"


def test_files_and_options_of_pyinfra_exist() -> None:
    # Not by import: pyinfra's command line changes Python's sockets for good.
    told = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", told.stdout))
    lines = [(page, line) for page, line in commands() if re.match(r"(\.venv/bin/)?pyinfra ", line)]
    assert len(lines) > 10
    for page, line in lines:
        words = line.partition("#")[0].split()[1:]
        files = [word for word in words if word.endswith(".py")]
        assert len(files) == 2, (page, line)
        assert [f for f in files if not (ROOT / f).exists()] == [], (page, line)
        assert [word for word in words if word.startswith("-") and word not in options] == [], (page, line)


def test_files_of_the_code_that_contributors_look_for_exist() -> None:
    text = (ROOT / "docs/contributing.md").read_text()
    named = re.findall(r"`((?:[\w.]+/)+[\w.-]*|\w+\.py)`", text)
    assert len(named) > 25
    inside = ROOT / "catmaid_deploy"
    assert [one for one in named if not (inside / one[4:] if one.startswith(".../") else ROOT / one).exists()] == []


def test_make_has_the_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for _, line in commands() if line.startswith("make ")}
    assert {"demo", "check", "test", "docs"} <= named <= targets


def test_files_that_are_copied_or_installed_exist() -> None:
    for page, line in commands():
        for name in re.findall(
            r"(?<![/\w])(?:inventories/prod\.py|inventories/demo\.py|requirements[\w-]*\.txt)", line
        ):
            assert (ROOT / name).exists(), (page, line)


def known_paths() -> set[str]:
    """What a deployed host has, of two instances and a site."""
    data = {
        "server_name": "hostname",
        "tls": {"certificate": "acme"},
        "passwords": {"a": HASH},
        "instances": [{"name": "catmaid", "programs": PROGRAMS}, {"name": "catmaid-fafb", "prefix": "/b"}],
    }
    deployment = schema.load(data)
    # And what the deploy has installed itself.
    made = schema.load(data | {"instances": [{"releases": {"revision": "1.0"}, "install": {}}]})
    sets = [*preflight.wanted_sets(TASKS, deployment), *preflight.wanted_sets(TASKS, made)]
    found = {item.path for one in sets for item in one.everything}
    for instance in deployment.instances:
        found |= {f"{instance.state_dir}/celery-beat-schedule", f"{instance.config_dir}/maintenance"}
        for short in instance.kinds:
            found.add(f"{instance.config_dir}/{short}")
            for place in program.places(short):
                found |= {f"{instance.log_dir}/{place}.log", f"{instance.runtime_dir}/{place}"}
                found.add(f"{instance.config_dir}/{place}/environment.sh")
    trial = schema.load({"server_name": "hostname", "tls": {"certificate": "self-signed"}, "instances": [{}]}).sites[0]
    found.add(trial.certificate or "")
    found |= {f"{trial.requested_dir}/{name}" for name in ("request.csr", "fullchain.pem")}
    found |= {proxy.VARIABLES, f"{proxy.UNIT}/catmaid.conf"}
    assert "/lock.json" in (ROOT / "catmaid_deploy/on_host/operations/lock.py").read_text()
    found |= {one["notes"] for one in health.question(TASKS, deployment, [], verify=False)["instances"]}
    found |= {"/etc/catmaid/maintenance", f"{program.HANDOVERS}/lock.json", schema.DISKS}
    return found | {str(parent) for path in found for parent in Path(path).parents}


OURS = r"etc/(?:catmaid|nginx|supervisor|tmpfiles\.d|logrotate\.d|systemd)|run|var/log|var/lib"


def test_paths_are_those_of_the_project() -> None:
    known = known_paths()
    sources = [
        p for folder in ("templates", "tasks", "catmaid_deploy") for p in (ROOT / folder).rglob("*") if p.is_file()
    ]
    text = "\n".join(path.read_text() for path in sources if "__pycache__" not in path.parts)
    # What the distribution or the admin has.
    others = {
        "/run/supervisor.sock",
        "/var/log/postgresql/*.log",
        "/var/log/supervisor/supervisord.log",
        "/etc/nginx/nginx.conf.before",
        "/var/lib/*",
    }
    # Of an instance that the deploy installs.
    installed = schema.Instance.model_validate({"releases": {"revision": "1"}, "install": {}})
    others |= {installed.first_password_file, str(Path(installed.secrets_file).parent), installed.made_settings_file}
    others |= {"/etc/supervisor/conf.d/*.conf", "/etc/nginx/sites-enabled/catmaid", "/etc/supervisor"}
    seen = set()
    for path in [*PAGES, *(ROOT / "docs" / "pictures").glob("*.svg")]:
        if path.name in ("page.md", "headers.md", "adopt.md"):
            continue
        named = re.findall(rf"(?<![\w.])/(?:{OURS})(?:/[\w.*-]+)*", path.read_text())
        for name in named:
            one = name.rstrip(".").replace("NAME", "catmaid").replace("HOSTcatmaid", "hostname")
            seen.add(one)
            assert one in known | others or f"{one}" in text or fnmatch.filter(known, one), (path.name, name)
    assert len(seen) > 40


def test_the_messages_of_the_source_are_read_as_they_are_said() -> None:
    source = """
def f(a, b):
    'No message at all here: none.'
    raise Failed("%s says %d things: mend %s" % (a.b, len(b), a["c"]))
def g(x):
    if x:
        lines.append(f"checkout: {x.path} isn't there" + x)
    return ["a few"]
"""
    found = [message.text for message in messages.in_python("x.py", source)]
    assert found == ["<b> says <b> things: mend <c>", "checkout: <path> isn't there<x>"]
