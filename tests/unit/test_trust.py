"""What root may touch by itself, and what belongs to somebody else."""

from __future__ import annotations

import ast
import grp
import importlib
import os
import re
import socket
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from catmaid_deploy import script
from catmaid_deploy.operations import jobs

trust: Any = importlib.import_module("catmaid_deploy.on_host.trust")
HERE = trust.Here()


def test_what_the_system_has_is_roots() -> None:
    assert trust.owner("/etc/passwd") == 0
    assert "root:" in trust.ROOT.read("/etc/passwd")
    assert trust.ROOT.is_folder("/etc")
    assert trust.ROOT.is_file("/etc/passwd")
    assert "passwd" in trust.ROOT.names("/etc")


def test_ubuntu_s_folder_of_logs_is_the_system_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rsyslogd may write there, by a group that nobody else is in."""
    status = os.stat_result((stat.S_IFDIR | 0o775, 0, 0, 2, 0, 104, 0, 0, 0, 0))
    for members, roots in ((None, False), ([], True), (["ada"], False)):
        group = members is not None and grp.struct_group(("syslog", "x", 104, members))
        monkeypatch.setattr(trust.grp, "getgrnam", {"syslog": group}.__getitem__ if group else {}.__getitem__)
        assert trust._roots(status) == roots


def test_a_shared_folder_is_nobodys() -> None:
    """/tmp is root's, and everybody may make names in it."""
    with pytest.raises(trust.NotRoots) as error:
        trust.ROOT.open("/tmp/anything")
    assert error.value.uid == trust.NOBODY
    assert trust.owner("/tmp/anything") == trust.NOBODY
    assert trust.ROOT.read("/tmp/anything", "none") == "none"
    assert trust.ROOT.names("/tmp") == []
    with pytest.raises(trust.NotRoots):
        trust.ROOT.write("/tmp/anything", b"text")


def test_a_link_of_roots_is_followed_to_where_it_leads(tmp_path: Path) -> None:
    """/proc/self/cwd leads into a folder of this test's user, or of everybody's."""
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(trust.NotRoots):
            trust.ROOT.open("/proc/self/cwd/anything")
    finally:
        os.chdir(before)


def test_a_program_must_be_roots(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho it ran\n")
    program.chmod(0o755)
    assert trust.run([str(program)])[0] == 127
    assert trust.run(["echo", "said"]) == (0, "said")
    assert trust.run(["no-such-program"])[0] == 127


def test_nobody_is_made_root_by_another_name() -> None:
    with pytest.raises(trust.Failed, match="is root"):
        trust.As("root")
    with pytest.raises(trust.Failed, match="no user"):
        trust.As("nobody-of-that-name")


def test_a_file_is_written_whole_and_a_link_isnt_written_through(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_text("before")
    Path(trust.prepared(str(path))).symlink_to(victim)
    HERE.write(str(path), b"after", 0o640)
    assert victim.read_text() == "before"
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    HERE.link(str(tmp_path / "link"), "file")
    assert HERE.target(str(tmp_path / "link")) == "file"
    HERE.rename(str(path), str(tmp_path / "other"))
    assert HERE.read(str(tmp_path / "other")) == "after"


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "link to a device", "endless"])
def test_what_is_no_plain_file_is_never_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "socket":
            socket.socket(socket.AF_UNIX).bind(str(path))
        case "folder":
            path.mkdir()
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "endless":
            with path.open("wb") as file:
                file.truncate(1 << 40)
            assert len(HERE.read(str(path), most=100)) == 100
            return
    assert HERE.read(str(path), "none") == "none"


def test_a_tree_goes_without_what_its_links_lead_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    tree = tmp_path / "tree"
    deep = tree
    for _ in range(60):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    (tree / "link").symlink_to(kept)
    HERE.remove_tree(str(tree))
    assert not tree.exists()
    assert (kept / "file").exists()
    HERE.remove_tree(str(tree))


