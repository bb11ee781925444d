"""The key of a stage: what it was asked for."""

import json
from collections.abc import Callable, Sequence
from typing import Any, cast, get_args, get_type_hints

from ..config import to_json_value
from ..files.integrity import digest
from .stage import A, Result


def made_by(do: Callable[..., Result[A]]) -> type[A]:
    """The type of the artifact that a stage makes, by its return annotation Result[...]."""
    (kind,) = get_args(get_type_hints(do)["return"])
    return cast(type[A], kind)


def stage_key(do: Callable[..., object], args: Sequence[object]) -> dict[str, Any]:
    """Return what identifies a stage, as JSON: its function, with the version, and its arguments in their order."""
    return {"do": do.__name__, "version": getattr(do, "version", 1), "args": to_json_value(list(args))}


def key_digest(key: Any) -> str:
    """Return the digest of a key."""
    return digest(json.dumps(key, sort_keys=True))
