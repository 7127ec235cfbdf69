"""Files, folders and links of one set: put in place together, or put back. Joined with the others of its kind.

All of them are root's, in folders of root's. What lies in somebody else's folder is made by its programs.
"""

import grp
import pwd
import stat
import sys

from catmaid_deploy.on_host.operations.common import make_folders, say
from catmaid_deploy.on_host.trust import ROOT, Failed, prepared


def account(item):
    try:
        return pwd.getpwnam(item["user"]).pw_uid, grp.getgrnam(item["group"]).gr_gid
    except KeyError as error:
        raise Failed("%s: %s" % (item["path"], error.args[0])) from None


def data(item):
    """The bytes of a file that is to be."""
    return item.get("text", "").encode(item.get("encoding", "utf-8"))


def remember(path):
    """What is at a path, so that it can be put back."""
    status = ROOT.status(path)
    if status is None:
        return None
    kept = {"mode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid}
    if stat.S_ISLNK(status.st_mode):
        return dict(kept, kind="link", target=ROOT.target(path))
    if stat.S_ISDIR(status.st_mode):
        return dict(kept, kind="folder")
    if not stat.S_ISREG(status.st_mode):
        raise Failed("%s is neither a file nor a folder nor a link: move it away" % path)
    return dict(kept, kind="file", data=ROOT.bytes(path))


def make_folder(path, mode, uid, gid):
    """A folder as it is to be. What its owner of before has left in it becomes the new one's."""
    status = ROOT.status(path)
    if status and status.st_uid not in (0, uid):
        ROOT.hand_on(path, uid, gid)
    ROOT.make_folder(path, mode, uid, gid)


def put_back(path, kept):
    if kept is None:
        ROOT.remove(path)
    elif kept["kind"] == "link":
        ROOT.link(path, kept["target"])
    elif kept["kind"] == "file":
        ROOT.write(path, kept["data"], kept["mode"], kept["uid"], kept["gid"])
    else:
        make_folder(path, kept["mode"], kept["uid"], kept["gid"])


class Files:
    """The files of one set: made ready beside their places, then all moved at once, or put back."""

    def __init__(self, items, gone):
        self.items, self.gone = items, gone
        self.kept = []

    def swap(self):
        new = []
        try:
            for item in self.items:
                if item["kind"] == "folder":
                    self._keep(item["path"])
                    above = item["path"].rpartition("/")[0]
                    if not ROOT.exists(above):
                        make_folders(above)
                    make_folder(item["path"], int(item["mode"], 8), *account(item))
                elif item["kind"] == "file":
                    place = prepared(item["path"])
                    new.append(place)
                    ROOT.prepare(place, data(item), int(item["mode"], 8), *account(item))
            for item in self.items:
                if item["kind"] == "folder":
                    continue
                self._keep(item["path"])
                if item["kind"] == "file":
                    ROOT.rename(prepared(item["path"]), item["path"])
                else:
                    ROOT.link(item["path"], item["target"])
            # The deepest first, so that a folder is empty when its turn comes.
            for path in sorted(self.gone, reverse=True):
                self._keep(path)
                try:
                    ROOT.remove(path)
                except OSError:
                    say("kept %s: it isn't empty" % path)
        except (OSError, Failed) as error:
            for place in new:
                if ROOT.status(place):
                    ROOT.unlink(place)
            raise Failed("can't write: %s" % error) from None

    def _keep(self, path):
        self.kept.append((path, remember(path)))

    def undo(self):
        for path, kept in reversed(self.kept):
            try:
                put_back(path, kept)
            except OSError as error:
                say("can't put back %s: %s" % (path, error), sys.stderr)
