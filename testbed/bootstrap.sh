#!/bin/sh
# Gets what this machine lacks. 'bootstrap.sh check': a virtualenv for 'make check'; 'bootstrap.sh docs': what makes
# the book as well; 'bootstrap.sh hosts': podman beside it; 'bootstrap.sh vagrant': Vagrant and LXC beside them.
set -eu
cd "$(dirname "$0")/.."

say() { echo "--> $*" >&2; }
die() { echo "--> $*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

PATH=$PATH:/usr/sbin:/sbin
missing=""
need() { has "$1" || missing="$missing $2"; }

python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
need patch patch
requirements=requirements-hosts.txt
[ "${1:-check}" != check ] || requirements=requirements-dev.txt
if [ "${1:-check}" = hosts ] || [ "${1:-check}" = vagrant ]; then
    need podman "podman netavark aardvark-dns iptables"
    need iptables iptables
    need debootstrap debootstrap
    need ssh-keygen openssh-client
    need git git
    need unshare util-linux
    need strace strace
    # crun refuses control groups of both versions side by side.
    [ -e /sys/fs/cgroup/cgroup.controllers ] || need runc runc
fi
if [ "${1:-check}" = vagrant ]; then
    # By their files: a Vagrant of another origin doesn't see Debian's plugin.
    [ -e /usr/share/vagrant-plugins/plugins.d/vagrant-lxc.json ] || missing="$missing vagrant vagrant-lxc"
    need lxc-create lxc
    need pkill procps
fi

if [ -n "$missing" ]; then
    has apt-get || die "this machine lacks$missing, and has no apt-get: use Debian 12 or later, or install them"
    if [ "$(id -u)" = 0 ]; then sudo=""; else
        has sudo || die "this machine lacks$missing: install them as root, or install sudo"
        sudo=sudo
    fi
    say "installing what this machine lacks:$missing"
    $sudo apt-get -q update >&2 || die "apt-get update failed: see above"
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $missing >&2 \
        || die "apt-get install failed: see above"
fi

digest=$(cat requirements.txt requirements-dev.txt requirements-hosts.txt pyproject.toml hatch_build.py \
    catmaid_deploy/start.pth | sha256sum | cut -c1-16)
made=$(cat .venv/made-from 2>/dev/null || true)
# The one for hosts has all of the other.
if { [ "$made" != "$digest $requirements" ] && [ "$made" != "$digest requirements-hosts.txt" ]; } \
        || ! .venv/bin/python -c '' 2>/dev/null; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        || die "this machine's python3 is $(python3 -V | cut -d' ' -f2); 3.11 or later is needed (Debian 12 has it)"
    say "making the virtualenv .venv (once, about half a minute)"
    # One that works is brought up to date in place: something may run from it.
    .venv/bin/python -c '' 2>/dev/null || rm -rf .venv
    [ -x .venv/bin/python ] || python3 -m venv .venv
    # Not .venv/bin/pip: in a copied virtualenv that names the python of the first one, and would install there.
    .venv/bin/python -m pip --disable-pip-version-check --no-color install --progress-bar off -r "$requirements" >&2
    echo "$digest $requirements" > .venv/made-from
fi
