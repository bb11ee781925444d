"""Options: parse them from `key=value`, validate them with pydantic, and set them in recipes (frozen dataclasses).

Recipes written in Python and options typed as `key=value` go through the same checks. Errors name an option as it is typed.
"""

import dataclasses
import difflib
import json
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import ErrorDetails

from .errors import UsageError, few

R = TypeVar("R")
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
MAX_LISTED = 30  # names in a message: all methods and recipes fit, the experts of a large run do not
MAX_SHOWN = 80  # characters of a refused value in a message
Workers = Annotated[int, Field(ge=1, le=4096)]
Gigabytes = Annotated[float, Field(ge=0, le=1e9)]
LATER = {"later": True}  # the metadata of a field that recipes of older runs lack: see `to_json_value`
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """Return the error message for an unknown name: the most similar known name, or else the known names."""
    similar = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {similar[0]!r}?" if similar else f"there is: {list_names(known)}"
    return f"unknown {kind} {name!r}; {hint}"


def list_names(names: Sequence[str]) -> str:
    """Return all names in one line; only the first few if there are more than MAX_LISTED."""
    return ", ".join(names) if len(names) <= MAX_LISTED else few(names)


def parse_options(words: Sequence[str]) -> dict[str, Json]:
    """Parse words of the form `key=value`; raise UsageError for any other word, and for a key that is typed twice."""
    options: dict[str, Json] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{word!r} is not an option: options are typed key=value, like epochs=60")
        if key in options:
            raise UsageError(f"{key}= is typed twice")
        options[key] = parse_value(value)
        _refuse_unnameable(key, options[key])
    return options


def parse_value(text: str) -> Json:
    """Return the number, list, object, true, false or none that a text stands for; any other text is returned unchanged."""
    if text.lower() in ("true", "false", "none", "null"):
        return {"true": True, "false": False}.get(text.lower())
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def _refuse_unnameable(key: str, value: Json) -> None:
    """Raise UsageError for a text that can't be the name of a file: JSON can write NUL and lone surrogates."""
    if not isinstance(value, str):
        return
    try:
        if "\0" not in os.fsdecode(os.fsencode(value)):
            return
    except UnicodeEncodeError:
        pass
    raise UsageError(f"{key}={value!a}: it has characters that no name can have")


def validate_json_types(options: Mapping[str, object]) -> None:
    """Raise UsageError for a value that can't be written as JSON, so that run.json can hold all options."""
    for key, value in options.items():
        for item in _items(value):
            if isinstance(item, Mapping | list | tuple):
                validate_json_types({key: item})
            elif not (item is None or isinstance(item, str | int | float | bool)):
                raise UsageError(
                    f"{key}={_short(value)}: {type(item).__name__} is no kind of option; give a number, text, true, false, or "
                    "a list of these"
                )


def _items(value: object) -> Sequence[object]:
    """The values inside a mapping or sequence; any other value itself."""
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list | tuple) else [value]


def validate_fields(kind: type[R], fields: Mapping[str, object], prefix: str = "") -> R:
    """Return the dataclass `kind` with these fields, checked and converted.

    Raises UsageError for unknown fields and wrong values; `prefix` stands before the fields' names there, as in "base.".
    """
    try:
        checked: R = _adapter(cast(Hashable, kind)).validate_python(fields)
    except ValidationError as error:
        messages = dict.fromkeys(_message(kind, prefix, details) for details in error.errors())
        raise UsageError(few(list(messages), "; ")) from None
    return checked


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    """The validator of a dataclass; it refuses unknown fields at any depth, infinity and NaN."""
    return TypeAdapter(with_config(ConfigDict(extra="forbid", allow_inf_nan=False))(kind))


def validate_value(kind: type[R], value: object, name: str) -> R:
    """Return the value converted to the type `kind`, within its bounds; UsageError names the option `name`."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        message = error.errors()[-1]["msg"].removeprefix("Input ").lower()
        raise UsageError(f"{name}={_short(value)}: {message}") from None


def validate_arguments(function: Callable[..., object], options: Mapping[str, object]) -> dict[str, Any]:
    """Return the options, checked and converted to the types in the function's signature."""
    kinds, checked = get_type_hints(function, include_extras=True), {}
    for key, value in options.items():
        try:
            checked[key] = TypeAdapter(kinds[key], config=ConfigDict(allow_inf_nan=False)).validate_python(value)
        except ValidationError as error:
            raise UsageError(f"{key}={_short(value)}: {error.errors()[0]['msg'].lower()}") from None
    return checked


