"""The files that a scan found: what the source lists, together with the verdicts."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from .batched import BatchedTable, Rows
from .table import FOUND

NO_IMAGE = ["not_an_image", "format_not_allowed", "vector_image", "empty_file"]
SYSTEM_FILES = {b"Thumbs.db", b"ehthumbs.db", b"desktop.ini", b".DS_Store", b".directory"}
OF_LISTING = ("path_bytes", "offset")
OF_BOTH = ("reason", "detail")
NOTHING = {"width": 0, "height": 0, "bytes": 0, "hash": None, "thumbnail": b""}  # of an entry without a verdict
NAMES = {"bytes": "size"}  # of columns that are called otherwise among the verdicts


class ScannedFiles:
    """A table of FOUND, put together where rows are taken.

    `rows` [listed] are those of the verdicts; -1 where the listing says itself why an entry is rejected.
    """

    def __init__(self, listed: BatchedTable, verdicts: BatchedTable, rows: Int64[np.ndarray, "listed"]):
        self.listed, self.verdicts, self.rows = listed, verdicts, rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Rows, columns: Sequence[str]) -> pa.Table:
        listed = self.listed.take(rows, _needed(columns, (*OF_LISTING, *OF_BOTH)))
        at = self.rows[rows]
        names = _needed(columns, (*NOTHING, *OF_BOTH))
        judged = self.verdicts.take(at[at >= 0], [NAMES.get(name, name) for name in names]).rename_columns(names)
        places = None if (at >= 0).all() else pa.array(np.cumsum(at >= 0) - 1, mask=at < 0)
        return pa.table({name: _column(name, listed, judged, places) for name in columns}, _schema(columns))


def _needed(columns: Sequence[str], among: Sequence[str]) -> list[str]:
    """Return the columns that are among these; the path too, where a reason depends on it."""
    of_path = ["path_bytes"] if "reason" in columns and "path_bytes" in among else []
    return list(dict.fromkeys([*(name for name in columns if name in among), *of_path]))


def _schema(columns: Sequence[str]) -> pa.Schema:
    return pa.schema([FOUND.field(name) for name in columns])


def _column(name: str, listed: pa.Table, judged: pa.Table, places: pa.Array | None) -> pa.ChunkedArray:
    """Return a column: from the listing, or from the verdicts at `places` (None: a verdict for each row, in order)."""
    if name in OF_LISTING:
        return listed[name]
    values = judged[name] if places is None else judged[name].take(places)
    if places is not None and name != "hash":
        nothing = listed[name] if name in OF_BOTH else pa.scalar(NOTHING[name], values.type)
        values = pc.if_else(pc.is_valid(places), values, nothing)
    return _reasons(values, listed["path_bytes"]) if name == "reason" else values


def _reasons(reasons: pa.ChunkedArray, paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Replace the reasons of files of the operating system that nobody expects to be images by "not_candidate"."""
    no_image = pc.is_in(reasons, pa.array(NO_IMAGE))
    if not pc.any(no_image).as_py():
        return reasons
    of_system = [is_of_system(path) for path in paths.filter(no_image).to_pylist()]
    mask = np.zeros(len(reasons), np.bool_)
    mask[np.flatnonzero(no_image.to_numpy())] = of_system
    return pc.if_else(pa.array(mask), "not_candidate", reasons)


def is_of_system(path: bytes) -> bool:
    """Return True for a file that an operating system makes for itself."""
    *folders, name = path.split(b"/")
    return name in SYSTEM_FILES or name.startswith(b"._") or b"__MACOSX" in folders
