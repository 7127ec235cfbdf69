"""pyinfra's configuration, which it reads before it connects to the hosts: what the deploy checks until then."""

import catmaid_deploy.checks  # noqa: F401