def _message(kind: type, prefix: str, details: ErrorDetails) -> str:
    """The error message for one problem that pydantic found in a dataclass `kind`."""
    steps = [str(step) for step in details["loc"]]
    name = prefix + ".".join(step for step in steps if "-" not in step and "[" not in step)  # no kinds of a union
    if details["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return unknown_name("option", name, [f"{prefix}{known}" for known in option_names(kind)])
    count = _tuple_length(kind, details)
    if count:
        field, example = f"{prefix}{details['loc'][0]}", list(range(1, count + 1))
        return f"{field}={_short(details['input'])}: {count} numbers are wanted, like {example}"
    return f"{name}={_short(details['input'])}: {details['msg'].lower()}"


def _tuple_length(kind: type, details: ErrorDetails) -> int:
    """The length of the tuple that a field needs, if the problem is a wrong length; else 0."""
    if details["type"] not in ("missing", "too_long", "tuple_type"):
        return 0
    hint = get_type_hints(kind).get(str(details["loc"][0]))
    items = get_args(hint) if get_origin(hint) is tuple else ()
    return 0 if Ellipsis in items else len(items)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def option_names(kind: type, prefix: str = "") -> Iterator[str]:
    """Yield the name of every option of a recipe class as it is typed, such as "base.lr"."""
    for field in dataclasses.fields(kind):
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            yield from option_names(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def with_options(recipe: R, options: Mapping[str, object]) -> R:
    """Return a copy of the recipe with options changed by their dotted names, as in {"student.lr": 0.1}."""
    for name, value in options.items():
        recipe = _with_option(recipe, name.split("."), value, name)
    return recipe


def _with_option(node: object, path: Sequence[str], value: object, name: str) -> Any:
    """A copy of a node of the recipe in which the option at `path` below it has the value; `name` is the whole name."""
    first, *rest = path
    prefix = name.removesuffix(".".join(path))
    if isinstance(node, dict):  # a method's own options; the method checks them
        return {**node, first: _with_option(node.get(first), rest, value, name) if rest else value}
    if not dataclasses.is_dataclass(node):
        raise UsageError(f"unknown option {name!r}: {prefix.rstrip('.')} is an option and has none below it")
    fields = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    if first not in fields:
        raise UsageError(unknown_name("option", name, [f"{prefix}{known}" for known in option_names(type(node))]))
    now = fields[first]
    if not rest and dataclasses.is_dataclass(now):
        members = ", ".join(f"{name}.{member}" for member in option_names(type(now)))
        raise UsageError(f"{name}= is a group of options: {members}")
    fields[first] = _with_option(now, rest, value, name) if rest else value
    return validate_fields(type(node), fields, prefix)


def to_json_value(x: Any) -> Any:
    """Return a JSON value that describes `x`: a recipe by all its fields, an artifact by its fingerprint.

    A field with the metadata LATER is left out while it has its default: so a run that was begun before there was such a field
    can go on.
    """
    if dataclasses.is_dataclass(x) and not isinstance(x, type) and not hasattr(x, "fingerprint"):
        said = (field for field in dataclasses.fields(x) if not _is_later_default(field, getattr(x, field.name)))
        return {field.name: to_json_value(getattr(x, field.name)) for field in said}
    if isinstance(x, Mapping):
        return {str(key): to_json_value(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [to_json_value(value) for value in x]
    if x is None or isinstance(x, str | int | float | bool):
        return x
    return x.fingerprint


def _is_later_default(field: "dataclasses.Field[Any]", value: object) -> bool:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return bool(field.metadata.get("later")) and value == default


def differences(old: Json, new: Json, name: str = "") -> list[tuple[str, Json, Json]]:
    """Return the differences of two JSON values, each as (dotted name, old value, new value)."""
    if isinstance(old, dict) and isinstance(new, dict):
        steps: list[tuple[str, Json, Json]] = [(key, old.get(key), new.get(key)) for key in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        steps = [(str(i), *pair) for i, pair in enumerate(zip(old, new, strict=True))]
    else:
        return [] if old == new else [(name, old, new)]
    return [
        found for step, before, after in steps for found in differences(before, after, f"{name}.{step}".lstrip("."))
    ]
