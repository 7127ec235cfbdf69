"""What is asked of places that others may write, when those have put there what they like."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from catmaid_deploy.facts import survey

ON_HOST: dict[str, Any] = {}
exec(survey.Survey.script.removesuffix("\nanswer(survey)\n"), ON_HOST)  # noqa: S102
OF_HEALTH: dict[str, Any] = {}
exec(survey.Health.script.removesuffix("\nanswer(health)\n"), OF_HEALTH)  # noqa: S102
HERE = ON_HOST["Here"]()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(path))


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _deep(path: Path) -> None:
    path.write_text("[" * 200_000)


def _binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def _loop(path: Path) -> None:
    path.symlink_to(path)


THINGS = [_fifo, _socket, _endless, _huge, _deep, _binary, _loop]
THING = pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.__name__[1:])
Thing = Callable[[Path], None]


@THING
def test_a_record_is_one_or_none(tmp_path: Path, thing: Thing) -> None:
    slot, other = tmp_path / "wsgi-a", tmp_path / "a\n\x1b[2Jb"
    slot.mkdir()
    other.mkdir()
    thing(slot / "started")
    (other / "started").write_text("17 4 abc none def\n")
    assert ON_HOST["records"](HERE, str(tmp_path)) == {"a\n\x1b[2Jb": [17, "abc", "none", "def"]}


@pytest.mark.parametrize(
    "text",
    ["", "17\n", "-17 4 abc none def", "17 4 abc none def more", "1" * 400 + " 4 a b c", "17 4 ABC; none def",
     "17 4 abc none def\n17 4 abc none def\n"],
)  # fmt: skip
def test_a_forged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "wsgi-a").mkdir()
    (tmp_path / "wsgi-a" / "started").write_text(text)
    assert ON_HOST["records"](HERE, str(tmp_path)) == {}


def _tells(path: Path, data: bytes, endless: bool = False, times: int = 1) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def answer() -> None:
        for _ in range(times):
            connection, _ = server.accept()
            with connection:
                try:
                    connection.sendall(data)
                    while endless:
                        connection.sendall(data)
                except OSError:
                    pass

    threading.Thread(target=answer, daemon=True).start()


WORKER = {"cores": [{"in_request": 1}, {"in_request": 0}], "requests": 7}


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"workers": [WORKER], "listen_queue": 3}, {"requests": 7, "busy": 1, "threads": 2, "waiting": 3}),
        ({"workers": [WORKER]}, {"requests": 7, "busy": 1, "threads": 2, "waiting": 0}),
        ({}, None),
        ([], None),
        ({"workers": []}, None),
        ({"workers": [{"cores": [], "requests": 1}]}, None),
        ({"workers": [{"requests": 1}]}, None),
        ({"workers": [WORKER | {"requests": "7"}]}, None),
        ({"workers": [WORKER | {"requests": -7}]}, None),
        ({"workers": [WORKER | {"requests": 10**30}]}, None),
        ({"workers": [WORKER], "listen_queue": None}, None),
        ({"workers": [WORKER | {"cores": [{"in_request": 0}] * 5000}]}, None),
        ({"workers": {"a": 1}}, None),
    ],
)
def test_statistics_are_of_the_right_kind_or_none(tmp_path: Path, told: object, found: object) -> None:
    _tells(tmp_path / "stats", json.dumps(told).encode())
    assert ON_HOST["statistics"](HERE, str(tmp_path / "stats")) == found


def test_statistics_without_end_are_none(tmp_path: Path) -> None:
    _tells(tmp_path / "stats", b" " * 65536, endless=True)
    begin = time.monotonic()
    assert ON_HOST["statistics"](HERE, str(tmp_path / "stats")) is None
    assert time.monotonic() - begin < 10


def test_stopped_ones_keep_nobody_from_the_others(tmp_path: Path) -> None:
    """A stopped program has a connection wait: of many at once that would be more than the question has time for."""
    told = json.dumps({"workers": [WORKER]}).encode()
    silent = [str(tmp_path / f"silent-{number}") for number in range(30)]
    waiting = []
    for path in silent:
        waiting.append(socket.socket(socket.AF_UNIX))
        waiting[-1].bind(path)
        waiting[-1].listen()
    _tells(tmp_path / "well", told, times=2)
    begin = time.monotonic()
    found = OF_HEALTH["counted_all"](HERE, [*silent, str(tmp_path / "well")])
    assert time.monotonic() - begin < OF_HEALTH["TOGETHER"]
    assert {path for path, (numbers, _) in found.items() if numbers} == {str(tmp_path / "well")}
    for one in waiting:
        one.close()


@THING
def test_statistics_of_no_socket_are_none(tmp_path: Path, thing: Thing) -> None:
    thing(tmp_path / "stats")
    assert ON_HOST["statistics"](HERE, str(tmp_path / "stats")) is None


def _application(folder: Path) -> dict[str, Any]:
    return {
        "checkout": str(folder),
        "virtualenv": str(folder / "env"),
        "wsgi_file": str(folder / "wsgi"),
        "lasting_wsgi_file": str(folder / "wsgi"),
        "settings_file": str(folder / "settings.py"),
        "requirements": [],
        "settings": {"notes": str(folder / "notes"), "folder": "/projects", "said": "said", "environment": {}},
    }


@THING
def test_settings_and_notes_may_be_anything(tmp_path: Path, thing: Thing) -> None:
    thing(tmp_path / "settings.py")
    thing(tmp_path / "notes")
    found = ON_HOST["application"](HERE, _application(tmp_path))
    assert set(found["literals"].values()) == {None}
    assert found["settings"] is None
    assert found["missing"] == str(tmp_path / "env")


TOLD = {
    "STATIC_ROOT": "/a/static", "MEDIA_ROOT": None, "ALLOWED_HOSTS": ["a.org"], "brokers": None,
    "MEDIA_URL": "/files/", "STATIC_URL": None, "FORCE_SCRIPT_NAME": None,
    "SESSION_COOKIE": ["sessionid", "/", "", True], "CSRF_COOKIE": ["csrftoken", "/", "", False],
}  # fmt: skip


def _noted(folder: Path, **change: Any) -> Any:
    """What is found where notes say TOLD, and of it what is changed."""
    source = folder / "settings.py"
    source.write_text("DEBUG = False\n")
    status = source.stat()
    state = ["/projects", "said", {str(source): [status.st_ctime, status.st_size]}]
    (folder / "notes").write_text(json.dumps({"state": state, "settings": TOLD} | change))
    return ON_HOST["application"](HERE, _application(folder))["settings"]


def test_notes_are_gone_by_while_nothing_changed(tmp_path: Path) -> None:
    assert _noted(tmp_path) == TOLD | {"real": {"STATIC_ROOT": "/a/static", "MEDIA_ROOT": None}}
    with (tmp_path / "settings.py").open("a") as file:
        file.write("DEBUG = True\n")
    assert ON_HOST["application"](HERE, _application(tmp_path))["settings"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"state": None}, {"state": ["/projects", "said", {}]}, {"state": ["/other", "said", {"/etc/passwd": [1, 1]}]},
        {"state": ["/projects", "said", {"/etc/passwd": 1}]}, {"state": ["/projects", "said", ["/etc/passwd"]]},
        {"settings": None}, {"settings": TOLD | {"STATIC_ROOT": 3}}, {"settings": TOLD | {"STATIC_ROOT": "static"}},
        {"settings": TOLD | {"CSRF_COOKIE": ["x"]}}, {"settings": TOLD | {"MEDIA_URL": 3}},
        {"settings": TOLD | {"ALLOWED_HOSTS": "*"}}, {"settings": TOLD | {"ALLOWED_HOSTS": [1]}}, {"settings": {}},
    ],
)  # fmt: skip
def test_forged_notes_are_none(tmp_path: Path, change: dict[str, Any]) -> None:
    assert _noted(tmp_path, **change) is None


def _key(path: Path) -> None:
    path.write_text("-----BEGIN EC PRIVATE KEY-----\n")


def _bare(path: Path) -> None:
    (path.parent / "objects").mkdir()
    (path.parent / "refs").mkdir()
    path.write_text("ref: refs/heads/main\n")


@pytest.mark.parametrize(
    ("name", "make", "kind"),
    [
        ("settings.py", Path.touch, "settings"),
        ("below/settings.py", Path.touch, "settings"),
        (".git", Path.mkdir, "repository"),
        ("HEAD", _bare, "repository"),
        ("pyvenv.cfg", Path.touch, "environment"),
        ("below/pyvenv.cfg", Path.touch, "environment"),
        ("site.key", _key, "key"),
        ("below/id_ed25519", _key, "key"),
        ("site.pem", Path.touch, None),
        ("HEAD", Path.touch, None),
        ("settings.json", Path.touch, None),
        ("site.key", _fifo, None),
        ("site.key", _endless, None),
    ],
)
def test_what_nobody_wants_to_be_served_is_found(
    tmp_path: Path, name: str, make: Callable[[Path], Any], kind: str | None
) -> None:
    place = tmp_path / "link" / name
    (tmp_path / "served").mkdir()
    (tmp_path / "link").symlink_to("served")
    place.parent.mkdir(exist_ok=True)
    make(place)
    found = ON_HOST["served"](HERE, str(tmp_path / "link"))
    assert found == {"real": str(tmp_path / "served"), "holds": [[kind, name]] if kind else [], "links": []}


def test_links_to_what_another_user_owns_are_named(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("x")
    (tmp_path / "fine").symlink_to("own")
    (tmp_path / "gone").symlink_to("nothing")
    (tmp_path / "other").symlink_to("/etc/passwd")
    os.lchown(tmp_path / "other", os.getuid() or 1, -1)
    assert ON_HOST["served"](HERE, str(tmp_path))["links"] == ["other"]


def test_a_folder_of_many_files_is_soon_looked_through(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number}").mkdir()
    (tmp_path / ".git").mkdir()
    begin = time.monotonic()
    assert ON_HOST["served"](HERE, str(tmp_path))["holds"] == [["repository", ".git"]]
    assert time.monotonic() - begin < 2


def test_what_can_t_be_reached_isn_t_missing(tmp_path: Path) -> None:
    there = ON_HOST["there"]
    assert not there(HERE, str(tmp_path / "none"))
    assert there(HERE, str(tmp_path))
    assert not there(HERE, str(tmp_path / "none" / "below"))


def test_one_that_hangs_costs_no_more_than_its_own_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a disk that doesn't answer; the others' answers come all the same, and it is named."""
    monkeypatch.setitem(ON_HOST, "TOGETHER", 1)
    monkeypatch.setitem(ON_HOST, "ALONE", 1)
    places = ON_HOST["Places"]()
    first = places.ask(ON_HOST["ROOT"], "/first", lambda at: 1)
    hangs = places.ask(ON_HOST["ROOT"], "/hangs", lambda at: time.sleep(60), "unknown")
    fails = places.ask(ON_HOST["ROOT"], "/fails", lambda at: at.bytes("/none"), "none")
    last = places.ask(ON_HOST["ROOT"], "/last", lambda at: 2)
    places.begin()
    places.end()
    assert [one.value for one in (first, hangs, fails, last)] == [1, "unknown", "none", 2]
    assert places.hanging == [["root", "/hangs", "/"]]


