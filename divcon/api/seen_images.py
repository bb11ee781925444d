"""The images of a run as its encoder sees them: whitened features, names and sizes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float16, Int64

from .. import machine
from ..clustering.clusters import Clusters
from ..clustering.features import Features
from ..config import Gigabytes, Workers
from ..curation.whitened import whitened_rows
from ..data.index.index import Index
from ..errors import UsageError
from ..files.disk_errors import refuse_unwritable
from ..files.paths import Data, refuse_inside_collection
from ..files.text import printable
from ..machine import Machine
from ..runs.folder import RunFolder
from ..runs.records import run_record
from .features import run_features

Rows = Float16[np.ndarray, "n d"]


@dataclass(frozen=True, eq=False)
class SeenImages:
    """The features of a run's images, their index, and the settings of the machine to compare them with."""

    run: Path
    features: Features
    index: Index
    machine: Machine
    cache: Path

    def __len__(self) -> int:
        return len(self.features)

    @contextmanager
    def rows(self, *, whitened: bool = True) -> Iterator[Rows]:
        """Let the block use the features, whitened or as the encoder gives them, with the machine's settings."""
        with self.machine.use():
            yield whitened_rows(self.features, self.cache) if whitened else self.features.x

    def names(self, positions: Int64[np.ndarray, " m"]) -> list[bytes]:
        """Return the paths of the images below the folder of the collection."""
        names: list[bytes] = self.index.table["path_bytes"].take(pa.array(positions)).to_pylist()
        return names

    def position(self, sha256: bytes) -> int | None:
        """Return the position of the image with these bytes, or None if it is not in the collection."""
        found = np.flatnonzero((self.index.hashes == np.frombuffer(sha256, np.uint8)).all(1))
        return int(found[0]) if len(found) else None

    def clusters(self) -> Int64[np.ndarray, " n"] | None:
        """Return the label of each image, or None if the run has not divided them."""
        folder = RunFolder(self.run).stage("clusters")
        return Clusters.load(folder.path).labels if folder.is_done else None


def see_images(
    run: Path, data: Data | None, *, cache: Path, cache_gb: Gigabytes = 8.0, workers: Workers | None = None
) -> SeenImages:
    """Return the images of a run as its final encoder sees them; their features are computed the first time."""
    features = run_features(run, data, cache=cache, cache_gb=cache_gb, workers=workers)
    index = Index.load(RunFolder(run).images)
    assert index.used == len(features)
    return SeenImages(run, features, index, machine.choose(cache, workers=workers), cache)


def check_sheet(sheet: Path, run: Path, data: Data | None) -> None:
    """Raise UsageError for a contact sheet that is no PNG file or lies inside the collection, and DiskError if it can't be
    written."""
    if sheet.suffix != ".png":
        raise UsageError(f"sheet={printable(sheet)}: let the name end in .png")
    if place := data or run_record(run).data:
        refuse_inside_collection(place, "sheet", sheet)
    refuse_unwritable(sheet)
