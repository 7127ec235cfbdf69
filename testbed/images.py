"""Images of hosts, each built once and kept in podman's own storage.

A tag carries a digest of everything that went into its image, so an image is rebuilt exactly when
its recipe, its files or the image below it changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from catmaid_deploy.tasks import distributions
from testbed.podman import BedError, command, limits, podman, root_words, succeeds

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
REGISTRY = "localhost/catmaid-deploy"
LABEL = "io.catmaid-deploy.image"
SUITES = distributions.suites()
BASE_PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,sudo,python3,ca-certificates,iproute2,procps,debian-archive-keyring"
)


def cache_dir() -> Path:
    """Where keys and locks live between checkouts."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "catmaid-deploy"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def say(text: str) -> None:
    print(f"--> {text}", file=sys.stderr, flush=True)


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Tell what is being done and, at its end, how long it took."""
    say(what)
    start = time.monotonic()
    yield
    say(f"    done in {time.monotonic() - start:.0f} s")


@contextmanager
def lock(what: str) -> Iterator[None]:
    """One builder at a time, of a suite's images or of what else is named.

    'make demo' and 'make test' may run together, and the tests' hosts come from images of both systems.
    """
    with (cache_dir() / f"{what}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build of the test images")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run_with_ticks(words: list[str], log: Path, environment: dict[str, str] | None = None) -> int:
    """Run a long command with its output in a file and its last line shown every few seconds."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        )
        try:
            while True:
                try:
                    return process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    lines = log.read_text(errors="replace").strip().splitlines()
                    say(f"    {lines[-1][:90] if lines else '...'}")
        except BaseException:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def ssh_key() -> Path:
    """The key that opens test hosts, made once a machine; they listen on loopback only."""
    key = cache_dir() / "id_ed25519"
    if not key.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "catmaid-deploy testbed", "-f", str(key)],
            check=True,
        )
    return key


def _apt_targets() -> list[dict[str, str]]:
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(LABEL)", "Created-By: Packages"]
    try:
        out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [dict(zip(("uri", "suite", "label"), line.split("|"), strict=True)) for line in out.splitlines()]


def _uri(label: str) -> str:
    """This machine's own address of a Debian archive, so that hosts use the same one."""
    return next((t["uri"] for t in _apt_targets() if t["label"] == label), "")


def machine_files(suite: str) -> dict[str, str]:
    """What a host needs from the outer machine to reach the package registries as it does."""
    files = {"root/.ssh/authorized_keys": ssh_key().with_suffix(".pub").read_text()}
    mirror, security = _uri("Debian"), _uri("Debian-Security")
    if mirror:
        lines = [f"deb {mirror} {suite} main", f"deb {mirror} {suite}-updates main"]
        if security:
            lines.append(f"deb {security} {suite}-security main")
        files["etc/apt/sources.list"] = "\n".join(lines) + "\n"
    wanted = ("proxy", "check-valid-until", "check-date", "cainfo", "retries")
    config = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True).stdout
    files["etc/apt/apt.conf.d/90testbed"] = "".join(
        line + "\n" for line in config.splitlines() if line.split(" ")[0].lower().rpartition("::")[2] in wanted
    )
    for certificate in sorted(Path("/usr/local/share/ca-certificates").glob("**/*.crt")):
        files[f"usr/local/share/ca-certificates/{certificate.name}"] = certificate.read_text()
    pip = {"cert": "/etc/ssl/certs/ca-certificates.crt", "disable-pip-version-check": "1"}
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in ("index-url", "proxy", "trusted-host"):
            pip[name] = value.strip("'\"")
    files["etc/pip.conf"] = "[global]\n" + "".join(f"{k} = {v}\n" for k, v in pip.items())
    return files


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _tree(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and "__pycache__" not in p.parts
    }


def digest_of(*places: str) -> str:
    """Names the contents of files and folders of this project."""
    return _digest([_tree(ROOT / place) if (ROOT / place).is_dir() else (ROOT / place).read_text() for place in places])


def _finish(tag: str) -> str:
    """Drop the images that this one replaces; those in use stay until their hosts go."""
    name, _, version = tag.rpartition(":")
    suite = version.split("-")[0]
    for old in podman("images", "--format", "{{.Repository}}:{{.Tag}}", name, check=False).splitlines():
        if old.startswith(f"{name}:{suite}-") and old != tag:
            podman("rmi", old, check=False)
    return tag


