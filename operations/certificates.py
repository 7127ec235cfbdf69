"""Certificates made on the host: signed by itself, or got from an ACME server by certbot."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import QuoteString, StringCommand, operation

from schema import is_address

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

# certbot's timer may be at work: it is waited for. Of what certbot prints, an admin needs what the server complained
# of; certbot 2.1 hides some of it in its log, which all runs share.
_ACME = r"""
set -u
hook=$1; name=$2; shift 2
conf=/etc/letsencrypt/renewal/$name.conf
live=/etc/letsencrypt/live/$name
# Without this file, or with the empty one that a failed try leaves, certbot knows nothing of a certificate, and yet
# won't write over it. These few lines are enough for the next one, with which certbot writes the whole file anew.
forgotten=
if [ ! -s "$conf" ] && [ -d "$live" ]; then
    forgotten=$conf
    {
        echo "archive_dir = /etc/letsencrypt/archive/$name"
        for part in cert privkey chain fullchain; do echo "$part = $live/$part.pem"; done
        echo '[renewalparams]'
    } > "$conf" || exit 1
    set -- "$@" --force-renewal
fi
log=/var/log/letsencrypt/letsencrypt.log
for try in 1 2 3 4 5 6 7 8 9 10 11 12; do
    size=$(stat -c %s $log 2>/dev/null || echo 0)
    output=$(certbot certonly --non-interactive --agree-tos --keep-until-expiring --renew-with-new-domains "$@" 2>&1)
    code=$?
    case $output in *"Another instance of Certbot is already running"*) sleep 5;; *) break;; esac
done
if [ $code != 0 ]; then
    [ -z "$forgotten" ] || rm -f "$forgotten"
    printf '%s\n' "$output" | grep -v -e '^Saving debug log' -e '^- - -' -e '^Ask for help' -e 'Hint:' \
        -e AttributeError -e '^ *$' | tail -30 >&2
    [ ! -f $log ] || tail -c +$((size + 1)) $log | sed -n 's/^acme.messages.Error: //p' | tail -1 >&2
    echo "what was served before is still served; more is in $log" >&2
    exit 1
fi
"$hook"
"""


def _script(script: str, *words: str) -> StringCommand:
    return StringCommand("sh", "-c", QuoteString(script), "sh", *map(QuoteString, words))


@operation()
def self_signed(names: list[str], folder: str, link: str | None = None) -> Generator[StringCommand]:
    """
    Make a key and a certificate signed with it, valid for 825 days; both replace those in the folder (row 19).

    + names: the host names or addresses that it is for, the first of them its subject
    + folder: gets ``fullchain.pem`` and ``privkey.pem``
    + link: a symbolic link that is to lead to the folder

    The key never leaves the host.
    """
    subjects = ",".join(f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in names)
    # A subject's common name has 64 characters at most; browsers look at the names alone.
    yield _script(_SELF_SIGNED, subjects, names[0][:64], folder, link or "")


@operation()
def acme(
    names: list[str], server: str, email: str | None, webroot: str, hook: str, force: bool = False
) -> Generator[StringCommand]:
    """
    Have certbot get a certificate, and nginx take it (row 19). A failure leaves what is served as it was.

    + names: the host names, the first of them also certbot's name of the certificate
    + server: the directory of the ACME server; using it says yes to its terms
    + email: where the server writes to
    + webroot: where nginx looks for the answers to the server's challenge
    + hook: the script that hands a new certificate to nginx
    + force: get a new one also where the one there is good, since it came from another server
    """
    words = ["--webroot", "-w", webroot, "--cert-name", names[0], "--server", server]
    words += [word for name in names for word in ("-d", name)]
    words += ["--email", email] if email else ["--register-unsafely-without-email"]
    yield _script(_ACME, hook, names[0], *words, *(["--force-renewal"] if force else []))
