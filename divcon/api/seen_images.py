"""The images of a run as its encoder sees them: features, names and sizes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float16, Int64

from .. import machine
from ..clustering.clusters import Clusters
from ..clustering.features import Features
from ..config import Gigabytes, Workers
from ..curation.whitened import whitened_rows
from ..data.images import Images
from ..data.index.index import Index
from ..files.paths import Data
from ..machine import Machine
from ..runs.folder import RunFolder
from ..runs.records import run_record
from .collection import open_run_images
from .features import run_features

Rows = Float16[np.ndarray, "n d"]


@dataclass(frozen=True, eq=False)
class SeenImages:
    """The index of a run's images, their features, and the settings of the machine to compare them with; `open_images` opens
    the images themselves, once."""

    run: Path
    index: Index
    find_features: Callable[[], Features]
    machine: Machine
    cache: Path
    open_images: Callable[[], Images]

    def __len__(self) -> int:
        return self.index.used

    @cached_property
    def features(self) -> Features:
        """The features, in the order of the positions. A verb refuses what it can't do before it asks for them."""
        features = self.find_features()
        assert len(features) == len(self)
        return features

    @contextmanager
    def rows(self, *, compared: bool = True) -> Iterator[Rows]:
        """Let the block use the features, as they are compared or as the encoder gives them, with the machine's settings."""
        with self.machine.use():
            yield whitened_rows(self.features, self.cache) if compared else self.features.x

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
    run: Path,
    data: Data | None,
    *,
    whiten: bool = True,
    cache: Path,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> SeenImages:
    """Return the images of a run as its final encoder sees them; their features are computed when first asked for, and
    compared whitened unless whiten=False."""
    run_record(run)  # a folder that is no run is refused first
    opened = lru_cache(None)(partial(open_run_images, run, data, cache=cache, workers=workers))  # their scan takes time
    find_features = partial(
        run_features, run, images=opened, whiten=whiten, cache=cache, cache_gb=cache_gb, workers=workers
    )
    index = Index.load(RunFolder(run).images)
    return SeenImages(run, index, find_features, machine.choose(cache, workers=workers), cache, opened)
