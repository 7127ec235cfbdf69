"""The same site by ansible-core: a playbook made from what the deploy itself would write, so that it can't drift."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catmaid_deploy import schema
from catmaid_deploy.file_sets import File, Folder, Item, Link
from catmaid_deploy.plan.look import Look
from catmaid_deploy.run import preflight
from catmaid_deploy.tasks import system
from catmaid_deploy.tasks.nginx import site as nginx
from catmaid_deploy.tasks.nginx.capabilities import DEFAULT_SITE, Server
from catmaid_deploy.tasks.nginx.passwords import KEY
from testbed import images, virtualenvs
from testbed.hosts import BedHost
from testbed.order import TASKS
from testbed.peers import deploys, script
from testbed.podman import BedError

REQUIREMENTS = images.ROOT / "requirements-bench.txt"
# Ansible's apt and pip modules need these on the host; the deploy needs nothing.
ON_HOST = ("python3-apt", "python3-packaging", "python3-setuptools")

# Ansible as its documentation has it fastest: one connection kept open over all runs, modules piped into
# python3 instead of copied, no fact gathered, no compression on a link that needs none, nothing shown of
# tasks without a change.
CONFIG = """\
[defaults]
inventory = {folder}/inventory.json
home = {folder}/home
forks = 10
gathering = explicit
host_key_checking = False
interpreter_python = /usr/bin/python3
nocows = True
retry_files_enabled = False
display_ok_hosts = False
display_skipped_hosts = False
localhost_warning = False
{strategy}
[connection]
pipelining = True
[ssh_connection]
pipelining = True
ssh_args = -o ControlMaster=auto -o ControlPersist=600s -o UserKnownHostsFile=/dev/null
control_path_dir = {folder}/connections
"""


def python() -> Path:
    """The Python of the peers' virtualenv."""
    return virtualenvs.python("bench", REQUIREMENTS, "ansible-core and Mitogen")


def versions() -> dict[str, str]:
    """The peers' versions by name, as installed."""
    code = "import json; from importlib.metadata import version as v; print(json.dumps({n: v(n) for n in NAMES}))"
    names = ("ansible-core", "mitogen")
    done = subprocess.run([str(python()), "-c", code.replace("NAMES", repr(names))], capture_output=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@dataclass(frozen=True)
class Work:
    """What a deploy sees to on a host: packages, files, folders and links. What it makes once, certificates with their
    keys and the key of cookies, are files here.
    """

    packages: list[str]
    items: list[Item]

    @staticmethod
    def of(host: BedHost, deployment: schema.Deployment) -> Work:
        """The work on a host that is deployed already: nothing else has its certificates and its key."""
        survey = deploys.survey(host, deployment)
        found = items(deployment, Server.of(survey))
        for site in deployment.sites:
            if site.tls.certificate == "self-signed":
                folder = site.self_signed_dir
                found += [Folder(str(Path(folder).parent)), Folder(folder)]
                for name, mode in (("fullchain.pem", "644"), ("privkey.pem", "600")):
                    found.append(File(f"{folder}/{name}", script.ssh(host, f"cat {folder}/{name}").decode(), mode))
        key = script.ssh(host, f"cat {KEY} 2>/dev/null || true").decode()
        found += [File(KEY, key, "600")] if key else []
        return Work(preflight.packages(TASKS, Look(deployment, survey)), found)


def items(deployment: schema.Deployment, server: Server) -> list[Item]:
    """All files, folders and links of a host, as they are with the nginx that it has."""
    others = [one for one in preflight.wanted_sets(TASKS, deployment) if one.name != "nginx"]
    sets = [*others, nginx.wanted(deployment, server)[0]]
    return [item for one in sets for item in one.items]


def absent() -> list[str]:
    """The links of packages that the deploy takes out."""
    return list(DEFAULT_SITE)


def playbook(deployment: schema.Deployment, work: Work, texts: Path) -> list[dict[str, Any]]:
    """The work of the deploy as an Ansible role would have it; ``texts`` gets the rendered files.

    One task a kind with a loop, which was the faster way: a task costs a process on this machine. And copy
    instead of template, which renders and then does the same.
    """
    files = [item for item in work.items if isinstance(item, File)]
    for number, file in enumerate(files):
        (texts / str(number)).write_bytes(file.text.encode(file.encoding))
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.apt": {"name": work.packages, "state": "present", "install_recommends": False}},
        *(
            {"ansible.builtin.pip": {"name": f"uwsgi=={version}", "virtualenv": virtualenv}}
            for virtualenv, version in {i.virtualenv: i.uwsgi_version for i in deployment.instances}.items()
        ),
        {
            "ansible.builtin.file": {
                "path": "{{ item.path }}",
                "state": "directory",
                "owner": "{{ item.user }}",
                "group": "{{ item.group }}",
                "mode": "{{ item.mode }}",
            },
            "loop": [
                {"path": one.path, "user": one.user, "group": one.group, "mode": one.mode}
                for one in work.items
                if isinstance(one, Folder)
            ],
        },
        {
            "ansible.builtin.copy": {
                "src": f"{texts}/{{{{ item.number }}}}",
                "dest": "{{ item.path }}",
                "owner": "{{ item.user }}",
                "group": "{{ item.group }}",
                "mode": "{{ item.mode }}",
            },
            "loop": [
                {"number": number, "path": one.path, "user": one.user, "group": one.group, "mode": one.mode}
                for number, one in enumerate(files)
            ],
        },
        *(
            {"ansible.builtin.file": {"path": one.path, "src": one.target, "state": "link"}}
            for one in work.items
            if isinstance(one, Link)
        ),
        *({"ansible.builtin.file": {"path": path, "state": "absent"}} for path in absent()),
        {
            "ansible.builtin.systemd_service": {"name": "{{ item }}", "enabled": True, "state": "started"},
            "loop": system.units(deployment),
        },
    ]
    return [{"hosts": "all", "gather_facts": False, "tasks": tasks}]


