"""The applications as they are installed on a host. A part of a script, see `survey`."""

import re

from catmaid_deploy.on_host.facts.certificates import by_owner
from catmaid_deploy.on_host.facts.checkout import application, resolved
from catmaid_deploy.on_host.facts.files import owner_name
from catmaid_deploy.on_host.facts.places import release
from catmaid_deploy.on_host.facts.ports import answers
from catmaid_deploy.on_host.facts.probe import (
    SAYING_SECONDS,
    last_object,
    last_said,
)
from catmaid_deploy.on_host.facts.system import known
from catmaid_deploy.on_host.paths import STATE
from catmaid_deploy.on_host.trust import (
    ROOT,
    As,
    Failed,
    plain,
)

NO_RELEASE = {"there": False, "all": []}


def work_mem(at):
    """PostgreSQL's work_mem on this host in kB, from its files; None where it has none."""
    found = None
    for root in ("/etc/postgresql", "/var/lib/postgresql"):
        for path, _ in at.tree(root, lambda below: not below.endswith(("/base", "/pg_wal", "/global"))):
            if path.endswith(("/postgresql.conf", "/postgresql.auto.conf", "/conf.d/catmaid.conf")):
                found = found or 4096
                given = re.findall(r"^\s*work_mem\s*=?\s*'?(\d{1,9})\s*([kMG]?B)?", at.read(path), re.MULTILINE)
                for number, unit in given:
                    found = int(number) * {"": 1, "kB": 1, "MB": 1 << 10, "GB": 1 << 20}[unit]
    return found


def ask_applications(question, places):
    """Of each instance what is in its checkout, virtualenv and folder of releases."""
    found = {}
    for one in question["instances"]:
        asked = one["release"]
        told = found[one["name"]] = {"release": None}
        told["application"] = places.ask(
            one["user"], one["checkout"], lambda at, one=one: application(at, one), NOTHING
        )
        if asked:
            user = ROOT if asked["owner"] == "root" else asked["owner"]
            told["release"] = places.ask(user, asked["folder"], lambda at, asked=asked: release(at, asked))
    return found


def ask_work_mem(places):
    if not (ROOT.exists("/etc/postgresql") or ROOT.exists("/var/lib/postgresql")):
        return lambda: None
    # Its package gives both folders to that user.
    user = places.user("postgres")
    return by_owner(user and user.uid, places, "/etc/postgresql", work_mem, None)


def settings_to_load(instance, told):
    """Whether the settings can be loaded, and must be, since nothing that lasts was noted of them."""
    known_code = told["release"] is None or (told["release"].value or {}).get("there")
    application = told["application"].value
    return (
        known_code and application["paths"]["settings_file"] and not (application["missing"] or application["settings"])
    )


def settings_of(instance, told, loading):
    """The settings as Django has them, or None and why."""
    if loading is None:
        return told["application"].value["settings"], None
    found = last_object(loading, SAYING_SECONDS)
    if found is None:
        return None, last_said(loading, SAYING_SECONDS)
    try:
        found = As(instance["user"]).do(lambda at: resolved(at, found))
    except (Failed, OSError) as error:
        return None, plain(str(error))
    return found, None if found else "one of its folders, addresses, cookies or hosts isn't what Django takes"


def python_of(application, python):
    """What a virtualenv's Python is like, where its user finds and reaches it."""
    if application["missing"]:
        return {"missing": application["missing"]}
    return {"unreachable": True} if "broken" in python and not application["reaches"] else python


def survey_instance(instance, told, python, code, settings):
    asked, application = instance["release"], told["application"].value
    release = asked and (told["release"].value or dict(NO_RELEASE, shared=dict.fromkeys(asked["shared"], False)))
    return {
        "code": code.strip() if re.fullmatch(r"[0-9a-f]{16}\n?", code) else "",
        "release": release and dict(release, owner=known("user", asked["owner"])),
        "before": ROOT.json("%s/before/%s.json" % (STATE, instance["name"])),
        "user": known("user", instance["user"]),
        "group": known("group", instance["runtime_group"]),
        "paths": application["paths"],
        "owner": owner_name(application["checkout_owner"]),
        "requirements": application["requirements"],
        "python": python_of(application, python),
        **application["literals"],
        "media_root": application["media_root"],
        "foreign_packages": application["foreign_packages"],
        "settings": settings[0],
        "settings_problem": settings[1],
        "silent": {
            key: instance[key] for key in ("database", "broker") if instance[key] and not answers(instance[key])
        },
    }


# What is known of an application whose user isn't there, and of releases.
NOTHING = {
    "paths": {"checkout": False, "wsgi_file": False, "settings_file": False},
    "missing": None,
    "reaches": True,
    "owner": 0,
    "checkout_owner": 0,
    "requirements": [],
    "literals": {"script_name": None, "static_url": None, "static_root": None},
    "media_root": None,
    "foreign_packages": None,
    "settings": None,
}
