"""Running a pipeline on a folder of images. A run that is finished is found to be so without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import NonNegativeFloat

from .. import signals
from ..config import Gigabytes, Workers, option_names, to_json_value, validate_fields, validate_json_types
from ..files.caches import cache_folder
from ..files.paths import Data
from ..files.text import printable
from ..log import info
from ..runs.records import RunRecord, expected_stages, has_leftovers, refuse_foreign_folder, verify_stage
from .entry import runs_alone

if TYPE_CHECKING:
    from ..nets.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Behavior:
    """Options that change no bit of a result."""

    cache: Path | None = None
    cache_gb: Gigabytes = 8.0
    workers: Workers | None = None
    save_every: NonNegativeFloat = 30.0
    keep_memory: bool = True


BEHAVIOR = set(option_names(Behavior))


@dataclass(frozen=True)
class Ran:
    """What `run` gives: which stages were done by this call, and whether all are; `model` is the final one."""

    folder: Path
    did: list[str]
    done: bool

    @cached_property
    def model(self) -> "Trained":
        from .models import find_model

        return find_model(self.folder)


@runs_alone
def run(
    data: Data,
    *,
    out: str | Path,
    only: str | None = None,
    steal_lock: bool = False,
    allow_collapse: bool = False,
    **options: Any,
) -> Ran:
    """Train an encoder on a folder of images; what was done before in `out` is not done again.

    Options are those of the command line: `epochs=60`, `recipe="moclr"`, `**{"clusters.k": 10}`.
    """
    folder = Path(out)
    options = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}  # as if typed
    validate_json_types(options)
    with signals.deferred_signals():
        refuse_foreign_folder(folder, data)
        if only is None and finished(data, folder, options):
            info(f"nothing to do: every stage of {printable(folder)} is done")
            return Ran(folder, [], True)
        from . import run_plan

        order = run_plan.prepare_run(data, folder, options)
        did, done = run_plan.execute(order, only=only, steal_lock=steal_lock, allow_collapse=allow_collapse)
        return Ran(folder, did, done)


def finished(data: Data, folder: Path, options: dict[str, Any]) -> bool:
    """Whether all of this very order, of these very images, is done. A "no" may be wrong, and costs a second look.

    DamagedError if it is done, but not as it was when it was done."""
    if not (folder / "run.json").exists():
        return False
    record = RunRecord.read(folder)
    typed = {key: value for key, value in options.items() if key not in BEHAVIOR}
    stages = [folder / name for name in expected_stages(folder, record)]
    if to_json_value(typed) != record.typed or not all((stage / "stage.json").exists() for stage in stages):
        return False
    if any(has_leftovers(stage) for stage in stages) or record.with_done(folder).done != record.done:
        return False
    from ..data.images import open_images

    asked = {key: typed[key] for key in ("include", "exclude", "near_duplicates", "limit") if key in typed}
    behavior = behaving(options)
    there = open_images(data, **asked, cache=cache_folder(behavior.cache), workers=behavior.workers)
    if there.fingerprint != record.images:
        return False
    for name in expected_stages(folder, record):
        verify_stage(folder, name)
    return True


def behaving(options: Mapping[str, Any]) -> Behavior:
    return validate_fields(Behavior, {key: value for key, value in options.items() if key in BEHAVIOR})
