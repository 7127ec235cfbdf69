"""Whether what a release requires fits a Python, by the rules of `tasks.python.fits`, and with which moved pins.

Here on the host since its repository is read there; a part of a script, and of the deploy's own side.
"""

import operator
import re

NAME_OF_REQUIREMENT = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*([^;]*)(?:;(.*))?")
# Of those that CATMAID uses; any other condition counts as fulfilled.
FOR_PYPY = re.compile(r"platform_python_implementation\s*==\s*['\"]PyPy['\"]")
SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
FOR_PYTHON = re.compile(r"python_version\s*(<=|>=|<|>|==)\s*['\"]([0-9.]+)['\"]")


def same_name(name):
    """A package's name as all its spellings have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def numbers(version):
    """Of a version what can be compared; trailing zeros say nothing.

    >>> numbers("6.0.0") < numbers("6.0.1") and numbers("3.1") < numbers("3.11")
    True
    """
    found = [int(part) for part in re.findall(r"\d+", version)]
    while found and not found[-1]:
        found.pop()
    return found


def holds_for(condition, python):
    """Whether a requirement's condition is fulfilled by a CPython of this version."""
    if FOR_PYPY.search(condition):
        return False
    return all(SIGNS[sign](numbers(python), numbers(version)) for sign, version in FOR_PYTHON.findall(condition))


def required(text, python):
    """The packages that a text of requirements names for a Python, each with its pinned version; '' for no such one."""
    found = {}
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        match = NAME_OF_REQUIREMENT.match(line)
        if not match or line.startswith("-") or not holds_for(match.group(3) or "", python):
            continue
        pin = re.fullmatch(r"===?\s*([A-Za-z0-9.!+_]+)", match.group(2).split(" --")[0].strip())
        found[same_name(match.group(1))] = pin.group(1) if pin else ""
    return found


def concerns(rule, pins, python):
    """Whether a rule says something of one of these pins with this Python."""
    pin = pins.get(same_name(rule["package"]))
    old = not rule.get("below") or (bool(pin) and numbers(pin) < numbers(rule["below"]))
    return pin is not None and old and numbers(python) >= numbers(rule.get("since", "3"))


def fitted(text, rules, python, given):
    """
    What a release's requirements become for a Python.

    + text: all its requirements, a line each
    + rules: lists of `move`, `refuse`, `beside`, `build` and `apart`
    + python: the version, such as 3.11
    + given: the overrides of the inventory, which count more

    Answers ``moved``, each with its old and its new version; ``overrides``, ``beside`` and ``build`` for uv, a line
    each; and ``wrong``, the package, its version and why it fits no such Python.
    """
    pins = required(text, python)
    given = {same_name(name): version for name, version in given.items()}
    pins.update({name: version for name, version in given.items() if name in pins})
    moved, wrong = {}, []
    for rule in rules["move"]:
        name = same_name(rule["package"])
        if name not in given and name not in moved and concerns(rule, pins, python):
            moved[name] = [rule["package"], pins[name], rule["to"]]
    for rule in rules["refuse"]:
        name = same_name(rule["package"])
        if concerns(rule, pins, python) and name not in [same_name(one[0]) for one in wrong]:
            wrong.append([rule["package"], pins[name], rule["why"]])
    lines = ["%s==%s" % (name, version) for name, version in given.items()]
    lines += ["%s==%s" % (name, new) for name, _, new in moved.values()]
    for rule in rules["apart"]:
        # By a condition that no host fulfills it is left out.
        if {same_name(rule["package"]), same_name(rule["by"])} <= pins.keys():
            lines.append("%s ; sys_platform == 'none'" % rule["package"])
    return {
        "moved": list(moved.values()),
        "overrides": lines,
        "beside": [rule["needs"] for rule in rules["beside"] if concerns(rule, pins, python)],
        "build": [rule["needs"] for rule in rules["build"] if concerns(rule, pins, python)],
        "wrong": wrong,
    }


def files_for_uv(text, packages, found):
    """The files by which uv installs what a release requires, from `fitted`, with further packages."""
    return {
        "requirements.txt": text + "".join(line + "\n" for line in (*packages, *found["beside"])),
        "overrides.txt": "".join(line + "\n" for line in found["overrides"]),
        "build.txt": "".join(line + "\n" for line in found["build"]),
    }


def wheel_begins(package, version, python):
    """How the name of a wheel begins that was compiled for a Python."""
    return "%s-%s-cp%s-" % (package, version, python.replace(".", ""))


def is_built(wheels, compiled, python):
    """Whether there is a wheel for this Python of all that takes a compiler."""
    begins = [wheel_begins(package, version, python) for package, version in compiled.items()]
    return all(any(name.startswith(begin) for name in wheels) for begin in begins)
