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
from ..ranks import place
from ..runs import owner
from ..runs.folder import MANIFEST, RunFolder
from ..runs.records import RunRecord
from ..runs.refusals import refuse_foreign_folder
from ..runs.verify import verify_stage
from .behavior import behavior_of, recipe_options, wants_report
from .call import Call
from .entry import runs_alone
from .run_summary import RunSummary, named_scores, summarize

if TYPE_CHECKING:
    from ..nets.trained import Trained
    from .run_plan import RunPlan

Did = tuple[list[str], bool]  # the stages that were done, and True if all are


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
    call = Call(folder, only, steal_lock, allow_collapse)
    with signals.deferred_signals():
        did = _run_with_others(data, call, options) if place() else _run_here(data, call, options)
    return RunAnswer(folder, *did)


def _run_here(data: Data, call: Call, options: dict[str, Any]) -> Did:
    """Do the run in this process, or in as many as it is to have, which this one starts."""
    if _has_nothing_to_do(data, call, options):
        return [], True
    from . import run_plan
    from .execution import begin, execute
    from .launching import launch

    order = run_plan.prepare_run(data, call.folder, options)
    begun = begin(order, call)
    ranks = run_plan.ranks_needed(order, call.only)
    did, done = launch(order, begun, call, options, ranks) if ranks > 1 else execute(order, begun, call)
    _report(order, did, done, options)
    return did, done


def _run_with_others(data: Data, call: Call, options: dict[str, Any]) -> Did:
    """Do the run as one of the ranks that a launcher has started. The first one prepares it for all."""
    from .. import dist
    from . import run_plan
    from .execution import begin, execute, refuse_other_ranks

    with dist.joined():
        _free_dead(call.folder)
        if dist.on_leader(lambda: _has_nothing_to_do(data, call, options)):
            return [], True
        if not run_plan.is_one_of_group(call.only):
            options = {**options, "ranks": dist.world_size()}
        begun = dist.on_leader(lambda: begin(run_plan.prepare_run(data, call.folder, options), call))
        order = run_plan.follow(call.folder, options)
        refuse_other_ranks(order, call.only)
        did, done = execute(order, begun, call)
        dist.on_leader(lambda: _report(order, did, done, options))
        return did, done


def _free_dead(folder: Path) -> None:
    """Remove the locks of dead processes, on each host those of its own, before any rank asks for one."""
    from .. import dist

    dist.first_on_host(lambda: owner.free_dead(folder))
    dist.any_rank(False)


def _has_nothing_to_do(data: Data, call: Call, options: dict[str, Any]) -> bool:
    refuse_foreign_folder(call.folder, data)
    if call.only is not None or not finished(data, call.folder, options):
        return False
    info(f"nothing to do: every stage of {printable(call.folder)} is done")
    _log_scores(call.folder, behavior_of(options).loggers)
    return True


def _report(order: "RunPlan", did: list[str], done: bool, options: dict[str, Any]) -> None:
    """Write the report of a run that this call has finished."""
    if done and did and wants_report(behavior_of(options)):
        from .report import report_at_end

        report_at_end(order.folder, order.images, order.machine, order.cache, order.cache_gb)


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
    typed = recipe_options(options)
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
