"""The options of a run, as they are typed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import option_names, unknown_name, validate_fields
from ..errors import UsageError
from ..recipes import Options
from ..runs.folder import RunFolder
from ..runs.records import RunRecord
from .behavior import BEHAVIOR

# typed like an option of the experts' recipe; it is none: it changes no key of a stage
RANKS = {"expert.ranks": "expert_ranks"}


def without_ranks(options: dict[str, Any]) -> dict[str, Any]:
    """The options without those that are kept with the machine."""
    return {name: value for name, value in options.items() if name not in ("ranks", "expert_ranks")}


def sorted_out(typed: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    """The short options, checked; and the options with dotted names, like `base.lr`."""
    short = {RANKS.get(key, key): value for key, value in typed.items() if "." not in key or key in RANKS}
    dotted = {key: value for key, value in typed.items() if "." in key and key not in RANKS}
    known = [*option_names(Options), *BEHAVIOR]
    for key in short:
        if key not in known:
            raise UsageError(unknown_name("option", key, sorted(known)))
    return validate_fields(Options, short), dotted


def with_anothers(typed: dict[str, Any]) -> dict[str, Any]:
    """Replace `recipe=RUN` by the options of that run; options that are typed now win."""
    run = RunFolder(Path(str(typed.get("recipe", ""))))
    if "recipe" not in typed or not run.record.is_file():
        return typed
    return {**RunRecord.read(run.path).typed, **{key: value for key, value in typed.items() if key != "recipe"}}


def flat(node: Any, place: str = "") -> dict[str, Any]:
    """The values below a node, by their dotted places."""
    if not isinstance(node, dict):
        return {place: node}
    return {
        key: value for name, below in node.items() for key, value in flat(below, f"{place}.{name}".lstrip(".")).items()
    }
