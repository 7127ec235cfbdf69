"""The reference of the inventory, made from its models: the book's page has what the deploy accepts."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from catmaid_deploy import schema
from catmaid_deploy.schema import hidden, values


def _inner(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that stand in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for word in get_args(annotation):
        yield from _inner(word)


def _models() -> dict[type[BaseModel], str]:
    """Each model by the keys that lead to it, as an inventory calls them, in the order of the page."""
    found: dict[type[BaseModel], list[str]] = {schema.Deployment: ["sites"]}
    left: list[type[BaseModel]] = [schema.Deployment]
    for model in left:
        for key, field in model.model_fields.items():
            for inner in _inner(field.annotation):
                left += [] if inner in found else [inner]
                found[inner] = list(dict.fromkeys([*found.get(inner, []), key]))
    return {model: ", ".join(keys) for model, keys in found.items()} | {schema.Site: "site"}


MODELS = _models()
# Types of the schema in words.
_NAMED: list[tuple[Any, str]] = [
    (values.HostName, "host name"),
    (values.ServerName, "host name"),
    (values.AbsolutePath, "absolute path"),
    (values.Prefix, "path in the address"),
    (values.UserName, "name of a user or group"),
    (values.PlainUserName, "name of a user or group"),
    (values.QueueName, "queue's name"),
    (values.Origin, "origin"),
    (hidden.Passwords, "dictionary of user names and hashes"),
    (values.HeaderValue, "header's value"),
    (values.Network, "address or network"),
    (hidden.ProxyAddress, "address, which is a secret if it has a password"),
    (values.DirectName, "host name or domain"),
    (hidden.MacKey, "secret"),
    (hidden.Password, "secret"),
]


def unit(model: type[BaseModel], key: str) -> str:
    """What a number counts, or a size is given in; empty where nothing is counted."""
    extra = model.model_fields[key].json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def _counts(annotation: Any) -> bool:
    """Whether a value is a number of something."""
    if annotation in (values.Port, values.Status):
        return False
    if annotation in (int, values.Size):
        return True
    return get_origin(annotation) in (Annotated, Union, types.UnionType) and any(map(_counts, get_args(annotation)))


def lacking(models: Iterable[type[BaseModel]]) -> Iterator[str]:
    """What the keys of models lack that stands in their fields, a sentence each."""
    for model in models:
        hints = get_type_hints(model, include_extras=True)
        for key, field in model.model_fields.items():
            name = f"{model.__name__}.{key}"
            if not field.description:
                yield f"{name} has no description: say what it is for, as description=... in its Field"
            if not field.examples:
                yield f"{name} has no example: give what an inventory may have there, as examples=[...] in its Field"
            if _counts(hints[key]) and not unit(model, key):
                yield f'{name} has no unit: say what it counts, as json_schema_extra={{"unit": "..."}} in its Field'


def _range(metadata: Iterable[Any]) -> str:
    """What limits stand in a type: those of a number, or of a text's length."""
    found: dict[str, Any] = {}
    for one in metadata:
        for limit in one.metadata if isinstance(one, FieldInfo) else (one,):
            for name in ("ge", "le", "max_length"):
                if (value := getattr(limit, name, None)) is not None:
                    found[name] = value
    if "ge" in found:
        return f", {found['ge']} to {found['le']}" if "le" in found else f", {found['ge']} or more"
    return f", up to {found['max_length']} characters" if "max_length" in found else ""


def kind(annotation: Any) -> str:
    """A type in words."""
    for known, words in _NAMED:
        if annotation == known:
            return words
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(inner[0]) + _range(inner[1:])
    if origin is Literal:
        return "one of " + ", ".join(f"`{literal(word)}`" for word in inner)
    if origin in (Union, types.UnionType):
        return " or ".join("`None`" if word is type(None) else kind(word) for word in inner)
    if origin is tuple:
        return f"list: {kind(inner[0])}"
    if origin is dict:
        return "dictionary of secrets" if inner[1] == hidden.Password else "dictionary of texts"
    if annotation in MODELS:
        return f"dictionary, [{MODELS[annotation]}](#{anchor(annotation)})"
    return {str: "text", int: "whole number", bool: "`True` or `False`", datetime: "time with its zone"}[annotation]


def key_kind(model: type[BaseModel], key: str) -> str:
    """The type of a key in words, with its limits."""
    # The field itself has lost the names of its types.
    return kind(get_type_hints(model, include_extras=True)[key]) + _range(
        one for one in model.model_fields[key].metadata if hasattr(one, "max_length")
    )


def _derived() -> dict[str, Any]:
    """Defaults that follow from the checkout, with CHECKOUT in its place."""
    (instance,) = schema.load({"server_name": "host.example", "instances": [{"checkout": "/CHECKOUT"}]}).instances
    return {key: value.replace("/CHECKOUT", "CHECKOUT") for key, value in instance if isinstance(value, str)}


def default(model: type[BaseModel], key: str) -> str:
    """What a key is without being said, as it is written in an inventory; empty for a key that has to be there."""
    field = model.model_fields[key]
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value == "" and model is schema.Instance:
        value = _derived()[key]
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    return literal(value)


def literal(value: Any, *keys: str) -> str:
    """A value as Python writes it, with the double quotes that inventories have; a secret, which stands below some
    ``keys``, as one is read.
    """
    if isinstance(value, SecretStr):
        return f'secret.from_environment("{"_".join(keys[-2:]).upper()}")'
    if isinstance(value, tuple | list):
        return f"[{', '.join(literal(one, *keys) for one in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(k)}: {literal(v, *keys, k)}' for k, v in value.items())}}}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def anchor(model: type[BaseModel], key: str = "") -> str:
    name = model.__name__.lower()
    return f"{name}-{key}" if key else name


def _key(model: type[BaseModel], key: str) -> Iterator[str]:
    field = model.model_fields[key]
    yield f"### `{key}` {{ #{anchor(model, key)} }}\n"
    yield f"{field.description}\n"
    yield f"- type: {key_kind(model, key)}"
    if unit(model, key):
        yield f"- unit: {unit(model, key)}"
    yield f"- default: `{default(model, key)}`" if not field.is_required() else "- default: none, it has to be there"
    for example in field.examples or ():
        yield f"- example: `{literal({key: example}, MODELS[model])[1:-1]}`"
    yield ""


def page() -> str:
    """All models with their keys, in Markdown."""
    lines: list[str] = []
    for model, name in MODELS.items():
        lines += [f"## {name} {{ #{anchor(model)} }}\n", (model.__doc__ or "").strip() + "\n"]
        for key in model.model_fields:
            lines += _key(model, key)
    return "\n".join(lines)
