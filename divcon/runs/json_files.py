"""JSON files that were written by divcon, checked when they are read: a run may come from a stranger."""

import functools
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from ..errors import DamagedError
from ..files.integrity import read_json
from ..files.text import printable

R = TypeVar("R")
Extra = Literal["ignore", "forbid"]
ADVICE = "put back a copy, or make anew what it belongs to"


def load_record(kind: type[R], path: Path, *, extra: Extra = "ignore") -> R:
    """Return the record in a file. DamagedError names the field that does not have its type, or, with extra="forbid", that no
    record has."""
    return as_record(kind, read_json(path), path, extra=extra)


def as_record(kind: type[R], value: object, path: Path, *, extra: Extra = "ignore", advice: str = ADVICE) -> R:
    """Return the record that a JSON value describes; `path` is the file it came from, `advice` the end of a DamagedError."""
    try:
        record: R = _checker(cast(Hashable, kind), extra).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"]) or "it"
        raise DamagedError(
            f"{printable(path)} is damaged, or of another version: {printable(field)}: {printable(first['msg'].lower())}; "
            + advice
        ) from None
    return record


@functools.cache
def _checker(kind: Hashable, extra: Extra) -> TypeAdapter[Any]:
    return TypeAdapter(with_config(ConfigDict(extra=extra, allow_inf_nan=False))(cast(type, kind)))
