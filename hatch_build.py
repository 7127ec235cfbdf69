"""What an editable install (``pip install -e .``) takes beside the way to this folder: no copies of what is in it."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Editable(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build_data["force_include_editable"] = {"catmaid_deploy/start.pth": "catmaid-deploy.pth"}
