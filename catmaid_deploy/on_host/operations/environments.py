"""The Python environment of a release, made by uv as whoever owns the code. A part of the job's script, see `apply`."""

import posixpath
import re

from catmaid_deploy.on_host.facts.fits import files_for_uv, fitted, is_built
from catmaid_deploy.on_host.operations.common import ending, say
from catmaid_deploy.on_host.operations.packages import WHEELS
from catmaid_deploy.on_host.operations.release import do, fetch, make_for, make_missing
from catmaid_deploy.on_host.operations.requirements import requirements_of
from catmaid_deploy.on_host.paths import SYSTEM_PYTHON
from catmaid_deploy.on_host.trust import ROOT, As, Failed

# What has to be fetched over a slow line, and compiled, takes long.
MAKING_SECONDS = 3600
PROOF = ".catmaid-deploy"
# Beside the releases, where uv and what it has fetched lie.
UV = ".uv"


def uv_folder(job):
    return "%s/%s" % (job["folder"], UV)


def uv_of(job):
    return "%s/%s/bin/uv" % (uv_folder(job), job["uv_version"])


def surroundings(job):
    """What uv works with: its own folders, the host's authorities, and no Python of its own."""
    found = {
        "UV_CACHE_DIR": uv_folder(job) + "/cache",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NATIVE_TLS": "true",
        "UV_NO_PROGRESS": "1",
        "UV_HTTP_TIMEOUT": "120",
        # In the one that is given alone, however the owner's shell is set.
        "VIRTUAL_ENV": "",
    }
    return {**found, **job["fetching"]}


def pip_wheel():
    found = [name for name in ROOT.names(WHEELS) if name.startswith("pip-") and name.endswith(".whl")]
    if not found:
        raise Failed("%s has no pip, by which uv is installed" % WHEELS)
    return "%s/%s/pip" % (WHEELS, found[-1])


def have_uv(job):
    """Install uv in its version among the releases, if it is missing; other versions go."""
    them, folder, version = As(job["owner"]), uv_folder(job), job["uv_version"]
    if them.do(lambda at: at.is_file(uv_of(job))):
        return
    say("installing uv %s" % version)
    new = "%s/%s.new" % (folder, version)

    def prepare(at):
        make_missing(at, folder)
        at.remove_tree(new)

    them.do(prepare)
    words = [SYSTEM_PYTHON, "-I", pip_wheel(), "install", "--quiet", "--no-input", "--no-deps", "--no-cache-dir"]
    words += ["--disable-pip-version-check", "--target", new, "uv==" + version]
    do(job["owner"], "uv %s can't be installed" % version, *words, seconds=MAKING_SECONDS, **job["fetching"])

    def finish(at):
        for name in at.names(folder):
            if name not in ("cache", "wheels", version + ".new"):
                at.remove_tree("%s/%s" % (folder, name))
        at.rename(new, "%s/%s" % (folder, version))

    them.do(finish, 60)


def wheels_of(job):
    return uv_folder(job) + "/wheels"


def have_wheels(job, python, version):
    """Compile what comes as source, once for all environments: uv alone would do it again for each."""
    them, folder, compiled = As(job["owner"]), wheels_of(job), job["compiled"]
    them.do(lambda at: make_missing(at, folder))
    there = them.do(lambda at: at.names(folder))
    for package, number in compiled.items():
        if not is_built(there, {package: number}, version):
            say("compiling %s %s" % (package, number))
            words = [python, pip_wheel(), "wheel", "--quiet", "--no-input", "--no-deps", "--no-cache-dir"]
            words += ["--disable-pip-version-check", "--wheel-dir", folder, "%s==%s" % (package, number)]
            what = "%s %s can't be compiled" % (package, number)
            do(job["owner"], what, *words, seconds=MAKING_SECONDS, **job["fetching"])


def package_index(job):
    """The package index that pip asks on this host, for uv, which doesn't read pip's files."""
    words = [SYSTEM_PYTHON, "-I", pip_wheel(), "config", "get", "global.index-url"]
    code, output = As(job["owner"]).run(words, 60)
    return {} if code or not output.startswith(("https://", "http://", "file://")) else {"UV_DEFAULT_INDEX": output}


