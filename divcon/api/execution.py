"""Begin a run that is prepared, and do its stages."""

import contextlib
from dataclasses import replace

from .. import dist, failpoints
from ..config import unknown_name
from ..errors import UsageError, WaitingError, few
from ..files.integrity import mismatches
from ..files.text import printable
from ..log import info, warning
from ..loggers.logged import logged
from ..pipelines.recipe import pipeline_of
from ..runs import owner
from ..runs.folder import MANIFEST, RunFolder
from ..runs.pace import Pace
from ..runs.records import RunRecord
from ..runs.refusals import check_common, has_progress
from ..runs.run import Run
from .call import Call
from .disk_space import refuse_without_room
from .run_plan import RunPlan, ranks_needed
from .run_summary import named_scores
from .work import plan_work_of, planned_work


def begin(run_plan: RunPlan, call: Call) -> str:
    """Write the record of a run without progress. For one with progress, return the options that differ, in words."""
    groups = list(dict.fromkeys(stage.group for stage in run_plan.stages))
    if call.only is not None and call.only.split("/")[0] not in groups:
        raise UsageError(unknown_name("stage", call.only, groups))
    _refuse_without_room(run_plan, call.only)
    for reason in run_plan.reasons:
        info(reason)
    return _meet_record(run_plan, call.steal_lock)


def refuse_other_ranks(run_plan: RunPlan, only: str | None) -> None:
    """UsageError, if this run was begun on another number of ranks than there are: they would round differently."""
    needed, there = ranks_needed(run_plan, only), dist.world_size()
    if needed != there:
        raise UsageError(
            f"{printable(run_plan.folder)} was begun on {needed} ranks, and these are {there}; start {needed}, or use another "
            "folder (out=...)"
        )


def execute(run_plan: RunPlan, changes: str, call: Call) -> tuple[list[str], bool]:
    """Do what is not done yet; return the stages that were done by this call, and True if all are done now.

    `changes` are the options that differ from those of the begun run, in words. All ranks call this together.
    """
    pace = _pace(run_plan, call.only)
    run = Run(
        run_plan.folder,
        run_plan.machine,
        run_plan.cache,
        cache_gb=run_plan.cache_gb,
        save_every=run_plan.save_every,
        only=call.only,
        taken=run_plan.taken,
        steal_lock=call.steal_lock,
        allow_collapse=call.allow_collapse,
        changes=changes,
        pace=pace,
    )
    try:
        with pace.shown(), logging_to(run_plan):
            pipeline_of(run_plan.recipe)(run, run_plan.images, run_plan.recipe)
    except WaitingError:
        if not run.reached_only:
            raise
        return run.did, False
    if call.only is not None and not run.reached_only:
        raise UsageError(unknown_name("stage", call.only, RunRecord.read(run_plan.folder).expected_stages()))
    dist.on_leader(lambda: _close_record(run_plan, call.steal_lock))
    if not run.did and dist.is_leader():
        info(f"nothing to do: every stage of {printable(run_plan.folder)} is done")
    return run.did, True


def logging_to(run_plan: RunPlan) -> contextlib.AbstractContextManager[None]:
    """Send the numbers of the run to its loggers."""
    folder = run_plan.folder
    return logged(folder, run_plan.loggers, run_plan.record.options, lambda: named_scores(folder))


def _pace(run_plan: RunPlan, only: str | None) -> Pace:
    """The progress of the run, of which nothing is done yet; with `only`, of the stage or the group of this name."""
    n = len(run_plan.images)
    planned = planned_work(run_plan.stages, n)
    return Pace(planned, chosen=lambda name: only in (None, name, name.split("/")[0]), plan_work=plan_work_of(n))


def _refuse_without_room(run_plan: RunPlan, only: str | None) -> None:
    """DiskError, if there is no room for the stages that are not done, or for the stage `only`."""
    run = RunFolder(run_plan.folder)
    expected = RunRecord.read(run.path).expected_stages() if run.is_run else run_plan.record.stages
    left = [
        stage
        for stage in run_plan.stages
        if stage.name in expected and only in (None, stage.name, stage.group) and not run.stage(stage.name).is_done
    ]
    input_spec = run_plan.recipe.base.input_spec
    refuse_without_room(run.path, run_plan.cache, left, run_plan.images, input_spec, run_plan.cache_gb)


def _meet_record(run_plan: RunPlan, steal_lock: bool) -> str:
    """Write the record of a run without progress. For one with progress, return the options that differ, in words."""
    with owner.owned_briefly(run_plan.folder, steal=steal_lock):
        if not has_progress(run_plan.folder):
            run_plan.record.write(run_plan.folder)
            failpoints.at("run.described")
            run_plan.images.save_index(RunFolder(run_plan.folder).images)
            return ""
        before = RunRecord.read(run_plan.folder)
        check_common(before, run_plan.record, run_plan.folder)
        _mend_index(run_plan)
        run_plan.images.note_source()
    return few(before.changes(run_plan.record), "; ")


def _mend_index(run_plan: RunPlan) -> None:
    """Write the index of the collection again, if its files in the run are damaged: the images are those that it lists."""
    folder = RunFolder(run_plan.folder).images
    damage = mismatches(folder / MANIFEST)
    if damage and not any(
        path.is_dir() for path in folder.glob("*")
    ):  # a folder in place of a file is not ours to remove
        warning(f"{few(damage, '; ')}. The index is written again")
        run_plan.images.save_index(folder)


def _close_record(run_plan: RunPlan, steal_lock: bool) -> None:
    """Write the record of the finished run, with the hashes of its stages."""
    with owner.owned_briefly(run_plan.folder, steal=steal_lock):
        groups = RunRecord.read(run_plan.folder).groups
        replace(run_plan.record, groups=groups).with_done(run_plan.folder).write(run_plan.folder)