def test_of_a_user_who_isn_t_there_nothing_is_known() -> None:
    places = ON_HOST["Places"]()
    asked = places.ask("nobody-of-that-name", "/x", lambda at: 1, "unknown")
    root = places.ask("root", "/x", lambda at: 1, "unknown")
    none = places.ask(places.user("nobody-of-that-name"), "/x", lambda at: 1, "unknown")
    places.begin()
    places.end()
    assert (asked.value, root.value, none.value, places.hanging) == ("unknown", "unknown", "unknown", [])


def test_nginx_s_user_has_the_rights_that_it_will_have() -> None:
    asked = {"user": "nobody-of-that-name", "like": "daemon", "groups": ["games", "none-of-that-name"]}
    user = ON_HOST["nginxs_user"](asked)
    assert (user.uid, user.groups) == (ON_HOST["NOBODY"], [ON_HOST["NOBODY"], 60, 1])


@pytest.mark.parametrize("days", [1, 825, 20_000])
def test_a_certificate_s_end_is_read_from_what_nginx_shows(days: int) -> None:
    """From 2050 on it is written in another form."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    made = trustme.CA().issue_cert("a.org", not_before=end - timedelta(days=9), not_after=end)
    certificate = ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())
    assert OF_HEALTH["ends_at"](certificate) == end.timestamp()


def test_one_that_has_much_to_do_is_given_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It computes longer than a disk that hangs is waited for."""
    monkeypatch.setitem(ON_HOST, "TOGETHER", 0.3)
    monkeypatch.setitem(ON_HOST, "ALONE", 0.3)

    def compute(_: Any) -> int:
        end = time.process_time() + 1.5
        while time.process_time() < end:
            pass
        return 7

    places = ON_HOST["Places"]()
    much = places.ask(ON_HOST["ROOT"], "/much", compute)
    places.begin()
    places.end()
    assert (much.value, places.hanging) == (7, [])


def test_a_large_file_is_known_by_its_digest(tmp_path: Path) -> None:
    """As nginx's of a site with hundreds of tile sets."""
    path = tmp_path / "site.conf"
    path.write_text("# Made by\n" + "x" * 400_000)
    path.chmod(0o644)
    found = ON_HOST["look"](HERE, str(path), False)
    assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found["large"], len(found["text"])) == (True, 500)
