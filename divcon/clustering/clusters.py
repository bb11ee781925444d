"""The clusters of a collection: centroids and the label of each image, in memory and on disk."""

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

ROW_GROUP = 2**20  # images that are written at once
READ_ERRORS = (  # numpy's parser may raise any of these
    OSError,
    ValueError,
    KeyError,
    EOFError,
    SyntaxError,
    TokenError,
    pa.ArrowException,
)
FILES = CLUSTERS, CENTROIDS, SAMPLE, SAMPLE_POSITIONS
TABLE = pa.schema({"path": pa.string(), "path_bytes": pa.binary(), "label": pa.int64(), "distance": pa.float32()})
Names = Callable[[NDArray[np.int64]], list[bytes]]  # from positions of images to their paths


@dataclass(frozen=True, eq=False)
class Sample:
    """The images that the centroids were fitted on: their positions in the collection and their features."""

    positions: Int64[np.ndarray, " m"]
    features: Float16[np.ndarray, "m d"]


@dataclass(frozen=True, eq=False)
class Clusters:
    """The centroids; for each image, its label and its distance from the centroid that k-means gave it.

    `names` returns the paths of images at some positions. Paths are written to disk, and are no part of the
    fingerprint.
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
        """Return the positions of each cluster's images, in rising order."""
        order = np.argsort(self.labels, kind="stable").astype(np.int64)
        return np.split(order, np.cumsum(self.sizes)[:-1])

    def merge_small(self, minimum: int) -> "Clusters":
        """Return the clusters that have at least `minimum` images, the largest first.

        The images of a smaller cluster go to the remaining one with the nearest centroid by cosine. The largest cluster
        always remains.
        """
        target = _merge_targets(self.centroids, self.sizes, minimum)
        merged_sizes = np.bincount(target, weights=self.sizes, minlength=self.k)
        remaining = np.unique(target)
        remaining = remaining[np.argsort(-merged_sizes[remaining], kind="stable")]
        new_label = np.zeros(self.k, np.int64)
        new_label[remaining] = np.arange(len(remaining))
        _log_merges(self.sizes, new_label[target], remaining, minimum)
        labels = new_label[target][self.labels]
        return Clusters(self.centroids[remaining], labels, self.distances, self.names, self.sample)

    def save(self, folder: Path) -> None:
        """Write the clusters to files of a folder, each of them whole; a sample that is mapped from there stays."""
        with atomic_write(folder / CLUSTERS) as part:
            _write_table(part, self)
        _write_array(folder / CENTROIDS, self.centroids)
        if self.sample is not None:
            if not _is_mapped_from(self.sample.features, folder / SAMPLE):
                _write_array(folder / SAMPLE, self.sample.features)
            _write_array(folder / SAMPLE_POSITIONS, self.sample.positions)

    @classmethod
    def load(cls, folder: Path) -> "Clusters":
        """Return the clusters of a folder; the features of the sample stay mapped. Raises DamagedError if they are
        unreadable."""
        try:
            return cls._read(folder)
        except READ_ERRORS as error:
            raise DamagedError(
                f"{printable(folder)} holds no clusters that can be read ({printable(str(error))}); make them anew"
            ) from error

    @classmethod
    def _read(cls, folder: Path) -> "Clusters":
        for name in FILES:
            if (folder / name).exists() and not (folder / name).is_file():
                raise ValueError(f"{name} is not a file")
        table = _read_columns(folder / CLUSTERS, "label", "distance")
        sample = None
        if (folder / SAMPLE).exists():
            features = np.load(folder / SAMPLE, mmap_mode="r")
            sample = Sample(np.load(folder / SAMPLE_POSITIONS), features)
        centroids, labels = np.load(folder / CENTROIDS), table["label"].to_numpy().copy()
        if centroids.ndim != 2 or (len(labels) and not 0 <= labels.min() <= labels.max() < len(centroids)):
            raise ValueError(f"labels up to {labels.max()} of centroids {centroids.shape}")
        names = functools.partial(_read_names, folder / CLUSTERS)
        return cls(centroids, labels, table["distance"].to_numpy().copy(), names, sample)


def _merge_targets(centroids: NDArray[np.float32], sizes: NDArray[np.int64], minimum: int) -> NDArray[np.int64]:
    """Return, for each cluster, the cluster that gets its images: itself, or the nearest that is large enough."""
    remains = sizes >= minimum
    remains[sizes.argmax()] = True
    unit = centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    cosine = np.where(remains, unit @ unit.T, -np.inf)
    return np.where(remains, np.arange(len(sizes)), cosine.argmax(1))


def _log_merges(
    sizes: NDArray[np.int64], new_label: NDArray[np.int64], remaining: NDArray[np.int64], minimum: int
) -> None:
    """Log the clusters that were merged, and the new labels of their images."""
    merged = np.setdiff1d(np.arange(len(sizes)), remaining)
    if len(merged) == 0:
        return
    largest = merged[np.argsort(-sizes[merged], kind="stable")]
    moves = few(f"{sizes[old]:,} to cluster {new_label[old]}" for old in largest)
    info(f"{len(merged)} of {len(sizes)} clusters had fewer than {minimum:,} images and were merged: {moves}")


def _write_table(path: Path, clusters: Clusters) -> None:
    """Write one row an image. The bytes of the file depend on the clusters alone."""
    with path.open("wb") as file, pq.ParquetWriter(file, TABLE, compression="none", use_dictionary=False) as writer:
        for begin in range(0, len(clusters.labels), ROW_GROUP):
            positions = np.arange(begin, min(begin + ROW_GROUP, len(clusters.labels)))
            names = clusters.names(positions)
            texts = [as_text(name) for name in names]
            columns = texts, names, clusters.labels[positions], clusters.distances[positions]
            writer.write_table(pa.table(dict(zip(TABLE.names, columns, strict=True)), TABLE))


def _read_names(file: Path, positions: NDArray[np.int64]) -> list[bytes]:
    column = _read_columns(file, "path_bytes")["path_bytes"]
    names: list[bytes] = column.take(pa.array(positions)).to_pylist()
    return names


def _read_columns(file: Path, *names: str) -> pa.Table:
    """Read columns of TABLE in this thread alone, through a file of Arrow's own.

    A thread of Arrow may drop the last part of a file of Python's only while the interpreter ends, and that aborts the
    process after a correct answer.
    """
    with pa.OSFile(bytes(file)) as opened:  # given a path as text, Arrow may take it for a URI
        table = pq.ParquetFile(opened, pre_buffer=False).read(list(names), use_threads=False)
    return table.select(names).cast(pa.schema([TABLE.field(name) for name in names]))


def _is_mapped_from(array: NDArray[np.generic], file: Path) -> bool:
    name = array.filename if isinstance(array, np.memmap) else None
    return name is not None and file.exists() and file.samefile(str(name))


def _write_array(path: Path, array: NDArray[np.generic]) -> None:
    # np.save adds ".npy" to a path, and nothing to an open file
    with atomic_write(path) as part, part.open("wb") as file:
        np.save(file, array)
