"""What an inventory says, as a description or as findings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pydantic import (
    BaseModel,
    ValidationError,
)
from pydantic_core import ErrorDetails

from catmaid_deploy.finding import Finding, fault
from catmaid_deploy.schema.deployment import Deployment
from catmaid_deploy.schema.install import TAGS, Administrator, Broker, Database, Install, Mail, Python, Settings
from catmaid_deploy.schema.instance import Address, Instance
from catmaid_deploy.schema.programs import Celery, Program
from catmaid_deploy.schema.releases import Releases
from catmaid_deploy.schema.services import Postgresql, Rabbitmq
from catmaid_deploy.schema.site import Site
from catmaid_deploy.schema.tiles import TileSet
from catmaid_deploy.schema.web import Cors, Dns, Eab, Headers, Maintenance, Tls


class InvalidSite(ValueError):
    """The description of a site is wrong. A rule is one sentence with its fix at the end: from here on a finding."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("\n".join(finding.line() for finding in findings))
        self.findings = findings

    @property
    def lines(self) -> list[str]:
        return [finding.line() for finding in self.findings]


def _place(location: Iterable[str | int]) -> str:
    text = ""
    for part in location:
        # A key may have a line break in it, and a line is to stay one.
        text += f"[{part}]" if isinstance(part, int) else f".{part if part.isprintable() else repr(part)}"
    return text.removeprefix(".")


_MODELS: dict[str | int, type[BaseModel]] = {
    "sites": Site,
    "site": Site,
    "instances": Instance,
    "tiles": TileSet,
    "programs": Program,
    "celery": Celery,
    "install": Install,
    "administrator": Administrator,
    "python": Python,
    "settings": Settings,
    "mail": Mail,
    "postgresql": Postgresql,
    "rabbitmq": Rabbitmq,
    "releases": Releases,
    "database": Address,
    "broker": Address,
    "tls": Tls,
    "eab": Eab,
    "dns": Dns,
    "cors": Cors,
    "headers": Headers,
    "maintenance": Maintenance,
}
_MADE: dict[str | int, type[BaseModel]] = {"database": Database, "broker": Broker}


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys allowed where an unknown one was found."""
    names = [part for part in location if part in _MODELS]
    if not names:
        return []
    # Both keys stand twice: as an address that is asked, and as what the deploy makes.
    model = _MADE.get(names[-1], _MODELS[names[-1]]) if "install" in names else _MODELS[names[-1]]
    return list(model.model_fields)


# Keys of a host that stand beside its site.
BESIDE = (("proxy",), ("no_proxy",), ("offline",), ("postgresql",), ("rabbitmq",))
_PLAIN = {
    "string_type": "text is needed",
    "int_type": "a whole number is needed",
    "dict_type": "a dictionary is needed",
    "model_type": "a dictionary is needed",
    "tuple_type": "a list is needed",
}


def _explain(error: ErrorDetails, single: bool) -> Finding:
    location, kind = tuple(part for part in error["loc"] if part not in TAGS), error["type"]
    if single and location[:1] not in BESIDE:
        location = ("site", *location[2:])
    location = location or ("sites",)
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else "known are: " + ", ".join(known)
        return fault(_place(location), f"unknown key; {hint}")
    if kind == "missing":
        return fault(_place(location), "missing", "add it")
    if kind in _PLAIN:
        # What is in a list or dictionary may be secret, and so may the value of a variable.
        value = error["input"]
        if isinstance(value, dict | list | tuple):
            given = "a dictionary" if isinstance(value, dict) else "a list"
        else:
            given = "what is there" if {"environment", "proxy", "eab"} & set(location) else repr(value)
        return fault(_place(location), f"{_PLAIN[kind]}, not {given}")
    message = error["msg"].removeprefix("Value error, ")
    if kind.startswith(("greater_than", "less_than", "literal", "too_", "string_too")):
        message = f"{error['input']!r} is not allowed: {message[0].lower()}{message[1:]}"
    # A rule over several keys of one model names its key first.
    named = re.match(r"([a-z_]+): ", message) if kind == "value_error" else None
    if named:
        message = message.removeprefix(named.group())
        location = () if (named.group(1),) in BESIDE else location
        if location[-1:] != (named.group(1),):
            location = (*location, named.group(1))
    return fault(_place(location), message)


def load(site: object = None, sites: object = None, **more: object) -> Deployment:
    """Validate what an inventory says under ``site``, or under ``sites`` for several; ``more`` are keys beside them.

    Raises InvalidSite with a finding for each fault.
    """
    if site is None and sites is None:
        raise InvalidSite(fault("site", "missing", "describe the site in the inventory, as inventories/prod.py does"))
    if site is not None and sites is not None:
        raise InvalidSite(fault("sites", "given together with 'site'", "keep one of them"))
    try:
        return Deployment.model_validate({"sites": [site] if sites is None else sites} | more)
    except ValidationError as error:
        raise InvalidSite(*(_explain(e, sites is None) for e in error.errors())) from None


def load_all(hosts: Mapping[str, Mapping[str, object]]) -> dict[str, Deployment | InvalidSite]:
    """Validate what an inventory says of all its hosts, by their names, each with what it says of the others.

    + hosts: the arguments of `load` for each; one without any isn't the deploy's, and nobody has to know of it

    What is wrong with a host stands in its place.
    """
    described: dict[str, Deployment] = {}
    wrong: dict[str, InvalidSite] = {}
    for name, arguments in hosts.items():
        try:
            described[name] = load(**arguments)
        except InvalidSite as error:
            wrong[name] = error
    unknown = tuple(
        replace(found, place=f"{name}: {found.place}")
        for name, error in wrong.items()
        if hosts[name]
        for found in error.findings
    )
    return wrong | {
        name: one.among({other: known for other, known in described.items() if other != name}, unknown)
        for name, one in described.items()
    }
