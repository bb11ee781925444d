"""Open labeled images as the tasks need them: with a class each, a set of classes each, or a class for each pixel."""

from collections.abc import Sequence
from pathlib import Path

from ..data.labeled.labeled import Labeled, open_labeled
from ..data.labeled.layout import Split
from ..data.labeled.masks import Masks, open_masks
from ..data.labeled.voc import LabelSets, is_voc, open_voc
from ..evals.tasks.contract import Truth
from ..evals.tasks.registry import all_tasks, names_of
from .models import Patterns

Scored = Labeled | LabelSets | Masks
LABELED = (Labeled, LabelSets, Masks)


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
    """Return the images of a folder. In the layout of PASCAL VOC they have a class for each pixel if a task is for those, else a
    set of classes each; in any other layout, one class each."""
    opened = open_labeled if not is_voc(folder) else open_masks if _of_pixels(tasks) else open_voc
    return opened(folder, split=split, include=include, exclude=exclude, cache=cache, workers=workers)


def _of_pixels(tasks: str | Sequence[str] | None) -> bool:
    return tasks is not None and any(all_tasks()[name].truth == "masks" for name in names_of(tasks, None))


def truth_of(data: Scored) -> Truth:
    """Return the kind of the labels."""
    return "masks" if isinstance(data, Masks) else "sets" if isinstance(data, LabelSets) else "classes"
