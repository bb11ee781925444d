"""The features of a collection as they are compared: whitened unless whiten=false, as rows of length one in float16."""

import tempfile
from pathlib import Path
from typing import IO

import numpy as np

from ..clustering.blocks import each_block
from ..clustering.features import Features
from ..files.caches import skip_if_unwritable
from .picks import Whitened

IN_MEMORY = 2**28  # bytes; more rows are written to a file
BLOCK = 8192  # rows


def whitened_rows(features: Features, folder: Path) -> Whitened:
    """Return the features as they are compared, in memory or mapped from a file in `folder` that has no name: it is gone when nobody
    reads it any more."""
    shape = features.x.shape
    if shape[0] * shape[1] * 2 <= IN_MEMORY:
        rows: Whitened = np.empty(shape, np.float16)
    else:
        with _file_without_name(folder) as file:
            rows = np.memmap(file, np.float16, "w+", shape=shape)

    def job(start: int, stop: int) -> None:
        rows[start:stop] = features.compared(slice(start, stop)).numpy()

    each_block(len(rows), BLOCK, job)
    return rows


def _file_without_name(folder: Path) -> IO[bytes]:
    """Return a new file on the disk of the folder, or of the system's temporary files if nothing can be written there."""
    with skip_if_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    return tempfile.TemporaryFile()