def version_of(job):
    """The version of the Python that the environment is to have, such as 3.11."""
    words = [job["executable"], "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    code, output = As(job["owner"]).run(words, 60)
    if code or not re.fullmatch(r"3\.\d+", output):
        raise Failed("%s doesn't run: %s" % (job["executable"], ending(output, 3)))
    return output


def make_environment(job):
    """
    An environment for a release, in its place from the beginning since its programs name it; a proof in it says that
    it is complete, and one without is made anew. Nothing runs with it yet.
    """
    them, path = As(job["owner"]), job["path"]
    if them.do(lambda at: at.is_file("%s/%s" % (path, PROOF))):
        return
    make_for(job["folder"], job["owner"])
    commit, version = fetch(job), version_of(job)
    text = requirements_of(them, job["folder"] + "/repository.git", commit, job["requirements"])
    found = fitted(text, job["rules"], version, job["overrides"])
    if found["wrong"]:
        package, pin, why = found["wrong"][0]
        what = "%s requires %s %s, which doesn't run with Python %s (%s)" % (
            job["revision"],
            package,
            pin,
            version,
            why,
        )
        raise Failed(
            what + ": name another in install.python.executable, or another version in install.python.overrides"
        )
    have_uv(job)
    uv, python = uv_of(job), path + "/bin/python"
    moved = "".join(", %s %s instead of %s" % (name, new, old) for name, old, new in found["moved"])
    say("making the environment with Python %s%s: this takes a minute or more" % (version, moved))
    options = {**surroundings(job), **package_index(job)}
    them.do(lambda at: (at.remove_tree(path), make_missing(at, posixpath.dirname(path))), MAKING_SECONDS)
    words = [uv, "venv", "--quiet", "--no-project", "--python", job["executable"], path]
    do(job["owner"], "the environment can't be made", *words, **options)
    have_wheels(job, python, version)
    files = files_for_uv(text, job["packages"], found)

    def note(at):
        for name, content in files.items():
            at.write("%s/%s" % (path, name), content.encode())

    them.do(note)
    words = [uv, "pip", "install", "--quiet", "--python", python, "--compile-bytecode", "--find-links", wheels_of(job)]
    if "UV_FIND_LINKS" in options:
        # The variable counts only without the option.
        words += ["--find-links", options["UV_FIND_LINKS"]]
    words += ["-r", path + "/requirements.txt", "--override", path + "/overrides.txt"]
    words += ["--build-constraints", path + "/build.txt"]
    do(job["owner"], "what it requires can't be installed", *words, seconds=MAKING_SECONDS, **options)
    lock = do(job["owner"], "uv doesn't tell what it installed", uv, "pip", "freeze", "--python", python, **options)
    # Beside the packages it says which Python it asked.
    packages = [line for line in lock.splitlines() if re.match(r"\S+(==| @ )", line)]

    def prove(at):
        at.write(path + "/requirements.lock", "".join(line + "\n" for line in packages).encode())
        at.write("%s/%s" % (path, PROOF), (commit + "\n").encode())

    them.do(prove)
    say("made %s: %d packages, listed in its requirements.lock" % (path, len(packages)))


def remove_environments(job, used):
    """
    Remove the environments of releases that are gone, and what uv has kept for none.

    ``used`` is the text of all that programs start with: an environment that it names stays.
    """
    them, folder = As(job["owner"]), job["environments"]

    def old(at):
        there = at.names(job["folder"])
        return [n for n in at.names(folder) if n.isprintable() and not any(n.startswith(one + "-") for one in there)]

    gone = [name for name in them.do(old) if "%s/%s" % (folder, name) not in used]
    for name in gone:
        path = "%s/%s" % (folder, name)
        if path == job["virtualenv"]:
            continue
        try:
            them.do(lambda at, path=path: at.remove_tree(path), MAKING_SECONDS)
            say("removed the environment %s" % name)
        except (OSError, Failed) as error:
            say("kept %s: %s" % (path, error))
    if gone and them.do(lambda at: at.is_file(uv_of(job))):
        them.run([uv_of(job), "cache", "prune", "--quiet"], MAKING_SECONDS, **surroundings(job))
