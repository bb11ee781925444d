"""Odd images and duplicates of a collection, for the report."""

import bisect
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Int64

from ..clustering.features import Features
from ..clustering.neighbors import nearest
from ..data.index.index import Index
from ..files.text import printable
from ..reports.kept import ShownGallery, ShownImage
from ..reports.measures import ODDITIES, Measures, odd_ones

EACH = 8  # images of a kind of oddity
GROUPS = 6  # groups of duplicates of a kind
COPIES = 4  # images of a group
NEIGHBORS = 10  # whose mean cosine says how far an image is from others

Rows = Int64[np.ndarray, " m"]
Shown = Callable[[Rows, list[str]], list[ShownImage]]


def odd_galleries(positions: Rows, measures: list[Measures], shown: Shown) -> list[ShownGallery]:
    """Return the dark, the nearly blank and the blurred images of the sample, the oddest of each."""
    galleries = []
    for oddity in ODDITIES if measures else ():
        found = odd_ones(measures, oddity)
        notes = [oddity.note(measures[i]) for i in found[:EACH]]
        galleries.append(ShownGallery("odd", oddity.title, shown(positions[found[:EACH]], notes), of=len(found)))
    return galleries


def far_gallery(positions: Rows, features: Features, shown: Shown) -> list[ShownGallery]:
    """Return the images of the sample that are least like their nearest neighbors."""
    x = features.compared()
    cosines, _ = nearest(x, x, min(NEIGHBORS + 1, len(x)))
    closeness = (cosines.sum(1) - 1) / (cosines.shape[1] - 1)  # without the image itself
    far = torch.argsort(closeness, stable=True)[:EACH].numpy()
    notes = [f"mean cosine to its {cosines.shape[1] - 1} nearest: {closeness[i]:.2f}" for i in far.tolist()]
    return [ShownGallery("odd", "Far from all others", shown(positions[far], notes), of=len(far))]


def duplicate_galleries(index: Index) -> list[ShownGallery]:
    """Return groups of files with the same bytes, and groups that look alike; each begins with the image that is used."""
    original = index.table["duplicate_of"]
    rows = np.flatnonzero(pc.is_valid(original).to_numpy())
    hashes = index.table.select(["hash", "duplicate_of"]).take(pa.array(rows))
    same = pc.equal(hashes["hash"], hashes["duplicate_of"]).to_numpy()
    originals = hashes["duplicate_of"]
    return [
        *_groups("copy", "The same bytes", rows[same], originals.filter(pa.array(same)), index),
        *_groups("near", "Alike", rows[~same], originals.filter(pa.array(~same)), index),
    ]


def _groups(kind: str, title: str, rows: Rows, originals: pa.ChunkedArray, index: Index) -> list[ShownGallery]:
    """Return the first groups of a kind, by the hash of the original. Copies show the picture of the image that is used."""
    galleries = []
    for digest in sorted(pc.unique(originals).to_pylist())[:GROUPS]:
        original = bisect.bisect_left(
            index.hashes, digest, key=lambda row: bytes(row)
        )  # used images are in the order of hashes
        members = [original, *rows[pc.equal(originals, digest).to_numpy()].tolist()]
        shown = index.table.take(pa.array(members[:COPIES]))
        entries = zip(members, shown["path_bytes"].to_pylist(), shown["status"].to_pylist())
        images = [
            ShownImage(original if kind == "copy" else row, printable(path), status) for row, path, status in entries
        ]
        galleries.append(ShownGallery(kind, title, images, of=len(members)))
    return galleries
