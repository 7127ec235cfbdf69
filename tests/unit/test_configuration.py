"""How a host differs from a set of files, and whose files are left alone."""

from __future__ import annotations

import hashlib
from typing import Any

from catmaid_deploy.answers.survey import Survey
from catmaid_deploy.file_sets import (
    MARK,
    ConfigurationSet,
    Difference,
    File,
    Folder,
    Link,
    compare,
    foreign_links,
    in_the_way,
    lost,
)
from tests import answers


def on_host(text: str, user: str = "root", mode: str = "644", secret: bool = False) -> dict[str, Any]:
    data = text.encode()
    found = {"kind": "file", "user": user, "group": "root", "mode": mode, "time": 0.0}
    found |= {"sha256": hashlib.sha256(data).hexdigest(), "md5": hashlib.md5(data).hexdigest()}  # noqa: S324
    return found if secret else found | {"text": text}


def survey(files: dict[str, Any], **more: Any) -> Survey:
    return answers.survey(**{"files": files, "manifest": {}, "as_it_came": {}} | more)


FILE = File("/etc/a", "one\ntwo\n")
SET = ConfigurationSet("set", (FILE, Folder("/etc/f", mode="750"), Link("/etc/l", "/etc/a")))
SAME = {
    "/etc/a": on_host("one\ntwo\n"),
    "/etc/f": {"kind": "folder", "user": "root", "group": "root", "mode": "750"},
    "/etc/l": {"kind": "link", "target": "/etc/a", "user": "root", "group": "root", "mode": "777"},
}


def differences(**files: Any) -> list[tuple[str, str]]:
    found = compare(SET, survey(SAME | {f"/etc/{name}": found for name, found in files.items()}))
    return [(one.what, one.path) for one in found]


def test_no_difference() -> None:
    assert differences() == []


def test_each_kind_of_difference() -> None:
    assert differences(a=None, f=None, l=None) == [("create", "/etc/a"), ("make folder", "/etc/f"), ("link", "/etc/l")]
    assert differences(a=on_host("one\n")) == [("change", "/etc/a")]
    assert differences(a=on_host(FILE.text, user="catmaid")) == [("owner or mode of", "/etc/a")]
    assert differences(f=SAME["/etc/f"] | {"mode": "755"}) == [("owner or mode of", "/etc/f")]
    assert differences(l=SAME["/etc/l"] | {"target": "/etc/b"}) == [("correct the link", "/etc/l")]


def test_a_link_that_leads_elsewhere_while_its_program_loads() -> None:
    link = Link("/run/c/uwsgi.socket", "/etc/c/wsgi/run/socket", r"/run/c/wsgi-[ab]/ending/\w+\.socket")
    one = ConfigurationSet("set", (), of_programs=(link,))
    for target, is_lost in (
        ("/etc/c/wsgi/run/socket", False),
        ("/run/c/wsgi-a/ending/4711.socket", False),
        ("/run/c/wsgi-a/other", True),
    ):
        found = survey({link.path: SAME["/etc/l"] | {"target": target}})
        assert bool(lost(one, found)) == is_lost
        assert bool(list(in_the_way([one], found))) == is_lost


def test_the_diff_is_unified_and_has_new_files_too() -> None:
    (changed,) = compare(SET, survey(SAME | {"/etc/a": on_host("one\n2\n")}))
    assert changed.lines[-2:] == ("-2", "+two")
    (new,) = compare(SET, survey(SAME | {"/etc/a": None}))
    assert new.lines[-2:] == ("+one", "+two")


def test_a_secret_is_named_and_not_shown() -> None:
    secret = ConfigurationSet("set", (File("/etc/s", "hunter2\n", mode="640", secret=True),))
    for found in (None, on_host("hunter1\n", mode="640", secret=True)):
        (difference,) = compare(secret, survey({"/etc/s": found}))
        assert (difference.path, difference.lines) == ("/etc/s", ())
        assert "hunter" not in str(difference.lines)


def test_what_left_the_set_is_removed_when_it_was_ours() -> None:
    files = SAME | {"/etc/old": on_host("old\n")}
    assert compare(SET, survey(files)) == ()
    (gone,) = compare(SET, survey(files, manifest={"set": {"/etc/old": "x"}}))
    assert (gone.what, gone.path, gone.item, gone.lines[-1]) == ("remove", "/etc/old", None, "-old")
    assert compare(SET, survey(SAME, manifest={"set": {"/etc/old": "x"}})) == ()


def test_somebody_elses_file_is_in_the_way() -> None:
    foreign = survey(SAME | {"/etc/a": on_host("mine\n")})
    (finding,) = in_the_way([SET], foreign)
    assert finding.line() == "/etc/a: somebody else's file is in the way: mv /etc/a /root/etc-a.before"
    assert list(in_the_way([SET], {**foreign, "manifest": {"set": {"/etc/a": "x"}}})) == []
    ours = on_host(f"# {MARK}a.j2\nedited\n")
    assert list(in_the_way([SET], survey(SAME | {"/etc/a": ours}))) == []
    assert list(in_the_way([SET], survey(SAME))) == []
    (finding,) = in_the_way([SET], survey(SAME | {"/etc/f": on_host("a file")}))
    assert finding.place == "/etc/f"
    (finding,) = in_the_way([SET], survey(SAME | {"/etc/l": SAME["/etc/l"] | {"target": "/etc/b"}}))
    assert finding.place == "/etc/l"


def test_a_packages_file_is_replaced_as_long_as_it_is_as_it_came() -> None:
    stock = ConfigurationSet("set", (File("/etc/a", "new\n", stock=True),))
    there = on_host("stock\n")
    assert list(in_the_way([stock], survey({"/etc/a": there}, as_it_came={"/etc/a": there["md5"]}))) == []
    assert len(list(in_the_way([stock], survey({"/etc/a": there}, as_it_came={"/etc/a": "other"})))) == 1
    assert len(list(in_the_way([SET], survey({"/etc/a": there}, as_it_came={"/etc/a": there["md5"]})))) == 1


def test_a_packages_link_goes_while_its_file_is_as_it_came() -> None:
    one = ConfigurationSet("set", stock_links={"/etc/on": "/etc/stock"})
    link = {"kind": "link", "target": "/etc/stock", "user": "root", "group": "root", "mode": "777"}
    stock = on_host("stock\n")
    found = survey({"/etc/on": link, "/etc/stock": stock}, as_it_came={"/etc/stock": stock["md5"]})
    assert compare(one, found) == (Difference("/etc/on", "remove"),)
    assert foreign_links(one, found) == []
    changed = survey({"/etc/on": link, "/etc/stock": on_host("mine\n")}, as_it_came={"/etc/stock": stock["md5"]})
    assert compare(one, changed) == ()
    assert foreign_links(one, changed) == ["/etc/on"]
