"""The files of a collection, copies among them; a collection itself has each image once."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from .index import Index
from .table import hashes_of, positions_of


@dataclass(frozen=True)
class Files:
    """Every file that holds a used image: first one file for each position, then their copies by path.

    `paths` are below the root of the source; `positions` [files] are those of the images that the files hold.
    """

    paths: list[bytes]
    positions: Int64[np.ndarray, " files"]

    @classmethod
    def of(cls, index: Index) -> "Files":
        """Return the files with the same bytes as a used image; files that only look like one are left out."""
        used = index.table.slice(0, index.used)
        duplicates = index.table.slice(index.used, index.duplicates)
        copies = duplicates.filter(pc.equal(duplicates["duplicate_of"], duplicates["hash"]))
        positions = positions_of(hashes_of(copies["hash"]), index.hashes)
        paths: list[bytes] = pa.concat_tables([used, copies])["path_bytes"].to_pylist()
        return cls(paths, np.concatenate([np.arange(index.used), positions]))
