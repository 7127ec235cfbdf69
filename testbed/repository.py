"""The stand-in as a git repository on a host, as a lab's own copy of CATMAID lies there."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from testbed.hosts import BedHost
from testbed.images import ROOT

PLACE = "/srv/catmaid.git"
MIGRATION = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mysite", "{before}")]
    operations = [migrations.AddField("note", "{field}", models.TextField(null=True))]
"""
# Git refuses a repository of another user's, unless the host says that it is meant.
TRUSTED = f"[safe]\n\tdirectory = {PLACE}\n"


def _git(folder: Path, *words: str) -> None:
    known = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    # The same releases have the same commits on each machine.
    values = {"NAME": "test", "EMAIL": "test@example.org", "DATE": "2024-01-01T00:00:00Z"}
    said = {f"GIT_{who}_{what}": text for who in ("AUTHOR", "COMMITTER") for what, text in values.items()}
    environment = os.environ | known | said
    subprocess.run(["git", "-C", str(folder), *words], env=environment, check=True, capture_output=True)


def packed(releases: Mapping[str, Mapping[str, str]]) -> bytes:
    """A bare repository as tar: a tag for each release, with the files in which it differs from the one before."""
    with tempfile.TemporaryDirectory(prefix="catmaid-deploy-") as folder:
        work, bare = Path(folder) / "work", Path(folder) / "catmaid.git"
        shutil.copytree(ROOT / "tests/app", work, ignore=shutil.ignore_patterns("__pycache__"))
        (work / "django/TABLES").touch()
        _git(work, "init", "--quiet", "--initial-branch=main")
        for name, files in releases.items():
            for path, text in ({**files, "RELEASE": f"{name}\n"}).items():
                (work / "django" / path).write_text(text)
            _git(work, "add", "--all")
            _git(work, "commit", "--quiet", "--message", name)
            _git(work, "tag", "--annotate", "--message", name, name)
        _git(work, "clone", "--quiet", "--bare", str(work), str(bare))
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            archive.add(bare, ".", filter=_as_root)
        return data.getvalue()


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def put(host: BedHost, releases: Mapping[str, Mapping[str, str]]) -> None:
    """Place the repository on a host where nothing else is."""
    host.put("/root/catmaid.tar", packed(releases))
    host.put("/etc/gitconfig", TRUSTED.encode())
    host.run(f"mkdir {PLACE}; tar -C {PLACE} -xf /root/catmaid.tar; rm /root/catmaid.tar; chmod -R a+rX {PLACE}")
