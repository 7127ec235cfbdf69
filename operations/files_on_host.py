"""Files, folders and links of one set: put in place together, or put back. Joined with the others of its kind."""

import grp
import os
import pwd
import stat
import sys

from operations.common_on_host import Failed, link, prepared, say, write_whole


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
    try:
        status = os.lstat(path)
    except OSError:
        return None
    kept = {"mode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid}
    if stat.S_ISLNK(status.st_mode):
        return dict(kept, kind="link", target=os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return dict(kept, kind="folder")
    if not stat.S_ISREG(status.st_mode):
        raise Failed("%s is neither a file nor a folder nor a link: move it away" % path)
    with open(path, "rb") as file:
        return dict(kept, kind="file", data=file.read())


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    elif os.path.lexists(path):
        os.unlink(path)


def put_back(path, kept):
    if kept is None:
        remove(path)
    elif kept["kind"] == "link":
        link(path, kept["target"])
    else:
        if kept["kind"] == "file":
            write_whole(path, kept["data"], 0o600)
        elif not os.path.isdir(path):
            os.mkdir(path)
        os.chown(path, kept["uid"], kept["gid"])
        os.chmod(path, kept["mode"])


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
                    self._make_folder(item)
                elif item["kind"] == "file":
                    place = prepared(item["path"])
                    new.append(place)
                    self._prepare(item, place)
            for item in self.items:
                if item["kind"] == "folder":
                    continue
                self._keep(item["path"])
                if item["kind"] == "file":
                    os.rename(prepared(item["path"]), item["path"])
                else:
                    link(item["path"], item["target"])
            # The deepest first, so that a folder is empty when its turn comes.
            for path in sorted(self.gone, reverse=True):
                self._keep(path)
                try:
                    remove(path)
                except OSError:
                    say("kept %s: it isn't empty" % path)
        except (OSError, Failed) as error:
            for place in new:
                if os.path.lexists(place):
                    os.unlink(place)
            raise Failed("can't write: %s" % error) from None

    def _keep(self, path):
        self.kept.append((path, remember(path)))

    @staticmethod
    def _make_folder(item):
        if not os.path.isdir(item["path"]):
            os.mkdir(item["path"], 0o700)
        os.chown(item["path"], *account(item))
        os.chmod(item["path"], int(item["mode"], 8))

    @staticmethod
    def _prepare(item, place):
        with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data(item))
            os.fchown(file.fileno(), *account(item))
            os.fchmod(file.fileno(), int(item["mode"], 8))
            file.flush()
            os.fsync(file.fileno())

    def undo(self):
        for path, kept in reversed(self.kept):
            try:
                put_back(path, kept)
            except OSError as error:
                say("can't put back %s: %s" % (path, error), sys.stderr)
