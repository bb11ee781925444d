"""Find the images of a run that look nearly the same to its encoder."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Int64
from pydantic import Field

from ..answers import Answer
from ..config import Gigabytes, Seed, Workers
from ..curation.duplicates import DIRECT, Group, duplicate_groups
from ..data.index.csv_table import write_csv
from ..files.caches import cache_folder
from ..files.paths import Data
from ..runs.records import run_record
from .entry import runs_alone
from .output_files import output_file
from .seen_images import SeenImages, see_images

Cosine = Annotated[float, Field(gt=0, le=1)]
THRESHOLD = 0.9
DRAWN = 40  # groups on a contact sheet
COLUMNS = "group", "keep", "path", "position", "width", "height", "cosine"


@dataclass(frozen=True)
class DuplicateImage(Answer):
    """An image of a group: its path below the folder, its position, its size, and its largest cosine to another image of
    the group."""

    path: str
    position: int
    width: int
    height: int
    cosine: float


@dataclass(frozen=True)
class DuplicateGroup(Answer):
    """Images that look nearly the same: the largest one, of equals the first, and the others."""

    keep: DuplicateImage
    others: list[DuplicateImage]


@dataclass(frozen=True)
class DuplicatesAnswer(Answer):
    """The answer of `duplicates`: the images of the run, how many of them are others in a group, the threshold, and the
    groups, the largest one first. `compared` says which pairs were compared."""

    images: int
    others: int
    threshold: float
    compared: str
    groups: list[DuplicateGroup]
    out: str | None = None
    sheet: str | None = None


@runs_alone
def duplicates(
    run: str | Path,
    *,
    threshold: Cosine = THRESHOLD,
    out: str | Path | None = None,
    sheet: str | Path | None = None,
    seed: Seed = 0,
    whiten: bool = True,
    data: Data | None = None,
    cache: str | Path | None = None,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> DuplicatesAnswer:
    """Return the groups of images of a run whose whitened features (raw ones with whiten=False) have a cosine of `threshold` or
    more.

    A group holds all images that such pairs connect. `out` is a CSV file with a row for each image of a group, `sheet` a
    PNG file with the largest groups, a row for each; it is not written if there is no group.
    """
    place = data or run_record(Path(run)).data
    output_file("out", out, [".csv"], data=place)
    output_file("sheet", sheet, [".png"], data=place)
    seen = see_images(Path(run), data, whiten=whiten, cache=cache_folder(cache), cache_gb=cache_gb, workers=workers)
    with seen.rows() as x:
        found = duplicate_groups(x, threshold, seed=seed, precision=seen.machine.precision)
    groups = [_kept_first(group, seen) for group in found]
    answers = [_answer(group, seen) for group in groups]
    if out is not None:
        write_csv(Path(out), COLUMNS, _table(answers))
    sheet = sheet if groups else None
    if sheet is not None:
        _draw(Path(sheet), seen, groups)
    others = sum(len(group.others) for group in answers)
    return DuplicatesAnswer(
        len(seen),
        others,
        threshold,
        _compared(len(seen)),
        answers,
        *(None if f is None else str(f) for f in (out, sheet)),
    )


def _compared(n: int) -> str:
    return "all pairs" if n <= DIRECT else "pairs that share one of the two nearest centroids"


def _kept_first(group: Group, seen: SeenImages) -> Group:
    """Return the group with its largest picture first."""
    pixels = seen.index.widths[group.positions].astype(np.int64) * seen.index.heights[group.positions]
    order = np.argsort(-pixels, kind="stable")
    return Group(group.positions[order], group.cosines[order])


def _answer(group: Group, seen: SeenImages) -> DuplicateGroup:
    widths, heights = seen.index.widths[group.positions], seen.index.heights[group.positions]
    names = [os.fsdecode(name) for name in seen.names(group.positions)]
    columns = names, group.positions.tolist(), widths.tolist(), heights.tolist(), group.cosines.tolist()
    keep, *others = [DuplicateImage(*row) for row in zip(*columns, strict=True)]
    return DuplicateGroup(keep, others)


def _table(groups: list[DuplicateGroup]) -> list[list[bytes | str]]:
    return [
        [str(number), "yes" if image is group.keep else "no", os.fsencode(image.path), *_numbers(image)]
        for number, group in enumerate(groups)
        for image in [group.keep, *group.others]
    ]


def _numbers(image: DuplicateImage) -> list[str]:
    return [str(image.position), str(image.width), str(image.height), f"{image.cosine:.4f}"]


def _draw(sheet: Path, seen: SeenImages, groups: list[Group]) -> None:
    from .contact_sheet import draw_positions

    rows: list[Int64[np.ndarray, " m"]] = [group.positions for group in groups[:DRAWN]]
    draw_positions(seen.open_images(), rows, sheet)
