"""The first tables, administrator and projects of an instance. A part of the job's script, see `apply`."""

import json
import secrets

from catmaid_deploy.on_host.operations.common import ending, has_migrations, make_folders, say, tell
from catmaid_deploy.on_host.paths import INSTALLED
from catmaid_deploy.on_host.trust import ROOT, As, Failed

# CATMAID's migrations take two minutes in an empty database.
MIGRATE_SECONDS = 3600
ADMINISTRATOR_SECONDS = 120
# In a process of its own, whose environment nobody else can read. Prints whether it has made somebody.
ADMINISTRATOR = """
import os, django
django.setup()
from django.contrib.auth import get_user_model
users, name = get_user_model().objects, os.environ["FIRST_NAME"]
if not users.filter(is_superuser=True).exists():
    one = users.create_superuser(name, os.environ["FIRST_EMAIL"], os.environ["FIRST_PASSWORD"])
    if os.environ["FIRST_TOKEN"]:
        from django.contrib.auth.models import Permission
        from rest_framework.authtoken.models import Token
        one.user_permissions.add(*Permission.objects.filter(codename="can_annotate_with_token"))
        Token.objects.get_or_create(user=one)
    print("made " + name)
"""
# CATMAID has a project of its own, which no user sees. A title that is given twice is made twice, as it says.
PROJECTS = """
import json, os, django
django.setup()
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from catmaid.models import Project
users = get_user_model().objects
named = users.filter(username=os.environ["FIRST_NAME"])
owner = named.first() or users.filter(is_superuser=True).order_by("pk").first()
own = getattr(settings, "ONTOLOGY_DUMMY_PROJECT_ID", -1)
try:
    from guardian.shortcuts import assign_perm
except ImportError:
    assign_perm = None
try:
    from catmaid.control.tracing import setup_tracing
except ImportError:
    setup_tracing = None
with transaction.atomic():
    if owner and not Project.objects.exclude(pk=own).exists():
        for title, comment in json.loads(os.environ["FIRST_PROJECTS"]):
            one = Project.objects.create(title=title, comment=comment or None)
            for name in ("can_browse", "can_annotate", "can_administer", "can_import") if assign_perm else ():
                assign_perm(name, owner, one)
            # Without its classes nobody can trace in it.
            if setup_tracing:
                setup_tracing(one.pk, owner)
        print("made the projects")
"""


def in_application(job, what, words, seconds, **environment):
    """Run an instance's Python as its user, with what its programs run with; returns its output."""
    environment = dict(job["environment"], PYTHONDONTWRITEBYTECODE="1", **environment)
    python = job["virtualenv"] + "/bin/python"
    code, output = As(job["user"]).run([python, *words], seconds, cwd=job["projects"], **environment)
    if code:
        raise Failed("%s of %s: %s" % (what, job["instance"], ending(output, 12)))
    return output


def first_start(job):
    """Make what an application needs in its database before it starts for the first time."""
    place = job["settings"] and job["settings"]["place"]
    if place and not ROOT.exists(place):
        # With the programs' files it comes later, all or none.
        make_folders(place.rpartition("/")[0])
        ROOT.write(place, job["settings"]["text"].encode())
    path = "%s/%s.json" % (INSTALLED, job["instance"])
    noted = ROOT.json(path)

    def note(**more):
        noted.update(more)
        make_folders(INSTALLED)
        ROOT.write(path, json.dumps(noted).encode())

    if noted.get("tables") is not True:
        first_tables(job, noted, note)
        note(tables=True)
    if job["administrator"] and noted.get("administrator") is not True:
        first_administrator(job)
        note(administrator=True)
    if job["first_projects"] and noted.get("projects") is not True:
        first_projects(job)
        note(projects=True)


def first_tables(job, noted, note):
    """Make the tables in an empty database. One that has some keeps them as they are: to bring these to a release is
    the matter of `migrate` in the inventory, which asks before that.
    """
    words = ["manage.py", "showmigrations", "--plan"]
    plan = in_application(job, "the look at its database", words, ADMINISTRATOR_SECONDS)
    # What a run that was cut has begun, the next one completes.
    if has_migrations(plan) and noted.get("tables") != "begun":
        say("the database of %s has its tables already" % job["instance"])
        return
    note(tables="begun")
    say("making the tables of %s, which takes a minute or two" % job["instance"])
    words = ["manage.py", "migrate", "--noinput", "--verbosity", "0"]
    in_application(job, "the migrations", words, MIGRATE_SECONDS)


def first_administrator(job):
    """Make the administrator where there is none. A password that the host makes lies in a file of root's alone."""
    one, path = job["administrator"], job["password_file"]
    password = one["password"] or ROOT.read(path).strip()
    if not password:
        # Before it is used: a run that is cut leaves nobody with a password that is nowhere.
        password = secrets.token_urlsafe(15)
        make_folders(path.rpartition("/")[0])
        ROOT.write(path, (password + "\n").encode(), 0o600)
    output = in_application(
        job,
        "the first administrator",
        ["-c", ADMINISTRATOR],
        ADMINISTRATOR_SECONDS,
        FIRST_NAME=one["name"],
        FIRST_EMAIL=one["email"],
        FIRST_PASSWORD=password,
        FIRST_TOKEN="1" if one["token"] else "",
    )
    if "made " + one["name"] not in output:
        say("%s has an administrator already" % job["instance"])
        if not one["password"]:
            ROOT.unlink(path)
    elif not one["password"]:
        tell("the first password of %s is on the host: cat %s && rm %s" % (one["name"], path, path))


def first_projects(job):
    """Make the projects where there is none: in one transaction, so that a run that is cut leaves none either."""
    projects = json.dumps([[one["title"], one["comment"]] for one in job["first_projects"]])
    what, name = "the first projects", job["administrator"]["name"]
    words = {"FIRST_NAME": name, "FIRST_PROJECTS": projects}
    output = in_application(job, what, ["-c", PROJECTS], ADMINISTRATOR_SECONDS, **words)
    if "made the projects" not in output:
        say("%s has a project already" % job["instance"])
