"""The file from which a host without the internet is installed, unpacked. Joined with the others of a job."""

from catmaid_deploy.on_host.operations.common import ending, say
from catmaid_deploy.on_host.paths import BUNDLE
from catmaid_deploy.on_host.trust import ROOT, Failed, run

UNPACKING_SECONDS = 1200
# In the place of what the host has: its own sources, lists and caches stay as they are.
APT_CONF = """Dir::Etc::SourceList "%(folder)s/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "%(folder)s/lists";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
SOURCES = "deb [trusted=yes] file:%(folder)s/debs ./\n"
# The digest of all digests, and then each file by its own.
CHECK = """
cd "$1" && echo "$2  SHA256SUMS" | sha256sum --check --quiet --strict - && sha256sum --check --quiet --strict SHA256SUMS
"""


def unpack_bundle(job):
    """Put a bundle in place that was sent to the host; another one goes. What was cut on its way is refused."""
    archive, new = BUNDLE + ".tar", BUNDLE + ".new"
    ROOT.remove_tree(new)
    ROOT.make_folder(new)
    try:
        code, output = run(["tar", "-x", "--no-same-owner", "-C", new, "-f", archive], UNPACKING_SECONDS)
        if not code:
            code, output = run(["sh", "-c", CHECK, "sh", new, job["id"]], UNPACKING_SECONDS)
        if code:
            raise Failed("the bundle isn't whole on the host, run again:\n" + ending(output, 3))
        ROOT.make_folder(new + "/lists")
        for name, text in (("apt.conf", APT_CONF), ("sources.list", SOURCES)):
            ROOT.write("%s/%s" % (new, name), (text % {"folder": BUNDLE}).encode())
        ROOT.remove_tree(BUNDLE)
        ROOT.rename(new, BUNDLE)
    finally:
        ROOT.remove_tree(new)
        ROOT.unlink(archive)
    say("unpacked the bundle %.12s" % job["id"])
