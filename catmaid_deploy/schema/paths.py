"""Every path that follows from an instance's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catmaid_deploy.on_host.paths import DISKS

# Where an instance's folders lie, each with its name: another place for the sockets is another line here.
FOLDERS = {
    "runtime": "/run",
    "log": "/var/log",
    "state": "/var/lib",
    "config": "/etc/catmaid",
    "dumps": "/var/backups/catmaid",
}
# Names among the sockets, and where each leads in the configuration.
LINKS = {
    "uwsgi.socket": "wsgi/run/socket",
    "uwsgi.pid": "wsgi/run/pid",
    "uwsgi-stats.socket": "wsgi/run/private/stats.socket",
    "catmaid.ready": "wsgi/run/ready",
    "daphne.sock": "daphne/run/socket",
}


def folder(kind: str, name: str) -> str:
    """A folder of the instance of this name, which may have left the inventory."""
    return f"{FOLDERS[kind]}/{name}"


class Paths:
    """The folders, sockets and files of an instance, by its name."""

    if TYPE_CHECKING:
        name: str

    @property
    def runtime_dir(self) -> str:
        return folder("runtime", self.name)

    @property
    def log_dir(self) -> str:
        return folder("log", self.name)

    @property
    def state_dir(self) -> str:
        """What has to outlive a reboot: beat's schedule."""
        return folder("state", self.name)

    @property
    def config_dir(self) -> str:
        return folder("config", self.name)

    @property
    def dumps_dir(self) -> str:
        """Dumps of its database before migrations: for root alone."""
        return folder("dumps", self.name)

    @property
    def made_settings_file(self) -> str:
        """Where the settings lie that the deploy writes; each release has a link to it."""
        return f"{self.config_dir}/settings.py"

    @property
    def secrets_file(self) -> str:
        """What the host alone knows, readable by its user; it stays when the instance leaves the inventory."""
        return f"{FOLDERS['config']}/secrets/{self.name}.json"

    @property
    def first_password_file(self) -> str:
        """The first administrator's password that the host has made, until somebody takes it: for root alone."""
        return f"{FOLDERS['config']}/secrets/{self.name}.administrator"

    @property
    def uwsgi_socket(self) -> str:
        return f"{self.runtime_dir}/uwsgi.socket"

    @property
    def daphne_socket(self) -> str:
        return f"{self.runtime_dir}/daphne.sock"

    @property
    def links(self) -> dict[str, str]:
        """Names that stay while slots change, each with where it leads: by the slot in use to what that has open."""
        return {f"{self.runtime_dir}/{name}": f"{self.config_dir}/{end}" for name, end in LINKS.items()}

    @property
    def release_link(self) -> str:
        """Leads, by the slot in use, to the code that serves: one step moves the programs and what belongs to them."""
        return f"{self.config_dir}/wsgi/release"

    @property
    def flag(self) -> str:
        """What is there while the disk of its files gives no answer."""
        return f"{DISKS}/files-{self.name}"
