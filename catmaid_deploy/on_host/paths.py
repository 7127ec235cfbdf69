"""Where a host keeps what the deploy notes there; the tasks and the schema take it from here."""

STATE = "/var/lib/catmaid-deploy"
RUN = "/run/catmaid-deploy"
LOG = "/var/log/catmaid-deploy.log"
# The distribution's own, which runs all of this and any pip.
SYSTEM_PYTHON = "/usr/bin/python3"
# What a run has brought to compile with, and takes away again.
COMPILER = STATE + "/compiler.json"
# The watcher of disks has its flags there: what has one is on a disk that gives no answer.
DISKS = "/run/nginx-disks"
# What a host without the internet is installed from.
BUNDLE = STATE + "/bundle"
# A run that is older holds nothing any more.
LOCK_SECONDS = 2 * 3600
# What was made for an instance before its first start.
INSTALLED = STATE + "/installed"
