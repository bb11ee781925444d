"""The files of a collection, copies among them; a collection itself has each picture once."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from .index import Index


@dataclass(frozen=True)
class Files:
    """Every readable file: those in use by position, then their copies by path; and which picture each of them holds."""

    paths: list[bytes]
    pictures: Int64[np.ndarray, " files"]  # positions

    @classmethod
    def of(cls, index: Index) -> "Files":
        """The files with the same bytes as a picture in use. Of others that only look like one there is no row."""
        used = index.table.slice(0, index.used)
        others = index.table.slice(index.used, index.duplicates)
        copies = others.filter(pc.equal(others["like"], others["hash"]))
        at = pc.index_in(copies["hash"], used["hash"].combine_chunks()).to_numpy().astype(np.int64)
        paths: list[bytes] = pa.concat_tables([used, copies])["source"].to_pylist()
        return cls(paths, np.concatenate([np.arange(index.used), at]))
