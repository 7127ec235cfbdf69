"""Findings: one shape from the check to the screen, and fixes that can be typed as they stand."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator

import pytest

from catmaid_deploy import escape
from catmaid_deploy.finding import HERE, Command, fault, warning
from testbed.images import ROOT

# What runs on the admin's machine; `catmaid_deploy/__main__.py` prints a path.
SOURCES = [
    path
    for folder in ("tasks", "catmaid_deploy")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "on_host" not in path.parts and path.name != "__main__.py"
]


def test_a_finding_is_one_line_whatever_is_in_it() -> None:
    made = fault("page\nof x", "\x1b]0;title\x07forged\n--> host: done\u2028", "see\nabove")
    assert made.line("web1").isprintable()
    assert "forged --> host: done" in made.line("web1")
    assert len(fault("a", "x" * 100_000).line()) < 500
    assert "99,600 more characters" in fault("a", "x" * 100_000).line()


@pytest.mark.parametrize(
    "address",
    ["amqp://tracer:hunter2@broker:5672/x", "postgres://a:hunter2@db/x", "redis://:hunter2@localhost:6379/0",
     "amqp://a:hunt/er2@hunter2@b/x"],
)  # fmt: skip
def test_no_message_has_a_password(address: str) -> None:
    made = warning("broker", f"ConnectionRefusedError: {address} doesn't answer", f"correct {address}")
    for text in (made.line(), json.dumps(made.for_machines("web1"))):
        assert "hunter2" not in text
        assert "doesn't answer" in text


def test_machines_learn_where_a_fix_is_typed() -> None:
    here, there = Command("pyinfra a.py deploy.py", HERE), Command("systemctl start nginx")
    assert [fault("a", "b", fix).for_machines("web1")["on"] for fix in (here, there, "look")] == [HERE, "web1", None]


@pytest.mark.parametrize("text", ["a\tb", "\x00", "\x9b2J", "\u202egnp.exe", "\udc80", "a\nb", "grün ✓"])
def test_text_gives_the_terminal_no_commands(text: str) -> None:
    shown = escape.visible(text)
    shown.encode()
    assert shown.replace("\t", "").isprintable()
    assert escape.visible("grün\t✓") == "grün\t✓"


# ---- every fix of the source ----


def texts(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may be, with a word for each value that is known at run time alone."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "value" for part in values)
        case ast.IfExp(body=body, orelse=orelse):
            yield from texts(body)
            yield from texts(orelse)
        case ast.BoolOp(values=values):
            for value in values:
                yield from texts(value)


def fixes() -> Iterator[tuple[str, bool, str]]:
    """Each fix of the source: its place, whether it is a command, and its text. A name is looked up in its function."""
    for path in SOURCES:
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            named = {
                target.id: node.value
                for node in ast.walk(function)
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for node in ast.walk(function):
                match node:
                    case ast.Call(func=ast.Name(id="Command"), args=[text, *_]):
                        found = [(True, one) for one in (named.get(text.id) if isinstance(text, ast.Name) else text,)]
                    case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[_, _, fix]) if name in (
                        "fault", "warning", "missed", "warn", "_refuse", "_no_access",
                    ):  # fmt: skip
                        found = [(False, named.get(fix.id) if isinstance(fix, ast.Name) else fix)]
                    case _:
                        continue
                for is_command, expression in found:
                    for one in texts(expression) if expression is not None else ():
                        yield f"{path.name}:{node.lineno}", is_command, one


ALL = sorted(set(fixes()))
COMMANDS = [pytest.param(text, id=place) for place, is_command, text in ALL if is_command]
SENTENCES = [pytest.param(text, id=place) for place, is_command, text in ALL if not is_command]


def test_the_fixes_are_found() -> None:
    assert len(COMMANDS) >= 15
    assert len(SENTENCES) >= 50
    assert "systemctl start nginx" in {text for _, _, text in ALL}


@pytest.mark.parametrize("text", COMMANDS)
def test_a_command_can_be_typed_as_it_stands(text: str) -> None:
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n" not in text
    assert not re.search(r"chmod \S*o\+|chmod 6[4-7]|chmod 7\d[1-7]", text), "it opens something to everybody"
    assert not re.search(r" or |\(|\.\.\.|, | with | it$|--dry", text), "words that are no part of it"
    assert not re.search(r"\bkill (?!-- -)", text), "a part of a process group is killed"
    assert not re.search(r"install (django|daphne|celery)", text), "the application names its own versions"


# Verbs that begin a sentence of ours, and are a program's name or the shell's own word as well.
PROGRAMS = re.compile(
    "cat|convert|cut|date|dig|do|env|exec|exit|export|find|free|head|help|host|if|install|join|kill|last|let|link|"
    "look|make|mount|open|read|reboot|renice|reset|restart|select|set|sort|split|stop|su|test|time|touch|type|view|"
    "wait|watch|which|write"
)


@pytest.mark.parametrize("text", SENTENCES)
def test_a_sentence_does_not_look_like_a_command(text: str) -> None:
    word = text.split()[0]
    assert not PROGRAMS.fullmatch(word)
    assert re.fullmatch(r"[a-z']+,?", word), "it doesn't begin with a word"
    assert not re.match(r"\S+ -", text)


def test_no_message_is_cut_apart_again() -> None:
    for path in SOURCES:
        assert not re.search(r"""r?partition\(": "\)""", path.read_text()), path.name


def test_nothing_else_prints_what_a_host_says() -> None:
    """Beside the one place that makes it visible."""
    printing = [path.name for path in SOURCES if re.search(r"\bprint\(", path.read_text())]
    assert printing == []
