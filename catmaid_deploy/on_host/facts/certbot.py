"""What certbot has, and how it renews it. Joined with the survey."""

import os
import re
import ssl

from catmaid_deploy.on_host.trust import ROOT

CERTBOTS, CERTBOTS_LOG = "/etc/letsencrypt", "/var/log/letsencrypt/letsencrypt.log"
# Names that stay in a certificate that was taken over, by certbot's name of it: no site has them.
TAKEN_OVER = "/var/lib/catmaid-deploy/certificates.json"


def setting(text, key):
    """A value of a file in which certbot notes how it renews a certificate; '' for none."""
    found = re.search(r"^\s*%s\s*=\s*(.*?)\s*$" % key, text, re.MULTILINE)
    return "" if found is None or found.group(1) == "None" else found.group(1)


def names_of(path):
    """The names that a certificate is for."""
    try:
        with ROOT.file(path) as file:
            decoded = ssl._ssl._test_decode_cert("/proc/self/fd/%d" % file.fileno())
    except (ssl.SSLError, OSError):
        return []
    return [name for kind, name in decoded.get("subjectAltName", ()) if kind == "DNS"]


def lineage_of_site(name):
    """certbot's name of the certificate that a site has."""
    target = ROOT.target("/etc/catmaid/tls/" + name) or ""
    return os.path.basename(target) if target.startswith(CERTBOTS + "/live/") else name


def renewals_failed():
    """What certbot said of the last renewals that failed, by its name of the certificate."""
    said = ROOT.read(CERTBOTS_LOG, most=1 << 17, end=True)
    return dict(re.findall(r"Failed to renew certificate (\S+) with error: (.*)", said))


def lineages():
    """Of each certificate that certbot renews: from which server, for which names, and how."""
    found, kept = {}, ROOT.json(TAKEN_OVER)
    for file in ROOT.names(CERTBOTS + "/renewal"):
        text = ROOT.read("%s/renewal/%s" % (CERTBOTS, file))
        name = file[: -len(".conf")]
        if not file.endswith(".conf") or not setting(text, "server"):
            continue
        folders = re.split(r"\s*,\s*", setting(text, "webroot_path").rstrip(", "))
        folders += re.findall(r"^\S+\s*=\s*(/\S+)$", text.partition("[[webroot_map]]")[2], re.MULTILINE)
        found[name] = {
            "server": setting(text, "server"),
            "authenticator": setting(text, "authenticator"),
            "webroots": sorted({folder for folder in folders if folder}),
            # What certbot does beside it, which may be to stop nginx.
            "others": [key for key in ("installer", "pre_hook", "post_hook") if setting(text, key)],
            "deploy_hook": setting(text, "renew_hook"),
            "credentials": setting(text, r"dns_\w+_credentials"),
            "wait": setting(text, r"dns_\w+_propagation_seconds"),
            "names": names_of("%s/live/%s/cert.pem" % (CERTBOTS, name)),
            "kept": kept.get(name, []),
        }
    return found
