"""The whitened features of a collection, as rows of length one in float16."""

import tempfile
from pathlib import Path

import numpy as np

from ..clustering.blocks import each_block
from ..clustering.features import Features
from .picks import Whitened

IN_MEMORY = 2**28  # bytes; more rows are written to a file
BLOCK = 8192  # rows


def whitened_rows(features: Features, folder: Path) -> Whitened:
    """Return the whitened features, in memory or mapped from a file in `folder` that has no name: it is gone when nobody
    reads it any more."""
    shape = len(features), features.whitening.projection.shape[1]
    if shape[0] * shape[1] * 2 <= IN_MEMORY:
        rows: Whitened = np.empty(shape, np.float16)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            rows = np.memmap(file, np.float16, "w+", shape=shape)

    def job(start: int, stop: int) -> None:
        rows[start:stop] = features.whitened(slice(start, stop)).numpy()

    each_block(len(rows), BLOCK, job)
    return rows
