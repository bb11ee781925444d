"""What is in the JSON files of a run, checked when they are read: a run may come from a stranger."""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    with_config,
)

from ..errors import DamagedError
from ..files.integrity import read_json
from ..files.text import printable

Number = NonNegativeFloat | None


@dataclass(frozen=True)
class SummaryRecord:
    """What a stage notes of itself, as far as it is read again."""

    k: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    images_seen: NonNegativeInt | None = None
    images_per_second: Number = None
    data_wait: Number = None
    peak_rss_mb: Number = None


@dataclass(frozen=True)
class StageRecord:
    """stage.json"""

    key: Any
    seconds: NonNegativeFloat
    notes: SummaryRecord
    sha256: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StateRecord:
    """state.json"""

    state: str
    seconds: NonNegativeFloat
    why: str
    key: Any = None


@dataclass(frozen=True)
class MetricsLine:
    """A line of metrics.jsonl"""

    step: NonNegativeInt
    steps: PositiveInt
    batch_size: PositiveInt
    images_per_second: Number = None


def read_record(kind: type, path: Path) -> dict[str, Any]:
    """The object in a file of ours. DamagedError says which of its fields is not what it has to be."""
    return checked_record(kind, read_json(path), path)


def checked_record(kind: type, value: Any, path: Path) -> dict[str, Any]:
    """The value itself, if it fits the kind."""
    try:
        _checker(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "it"
        raise DamagedError(
            f"{printable(path)} is damaged, or of another version: {printable(place)}: {printable(first['msg'].lower())}; put back a copy, "
            "or make anew what it belongs to"
        ) from None
    found: dict[str, Any] = value
    return found


@functools.cache
def _checker(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(with_config(ConfigDict(extra="ignore", allow_inf_nan=False))(kind))
