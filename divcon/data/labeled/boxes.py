"""Images with boxes around objects, in the layout of COCO:

train2017/NAME.jpg  val2017/NAME.jpg                                        the images
annotations/instances_train2017.json  annotations/instances_val2017.json    their boxes and the names of the classes
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from ...errors import DataError
from ...files.text import printable
from ...runs.json_files import as_record
from ..images import open_images
from ..index.files import Files
from ..sources.names import without_surrogates
from .layout import Layout, Split
from .scored import Scored, two_parts

ANNOTATIONS = "annotations"


@dataclass(frozen=True)
class Boxes:
    """The boxes of an image, left, top, right, bottom, in pixels of its file; `classes` [k] are numbers from 0."""

    boxes: Float32[np.ndarray, "k 4"]
    classes: Int64[np.ndarray, " k"]


@dataclass(frozen=True, kw_only=True)
class BoxSets(Scored):
    """A collection with boxes for each image; `files` hold those of all images."""

    truth = "boxes"
    boxes: tuple[Boxes, ...]


@dataclass(frozen=True)
class CocoImage:
    """An image, by its number and the name of its file."""

    id: int
    file_name: str


@dataclass(frozen=True)
class CocoBox:
    """A box: left, top, width, height."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


@dataclass(frozen=True)
class CocoClass:
    """A class, by its number."""

    id: int
    name: str


@dataclass(frozen=True)
class CocoFile:
    """The content of instances_PART.json, as far as it is used."""

    images: list[CocoImage]
    annotations: list[CocoBox]
    categories: list[CocoClass]


def open_boxes(
    folder: str | Path,
    *,
    split: Split = "auto",
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    cache: Path,
    workers: int | None = None,
) -> BoxSets:
    """Return the images of a folder in the layout of COCO with their boxes; crowds and boxes without an area are left out.

    `split` names two parts, like "train2017,val2017". An image in both is only tested on. Raises UsageError or DataError.
    """
    root = Path(folder)
    parts = _parts(root, split)
    patterns = include or tuple(f"{part}/*" for part in parts)
    images = open_images(folder, include=patterns, exclude=exclude, cache=cache, workers=workers)
    files = tuple(_file(root, part) for part in parts)
    contents = [_content(file) for file in files]
    classes = {each.id: without_surrogates(each.name) for content in contents for each in content.categories}
    at = Files.of(images.index)
    positions = dict(zip(map(os.fsdecode, at.paths), at.positions.tolist()))
    found = [_boxes(content, part, positions, list(classes)) for content, part in zip(contents, parts, strict=True)]
    train, test = (set(of_part) for of_part in found)
    if not train - test or not test or not classes:
        raise DataError(f"{printable(root)}: no images of {' and '.join(parts)} are there with their boxes")
    used = sorted(train | test)
    boxes = {**found[0], **found[1]}
    missing = sum(len(content.images) for content in contents) - len(used)
    return BoxSets(
        images=images.subset(np.array(used, np.int64)),
        boxes=tuple(boxes[position] for position in used),
        classes=list(classes.values()),
        files=files,
        train=np.flatnonzero([position not in test for position in used]),
        test=np.flatnonzero([position in test for position in used]),
        layout=Layout((parts[0],), (parts[1],)),
        left_out={"no_image": missing},
    )


def _content(file: Path) -> CocoFile:
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{printable(file)} can't be read ({printable(str(error))}); put a copy there") from error
    return as_record(CocoFile, value, file, advice="put a file of COCO's format there")


def _boxes(content: CocoFile, part: str, positions: Mapping[str, int], ids: Sequence[int]) -> dict[int, Boxes]:
    """Return the boxes of each image that is there, by its position."""
    known = {each.id: positions.get(f"{part}/{each.file_name}") for each in content.images}
    rows: dict[int, list[tuple[float, ...]]] = {position: [] for position in known.values() if position is not None}
    number = {category: i for i, category in enumerate(ids)}
    for box in content.annotations:
        position, (left, top, width, height) = known.get(box.image_id), box.bbox
        if position is not None and box.category_id in number and not box.iscrowd and min(width, height) > 0:
            rows[position].append((left, top, left + width, top + height, number[box.category_id]))
    tables = {position: np.array(found, np.float64).reshape(-1, 5) for position, found in rows.items()}
    return {at: Boxes(table[:, :4].astype(np.float32), table[:, 4].astype(np.int64)) for at, table in tables.items()}


def _file(root: Path, part: str) -> Path:
    return root / ANNOTATIONS / f"instances_{part}.json"


def _parts(root: Path, split: Split) -> tuple[str, str]:
    names = [file.stem.removeprefix("instances_") for file in sorted((root / ANNOTATIONS).glob("instances_*.json"))]
    train, val = (next((name for name in names if name.startswith(kind)), "") for kind in ("train", "val"))
    advice = (
        f"{printable(root)}: a folder with boxes has {ANNOTATIONS}/instances_train.json and instances_val.json, or those of "
        "split=, and folders of images of these names"
    )
    return two_parts(split, [(train, val)], lambda part: "/" not in part and _file(root, part).is_file(), advice)
