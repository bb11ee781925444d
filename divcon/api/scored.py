"""Open labeled images as the tasks need them: with a class each, a set of classes each, a value for each pixel, boxes, or nothing."""

from collections.abc import Callable, Sequence, Set
from pathlib import Path

from ..data.labeled.boxes import open_boxes
from ..data.labeled.depths import open_depths
from ..data.labeled.labeled import NoClassesError, open_labeled
from ..data.labeled.layout import Split
from ..data.labeled.masks import open_masks
from ..data.labeled.scored import Scored, Truth
from ..data.labeled.unlabeled import open_unlabeled
from ..data.labeled.voc import is_voc, open_voc
from ..evals.tasks.registry import all_tasks, names_of
from .models import Patterns

OPENERS: dict[Truth, Callable[..., Scored]] = {"masks": open_masks, "depths": open_depths, "boxes": open_boxes}


def open_scored(
    folder: str | Path,
    tasks: str | Sequence[str] | None,
    *,
    split: Split = "auto",
    include: Patterns = (),
    exclude: Patterns = (),
    cache: Path,
    workers: int | None = None,
) -> Scored:
    """Return the images of a folder: without labels if no task needs any, with a value for each pixel or with boxes if a task is
    for such, else with a set of classes each if the layout is that of PASCAL VOC, else with one class each."""
    opened = _opener(folder, set() if tasks is None else {all_tasks()[name].truth for name in names_of(tasks, None)})
    try:
        return opened(folder, split=split, include=include, exclude=exclude, cache=cache, workers=workers)
    except NoClassesError as error:
        raise NoClassesError(f"{error}. For scores that need no labels, type tasks=unlabeled") from error


def _opener(folder: str | Path, asked: Set[Truth]) -> Callable[..., Scored]:
    if asked == {"none"}:
        return open_unlabeled
    # not in the order of the set, which differs between processes
    needed = [opener for truth, opener in OPENERS.items() if truth in asked]
    return needed[-1] if needed else open_voc if is_voc(folder) else open_labeled
