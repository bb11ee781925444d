"""The map: a sample of images in a plane, by what an encoder sees."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image

from ..clustering.features import Features
from ..clustering.neighbors import nearest
from ..files.text import printable
from .layout import Layout, lay_out
from .markers import SHAPES, Marker, marker
from .sample import Sample
from .thumbnails import CELLS, COLUMNS, SIDE, Atlases, Picture, pack

NEIGHBORS = 8  # of each image, that a click shows
MOST_BYTES = 6_000_000  # of all atlases in the page
UNIT = 10_000  # the page has coordinates as whole numbers of 1 / UNIT


@dataclass(frozen=True)
class MapCluster:
    """A cluster in the legend: its number, its name, its images on the map, and its marker."""

    number: int
    name: str
    count: int
    marker: Marker


@dataclass(frozen=True)
class MapRow:
    """An image in the table of the map."""

    path: str
    cluster: str
    x: str
    y: str


@dataclass(frozen=True, eq=False)
class ImageMap:
    """The map of a sample of m images, with the nearest neighbors of each in the sample."""

    sample: Sample
    layout: Layout
    neighbors: Int64[np.ndarray, "m k"]
    atlases: Atlases | None
    clusters: list[MapCluster]

    def __len__(self) -> int:
        return len(self.sample)

    def rows(self) -> Iterator[MapRow]:
        """Yield the images as rows of a table."""
        names = self.sample.names
        for path, label, (x, y) in zip(self.sample.paths, self.sample.clusters, self.layout.xy):
            yield MapRow(path, names[label], f"{x:.4f}", f"{y:.4f}")

    def data(self) -> dict[str, object]:
        """Return what the script of the page needs, as JSON."""
        x, y = np.round(self.layout.xy * UNIT).astype(int).T.tolist()
        return {
            **self._columns(),
            "x": x,
            "y": y,
            "unit": UNIT,
            "spacing": round(self.layout.spacing, 6),
            "neighbors": self.neighbors.tolist(),
            "clusters": [{"name": c.name, "color": c.marker.color, "shape": c.marker.shape} for c in self.clusters],
            "shapes": SHAPES,
            "atlas": {"side": SIDE, "columns": COLUMNS, "cells": CELLS},
            "thumbnails": None if self.atlases is None else self.atlases.sizes.tolist(),
        }

    def _columns(self) -> dict[str, object]:
        """Return what is known of each image; `cluster` is the place of its cluster in the legend."""
        numbers = np.array([cluster.number for cluster in self.clusters], np.int64)
        return {
            "path": self.sample.paths,
            "width": self.sample.widths.tolist(),
            "height": self.sample.heights.tolist(),
            "bytes": self.sample.sizes.tolist(),
            "cluster": np.searchsorted(numbers, self.sample.clusters).tolist(),
        }


def draw_map(sample: Sample, features: Features, limit: int = MOST_BYTES) -> ImageMap:
    """Lay out a sample by its features as they are compared, find the neighbors of each image, and pack the thumbnails into
    `limit` bytes."""
    compared = features.compared().numpy()
    atlases = None if sample.thumbnails is None else pack(map(_picture, sample.thumbnails), limit)
    layout = lay_out(compared, features.x)
    return ImageMap(sample, layout, nearest_others(compared, NEIGHBORS), atlases, _clusters(sample))


def nearest_others(x: Float[np.ndarray, "m c"], k: int) -> Int64[np.ndarray, "m k"]:
    """Return the k rows nearest to each row by cosine, without the row itself; fewer if there are fewer."""
    rows = torch.from_numpy(x)
    _, numbers = nearest(rows, rows, min(k + 1, len(x)))
    found = numbers.numpy()
    own = found == np.arange(len(found))[:, None]
    own[~own.any(1), -1] = True  # equal rows with lower numbers took all places: the last one is left out instead
    return np.asarray(found[~own].reshape(len(found), -1))


def _clusters(sample: Sample) -> list[MapCluster]:
    numbers, counts = np.unique(sample.clusters, return_counts=True)
    names = [printable(name) for name in sample.names]
    return [MapCluster(int(n), names[n], int(count), marker(int(n))) for n, count in zip(numbers, counts)]


def _picture(thumbnail: bytes) -> Picture | None:
    return Image.open(io.BytesIO(thumbnail)) if thumbnail else None
