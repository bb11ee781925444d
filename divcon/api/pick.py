"""Pick images of a run that are worth labeling or keeping."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..answers import Answer
from ..config import Gigabytes, Seed, Workers
from ..curation.balanced import balanced
from ..curation.diverse import diverse
from ..curation.odd import odd
from ..curation.picks import NO_CLUSTER, How, Picks, usual_number
from ..curation.typical import typical
from ..data.index.csv_table import write_csv
from ..data.sources.names import as_text
from ..errors import UsageError
from ..files.atomic import atomic_write
from ..files.caches import cache_folder
from ..files.paths import Data
from ..files.text import counted, printable
from ..runs.records import run_record
from .entry import runs_alone
from .output_files import output_file
from .seen_images import see_images

Count = Annotated[int, Field(ge=1)]
PICKERS: dict[How, Callable[..., Picks]] = {"diverse": diverse, "typical": typical, "odd": odd, "balanced": balanced}
SUFFIXES = ".csv", ".parquet", ".txt"
COLUMNS = "path", "position", "cluster", "score", "reason"


@dataclass(frozen=True)
class PickedImage(Answer):
    """A picked image: its path below the folder of the collection, its position there, and why it was picked.

    `cluster` is the one that it was picked from, and None if there was none.
    """

    path: str
    position: int
    cluster: int | None
    score: float
    reason: str


@dataclass(frozen=True)
class PickAnswer(Answer):
    """The answer of `pick`: the number of images to pick from, the picked ones, the best first, how it was done, what a
    score means, and the file with the rows."""

    images: int
    picked: list[PickedImage]
    how: How
    measured: str
    score: str
    out: str | None = None


@runs_alone
def pick(
    run: str | Path,
    *,
    n: Count | None = None,
    how: How = "diverse",
    out: str | Path | None = None,
    seed: Seed = 0,
    whiten: bool = True,
    data: Data | None = None,
    cache: str | Path | None = None,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> PickAnswer:
    """Return n images of a run with the reason for each, picked by what its final encoder sees, without labels.

    `how` is diverse (cover the collection), typical (like many others, in each cluster), odd (far from everything) or
    balanced (as even as can be over what there is). `out` is a .csv, .parquet or .txt file (only paths) to write; the
    rows of all three are in the order of the answer. Without `n` a tenth of the images is picked, 50 at least and 1,000 at most
    (half of fewer than 100). Features are compared whitened, unless whiten=False; `odd` compares raw ones. Raises UsageError for more images than the run has.
    """
    output_file("out", out, SUFFIXES, data=data or run_record(Path(run)).data)
    seen = see_images(Path(run), data, whiten=whiten, cache=cache_folder(cache), cache_gb=cache_gb, workers=workers)
    n = usual_number(len(seen)) if n is None else n
    if n > len(seen):
        raise UsageError(f"n={n}: the run has {counted(len(seen), 'image')}; type n={len(seen)} or less")
    with seen.rows(compared=how != "odd") as x:
        picks = PICKERS[how](x, n, seed=seed, precision=seen.machine.precision)
    names = seen.names(picks.positions)
    if out is not None:
        _write(Path(out), names, picks)
    return PickAnswer(
        len(seen), _rows(names, picks), how, picks.measured, picks.score, None if out is None else str(out)
    )


def _rows(names: list[bytes], picks: Picks) -> list[PickedImage]:
    columns = picks.positions.tolist(), picks.clusters.tolist(), picks.scores.tolist(), picks.reasons
    return [
        PickedImage(os.fsdecode(name), position, None if cluster == NO_CLUSTER else cluster, score, reason)
        for name, position, cluster, score, reason in zip(names, *columns, strict=True)
    ]


def _write(out: Path, names: list[bytes], picks: Picks) -> None:
    """Write a row for each image, in the order of the picks."""
    if out.suffix == ".csv":
        write_csv(out, COLUMNS, _texts(names, picks))
    elif out.suffix == ".parquet":
        _write_parquet(out, names, picks)
    else:
        _write_paths(out, names)


def _texts(names: list[bytes], picks: Picks) -> list[list[bytes | str]]:
    return [
        [name, str(row.position), "" if row.cluster is None else str(row.cluster), f"{row.score:.6g}", row.reason]
        for name, row in zip(names, _rows(names, picks), strict=True)
    ]


def _write_parquet(out: Path, names: list[bytes], picks: Picks) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "path": pa.array([as_text(name) for name in names], pa.string()),
            "path_bytes": pa.array(names, pa.binary()),
            "position": pa.array(picks.positions, pa.int64()),
            "cluster": pa.array(picks.clusters, pa.int64(), mask=picks.clusters == NO_CLUSTER),
            "score": pa.array(picks.scores, pa.float32()),
            "reason": pa.array(picks.reasons, pa.string()),
        }
    )
    with atomic_write(out) as part, part.open("wb") as file:
        pq.write_table(table, file, compression="none")


def _write_paths(out: Path, names: list[bytes]) -> None:
    """Write a path on each line, byte for byte, as `rsync --files-from` reads them."""
    broken = next((name for name in names if b"\n" in name), None)
    if broken is not None:
        raise UsageError(
            f"{printable(broken)} has a line break in its name; a list of paths can't hold it, out=FILE.parquet can"
        )
    with atomic_write(out) as part:
        part.write_bytes(b"".join(name + b"\n" for name in names))
