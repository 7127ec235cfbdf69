"""What the templates make of a site, read back by parsers."""

import configparser
import subprocess
from pathlib import Path
from typing import Any

import crossplane
import pytest

from catmaid_deploy import schema
from catmaid_deploy.file_sets import File
from catmaid_deploy.render import FOLDER, render
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.nginx.capabilities import Server
from catmaid_deploy.tasks.programs import supervisor
from catmaid_deploy.tasks.programs.slots import Program

SITE = {
    "server_name": "catmaid.example.org",
    "instances": [
        {"prefix": "/", "celery": {"concurrency": 3, "queues": ["a", "b"], "max_tasks_per_child": 10}},
        {"name": "catmaid-b", "prefix": "/a/b", "user": "catmaid", "environment": {"GREETING": 'it\'s $HOME; "x" %'}},
    ],
}


def load(**instance: Any) -> schema.Instance:
    return schema.load({"server_name": "a.org", "instances": [instance]}).instances[0]


def test_nginx_files_parse(tmp_path: Path) -> None:
    items, _ = nginx.rendered(schema.load(SITE), Server())
    for item in items:
        if not isinstance(item, File):
            continue
        file = tmp_path / item.path.rpartition("/")[2]
        file.write_text(item.text)
        parsed = crossplane.parse(str(file), single=True, strict=False, check_ctx=False)
        assert parsed["status"] == "ok", parsed["errors"]


def test_an_admin_can_read_a_sites_file() -> None:
    """Each line stands as deep as it is nested; a macro that yields nothing leaves nothing."""
    hashes = {"alice": "$6$abcdefgh$" + "a" * 86}
    tiles = [{"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb"}]
    for more in ({}, {"passwords": hashes}, {"tls": {"certificate": "none"}}, {"tls": {"certificate": "acme"}}):
        deployment = schema.load(SITE | {"tiles": tiles} | more)
        for server in (Server(), Server(ipv6=False, http2_directive=False, brotli=False)):
            path = nginx.site_path(deployment.sites[0])
            (text,) = (i.text for i in nginx.rendered(deployment, server)[0] if isinstance(i, File) and i.path == path)
            depth = 0
            for line in text.splitlines():
                depth -= line.strip() == "}"
                assert not line or len(line) - len(line.lstrip()) == 4 * depth, line
                depth += line.endswith("{")


def test_the_digest_of_nginx_changes_with_its_files_alone() -> None:
    same = [nginx.rendered(schema.load(SITE), Server())[1] for _ in range(2)]
    other = nginx.rendered(schema.load(SITE | {"aliases": ["b.org"]}), Server())[1]
    assert same[0] == same[1] != other


def test_supervisor_file_parses_and_has_one_group() -> None:
    (file,) = [item for item in supervisor.files(load()).items if item.path.endswith("conf.d/catmaid.conf")]
    assert isinstance(file, File)
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(file.text)
    places = ("wsgi-a", "wsgi-b", "daphne-a", "daphne-b", "celery-a", "celery-b", "celery-beat-a", "celery-beat-b")
    assert parser["group:catmaid"]["programs"] == ",".join(f"catmaid-{place}" for place in places)
    assert parser["program:catmaid-celery-a"]["stopwaitsecs"] == "600"


def test_environment_arrives_as_it_is(tmp_path: Path) -> None:
    value = 'it\'s $HOME `id` "x" \\ % ; ü'
    text = render("etc/catmaid/instance/environment.sh", instance=load(environment={"GREETING": value}))
    script = text.replace("\ncd ", "\n: ") + 'printf %s "$GREETING"'
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == value


def programs(**instance: Any) -> list[Program]:
    return supervisor.programs(load(**instance))


@pytest.mark.parametrize("instance", [{}, *SITE["instances"]])
def test_start_scripts_are_shell(instance: dict[str, Any]) -> None:
    scripts = {file.path: file.text for one in programs(**instance) for file in one.files if file.path.endswith(".sh")}
    assert len(scripts) == 8
    for text in scripts.values():
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_the_digest_is_the_one_that_the_start_script_notes() -> None:
    for one in programs():
        both = "".join(file.text for file in sorted(one.files, key=lambda file: file.path))
        noted = subprocess.run(["sha256sum"], input=both, capture_output=True, text=True, check=True)
        assert noted.stdout[:16] == one.digest


def test_a_celery_option_changes_the_worker_alone() -> None:
    before = {p.short: p.digest for p in programs()}
    after = {p.short: p.digest for p in programs(celery={"concurrency": 3})}
    assert [name for name in before if before[name] != after[name]] == ["celery"]


def test_every_template_says_where_it_comes_from() -> None:
    for file in FOLDER.rglob("*.j2"):
        # JSON has no comments.
        if not file.name.startswith("_") and file.suffixes[-2:] != [".json", ".j2"]:
            assert "{{ source }}" in "".join(file.read_text().splitlines(keepends=True)[:2]), file
