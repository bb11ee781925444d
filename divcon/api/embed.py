"""Write the features of images to a parquet file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config import Gigabytes, Workers
from ..data.images import open_images
from ..data.index.files import Files
from ..data.sources.names import as_text
from ..errors import UsageError
from ..files.atomic import atomic_write
from ..files.caches import cache_folder
from ..files.paths import Data, refuse_unwritable
from ..nets.net import Layer
from .entry import exclusive
from .models import Patterns, features, find_model

ROWS = 2**16  # of a table, in work at a time


@dataclass(frozen=True)
class Embedded:
    """How many files have a row, and how many different pictures are in them."""

    files: int
    pictures: int


@exclusive
def embed(
    model: str | Path,
    data: Data,
    *,
    out: str | Path,
    include: Patterns = (),
    exclude: Patterns = (),
    layer: Layer = "pool",
    cache: str | Path | None = None,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> Embedded:
    """Write what the model sees of each image to a parquet file, a row for each file that can be read: `path` (null where
    it is not UTF-8), `path_bytes`, `picture` (copies have the same number and vector) and `embedding`."""
    if Path(out).suffix != ".parquet":
        raise UsageError(f"out={out}: embeddings are written as parquet; let the name end in .parquet")
    refuse_unwritable(Path(out))
    folder = cache_folder(cache)
    images = open_images(data, include=include, exclude=exclude, cache=folder, workers=workers)
    x = features(find_model(model), images, layer=layer, cache=folder, cache_gb=cache_gb, workers=workers)
    files = Files.of(images.index)
    _write_embeddings(Path(out), files, x.numpy())
    return Embedded(len(files.paths), len(images))


def _write_embeddings(out: Path, files: Files, x: NDArray[np.float32]) -> None:
    """One row a file, some thousands at a time: copies take no memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        {
            "path": pa.string(),
            "path_bytes": pa.binary(),
            "picture": pa.int64(),
            "embedding": pa.list_(pa.float32(), x.shape[1]),
        }
    )
    with (
        atomic_write(out) as part,
        part.open("wb") as file,
        pq.ParquetWriter(file, schema, compression="none") as writer,
    ):
        for begin in range(0, len(files.paths), ROWS):
            paths, pictures = files.paths[begin : begin + ROWS], files.positions[begin : begin + ROWS]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(x[pictures].ravel()), x.shape[1])
            columns = [as_text(path) for path in paths], paths, pictures, vectors
            writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema))
