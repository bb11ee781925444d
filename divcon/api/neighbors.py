"""Find the images of a run that look most like a picture."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float32, Int64
from pydantic import Field
from torch import Tensor

from ..answers import Answer
from ..clustering.streamed_neighbors import nearest_of_blocks
from ..config import Gigabytes, Workers
from ..errors import InputError, UsageError
from ..files.caches import cache_folder
from ..files.paths import Data, PathLike, as_paths
from ..files.text import counted, printable
from ..runs.records import run_record
from .entry import runs_alone
from .features import features_of_pictures
from .models import find_model
from .output_files import output_file
from .seen_images import SeenImages, see_images

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Neighbor(Answer):
    """An image of the collection: its path below the folder, its position, the cosine of its features, as they are compared, to those
    of the picture, its cluster (None if the run has none), and its size in pixels."""

    path: str
    position: int
    cosine: float
    cluster: int | None
    width: int
    height: int


@dataclass(frozen=True)
class NeighborsOf(Answer):
    """The nearest images to a picture, the nearest first. `position` is that of the picture itself, if its bytes are in
    the collection; then it is none of its own neighbors."""

    image: str
    neighbors: list[Neighbor]
    position: int | None = None


@dataclass(frozen=True)
class NeighborsAnswer(Answer):
    """The answer of `neighbors`: the number of images that were compared, and the neighbors of each picture."""

    images: int
    found: list[NeighborsOf]
    sheet: str | None = None


@runs_alone
def neighbors(
    run: str | Path,
    image: PathLike | list[str],
    *,
    k: Count = 20,
    whiten: bool = True,
    sheet: str | Path | None = None,
    data: Data | None = None,
    cache: str | Path | None = None,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> NeighborsAnswer:
    """Return the k images of a run that look most like a picture to its final encoder; `image` is a path, or several.
    Features are compared whitened, unless whiten=False.

    `sheet` is a PNG file to draw each picture beside its nearest images. Raises UsageError for more neighbors than the
    run has images, and InputError for a picture that can't be read.
    """
    files, folder = as_paths(image), cache_folder(cache)
    output_file("sheet", sheet, [".png"], data=data or run_record(Path(run)).data, pictures=files)
    hashes = [_hash(file) for file in files]
    seen = see_images(Path(run), data, whiten=whiten, cache=folder, cache_gb=cache_gb, workers=workers)
    positions = [seen.position(digest) for digest in hashes]
    _refuse_many(k, len(seen), any(position is not None for position in positions))
    queries = features_of_pictures(find_model(run), files, cache=folder, workers=workers)
    found = list(_neighbors(seen, queries, positions, k))
    if sheet is not None:
        _draw(Path(sheet), seen, files, [rows for rows, _ in found])
    clusters = seen.clusters()
    answers = [
        NeighborsOf(os.fsdecode(file), _answers(seen, clusters, *near), position)
        for file, near, position in zip(files, found, positions, strict=True)
    ]
    return NeighborsAnswer(len(seen), answers, None if sheet is None else str(sheet))


def _hash(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError as error:
        raise InputError(f"{printable(file)}: {error.strerror or error}; name a picture, or several") from error


def _refuse_many(k: int, n: int, is_among_them: bool) -> None:
    most = n - is_among_them
    if k > most:
        other = "other image" if is_among_them else "image"
        raise UsageError(f"k={k}: the run has {counted(most, other)}; type k={most} or less")


def _neighbors(
    seen: SeenImages, queries: Float32[Tensor, "q d"], own: list[int | None], k: int
) -> Iterator[tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, " k"]]]:
    """Yield the positions of the k nearest images to each query, other than itself, and their cosines."""
    with seen.machine.use():
        blocks = (block for _, block in seen.features.blocks())
        asked = min(k + 1, len(seen))
        comparable = seen.features.comparable(queries)
        cosines, rows = nearest_of_blocks(comparable, blocks, asked, seen.machine.precision)
    for near, cosine, position in zip(rows.numpy(), cosines.numpy(), own, strict=True):
        others = near != (-1 if position is None else position)
        yield near[others][:k], cosine[others][:k]


def _answers(
    seen: SeenImages,
    clusters: Int64[np.ndarray, " n"] | None,
    positions: Int64[np.ndarray, " k"],
    cosines: Float32[np.ndarray, " k"],
) -> list[Neighbor]:
    return [
        Neighbor(
            os.fsdecode(name),
            position,
            cosine,
            None if clusters is None else int(clusters[position]),
            int(seen.index.widths[position]),
            int(seen.index.heights[position]),
        )
        for name, position, cosine in zip(seen.names(positions), positions.tolist(), cosines.tolist(), strict=True)
    ]


def _draw(sheet: Path, seen: SeenImages, files: list[Path], rows: list[Int64[np.ndarray, " k"]]) -> None:
    from ..data.decoding.decode import decode_shrunk
    from .contact_sheet import SIDE, draw_beside

    draw_beside(seen.open_images(), [decode_shrunk(file.read_bytes(), SIDE) for file in files], rows, sheet)
