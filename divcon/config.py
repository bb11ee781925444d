"""Recipes: frozen dataclasses, checked by pydantic at the door, changed by `key=value`.

One checker serves recipes written in Python and `key=value` alike; errors name options as they are typed.
"""

import dataclasses
import difflib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from .errors import UsageError, few

R = TypeVar("R")
MAX_LISTED = 30  # names, when none is near: of methods and recipes all, of the experts of a large run a few
MAX_SHOWN = 80  # letters of a value that will not do
Workers = Annotated[int, Field(ge=1, le=4096)]
Gigabytes = Annotated[float, Field(ge=0, le=1e9)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """The message for a name that isn't there, with what may have been meant."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there is: {list_names(known)}"
    return f"unknown {kind} {name!r}; {hint}"


def list_names(known: Sequence[str]) -> str:
    """All names there are, unless their number grows with the data."""
    return ", ".join(known) if len(known) <= MAX_LISTED else few(known)


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """What was typed as `key=value`: numbers, true, false, none and JSON lists are understood, all else is text."""
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{word!r} is not an option: options are typed key=value, like epochs=60")
        if key in pairs:
            raise UsageError(f"{key}= is typed twice")
        pairs[key] = parse_value(value)
        _refuse_unnameable(key, pairs[key])
    return pairs


def validate_json_types(options: Mapping[str, Any]) -> None:
    """Refuse what can't be written down as an option is typed: UsageError names its type."""
    for key, value in options.items():
        for each in (
            value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else [value]
        ):
            if isinstance(each, Mapping | list | tuple):
                validate_json_types({key: each})
            elif not (each is None or isinstance(each, str | int | float | bool)):
                raise UsageError(
                    f"{key}={_short(value)}: {type(each).__name__} is no kind of option; give a number, text, true, false, or "
                    "a list of these"
                )


def _refuse_unnameable(key: str, value: Any) -> None:
    """JSON can write characters that no file's name, and no text, has."""
    try:
        if "\0" not in os.fsdecode(os.fsencode(value)):
            return
    except (TypeError, UnicodeEncodeError):
        if not isinstance(value, str):
            return
    raise UsageError(f"{key}={value!a}: it has characters that no name can have")


def parse_value(text: str) -> Any:
    if text.lower() in ("true", "false", "none", "null"):
        return {"true": True, "false": False}.get(text.lower())
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def validate_fields(kind: type[R], fields: Mapping[str, Any], place: str = "") -> R:
    """The dataclass with these fields, checked and converted; `place` is how its fields are typed, like "base."."""
    try:
        checked: R = _checker(cast(Any, kind)).validate_python(fields)
    except ValidationError as error:
        said = dict.fromkeys(_explained(kind, place, problem) for problem in error.errors())
        raise UsageError(few(list(said), "; ")) from None
    return checked


def validate_value(kind: Any, value: Any, name: str) -> Any:
    """The value, checked and converted to a type, with its bounds; `name` is how it is typed."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        message = error.errors()[-1]["msg"].removeprefix("Input ").lower()
        raise UsageError(f"{name}={_short(value)}: {message}") from None


@cache
def _checker(kind: Any) -> TypeAdapter[Any]:
    """Refuses unknown fields, at any depth."""
    return TypeAdapter(with_config(ConfigDict(extra="forbid", allow_inf_nan=False))(kind))


def validate_arguments(verb: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, checked and converted as the verb's own signature says."""
    kinds, checked = get_type_hints(verb, include_extras=True), {}
    for key, value in options.items():
        try:
            checked[key] = TypeAdapter(kinds[key], config=ConfigDict(allow_inf_nan=False)).validate_python(value)
        except ValidationError as error:
            raise UsageError(f"{key}={_short(value)}: {error.errors()[0]['msg'].lower()}") from None
    return checked


def _explained(kind: type, place: str, problem: Any) -> str:
    where = place + ".".join(str(step) for step in problem["loc"])
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return unknown_name("option", where, [f"{place}{name}" for name in option_names(kind)])
    numbers = _numbers(kind, problem)
    if numbers:
        return f"{place}{problem['loc'][0]}={_short(problem['input'])}: {numbers} numbers are wanted, like {list(range(1, numbers + 1))}"
    return f"{where}={_short(problem['input'])}: {problem['msg'].lower()}"


def _numbers(kind: type, problem: Any) -> int:
    """As many as are wanted, where the problem is that there are more or fewer; else 0."""
    if problem["type"] not in ("missing", "too_long", "tuple_type"):
        return 0
    hint = get_type_hints(kind).get(str(problem["loc"][0]))
    each = get_args(hint) if get_origin(hint) is tuple else ()
    return 0 if Ellipsis in each else len(each)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def option_names(kind: type, prefix: str = "") -> Iterator[str]:
    """Every option of a recipe as it is typed: "base.lr"."""
    for field in dataclasses.fields(kind):
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            yield from option_names(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def with_options(recipe: R, changes: Mapping[str, Any]) -> R:
    """The recipe with options changed by their dotted places: {"student.lr": 0.1}."""
    for key, value in changes.items():
        recipe = _set(recipe, key.split("."), value, key)
    return recipe


def _set(node: Any, steps: Sequence[str], value: Any, key: str) -> Any:
    """A copy of the node with the leaf at `steps` replaced."""
    first, *rest = steps
    place = key.removesuffix(".".join(steps))
    if isinstance(node, dict):  # a method's own options, which the method checks
        return {**node, first: _set(node.get(first), rest, value, key) if rest else value}
    if not dataclasses.is_dataclass(node):
        raise UsageError(f"unknown option {key!r}: {place.rstrip('.')} is an option and has none below it")
    if first not in {field.name for field in dataclasses.fields(node)}:
        raise UsageError(unknown_name("option", key, [f"{place}{name}" for name in option_names(type(node))]))
    now = getattr(node, first)
    if not rest and dataclasses.is_dataclass(now):
        raise UsageError(f"{key}= is a group of options: {', '.join(f'{key}.{n}' for n in option_names(type(now)))}")
    fields = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    fields[first] = _set(now, rest, value, key) if rest else value
    return validate_fields(type(node), fields, place)


def to_json_value(x: Any) -> Any:
    """A JSON account: an artifact by its fingerprint, a recipe by all its fields."""
    if dataclasses.is_dataclass(x) and not isinstance(x, type) and not hasattr(x, "fingerprint"):
        return {field.name: to_json_value(getattr(x, field.name)) for field in dataclasses.fields(x)}
    if isinstance(x, Mapping):
        return {str(key): to_json_value(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [to_json_value(value) for value in x]
    if x is None or isinstance(x, str | int | float | bool):
        return x
    return x.fingerprint


def differences(old: Any, new: Any, place: str = "") -> list[tuple[str, Any, Any]]:
    """Where two accounts differ: (dotted place, old, new)."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = {**old, **new}
        return [d for key in keys for d in differences(old.get(key), new.get(key), f"{place}.{key}".lstrip("."))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            d
            for i, pair in enumerate(zip(old, new, strict=True))
            for d in differences(*pair, f"{place}.{i}".lstrip("."))
        ]
    return [] if old == new else [(place, old, new)]
