"""Whether releases that are to be put in place fit the Python that they get. Runs on the host; prints JSON."""

from catmaid_deploy.on_host.facts.answer import answer
from catmaid_deploy.on_host.facts.fits import fitted
from catmaid_deploy.on_host.operations.release import commit_of
from catmaid_deploy.on_host.operations.requirements import NotInRelease, fetched_requirements, requirements_of
from catmaid_deploy.on_host.trust import NOBODY, As, Failed


def owner_or_nobody(release):
    """Who asks the repository; the owner of the code may be made by this run."""
    try:
        return As(release["owner"])
    except Failed:
        return As(NOBODY)


def fetched_text(release, fetching):
    """The requirements of a release that isn't on the host; None where nobody can tell before it is fetched."""
    user = owner_or_nobody(release)
    code, folder = user.run(["mktemp", "-d", "/tmp/catmaid-requirements.XXXXXX"], 20)
    if code:
        return None
    # Who has no folder of his own gets this one.
    home = {"HOME": folder} if user.uid == NOBODY else {}
    try:
        return fetched_requirements(user, folder, release, {**home, **fetching})
    finally:
        user.do(lambda at: at.remove_tree(folder))


def fit_of(release, rules, fetching):
    """What a release's requirements become; None where nobody can tell yet."""
    commit = None
    try:
        commit = commit_of(release)
    except Failed:
        pass  # its owner isn't there yet
    try:
        if commit:
            mirror = release["folder"] + "/repository.git"
            text = requirements_of(As(release["owner"]), mirror, commit, release["requirements"])
        else:
            text = fetched_text(release, fetching)
    except NotInRelease as error:
        return {"missing": error.path}
    if text is None:
        return None
    found = fitted(text, rules, release["python"], release["overrides"])
    return {"moved": found["moved"], "wrong": found["wrong"]}


def ask_requirements(question):
    found = {}
    for name, release in question["releases"].items():
        try:
            found[name] = fit_of(release, question["rules"], question["fetching"])
        except (Failed, OSError):
            found[name] = None  # said when it is fetched
    return {"fits": found}


answer(ask_requirements)
