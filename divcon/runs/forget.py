"""Forget stages of a run, so that they are done again."""

from dataclasses import replace
from pathlib import Path

from .. import failpoints
from ..config import list_names
from ..errors import OwnedError, UsageError, few
from ..files.atomic import remove_folder, remove_path
from ..files.text import printable
from ..log import info
from . import owner
from .folder import REPORT, REPORT_FOLDER, STAGE, RunFolder
from .records import RunRecord, position_of
from .refusals import refuse_links


def forget_stages(folder: Path, name: str) -> list[str]:
    """Remove a stage, those that follow from it, and the report; return the names of what was removed. Other stages of its group stay."""
    record, name = RunRecord.read(folder), name.rstrip("/")
    gone = _following(record, RunFolder(folder), name)
    _refuse_owned(folder, gone)
    refuse_links(folder, gone)
    with owner.owned_briefly(folder):
        _forget(RunRecord.read(folder), gone[0]).write(folder)
    for name in (REPORT, REPORT_FOLDER):  # of stages that are not there any more
        remove_path(folder / name)
    removed = [stage for stage in gone if (folder / stage).exists()]
    for stage in reversed(removed):
        remove_folder(folder / stage, STAGE)
        failpoints.at("redo.removing")
    info(f"removed {few(removed) or 'nothing'}")
    return removed


def _following(record: RunRecord, run: RunFolder, name: str) -> list[str]:
    """The stage, or the stages of the group, with this name; then all that come after, in order."""

    def order(stage: str) -> tuple[int, int, str]:
        return position_of(record.stages, stage), len(stage), stage

    known = sorted({*record.expected_stages(), *run.begun_stages()}, key=order)
    group = [stage for stage in known if stage == name or stage.startswith(f"{name}/")]
    if not group:
        raise UsageError(f"{printable(run.path)} has no stage {name!r}; it has {list_names(known)}")
    return group + [stage for stage in known if order(stage)[0] > order(group[0])[0]]


def _refuse_owned(folder: Path, stages: list[str]) -> None:
    for stage in stages:
        if holder := owner.owner_of(folder / stage):
            raise OwnedError(f"{printable(folder)} is in use by {holder}; wait for it")


def _forget(record: RunRecord, stage: str) -> RunRecord:
    """The record of a run that is not finished any more; how many stages a later group has is not known any more."""
    at = position_of(record.stages, stage)
    groups = {group: n for group, n in record.groups.items() if position_of(record.stages, group) <= at}
    return replace(record, done={}, groups=groups)
