"""Secrets of an inventory: where they come from, and what is said when they don't or when they are none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from catmaid_deploy import schema, secret

VALUE = "correct horse"
HASH = "$6$abcdefgh$" + "a" * 86
HERE = Path(__file__).name


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts an executable of a name on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    secret._output.cache_clear()

    def make(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return make


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(SystemExit) as ended:
        read()
    line = str(ended.value)
    assert "\n" not in line
    assert VALUE not in line
    start, _, rest = line.partition(", line ")
    assert Path(start.removeprefix("--> ")).name == HERE
    return rest.partition(": ")[2]


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_SUDO", VALUE)
    assert secret.from_environment("LAB_SUDO").unmask() == VALUE
    monkeypatch.setenv("LAB_SUDO", "")
    fix = "give it in the shell that runs pyinfra, as export LAB_SUDO=..."
    assert refusal(lambda: secret.from_environment("LAB_SUDO")) == f"the environment variable LAB_SUDO is empty: {fix}"
    monkeypatch.delenv("LAB_SUDO")
    said = refusal(lambda: secret.from_environment("LAB_SUDO"))
    assert said == f"the environment variable LAB_SUDO isn't set: {fix}"


def test_from_a_file_that_is_the_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "sudo"
    said = refusal(lambda: secret.from_file("~/sudo"))
    fix = "put the secret there, in its first line, readable by you alone"
    assert said == f"~/sudo can't be read (No such file or directory): {fix}"
    file.write_text(f"{VALUE}\nnotes\n")
    file.chmod(0o640)
    said = refusal(lambda: secret.from_file("~/sudo"))
    assert said == f"~/sudo can be read by others: on this machine: chmod 600 {file}"
    file.chmod(0o600)
    assert secret.from_file("~/sudo").unmask() == VALUE
    file.write_bytes(b"\xff\xfe")
    assert "it isn't text" in refusal(lambda: secret.from_file("~/sudo"))
    file.write_text("\n")
    assert refusal(lambda: secret.from_file("~/sudo")) == "~/sudo is empty: put the secret into its first line"


@pytest.mark.parametrize("words", [("pass", "show", "lab/sudo"), ("bw", "get", "password", "lab-sudo")])
def test_from_a_password_manager(words: tuple[str, ...], stand_in: Callable[[str, str], None], tmp_path: Path) -> None:
    name, *rest = words
    stand_in(name, f'echo asked >> {tmp_path}/asked; [ "$*" = "{" ".join(rest)}" ] && printf "{VALUE}\\nnotes"')
    assert [secret.from_command(*words).unmask() for _ in range(2)] == [VALUE, VALUE]
    assert (tmp_path / "asked").read_text() == "asked\n"  # of two hosts the first one asks
    other = (*words[:-1], "lab-other")
    assert refusal(lambda: secret.from_command(*other)) == (
        f"'{' '.join(other)}' ended with 1: run it in this shell, and correct what it says"
    )


def test_a_password_manager_that_is_not_there_or_says_nothing(stand_in: Callable[[str, str], None]) -> None:
    said = refusal(lambda: secret.from_command("no-such-manager", "x"))
    assert said == "'no-such-manager x' can't be run: have no-such-manager installed, or correct its name"
    stand_in("silent", "echo")
    assert (
        refusal(lambda: secret.from_command("silent"))
        == "the output of 'silent' is empty: correct the name of the entry"
    )
    stand_in("binary", r"printf '\377'")
    assert "it doesn't print text" in refusal(lambda: secret.from_command("binary"))


def test_a_hash_may_be_one() -> None:
    site = {"server_name": "a.org", "instances": [{}]}
    deployment = schema.load(site | {"passwords": {"alice": secret.Secret(HASH)}})
    assert deployment.sites[0].passwords == {"alice": HASH}
    with pytest.raises(schema.InvalidSite) as error:
        schema.load(site | {"passwords": {"alice": secret.Secret(VALUE)}})
    assert VALUE not in str(error.value)
    assert "the hash of alice is neither bcrypt nor SHA-512" in str(error.value)
    with pytest.raises(schema.InvalidSite) as error:
        schema.load(site | {"server_name": secret.Secret(VALUE)})
    assert error.value.lines == ["site.server_name: text is needed, not '*MASKED*'"]
