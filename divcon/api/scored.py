"""Open labeled images as the tasks need them: with a class each, a set of classes each, a value for each pixel, or boxes."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ..data.labeled.boxes import open_boxes
from ..data.labeled.depths import open_depths
from ..data.labeled.labeled import open_labeled
from ..data.labeled.layout import Split
from ..data.labeled.masks import open_masks
from ..data.labeled.scored import Scored, Truth
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
    """Return the images of a folder: with a value for each pixel or with boxes if a task is for such, else with a set of classes each if the
    layout is that of PASCAL VOC, else with one class each."""
    asked = set() if tasks is None else {all_tasks()[name].truth for name in names_of(tasks, None)}
    opened: Callable[..., Scored] = open_voc if is_voc(folder) else open_labeled
    for truth in [
        truth for truth in OPENERS if truth in asked
    ]:  # not in the order of a set, which differs between processes
        opened = OPENERS[truth]
    return opened(folder, split=split, include=include, exclude=exclude, cache=cache, workers=workers)
