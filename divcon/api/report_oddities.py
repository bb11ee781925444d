"""Odd images and duplicates of a collection, for the report."""

from collections import defaultdict
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
    x = features.whitened()
    cosines, _ = nearest(x, x, min(NEIGHBORS + 1, len(x)))
    closeness = (cosines.sum(1) - 1) / (cosines.shape[1] - 1)  # without the image itself
    far = torch.argsort(closeness, stable=True)[:EACH].numpy()
    notes = [f"mean cosine to its {cosines.shape[1] - 1} nearest: {closeness[i]:.2f}" for i in far.tolist()]
    return [ShownGallery("odd", "Far from all others", shown(positions[far], notes), of=len(far))]


def duplicate_galleries(index: Index) -> list[ShownGallery]:
    """Return groups of files with the same bytes, and groups that look alike; each begins with the image that is used."""
    table = index.table
    row_of = pc.index_in(table["duplicate_of"], table["hash"].slice(0, index.used).combine_chunks())
    rows = np.flatnonzero(pc.is_valid(row_of).to_numpy())
    originals = row_of.filter(pc.is_valid(row_of)).to_numpy()
    same = pc.equal(table["hash"], table["duplicate_of"]).take(pa.array(rows)).to_numpy()
    return [
        *_groups("copy", "The same bytes", rows[same], originals[same], table, same_picture=True),
        *_groups("near", "Alike", rows[~same], originals[~same], table, same_picture=False),
    ]


def _groups(
    kind: str, title: str, rows: Rows, originals: Rows, table: pa.Table, *, same_picture: bool
) -> list[ShownGallery]:
    """Return the first groups of a kind. Copies show the picture of the image that is used."""
    first, groups = set(np.unique(originals)[:GROUPS].tolist()), defaultdict(list)
    for row, original in zip(rows.tolist(), originals.tolist()):
        if original in first:
            groups[original].append(row)
    galleries = []
    for original in sorted(groups):
        members = [original, *groups[original]]
        shown = table.take(pa.array(members[:COPIES]))
        entries = zip(members, shown["path_bytes"].to_pylist(), shown["status"].to_pylist())
        images = [
            ShownImage(original if same_picture else row, printable(path), status) for row, path, status in entries
        ]
        galleries.append(ShownGallery(kind, title, images, of=len(members)))
    return galleries
