"""Certificates made on the host: signed by itself, or got from an ACME server by certbot."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypedDict

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.api.hiddenvalue import HiddenValue

from catmaid_deploy.operations.jobs import Told, job, shown
from catmaid_deploy.schema import is_address

_SELF_SIGNED = """
set -eu; umask 077
names=$1; common=$2; folder=$3; link=$4
install -d -m 755 "$(dirname "$folder")"
new=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$new"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 -subj "/CN=$common" \
    -addext "subjectAltName=$names" -keyout "$new/privkey.pem" -out "$new/fullchain.pem" 2>"$new/log" \
    || { cat "$new/log" >&2; exit 1; }
rm "$new/log"
chmod 755 "$new"; chmod 644 "$new/fullchain.pem"
rm -rf "$folder"
mv -T "$new" "$folder"
trap - EXIT
if [ -n "$link" ]; then
    ln -sfn "$folder" "$link~new"
    mv -T "$link~new" "$link"
fi
"""


_REQUEST = """
set -eu; umask 077
names=$1; subject=$2; folder=$3; said=$4; link=$5
install -d -m 755 "$(dirname "$folder")" "$folder"
cd "$folder"
if [ -n "$said" ]; then
    if [ ! -s privkey.pem ]; then
        openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out privkey.pem.new 2>&1
        mv privkey.pem.new privkey.pem
    fi
    openssl req -new -utf8 -key privkey.pem -subj "$subject" -addext "subjectAltName=$names" -out request.csr.new
    printf %s "$said" > request.txt.new
    chmod 644 request.csr.new request.txt.new
    mv request.csr.new request.csr; mv request.txt.new request.txt
    echo "note: have $folder/request.csr signed, put the certificate into $folder/fullchain.pem, and deploy"
fi
if [ -n "$link" ]; then
    ln -sfn "$folder" "$link~new"
    mv -T "$link~new" "$link"
fi
"""


def _script(script: str, *words: str) -> StringCommand:
    return StringCommand("sh", "-c", QuoteString(script), "sh", *map(QuoteString, words))


def _subjects(names: list[str]) -> str:
    return ",".join(f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in names)


@operation()
def self_signed(names: list[str], folder: str, link: str | None = None) -> Generator[StringCommand]:
    """
    Make a key and a certificate signed with it, valid for 825 days; both replace those in the folder.

    + names: the host names or addresses that it is for, the first of them its subject
    + folder: gets ``fullchain.pem`` and ``privkey.pem``
    + link: a symbolic link that is to lead to the folder

    The key never leaves the host.
    """
    # A subject's common name has 64 characters at most; browsers look at the names alone.
    yield _script(_SELF_SIGNED, _subjects(names), names[0][:64], folder, link or "")


@operation()
def requested(
    names: list[str], subject: dict[str, str], said: str | None, folder: str, link: str | None = None
) -> Generator[StringCommand]:
    """
    Make a key, if there is none, and a request for a certificate; or use the certificate that was signed.

    + names: the host names that it is for
    + subject: what the authority wants beside them
    + said: what is noted beside the request; without it none is made
    + folder: gets ``privkey.pem``, ``request.csr`` and ``request.txt``
    + link: a symbolic link that is to lead to the folder

    The key never leaves the host.
    """
    words = "".join(f"/{key}={text}" for key, text in subject.items())
    yield _script(_REQUEST, _subjects(names), f"{words}/CN={names[0][:64]}", folder, said or "", link or "")


class Certificate(TypedDict):
    """
    A certificate that is to be got.

    + lineage: certbot's name of it
    + names: the host names that it is for; ``kept`` are those that no site has
    + by: how certbot renews it now, where that changes; ``force`` has certbot get it although it isn't late
    + server, email: the ACME server, and who hears of it there
    + way: how a name is proven, in certbot's words; ``dns`` where that needs no nginx
    + hook, deploy_hook: what runs after a renewal: the deploy's own, and one that was there before
    + links: the folders that lead to it
    """

    lineage: str
    names: list[str]
    kept: list[str]
    by: str
    force: bool
    server: str
    email: str | None
    way: list[str]
    dns: bool
    hook: str
    deploy_hook: str | None
    links: list[str]


@operation()
def acme(certificate: Certificate, run: str, unseen: HiddenValue | None = None) -> Generator[StringCommand]:
    """
    Have certbot get a certificate, and nginx take it. A failure leaves what is served as it was.

    + certificate: from which server, for which names, and how
    + run: the name of the run that holds the lock
    + unseen: ``fetching`` for certbot's environment, and ``eab``, from `operations.jobs.hidden`

    Using an ACME server says yes to its terms.
    """
    yield job({"do": "certificate", "run": run, "one": {**certificate, **shown(unseen)}}, Told)
