"""What a run shows of its changes: a patch in a terminal, Markdown elsewhere, and no secret in either."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catmaid_deploy.file_sets import Change, ConfigurationSet, File, Folder, Item, Link, Reason, compare
from catmaid_deploy.finding import Command, fault, warning
from catmaid_deploy.plan.report import NOTHING, Report
from catmaid_deploy.run import patch
from tests.unit.test_configuration import on_host, survey

SECRET = "carol:$apr1$gBd8eYrM$cTRnNOKcHUVq5tFzmxOEi1"
BEFORE = "user www-data;\nworkers 2;\nend\n"
WANTED: tuple[Item, ...] = (
    File("/etc/nginx/a.conf", "user www-data;\nworkers 4;\nend\n", mode="640"),
    File("/etc/nginx/new.conf", "```\n</details>\n\x1b[31mred\r\n"),
    File("/etc/nginx/passwords", f"{SECRET}\n", mode="640", group="www-data", secret=True),
    File.binary("/etc/catmaid/web/black.png", b"\x89PNG\xff"),
    File("/etc/nginx/same.conf", "same\n"),
    Folder("/etc/catmaid", mode="750"),
    Link("/etc/nginx/on.conf", "/etc/nginx/a.conf"),
    Link("/etc/nginx/moved.conf", "/etc/nginx/a.conf"),
)
FOUND: dict[str, Any] = {
    "/etc/nginx/a.conf": on_host(BEFORE),
    "/etc/nginx/passwords": on_host(f"{SECRET[::-1]}\n", mode="640", secret=True),
    "/etc/nginx/same.conf": on_host("same\n"),
    "/etc/nginx/old.conf": on_host("old\n"),
    "/etc/catmaid": {"kind": "folder", "user": "root", "group": "root", "mode": "755"},
    "/etc/nginx/moved.conf": {"kind": "link", "target": "/srv/b", "user": "root", "group": "root", "mode": "777"},
}
PLAIN = patch.Terminal()


def report(host: str = "lab.example.org") -> Report:
    """A host whose nginx gets every kind of difference."""
    one = ConfigurationSet("nginx", WANTED)
    found = compare(one, survey(FOUND, manifest={"nginx": {"/etc/nginx/old.conf": "x"}}))
    change = Change(one, found, (Reason("reload", "nginx", "its files change"),))
    made = Report(host, served=[f"https://{host}/catmaid/"])
    made.planned = [("install packages", ["nginx"], None), ("nginx", change.summary, None)]
    made.changes = {"nginx": change}
    made.warnings = [warning("workers", "too | many <b>*of* them")]
    made.notes = ["last changed by carol"]
    return made


def test_a_dry_run_reads_like_a_patch() -> None:
    assert patch.text([report()], True, PLAIN).splitlines() == [
        "",
        "==== lab.example.org: install packages ".ljust(100, "="),
        "nginx",
        "",
        "==== lab.example.org: nginx ".ljust(100, "="),
        "change /etc/nginx/a.conf (root:root 644 -> root:root 640)",
        "--- a/etc/nginx/a.conf",
        "+++ b/etc/nginx/a.conf",
        "@@ -1,3 +1,3 @@",
        " user www-data;",
        "-workers 2;",
        "+workers 4;",
        " end",
        "",
        "create /etc/nginx/new.conf (root:root 644)",
        "--- /dev/null",
        "+++ b/etc/nginx/new.conf",
        "@@ -0,0 +1,3 @@",
        "+```",
        "+</details>",
        "+^[[31mred^M",
        "",
        "change /etc/nginx/passwords (root:root 640 -> root:www-data 640; secret, not shown)",
        "create /etc/catmaid/web/black.png (root:root 644; not text)",
        "owner or mode of /etc/catmaid (root:root 755 -> root:root 750)",
        "link /etc/nginx/on.conf -> /etc/nginx/a.conf",
        "correct the link /etc/nginx/moved.conf /srv/b -> /etc/nginx/a.conf",
        "remove /etc/nginx/old.conf",
        "--- a/etc/nginx/old.conf",
        "+++ /dev/null",
        "@@ -1 +0,0 @@",
        "-old",
        "",
        "reload nginx: its files change",
        "",
        "==== lab.example.org: summary ".ljust(100, "="),
        "dry run, nothing was changed; a deploy would:",
        "  install packages: nginx",
        "  nginx: 4 changed, 3 new, 1 removed; reload nginx",
        "note: last changed by carol",
        "WARNING workers: too | many <b>*of* them",
        "serves https://lab.example.org/catmaid/",
    ]


def test_without_diff_it_is_the_same_without_the_diffs() -> None:
    with_diffs, without = (patch.text([report()], diff, PLAIN).splitlines() for diff in (True, False))
    diffs = [line for one in report().changes["nginx"].differences for line in one.lines]
    assert len(with_diffs) == len(without) + len(diffs) + 3
    assert [line for line in with_diffs if line in without and line] == [line for line in without if line]
    assert not any(line.startswith(("+", "-", "@")) for line in without)


def test_the_summaries_of_all_hosts_come_last() -> None:
    rules = [line for line in patch.text([report("a"), report("b")], True, PLAIN).splitlines() if line[:4] == "===="]
    assert [rule.strip("= ") for rule in rules] == [
        *("a: install packages", "a: nginx", "b: install packages", "b: nginx", "a: summary", "b: summary")
    ]


def test_nothing_to_do() -> None:
    quiet = Report("lab", served=["https://lab/"])
    lines = patch.text([quiet], True, PLAIN).splitlines()
    assert lines[1:] == ["==== lab: summary ".ljust(100, "="), NOTHING, "serves https://lab/"]
    assert "# Nothing to do\n" in patch.markdown([quiet], [], "lab.py", True, True)


def test_colours_change_no_character() -> None:
    coloured = patch.text([report()], True, patch.Terminal(colours=True))
    assert click.unstyle(coloured) == patch.text([report()], True, PLAIN)
    for line, style in (
        ("+workers 4;", {"fg": "green"}),
        ("-workers 2;", {"fg": "red"}),
        ("@@ -1,3 +1,3 @@", {"fg": "cyan"}),
        ("--- a/etc/nginx/a.conf", {"bold": True}),
        ("WARNING workers: too | many <b>*of* them", {"fg": "yellow"}),
    ):
        assert click.style(line, **style) in coloured.splitlines()
    assert " user www-data;" in coloured.splitlines()


@pytest.mark.parametrize(
    ("tty", "environment", "colours"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_where_there_are_colours(
    monkeypatch: pytest.MonkeyPatch, tty: bool, environment: dict[str, str], colours: bool
) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return tty

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert patch.Terminal.of(Stream()) == patch.Terminal(colours, 80 if tty else 0)


def test_words_are_wrapped_in_a_terminal_and_lines_of_files_are_not() -> None:
    one = report()
    command = Command("setfacl " + "x" * 120)
    one.warnings = [warning("workers", "word " * 40), warning("tiles", "closed", command)]
    long = "x" * 150
    one.changes["nginx"] = Change(
        ConfigurationSet("nginx"),
        compare(ConfigurationSet("nginx", (File("/etc/long", f"{long}\n"),)), survey({})),
        (Reason("reload", "nginx", "why " * 40),),
    )
    lines = patch.text([one], True, patch.Terminal(columns=100)).splitlines()
    assert [line for line in lines if len(line) > 100] == [f"+{long}", f"  fix: {command.text}"]
    assert max(map(len, patch.text([one], True, PLAIN).splitlines())) > 200


def test_secrets_are_named_and_not_shown() -> None:
    for one in (
        patch.text([report()], True, PLAIN),
        patch.text([report()], True, patch.Terminal(colours=True)),
        patch.markdown([report()], [], "lab.py", True, True),
        patch.changes(report(), PLAIN),
    ):
        assert "/etc/nginx/passwords" in one
        for text in (SECRET, SECRET[::-1]):
            assert not any(text[n : n + 8] in one for n in range(len(text) - 8))


def test_what_not_everybody_may_read_is_not_shown() -> None:
    """Nor taken for an empty file: a diff from nothing would be wrong."""
    one = ConfigurationSet("set", (File("/etc/a", "new\n"),))
    private = on_host("old\n", mode="600", secret=True)
    (changed,) = compare(one, survey({"/etc/a": private}))
    assert changed.lines == ()
    assert changed.note == "root:root 600 -> root:root 644; not shown, since not everybody may read it there"
    (gone,) = compare(ConfigurationSet("set"), survey({"/etc/a": private}, manifest={"set": {"/etc/a": "x"}}))
    assert (gone.what, gone.lines) == ("remove", ())
    assert "not shown" in gone.note


TEXTS = st.lists(st.sampled_from(["one", "two", "", "-- three", "++ four", "a\x0cb", "c\u2028d", "e\rf", " "]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(TEXTS, TEXTS, st.booleans(), st.booleans())
def test_patch_makes_one_text_of_the_other(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], after: list[str], ends: bool, will_end: bool
) -> None:
    old, new = ("\n".join(lines) + "\n" * end for lines, end in ((before, ends), (after, will_end)))
    file = File("/etc/a", new)
    found = compare(ConfigurationSet("set", (file,)), survey({"/etc/a": on_host(old)}))
    folder = tmp_path_factory.mktemp("patch")
    (folder / "etc").mkdir()
    (folder / "etc/a").write_text(old, newline="")
    for one in found:
        text = "\n".join(one.lines) + "\n"
        subprocess.run(["patch", "-s", "-p1", "--binary"], cwd=folder, input=text.encode(), check=True)
    # patch removes what it makes empty.
    left = (folder / "etc/a").read_bytes().decode() if Path(folder / "etc/a").exists() else ""
    assert left == new


# ---- Markdown ----


def test_the_summary_has_a_heading_a_host_and_a_table_of_services() -> None:
    text = patch.markdown(
        [report("a"), Report("b", served=["https://b/"])], [], "inventories/lab.py, revision 1234567", True, True
    )
    lines = text.splitlines()
    assert [line for line in lines if line[:1] == "#"] == ["# Dry run: changes on 1 of 2 hosts", "## a", "## b"]
    assert "inventories/lab.py, revision 1234567" in text
    table = lines.index("| service | a deploy would |")
    assert lines[table + 1 : table + 4] == [
        "|---|---|",
        "| install packages | nginx |",
        "| nginx | 4 changed, 3 new, 1 removed; reload nginx |",
    ]
    assert r"- **Warning:** workers: too \| many &lt;b&gt;\*of\* them" in lines
    assert "- Note: last changed by carol" in lines
    assert "<details><summary>nginx: 4 changed, 3 new, 1 removed</summary>" in lines
    assert "<details>" not in patch.markdown([report()], [], "lab.py", True, False)
    # What wasn't done says so where it isn't a dry run.
    real = patch.markdown([report()], [], "lab.py", False, False)
    assert real.startswith("# Not done: changes on 1 of 1 host\n")
    assert "| install packages | not reached: nginx |" in real


def test_no_line_of_a_file_ends_its_fence() -> None:
    """What is in fences is left out as a reader of CommonMark does; only ours may close the details."""
    text = patch.markdown([report()], [], "lab.py", True, True)
    outside, fence = [], ""
    for line in text.splitlines():
        ticks = re.match(r"(`{3,})(diff)?$", line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif ticks and ticks[2]:
            fence = ticks[1]
        else:
            outside.append(line)
    assert fence == ""
    assert "+```" in text.splitlines()
    assert outside.count("</details>") == 1
    assert not any(line.startswith(("+", "--- a", "@@")) for line in outside)
    assert patch._fence(["+````x", "`"]) == "`````"


def test_diffs_that_are_too_long_for_a_comment_stay_out() -> None:
    one = report()
    wide = ConfigurationSet("programs of catmaid", (File("/etc/wide", "wide\n" * patch.LARGEST_SUMMARY),))
    one.changes["programs of catmaid"] = Change(wide, compare(wide, survey({})))
    one.planned.append(("programs of catmaid", [], None))
    text = patch.markdown([one], [], "lab.py", True, True)
    assert len(text) < 65_536
    assert "| programs of catmaid | 1 new |" in text
    assert "The diffs of programs of catmaid are too long for here: see the run's output." in text
    assert "<summary>nginx: " in text


def test_a_refusal_and_a_run_that_broke_are_told() -> None:
    finding = fault("site.user", "there is no user 'x'")
    refused = patch.markdown([], [("a", finding)], "lab.py", True, True)
    assert refused.startswith("# Refused: nothing was changed on any host\n\n- a: site.user: there is no user 'x'")
    assert patch.markdown([], [], "lab.py", True, True).startswith("# The run ended before it had looked at the hosts")
