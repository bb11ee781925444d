"""Run a pipeline on a collection of images. Torch is not loaded where the run is finished already."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import signals
from ..answers import Answer
from ..config import Json, to_json_value, validate_json_types
from ..files.caches import cache_folder
from ..files.integrity import mismatches
from ..files.paths import Data
from ..files.text import printable
from ..log import info
from ..loggers.logged import logged
from ..runs.folder import MANIFEST, RunFolder
from ..runs.records import RunRecord
from ..runs.refusals import refuse_foreign_folder
from ..runs.verify import verify_stage
from .behavior import BEHAVIOR, behavior_of, wants_report
from .entry import runs_alone
from .run_summary import RunSummary, named_scores, summarize

if TYPE_CHECKING:
    from ..nets.trained import Trained


@dataclass(frozen=True)
class RunAnswer(Answer):
    """The answer of `run`: the stages that this call did, and True if all are done; `model` is that of the last stage."""

    folder: Path
    did: list[str]
    done: bool

    def as_json(self) -> dict[str, Json]:
        return {"run": str(self.folder), "did": [*self.did], "done": self.done, **self.summary.as_json()}

    @cached_property
    def summary(self) -> RunSummary:
        """The numbers and the places that a user of the run asks for first."""
        return summarize(self.folder)

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
) -> RunAnswer:
    """Train an encoder on a collection of images; stages that are done in `out` are not done again.

    Options are those of the command line: `epochs=60`, `recipe="moclr"`, `**{"clusters.k": 10}`. `only` names a stage, or a
    group of stages, to do. `steal_lock` takes over a folder whose owner is surely gone. `allow_collapse` trains on when the
    encoder gives nearly the same features for all images.
    """
    folder = Path(out)
    options = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}  # as if typed
    validate_json_types(options)
    with signals.deferred_signals():
        refuse_foreign_folder(folder, data)
        if only is None and finished(data, folder, options):
            info(f"nothing to do: every stage of {printable(folder)} is done")
            _log_scores(folder, behavior_of(options).loggers)
            return RunAnswer(folder, [], True)
        from . import run_plan

        order = run_plan.prepare_run(data, folder, options)
        did, done = run_plan.execute(order, only=only, steal_lock=steal_lock, allow_collapse=allow_collapse)
        if done and did and wants_report(behavior_of(options)):
            from .report import report_at_end

            report_at_end(folder, order.images, order.machine, order.cache, order.cache_gb)
        return RunAnswer(folder, did, done)


def _log_scores(folder: Path, loggers: list[str]) -> None:
    """Send the scores of a finished run to its loggers: they may have come after it."""
    with logged(folder, loggers, RunRecord.read(folder).options, lambda: named_scores(folder)):
        pass


def finished(data: Data, folder: Path, options: dict[str, Any]) -> bool:
    """True if all of this very run, of these very images, is done. A False may be wrong, and costs a second look.

    DamagedError if it is done, and its files are not as they were then."""
    run = RunFolder(folder)
    if not run.is_run:
        return False
    record = RunRecord.read(folder)
    typed = {key: value for key, value in options.items() if key not in BEHAVIOR}
    stages = [run.stage(name) for name in record.expected_stages()]
    if to_json_value(typed) != record.typed or not all(stage.is_done for stage in stages):
        return False
    if any(stage.has_working_files() for stage in stages) or record.with_done(folder).done != record.done:
        return False
    if mismatches(run.images / MANIFEST):
        return False
    from ..data.images import open_images
    from .collection import selection

    behavior = behavior_of(options)
    cache = cache_folder(behavior.cache)
    there = open_images(data, **selection(record), cache=cache, workers=behavior.workers, known=run.images)
    if there.fingerprint != record.images:
        return False
    for name in record.expected_stages():
        verify_stage(folder, name)
    return True