def test_a_folder_is_emptied_and_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    HERE.empty(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_log_is_read_from_where_it_was(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\nafter\n")
    assert HERE.read(str(log), since=7) == "after\n"
    assert HERE.read(str(log), since=7, most=3, end=True) == "er\n"
    assert HERE.read(str(log), most=100, end=True) == "before\nafter\n"


def test_nothing_is_added_to_a_file_of_two_names(tmp_path: Path) -> None:
    """One of them may be in a folder where it says something else."""
    log = tmp_path / "log"
    HERE.append(str(log), "one\n")
    HERE.append(str(log), "two\n")
    assert log.read_text() == "one\ntwo\n"
    os.link(log, tmp_path / "other")
    with pytest.raises(OSError, match="own"):
        HERE.append(str(log), "three\n")


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    HERE.lock(str(tmp_path / "lock"))
    with pytest.raises(BlockingIOError):
        HERE.lock(str(tmp_path / "lock"))


def test_a_process_ends_in_time_and_within_its_size() -> None:
    assert trust.start(["sleep", "60"]).end(0.2)[0] == -9
    # A child that goes on with the other end of the pipe isn't waited for.
    assert trust.run(["sh", "-c", "sleep 60 & echo said"], 20) == (0, "said")
    code, output, _ = trust.start(["yes"], most=1000).end(20)
    assert code == -9
    assert len(output) == 1000


def test_what_not_even_a_kill_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a disk that hangs, which may be the application's own."""

    def hangs(_: Any, timeout: float | None = None) -> int:
        assert timeout is not None
        raise trust.subprocess.TimeoutExpired("x", timeout)

    process = trust.start(["sleep", "9"])
    monkeypatch.setattr(trust.subprocess.Popen, "poll", lambda _: None)
    monkeypatch.setattr(trust.subprocess.Popen, "wait", hangs)
    assert process.end(0.1)[:2] == (-9, "\nno end within 0 s")


def test_a_child_answers_or_is_given_up() -> None:
    assert trust.within(20, lambda at: {"names": at.names("/no-such-folder")}) == {"names": []}
    with pytest.raises(FileNotFoundError):
        trust.within(20, lambda at: at.bytes("/no-such-file"))
    with pytest.raises(trust.Failed, match="no answer within"):
        trust.within(0.2, lambda at: time.sleep(60))
    with pytest.raises(trust.Failed, match="ended without an answer"):
        trust.within(20, lambda at: os._exit(1))


def test_a_child_answers_also_when_nobody_listens_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The admin's connection was lost, and there is something left to be said."""
    reader, writer = os.pipe()
    os.close(reader)
    lost = os.fdopen(writer, "w")
    lost.write("said to nobody")
    monkeypatch.setattr(sys, "stdout", lost)
    assert trust.within(5, lambda at: 3) == 3
    with pytest.raises(BrokenPipeError):
        lost.close()


def test_a_text_steers_no_terminal() -> None:
    assert trust.plain("a\x1b]0;title\x07\tb\u202e") == "a\\x1b]0;title\\x07    b\\x202e"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_process_is_told_by_the_kernel() -> None:
    assert os.getpid() in trust.processes()
    assert trust.proc(os.getpid(), "stat").startswith(str(os.getpid()))
    assert trust.proc(1 << 30, "stat") == ""


# ---- what the scripts for the host may call by themselves ----

ON_HOST = sorted(script.FOLDER.rglob("*.py"))
# Of os, what touches no file of anybody's: names, and the process itself.
HARMLESS = {
    *("path.basename", "path.dirname", "path.join", "path.split", "getpid", "getppid", "geteuid", "sysconf", "_exit"),
    *("environ", "statvfs_result", "get_terminal_size", "cpu_count", "getloadavg", "getgrouplist"),
}
TOUCHING = {"shutil", "subprocess", "tempfile", "glob", "pathlib", "fcntl", "ctypes", "pty", "mmap"}

# Each that is sent to a host by itself.
SCRIPTS = sorted(
    ".".join(path.relative_to(script.FOLDER).with_suffix("").parts)
    for path in ON_HOST
    if re.search(r"^(?:answer\(\w+\)|sys\.exit\(main\(\)\))$", path.read_text(), re.MULTILINE)
)

# Texts that are run as the user whose files they read and change.
AS_USERS = {"SHARE", "PYTHON", "NOTING", "LOADING", "SETTINGS", "NOTICE", "PROBE", "OF_SETTINGS", "DUMPING", "MAIL"}


def touches(source: str) -> list[str]:
    """The lines of a script that open, change or run something by themselves."""
    found = []
    tree = ast.parse(source)
    given = [one.value for one in tree.body if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) in AS_USERS]
    as_users = [text for one in given for text in ast.walk(one)]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                bad = [name.name for name in names if name.name.split(".")[0] in TOUCHING]
            case ast.ImportFrom(module=module, names=names):
                bad = [name.name for name in names if module in (*TOUCHING, "os", "os.path", "io")]
            case ast.Name(id="open" | "exec" | "eval" | "__import__" | "compile" as name):
                bad = [name]
            case ast.Attribute():
                words = ast.unparse(node)
                whole = words.removeprefix("os.")
                inner = isinstance(node.value, ast.Name) and whole == "path"
                bad = [words] if words.startswith("os.") and not inner and whole not in HARMLESS else []
                bad += [words] if words == "socket.AF_UNIX" else []
            case ast.Constant(value=str() as text) if "import " in text and node not in as_users:
                # What root's own python3 is given to run.
                try:
                    bad = touches(text)
                except SyntaxError:
                    bad = []
            case _:
                bad = []
        found += [f"{getattr(node, 'lineno', 0)}: {name}" for name in bad]
    return found


@pytest.mark.parametrize("path", ON_HOST, ids=lambda path: str(path.relative_to(script.FOLDER)))
def test_one_module_touches_what_others_may_write(path: Path) -> None:
    found = touches(path.read_text())
    assert bool(found) == (path == script.FOLDER / "trust.py"), found


WRONG = """
open('/etc/passwd')
from os import unlink
import os; os.unlink('/x')
f = os.path.exists('/x')
f = os.chown
SCRIPT = 'import os; os.unlink(1)'
import subprocess
from shutil import rmtree
f = socket.AF_UNIX
__import__('os')
"""


@pytest.mark.parametrize("line", WRONG.strip().splitlines())
def test_a_wrong_line_of_each_kind_is_found(line: str) -> None:
    assert touches(line)


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_name_of_a_script_is_there_once(name: str) -> None:
    """One would replace the other without a word."""
    seen: set[str] = set()
    for node in ast.parse(script.joined(name)).body:
        names = [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        names += [t.id for t in getattr(node, "targets", ()) if isinstance(t, ast.Name)]
        assert not seen & set(names)
        seen |= set(names)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_answers_once_and_imports_nothing_of_this_project(name: str) -> None:
    text = script.joined(name)
    assert "catmaid_deploy" not in {word for line in text.splitlines() for word in line.split() if "import" in line}
    assert len(re.findall(r"^(?:answer\(\w+\)|sys\.exit\(main\(\)\))$", text, re.MULTILINE)) == 1


def test_the_script_fits_into_one_argument() -> None:
    """Linux takes 128 KiB, of which sudo's shell needs some for its own quotes."""
    assert len(str(jobs.job({}).bits[-1])) < 120 << 10
