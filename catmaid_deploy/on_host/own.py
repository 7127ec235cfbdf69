"""The folders of the deploy's own notes on a host."""

STATE = "/var/lib/catmaid-deploy"
RUN = "/run/catmaid-deploy"
LOG = "/var/log/catmaid-deploy.log"
# A run that is older holds nothing any more.
LOCK_SECONDS = 2 * 3600
