"""Clusters: which part of a collection each image belongs to, as it lies on disk."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float16, Float32, Int64
from numpy.typing import NDArray

from ..data.sources.names import as_text
from ..errors import DamagedError, few
from ..files.atomic import atomic_write
from ..files.integrity import digest
from ..files.text import printable
from ..log import info
from ..runs.folder import CENTROIDS, CLUSTERS, SAMPLE, SAMPLE_POSITIONS

ROW_GROUP = 2**20
FILES = CLUSTERS, CENTROIDS, SAMPLE, SAMPLE_POSITIONS
TABLE = pa.schema({"path": pa.string(), "path_bytes": pa.binary(), "label": pa.int64(), "distance": pa.float32()})
Names = Callable[[NDArray[np.int64]], list[bytes]]  # the paths of the images at some positions


@dataclass(frozen=True, eq=False)
class Sample:
    """The images that the centroids were fitted on: their positions in the collection, and their features."""

    positions: Int64[np.ndarray, " m"]
    features: Float16[np.ndarray, "m d"]


@dataclass(frozen=True, eq=False)
class Clusters:
    """The centroids; for each image its cluster and how far it is from the centroid it was nearest to.

    `names` gives the images' paths. They are only written down, a block at a time: a renamed file changes no fingerprint.
    """

    centroids: Float32[np.ndarray, "k d"]
    labels: Int64[np.ndarray, " n"]
    distances: Float32[np.ndarray, " n"]
    names: Names
    sample: Sample | None = None

    @property
    def k(self) -> int:
        return len(self.centroids)

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.bincount(self.labels, minlength=self.k).astype(np.int64)

    @property
    def fingerprint(self) -> str:
        parts = self.labels.astype("<i8"), self.centroids.astype("<f4")
        return digest(" ".join(hashlib.sha256(part.tobytes()).hexdigest() for part in parts))

    def members(self) -> list[NDArray[np.int64]]:
        """The positions of each cluster's images, in rising order."""
        order = np.argsort(self.labels, kind="stable").astype(np.int64)
        return np.split(order, np.cumsum(self.sizes)[:-1])

    def merge_small(self, minimum: int) -> "Clusters":
        """Clusters of at least `minimum` images, the largest first: the images of a smaller one go to the remaining
        cluster whose centroid is nearest by cosine. The largest remains in any case."""
        target = _targets(self.centroids, self.sizes, minimum)
        merged = np.bincount(target, weights=self.sizes, minlength=self.k)
        kept = np.unique(target)
        kept = kept[np.argsort(-merged[kept], kind="stable")]
        number = np.zeros(self.k, np.int64)
        number[kept] = np.arange(len(kept))
        _tell(self.sizes, number[target], kept, minimum)
        return Clusters(self.centroids[kept], number[target][self.labels], self.distances, self.names, self.sample)

    def save(self, folder: Path) -> None:
        with atomic_write(folder / CLUSTERS) as part:
            _write_table(part, self)
        _write_array(folder / CENTROIDS, self.centroids)
        if self.sample is not None:
            if not _is_file(self.sample.features, folder / SAMPLE):
                _write_array(folder / SAMPLE, self.sample.features)
            _write_array(folder / SAMPLE_POSITIONS, self.sample.positions)

    @classmethod
    def load(cls, folder: Path) -> "Clusters":
        """What was saved; the features of the sample stay on disk until they are read. DamagedError, if it does not fit."""
        try:
            return cls._read(folder)
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            SyntaxError,
            TokenError,
            pa.ArrowException,
        ) as error:  # numpy's parser raises any
            raise DamagedError(
                f"{printable(folder)} holds no clusters that can be read ({printable(str(error))}); make them anew"
            ) from error

    @classmethod
    def _read(cls, folder: Path) -> "Clusters":
        for name in FILES:
            if (folder / name).exists() and not (folder / name).is_file():
                raise ValueError(f"{name} is no file")
        with (folder / CLUSTERS).open("rb") as file:
            table = pq.read_table(file, columns=["label", "distance"], schema=TABLE)
        sample = None
        if (folder / SAMPLE).exists():
            features = np.load(folder / SAMPLE, mmap_mode="r")
            sample = Sample(np.load(folder / SAMPLE_POSITIONS), features)
        centroids, labels = np.load(folder / CENTROIDS), table["label"].to_numpy().copy()
        if centroids.ndim != 2 or (len(labels) and not 0 <= labels.min() <= labels.max() < len(centroids)):
            raise ValueError(f"labels up to {labels.max()} of centroids {centroids.shape}")
        names = functools.partial(_names_in, folder / CLUSTERS)
        return cls(centroids, labels, table["distance"].to_numpy().copy(), names, sample)


def _targets(centroids: NDArray[np.float32], sizes: NDArray[np.int64], minimum: int) -> NDArray[np.int64]:
    """Where each cluster's images go: to itself, or to the nearest that is large enough."""
    remains = sizes >= minimum
    remains[sizes.argmax()] = True
    unit = centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    cosine = np.where(remains, unit @ unit.T, -np.inf)
    return np.where(remains, np.arange(len(sizes)), cosine.argmax(1))


def _tell(sizes: NDArray[np.int64], number: NDArray[np.int64], kept: NDArray[np.int64], minimum: int) -> None:
    """Say which clusters were dissolved, and into which (by their new numbers)."""
    gone = np.setdiff1d(np.arange(len(sizes)), kept)
    if len(gone) == 0:
        return
    largest = gone[np.argsort(-sizes[gone], kind="stable")]
    moves = few(f"{sizes[old]:,} to cluster {number[old]}" for old in largest)
    info(f"{len(gone)} of {len(sizes)} clusters had fewer than {minimum:,} images and were merged: {moves}")


def _write_table(path: Path, clusters: Clusters) -> None:
    """One row an image. Nothing in the file depends on when it was written."""
    with path.open("wb") as file, pq.ParquetWriter(file, TABLE, compression="none", use_dictionary=False) as writer:
        for begin in range(0, len(clusters.labels), ROW_GROUP):
            at = np.arange(begin, min(begin + ROW_GROUP, len(clusters.labels)))
            names = clusters.names(at)
            columns = [as_text(name) for name in names], names, clusters.labels[at], clusters.distances[at]
            writer.write_table(pa.table(dict(zip(TABLE.names, columns, strict=True)), TABLE))


def _names_in(file: Path, positions: NDArray[np.int64]) -> list[bytes]:
    with file.open("rb") as opened:  # of a name, Arrow makes a URI where it can
        column = pq.read_table(opened, columns=["path_bytes"])["path_bytes"]
    names: list[bytes] = column.take(pa.array(positions)).to_pylist()
    return names


def _is_file(array: NDArray[np.generic], file: Path) -> bool:
    """True if the array is mapped from this file."""
    name = array.filename if isinstance(array, np.memmap) else None
    return name is not None and file.exists() and file.samefile(str(name))


def _write_array(path: Path, array: NDArray[np.generic]) -> None:
    # np.save adds ".npy" to the name of a path, not to that of an open file
    with atomic_write(path) as part, part.open("wb") as file:
        np.save(file, array)
