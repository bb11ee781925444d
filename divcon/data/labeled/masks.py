"""Images with a class for each pixel, in the layout of PASCAL VOC:

JPEGImages/ID.jpg                     the images
SegmentationClass/ID.png              the class of each pixel, 0 for the background, 255 where it does not count
ImageSets/Segmentation/train.txt      the IDs of a part, one a line
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ...errors import DataError
from ...files.text import printable
from ..images import open_images
from .layout import Layout, Split
from .pixel_maps import read_values
from .scored import Scored, two_parts
from .voc import PICTURES, ids_in, positions_by_id

LISTS, MASKS = Path("ImageSets", "Segmentation"), "SegmentationClass"
VOID = 255  # the label of pixels that do not count
PARTS = (("train", "val"), ("trainval", "test"), ("train", "test"))


@dataclass(frozen=True, kw_only=True)
class Masks(Scored):
    """A collection with a file of the class of each pixel for each image; `classes` are numbers as text."""

    truth = "masks"


def open_masks(
    folder: str | Path,
    *,
    split: Split = "auto",
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    cache: Path,
    workers: int | None = None,
) -> Masks:
    """Return the images of a folder in the layout of PASCAL VOC that have masks. `split` names two lists of
    ImageSets/Segmentation. An image in both is only tested on. Raises UsageError or DataError that says what is missing."""
    root = Path(folder)
    parts = _parts(root, split)
    images = open_images(folder, include=include or f"{PICTURES}/*", exclude=exclude, cache=cache, workers=workers)
    by_id, ids = positions_by_id(images), [ids_in(root / LISTS / f"{part}.txt") for part in parts]
    masks = {by_id[name]: _mask_file(root, name) for names in ids for name in names if name in by_id}
    used = np.array(sorted(position for position, file in masks.items() if file.is_file()), np.int64)
    train, test = (np.isin(used, [by_id[name] for name in names if name in by_id]) for names in ids)
    if not (train & ~test).any() or not test.any():
        raise DataError(
            f"{printable(root)}: the lists {' and '.join(parts)} name no images in {PICTURES} with masks in {MASKS}"
        )
    files = tuple(masks[position] for position in used.tolist())
    left_out = {"no_image_or_mask": len({name for names in ids for name in names}) - len(used)}
    return Masks(
        images=images.subset(used),
        classes=_classes(files),
        files=files,
        train=np.flatnonzero(train & ~test),
        test=np.flatnonzero(test),
        layout=Layout((parts[0],), (parts[1],)),
        left_out=left_out,
    )


def read_mask(file: Path) -> UInt8[np.ndarray, "h w"]:
    """Return the class of each pixel. Raises DataError for a file that is no image with one number for each pixel."""
    return read_values(file, ("P", "L"), "mask", "a mask has one number for each").astype(np.uint8, copy=False)


def _parts(root: Path, split: Split) -> tuple[str, str]:
    advice = (
        f"{printable(root)}: a folder with a class for each pixel has {PICTURES}/, {MASKS}/, and two lists in {LISTS}: train.txt and "
        "val.txt, or those of split=train,val"
    )
    return two_parts(split, PARTS, lambda part: "/" not in part and (root / LISTS / f"{part}.txt").is_file(), advice)


def _mask_file(root: Path, name: bytes) -> Path:
    return root / MASKS / (os.fsdecode(name.rpartition(b"/")[2]) + ".png")


def _classes(files: Sequence[Path]) -> list[str]:
    highest = max(int(np.where(mask == VOID, 0, mask).max(initial=0)) for mask in map(read_mask, files))
    return [str(number) for number in range(highest + 1)]
