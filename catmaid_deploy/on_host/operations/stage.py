"""Files beside their place, tested there by the service that reads them. A part of the job's script, see `apply`."""

import os
import re
import stat

from catmaid_deploy.on_host.facts.asking import (
    parsed,
)
from catmaid_deploy.on_host.facts.nginx import LOCATIONS, ask_nginx, read_by_nginx
from catmaid_deploy.on_host.operations.common import ending, make_folders, tell
from catmaid_deploy.on_host.operations.files import data
from catmaid_deploy.on_host.paths import STATE
from catmaid_deploy.on_host.trust import ROOT, As, Failed, NotRoots, changeable, run

STAGE = STATE + "/stage"
ERROR_LOG = "/var/log/nginx/error.log"
LARGEST_COPY = 1 << 20
LEFT_OUT = "the test leaves out %s, which root reads and others may change"
# A parser that takes longer hangs.
CHECK_SECONDS = 60


def stage(job):
    """A copy of the service's own tree with the new files in it, for its own test."""
    ROOT.remove_tree(STAGE)
    try:
        # Entered by everybody, for a test by another user; only what everybody may read is open to it.
        make_folders(STAGE, 0o711)
        for tree in job["trees"]:
            for path, status in ROOT.tree(tree):
                copy(path, status, job)
        for path in job["gone"]:
            if not ROOT.is_folder(STAGE + path):
                ROOT.remove(STAGE + path)
        files = {item["path"]: item for item in job["all"] if item["kind"] == "file"}
        for path, item in files.items():
            staged(path, item, job["trees"])
        for item in job["all"]:
            if item["kind"] == "link" and item["target"] in files:
                staged(item["path"], files[item["target"]], job["trees"])
    except OSError as error:
        ROOT.remove_tree(STAGE)
        raise Failed("can't stage the files: %s: nothing was changed" % error) from None


def copy(path, status, job, deepest=2):
    """What is at a path goes into the stage, as far as it is root's own. What needn't be another there is a link."""
    if stat.S_ISLNK(status.st_mode):
        status = ROOT.status(path, follow=True)
        if status is not None and stat.S_ISDIR(status.st_mode):
            copy_linked(path, status, job, deepest)
            return
    if status is None:
        return  # a link that leads nowhere
    if stat.S_ISDIR(status.st_mode):
        make_folders(STAGE + path, 0o711)
        if not ROOT.owns(status):
            tell(LEFT_OUT % path)
        return
    try:
        if stat.S_ISREG(status.st_mode) and status.st_size >= LARGEST_COPY:
            link_to(path)
        elif stat.S_ISREG(status.st_mode):
            staged(path, {"text": ROOT.bytes(path).decode("latin-1"), "encoding": "latin-1"}, job["trees"])
    except NotRoots:
        tell(LEFT_OUT % path)


def copy_linked(path, status, job, deepest):
    """A link to a folder: what the job has below it is staged there, and so all that is in it."""
    if not ROOT.owns(status) or not deepest:
        tell(LEFT_OUT % path)
    elif not any(item["path"].startswith(path + "/") for item in job["all"]):
        link_to(path)
    else:
        make_folders(STAGE + path, 0o711)
        for below, found in ROOT.tree(path):
            copy(below, found, job, deepest - 1)


def link_to(path):
    """What the test may read where it is."""
    if changeable(path):
        tell(LEFT_OUT % path)
        return
    make_folders(os.path.dirname(STAGE + path), 0o711)
    ROOT.link(STAGE + path, ROOT.real(path))


def staged(path, item, trees):
    content = data(item)
    for tree in trees:
        content = content.replace(tree.encode() + b"/", (STAGE + tree).encode() + b"/")
    make_folders(os.path.dirname(STAGE + path), 0o711)
    open_to_all = int(item.get("mode", "600"), 8) & stat.S_IROTH
    ROOT.prepare(STAGE + path, content, 0o644 if open_to_all else 0o600)


def refusal(words, gone=()):
    """What a service's parser says against the staged files; None when it takes them."""
    if words[0] == "as user":
        code, output = As(words[1]).run(words[2:], CHECK_SECONDS)
        output = ending(output, 30)
    elif words[0] == "supervisor":
        code, output = parsed(words[1], CHECK_SECONDS)
    elif words[0] == "systemd-analyze":
        # It ends with 0 for a key that it doesn't know, and with 1 for what is wrong elsewhere.
        own = {"SYSTEMD_UNIT_PATH": STAGE + "/etc/systemd/system:"}
        _, output = run(["systemd-analyze", "verify", "--man=no", *words[1:]], CHECK_SECONDS, **own)
        output = "\n".join(line for line in output.splitlines() if STAGE in line)
        code = bool(output)
    elif words[0] == "nginx":
        output, files = read_by_nginx(words[1])
        code = bool(output)
        leaves_out = [path for path in ask_nginx()["paths"] if files and STAGE + path not in files and path not in gone]
        for path in leaves_out:
            if path.startswith("/etc/nginx/"):
                tell("nginx reads %s, and with the new files it doesn't" % path)
    else:
        code, output = run(words, CHECK_SECONDS)
    return output.replace(STAGE, "") or "exit code %s" % code if code else None


def check(job):
    for words in job["checks"]:
        output = refusal([word.replace("{stage}", STAGE) for word in words], job["gone"])
        if output is not None:
            # Of a virtualenv's, which one.
            own = re.search(r"\[emerg\] (.+) in (%s/[^\s:]+):(\d+)" % LOCATIONS, output)
            if own:
                what, path, line = own.groups()
                raise Failed("%s: nginx refuses line %s, %s: correct it; nothing was changed" % (path, line, what))
            program = next((word for word in words if word.startswith("/")), words[0])
            name = program if words[0] == "as user" else words[0]
            raise Failed("%s refuses the new files: nothing was changed\n%s" % (name, output))
