"""Write the features of images to a parquet file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..answers import Answer
from ..config import Gigabytes, Workers
from ..data.images import open_images
from ..data.index.files import Files
from ..data.sources.names import as_text
from ..files.atomic import atomic_write
from ..files.caches import cache_folder
from ..files.integrity import digest
from ..files.paths import Data
from ..nets.net import Layer
from ..runs.refusals import refuse_bucket
from .entry import UNTRAINED, runs_alone
from .models import Patterns, arithmetic, encoder_of, find_model
from .output_files import output_file
from .shard_rows import JoinedRows, positions_in, write_rows
from .shards import Shard, finish_shard, join_if_last

ROWS = 2**16  # of the table in memory at a time
UNLIKE = "another model, other images, or another precision of the machine"


@dataclass(frozen=True)
class EmbedAnswer(Answer):
    """The answer of `embed`: the file, the number of its rows (one for each image file), and of different pictures. With
    `shard`, `waiting_for` are the shards that are not finished yet; the file is written when there is none."""

    out: str
    files: int
    pictures: int
    waiting_for: list[str] | None = None


@runs_alone
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
    shard: str | None = None,
) -> EmbedAnswer:
    """Write the model's features of each image to the parquet file `out`, a row for each file that can be read.

    Columns: `path` (null if the name is not UTF-8), `path_bytes`, `picture` (copies have the same number), `embedding`
    (float32; copies have the same vector).

    With shard="3/8", compute the third of eight shards only, into a folder beside `out`, and go on with it after a kill; the
    process that finishes the last shard writes `out`, with the bytes that one process would write.
    """
    part = None if shard is None else Shard.parse(shard)
    if part is not None:
        refuse_bucket(Path(out))
    output_file("out", out, [".parquet"], data=data)
    folder = cache_folder(cache)
    images = open_images(data, include=include, exclude=exclude, cache=folder, workers=workers)
    trained, files = find_model(model), Files.of(images.index)
    encoder = encoder_of(trained, images, layer=layer, cache=folder, cache_gb=cache_gb, workers=workers)
    waiting: list[str] | None = None
    if part is None:
        _write_embeddings(Path(out), files, encoder.all().numpy())
    else:
        name = str(model) if str(model).startswith(UNTRAINED) else trained.fingerprint
        key = digest(f"{name} {images.fingerprint} {layer} {arithmetic(folder, workers, threads=False)}")
        shards = Path(out).with_name(f"{Path(out).name}.shards")
        positions = positions_in(part, len(images))
        finish_shard(shards, part, key, lambda place: write_rows(place, positions, lambda at: encoder(at).numpy(), key))
        waiting = join_if_last(
            shards, part, key, lambda each: _write_embeddings(Path(out), files, JoinedRows.of(each)), unlike=UNLIKE
        )
    return EmbedAnswer(str(out), len(files.paths), len(images), waiting or None)


def _write_embeddings(out: Path, files: Files, x: NDArray[np.float32] | JoinedRows) -> None:
    """Write one row for each file, ROWS at a time, so that the vectors of copies take no memory; x: [pictures, D]."""
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