def base(suite: str) -> str:
    """The bare Debian, by debootstrap."""
    tag = f"{REGISTRY}/base:{suite}-{_digest(BASE_PACKAGES)}"
    if succeeds("image", "exists", tag):
        return tag
    folder = Path(tempfile.mkdtemp(prefix="catmaid-deploy-", dir="/var/tmp"))
    log = cache_dir() / f"base-{suite}.log"
    try:
        with progress(f"Debian {suite}: base system by debootstrap (once, about a minute)"):
            words = [*root_words(), "unshare", "--mount", "--pid", "--fork", "--kill-child", "debootstrap"]
            words += ["--variant=minbase", f"--include={BASE_PACKAGES}", suite, str(folder / "root")]
            mirror = _uri("Debian")
            if run_with_ticks(words + ([mirror] if mirror else []), log):
                raise BedError(f"debootstrap of {suite} failed; its output is in {log}")
        with progress(f"Debian {suite}: import into podman"):
            archive = folder / "root.tar"
            subprocess.run([*root_words(), "tar", "-C", str(folder / "root"), "-cf", str(archive), "."], check=True)
            podman("import", "--change", f"LABEL {LABEL}=base", str(archive), tag)
    finally:
        subprocess.run([*root_words(), "rm", "-rf", "--one-file-system", str(folder)], check=False)
    return _finish(tag)


def _build(stage: str, suite: str, parent: str, context: Callable[[Path], None], *inputs: object) -> str:
    recipe = HERE / "images" / f"Containerfile.{stage}"
    tag = f"{REGISTRY}/{stage}:{suite}-{_digest(parent, recipe.read_text(), inputs)}"
    if succeeds("image", "exists", tag):
        return tag
    folder = Path(tempfile.mkdtemp(prefix="catmaid-deploy-"))
    log = cache_dir() / f"{stage}-{suite}.log"
    try:
        context(folder)
        with progress(f"Debian {suite}: image '{stage}' (once)"):
            words = [*command(), "build", *limits(), "--force-rm", "--layers=false", "--build-arg", f"BASE={parent}"]
            words += ["--label", f"{LABEL}={stage}", "-f", str(recipe), "-t", tag, str(folder)]
            if run_with_ticks(words, log):
                raise BedError(f"the image {stage} of {suite} was not built; the output is in {log}")
    except BaseException:
        _remove_build_containers(suite)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _finish(tag)


def _remove_build_containers(suite: str) -> None:
    """An interrupted build leaves its working container, which 'podman ps' shows with --external alone.

    That of another suite's build goes on.
    """
    listed = podman("ps", "--all", "--external", "--format", "{{.ID}} {{.Status}} {{.Image}}", check=False)
    for line in listed.splitlines():
        number, status, image = [*line.split(), "", ""][:3]
        if status.lower() == "storage" and (not image or (image.startswith(REGISTRY) and f":{suite}-" in image)):
            podman("rm", "--force", number, check=False)


def host(suite: str) -> str:
    """A bare host: systemd, sshd, sudo, python3."""
    files = machine_files(suite)

    def context(folder: Path) -> None:
        for name, text in files.items():
            path = folder / "machine" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return _build("host", suite, base(suite), context, files)


def app(suite: str) -> str:
    """The bare host with the stand-in's virtualenv and broker."""
    requirements = sorted((ROOT / "tests/app/django").glob("requirements*.txt"))

    def context(folder: Path) -> None:
        for path in requirements:
            shutil.copy(path, folder / path.name)

    return _build("app", suite, host(suite), context, [path.read_text() for path in requirements])


def site(suite: str) -> str:
    """The host that a deploy starts from: the application in place, nothing that serves it."""
    source = ROOT / "tests/app"

    def context(folder: Path) -> None:
        shutil.copytree(source, folder / "app", ignore=shutil.ignore_patterns("__pycache__"))

    return _build("site", suite, app(suite), context, _tree(source))


def client(suite: str = "bookworm") -> str:
    """A host that looks at others: a browser, and programs that load and examine web servers."""
    requirements = HERE / "images" / "requirements-client.txt"

    def context(folder: Path) -> None:
        shutil.copy(requirements, folder / "requirements.txt")

    return _build("client", suite, host(suite), context, requirements.read_text())


def vagrant(suite: str) -> str:
    """The bare host as a Vagrant box has it."""
    key = HERE / "images/vagrant.pub"

    def context(folder: Path) -> None:
        shutil.copy(key, folder / "vagrant.pub")

    return _build("vagrant", suite, host(suite), context, key.read_text())


def committed(name: str, suite: str, parent: str, make: Callable[[str], str], *inputs: object) -> str:
    """An image taken from a host that ``make`` prepared; it gets the parent's tag, and returns the container."""
    tag = f"{REGISTRY}/{name}:{suite}-{_digest(parent, inputs)}"
    if succeeds("image", "exists", tag):
        return tag
    with progress(f"Debian {suite}: image '{name}' (once)"):
        container = make(parent)
        podman("stop", "--time", "20", container)
        podman("commit", "--change", f"LABEL {LABEL}={name}", container, tag)
        podman("rm", "--force", container)
    return _finish(tag)


def remove_all() -> None:
    """Remove every image of the testbed and its keys: the cache, not the hosts."""
    for tag in podman("images", "--quiet", "--filter", f"label={LABEL}").splitlines():
        podman("rmi", "--force", tag, check=False)
    shutil.rmtree(cache_dir(), ignore_errors=True)