class Ansible:
    """A deployment on one host by ansible-core, or by ansible-core with Mitogen, from a folder of its own."""

    def __init__(self, folder: Path, host: BedHost, deployment: schema.Deployment, work: Work, mitogen: bool) -> None:
        self.folder = folder
        self.words = [str(python().parent / "ansible-playbook"), str(folder / "playbook.json")]
        (folder / "texts").mkdir(parents=True)
        # JSON is YAML, and the peers' virtualenv alone has a YAML library.
        book = playbook(deployment, work, folder / "texts")
        (folder / "playbook.json").write_text(json.dumps(book, indent=1))
        (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": {"host": _connection(host)}}}))
        (folder / "ansible.cfg").write_text(CONFIG.format(folder=folder, strategy=_strategy() if mitogen else ""))

    def __enter__(self) -> Ansible:
        return self

    def __exit__(self, *_: object) -> None:
        """End the connection that ControlPersist would keep for another ten minutes."""
        for socket in self.folder.glob("connections/*"):
            subprocess.run(["ssh", "-O", "exit", "-S", str(socket), "host"], capture_output=True)

    def run(self) -> None:
        """Run the playbook on the deployed host.

        Raises BedError when it fails, and when it finds anything to change: then it does other work than ours.
        """
        env = {**os.environ, "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(self.words, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        recap = re.search(r"^host\s*:\s*ok=(\d+)\s+changed=(\d+)\s+unreachable=0\s+failed=0", done.stdout, re.MULTILINE)
        if done.returncode or not recap or recap.group(2) != "0":
            raise BedError(f"the playbook fails or changes what the deploy left:\n{done.stdout}\n{done.stderr}")


def _strategy() -> str:
    plugins = next(python().parent.parent.glob("lib/python*/site-packages/ansible_mitogen/plugins/strategy"))
    return f"strategy = mitogen_linear\nstrategy_plugins = {plugins}"


def _connection(host: BedHost) -> dict[str, Any]:
    return {
        "ansible_host": "127.0.0.1",
        "ansible_port": host.ssh_port,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(images.ssh_key()),
    }


def prepare(host: BedHost) -> None:
    """Install what Ansible's modules need on the host."""
    host.run(
        "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; "
        f"apt-get -qq install -y --no-install-recommends {' '.join(ON_HOST)}"
    )
