"""Answers of hosts for tests: whether a value has the type that the deploy takes it for, also where it is a part."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, TypeVar, cast, get_args, get_origin, get_type_hints, is_typeddict

from catmaid_deploy.answers.survey import Survey

T = TypeVar("T")


def mistakes(value: Any, kind: Any, whole: bool = True, place: str = "", seen: set[str] | None = None) -> Iterator[str]:
    """What of a value isn't as its type says, a line each; of one that isn't ``whole`` keys may be left out. ``seen``
    gets the keys that it has, such as Unit.active.
    """
    origin, args = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        yield from _of_keys(value, kind, whole, place, seen)
    elif origin is UnionType:
        found = [[*mistakes(value, one, whole, place, seen)] for one in args if one is not NoneType or value is None]
        yield from min(found, key=len)
    elif origin is dict and isinstance(value, dict):
        for key, one in value.items():
            yield from mistakes(key, args[0], whole, f"{place}: key {key!r}", seen)
            yield from mistakes(one, args[1], whole, f"{place}[{key!r}]", seen)
    elif origin in (list, tuple) and isinstance(value, list | tuple):
        kinds = args if origin is tuple else args * len(value)
        if len(kinds) != len(value):
            yield f"{place} has {len(value)} parts, not {len(kinds)}"
        for number, (one, its_kind) in enumerate(zip(value, kinds, strict=False)):
            yield from mistakes(one, its_kind, whole, f"{place}[{number}]", seen)
    elif origin is Literal:
        if value not in args:
            yield f"{place} is {value!r}, none of {args}"
    elif origin is None and (type(value) is kind or (kind is float and type(value) is int)):
        return
    else:
        yield f"{place} is {value!r:.80}, not {kind}"


def _of_keys(value: Any, kind: Any, whole: bool, place: str, seen: set[str] | None) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place} is {value!r:.80}, not {kind.__name__}"
        return
    kinds = get_type_hints(kind, include_extras=True)
    for key, its_kind in kinds.items():
        if key in value:
            one = get_args(its_kind)[0] if get_origin(its_kind) is NotRequired else its_kind
            if seen is not None:
                seen.add(f"{kind.__name__}.{key}")
            yield from mistakes(value[key], one, whole, f"{place}.{key}", seen)
        elif whole and kind.__total__ and get_origin(its_kind) is not NotRequired:
            yield f"{place}.{key} is missing"
    yield from (f"{place}.{key} isn't in {kind.__name__}" for key in value if key not in kinds)


def part(kind: type[T], value: Any) -> T:
    """A part of an answer, as far as a test needs one; a key or a value that no host answers fails."""
    assert [*mistakes(value, kind, whole=False)] == []
    return cast(T, value)


def survey(**keys: Any) -> Survey:
    """A part of a survey."""
    return part(Survey, keys)
