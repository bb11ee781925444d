"""Images with a depth for each pixel, in the layout that is usual for NYUv2:

train/SCENE/rgb_00045.jpg              the images, with any nesting below train/ and test/
train/SCENE/sync_depth_00045.png       the depth of each pixel in millimeters, 16 bits; 0 where it is not known
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from ...errors import DataError
from ...files.text import printable
from ..images import open_images
from .layout import Layout, Split
from .pixel_maps import read_values
from .scored import Scored, two_parts

IMAGE, DEPTH = b"rgb_", b"sync_depth_"
PARTS = (("train", "test"), ("train", "val"), ("sync", "official_splits/test"))
MILLIMETER = 1e-3
MODES = ("I;16", "I;16B", "I")


@dataclass(frozen=True, kw_only=True)
class Depths(Scored):
    """A collection with a file of the depth of each pixel for each image."""

    truth = "depths"


def open_depths(
    folder: str | Path,
    *,
    split: Split = "auto",
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    cache: Path,
    workers: int | None = None,
) -> Depths:
    """Return the images of a folder whose files are called rgb_... and that have a depth. `split` names two folders. Raises
    UsageError or DataError that says what is missing."""
    root = Path(folder)
    parts = _parts(root, split)
    if not include and next(root.rglob(f"{os.fsdecode(IMAGE)}*"), None) is None:
        raise _nothing(root, parts)
    images = open_images(folder, include=include or "*rgb_*", exclude=exclude, cache=cache, workers=workers)
    names = images.names(np.arange(len(images)))
    files = [_depth_file(root, name) for name in names]
    train, test = ([name.startswith(os.fsencode(part) + b"/") for name in names] for part in parts)
    has = [file is not None and file.is_file() for file in files]
    used = np.flatnonzero(np.array(has) & (np.array(train) | np.array(test)))
    positions = [np.flatnonzero(np.array(part)[used]) for part in (train, test)]
    if not all(map(len, positions)):
        raise _nothing(root, parts)
    chosen = tuple(file for i in used.tolist() if (file := files[i]) is not None)
    left_out = {"no_depth": len(names) - len(used)}
    return Depths(
        images=images.subset(used),
        files=chosen,
        train=positions[0],
        test=positions[1],
        layout=Layout((parts[0],), (parts[1],)),
        left_out=left_out,
    )


def read_depth(file: Path) -> Float32[np.ndarray, "h w"]:
    """Return the depth of each pixel in meters, 0 where it is not known. Raises DataError for a file that has none."""
    values = read_values(file, MODES, "map of depths", "depths are numbers of 16 bits")
    return values.astype(np.float32) * np.float32(MILLIMETER)


def _parts(root: Path, split: Split) -> tuple[str, str]:
    advice = (
        f"{printable(root)}: a folder with depths has train/ and test/, or the two folders of split=, with images rgb_NAME and "
        "depths sync_depth_NAME.png beside them"
    )
    return two_parts(split, PARTS, lambda part: ".." not in part and (root / part).is_dir(), advice)


def _nothing(root: Path, parts: Sequence[str]) -> DataError:
    return DataError(
        f"{printable(root)}: no images rgb_NAME with depths sync_depth_NAME.png beside them below {' and '.join(parts)}"
    )


def _depth_file(root: Path, name: bytes) -> Path | None:
    folder, _, file = name.rpartition(b"/")
    if not file.startswith(IMAGE):
        return None
    stem = file.removeprefix(IMAGE).rsplit(b".", 1)[0]
    return root / os.fsdecode(folder) / os.fsdecode(DEPTH + stem + b".png")
