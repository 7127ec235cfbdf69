"""Where a host keeps what the deploy notes there; the tasks and the schema take it from here."""

STATE = "/var/lib/catmaid-deploy"
RUN = "/run/catmaid-deploy"
LOG = "/var/log/catmaid-deploy.log"
# The watcher of disks has its flags there: what has one is on a disk that gives no answer.
DISKS = "/run/nginx-disks"
# A run that is older holds nothing any more.
LOCK_SECONDS = 2 * 3600
