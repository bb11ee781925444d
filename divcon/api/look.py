"""Count what a collection of images holds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..answers import Answer
from ..config import Workers
from ..data.images import Images, refuse_none, scan_images
from ..data.index.rejected import sample_rejected
from ..data.index.table import NearDuplicates
from ..files.caches import cache_folder
from ..files.paths import Data
from .entry import runs_alone
from .output_files import output_file

MAX_NAMED = 10  # rejected files in the answer


@dataclass(frozen=True)
class RejectedFile(Answer):
    """A rejected file: its path below the collection's folder, a reason in one word, and details."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class PixelSize(Answer):
    """A size in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class LookAnswer(Answer):
    """The answer of `look`. `reasons` and `warnings` map a word to the number of rejected and of used files it applies to."""

    found: int
    used: int
    duplicates: int
    rejected: int
    near_duplicates: int
    reasons: dict[str, int]
    rejected_sample: list[RejectedFile]
    warnings: dict[str, int]
    median: PixelSize


@runs_alone
def look(
    data: Data,
    *,
    include: str | tuple[str, ...] = (),
    exclude: str | tuple[str, ...] = (),
    near_duplicates: NearDuplicates = "keep",
    cache: str | Path | None = None,
    workers: Workers | None = None,
    sheet: str | Path | None = None,
    rejected: str | Path | None = None,
) -> LookAnswer:
    """Count the files of a collection: found, used, duplicates, and rejected with the reasons; and the median size.

    `near_duplicates` in the answer counts images that look like another used image. `sheet` is a PNG file to draw a contact
    sheet to; `rejected` is a CSV file to list every rejected file in, which is written even if no image can be used.
    Raises InputError or DataError if no image can be used.
    """
    sheet = output_file("sheet", sheet, [".png"], data=data)
    rejected = output_file("rejected", rejected, [".csv"], data=data)
    images = scan_images(
        data,
        include=include,
        exclude=exclude,
        near_duplicates=near_duplicates,
        cache=cache_folder(cache),
        workers=workers,
    )
    if rejected is not None:
        images.index.save_rejected(rejected)
    refuse_none(data, images, rejected)
    if sheet is not None:
        from .contact_sheet import draw_collection

        draw_collection(images, sheet)
    return _answer(images)


def _answer(images: Images) -> LookAnswer:
    index = images.index
    sample = sample_rejected(index, MAX_NAMED)
    return LookAnswer(
        found=index.found,
        used=index.used,
        duplicates=index.duplicates,
        rejected=index.rejected,
        near_duplicates=index.near_duplicates,
        reasons=dict(index.reasons),
        rejected_sample=[RejectedFile(file.path, file.reason, file.detail) for file in sample],
        warnings=dict(index.image_warnings),
        median=PixelSize(int(np.median(images.widths)), int(np.median(images.heights))),
    )
